//! What the store holds when the node starts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::format::{Stored, decode};
use crate::agent::{AgentId, Record};
use crate::node::Node;
use crate::route::Membership;
use crate::telemetry::Event;

/// Agents named one by one in [`Restored`], at most; more are counted.
const NAMED_MAX: usize = 100;

/// An agent in the store that this node does not bring back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotRestored {
    /// Its name.
    pub agent: Arc<str>,
    /// Why.
    pub reason: String,
}

/// What a node found in its store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Members of families, which sleep until their first message.
    pub dormant: u64,
    /// Agents that are declared one by one, which will start from what was stored.
    pub declared: u64,
    /// Agents whose record is damaged. It is put aside, and they begin anew.
    pub damaged: u64,
    /// Agents that no topology entry claims any more, or not as it was. Their records stay as they are.
    pub unclaimed: u64,
    /// The first hundred of the damaged and unclaimed ones, in the order of their names.
    pub not_restored: Vec<NotRestored>,
}

impl Restored {
    fn not(&mut self, agent: &str, reason: String) {
        if self.not_restored.len() < NAMED_MAX {
            self.not_restored.push(NotRestored { agent: agent.into(), reason });
        }
    }
}

impl Node {
    /// Brings the store's agents back: members of families sleep from now on, agents that are declared one by one will start from
    /// what was stored. To be called once, after all agents, families and groups are declared and before the tree starts. Reads the
    /// whole store and blocks: not for an async thread.
    ///
    /// # Errors
    /// [`StoreError::NoStore`], [`StoreError::Damaged`] and [`StoreError::Io`]: the store cannot be read.
    pub fn restore(&self) -> Result<Restored, StoreError> {
        let store = self.store().ok_or(StoreError::NoStore)?;
        let mut restored = Restored::default();
        let damaged = store.engine().lock().scan(|name, record| {
            let stored = decode(name, record)?;
            match self.bring_back(name, stored) {
                Ok(Home::Family) => restored.dormant += 1,
                Ok(Home::Declared) => restored.declared += 1,
                Err(reason) => {
                    restored.unclaimed += 1;
                    restored.not(name, reason);
                }
            }
            Ok(())
        })?;
        restored.damaged = damaged.len() as u64;
        store.note_damaged(restored.damaged);
        for (agent, reason) in damaged {
            restored.not(&agent, format!("damaged: {reason}"));
            self.events().emit(Event::SnapshotDamaged { agent, reason: reason.into() });
        }
        restored.not_restored.sort_by(|a, b| a.agent.cmp(&b.agent));
        Ok(restored)
    }

    /// Gives the agent `name` what was stored of it.
    fn bring_back(&self, name: &str, stored: Stored) -> Result<Home, String> {
        if let Some(cell) = self.routes().get(AgentId::of(name)) {
            claim(name, &stored, &cell.behavior, cell.keeper().is_some())?;
            cell.restore(stored.incarnation, stored.level, stored.snapshot);
            return Ok(Home::Declared);
        }
        let family = self.family_of(name).ok_or("no agent or family of the topology has this name")?;
        claim(name, &stored, &family.template.behavior, family.template.persist.is_some())?;
        if self.routes().len() >= self.agents_max() {
            return Err(format!(
                "the node's limit of {} agents is reached (limits.agents)",
                self.agents_max()
            ));
        }
        let record = Record::of(&family, name, stored.level, stored.incarnation, &stored.snapshot);
        self.routes().lay_out(AgentId::of(name), record);
        self.groups().follow(&name.into(), || Membership::Asleep);
        Ok(Home::Family)
    }
}

/// Where an agent was brought back to.
enum Home {
    Family,
    Declared,
}

/// Whether what was stored is for an agent with this behavior.
fn claim(name: &str, stored: &Stored, behavior: &str, persisted: bool) -> Result<(), String> {
    if *stored.behavior != *behavior {
        let was = &stored.behavior;
        return Err(format!(
            "its behavior was `{was}` and is `{behavior}` now: as `{name}` it begins anew, and what was stored is replaced once it is written"
        ));
    }
    if !persisted {
        return Err("it is not persisted any more: it begins anew, and what was stored stays".to_owned());
    }
    Ok(())
}
