//! Declaring: which agents and families there are, and the routes that lead to them.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use crate::agent::{AgentCell, AgentId, AgentSpec, AgentTemplate, Family, NamePattern, Record};
use crate::route::{DeadLetterReason, GroupSpec, Membership};
use crate::store::Persist;
use crate::supervision::StartError;

/// Why an agent or family could not be declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// No behavior is registered under this name.
    #[error("no behavior `{behavior}` is registered; known are {known}")]
    UnknownBehavior {
        /// The name that was asked for.
        behavior: Arc<str>,
        /// The registered ones, comma-separated.
        known: String,
    },
    /// Agents of this behavior can neither hibernate nor be stored.
    #[error(
        "behavior `{behavior}` is not durable, so its agents can neither hibernate nor be stored: register it with `durable`"
    )]
    NotDurable {
        /// The behavior.
        behavior: Arc<str>,
    },
    /// Its state is to be stored, and the node has no store.
    #[error(
        "an agent with behavior `{behavior}` is to be stored, and this node has no store: give it [store] path"
    )]
    NoStore {
        /// The behavior.
        behavior: Arc<str>,
    },
    /// An agent of this name exists already.
    #[error("an agent `{0}` exists already")]
    AlreadyDeclared(Arc<str>),
    /// The node's limit of agents is reached.
    #[error("agent `{name}` is one more than the node's limit of {limit}")]
    TooManyAgents {
        /// The agent.
        name: Arc<str>,
        /// The limit.
        limit: usize,
    },
}

impl Node {
    /// Declares a group.
    pub fn declare_group(&self, spec: GroupSpec) {
        self.inner.groups.declare(spec, self.inner.clock, self.seed());
    }

    /// Puts an agent into the route table. Its inbox takes messages from now on; its actor is its supervisor's business: spawn
    /// an [`Agent`](crate::agent::Agent) with the answer as its arguments.
    ///
    /// # Errors
    /// [`DeclareError`]; nothing is declared then.
    pub fn declare(&self, name: Arc<str>, template: &AgentTemplate) -> Result<AgentSpec, DeclareError> {
        self.check_template(template)?;
        if self.routes().len() >= self.agents_max() {
            return Err(DeclareError::TooManyAgents { name, limit: self.agents_max() });
        }
        if self.routes().contains(AgentId::of(&name)) {
            return Err(DeclareError::AlreadyDeclared(name));
        }
        let cell = self.insert(name, template, false);
        Ok(self.spec(&cell, template))
    }

    /// Declares agents that come to life with their first message.
    pub(crate) fn declare_family(
        &self,
        pattern: NamePattern,
        template: AgentTemplate,
        hibernate_after: Option<Duration>,
    ) -> Result<Arc<Family>, DeclareError> {
        self.check_template(&template)?;
        let durable = self.inner.behaviors.is_durable(&template.behavior);
        if hibernate_after.is_some() && !durable {
            return Err(DeclareError::NotDurable { behavior: template.behavior });
        }
        let mut families = self.inner.families.write();
        let index = u32::try_from(families.len()).expect("families are declared one by one");
        let family = Arc::new(Family::new(index, pattern, template, hibernate_after, durable));
        families.push(family.clone());
        Ok(family)
    }

    fn check_template(&self, template: &AgentTemplate) -> Result<(), DeclareError> {
        let AgentTemplate { behavior, persist, .. } = template;
        let Some(registered) = self.inner.behaviors.get(behavior) else {
            let known = self.inner.behaviors.names().map(|name| &**name).collect::<Vec<_>>().join(", ");
            return Err(DeclareError::UnknownBehavior { behavior: behavior.clone(), known });
        };
        match persist {
            Persist::None => Ok(()),
            _ if !registered.durable => Err(DeclareError::NotDurable { behavior: behavior.clone() }),
            _ if self.store().is_none() => Err(DeclareError::NoStore { behavior: behavior.clone() }),
            _ => Ok(()),
        }
    }

    /// The family and the name of a dormant agent, and what lies there of it.
    pub(crate) fn dormant(&self, id: AgentId) -> Option<(Arc<Family>, String, Record)> {
        let record = self.routes().dormant(id)?;
        let family = self.inner.families.read()[record.parts().family as usize].clone();
        let name = self.name_of(&record);
        Some((family, name, record))
    }

    /// The name of the agent that `record` lies there for.
    pub(crate) fn name_of(&self, record: &Record) -> String {
        let parts = record.parts();
        let families = self.inner.families.read();
        format!("{}{}", families[parts.family as usize].pattern.prefix(), parts.key)
    }

    /// The name of an agent that is here, awake or asleep, or has just come.
    #[must_use]
    pub fn agent_name(&self, id: AgentId) -> Option<Arc<str>> {
        if let Some(cell) = self.routes().present(id) {
            return Some(cell.name.clone());
        }
        self.dormant(id).map(|(_, name, _)| name.into())
    }

    /// Whether this node has a state of the agent from which it would start: one that sleeps, or was stored before.
    #[must_use]
    pub fn holds_state(&self, id: AgentId) -> bool {
        match self.routes().present(id) {
            Some(cell) => cell.has_snapshot(),
            None => self.dormant(id).is_some(),
        }
    }

    /// The names, in order, of the members of families that are here, awake or asleep. Looks at all agents.
    #[must_use]
    pub fn member_names(&self) -> Vec<Arc<str>> {
        let awake = self.routes().cells().into_iter().map(|cell| cell.name.clone());
        let mut names: Vec<Arc<str>> = awake.filter(|name| self.family_of(name).is_some()).collect();
        names.extend(self.dormant_names(|_| true).into_iter().map(Arc::from));
        names.sort_unstable();
        names
    }

    pub(crate) fn eager_families(&self) -> Vec<Arc<Family>> {
        self.inner.families.read().iter().filter(|family| family.is_eager()).cloned().collect()
    }

    pub(crate) fn family_of(&self, name: &str) -> Option<Arc<Family>> {
        self.inner.families.read().iter().find(|family| family.pattern.matches(name)).cloned()
    }

    /// The cells that belong to `family` now, by name.
    pub(crate) fn family_cells(&self, family: &Family) -> Vec<Arc<AgentCell>> {
        let mut cells = self.routes().cells();
        cells.retain(|cell| family.pattern.matches(&cell.name));
        cells
    }

    /// The cell called `name`: the one there is, or a new one made from `template`.
    pub(crate) fn insert(&self, name: Arc<str>, template: &AgentTemplate, can_sleep: bool) -> Arc<AgentCell> {
        let (cell, new) = self.routes().get_or_insert(AgentId::of(&name), |dormant| {
            let cell = match dormant {
                Some(record) => AgentCell::woken(name, template, record),
                None => AgentCell::new(name, template),
            };
            cell.that_can_sleep(can_sleep)
        });
        if new {
            self.follow_groups(&cell);
        }
        cell
    }

    /// A route came or went: groups have the agents that have routes.
    pub(crate) fn follow_groups(&self, cell: &AgentCell) {
        self.follow_groups_named(&cell.name);
    }

    /// The same, by the agent's name.
    pub(crate) fn follow_groups_named(&self, name: &Arc<str>) {
        let id = AgentId::of(name);
        self.inner.groups.follow(name, || match self.routes().get(id) {
            Some(cell) => Membership::Awake(cell),
            None if self.routes().contains(id) => Membership::Asleep,
            None => Membership::Gone,
        });
    }

    pub(crate) fn spec(&self, cell: &Arc<AgentCell>, template: &AgentTemplate) -> AgentSpec {
        AgentSpec {
            name: cell.name.clone(),
            args: template.args.clone(),
            level: template.level,
            node: self.clone(),
            cell: cell.clone(),
            family: None,
        }
    }

    /// Puts a member of `family` into the route table, if it is not there.
    pub(crate) fn declare_member(
        &self,
        name: Arc<str>,
        family: &Family,
    ) -> Result<Arc<AgentCell>, DeclareError> {
        if self.routes().len() >= self.agents_max() && !self.routes().contains(AgentId::of(&name)) {
            return Err(DeclareError::TooManyAgents { name, limit: self.agents_max() });
        }
        Ok(self.insert(name, &family.template, family.durable))
    }

    /// Whether messages to the agent's name still reach this cell.
    pub(crate) fn is_routed(&self, cell: &Arc<AgentCell>) -> bool {
        self.routes().belongs_to(cell)
    }

    /// The agent has ended for good: what waits in its inbox becomes dead letters. With `forget` its route goes too, so that a
    /// family's agent can come to life again.
    pub(crate) fn retire(&self, cell: &Arc<AgentCell>, reason: DeadLetterReason, forget: bool) {
        if !forget {
            if cell.retire(&self.inner.dead_letters, reason) {
                self.release(cell.id);
            }
            return;
        }
        self.unwatch_idle(cell);
        let mut retired = self.inner.retired.lock();
        if self.routes().remove(cell) {
            self.follow_groups(cell);
            // Nobody pushes any more: senders push under the route's lock, or under a group's.
            cell.retire(&self.inner.dead_letters, reason);
            *retired += cell.tally();
            self.release(cell.id);
        }
    }
}

impl From<DeclareError> for StartError {
    fn from(error: DeclareError) -> Self {
        Self::Failed(error.into())
    }
}
