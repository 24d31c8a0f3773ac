//! The seed of a random test: drawn from the clock unless `NEXUS_TEST_SEED` gives one, and always printed. Such a test has
//! `seeded` in its name, by which CI runs it again with other seeds.

use std::time::{SystemTime, UNIX_EPOCH};

use nexus_actors::rng::Seed;

/// The variable that replays a run.
pub const VARIABLE: &str = "NEXUS_TEST_SEED";

/// The seed of this run of `test`; says how to run it again.
///
/// # Panics
/// If its name lacks `seeded`, or the variable is set to something else than a whole number.
#[must_use]
pub fn of(test: &str) -> Seed {
    assert!(test.contains("seeded"), "{test} would be left out of CI's runs with other seeds");
    let value = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{VARIABLE}={text}: {error}")),
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(now.as_nanos() % u128::from(u64::MAX)).expect("it is less")
        }
    };
    println!("{test}: replay with {VARIABLE}={value} .ci/test {test}");
    Seed::new(value)
}
