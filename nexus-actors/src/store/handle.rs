//! The handle that a node, its agents and its feeds share.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use ractor::ActorRef;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use super::actor::StoreMsg;
use super::checkpoint::FeedMark;
use super::config::StoreConfig;
use super::core::{Changes, Core, FeedRow, Health, Write};
use super::disk::{Disk, FileDisk};
use super::engine::{COMPACT_FROM, Engine};
use super::error::StoreError;
use super::format::{STATE_BYTES_MAX, Stored, encode};
use crate::agent::{AgentCell, Snapshot};
use crate::clock::Millis;

/// Whoever waits for a commit.
pub(super) type Waiter = oneshot::Sender<Result<(), StoreError>>;

/// How long whoever only looks waits for the commit at hand.
const LOOK_MAX: Duration = Duration::from_millis(200);

/// Whether the store writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum StoreState {
    /// All is well.
    Ok,
    /// The last commit failed: agents that must write before they answer refuse updates. It tries again by itself.
    Degraded {
        /// What is wrong and what to do.
        reason: String,
        /// Since when, on the node's clock.
        since: Millis,
        /// Attempts that have failed since.
        failures: u32,
    },
}

/// What is known of the store without asking its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Its file.
    pub path: Arc<str>,
    /// Whether it writes.
    pub state: StoreState,
    /// The file's length.
    pub file_bytes: u64,
    /// The limit of the file's length.
    pub max_bytes: Option<u64>,
    /// Bytes that wait to be written.
    pub waiting_bytes: u64,
    /// The limit of those.
    pub queue_bytes: u64,
    /// Commits since the node started.
    pub commits: u64,
    /// Snapshots committed since the node started.
    pub snapshots: u64,
    /// Commits that failed since the node started.
    pub failures: u64,
    /// How long the last commit took, in microseconds; it may have failed.
    pub last_commit_us: Option<u64>,
    /// Damaged records that were put aside, now and earlier.
    pub damaged: u64,
}

/// A node's store. Cheap to clone. See the module.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    config: StoreConfig,
    disk: Arc<dyn Disk>,
    engine: Mutex<Engine>,
    core: Mutex<Core<Waiter>>,
    /// The feeds' numbers, and their marks as committed.
    feeds: Mutex<BTreeMap<Arc<str>, FeedRow>>,
    /// The last sequence number.
    sequence: AtomicU64,
    degraded: AtomicBool,
    actor: ArcSwapOption<ActorRef<StoreMsg>>,
    /// Whether the actor has been told to look and has not yet begun to.
    told: AtomicBool,
    /// Those who wait for room.
    room: Notify,
    /// Agents that go on once the store writes.
    watchers: Mutex<Vec<Weak<AgentCell>>>,
    commits: AtomicU64,
    snapshots: AtomicU64,
    failures: AtomicU64,
    /// Microseconds; 0 before the first.
    last_commit: AtomicU64,
    damaged: AtomicU64,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.inner.disk).finish()
    }
}

impl Store {
    /// Opens the store in a directory, or makes it. Repairs it if the process before was killed, which reads the whole file, and
    /// compacts a large file of which less than half is used. Blocks: not for an async thread.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Damaged`], [`StoreError::Format`], [`StoreError::Full`], [`StoreError::Io`].
    pub fn open(config: StoreConfig) -> Result<Self, StoreError> {
        let disk = Arc::new(FileDisk::new(&config.path));
        Self::open_on(disk, config)
    }

    /// Opens the store on a disk that need not be one; `config.path` is not used.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(disk: Arc<dyn Disk>, config: StoreConfig) -> Result<Self, StoreError> {
        let mut engine = Engine::new(disk.clone(), config.max_bytes, config.cache_bytes);
        let opened = engine.open()?;
        if engine.compact_if_worth(COMPACT_FROM)? {
            tracing::info!(store = %disk.path(), bytes = engine.bytes(), "compacted");
        }
        Ok(Self {
            inner: Arc::new(Inner {
                core: Mutex::new(Core::new(config.queue_bytes)),
                config,
                disk,
                engine: Mutex::new(engine),
                feeds: Mutex::new(opened.feeds),
                sequence: AtomicU64::new(opened.sequence),
                degraded: AtomicBool::new(false),
                actor: ArcSwapOption::empty(),
                told: AtomicBool::new(false),
                room: Notify::new(),
                watchers: Mutex::default(),
                commits: AtomicU64::new(0),
                snapshots: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                last_commit: AtomicU64::new(0),
                damaged: AtomicU64::new(opened.damaged),
            }),
        })
    }

    /// What to call the store in messages: its file.
    #[must_use]
    pub fn path(&self) -> Arc<str> {
        self.inner.disk.path()
    }

    /// See [`Disk::latency`].
    pub(super) fn latency(&self) -> Duration {
        self.inner.disk.latency()
    }

    /// What is known of it. Costs a look at the file's length.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let inner = &*self.inner;
        let core = inner.core.lock();
        let state = match core.health() {
            Health::Ok => StoreState::Ok,
            Health::Degraded { error, since, failures, .. } => {
                StoreState::Degraded { reason: error.to_string(), since: *since, failures: *failures }
            }
        };
        let waiting_bytes = core.waiting_bytes();
        drop(core);
        StoreStatus {
            path: inner.disk.path(),
            state,
            file_bytes: inner.disk.bytes(),
            max_bytes: inner.config.max_bytes,
            waiting_bytes,
            queue_bytes: inner.config.queue_bytes,
            commits: inner.commits.load(Ordering::Relaxed),
            snapshots: inner.snapshots.load(Ordering::Relaxed),
            failures: inner.failures.load(Ordering::Relaxed),
            last_commit_us: Some(inner.last_commit.load(Ordering::Relaxed)).filter(|took| *took > 0),
            damaged: inner.damaged.load(Ordering::Relaxed),
        }
    }

    /// How far the feed `name` had come at its last checkpoint.
    #[must_use]
    pub fn feed(&self, name: &str) -> Option<FeedMark> {
        let feeds = self.inner.feeds.lock();
        let (name, row) = feeds.get_key_value(name)?;
        let (position, digest) = row.mark?;
        Some(FeedMark { feed: name.clone(), position, digest })
    }

    /// How far all feeds had come at their last checkpoints, by name.
    pub(super) fn marks(&self) -> Vec<FeedMark> {
        let feeds = self.inner.feeds.lock();
        let mark = |(name, row): (&Arc<str>, &FeedRow)| {
            row.mark.map(|(position, digest)| FeedMark { feed: name.clone(), position, digest })
        };
        feeds.iter().filter_map(mark).collect()
    }

    /// How many agents have a record; `None` if that cannot be read now, as when a commit is at hand and takes long. Blocks for
    /// that time.
    #[must_use]
    pub fn agents(&self) -> Option<u64> {
        if self.is_degraded() {
            return None;
        }
        self.inner.engine.try_lock_for(LOOK_MAX)?.agents().ok()
    }

    /// The number of the feed `name`: the same ever after, and on disk before any snapshot that uses it.
    ///
    /// # Errors
    /// [`StoreError::TooManyFeeds`], [`StoreError::Closed`].
    pub fn feed_number(&self, name: &str) -> Result<u16, StoreError> {
        let mut feeds = self.inner.feeds.lock();
        if let Some(row) = feeds.get(name) {
            return Ok(row.number);
        }
        let name: Arc<str> = name.into();
        let last = feeds.values().map(|row| row.number).max();
        let number = last.map_or(Some(0), |last| last.checked_add(1));
        // The last number stays free, so that the numbers can be counted in two bytes.
        let number = number.filter(|number| *number < u16::MAX);
        let number = number.ok_or_else(|| StoreError::TooManyFeeds { feed: name.clone() })?;
        let row = FeedRow { number, mark: None };
        self.inner.core.lock().feed(name.clone(), row.clone(), None)?;
        feeds.insert(name, row);
        drop(feeds);
        self.nudge();
        Ok(number)
    }

    /// Gives unused parts of the file back to the disk; `false` if there were none. Blocks, and what agents write waits meanwhile:
    /// best before the node starts.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`], [`StoreError::Damaged`].
    pub fn compact(&self) -> Result<bool, StoreError> {
        self.inner.engine.lock().compact()
    }

    /// Whether the last commit failed, or the store is closed.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.inner.degraded.load(Ordering::Acquire)
    }

    /// What is wrong, if the last commit failed or the store is closed.
    pub(crate) fn wrong(&self) -> Option<StoreError> {
        if self.is_degraded() { self.inner.core.lock().refusal() } else { None }
    }

    // ---- what agents give ----

    fn write_of(&self, cell: &AgentCell, snapshot: Snapshot, keep: bool) -> Result<Write, StoreError> {
        let (bytes, limit) = (snapshot.state.len() as u64, STATE_BYTES_MAX as u64);
        if bytes > limit {
            return Err(StoreError::TooLarge { agent: cell.name.clone(), bytes, limit });
        }
        let stored = Stored {
            behavior: cell.behavior.clone(),
            level: cell.level(),
            incarnation: cell.incarnation(),
            sequence: self.inner.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            snapshot,
        };
        Ok(Write { record: encode(&cell.name, &stored).into(), keep })
    }

    /// Takes a snapshot that is written sooner or later, also after failures, unless a newer one comes first.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::TooLarge`], [`StoreError::Closed`]: it was not taken.
    pub(crate) fn put(&self, cell: &AgentCell, snapshot: Snapshot) -> Result<(), StoreError> {
        let write = self.write_of(cell, snapshot, true)?;
        self.inner.core.lock().write(cell.name.clone(), write, None)?;
        self.nudge();
        Ok(())
    }

    /// Forgets an agent that lives on another node now, sooner or later, also after failures. What cannot be queued stays: it is found out
    /// to be old when it is to wake.
    pub(crate) fn erase(&self, name: &Arc<str>) {
        let write = Write { record: Arc::from([]), keep: true };
        match self.inner.core.lock().write(name.clone(), write, None) {
            Ok(()) => {}
            Err(error) => {
                return tracing::warn!(agent = %name, %error, "its record in the store of its former node stays");
            }
        }
        self.nudge();
    }

    /// The same, and waits for room.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Closed`], and [`StoreError::Busy`] if the store is degraded: it was not taken.
    pub(crate) async fn give(&self, cell: &AgentCell, snapshot: Snapshot) -> Result<(), StoreError> {
        let write = self.write_of(cell, snapshot, true)?;
        self.gather(cell, write, || None).await
    }

    /// Writes a snapshot and waits until it is committed. After a failure it is tried again if it is to be kept and was taken, and
    /// else forgotten.
    ///
    /// # Errors
    /// Any but `Busy`: it waits for room.
    pub(crate) async fn commit(
        &self,
        cell: &AgentCell,
        snapshot: Snapshot,
        keep: bool,
    ) -> Result<(), StoreError> {
        let write = self.write_of(cell, snapshot, keep)?;
        let mut committed = None;
        let waiter = || {
            let (sender, receiver) = oneshot::channel();
            committed = Some(receiver);
            Some(sender)
        };
        self.gather(cell, write, waiter).await?;
        match committed {
            Some(receiver) => receiver.await.unwrap_or(Err(StoreError::Closed)),
            None => Ok(()),
        }
    }

    /// Adds `write` to what waits, once there is room.
    async fn gather(
        &self,
        cell: &AgentCell,
        write: Write,
        mut waiter: impl FnMut() -> Option<Waiter>,
    ) -> Result<(), StoreError> {
        loop {
            let mut room = pin!(self.inner.room.notified());
            // Registered before the attempt, so that room made between the two is not missed.
            room.as_mut().enable();
            let taken = self.inner.core.lock().write(cell.name.clone(), write.clone(), waiter());
            match taken {
                Err(StoreError::Busy { .. }) if !self.is_degraded() => room.await,
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        self.nudge();
        Ok(())
    }

    /// Writes a feed's mark, after all snapshots that were taken before, and waits until it is committed.
    pub(super) async fn mark(&self, mark: FeedMark) -> Result<(), StoreError> {
        let number = self.feed_number(&mark.feed)?;
        let (sender, receiver) = oneshot::channel();
        let row = FeedRow { number, mark: Some((mark.position, mark.digest)) };
        self.inner.core.lock().feed(mark.feed, row, Some(sender))?;
        self.nudge();
        receiver.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Wakes the agent once something was committed or the store's state has changed. Whoever could not go on registers first and
    /// then tries once more.
    pub(crate) fn watch(&self, cell: &Arc<AgentCell>) {
        self.inner.watchers.lock().push(Arc::downgrade(cell));
    }

    // ---- the actor's part ----

    pub(super) fn core(&self) -> &Mutex<Core<Waiter>> {
        &self.inner.core
    }

    pub(super) fn engine(&self) -> &Mutex<Engine> {
        &self.inner.engine
    }

    /// An actor takes over.
    pub(super) fn attach(&self, actor: ActorRef<StoreMsg>) {
        let mut core = self.inner.core.lock();
        core.begin_again();
        self.set_degraded(core.refusal().is_some());
        drop(core);
        self.inner.actor.store(Some(Arc::new(actor)));
        self.inner.told.store(false, Ordering::SeqCst);
        self.nudge();
    }

    /// Tells the actor to look, unless it was told already.
    pub(super) fn nudge(&self) {
        if let Some(actor) = &*self.inner.actor.load()
            && !self.inner.told.swap(true, Ordering::SeqCst)
        {
            // Fails only when the actor has ended: its successor looks by itself.
            let _ = actor.cast(StoreMsg::Look);
        }
    }

    /// The actor begins to look.
    pub(super) fn looking(&self) {
        self.inner.told.store(false, Ordering::SeqCst);
    }

    /// Commits. Blocks.
    pub(super) fn write(&self, changes: &Changes) -> Result<(), StoreError> {
        let sequence = self.inner.sequence.load(Ordering::Relaxed);
        let result = self.inner.engine.lock().commit(changes, sequence);
        if result.is_err() {
            self.inner.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// These are on disk.
    pub(super) fn committed(&self, changes: &Changes) {
        self.inner.commits.fetch_add(1, Ordering::Relaxed);
        self.inner.snapshots.fetch_add(changes.agents.len() as u64, Ordering::Relaxed);
        let mut feeds = self.inner.feeds.lock();
        for (name, row) in changes.feeds.iter().filter(|(_, row)| row.mark.is_some()) {
            feeds.insert(name.clone(), row.clone());
        }
    }

    /// A commit took so long.
    pub(super) fn took(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        self.inner.last_commit.store(us, Ordering::Relaxed);
    }

    pub(super) fn set_degraded(&self, degraded: bool) {
        self.inner.degraded.store(degraded, Ordering::Release);
    }

    pub(super) fn note_damaged(&self, records: u64) {
        self.inner.damaged.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn tell_watchers(&self) {
        self.inner.room.notify_waiters();
        for cell in std::mem::take(&mut *self.inner.watchers.lock()) {
            if let Some(cell) = cell.upgrade() {
                cell.wake();
            }
        }
    }

    /// Nothing is taken any more.
    pub(super) fn shut(&self) {
        let waiters = self.inner.core.lock().close();
        self.set_degraded(true);
        for waiter in waiters {
            // Fails only when nobody waits any more.
            let _ = waiter.send(Err(StoreError::Closed));
        }
        self.tell_watchers();
    }
}
