//! A node: what everything on one machine shares. Cheap to clone; the handle behaviors, feeds and endpoints hold.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::metrics::Meter;
use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::agent::{
    AgentCell, AgentId, AgentMessage, AgentOverview, AgentStatus, Behaviors, Family, HostMessage, IdleWatch,
    Level, LevelGranted, NamePattern, Reply, ReplyPort, Request, RequestId, Tally, Target, Watched,
};
use crate::clock::{Clock, Millis};
use crate::error::AgentError;
use crate::performance::Controls;
use crate::rng::Seed;
use crate::route::balance::MemberOverview;
use crate::route::remote::Remote;
use crate::route::{DeadLetters, GroupOverview, Groups, RouteTable};
use crate::scheduler::Schedulers;
use crate::store::Store;
use crate::telemetry::{Event, Events, Metrics};
use crate::text::{REASON_BYTES_MAX, cut};

mod declare;

pub use declare::DeclareError;

/// A node's limits and identity. All of them are bounded by the topology's validation.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The node's name, the first part of every path in its tree.
    pub name: Arc<str>,
    /// The seed of all its randomness.
    pub seed: Seed,
    /// Messages an agent handles before it lets stop and control messages have a turn. More is faster under load and slower
    /// to react. Default 128.
    pub batch: u32,
    /// Agents the node may hold. Default 1,000,000.
    pub agents_max: usize,
    /// Dead letters kept; with 0 they are only counted. Default 1,024.
    pub dead_letters: usize,
    /// Events kept. Default 65,536.
    pub events: usize,
    /// The runtimes that agents live on. Default: none but the one that the node is started on.
    pub schedulers: Option<Schedulers>,
    /// Where agents' states are written. Default: nowhere.
    pub store: Option<Store>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: "nexus".into(),
            seed: Seed::new(0),
            batch: 128,
            agents_max: 1_000_000,
            dead_letters: 1024,
            events: 65_536,
            schedulers: None,
            store: None,
        }
    }
}

/// One node. See the module.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.inner.config.name).finish_non_exhaustive()
    }
}

struct Inner {
    config: NodeConfig,
    clock: Clock,
    events: Events,
    metrics: Metrics,
    behaviors: Behaviors,
    routes: RouteTable,
    groups: Groups,
    families: RwLock<Vec<Arc<Family>>>,
    controls: Controls,
    dead_letters: DeadLetters,
    /// Messages to nobody: sent and dead-lettered, with no agent to count them.
    unroutable: AtomicU64,
    /// Of this life of the node, and no other.
    life: u64,
    /// Asks so far that may be tried again.
    repeatable_asks: AtomicU64,
    /// The way to other nodes.
    remote: OnceLock<Arc<dyn Remote>>,
    /// Messages for which there was no room on that way: sent and rejected.
    remote_rejected: AtomicU64,
    /// Requests that agents answered with an error that nobody waited for, and when that was last told.
    refused: AtomicU64,
    /// Requests of feeds that their agents had handled before.
    skipped: AtomicU64,
    refusal_told: Mutex<Option<Millis>>,
    /// Agents that may hibernate.
    idle: Mutex<IdleWatch<Watched>>,
    /// The sums of agents whose routes are gone. Held while one goes, so that a sum over all never misses it.
    retired: Mutex<Tally>,
}

impl Node {
    /// A node without agents. `meter` makes its instruments.
    #[must_use]
    pub fn new(config: NodeConfig, behaviors: Behaviors, clock: Clock, meter: &Meter) -> Self {
        let events = Events::new(clock, config.events);
        let dead_letters = DeadLetters::new(clock, events.clone(), config.dead_letters);
        let controls = Controls::new(config.batch);
        let life = xxh3_64_with_seed(config.name.as_bytes(), config.seed.get() ^ clock.unix_ms(Millis::ZERO));
        Self {
            inner: Arc::new(Inner {
                config,
                clock,
                events,
                metrics: Metrics::new(meter),
                behaviors,
                routes: RouteTable::default(),
                groups: Groups::default(),
                families: RwLock::default(),
                controls,
                dead_letters,
                unroutable: AtomicU64::new(0),
                life,
                repeatable_asks: AtomicU64::new(0),
                remote: OnceLock::new(),
                remote_rejected: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                skipped: AtomicU64::new(0),
                refusal_told: Mutex::default(),
                idle: Mutex::default(),
                retired: Mutex::default(),
            }),
        }
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.inner.config.name
    }

    /// The seed of the node's randomness.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.inner.config.seed
    }

    /// The node's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The node's event log.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// The node's dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.inner.dead_letters
    }

    /// The behaviors this node can run.
    #[must_use]
    pub fn behaviors(&self) -> &Behaviors {
        &self.inner.behaviors
    }

    /// The runtimes that agents live on, if they have some of their own.
    #[must_use]
    pub fn schedulers(&self) -> Option<&Schedulers> {
        self.inner.config.schedulers.as_ref()
    }

    /// Where agents' states are written, if anywhere.
    #[must_use]
    pub fn store(&self) -> Option<&Store> {
        self.inner.config.store.as_ref()
    }

    /// How many agents in the route table belong to each runtime, in the order of the layout; nothing without schedulers.
    /// Looks at every agent: not for an async thread.
    #[must_use]
    pub fn agents_placed(&self) -> Vec<u64> {
        let Some(schedulers) = self.schedulers() else { return Vec::new() };
        let mut counts = vec![0; schedulers.layout().runtimes.len()];
        self.routes().for_each(|cell| {
            if let Some(at) = schedulers.index_of(cell.id) {
                counts[at] += 1;
            }
        });
        counts
    }

    /// Agents that may hibernate.
    pub(crate) fn idle(&self) -> &Mutex<IdleWatch<Watched>> {
        &self.inner.idle
    }

    /// The sums of agents whose routes are gone.
    pub(crate) fn retired(&self) -> &Mutex<Tally> {
        &self.inner.retired
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// What the performance monitor turns.
    #[inline]
    pub(crate) fn controls(&self) -> &Controls {
        &self.inner.controls
    }

    /// Messages an agent handles now before it lets others run: [`NodeConfig::batch`], or less while the CPU is short.
    pub(crate) fn batch(&self) -> u32 {
        self.controls().batch()
    }

    /// The batch that the node was given.
    pub(crate) fn batch_configured(&self) -> u32 {
        self.inner.config.batch.max(1)
    }

    pub(crate) fn agents_max(&self) -> usize {
        self.inner.config.agents_max
    }

    pub(crate) fn routes(&self) -> &RouteTable {
        &self.inner.routes
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.inner.groups
    }

    pub(crate) fn remote_slot(&self) -> &OnceLock<Arc<dyn Remote>> {
        &self.inner.remote
    }

    /// An id for an ask that may be tried again.
    pub(crate) fn next_request_id(&self) -> RequestId {
        let number = self.inner.repeatable_asks.fetch_add(1, Ordering::Relaxed);
        RequestId::new(self.inner.life, number)
    }

    pub(crate) fn count_remote_rejected(&self) {
        self.inner.remote_rejected.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn count_unroutable(&self) {
        self.inner.unroutable.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a refusal that nobody waited for, and tells of it at most once a second.
    pub(crate) fn note_refusal(&self, agent: &Arc<str>, request: &Request, refusal: &AgentError) {
        self.inner.refused.fetch_add(1, Ordering::Relaxed);
        let now = self.clock().now();
        let mut told = self.inner.refusal_told.lock();
        if told.is_none_or(|last| now.since(last).as_secs() >= 1) {
            *told = Some(now);
            drop(told);
            self.events().emit(Event::RequestRefused {
                agent: agent.clone(),
                operation: request.operation,
                key: cut(&request.key, REASON_BYTES_MAX).into(),
                reason: cut(&refusal.to_string(), REASON_BYTES_MAX).into(),
            });
        }
    }

    // ---- looking ----

    /// Agents in the route table, dormant ones included.
    #[must_use]
    pub fn agent_count(&self) -> usize {
        self.routes().len()
    }

    /// Whether the agent is here, awake or dormant: one map read. Members of families that nobody has sent a message to yet are not. One
    /// that has come from another node is, also while what this node's agents send still waits for what they sent before.
    #[must_use]
    pub fn has_agent<T: Target + ?Sized>(&self, target: &T) -> bool {
        self.routes().contains(target.id()) || self.routes().present(target.id()).is_some()
    }

    /// Whether this node knows an agent of this name: it is here, or one of its families makes it.
    #[must_use]
    pub fn declares(&self, name: &str) -> bool {
        self.has_agent(name) || self.family_of(name).is_some()
    }

    /// All agents that have an inbox, that is all but the dormant ones, sorted by name.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentOverview> {
        let now = self.clock().now();
        self.routes().cells().iter().map(|cell| cell.overview(now)).collect()
    }

    /// The names of at most `limit` agents that match `pattern`, those that come next after the name `after`, in order. Agents that sleep
    /// are among them, those that have stopped are not. Looks at every agent.
    #[must_use]
    pub fn names(&self, pattern: &NamePattern, after: &str, limit: usize) -> Vec<Arc<str>> {
        let wanted = |name: &str| name > after && pattern.matches(name);
        let mut names = Vec::new();
        self.routes().for_each(|cell| {
            if !cell.is_retired() && wanted(&cell.name) {
                names.push(cell.name.clone());
            }
        });
        names.extend(self.dormant_names(wanted).into_iter().map(Arc::from));
        names.sort_unstable();
        // One may have gone to sleep between the two looks.
        names.dedup();
        names.truncate(limit);
        names
    }

    /// One agent. The counters of a dormant one are among the node's.
    #[must_use]
    pub fn agent<T: Target + ?Sized>(&self, target: &T) -> Option<AgentOverview> {
        let now = self.clock().now();
        if let Some(cell) = self.routes().get(target.id()) {
            return Some(cell.overview(now));
        }
        let (family, name, record) = self.dormant(target.id())?;
        let template = &family.template;
        let cell = AgentCell::woken(name.into(), template, &record);
        Some(AgentOverview { status: AgentStatus::Dormant, ..cell.overview(now) })
    }

    /// The node's message counters: all agents there are and ever were, and messages to nobody. A message to another node's agent counts
    /// there, or here if it does not get there. At rest
    /// `sent = processed + rejected + dead_lettered + queued`.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let retired = self.inner.retired.lock();
        let mut tally = *retired;
        self.routes().for_each(|cell| tally += cell.tally());
        let unroutable = self.inner.unroutable.load(Ordering::Acquire);
        tally.sent += unroutable;
        tally.dead_lettered += unroutable;
        let halted = self.routes().halted();
        tally.sent += halted;
        tally.queued += halted;
        let rejected = self.controls().shed_uncounted() + self.inner.remote_rejected.load(Ordering::Acquire);
        tally.sent += rejected;
        tally.rejected += rejected;
        tally
    }

    /// `agent.state_updated`: updates handled since the node started.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.inner.metrics.updates.load(Ordering::Relaxed)
    }

    /// Requests that were sent, not asked, and that their agents answered with an error, since the node started. They count as
    /// processed; the events name some of them.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(Ordering::Relaxed)
    }

    /// Requests that feeds have delivered again to agents that had handled them, since the node started. Each delivery is a message of its
    /// own: they count as sent and as processed, and change nothing.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.inner.skipped.load(Ordering::Relaxed)
    }

    #[cold]
    pub(crate) fn count_skipped(&self) {
        self.inner.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// The place of the last request of the feed with this number that the agent has handled, 0 if it has handled none; `None` if it is
    /// not on this node. Only of feeds that say what their requests [follow](crate::store::Follows), and of what a store has.
    #[must_use]
    pub fn feed_mark(&self, agent: AgentId, feed: u16) -> Option<u64> {
        if let Some(cell) = self.routes().get(agent) {
            return Some(cell.mark_of(feed));
        }
        self.routes().dormant(agent).map(|record| record.parts().marks.of(feed))
    }

    /// Every group, by name.
    #[must_use]
    pub fn groups_overview(&self) -> Vec<GroupOverview> {
        self.inner.groups.overview()
    }

    /// One group.
    #[must_use]
    pub fn group_overview(&self, group: &str) -> Option<GroupOverview> {
        self.inner.groups.get(group).map(|found| found.overview(&group.into()))
    }

    /// What is known of the agents in `group` now, in order of their names; none if it has no strategy.
    #[must_use]
    pub fn group_members(&self, group: &str) -> Option<Vec<MemberOverview>> {
        self.inner.groups.get(group).map(|group| group.members())
    }

    /// The names of the agents in `group` now, in order.
    #[must_use]
    pub fn group(&self, group: &str) -> Option<Vec<Arc<str>>> {
        self.inner.groups.present(group)
    }

    /// Hears, from now on, every request that is [published](Node::publish) to `group`, in order. Costs publishers a wake-up and
    /// never makes them wait: a listener that falls behind by more than 256 publications is told how many it missed.
    ///
    /// # Errors
    /// [`UnknownGroup`](AgentError::UnknownGroup).
    pub fn listen(&self, group: &str) -> Result<broadcast::Receiver<Arc<Request>>, AgentError> {
        self.inner.groups.listen(group).ok_or_else(|| AgentError::UnknownGroup { name: group.to_owned() })
    }

    /// Asks an agent to show its state. Goes past the inbox: a flooded agent shows itself after its current batch.
    ///
    /// # Errors
    /// [`UnknownAgent`](AgentError::UnknownAgent), [`Stopped`](AgentError::Stopped) if it is not running,
    /// [`NoReply`](AgentError::NoReply) if its behavior shows nothing, [`TimedOut`](AgentError::TimedOut).
    pub async fn inspect<T: Target + ?Sized>(&self, target: &T, timeout: Duration) -> Reply {
        let (port, receiver) = ReplyPort::channel();
        self.control(target.id(), target.name(), AgentMessage::Inspect(port))?;
        match tokio::time::timeout(timeout, receiver).await {
            Ok(answered) => answered.unwrap_or(Err(AgentError::NoReply)),
            Err(_) => Err(timed_out(timeout)),
        }
    }

    /// Asks for an intelligence level; the answer says which one serves the agent from now on.
    ///
    /// # Errors
    /// As [`Node::inspect`].
    pub async fn set_level<T: Target + ?Sized>(
        &self,
        target: &T,
        level: Level,
        timeout: Duration,
    ) -> Result<LevelGranted, AgentError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let message = AgentMessage::Host(HostMessage::SetLevel(level, sender.into()));
        self.control(target.id(), target.name(), message)?;
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(granted)) => Ok(granted),
            Ok(Err(_)) => Err(AgentError::Crashed { reason: "the agent ended meanwhile".into() }),
            Err(_) => Err(timed_out(timeout)),
        }
    }

    /// Sends a control message to an agent's actor, past its inbox.
    pub(crate) fn control(
        &self,
        id: AgentId,
        name: Option<&str>,
        message: AgentMessage,
    ) -> Result<(), AgentError> {
        let name = || name.map_or_else(|| id.to_string(), str::to_owned);
        let Some(cell) = self.routes().get(id) else {
            return Err(match self.dormant(id) {
                Some((_, name, _)) => {
                    AgentError::Stopped { name, reason: "it is dormant; a message wakes it".into() }
                }
                None => AgentError::UnknownAgent { name: name() },
            });
        };
        let stopped = |status: AgentStatus| AgentError::Stopped {
            name: cell.name.to_string(),
            reason: format!("it is {}", status.name()),
        };
        let actor = cell.actor().ok_or_else(|| stopped(cell.status()))?;
        actor.cast(message).map_err(|_| stopped(cell.status()))
    }
}

fn timed_out(limit: Duration) -> AgentError {
    AgentError::TimedOut { after_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
}
