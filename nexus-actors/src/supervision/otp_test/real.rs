//! A world of real actors on one thread with a paused clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;

use super::World;
use super::pure::{children_line, count_line, rules};
use super::script::{self, Call, Command, HowStart, Node};
use crate::clock::Clock;
use crate::supervision::{
    ChildSpec, Root, RootError, StartChild, StartContext, StartError, Started, Strategy, SupervisorEnv,
    SupervisorError, SupervisorRef, SupervisorSpec, SupervisorView,
};
use crate::telemetry::Events;

pub(super) struct RealWorld {
    root: Root,
    events: Events,
    seq: u64,
    knobs: Arc<Knobs>,
    answers: (mpsc::UnboundedSender<String>, mpsc::UnboundedReceiver<String>),
}

/// How the test's actors behave.
#[derive(Default)]
struct Knobs {
    next_starts: Mutex<BTreeMap<String, (HowStart, u32)>>,
    stubborn: Mutex<BTreeSet<String>>,
}

struct StartWorker {
    id: String,
    knobs: Arc<Knobs>,
}

impl StartChild for StartWorker {
    fn start(&self, context: StartContext) -> BoxFuture<'static, Result<Started, StartError>> {
        let (id, knobs) = (self.id.clone(), self.knobs.clone());
        Box::pin(async move {
            let how =
                knobs.next_starts.lock().get_mut(&id).filter(|(_, left)| *left > 0).map(|(how, left)| {
                    *left -= 1;
                    *how
                });
            if how == Some(HowStart::Ignored) {
                return Err(StartError::Ignored);
            }
            let arguments = (id, how, knobs);
            let (actor, _) =
                Worker::spawn_linked(None, Worker, arguments, context.supervisor().clone()).await?;
            Ok(actor.get_cell().into())
        })
    }
}

struct Worker;

enum Order {
    Fail,
    Panic,
}

impl ractor::Message for Order {}

impl Actor for Worker {
    type Msg = Order;
    type State = (String, Arc<Knobs>);
    type Arguments = (String, Option<HowStart>, Arc<Knobs>);

    async fn pre_start(
        &self,
        _: ActorRef<Order>,
        (id, how, knobs): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        match how {
            Some(HowStart::Fails) => Err("refused".into()),
            Some(HowStart::Panics) => panic!("ouch"),
            Some(HowStart::Hangs) => std::future::pending().await,
            Some(HowStart::Ignored) | None => Ok((id, knobs)),
        }
    }

    async fn handle(
        &self,
        _: ActorRef<Order>,
        order: Order,
        _: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Fail => Err("boom".into()),
            Order::Panic => panic!("ouch"),
        }
    }

    async fn post_stop(
        &self,
        _: ActorRef<Order>,
        (id, knobs): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let stubborn = knobs.stubborn.lock().contains(id);
        if stubborn {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl World for RealWorld {
    async fn run(&mut self, command: &Command) -> Vec<String> {
        let mut lines = self.carry_out(command).await;
        self.settle().await;
        let (kept, _) = self.events.since(self.seq);
        for record in kept {
            self.seq = record.seq;
            lines.push(script::event_line(&record.event));
        }
        while let Ok(answer) = self.answers.1.try_recv() {
            lines.push(answer);
        }
        lines
    }
}

impl RealWorld {
    pub(super) async fn new(tree: &Node) -> Self {
        let clock = Clock::start_at(0);
        let events = Events::new(clock, 10_000);
        let knobs = Arc::new(Knobs::default());
        let env = SupervisorEnv { clock, events: events.clone() };
        let root = Root::spawn(supervisor_spec(tree, &knobs), env).await.unwrap();
        Self { root, events, seq: 0, knobs, answers: mpsc::unbounded_channel() }
    }

    async fn carry_out(&mut self, command: &Command) -> Vec<String> {
        match command {
            Command::Boot => self.boot(),
            Command::Shutdown => self.root.supervisor().shutdown(),
            Command::Crash(paths) => {
                for path in paths {
                    self.cell(path).send_message(Order::Fail).unwrap();
                }
            }
            Command::Panic(path) => self.cell(path).send_message(Order::Panic).unwrap(),
            Command::Exit { path, reason } => self.cell(path).stop(reason.clone()),
            Command::Kill(path) => self.cell(path).kill(),
            Command::NextStarts { id, how, count } => {
                self.knobs.next_starts.lock().insert(id.clone(), (*how, *count));
            }
            Command::Stubborn(id) => drop(self.knobs.stubborn.lock().insert(id.clone())),
            Command::Advance(by) => self.advance(*by).await,
            Command::Call { supervisor, call } => self.call(self.supervisor(supervisor), call.clone()),
            Command::Children(path) => {
                let children = self.supervisor(path).which_children().into_iter().map(|child| {
                    let status = serde_json::to_value(child.status).unwrap();
                    format!("{} {}", child.id, status.as_str().unwrap())
                });
                return vec![children_line(children)];
            }
            Command::Count(path) => return vec![count_line(self.supervisor(path).count_children())],
        }
        Vec::new()
    }

    fn boot(&self) {
        let (root, answers) = (self.root.clone(), self.answers.0.clone());
        tokio::spawn(async move {
            let line = match root.boot().await {
                Ok(()) => format!("end: {}", script::short(&root.exited().await)),
                Err(RootError::StartFailed { reason, .. }) => {
                    format!("not booted: {}", script::short(&reason))
                }
                Err(error) => error.to_string(),
            };
            let _ = answers.send(line);
        });
    }

    fn call(&self, supervisor: SupervisorRef, call: Call) {
        let (knobs, answers) = (self.knobs.clone(), self.answers.0.clone());
        tokio::spawn(async move {
            let answer: Result<bool, SupervisorError> = match call {
                Call::Start(node) => {
                    supervisor.start_child(child_spec(&node, &knobs)).await.map(|child| child.is_some())
                }
                Call::StartDynamic(id) => {
                    let start = Arc::new(StartWorker { id: id.clone(), knobs });
                    supervisor.start_dynamic(id, start).await.map(|child| child.is_some())
                }
                Call::Terminate(id) => supervisor.terminate_child(id).await.map(|()| false),
                Call::Restart(id) => supervisor.restart_child(id).await.map(|child| child.is_some()),
                Call::Delete(id) => supervisor.delete_child(id).await.map(|()| false),
                Call::Cycle(id) => supervisor.cycle_child(id).await.map(|child| child.is_some()),
            };
            let _ = answers.send(script::answer_line(&answer));
        });
    }

    /// Lets everything happen that needs no time: until nothing has happened for many turns of the scheduler.
    async fn settle(&self) {
        let (mut quiet, mut emitted) = (0, self.events.emitted());
        while quiet < 50 {
            tokio::task::yield_now().await;
            quiet = if self.events.emitted() == emitted { quiet + 1 } else { 0 };
            emitted = self.events.emitted();
        }
    }

    async fn advance(&self, by: Duration) {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = by;
        while !left.is_zero() {
            let step = left.min(STEP);
            tokio::time::advance(step).await;
            self.settle().await;
            left -= step;
        }
    }

    fn view(&self) -> &Arc<SupervisorView> {
        self.root.view()
    }

    fn find(&self, path: &str) -> crate::supervision::Found {
        let full = if path.is_empty() { "root".to_owned() } else { format!("root/{path}") };
        self.view().find(&full).unwrap_or_else(|| panic!("there is no {full}"))
    }

    fn cell(&self, path: &str) -> ractor::ActorCell {
        self.find(path).cell().unwrap_or_else(|| panic!("{path} does not run"))
    }

    fn supervisor(&self, path: &str) -> SupervisorRef {
        self.find(path).view().unwrap_or_else(|| panic!("{path} is not a supervisor")).supervisor().unwrap()
    }
}

fn supervisor_spec(node: &Node, knobs: &Arc<Knobs>) -> SupervisorSpec {
    let flags = node.supervisor.as_ref().unwrap();
    let spec = match flags.strategy {
        Strategy::SimpleOneForOne => SupervisorSpec::dynamic(node.id.as_str(), rules(&node.children[0])),
        strategy => node
            .children
            .iter()
            .fold(SupervisorSpec::new(node.id.as_str()).strategy(strategy), |spec, child| {
                spec.child(child_spec(child, knobs))
            }),
    };
    spec.intensity(flags.intensity, flags.period).auto_shutdown(flags.auto_shutdown)
}

fn child_spec(node: &Node, knobs: &Arc<Knobs>) -> ChildSpec {
    let spec = match &node.supervisor {
        Some(_) => ChildSpec::supervisor(supervisor_spec(node, knobs)),
        None => {
            let start = StartWorker { id: node.id.clone(), knobs: knobs.clone() };
            ChildSpec::new(node.id.as_str(), Arc::new(start), rules(node))
        }
    };
    ChildSpec { rules: rules(node), ..spec }
}
