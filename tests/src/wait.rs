//! Waiting for conditions with a deadline: no test sleeps and hopes.

use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Looks until `look` finds something.
///
/// It blocks its thread. A `#[tokio::test(flavor = "multi_thread")]` may call it all the same: its own future has a thread to
/// itself, and is not kept waiting there by workers that are too busy to look at their timers.
///
/// # Panics
/// If that takes longer than `limit`.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "{what}: not within {limit:?}");
        std::thread::park_timeout(LOOK);
    }
}
