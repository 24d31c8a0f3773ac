//! Real runtimes on the machine that the tests run on.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use opentelemetry::global;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::*;
use crate::agent::{AgentMessage, AgentSpec, AgentTemplate, Behaviors, FamilyRules, Level, Payload, Request};
use crate::clock::Clock;
use crate::store::Persist;
use crate::supervision::{ChildRules, ChildSpec, Root, SupervisorEnv, SupervisorSpec};
use crate::{AgentError, Node, NodeConfig};

const PATIENCE: Duration = Duration::from_secs(20);

fn config(policy: Policy) -> SchedulersConfig {
    SchedulersConfig { policy, reserve: Some(0), pin: true }
}

fn here() -> CpuTopology {
    CpuTopology::read(std::path::Path::new("/"), allowed().as_ref())
}

fn schedulers(config: &SchedulersConfig, machine: &CpuTopology) -> Schedulers {
    Schedulers::start(config, machine, &Handle::current()).unwrap()
}

/// Tells where it was started and where it runs: the names of those threads. `spin` keeps its thread busy until `RELEASE`.
#[derive(Default)]
struct Where;

static RELEASE: AtomicBool = AtomicBool::new(false);

fn thread() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

impl Actor for Where {
    type Msg = AgentMessage;
    type State = String;
    type Arguments = AgentSpec;

    async fn pre_start(&self, _: ActorRef<AgentMessage>, _: AgentSpec) -> Result<String, ActorProcessingErr> {
        Ok(thread())
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        started: &mut String,
    ) -> Result<(), ActorProcessingErr> {
        if let AgentMessage::Request(request, reply) = message {
            match &*request.key {
                "where" => reply.value(&(started.clone(), thread())),
                "fail" => return Err("told to".into()),
                _ => {
                    while !RELEASE.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                    reply.done();
                }
            }
        }
        Ok(())
    }
}

struct Site {
    node: Node,
    root: Root,
    schedulers: Schedulers,
}

/// A node with the family `w/*`.
async fn site(policy: Policy) -> Site {
    let schedulers = schedulers(&config(policy), &here());
    let mut behaviors = Behaviors::new();
    behaviors.register::<Where>("where");
    let config = NodeConfig { schedulers: Some(schedulers.clone()), ..NodeConfig::default() };
    let node = Node::new(config, behaviors, Clock::start_at(0), &global::meter("test"));
    let template = AgentTemplate {
        behavior: "where".into(),
        args: Payload::EMPTY,
        inbox: 64,
        level: Level::Reactive,
        persist: Persist::None,
    };
    let family = FamilyRules {
        name: "w".into(),
        agent: ChildRules::worker("where"),
        intensity: 1000,
        period: Duration::from_secs(1),
        backoff: None,
        eager: false,
        hibernate_after: None,
    };
    let family = node.family_child("w/*".parse().unwrap(), template, family).unwrap();
    let spec = SupervisorSpec::new("top")
        .child(ChildSpec::actor("schedulers", SchedulersActor::default, schedulers.clone()))
        .child(family);
    let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
    let root = Root::start(spec, env).await.unwrap();
    Site { node, root, schedulers }
}

impl Site {
    async fn places(&self, agent: &str) -> (String, String) {
        let reply = self.node.ask(agent, Request::query("where"), PATIENCE).await;
        reply.unwrap().decode().unwrap()
    }

    fn home(&self, agent: &str) -> String {
        let at = self.schedulers.index_of(AgentId::of(agent)).unwrap();
        runtime::thread_name(&self.schedulers.layout().runtimes[at].name)
    }
}

/// Goal: each worker of each runtime is where the layout puts it, as the kernel tells it, on the machine this runs on.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn workers_are_pinned() {
    for policy in [Policy::Numa, Policy::Core] {
        let schedulers = schedulers(&config(policy), &here());
        let overview = schedulers.overview();
        assert_eq!((overview.policy, overview.pin, &overview.unpinned), (policy.name(), true, &None));
        let [system, runtimes @ ..] = &*overview.runtimes else { panic!("{overview:?}") };
        assert_eq!((&*system.name, system.agents, system.workers.len()), ("system", false, 1));
        let mut threads = BTreeSet::new();
        for (shown, layout) in runtimes.iter().zip(&schedulers.layout().runtimes) {
            assert_eq!((&shown.name, shown.workers.len()), (&layout.name, layout.workers));
            for worker in &shown.workers {
                assert_eq!(worker.cpus, Some(layout.cpus.to_string()), "{overview:?}");
                assert!(threads.insert(worker.thread.unwrap()), "every worker has a thread of its own");
            }
        }
        let workers: usize = schedulers.layout().runtimes.iter().map(|runtime| runtime.workers).sum();
        assert_eq!(threads.len(), workers);
        if policy == Policy::Core {
            assert!(runtimes.iter().all(|runtime| runtime.cpus == runtime.workers[0].cpus));
        }
    }
}

/// Goal: threads for blocking calls stay on their runtime's CPUs, and unpinned runtimes go anywhere.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn blocking_threads_stay_too() {
    let cpus = async |schedulers: &Schedulers| {
        let place = || pin::cpus_of(pin::this_thread().unwrap()).unwrap();
        schedulers.inner.runtimes[0].handle.spawn_blocking(place).await.unwrap()
    };
    let pinned = schedulers(&config(Policy::Core), &here());
    assert_eq!(cpus(&pinned).await, pinned.layout().runtimes[0].cpus);
    let free = schedulers(&SchedulersConfig { pin: false, ..config(Policy::Core) }, &here());
    assert_eq!(Some(cpus(&free).await), allowed());
    assert!(free.overview().unpinned.is_none());
}

/// Goal: where the kernel does not let us, the runtimes run unpinned and say why. Method: a CPU that this machine has not.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn pinning_may_be_refused() {
    let machine = CpuTopology { nodes: vec![NumaNode { id: 0, cpus: "1023".parse().unwrap() }], ..here() };
    let schedulers = schedulers(&config(Policy::Numa), &machine);
    let overview = schedulers.overview();
    assert!(overview.unpinned.as_ref().is_some_and(|why| why.contains("CPUs 1023")), "{overview:?}");
    assert_eq!(overview.runtimes[1].workers[0].cpus, allowed().map(|cpus| cpus.to_string()));
    assert_eq!(schedulers.inner.runtimes[0].handle.spawn(async { 7 }).await.unwrap(), 7);
}

/// Goal: agents start and run on the runtime of their key, also after a restart; supervisors stay where they are; the counts
/// of agents are those of the route table.
#[tokio::test]
async fn agents_live_on_their_runtime() {
    for policy in [Policy::Numa, Policy::Core] {
        let site = site(policy).await;
        for number in 0..32 {
            let agent = format!("w/{number}");
            let home = site.home(&agent);
            assert_eq!(site.places(&agent).await, (home.clone(), home));
        }
        site.node.send("w/7", Request::action("fail", Payload::EMPTY)).unwrap();
        let home = site.home("w/7");
        assert_eq!(site.places("w/7").await, (home.clone(), home), "the next incarnation");
        assert_eq!(site.node.agent("w/7").unwrap().incarnation, 2);
        let placed = site.node.agents_placed();
        assert_eq!((placed.len(), placed.iter().sum::<u64>()), (site.schedulers.layout().runtimes.len(), 32));
        let tasks: usize = site.schedulers.overview().runtimes[1..].iter().map(|runtime| runtime.tasks).sum();
        assert_eq!(tasks, 32, "one for each agent, none of them a supervisor");
        site.root.shutdown().await;
    }
}

/// Goal: agents that take every thread of theirs leave the system actors theirs. Method: agents that spin until they are told
/// to stop; the tree, control messages and new agents' supervisors go on meanwhile.
#[tokio::test]
async fn a_flood_leaves_the_system_alone() {
    let site = site(Policy::Numa).await;
    for number in 0..64 {
        site.node.send(&format!("w/{number}"), Request::action("spin", Payload::EMPTY)).unwrap();
    }
    let workers: usize = site.schedulers.layout().runtimes.iter().map(|runtime| runtime.workers).sum();
    let asked = site.node.ask("w/0", Request::query("where"), Duration::from_millis(50)).await;
    assert!(matches!(asked, Err(AgentError::TimedOut { .. })), "its runtime is busy: {asked:?}");
    let supervisor = site.root.view().find("top/w").unwrap();
    assert!(supervisor.view().unwrap().counts().specs > 0, "the tree is seen");
    let (sender, answer) = tokio::sync::oneshot::channel();
    tokio::spawn(async move { sender.send(thread()) });
    assert_eq!(tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap(), thread());
    RELEASE.store(true, Ordering::Relaxed);
    for number in 0..64 {
        site.places(&format!("w/{number}")).await;
    }
    site.schedulers.look();
    let overview = site.schedulers.overview();
    assert!(workers > 0 && overview.runtimes[1].busy > 0.0 && overview.window_ms > 0, "{overview:?}");
    assert!(overview.runtimes.iter().all(|runtime| (0.0..=1.0).contains(&runtime.busy)));
    site.root.shutdown().await;
}

/// Goal: without runtimes of their own agents live where they always did, and are counted there.
#[tokio::test]
async fn no_policy_changes_nothing() {
    let site = site(Policy::None).await;
    assert_eq!(site.places("w/1").await, (thread(), thread()));
    let overview = site.schedulers.overview();
    assert_eq!((overview.runtimes.len(), overview.runtimes[0].agents), (1, true));
    assert_eq!(site.node.agents_placed(), Vec::<u64>::new());
    site.root.shutdown().await;
}

/// Goal: runtimes end with their last owner, also within an async thread; a start on one that has ended fails and does not
/// hang.
#[tokio::test]
async fn runtimes_end_with_their_owner() {
    let schedulers = schedulers(&config(Policy::Numa), &here());
    let home = schedulers.place(AgentId::of("a")).unwrap().clone();
    let (held, is_dropped) = mpsc::channel::<()>();
    home.spawn(async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    drop(schedulers);
    let dropped = tokio::task::spawn_blocking(move || is_dropped.recv_timeout(PATIENCE)).await.unwrap();
    assert_eq!(dropped, Err(mpsc::RecvTimeoutError::Disconnected));
    let never = async { Err(ractor::SpawnErr::ActorAlreadyStarted) };
    let refused = tokio::time::timeout(PATIENCE, spawn_on(home, never)).await.unwrap();
    assert!(matches!(refused, Err(ractor::SpawnErr::StartupFailed(_))), "{refused:?}");
}

/// Goal: a start that nobody waits for any more leaves no actor behind. Method: drop it before its actor is spawned, and after.
#[tokio::test]
async fn abandoned_starts_leave_nothing() {
    struct Idle;
    impl Actor for Idle {
        type Msg = SchedulersMsg;
        type State = mpsc::Sender<()>;
        type Arguments = mpsc::Sender<()>;
        async fn pre_start(
            &self,
            _: ActorRef<SchedulersMsg>,
            held: mpsc::Sender<()>,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(held)
        }
    }
    let schedulers = schedulers(&config(Policy::Numa), &here());
    for wait in [false, true] {
        let home = schedulers.place(AgentId::of("a")).unwrap().clone();
        let (held, is_dropped) = mpsc::channel();
        let spawned = Arc::new(tokio::sync::Notify::new());
        let tell = spawned.clone();
        let spawning = async move {
            let started = Actor::spawn(None, Idle, held).await.map(|(actor, _)| actor.get_cell());
            tell.notify_one();
            started
        };
        let mut start = Box::pin(spawn_on(home, spawning));
        match futures::poll!(start.as_mut()) {
            // It was quicker than this thread, and has been claimed.
            Poll::Ready(started) => started.unwrap().kill(),
            Poll::Pending if wait => spawned.notified().await,
            Poll::Pending => {}
        }
        drop(start);
        let dropped = tokio::task::spawn_blocking(move || is_dropped.recv_timeout(PATIENCE)).await.unwrap();
        assert_eq!(dropped, Err(mpsc::RecvTimeoutError::Disconnected), "{wait}");
    }
}
