//! Families: agents that are declared by a pattern and come to life with their first message.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::level::Level;
use super::name_pattern::NamePattern;
use super::payload::Payload;
use crate::store::Persist;
use crate::supervision::SupervisorRef;

/// What the agents of a family, or a single declared agent, have in common.
#[derive(Clone, Debug)]
pub struct AgentTemplate {
    /// Registered name of their behavior.
    pub behavior: Arc<str>,
    /// Arguments for each of them.
    pub args: Payload,
    /// Their inboxes' limit, at least 1.
    pub inbox: u32,
    /// The level to ask for.
    pub level: Level,
    /// When their states are written to the node's store. Anything but `Persist::None` needs a [`Durable`](super::Durable) behavior.
    pub persist: Persist,
}

/// A declared family.
pub(crate) struct Family {
    /// Its place among the node's families.
    pub(crate) index: u32,
    pub(crate) pattern: NamePattern,
    pub(crate) template: AgentTemplate,
    /// How long its agents are idle before they hibernate, if they do.
    pub(crate) hibernate_after: Option<Duration>,
    /// Whether its agents can be laid down at all: their behavior writes its state down.
    pub(crate) durable: bool,
    /// The current incarnation of its supervisor; none until the tree has started it.
    supervisor: ArcSwapOption<SupervisorRef>,
    /// Stopped for good: messages make no new agents.
    stopped: AtomicBool,
    /// Whether its agents are started with its supervisor.
    eager: AtomicBool,
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family")
            .field("pattern", &self.pattern)
            .field("template", &self.template)
            .finish_non_exhaustive()
    }
}

impl Family {
    pub(crate) fn new(
        index: u32,
        pattern: NamePattern,
        template: AgentTemplate,
        hibernate_after: Option<Duration>,
        durable: bool,
    ) -> Self {
        let supervisor = ArcSwapOption::empty();
        let [stopped, eager] = [false, false].map(AtomicBool::new);
        Self { index, pattern, template, hibernate_after, durable, supervisor, stopped, eager }
    }

    /// A supervisor takes over.
    pub(crate) fn supervise(&self, supervisor: SupervisorRef) {
        self.stopped.store(false, Ordering::SeqCst);
        self.supervisor.store(Some(Arc::new(supervisor)));
    }

    /// The supervisor will not come back by itself.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.supervisor.store(None);
    }

    pub(crate) fn set_eager(&self, eager: bool) {
        self.eager.store(eager, Ordering::Relaxed);
    }

    pub(crate) fn is_eager(&self) -> bool {
        self.eager.load(Ordering::Relaxed)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(crate) fn supervisor(&self) -> Option<Arc<SupervisorRef>> {
        self.supervisor.load_full()
    }
}
