//! A supervisor's children, in start order, with their states.
//!
//! Sized for a million: one boxed record a child, three keys of 8 to 24 bytes, no operation worse than O(log n). The hash
//! maps are only looked up, never iterated, so that order never depends on hashing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{AttemptId, ChildKey, Process, WaitId};
use crate::clock::Millis;
use crate::supervision::reason::ExitReason;
use crate::supervision::spec::{ChildKind, ChildRules};

/// A child's record.
pub(crate) struct Child<S, P> {
    pub(crate) id: Arc<str>,
    pub(crate) start: S,
    pub(crate) rules: Arc<ChildRules>,
    /// Changed only through [`Table::set_state`], which keeps the indexes and counts right.
    state: State<P>,
    /// When it last came up.
    pub(crate) started_at: Option<Millis>,
    pub(crate) last_exit: Option<Box<LastExit>>,
    /// How often it was started again, for any reason.
    pub(crate) restarts: u32,
    /// Failures in a row, for the back-off.
    pub(super) streak: u32,
}

/// How and when a child last ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LastExit {
    pub(crate) reason: ExitReason,
    pub(crate) at: Millis,
}

/// Where a child is in its life.
pub(crate) enum State<P> {
    /// Not running, and nothing is about to change that. OTP: pid `undefined`.
    Down,
    /// Its start is under way.
    Starting(Box<Starting<P>>),
    /// Running.
    Up(P),
    /// It exited while the supervisor was busy with another child; the exit waits for its turn, like a message in OTP's
    /// mailbox.
    Exited(Box<Exited>),
    /// It was told to end.
    Stopping(Box<Stopping<P>>),
    /// It is to be restarted: after a back-off, after its siblings were terminated, or after another failed attempt.
    /// OTP: pid `restarting`.
    Restarting(Box<Waiting>),
}

pub(crate) struct Starting<P> {
    pub(super) attempt: AttemptId,
    /// The actor, if it is already known while it is getting ready: a nested supervisor starting its own children.
    pub(crate) process: Option<P>,
}

pub(crate) struct Exited {
    pub(super) pid: u64,
    pub(super) reason: ExitReason,
}

pub(crate) struct Stopping<P> {
    pub(crate) process: P,
    /// The running time-out of this stage, if it has one of its own.
    pub(super) timer: Option<super::TimerId>,
    pub(super) killed: bool,
}

pub(crate) struct Waiting {
    pub(super) token: WaitId,
    /// The child whose exit caused the restart.
    pub(super) cause: Arc<str>,
    pub(super) reason: ExitReason,
    /// The running back-off.
    pub(super) timer: Option<super::TimerId>,
}

impl<P: Process> State<P> {
    /// The process whose exit concerns this child.
    fn pid(&self) -> Option<u64> {
        match self {
            Self::Up(process) => Some(process.pid()),
            Self::Stopping(stopping) => Some(stopping.process.pid()),
            Self::Down | Self::Starting(_) | Self::Exited(_) | Self::Restarting(_) => None,
        }
    }

    /// The actor, also while it starts and ends.
    pub(crate) fn process(&self) -> Option<&P> {
        match self {
            Self::Up(process) => Some(process),
            Self::Stopping(stopping) => Some(&stopping.process),
            Self::Starting(starting) => starting.process.as_ref(),
            Self::Down | Self::Exited(_) | Self::Restarting(_) => None,
        }
    }
}

impl<S, P> Child<S, P> {
    pub(crate) const fn state(&self) -> &State<P> {
        &self.state
    }
}

/// How many children there are. OTP: `count_children/1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildCounts {
    /// All children, running or not.
    pub specs: usize,
    /// Those whose actor lives.
    pub active: usize,
    /// Supervisors among all children.
    pub supervisors: usize,
    /// Workers among all children.
    pub workers: usize,
}

pub(crate) struct Table<S, P> {
    children: BTreeMap<ChildKey, Box<Child<S, P>>>,
    by_id: HashMap<Arc<str>, ChildKey>,
    by_pid: HashMap<u64, ChildKey>,
    last_key: u64,
    active: usize,
    supervisors: usize,
}

impl<S, P: Process> Table<S, P> {
    pub(super) fn new() -> Self {
        Self {
            children: BTreeMap::new(),
            by_id: HashMap::new(),
            by_pid: HashMap::new(),
            last_key: 0,
            active: 0,
            supervisors: 0,
        }
    }

    /// Appends a child that is down. Its id must be new.
    pub(super) fn push(&mut self, id: Arc<str>, start: S, rules: Arc<ChildRules>) -> ChildKey {
        self.last_key += 1;
        let key = ChildKey(self.last_key);
        self.supervisors += usize::from(rules.kind == ChildKind::Supervisor);
        let previous = self.by_id.insert(id.clone(), key);
        assert!(previous.is_none(), "the id of a new child is unique");
        let child = Child {
            id,
            start,
            rules,
            state: State::Down,
            started_at: None,
            last_exit: None,
            restarts: 0,
            streak: 0,
        };
        self.children.insert(key, Box::new(child));
        key
    }

    pub(super) fn remove(&mut self, key: ChildKey) {
        self.set_state(key, State::Down);
        if let Some(child) = self.children.remove(&key) {
            self.by_id.remove(&child.id);
            self.supervisors -= usize::from(child.rules.kind == ChildKind::Supervisor);
        }
    }

    /// Replaces a child's state; gone children have none.
    pub(super) fn set_state(&mut self, key: ChildKey, state: State<P>) {
        let Some(child) = self.children.get_mut(&key) else { return };
        let (old, new) = (child.state.pid(), state.pid());
        child.state = state;
        if old == new {
            return;
        }
        if let Some(pid) = old {
            self.by_pid.remove(&pid);
            self.active -= 1;
        }
        if let Some(pid) = new {
            self.by_pid.insert(pid, key);
            self.active += 1;
        }
    }

    pub(crate) fn get(&self, key: ChildKey) -> Option<&Child<S, P>> {
        self.children.get(&key).map(|child| &**child)
    }

    pub(super) fn get_mut(&mut self, key: ChildKey) -> Option<&mut Child<S, P>> {
        self.children.get_mut(&key).map(|child| &mut **child)
    }

    pub(crate) fn find(&self, id: &str) -> Option<ChildKey> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn by_pid(&self, pid: u64) -> Option<ChildKey> {
        self.by_pid.get(&pid).copied()
    }

    /// The children in start order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (ChildKey, &Child<S, P>)> {
        self.children.iter().map(|(key, child)| (*key, &**child))
    }

    /// The keys from `first` on, in start order.
    pub(super) fn keys_from(&self, first: ChildKey) -> Vec<ChildKey> {
        self.children.range(first..).map(|(key, _)| *key).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    pub(crate) fn counts(&self) -> ChildCounts {
        ChildCounts {
            specs: self.children.len(),
            active: self.active,
            supervisors: self.supervisors,
            workers: self.children.len() - self.supervisors,
        }
    }
}
