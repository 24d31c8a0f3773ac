//! What the performance monitor turns, and hosts and senders read: the agents' batch and the priority below which requests are
//! refused. A node without a monitor has them at rest.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use tokio::sync::Notify;

use crate::agent::Request;

/// See the module. Senders read one byte of it for each request.
#[derive(Debug)]
pub(crate) struct Controls {
    /// Read with each request and each batch, and hardly ever written: on a line of their own.
    read: CachePadded<Read>,
    shed: AtomicU64,
    /// Those of them that no agent counts: it sleeps, or there is none.
    shed_uncounted: AtomicU64,
    /// Told whenever the level is lowered.
    admits: Notify,
}

#[derive(Debug)]
struct Read {
    batch: AtomicU32,
    /// In hundredths; 0 refuses nothing.
    shed_below: AtomicU8,
}

impl Controls {
    /// At rest, with batches of `batch` messages.
    pub(crate) fn new(batch: u32) -> Self {
        let read = Read { batch: AtomicU32::new(batch.max(1)), shed_below: AtomicU8::new(0) };
        Self {
            read: CachePadded::new(read),
            shed: AtomicU64::new(0),
            shed_uncounted: AtomicU64::new(0),
            admits: Notify::new(),
        }
    }

    #[inline]
    pub(crate) fn batch(&self) -> u32 {
        self.read.batch.load(Ordering::Relaxed)
    }

    pub(crate) fn set_batch(&self, batch: u32) {
        self.read.batch.store(batch.max(1), Ordering::Relaxed);
    }

    /// The priority in hundredths below which requests are refused; 0: none is.
    #[inline]
    pub(crate) fn shed_below(&self) -> u8 {
        self.read.shed_below.load(Ordering::Relaxed)
    }

    pub(crate) fn set_shed_below(&self, hundredths: u8) {
        // A priority of 1 is never refused.
        self.read.shed_below.store(hundredths.min(100), Ordering::Relaxed);
        self.admits.notify_waiters();
    }

    /// Whether `request` is to be refused: one load while nothing is.
    #[inline]
    pub(crate) fn sheds(&self, request: &Request) -> bool {
        let below = self.shed_below();
        below != 0 && is_below(request, below)
    }

    /// Waits until `request` would be admitted.
    #[cold]
    pub(crate) async fn admission(&self, request: &Request) {
        loop {
            let admits = self.admits.notified();
            tokio::pin!(admits);
            // Registered before the look, so that a change between the two is not lost.
            admits.as_mut().enable();
            if !self.sheds(request) {
                return;
            }
            admits.await;
        }
    }

    /// A request was refused; `counted` if its agent counts it.
    pub(crate) fn count_shed(&self, counted: bool) {
        self.shed.fetch_add(1, Ordering::Relaxed);
        if !counted {
            self.shed_uncounted.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Requests refused for their priority so far.
    pub(crate) fn shed_count(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Those that no agent counts.
    pub(crate) fn shed_uncounted(&self) -> u64 {
        self.shed_uncounted.load(Ordering::Acquire)
    }
}

#[cold]
fn is_below(request: &Request, hundredths: u8) -> bool {
    request.hints().priority < f32::from(hundredths) / 100.0
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::agent::Hints;

    fn request(priority: f32) -> Request {
        Request::query("x").with_hints(Hints { priority, ..Hints::default() })
    }

    /// Goal: what is below the level is refused, what is at it is not, the highest priority never, and no level refuses nothing.
    #[test]
    fn priorities_are_compared_with_the_level() {
        let controls = Controls::new(0);
        assert!(!controls.sheds(&request(0.0)), "nothing is refused at rest");
        assert_eq!(controls.batch(), 1, "a batch has a message at least");
        controls.set_shed_below(29);
        assert!(controls.sheds(&request(0.28)) && !controls.sheds(&request(0.29)));
        assert!(!controls.sheds(&Request::query("x")), "no hint is 0.5");
        controls.set_shed_below(255);
        assert!(controls.sheds(&request(0.99)) && !controls.sheds(&request(1.0)));
    }

    /// Goal: whoever waits for admission goes on when the level falls far enough, and no earlier.
    #[test]
    fn waiters_go_on_when_the_level_falls() {
        let controls = Controls::new(8);
        controls.set_shed_below(75);
        let request = request(0.4);
        let mut waiting = Box::pin(controls.admission(&request));
        assert!(waiting.as_mut().now_or_never().is_none());
        controls.set_shed_below(50);
        assert!(waiting.as_mut().now_or_never().is_none());
        controls.set_shed_below(25);
        assert!(waiting.as_mut().now_or_never().is_some());
    }
}
