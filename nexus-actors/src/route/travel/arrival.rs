//! The target's side: an agent is expected, stored, activated and joined, or cancelled.

use std::sync::Arc;

use super::super::halt::Halt;
use super::super::passage::Before;
use super::{Luggage, MERGES_MAX, TravelError, WAKE_PAUSE};
use crate::agent::{AgentCell, AgentId, Family, Leaving, Record};
use crate::error::AgentError;
use crate::node::Node;

/// An agent that is to arrive. If it is dropped, letters for the agent wait for ever: it is [activated](Self::activate) and
/// [joined](Self::join), or [cancelled](Self::cancel).
#[derive(Debug)]
pub struct Arrival {
    pub(super) node: Node,
    pub(super) name: Arc<str>,
    source: Option<Arc<str>>,
    pub(super) family: Arc<Family>,
    pub(super) halt: Arc<Halt>,
    pub(super) before: Before,
    pub(super) cell: Option<Arc<AgentCell>>,
}

impl Node {
    /// An agent with this behavior is to come from the node `source`: what is sent to it here waits from now on.
    ///
    /// # Errors
    /// [`TravelError`]: it cannot live here.
    pub fn expect(&self, name: &Arc<str>, behavior: &str, source: &str) -> Result<Arrival, TravelError> {
        let family = self.family_of(name).ok_or_else(|| TravelError::NoFamily(name.clone()))?;
        let expected = family.template.behavior.clone();
        if *expected != *behavior {
            let (agent, found) = (name.clone(), behavior.into());
            return Err(TravelError::OtherBehavior { agent, found, expected });
        }
        if !family.durable {
            return Err(TravelError::NotDurable { agent: name.clone(), behavior: expected });
        }
        if self.routes().len() >= self.agents_max() {
            return Err(TravelError::TooMany { agent: name.clone(), limit: self.agents_max() });
        }
        self.arrive(name, family, Some(source)).ok_or_else(|| TravelError::Here(name.clone()))
    }

    /// What is sent to the agent waits from now on. `None` if it is here, or between two places already.
    pub(super) fn arrive(
        &self,
        name: &Arc<str>,
        family: Arc<Family>,
        source: Option<&str>,
    ) -> Option<Arrival> {
        let limit = u64::from(family.template.inbox.max(1));
        let retire = |cell: &AgentCell, tally| {
            self.unwatch_idle(cell);
            *self.retired().lock() += tally;
        };
        let (halt, before) = self.routes().halt_arriving(AgentId::of(name), source, limit, retire)?;
        let (node, name, source) = (self.clone(), name.clone(), source.map(Arc::from));
        Some(Arrival { node, name, source, family, halt, before, cell: None })
    }
}

impl Node {
    /// Whether the agent is still arriving: until its route leads to it, it can neither sleep nor be forgotten. That is seen to when
    /// [all has come](Arrival::join).
    pub(crate) fn defers_end(&self, cell: &AgentCell) -> bool {
        let arrives = || {
            let arrival = self.routes().halt(cell.id).and_then(|halt| halt.arrival());
            arrival.is_some_and(|arrival| std::ptr::eq(&raw const *arrival, cell))
        };
        if !arrives() || !cell.set_leaving(Leaving::No, Leaving::Ended) {
            return false;
        }
        // It may have come between the two: only one of the two sees to it.
        arrives() || !cell.set_leaving(Leaving::Ended, Leaving::No)
    }
}

impl Arrival {
    /// What it brings along is here: kept on disk, if its family is stored.
    ///
    /// # Errors
    /// [`TravelError::NotStored`].
    pub async fn store(&mut self, luggage: &Luggage) -> Result<(), TravelError> {
        let cell = self.node.cell_of(&self.name, &self.family, Some(luggage));
        if cell.keeper().is_some()
            && let Some(store) = self.node.store()
        {
            let stored = store.commit(&cell, luggage.snapshot(), true).await;
            stored.map_err(|error| TravelError::NotStored {
                agent: self.name.clone(),
                reason: error.to_string(),
            })?;
        }
        self.cell = Some(cell);
        Ok(())
    }

    /// The agent lives here: it starts, and handles what other nodes have sent, in order.
    pub fn activate(&self) {
        let Some(cell) = &self.cell else { return };
        self.node.routes().note_live(cell);
        self.halt.arrived(cell);
        self.node.activate(&self.family, cell);
    }

    /// What this node's own agents send goes to it from now on, behind all that they sent by another way. Returns when it does. What this
    /// node had of the agent itself, from the time of a partition, it merges into what has come.
    pub async fn join(self) {
        let Some(cell) = &self.cell else { return };
        let way = match &self.before {
            Before::Way(way) => Some(way.clone()),
            Before::Unclaimed => self.source.as_ref().and_then(|source| self.node.way_to(source)),
            Before::Nothing | Before::Asleep(_) => None,
        };
        if let Some(way) = way {
            self.node.fence(cell.id, &way).await;
        }
        if matches!(self.before, Before::Asleep(_)) {
            self.node.routes().merging.lock().insert(cell.id);
        }
        self.node.routes().resume(&self.halt, cell);
        self.node.follow_groups(cell);
        if cell.set_leaving(Leaving::Ended, Leaving::No) {
            self.node.conclude(&self.family, cell);
        } else if cell.actor().is_none() {
            // It may have failed to start meanwhile, when its route did not lead to it yet.
            self.node.activate(&self.family, cell);
        }
        // Last: one that has ended meanwhile wakes for it.
        if let Before::Asleep(record) = &self.before {
            self.give(record).await;
            self.node.routes().merging.lock().remove(&cell.id);
        }
    }

    /// Gives the agent what this node had of it, again if it ends over that.
    async fn give(&self, record: &Record) {
        for attempt in 1.. {
            match self.node.absorb(&self.name, luggage_of(&self.family, record)).await {
                Ok(()) => return,
                Err(AgentError::Stopped { .. }) if attempt < MERGES_MAX => {
                    tokio::time::sleep(WAKE_PAUSE).await;
                }
                Err(error) => {
                    return tracing::warn!(agent = %self.name, %error, "what this node had of it is lost");
                }
            }
        }
    }

    /// The agent does not come: what waits goes where its letters went before.
    pub async fn cancel(self) {
        let Self { node, name, family, halt, before, cell, .. } = self;
        let id = AgentId::of(&name);
        let record = match &before {
            Before::Asleep(record) => Some(record.clone()),
            _ => None,
        };
        if cell.is_some_and(|cell| cell.keeper().is_some())
            && record.is_none()
            && let Some(store) = node.store()
        {
            store.erase(&name);
        }
        match before {
            Before::Way(way) => {
                node.drain(&name, &halt, &way, |routes| routes.turn(&halt, id, Some(&way))).await
            }
            Before::Asleep(record) if node.routes().resume_asleep(&halt, id, record.clone()) => {}
            Before::Nothing | Before::Unclaimed if node.routes().turn(&halt, id, None) => {}
            // Claimed like any that a message has come for, and sent after it.
            _ => {
                let luggage = record.map(|record| luggage_of(&family, &record));
                let cell = node.cell_of(&name, &family, luggage.as_ref());
                node.resume(&halt, &family, &cell);
            }
        }
    }
}

fn luggage_of(family: &Family, record: &Record) -> Luggage {
    let parts = record.parts();
    Luggage::of(&family.template.behavior, parts.level, parts.incarnation, &record.snapshot())
}
