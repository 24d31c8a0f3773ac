//! Families: agents that are declared by a pattern and come to life with their first message.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::cell::AgentCell;
use super::level::Level;
use super::name_pattern::NamePattern;
use super::payload::Payload;

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
}

/// Gives a family's agents their actors. Implemented by whoever supervises the family.
pub(crate) trait Activate: Send + Sync {
    /// Starts an actor for `cell`, which is in the route table already. Must not block; a failure is reported by retiring
    /// the cell.
    fn activate(&self, family: &Arc<Family>, cell: Arc<AgentCell>);
}

/// A declared family.
pub(crate) struct Family {
    pub(crate) pattern: NamePattern,
    pub(crate) template: AgentTemplate,
    /// The current supervisor of the family; none until the tree has started it.
    pub(crate) supervisor: ArcSwapOption<Box<dyn Activate>>,
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Family").field("pattern", &self.pattern).field("template", &self.template).finish()
    }
}

impl Family {
    pub(crate) fn new(pattern: NamePattern, template: AgentTemplate) -> Self {
        Self { pattern, template, supervisor: ArcSwapOption::empty() }
    }
}
