//! The node's part in hibernation: who is watched, who is told to sleep, who is laid down.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::idle::idle_at;
use crate::agent::{AgentCell, AgentMessage, Family, HostMessage, Target};
use crate::clock::Millis;
use crate::error::AgentError;
use crate::node::Node;

/// An agent that hibernates once it has been idle for long enough.
pub(crate) struct Watched {
    cell: Weak<AgentCell>,
    after: Duration,
}

impl Node {
    /// `cell` hibernates once it has been idle for `after`.
    pub(crate) fn watch_idle(&self, cell: &Arc<AgentCell>, after: Duration) {
        let mut watch = self.idle().lock();
        let turn = watch.watch(Watched { cell: Arc::downgrade(cell), after }, self.clock().now() + after);
        // One of an earlier incarnation.
        if let Some(earlier) = cell.set_turn(Some(turn)) {
            watch.forget(earlier);
        }
    }

    pub(crate) fn unwatch_idle(&self, cell: &AgentCell) {
        let mut watch = self.idle().lock();
        if let Some(turn) = cell.set_turn(None) {
            watch.forget(turn);
        }
    }

    /// Tells at most `max` agents that have been idle for long enough to hibernate, and says when to look again.
    pub(crate) fn hibernate_idle(&self, now: Millis, max: usize) -> Option<Millis> {
        let mut watch = self.idle().lock();
        for _ in 0..max {
            let Some(Watched { cell, after }) = watch.next_due(now) else { break };
            let Some(present) = cell.upgrade().filter(|cell| !cell.is_retired()) else { continue };
            // Agents that do not follow, because a message comes at that moment, are asked again as late as the others.
            let again = idle_at(present.rested_at(), after, now).unwrap_or_else(|| {
                if let Some(actor) = present.actor() {
                    // Fails only when the actor has ended; its successor is watched anew.
                    let _ = actor.cast(AgentMessage::Host(HostMessage::Hibernate));
                }
                now + after
            });
            present.set_turn(Some(watch.watch(Watched { cell, after }, again)));
        }
        watch.next_at()
    }

    /// The agent sleeps from now on; `false` if letters have come for it, `None` if its name leads elsewhere.
    pub(crate) fn lay_down(&self, cell: &AgentCell, family: &Family) -> Option<bool> {
        let record = cell.record(family)?;
        let mut retired = self.retired().lock();
        let done = self.routes().lay_down(cell, record);
        if done == Some(true) {
            self.unwatch_idle(cell);
            *retired += cell.tally();
        }
        done
    }

    /// The names, in order, of the agents that sleep now and whose names are `wanted`. Looks at all of them: not for an async thread
    /// where they are many.
    #[must_use]
    pub fn dormant_names(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut names = Vec::new();
        self.routes().for_each_dormant(|record| {
            let name = self.name_of(record);
            if wanted(&name) {
                names.push(name);
            }
        });
        names.sort_unstable();
        names
    }

    /// Agents that sleep now.
    #[must_use]
    pub fn dormant_count(&self) -> usize {
        self.routes().dormant_len()
    }

    /// Asks an agent to hibernate now. It does if it belongs to a family, its behavior is [`Durable`](crate::agent::Durable) and
    /// it has nothing to do when its turn comes: the event `agent.hibernated` says so.
    ///
    /// # Errors
    /// As [`Node::inspect`].
    pub fn hibernate<T: Target + ?Sized>(&self, target: &T) -> Result<(), AgentError> {
        self.control(target.id(), target.name(), AgentMessage::Host(HostMessage::Hibernate))
    }
}
