//! How supervisors start agents: one by one, or a family under a dynamic supervisor of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::ActorCell;
use tokio::runtime::Handle;

use super::behavior::AgentSpec;
use super::cell::{AgentCell, Leaving};
use super::family::{AgentTemplate, Family};
use super::hibernate::lifecycle::{self, End, Phase};
use super::id::AgentId;
use super::name_pattern::NamePattern;
use crate::node::{DeclareError, Node};
use crate::route::DeadLetterReason;
use crate::route::remote::{Claimed, Remote};
use crate::supervision::{
    Backoff, ChildRules, ChildSpec, ExitReason, StartChild, StartContext, StartError, StartSupervisor,
    Started, SupervisorSpec,
};
use crate::telemetry::Event;

/// Starts one agent, again and again. Kept small: there is one for every live agent.
#[derive(Clone)]
struct StartAgent {
    node: Node,
    cell: Arc<AgentCell>,
    kin: Kin,
}

/// Where an agent's arguments are.
#[derive(Clone)]
enum Kin {
    Member(Arc<Family>),
    Alone(Arc<AgentTemplate>),
}

/// How often a dormant agent is started before it is said not to wake.
const WAKE_ATTEMPTS: u32 = 4;
/// How long the second attempt waits; each further one waits twice as long.
const WAKE_BACKOFF: Duration = Duration::from_millis(100);

impl StartAgent {
    fn spec(&self) -> AgentSpec {
        match &self.kin {
            Kin::Alone(template) => self.node.spec(&self.cell, template),
            Kin::Member(family) => {
                AgentSpec { family: Some(family.clone()), ..self.node.spec(&self.cell, &family.template) }
            }
        }
    }

    /// Whether no message comes to this cell any more.
    fn is_passed_by(&self) -> bool {
        matches!(self.kin, Kin::Member(_)) && !self.node.is_routed(&self.cell)
    }

    fn spawn_here(&self, supervisor: ActorCell) -> BoxFuture<'static, Result<Started, StartError>> {
        let spec = self.spec();
        let registered = self.node.behaviors().get(&self.cell.behavior);
        let spawn = registered.expect("checked when the agent was declared").spawn.clone();
        if spec.cell.phase() == Phase::Live {
            let spawning = spawn(spec, supervisor);
            return Box::pin(async move { Ok(spawning.await?.into()) });
        }
        // A wake. What it reads may come from elsewhere and be there the next time.
        Box::pin(async move {
            let mut pause = WAKE_BACKOFF;
            for _ in 1..WAKE_ATTEMPTS {
                if let Ok(started) = spawn(spec.clone(), supervisor.clone()).await {
                    return Ok(started.into());
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Ok(spawn(spec, supervisor).await?.into())
        })
    }

    /// The same on one node of several: it starts here only if it lives nowhere else.
    async fn start_claimed(
        self,
        remote: Arc<dyn Remote>,
        supervisor: ActorCell,
    ) -> Result<Started, StartError> {
        let Self { node, cell, .. } = &self;
        match remote.claim(cell.id, &cell.name).await {
            // It may have come from another node meanwhile, in another cell.
            Ok(Claimed::Here) if self.is_passed_by() => Err(StartError::Ignored),
            Ok(Claimed::Here) => {
                node.routes().forget_senders(cell.id);
                self.spawn_here(supervisor).await
            }
            Ok(Claimed::Elsewhere(way)) => {
                node.send_away(cell, &way);
                Err(StartError::Ignored)
            }
            Err(error) => Err(StartError::Failed(error.into())),
        }
    }
}

impl StartChild for StartAgent {
    fn start(&self, context: StartContext) -> BoxFuture<'static, Result<Started, StartError>> {
        // Two senders may both ask for a new member to be started. If it has ended between the two, its route is gone or leads to
        // another cell, and starting this one would leave an agent that nobody reaches.
        if self.is_passed_by() {
            return Box::pin(async { Err(StartError::Ignored) });
        }
        let supervisor = context.supervisor().clone();
        if let Some(remote) = self.node.remote_slot().get() {
            return Box::pin(self.clone().start_claimed(remote.clone(), supervisor));
        }
        self.spawn_here(supervisor)
    }

    fn home(&self) -> Option<Handle> {
        self.node.schedulers()?.place(self.cell.id).cloned()
    }

    fn label(&self) -> Option<Arc<str>> {
        Some(self.cell.behavior.clone())
    }

    fn exited(&self, reason: &ExitReason) {
        let Self { node, cell, .. } = self;
        if cell.leaving() == Leaving::Gone {
            return;
        }
        if *reason == ExitReason::Hibernated {
            let (agent, state_bytes) = (cell.name.clone(), cell.snapshot_bytes());
            node.events().emit(Event::AgentHibernated { agent, state_bytes });
            return;
        }
        cell.note_exit(node.clock().now(), reason.clone());
        let queued = cell.tally().queued;
        node.events().emit(Event::AgentStopped { agent: cell.name.clone(), reason: reason.clone(), queued });
    }

    fn ended(&self) {
        if self.node.defers_end(&self.cell) {
            return;
        }
        if !self.node.left(&self.cell) {
            self.end();
            // It may have been asked to leave just before.
            self.node.left(&self.cell);
        }
    }
}

impl StartAgent {
    /// What becomes of an agent that does not leave for another node.
    fn end(&self) {
        let Self { node, cell, kin } = self;
        let Kin::Member(family) = kin else {
            node.retire(cell, stop_reason(cell), false);
            return;
        };
        // It lives on another node, which has its letters: its inbox is empty, and still counts them.
        if cell.is_retired() {
            return;
        }
        loop {
            let waiting = cell.inbox().queued();
            match lifecycle::end(cell.phase(), waiting) {
                // What is stored of it stays, as it would if the process ended: its next message starts it from there.
                End::Retire if cell.keeper().is_some() && cell.has_snapshot() => {
                    cell.drain_dead(node.dead_letters(), stop_reason(cell));
                    if node.lay_down(cell, family) == Some(false) {
                        continue;
                    }
                }
                End::Retire => node.retire(cell, stop_reason(cell), true),
                End::WakeAgain => {
                    cell.set_phase(Phase::Waking);
                    node.activate(family, cell);
                }
                End::GiveUp if waiting > 0 => {
                    node.events().emit(Event::AgentWakeFailed { agent: cell.name.clone(), letters: waiting });
                    cell.drain_dead(node.dead_letters(), DeadLetterReason::WakeFailed);
                    continue;
                }
                // A letter may have come since the look: look again.
                End::GiveUp | End::LayDown => {
                    if node.lay_down(cell, family) == Some(false) {
                        continue;
                    }
                }
            }
            return;
        }
    }
}

fn stop_reason(cell: &AgentCell) -> DeadLetterReason {
    match cell.actor() {
        Some(_) => DeadLetterReason::AgentStopped,
        None => DeadLetterReason::StartFailed,
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
    /// How long an agent is idle before it hibernates; `None`: never. Its behavior must be [`Durable`](super::Durable).
    pub hibernate_after: Option<Duration>,
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
        let AgentSpec { cell, .. } = self.declare(name.into(), template)?;
        let id = cell.name.clone();
        let kin = Kin::Alone(Arc::new(template.clone()));
        Ok(ChildSpec::new(id, Arc::new(StartAgent { node: self.clone(), cell, kin }), rules))
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
        let family = self.declare_family(pattern, template, rules.hibernate_after)?;
        family.set_eager(rules.eager);
        let spec = SupervisorSpec::dynamic(rules.name, rules.agent)
            .intensity(rules.intensity, rules.period)
            .backoff(rules.backoff);
        let id = spec.name.clone();
        let start = StartFamily { node: self.clone(), family, spec: Arc::new(spec), eager: rules.eager };
        Ok(ChildSpec::new(id, Arc::new(start), ChildRules::supervisor(label)))
    }

    /// Starts those of `agents` anew that a family starts with its supervisor: the node they lived on is gone. Others come to life with
    /// their next message.
    pub async fn revive(&self, agents: BTreeSet<AgentId>) {
        for family in self.eager_families() {
            for (count, name) in family.pattern.names().enumerate() {
                if agents.contains(&AgentId::of(&name))
                    && let Ok(cell) = self.declare_member(name.into(), &family)
                {
                    self.activate(&family, &cell);
                }
                breathe(count).await;
            }
        }
    }

    /// The supervisor let the agent go while it was still arriving from another node. It has come now.
    pub(crate) fn conclude(&self, family: &Arc<Family>, cell: &Arc<AgentCell>) {
        StartAgent { node: self.clone(), cell: cell.clone(), kin: Kin::Member(family.clone()) }.end();
    }

    /// Asks the family's supervisor, if it is up, to give `cell` an actor.
    pub(crate) fn activate(&self, family: &Arc<Family>, cell: &Arc<AgentCell>) {
        if let Some(supervisor) = family.supervisor() {
            let (node, cell, kin) = (self.clone(), cell.clone(), Kin::Member(family.clone()));
            supervisor.post_dynamic(cell.name.clone(), Arc::new(StartAgent { node, cell, kin }));
        } else if family.is_stopped() {
            // The family was stopped while this member was being made; whoever stopped it has not seen it.
            self.retire(cell, DeadLetterReason::AgentStopped, true);
        }
    }
}
