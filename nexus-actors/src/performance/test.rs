//! The monitor on a node: machines in folders that the tests change, agents under real supervisors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize, Serializer};

use super::*;
use crate::agent::{
    AgentId, AgentMessage, AgentSpec, AgentTemplate, Behaviors, Durable, FamilyRules, Hints, Level, Payload,
    Request,
};
use crate::clock::Clock;
use crate::scheduler::fixture::Files;
use crate::scheduler::place::bucket_of;
use crate::scheduler::{CpuList, CpuTopology, NumaNode, Policy, Schedulers, SchedulersConfig};
use crate::store::Persist;
use crate::supervision::{ChildRules, Root, SupervisorEnv, SupervisorSpec};
use crate::telemetry::Event;
use crate::{AgentError, Node, NodeConfig};

const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(5);

/// Tells the name of the thread it was started on; one called `stubborn` cannot be written down.
#[derive(Default)]
struct Sleeper;

#[derive(Deserialize)]
struct Sleep {
    stubborn: bool,
}

impl Serialize for Sleep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.stubborn {
            return Err(serde::ser::Error::custom("I do not sleep"));
        }
        BTreeMap::from([("stubborn", false)]).serialize(serializer)
    }
}

impl Actor for Sleeper {
    type Msg = AgentMessage;
    type State = Sleep;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        spec: AgentSpec,
    ) -> Result<Sleep, ActorProcessingErr> {
        Ok(Sleep { stubborn: spec.key() == "stubborn" })
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        _: &mut Sleep,
    ) -> Result<(), ActorProcessingErr> {
        if let AgentMessage::Request(_, reply) = message {
            reply.value(&std::thread::current().name());
        }
        Ok(())
    }
}

impl Durable for Sleeper {}

struct Site {
    node: Node,
    root: Root,
    machine: Files,
    performance: Performance,
}

/// A node with the families `s/*`, which can sleep, and `w/*`, which cannot, on a machine that a test may change.
async fn site(config: PerformanceConfig, schedulers: Option<Schedulers>) -> Site {
    let mut behaviors = Behaviors::new();
    behaviors.durable::<Sleeper>("sleeper");
    behaviors.register::<Sleeper>("insomniac");
    let node_config = NodeConfig { schedulers, ..NodeConfig::default() };
    let node = Node::new(node_config, behaviors, Clock::start_at(0), &global::meter("test"));
    let family = |name: &str, behavior: &str| {
        let template = AgentTemplate {
            behavior: behavior.into(),
            args: Payload::EMPTY,
            inbox: 64,
            level: Level::Reactive,
            persist: Persist::None,
        };
        let rules = FamilyRules {
            name: name.into(),
            agent: ChildRules::worker("sleeper"),
            intensity: 1000,
            period: Duration::from_secs(1),
            backoff: None,
            eager: false,
            hibernate_after: None,
        };
        node.family_child(format!("{name}/*").parse().unwrap(), template, rules).unwrap()
    };
    let mut spec = SupervisorSpec::new("top").child(family("s", "sleeper")).child(family("w", "insomniac"));
    let machine = Files::unpack("");
    memory(&machine, 10);
    cpu(&machine, 0);
    let performance = Performance::new(&node, config, machine.root()).unwrap();
    if let Some(child) = performance.child() {
        spec = spec.child(child);
    }
    let env = SupervisorEnv { clock: *node.clock(), events: node.events().clone() };
    let root = Root::start(spec, env).await.unwrap();
    Site { node, root, machine, performance }
}

/// The process holds so many MiB.
fn memory(machine: &Files, mib: u64) {
    machine.put("proc/self/status", &format!("VmRSS: {} kB\n", mib * 1024));
}

/// The process has used so many hundredths of a second.
fn cpu(machine: &Files, ticks: u64) {
    machine.put("proc/self/stat", &format!("1 (nexus) S 1 2 3 4 5 6 7 8 9 10 {ticks} 0 0 0 20 0 1 0 5\n"));
}

impl Site {
    async fn ask(&self, agent: &str, request: Request) -> Result<Payload, AgentError> {
        self.node.ask(agent, request, LIMIT).await
    }

    async fn touch(&self, agent: &str) {
        self.ask(agent, Request::query("x")).await.unwrap();
        // The agent rests, and the next one rests later.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    fn told<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        let (events, _) = self.node.events().page(0, usize::MAX);
        events.iter().filter_map(|record| pick(&record.event)).collect()
    }

    fn slept(&self) -> Vec<String> {
        self.told(|event| match event {
            Event::AgentHibernated { agent, .. } => Some(agent.to_string()),
            _ => None,
        })
    }

    /// Actions with their reasons.
    fn acted(&self) -> Vec<(String, String)> {
        self.told(|event| match event {
            Event::Acted { action, reason, .. } => Some((action.to_string(), reason.to_string())),
            _ => None,
        })
    }

    async fn until(&self, what: &str, seen: impl Fn() -> bool) {
        let waiting = async {
            while !seen() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("{what}: {:?}", self.acted()));
    }

    fn balanced(&self) {
        let tally = self.node.tally();
        let ends = tally.processed + tally.rejected + tally.dead_lettered + tally.queued;
        assert_eq!(tally.sent, ends, "{tally:?}");
    }
}

fn nothing() -> PerformanceConfig {
    let mut config = PerformanceConfig::default();
    (config.memory.enabled, config.cpu.enabled, config.imbalance.enabled) = (false, false, false);
    config
}

/// Memory alone, of 100 MiB; two agents a look.
fn memory_only() -> PerformanceConfig {
    let memory = MemoryPolicy { limit_bytes: Some(100 << 20), portion: 2, ..MemoryPolicy::default() };
    PerformanceConfig { memory, ..nothing() }
}

/// The CPU alone, with refusals at once and of all but the highest priority.
fn shedding() -> PerformanceConfig {
    let levels = Levels { dwell: Duration::ZERO, ..CpuPolicy::default().levels };
    let cpu = CpuPolicy { levels, batch: false, shed_step: 100, shed_max: 100, ..CpuPolicy::default() };
    PerformanceConfig { cpu, ..nothing() }
}

fn with_priority(priority: f32) -> Request {
    Request::query("x").with_hints(Hints { priority, ..Hints::default() })
}

/// Goal: under memory pressure the longest idle sleep first, a portion a look; one that cannot be written down does not stand in
/// the way of the others; whoever was active a moment ago or cannot sleep stays; events say why; out of pressure nobody sleeps.
#[tokio::test(start_paused = true)]
async fn memory_pressure_hibernates_the_longest_idle_first() {
    let site = site(memory_only(), None).await;
    for agent in ["s/stubborn", "s/c", "s/a", "w/awake", "s/b", "s/d"] {
        site.touch(agent).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((site.slept().len(), site.acted().len()), (0, 0), "10 of 100 MiB is no pressure");
    memory(&site.machine, 90);
    site.until("the first look under pressure", || !site.acted().is_empty()).await;
    site.touch("s/late").await;
    site.until("those who could sleep do", || site.slept().len() == 4).await;
    assert_eq!(site.slept(), ["s/c", "s/a", "s/b", "s/d"]);
    let (action, reason) = &site.acted()[0];
    assert_eq!((&**action, &**reason), ("hibernate", "0.900 is at or above 0.85"));
    let refused = site.told(|event| match event {
        Event::AgentNotHibernated { agent, reason } => Some(format!("{agent}: {reason}")),
        _ => None,
    });
    assert!(refused[0].starts_with("s/stubborn: ") && refused[0].contains("I do not sleep"), "{refused:?}");
    memory(&site.machine, 10);
    site.until("pressure is over", || !site.performance.overview().measures[0].pressed).await;
    let acted = site.acted().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((site.acted().len(), site.node.dormant_count()), (acted, 4), "nothing goes on");
    site.touch("s/a").await;
    site.balanced();
    let overview = site.performance.overview();
    let memory = overview.readings.unwrap().memory.unwrap();
    assert_eq!((memory.limited_by, memory.used_bytes), (LimitedBy::Configured, 10 << 20));
    assert_eq!(overview.counts.values().sum::<u64>(), acted as u64);
}

/// Goal: a pressure that nothing can relieve is told once, by its beginning, and not again with each look.
#[tokio::test(start_paused = true)]
async fn what_does_nothing_is_not_told() {
    let site = site(memory_only(), None).await;
    memory(&site.machine, 90);
    tokio::time::sleep(LIMIT).await;
    let began = site.told(|event| match event {
        Event::PressureChanged { pressed, reason, .. } => Some((*pressed, reason.to_string())),
        _ => None,
    });
    assert_eq!(began, [(true, "0.900 is at or above 0.85".to_owned())]);
    assert_eq!(site.acted(), []);
    assert!(site.performance.overview().looks > 10);
}

/// Goal: what is kept for convenience is given up under pressure, and still counted.
#[tokio::test(start_paused = true)]
async fn memory_pressure_shrinks() {
    let mut config = memory_only();
    config.memory.hibernate = false;
    let site = site(config, None).await;
    for _ in 0..9 {
        site.node.send("nobody", Request::query("x")).unwrap_err();
    }
    memory(&site.machine, 90);
    site.until("a look", || !site.acted().is_empty()).await;
    let dead_letters = site.node.dead_letters();
    assert_eq!((dead_letters.page(0, 99).1, dead_letters.total()), (4, 9));
    let outcome = site.performance.overview().actions.remove(0).outcome;
    assert!(outcome.ends_with("5 dead letters forgotten"), "{outcome}");
    site.balanced();
}

/// Goal: while the CPU is short, requests of low priority are refused at once, wake nobody and are accounted for; the highest
/// priority passes; a feed's are held back and delivered in the end; all of it ends with the pressure.
#[tokio::test(start_paused = true)]
async fn cpu_pressure_sheds_by_priority() {
    let site = site(shedding(), None).await;
    site.touch("s/a").await;
    let (mut ticks, busy) = (0, 100_000);
    for _ in 0..2 {
        ticks += busy;
        cpu(&site.machine, ticks);
        tokio::time::sleep(LOOK).await;
    }
    site.until("requests are refused", || site.performance.overview().shed_below_percent == 100).await;
    let refused = site.ask("s/a", with_priority(0.99)).await;
    let expected = AgentError::Overloaded { queued: 0, limit: 64, shed_below_percent: Some(100) };
    assert_eq!(refused, Err(expected));
    site.ask("s/a", with_priority(1.0)).await.unwrap();
    assert!(site.node.send("s/new", with_priority(0.0)).unwrap_err().to_string().contains("below 1.00"));
    assert!(site.node.agent("s/new").is_none(), "a refused request makes nobody");
    assert_eq!((site.node.agent("s/a").unwrap().rejected, site.node.tally().rejected), (1, 2));
    assert_eq!(site.performance.overview().shed, 2);
    site.balanced();
    let node = site.node.clone();
    let held = tokio::spawn(async move { node.deliver("s/a", Request::query("held")).await });
    // The clock of the process stands still: it is idle.
    site.until("requests are admitted", || site.performance.overview().shed_below_percent == 0).await;
    held.await.unwrap().unwrap();
    site.touch("s/a").await;
    assert_eq!(site.node.agent("s/a").unwrap().processed, 4);
    let acted: Vec<_> = site.acted().into_iter().map(|(action, _)| action).collect();
    assert_eq!(acted, ["shed", "admit"]);
    site.balanced();
}

/// Goal: batches get smaller under pressure and whole again after it; without a monitor everything is at rest.
#[tokio::test(start_paused = true)]
async fn relief_is_taken_back() {
    let mut config = shedding();
    config.cpu.batch = true;
    let site = site(config, None).await;
    let mut ticks = 0;
    while site.node.controls().shed_below() == 0 {
        ticks += 100_000;
        cpu(&site.machine, ticks);
        tokio::time::sleep(LOOK).await;
        assert!(site.node.clock().now().since(crate::clock::Millis::ZERO) < Duration::from_secs(600));
    }
    assert_eq!(site.node.batch(), 16);
    site.root.shutdown().await;
    assert_eq!((site.node.batch(), site.node.controls().shed_below()), (128, 0));
}

/// Goal: switched off there is no monitor, and its view says so; nonsense is refused.
#[tokio::test(start_paused = true)]
async fn one_switch_switches_everything_off() {
    let site = site(PerformanceConfig { enabled: false, ..PerformanceConfig::default() }, None).await;
    memory(&site.machine, 1 << 30);
    site.touch("s/a").await;
    tokio::time::sleep(LIMIT).await;
    let overview = site.performance.overview();
    assert_eq!((overview.enabled, overview.looks, overview.readings), (false, 0, None));
    assert!(overview.measures.iter().all(|measure| !measure.enabled && !measure.pressed));
    assert_eq!((site.acted().len(), site.node.dormant_count()), (0, 0));
    let nonsense = PerformanceConfig { interval: Duration::ZERO, ..PerformanceConfig::default() };
    assert!(Performance::new(&site.node, nonsense, "/").is_err());
}

/// Two runtimes of a worker each, wherever this runs.
fn two_runtimes() -> Schedulers {
    let node = |id| NumaNode { id, cpus: CpuList::from_iter([id]) };
    let none = CpuList::default;
    let machine = CpuTopology {
        nodes: vec![node(0), node(1)],
        isolated: none(),
        forbidden: none(),
        offline: none(),
        quota_millis: None,
        notes: vec![],
    };
    let config = SchedulersConfig { policy: Policy::Numa, reserve: Some(0), pin: false };
    Schedulers::start(&config, &machine, &tokio::runtime::Handle::current()).unwrap()
}

/// Goal: a group that is moved is served by the other runtime: agents that can sleep at their next message, the others from their
/// next start on; groups that were not moved stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_move_to_another_runtime() {
    let schedulers = two_runtimes();
    let site = site(nothing(), Some(schedulers.clone())).await;
    let from = schedulers.index_of(AgentId::of("s/a")).unwrap();
    let on = |at: usize| Some(format!("nexus-{}", schedulers.layout().runtimes[at].name));
    // An agent that cannot sleep, and a stranger, both beside `s/a`.
    let name = |family: &str, wanted: &dyn Fn(AgentId) -> bool| -> Arc<str> {
        (0..).map(|at| format!("{family}/{at}")).find(|name| wanted(AgentId::of(name))).unwrap().into()
    };
    let bucket = bucket_of(AgentId::of("s/a"));
    let insomniac = name("w", &|id| bucket_of(id) == bucket);
    let stranger = name("s", &|id| bucket_of(id) != bucket && schedulers.index_of(id) == Some(from));
    let place = async |agent: &str| {
        let reply = site.ask(agent, Request::query("x")).await;
        reply.unwrap().decode::<Option<String>>().unwrap()
    };
    for agent in ["s/a", &*insomniac, &*stranger] {
        assert_eq!(place(agent).await, on(from), "{agent}");
    }
    let action = core::Action::Move { buckets: vec![bucket], from, to: 1 - from };
    let outcome = site.node.carry_out(&action).unwrap();
    assert!(outcome.contains("1 agents told to move, 1 stay until their next start"), "{outcome}");
    site.until("it sleeps", || site.node.dormant_count() == 1).await;
    assert_eq!(place("s/a").await, on(1 - from), "it woke on the other runtime");
    assert_eq!(place(&stranger).await, on(from));
    assert_eq!(place(&insomniac).await, on(from));
    let (supervisor, id) = site.root.view().locate(&insomniac).unwrap().parent().unwrap();
    supervisor.terminate_child(id).await.unwrap();
    assert_eq!(place(&insomniac).await, on(1 - from));
    site.balanced();
}

/// Goal: the sensors see the machine that this runs on, as far as it tells, and a node's runtimes and inboxes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sensors_see_this_machine() {
    let site = site(nothing(), Some(two_runtimes())).await;
    let mut sensors = Sensors::new(&site.node, "/", None);
    site.touch("s/a").await;
    let first = sensors.read();
    assert_eq!((first.inboxes.live, first.inboxes.queued, first.inboxes.full), (1, 0, 0));
    let names: Vec<_> = first.runtimes.iter().map(|runtime| (&*runtime.name, runtime.agents)).collect();
    assert_eq!(names, [("system", false), ("numa0", true), ("numa1", true)]);
    assert_eq!(first.latency.map(|latency| latency.timed), Some(1));
    let second = sensors.read();
    if cfg!(target_os = "linux") {
        let (memory, cpu) = (second.memory.unwrap(), second.cpu.unwrap());
        assert!(memory.resident_bytes > 1 << 20 && memory.limit_bytes > memory.resident_bytes, "{memory:?}");
        assert!(cpu.limit_cpus > 0.0 && (0.0..=1.0).contains(&cpu.share), "{cpu:?}");
    }
    assert!(second.runtimes.iter().all(|runtime| (0.0..=1.0).contains(&runtime.busy)));
    assert_eq!(second.notes, Vec::<String>::new());
}
