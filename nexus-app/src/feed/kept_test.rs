//! Tests of feeds whose place is kept: the effect of each request is exactly once, whenever the process ends. Time is paused and
//! sources are read in place; agents and store are a model that a process's end takes back to what was kept.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::AgentError;
use nexus_actors::agent::{AgentId, Request};
use nexus_actors::clock::Clock;
use nexus_actors::rng::{Rng, Seed};
use nexus_actors::telemetry::Events;
use parking_lot::Mutex;
use ractor::{Actor, ActorRef};
use rand::Rng as _;
use tokio::task::JoinHandle;

use super::test_support::{FLIGHTS, Folder, PLAIN, Run, config, week};
use super::{
    Checkpoint, Deliver, FeedActor, FeedArgs, FeedConfig, FeedMsg, FeedSlot, FeedState, KeptPlace, Place,
    ReadMode,
};

const EVERY: Duration = Duration::from_millis(10);

/// An agent: what it has applied, and the number of the last request among it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Agent {
    last: u64,
    applied: Vec<String>,
}

/// The agents of a process, and the store that outlives it.
#[derive(Clone, Debug)]
struct World(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    random: Rng,
    /// How many processes there were before.
    process: u32,
    live: BTreeMap<AgentId, Agent>,
    /// Delivered, not handled.
    inbox: VecDeque<(AgentId, u64, String)>,
    kept: BTreeMap<AgentId, Agent>,
    position: u64,
    /// The number of the last request that this process delivered.
    delivered: u64,
    checkpoints: u64,
    fails: bool,
    hangs: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            random: Seed::new(seed).stream("world"),
            process: 0,
            live: BTreeMap::new(),
            inbox: VecDeque::new(),
            kept: BTreeMap::new(),
            position: 0,
            delivered: 0,
            checkpoints: 0,
            fails: false,
            hangs: false,
        })))
    }

    /// The process ends at once: what was not kept is gone.
    fn crash(&self) {
        let mut world = self.0.lock();
        world.process += 1;
        world.live = world.kept.clone();
        world.inbox.clear();
        world.delivered = world.position;
    }

    fn position(&self) -> u64 {
        self.0.lock().position
    }
}

impl Inner {
    /// Some of what waits is handled, and now and then an agent is kept by itself, as its own policy may have it.
    fn work(&mut self) {
        for _ in 0..self.random.random_range(0..40) {
            let Some((agent, number, line)) = self.inbox.pop_front() else { break };
            let state = self.live.entry(agent).or_default();
            if number > state.last {
                state.last = number;
                state.applied.push(line);
            }
            if self.random.random_bool(0.05) {
                self.kept.insert(agent, self.live[&agent].clone());
            }
        }
    }

    /// Keeps what the checkpoint asks for, if all agents are that far.
    fn commit(&mut self, checkpoint: &Checkpoint) -> bool {
        let is_there = |(agent, number): &(AgentId, u64)| {
            self.live.get(agent).is_some_and(|state| state.last >= *number)
        };
        if !checkpoint.touched.iter().all(is_there) {
            return false;
        }
        for (agent, _) in &checkpoint.touched {
            self.kept.insert(*agent, self.live[agent].clone());
        }
        self.position = checkpoint.position;
        self.checkpoints += 1;
        true
    }
}

impl Deliver for World {
    async fn deliver(&self, target: &Arc<str>, request: Request) -> Result<AgentId, AgentError> {
        let turns = self.0.lock().random.random_range(0..3);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        let agent = AgentId::of(target);
        let mut world = self.0.lock();
        world.delivered += 1;
        let line = format!("{target} {} {:?}", request.key, request.payload);
        let number = world.delivered;
        world.inbox.push_back((agent, number, line));
        world.work();
        Ok(agent)
    }

    fn keep(
        &self,
        _: &FeedSlot,
        checkpoint: Checkpoint,
    ) -> impl Future<Output = Result<(), Arc<str>>> + Send + 'static {
        let (world, process) = (self.clone(), self.0.lock().process);
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let mut world = world.0.lock();
                if world.process != process {
                    return Err("the process has ended".into());
                }
                if world.fails || world.random.random_bool(0.1) {
                    return Err("no room".into());
                }
                world.work();
                if !world.hangs && world.commit(&checkpoint) {
                    return Ok(());
                }
            }
        }
    }
}

/// A process with one feed.
struct Process {
    slot: Arc<FeedSlot>,
    pump: ActorRef<FeedMsg>,
    ended: JoinHandle<()>,
}

async fn start(world: &World, config: &FeedConfig, folder: &Folder) -> Process {
    let clock = Clock::start_at(1_000_000);
    let place = KeptPlace { number: 1, digest: 7, confirmed: world.position(), every: EVERY };
    let slot = FeedSlot::at(config.clone(), folder.path(), clock, Place::Kept(place), ReadMode::Inline);
    let args =
        FeedArgs { slot: slot.clone(), agents: world.clone(), events: Events::new(clock, 100), seat: None };
    let (pump, ended) = Actor::spawn(None, FeedActor::default(), args).await.unwrap();
    Process { slot, pump, ended }
}

/// What each agent applies in a run that nothing disturbs.
fn expected(config: &FeedConfig, folder: &Folder) -> BTreeMap<AgentId, Vec<String>> {
    let run = Run::of(config, folder.path());
    run.ending.unwrap();
    let mut expected: BTreeMap<AgentId, Vec<String>> = BTreeMap::new();
    for emission in run.emissions {
        for target in &emission.targets {
            let line = format!("{target} {} {:?}", emission.key, emission.payload);
            expected.entry(AgentId::of(target)).or_default().push(line);
        }
    }
    expected
}

fn kept(world: &World) -> BTreeMap<AgentId, Vec<String>> {
    let world = world.0.lock();
    world.kept.iter().map(|(agent, state)| (*agent, state.applied.clone())).collect()
}

fn rows(count: usize) -> String {
    let rows: String = (0..count).map(|n| format!("{},{n}\n", n % 7)).collect();
    format!("a,b\n{rows}")
}

async fn plain(keys: &str, count: usize) -> (World, FeedConfig, Folder) {
    let folder = Folder::new();
    folder.write("f.csv", rows(count));
    (World::new(1), config(&format!("source = \"f.csv\"\n{keys}"), PLAIN), folder)
}

/// Goal: wherever the process ends, and whatever fails on the way, a feed that completes has had the effect of an undisturbed run,
/// and all of it is kept. Method: flights with reordering; the process ends after random times, the pump alone is killed now and
/// then, agents lag behind, some are kept ahead of the feed.
#[tokio::test(start_paused = true)]
async fn the_effect_is_exactly_once() {
    for seed in 0..24 {
        let mut random = Seed::new(seed).stream("ends");
        let world = World::new(seed);
        let folder = Folder::new();
        let text = std::fs::read_to_string(week()).unwrap();
        folder.write("f.csv", text.lines().take(250).collect::<Vec<_>>().join("\n"));
        let config = config("source = \"f.csv\"\nreplay = { rate = 1000.0 }", FLIGHTS);
        let mut ends = 0;
        loop {
            let mut process = start(&world, &config, &folder).await;
            let life = Duration::from_millis(random.random_range(0..60));
            let is_over = tokio::time::timeout(life, &mut process.ended).await.is_ok();
            if is_over {
                assert_eq!(process.slot.state(), FeedState::Completed, "seed {seed}");
                break;
            }
            process.pump.kill();
            process.ended.await.unwrap();
            world.crash();
            ends += 1;
        }
        let expected = expected(&config, &folder);
        assert!(kept(&world) == expected, "seed {seed}");
        assert_eq!(world.position(), expected.values().map(|lines| lines.len() as u64).sum::<u64>());
        assert!(ends > 2 && world.0.lock().checkpoints > 2, "seed {seed}: {ends} ends");

        // A feed that has completed stays so: it gives nobody anything again.
        let process = start(&world, &config, &folder).await;
        let total = world.position();
        process.ended.await.unwrap();
        assert_eq!((process.slot.state(), process.slot.confirmed()), (FeedState::Completed, total));
        assert_eq!(world.0.lock().delivered, total, "seed {seed}: nothing is delivered again");
    }
}

/// Goal: a checkpoint that takes for ever holds nothing up but the feed's completion.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_holds_nothing_up() {
    let (world, config, folder) = plain("replay = { rate = 1000.0 }", 500).await;
    world.0.lock().hangs = true;
    let process = start(&world, &config, &folder).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = process.slot.status();
    assert_eq!((status.state, status.confirmed), (FeedState::Running, 500), "{status:?}");
    assert_eq!(status.checkpoint.map(|checkpoint| checkpoint.position), Some(0));
    world.0.lock().hangs = false;
    process.ended.await.unwrap();
    assert_eq!((process.slot.state(), world.position()), (FeedState::Completed, 500));
    assert!(kept(&world) == expected(&config, &folder));
}

/// Goal: while checkpoints fail, the feed delivers on, says why it is not kept, and completes when they succeed again.
#[tokio::test(start_paused = true)]
async fn failed_checkpoints_are_tried_again() {
    let (world, config, folder) = plain("", 500).await;
    world.0.lock().fails = true;
    let process = start(&world, &config, &folder).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let status = process.slot.status();
    assert_eq!((status.state, status.confirmed), (FeedState::Running, 500));
    let checkpoint = status.checkpoint.unwrap();
    assert_eq!((checkpoint.position, checkpoint.error.as_deref()), (0, Some("no room")));
    assert!((100..2000).contains(&checkpoint.failures), "not in a tight loop: {checkpoint:?}");
    world.0.lock().fails = false;
    process.ended.await.unwrap();
    let status = process.slot.status();
    assert_eq!((status.state, world.position()), (FeedState::Completed, 500));
    let checkpoint = status.checkpoint.unwrap();
    assert_eq!((checkpoint.position, checkpoint.failures, checkpoint.error), (500, 0, None));
    assert!(checkpoint.unix_ms.is_some());
}

/// Goal: a feed that is told to stop keeps the place it has reached, also while a checkpoint is under way.
#[tokio::test(start_paused = true)]
async fn an_ordered_stop_keeps_the_place() {
    for pause_ms in 0..30 {
        let (world, config, folder) = plain("replay = { rate = 1000.0 }", 500).await;
        let process = start(&world, &config, &folder).await;
        tokio::time::sleep(Duration::from_millis(20 + pause_ms)).await;
        process.pump.stop(Some("shutdown".into()));
        process.ended.await.unwrap();
        let status = process.slot.status();
        assert_eq!(status.state, FeedState::Waiting);
        // The model fails one in ten.
        let checkpoint = status.checkpoint.unwrap();
        assert!(
            checkpoint.position == status.confirmed || checkpoint.error.is_some(),
            "{pause_ms}: {checkpoint:?}"
        );
    }
}
