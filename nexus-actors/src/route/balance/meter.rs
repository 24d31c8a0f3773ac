//! What is measured of one member of a group: how long its answers take, and how busy it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::agent::Reply;
use crate::clock::Clock;
use crate::error::AgentError;

/// The mean forgets 1/8 of itself with every answer: the smoothing of TCP's round-trip times (RFC 6298 §2, α = 1/8). A larger part
/// follows changes faster and is more easily fooled by one slow answer.
const SMOOTHING: u64 = 8;

/// What an ask counts at least that ended without an answer: a crash is fast, and must not look it.
const FAILED_NS_MIN: u64 = 10_000_000;

/// The longest mean, so that failures cannot drive it up without end: one minute.
const MEAN_NS_MAX: u64 = 60_000_000_000;

/// The shortest time over which a rate is taken.
const RATE_WINDOW_NS: u64 = 100_000_000;

/// The exponentially weighted moving average after another sample; 0 is none yet, and the first sample is the mean (RFC 6298).
pub(crate) const fn smooth(mean_ns: u64, sample_ns: u64) -> u64 {
    let mean = if mean_ns == 0 { sample_ns } else { mean_ns - mean_ns / SMOOTHING + sample_ns / SMOOTHING };
    if mean == 0 {
        1
    } else if mean > MEAN_NS_MAX {
        MEAN_NS_MAX
    } else {
        mean
    }
}

/// See the module. Written by whoever decides and whoever answers; no reading needs to agree with another.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Messages the member was given.
    pub(super) decisions: AtomicU64,
    /// Mean time from the decision to the answer; 0 until there was one.
    response_ns: AtomicU64,
    /// Asks it has not answered yet, and since when it has been silent: since it last answered, or since it first owed one.
    owed: AtomicU32,
    silent_since_ns: AtomicU64,
    rate: Mutex<Rate>,
}

/// Messages handled a second, over the last window.
#[derive(Debug, Default)]
struct Rate {
    since_ns: Option<u64>,
    processed: u64,
    per_s: Option<f64>,
}

impl Meter {
    /// The mean response time. A member that owes an answer counts as at least as slow as it has been silent, so that one that
    /// hangs is not preferred until its inbox is full.
    pub(super) fn response_ns(&self, now_ns: u64) -> Option<u64> {
        let mean = self.response_ns.load(Ordering::Relaxed);
        let silent = if self.owed.load(Ordering::Relaxed) > 0 {
            now_ns.saturating_sub(self.silent_since_ns.load(Ordering::Relaxed))
        } else {
            0
        };
        match mean.max(silent.min(MEAN_NS_MAX)) {
            0 => None,
            // Silence alone says nothing while it is short.
            ns if mean == 0 && ns < FAILED_NS_MIN => None,
            ns => Some(ns),
        }
    }

    /// Messages handled a second, given how many there were up to now. `None` until a window has passed.
    pub(super) fn rate(&self, processed: u64, now_ns: u64) -> Option<f64> {
        let mut rate = self.rate.lock();
        let Some(since) = rate.since_ns else {
            (rate.since_ns, rate.processed) = (Some(now_ns), processed);
            return None;
        };
        let window = now_ns.saturating_sub(since);
        if window >= RATE_WINDOW_NS {
            #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
            let per_s = processed.saturating_sub(rate.processed) as f64 * 1e9 / window as f64;
            *rate = Rate { since_ns: Some(now_ns), processed, per_s: Some(per_s) };
        }
        rate.per_s
    }

    fn asked(&self, now_ns: u64) {
        if self.owed.fetch_add(1, Ordering::Relaxed) == 0 {
            self.silent_since_ns.store(now_ns, Ordering::Relaxed);
        }
    }

    fn answered(&self, elapsed_ns: u64, failed: bool, now_ns: u64) {
        self.settled(now_ns);
        let mean = self.response_ns.load(Ordering::Relaxed);
        let sample = if failed { elapsed_ns.max(2 * mean).max(FAILED_NS_MIN) } else { elapsed_ns };
        // Two answers at once may lose one sample: the mean is none the worse.
        self.response_ns.store(smooth(mean, sample), Ordering::Relaxed);
    }

    fn settled(&self, now_ns: u64) {
        self.owed.fetch_sub(1, Ordering::Relaxed);
        self.silent_since_ns.store(now_ns, Ordering::Relaxed);
    }
}

/// An asker whose wait is measured.
#[derive(Debug)]
pub(crate) struct Timed {
    to: Option<oneshot::Sender<Reply>>,
    meter: Arc<Meter>,
    clock: Clock,
    asked_ns: u64,
}

impl Timed {
    /// The wait of `to` for `meter`'s member begins now.
    pub(crate) fn new(to: oneshot::Sender<Reply>, meter: Arc<Meter>, clock: Clock) -> Self {
        let asked_ns = clock.nanos();
        meter.asked(asked_ns);
        Self { to: Some(to), meter, clock, asked_ns }
    }

    /// The asker, whose wait for this member counts for nothing: it did not take the request.
    pub(crate) fn into_asker(mut self) -> Option<oneshot::Sender<Reply>> {
        self.meter.settled(self.clock.nanos());
        self.to.take()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.to.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    pub(crate) fn send(mut self, reply: Reply) {
        let failed = matches!(
            reply,
            Err(AgentError::Crashed { .. } | AgentError::NoReply | AgentError::Stopped { .. })
        );
        self.end(failed);
        if let Some(to) = self.to.take() {
            // Fails only when the asker has given up.
            let _ = to.send(reply);
        }
    }

    fn end(&self, failed: bool) {
        let now = self.clock.nanos();
        self.meter.answered(now.saturating_sub(self.asked_ns), failed, now);
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        if self.to.is_some() {
            self.end(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Goal: the mean is RFC 6298's, and bounded at both ends.
    #[test]
    fn the_mean_is_smoothed() {
        assert_eq!(smooth(0, 80), 80, "the first sample is the mean");
        assert_eq!(smooth(80, 160), 90);
        assert_eq!(smooth(0, 0), 1, "0 means none");
        assert_eq!(smooth(MEAN_NS_MAX, u64::MAX), MEAN_NS_MAX);
    }

    /// Goal: a failed ask never makes a member look faster, and one that hangs looks as slow as it has been silent.
    #[test]
    fn failures_and_silence_count_as_slow() {
        let meter = Meter::default();
        assert_eq!(meter.response_ns(0), None);
        meter.asked(0);
        assert_eq!(meter.response_ns(MS), None, "too early to tell");
        assert_eq!(meter.response_ns(500 * MS), Some(500 * MS));
        meter.answered(MS, false, 500 * MS);
        assert_eq!(meter.response_ns(900 * MS), Some(MS), "it owes nothing now");
        meter.asked(900 * MS);
        meter.answered(0, true, 900 * MS);
        let slower = meter.response_ns(900 * MS).unwrap();
        assert!(slower > MS, "{slower}");
        for _ in 0..1000 {
            meter.asked(0);
            meter.answered(0, true, 0);
        }
        assert_eq!(meter.response_ns(0), Some(MEAN_NS_MAX));
    }

    /// Goal: rates are taken over whole windows and last until the next one is over.
    #[test]
    fn rates_have_windows() {
        let meter = Meter::default();
        assert_eq!(meter.rate(100, 0), None);
        assert_eq!(meter.rate(150, 99 * MS), None);
        assert_eq!(meter.rate(200, 200 * MS), Some(500.0));
        assert_eq!(meter.rate(999, 250 * MS), Some(500.0));
        assert_eq!(meter.rate(200, 400 * MS), Some(0.0));
    }

    /// Goal: an asker that goes to another member leaves no trace with the first; one that is dropped counts as failed.
    #[test]
    fn waits_are_settled_however_they_end() {
        let clock = Clock::start_at(0);
        let timed = |meter: &Arc<Meter>| Timed::new(oneshot::channel().0, meter.clone(), clock);
        let (refused, dropped) = (Arc::<Meter>::default(), Arc::<Meter>::default());
        assert!(timed(&refused).into_asker().is_some());
        assert_eq!((refused.owed.load(Ordering::Relaxed), refused.response_ns(u64::MAX)), (0, None));
        drop(timed(&dropped));
        assert_eq!(dropped.owed.load(Ordering::Relaxed), 0);
        assert!(dropped.response_ns(u64::MAX).is_some_and(|ns| ns >= FAILED_NS_MIN));
    }
}
