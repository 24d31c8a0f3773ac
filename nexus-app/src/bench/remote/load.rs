//! The same load for every contestant, and what it comes to.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Bytes of a message.
pub(crate) const BYTES: usize = 100;
/// Receivers of a flood to many, and askers at one time.
pub(crate) const MANY: usize = 64;

pub(crate) const TELLS_ONE: &str = "tells to one, per second";
pub(crate) const TELLS_MANY: &str = "tells to 64, per second";
pub(crate) const ASK_P50: &str = "ask p50, ns";
pub(crate) const ASK_P99: &str = "ask p99, ns";
pub(crate) const ASKS: &str = "asks of 64 askers, per second";

/// What a contestant came to, by measure.
pub(crate) type Measures = BTreeMap<String, f64>;

/// Why there is nothing to show, in words.
pub(crate) type Measured<T> = Result<T, String>;

/// How much is sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Messages of a flood.
    pub(crate) tells: usize,
    /// Asks, one after the other and by many.
    pub(crate) asks: usize,
}

/// A system of two processes, seen from the one that sends.
pub(crate) trait Contestant: Clone + Send + Sync + 'static {
    /// Sends a message to the receiver `to`; waits for room where there is a bound.
    fn tell(&self, to: usize) -> impl Future<Output = ()> + Send;

    /// Asks the receiver `to`, which has handled by then what it was told before.
    fn ask(&self, to: usize) -> impl Future<Output = ()> + Send;
}

/// All measures of one contestant. Runs on a runtime.
pub(crate) async fn measure<C: Contestant>(contestant: C, load: Load) -> Measured<Measures> {
    // Its first messages make connections, agents and pages; they are nobody's figure.
    flood(contestant.clone(), MANY, load.tells / 10).await?;
    trips(contestant.clone(), load.asks / 10).await?;
    let one = flood(contestant.clone(), 1, load.tells).await?;
    let many = flood(contestant.clone(), MANY, load.tells).await?;
    let mut times = trips(contestant.clone(), load.asks).await?;
    let asks = askers(contestant, load.asks * 4).await?;
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).map_or(0.0, |time| time.as_secs_f64() * 1e9);
    Ok([(TELLS_ONE, one), (TELLS_MANY, many), (ASK_P50, at(50)), (ASK_P99, at(99)), (ASKS, asks)]
        .map(|(name, value)| (name.to_owned(), value))
        .into())
}

/// Runs `work` where other tasks run.
async fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Measured<T> {
    tokio::spawn(work).await.map_err(|error| error.to_string())
}

/// Tells a second, until all receivers have handled their last.
pub(crate) async fn flood<C: Contestant>(contestant: C, receivers: usize, count: usize) -> Measured<f64> {
    apart(async move {
        let started = Instant::now();
        for number in 0..count {
            contestant.tell(number % receivers).await;
            if number % 256 == 255 {
                tokio::task::yield_now().await;
            }
        }
        for to in 0..receivers {
            contestant.ask(to).await;
        }
        per_second(count, started.elapsed())
    })
    .await
}

/// How long each of `count` asks takes, one after the other.
async fn trips<C: Contestant>(contestant: C, count: usize) -> Measured<Vec<Duration>> {
    apart(async move {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            contestant.ask(0).await;
            times.push(started.elapsed());
        }
        times
    })
    .await
}

/// Asks a second of many askers, each with a receiver of its own.
async fn askers<C: Contestant>(contestant: C, count: usize) -> Measured<f64> {
    let started = Instant::now();
    let asking: Vec<_> = (0..MANY)
        .map(|to| {
            let contestant = contestant.clone();
            tokio::spawn(async move {
                for _ in 0..count / MANY {
                    contestant.ask(to).await;
                }
            })
        })
        .collect();
    for asker in asking {
        asker.await.map_err(|error| error.to_string())?;
    }
    Ok(per_second(count / MANY * MANY, started.elapsed()))
}

#[expect(clippy::cast_precision_loss, reason = "counts of messages, far below 2^52")]
fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
