//! How supervisors start agents: one by one, or a family under a dynamic supervisor of its own.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::behavior::{AgentSpec, Spawn};
use super::cell::AgentCell;
use super::family::{AgentTemplate, Family};
use super::name_pattern::NamePattern;
use crate::node::{DeclareError, Node};
use crate::route::DeadLetterReason;
use crate::supervision::{
    Backoff, ChildRules, ChildSpec, ExitReason, StartChild, StartContext, StartError, StartSupervisor,
    Started, SupervisorSpec,
};
use crate::telemetry::Event;

/// Starts one agent, again and again.
struct StartAgent {
    spec: AgentSpec,
    spawn: Arc<Spawn>,
    /// Whether the agent's route goes when it ends: a family's agent comes to life again with its next message.
    forget: bool,
}

impl StartChild for StartAgent {
    fn start(&self, context: StartContext) -> BoxFuture<'static, Result<Started, StartError>> {
        // Two senders may both ask for a new member to be started. If it has ended between the two, its route is gone or leads to
        // another cell, and starting this one would leave an agent that nobody reaches.
        if self.forget && !self.spec.node.is_routed(&self.spec.cell) {
            return Box::pin(async { Err(StartError::Ignored) });
        }
        let spawning = (self.spawn)(self.spec.clone(), context.supervisor().clone());
        Box::pin(async move { Ok(spawning.await?.into()) })
    }

    fn label(&self) -> Option<Arc<str>> {
        Some(self.spec.cell.behavior.clone())
    }

    fn exited(&self, reason: &ExitReason) {
        let AgentSpec { node, cell, .. } = &self.spec;
        cell.note_exit(node.clock().now(), reason.clone());
        let queued = cell.tally().queued;
        node.events().emit(Event::AgentStopped { agent: cell.name.clone(), reason: reason.clone(), queued });
    }

    fn ended(&self) {
        let AgentSpec { node, cell, .. } = &self.spec;
        let started = cell.actor().is_some();
        let reason = if started { DeadLetterReason::AgentStopped } else { DeadLetterReason::StartFailed };
        node.retire(cell, reason, self.forget);
    }
}

/// How a family is supervised.
#[derive(Clone, Debug)]
pub struct FamilyRules {
    /// Id of the family's supervisor; no slashes.
    pub name: Arc<str>,
    /// The rules of each agent.
    pub agent: ChildRules,
    /// Restarts allowed within `period`, over the whole family.
    pub intensity: u32,
    /// See `intensity`.
    pub period: Duration,
    /// Back-off between restarts of an agent, if any.
    pub backoff: Option<Backoff>,
    /// Whether all agents of a range are started with the supervisor, rather than each with its first message.
    pub eager: bool,
}

/// Starts a family's dynamic supervisor, and under it the agents the family has by then: those of a killed predecessor, or
/// those whose first message came before the tree was up.
struct StartFamily {
    node: Node,
    family: Arc<Family>,
    spec: Arc<SupervisorSpec>,
    eager: bool,
}

impl StartChild for StartFamily {
    fn start(&self, context: StartContext) -> BoxFuture<'static, Result<Started, StartError>> {
        let (node, family, eager) = (self.node.clone(), self.family.clone(), self.eager);
        let starting = StartSupervisor::new(self.spec.clone()).start(context);
        Box::pin(async move {
            let started = starting.await?;
            let supervisor = started.nested.as_ref().and_then(|view| view.supervisor());
            // Known before the agents are listed: one that comes to life meanwhile is either listed or finds its supervisor.
            family.supervise(supervisor.expect("a started supervisor is bound to its view"));
            if eager {
                for (count, name) in family.pattern.names().enumerate() {
                    node.declare_member(name.into(), &family)?;
                    breathe(count).await;
                }
            }
            for (count, cell) in node.family_cells(&family).iter().enumerate() {
                node.activate(&family, cell);
                breathe(count).await;
            }
            Ok(started)
        })
    }

    fn ended(&self) {
        self.family.stop();
        for cell in self.node.family_cells(&self.family) {
            self.node.retire(&cell, DeadLetterReason::AgentStopped, true);
        }
    }
}

/// Lets others run now and then in a long loop.
async fn breathe(count: usize) {
    if count % 256 == 255 {
        tokio::task::yield_now().await;
    }
}

impl Node {
    /// Declares the agent `name` and says how to start it. Its inbox takes messages from now on.
    ///
    /// # Errors
    /// [`DeclareError`]; nothing is declared then.
    pub fn agent_child(
        &self,
        name: impl Into<Arc<str>>,
        template: &AgentTemplate,
        rules: ChildRules,
    ) -> Result<ChildSpec, DeclareError> {
        let spec = self.declare(name.into(), template)?;
        let id = spec.name.clone();
        Ok(ChildSpec::new(id, self.start_agent(spec, false), rules))
    }

    /// Declares a family and says how to start its supervisor. Its agents come to life with their first message.
    ///
    /// # Errors
    /// [`DeclareError`]; nothing is declared then.
    pub fn family_child(
        &self,
        pattern: NamePattern,
        template: AgentTemplate,
        rules: FamilyRules,
    ) -> Result<ChildSpec, DeclareError> {
        let label: Arc<str> = pattern.to_string().into();
        let family = self.declare_family(pattern, template)?;
        let spec = SupervisorSpec::dynamic(rules.name, rules.agent)
            .intensity(rules.intensity, rules.period)
            .backoff(rules.backoff);
        let id = spec.name.clone();
        let start = StartFamily { node: self.clone(), family, spec: Arc::new(spec), eager: rules.eager };
        Ok(ChildSpec::new(id, Arc::new(start), ChildRules::supervisor(label)))
    }

    /// Asks the family's supervisor, if it is up, to give `cell` an actor.
    pub(crate) fn activate(&self, family: &Family, cell: &Arc<AgentCell>) {
        if let Some(supervisor) = family.supervisor() {
            let spec = self.spec(cell, &family.template);
            supervisor.post_dynamic(cell.name.clone(), self.start_agent(spec, true));
        } else if family.is_stopped() {
            // The family was stopped while this member was being made; whoever stopped it has not seen it.
            self.retire(cell, DeadLetterReason::AgentStopped, true);
        }
    }

    fn start_agent(&self, spec: AgentSpec, forget: bool) -> Arc<dyn StartChild> {
        let (_, spawn) =
            self.behaviors().get(&spec.cell.behavior).expect("checked when the agent was declared");
        Arc::new(StartAgent { spec, spawn, forget })
    }
}
