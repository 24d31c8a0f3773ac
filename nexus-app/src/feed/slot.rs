//! What of a feed outlives its actor: the place in its source, and its counters.
//!
//! The pump actor only borrows the pipeline, one poll at a time. An actor that is killed thus loses nothing: the next one
//! finds the pipeline as it was, with the first unconfirmed request in front.

mod relay;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as PoisonMutex};
use std::task::{Context, Poll};
use std::time::Duration;

use nexus_actors::AgentError;
use nexus_actors::agent::AgentId;
use nexus_actors::clock::{Clock, Millis};
use nexus_actors::store::{FeedMark, Origin};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::checkpoint::{Checkpoint, Checkpoints};
use super::config::FeedConfig;
use super::pipeline::{Ending, Next, Pipeline, ReadMode};
use super::status::{CheckpointStatus, Counters, FeedState, FeedStatus};

pub(crate) use self::relay::Relay;

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
    /// How its place is kept, or why it is not.
    kept: Result<Kept, Arc<str>>,
    /// Why it must not go on from its place.
    refused: Option<Arc<str>>,
    /// Of a feed that its cluster runs once.
    relay: Option<Relay>,
}

/// Where a feed stands when its process starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The store keeps its place.
    Kept(KeptPlace),
    /// It begins anew in each process; why.
    NotKept(Arc<str>),
    /// It runs on one node of a cluster at a time, begins anew on each, and gives again what is lost; agents know it by this number, which
    /// all nodes have for it.
    Relayed(u16),
    /// It has a place in the store and cannot go on there: it fails at its start.
    Refused {
        /// Requests that an earlier process confirmed and kept.
        confirmed: u64,
        /// Why it cannot go on, and what to do.
        why: Arc<str>,
    },
}

/// A feed's place in the node's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPlace {
    /// The feed's number in the store, by which agents know its requests.
    pub number: u16,
    /// What tells the feed's sequence from another: a digest of its mapping and its source.
    pub digest: u64,
    /// Requests that an earlier process confirmed and kept.
    pub confirmed: u64,
    /// The time between two checkpoints.
    pub every: Duration,
}

struct Kept {
    number: u16,
    digest: u64,
    every: Duration,
    /// Locked after the pipeline, never before it.
    checkpoints: Mutex<Checkpoints>,
    /// Told whenever a checkpoint has ended.
    ended: Notify,
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

    /// Like [`FeedSlot::new`], from the place it has in the store, with a choice of where the source is read.
    #[must_use]
    pub fn at(config: FeedConfig, base_dir: &Path, clock: Clock, place: Place, mode: ReadMode) -> Arc<Self> {
        let mut slot = Self::make(config, base_dir, clock, mode);
        let confirmed = match place {
            Place::Kept(place) => {
                slot.kept = Ok(Kept {
                    number: place.number,
                    digest: place.digest,
                    every: place.every,
                    checkpoints: Mutex::new(Checkpoints::new(place.every, place.confirmed)),
                    ended: Notify::new(),
                });
                place.confirmed
            }
            Place::NotKept(why) => {
                slot.kept = Err(why);
                0
            }
            Place::Relayed(number) => {
                slot.kept = Err("in a cluster the agents know what they have of it".into());
                slot.relay = Some(Relay::new(number));
                0
            }
            Place::Refused { confirmed, why } => {
                slot.kept = Err("it cannot go on at its place in the store".into());
                slot.refused = Some(why);
                confirmed
            }
        };
        slot.confirmed = AtomicU64::new(confirmed);
        Arc::new(slot)
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
        let mut slot = Self::make(config, base_dir, clock, mode);
        slot.confirmed = AtomicU64::new(confirmed);
        Arc::new(slot)
    }

    fn make(config: FeedConfig, base_dir: &Path, clock: Clock, mode: ReadMode) -> Self {
        Self {
            name: config.name.as_str().into(),
            config: Arc::new(config),
            base_dir: base_dir.to_owned(),
            mode,
            clock,
            pipeline: PoisonMutex::new(None),
            confirmed: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            counters: Mutex::default(),
            life: Mutex::default(),
            kept: Err("the node has no store".into()),
            refused: None,
            relay: None,
        }
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
        let status = FeedStatus {
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
            checkpoint: self.kept.as_ref().ok().map(|kept| self.checkpoint_status(kept)),
            not_kept: self.kept.as_ref().err().cloned(),
            node: None,
            replays: 0,
            replay: None,
            behind: 0,
        };
        drop(life);
        match &self.relay {
            Some(relay) => relay.complete(status),
            None => status,
        }
    }

    fn checkpoint_status(&self, kept: &Kept) -> CheckpointStatus {
        let seen = kept.checkpoints.lock().overview();
        CheckpointStatus {
            position: seen.position,
            unix_ms: seen.at.map(|at| self.clock.unix_ms(at)),
            failures: seen.failures,
            error: seen.error,
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
        self.open();
    }

    /// Opens the source if it is not open, or if it must be opened again.
    fn open(&self) {
        let mut pipeline = match self.pipeline.lock() {
            Ok(pipeline) => pipeline,
            Err(poisoned) => {
                let mut pipeline = poisoned.into_inner();
                *pipeline = None;
                self.pipeline.clear_poison();
                pipeline
            }
        };
        if self.refused.is_none() && pipeline.as_ref().is_none_or(Pipeline::is_stuck) {
            let counters = Arc::new(Counters::default());
            *self.counters.lock() = counters.clone();
            let config = self.config.clone();
            let skipping = self.relay.as_ref().map(Relay::skipping);
            let opened = Pipeline::resume(config, &self.base_dir, self.confirmed(), self.mode, counters);
            *pipeline = Some(opened.telling(skipping));
        }
    }

    /// The source is read anew, and goes on after this place.
    fn restart_at(&self, confirmed: u64) {
        let mut pipeline = self.pipeline.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *pipeline = None;
        self.pipeline.clear_poison();
        self.confirmed.store(confirmed, Ordering::Release);
        self.dead_lettered.store(0, Ordering::Relaxed);
    }

    /// What comes next. The same request until it is confirmed.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Upcoming> {
        if let Some(why) = &self.refused {
            return Poll::Ready(Upcoming::Failed(why.clone()));
        }
        let Ok(mut pipeline) = self.pipeline.lock() else {
            return Poll::Ready(Upcoming::Broken);
        };
        let Some(pipeline) = &mut *pipeline else {
            return Poll::Ready(Upcoming::Broken);
        };
        let place = pipeline.confirmed() + 1;
        pipeline.poll_next(cx).map(|next| match next {
            Ok(next) => Upcoming::Request(self.stamped(next, place)),
            Err(Ending::Ended(Ok(()))) => Upcoming::Completed,
            Err(Ending::Ended(Err(error))) => Upcoming::Failed(error.to_string().into()),
            Err(Ending::Broken) => Upcoming::Broken,
        })
    }

    /// The request in front, for `target`, is in the inbox of the agent that was reached, or in the dead letters if there is none. Must
    /// follow the delivery without an await between.
    pub(crate) fn confirm(&self, target: &Arc<str>, outcome: Result<AgentId, AgentError>) {
        let mut pipeline = self.pipeline.lock().expect("only a poll can panic, and it would have been seen");
        let pipeline = pipeline.as_mut().expect("a request was shown, so the pipeline is there");
        pipeline.confirm();
        let confirmed = pipeline.confirmed();
        // Whoever takes a checkpoint reads the position under this lock: it never has one without the agent that goes with it.
        let mut checkpoints = self.kept.as_ref().ok().map(|kept| kept.checkpoints.lock());
        self.confirmed.store(confirmed, Ordering::Release);
        if let Some(relay) = &self.relay {
            relay.given(target, confirmed, &outcome);
        }
        match (outcome.ok(), &mut checkpoints) {
            (Some(agent), Some(checkpoints)) => checkpoints.touch(agent, confirmed),
            (Some(_), None) => {}
            (None, _) => drop(self.dead_lettered.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// The request with its place in the feed, by which a persisted agent knows it again.
    fn stamped(&self, next: Next, place: u64) -> Next {
        if let Some(relay) = &self.relay {
            return relay.stamped(next, place);
        }
        let origin = self.kept.as_ref().ok().and_then(|kept| Origin::new(kept.number, place));
        match origin {
            Some(origin) => Next { request: next.request.from_feed(origin), ..next },
            None => next,
        }
    }

    /// What the store is told of the feed when it has come to `position`; `None` if its place is not kept.
    pub(crate) fn mark(&self, position: u64) -> Option<FeedMark> {
        let kept = self.kept.as_ref().ok()?;
        Some(FeedMark { feed: self.name.clone(), position, digest: kept.digest })
    }

    /// Whether the store keeps the feed's place.
    pub(crate) const fn has_place(&self) -> bool {
        self.kept.is_ok()
    }

    /// The checkpoint to take now: see [`Checkpoints::begin`].
    pub(crate) fn begin_checkpoint(&self, is_last: bool) -> Option<Checkpoint> {
        let mut checkpoints = self.kept.as_ref().ok()?.checkpoints.lock();
        checkpoints.begin(self.clock.now(), self.confirmed(), is_last)
    }

    /// How the checkpoint that was begun has ended.
    pub(crate) fn end_checkpoint(&self, outcome: Result<(), Arc<str>>) {
        if let Ok(kept) = &self.kept {
            kept.checkpoints.lock().end(self.clock.now(), outcome);
            kept.ended.notify_waiters();
        }
    }

    /// Whether all that was confirmed is kept, or need not be.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.as_ref().map_or(true, |kept| kept.checkpoints.lock().is_kept(self.confirmed()))
    }

    /// The time between two checkpoints; `None` if the place is not kept.
    pub(crate) fn checkpoint_every(&self) -> Option<Duration> {
        self.kept.as_ref().ok().map(|kept| kept.every)
    }

    /// Waits until no checkpoint is under way.
    pub(crate) async fn checkpoint_ended(&self) {
        let Ok(kept) = &self.kept else { return };
        loop {
            let ended = kept.ended.notified();
            if !kept.checkpoints.lock().is_under_way() {
                return;
            }
            ended.await;
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
        life.finished = state.is_over().then_some(now);
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
