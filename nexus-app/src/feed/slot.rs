//! What of a feed outlives its actor: the place in its source, and its counters.
//!
//! The pump actor only borrows the pipeline, one poll at a time. An actor that is killed thus loses nothing: the next one
//! finds the pipeline as it was, with the first unconfirmed request in front.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as PoisonMutex};
use std::task::{Context, Poll};

use nexus_actors::clock::{Clock, Millis};
use parking_lot::Mutex;

use super::config::FeedConfig;
use super::pipeline::{Ending, Next, Pipeline, ReadMode};
use super::status::{Counters, FeedState, FeedStatus};

/// The rate is measured over so many samples …
const SAMPLES: usize = 10;
/// … that lie at least this far apart.
const SAMPLE_MS: u64 = 500;

/// One feed's lasting part. Made once, before its actor; shared with whoever wants to see it.
pub struct FeedSlot {
    name: Arc<str>,
    config: Arc<FeedConfig>,
    base_dir: PathBuf,
    mode: ReadMode,
    clock: Clock,
    /// std's mutex, because it tells when a holder panicked: then what is inside may be half changed, and is made anew.
    pipeline: PoisonMutex<Option<Pipeline>>,
    confirmed: AtomicU64,
    dead_lettered: AtomicU64,
    /// Those of the current pass over the source.
    counters: Mutex<Arc<Counters>>,
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    state: Option<FeedState>,
    error: Option<Arc<str>>,
    started: Option<Millis>,
    finished: Option<Millis>,
    starts: u64,
    /// When, and how many records there were.
    samples: VecDeque<(Millis, u64)>,
}

/// What the feed has next.
#[derive(Debug)]
pub(crate) enum Upcoming {
    Request(Next),
    /// Everything has been delivered.
    Completed,
    /// The feed cannot go on; the error's text.
    Failed(Arc<str>),
    /// The reader crashed, or the pipeline did.
    Broken,
}

impl FeedSlot {
    /// The slot of the feed that `config` describes. Relative paths start from `base_dir`.
    #[must_use]
    pub fn new(config: FeedConfig, base_dir: &Path, clock: Clock) -> Arc<Self> {
        Self::resume(config, base_dir, clock, 0, ReadMode::Thread)
    }

    /// Like [`FeedSlot::new`], going on after the first `confirmed` requests, with a choice of where the source is read.
    ///
    /// The source is read again from its beginning and the first requests are not delivered, so it must be a file, and the
    /// same one, with the same configuration, as when they were confirmed.
    #[must_use]
    pub fn resume(
        config: FeedConfig,
        base_dir: &Path,
        clock: Clock,
        confirmed: u64,
        mode: ReadMode,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: config.name.as_str().into(),
            config: Arc::new(config),
            base_dir: base_dir.to_owned(),
            mode,
            clock,
            pipeline: PoisonMutex::new(None),
            confirmed: AtomicU64::new(confirmed),
            dead_lettered: AtomicU64::new(0),
            counters: Mutex::default(),
            life: Mutex::default(),
        })
    }

    /// The feed's name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The feed's configuration.
    #[must_use]
    pub fn config(&self) -> &FeedConfig {
        &self.config
    }

    /// The clock the feed runs by.
    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Requests confirmed so far: where another run would go on.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Where the feed stands.
    #[must_use]
    pub fn state(&self) -> FeedState {
        self.life.lock().state.unwrap_or(FeedState::Waiting)
    }

    /// What is known of the feed. Asks nobody.
    #[must_use]
    pub fn status(&self) -> FeedStatus {
        let counters = self.counters.lock().clone();
        let (bytes_read, bytes_total) = counters.bytes();
        let records = counters.records.load(Ordering::Relaxed);
        let life = self.life.lock();
        FeedStatus {
            name: self.name.clone(),
            state: life.state.unwrap_or(FeedState::Waiting),
            error: life.error.clone(),
            records,
            confirmed: self.confirmed(),
            dead_lettered: self.dead_lettered.load(Ordering::Relaxed),
            malformed: counters.malformed.load(Ordering::Relaxed),
            late: counters.late.load(Ordering::Relaxed),
            hurried: counters.hurried.load(Ordering::Relaxed),
            bytes_read,
            bytes_total,
            records_per_s: life.records_per_s(self.clock.now(), records),
            started_unix_ms: life.started.map(|at| self.clock.unix_ms(at)),
            finished_unix_ms: life.finished.map(|at| self.clock.unix_ms(at)),
            resumes: life.starts.saturating_sub(1),
            first_malformed: counters.first_malformed.lock().clone(),
        }
    }

    /// An actor takes the feed up: opens the source if it is not open, or if it must be opened again.
    pub(crate) fn start(&self) {
        let mut life = self.life.lock();
        life.starts += 1;
        life.started.get_or_insert(self.clock.now());
        if life.state == Some(FeedState::Completed) {
            return;
        }
        if life.state != Some(FeedState::Paused) {
            life.state = Some(FeedState::Running);
        }
        life.error = None;
        life.finished = None;
        life.samples.clear();
        drop(life);

        let mut pipeline = match self.pipeline.lock() {
            Ok(pipeline) => pipeline,
            Err(poisoned) => {
                let mut pipeline = poisoned.into_inner();
                *pipeline = None;
                self.pipeline.clear_poison();
                pipeline
            }
        };
        if pipeline.as_ref().is_none_or(Pipeline::is_stuck) {
            let counters = Arc::new(Counters::default());
            *self.counters.lock() = counters.clone();
            let config = self.config.clone();
            *pipeline = Some(Pipeline::resume(config, &self.base_dir, self.confirmed(), self.mode, counters));
        }
    }

    /// What comes next. The same request until it is confirmed.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Upcoming> {
        let Ok(mut pipeline) = self.pipeline.lock() else {
            return Poll::Ready(Upcoming::Broken);
        };
        let Some(pipeline) = &mut *pipeline else {
            return Poll::Ready(Upcoming::Broken);
        };
        pipeline.poll_next(cx).map(|next| match next {
            Ok(next) => Upcoming::Request(next),
            Err(Ending::Ended(Ok(()))) => Upcoming::Completed,
            Err(Ending::Ended(Err(error))) => Upcoming::Failed(error.to_string().into()),
            Err(Ending::Broken) => Upcoming::Broken,
        })
    }

    /// The request in front has been delivered, or dead-lettered. Must follow the delivery without an await between.
    pub(crate) fn confirm(&self, dead_lettered: bool) {
        let mut pipeline = self.pipeline.lock().expect("only a poll can panic, and it would have been seen");
        let pipeline = pipeline.as_mut().expect("a request was shown, so the pipeline is there");
        pipeline.confirm();
        self.confirmed.store(pipeline.confirmed(), Ordering::Release);
        if dead_lettered {
            self.dead_lettered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes the new state; whether it is new.
    pub(crate) fn enter(&self, state: FeedState, error: Option<Arc<str>>) -> bool {
        let now = self.clock.now();
        let mut life = self.life.lock();
        if life.state == Some(state) {
            return false;
        }
        life.state = Some(state);
        life.error = error;
        if state.is_over() {
            life.finished = Some(now);
        }
        true
    }

    /// Measures the rate.
    pub(crate) fn sample(&self) {
        let now = self.clock.now();
        let mut life = self.life.lock();
        if life.samples.back().is_some_and(|(last, _)| now.get() - last.get() < SAMPLE_MS) {
            return;
        }
        let records = self.counters.lock().records.load(Ordering::Relaxed);
        if life.samples.len() == SAMPLES {
            life.samples.pop_front();
        }
        life.samples.push_back((now, records));
    }

    /// As if the reader had panicked.
    #[cfg(test)]
    pub(crate) fn break_reader(&self) {
        self.pipeline.lock().unwrap().as_mut().unwrap().break_reader();
    }

    /// As if a pump had panicked while it held the pipeline.
    #[cfg(test)]
    pub(crate) fn poison(self: &Arc<Self>) {
        let slot = self.clone();
        let holder = std::thread::spawn(move || {
            let _held = slot.pipeline.lock().unwrap();
            panic!("on purpose");
        });
        assert!(holder.join().is_err());
    }
}

impl Life {
    fn records_per_s(&self, now: Millis, records: u64) -> f64 {
        let since = match (self.state, self.finished, self.started) {
            (Some(FeedState::Completed | FeedState::Failed), Some(finished), Some(started)) => {
                Some((started, 0, finished))
            }
            _ => self.samples.front().map(|(at, records)| (*at, *records, now)),
        };
        let Some((from, before, until)) = since else {
            return 0.0;
        };
        let seconds = until.since(from).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
        let read = records.saturating_sub(before) as f64;
        if seconds > 0.0 { read / seconds } else { 0.0 }
    }
}

impl std::fmt::Debug for FeedSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedSlot").field("name", &self.name).finish_non_exhaustive()
    }
}
