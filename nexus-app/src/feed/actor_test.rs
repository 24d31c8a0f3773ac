//! Tests of the pump: what it delivers, and that stops, kills and crashes at any moment neither lose nor double a request.
//! Time is paused and sources are read in place, so that every run is the same.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nexus_actors::agent::{AgentId, Behaviors, Request};
use nexus_actors::clock::Clock;
use nexus_actors::rng::Seed;
use nexus_actors::supervision::ExitReason;
use nexus_actors::{AgentError, NodeConfig};
use parking_lot::Mutex;
use ractor::{ActorCell, SupervisionEvent, call_t};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;
use crate::feed::test_support::{FLIGHTS, Folder, PLAIN, Run, config};
use crate::feed::{Checkpoint, FeedConfig, ReadMode};

/// Stands for the agents: notes what it is given, and can be slow, full, or without some of them.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    delivered: Mutex<Vec<(Duration, String)>>,
    is_full: AtomicBool,
    unknown: Mutex<BTreeSet<String>>,
    /// How often a delivery gives way before and after it looks at `is_full`, by turns.
    yields: AtomicU64,
    origin: Mutex<Option<Instant>>,
}

impl Deliver for Recorder {
    async fn deliver(&self, target: &Arc<str>, request: Request) -> Result<AgentId, AgentError> {
        let turns = self.0.yields.fetch_add(7, Ordering::Relaxed) % 5;
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        while self.0.is_full.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.0.unknown.lock().contains(&**target) {
            return Err(AgentError::UnknownAgent { name: target.to_string() });
        }
        let since = self.0.origin.lock().get_or_insert(Instant::now()).elapsed();
        self.0.delivered.lock().push((since, format!("{target} {} {:?}", request.key, request.payload)));
        Ok(AgentId::of(target))
    }

    fn keep(
        &self,
        _: &FeedSlot,
        _: Checkpoint,
    ) -> impl Future<Output = Result<(), Arc<str>>> + Send + 'static {
        std::future::ready(Err("these feeds' places are not kept".into()))
    }
}

impl Recorder {
    fn names(&self) -> Vec<String> {
        self.0.delivered.lock().iter().map(|(_, line)| line.clone()).collect()
    }

    fn count(&self) -> usize {
        self.0.delivered.lock().len()
    }

    /// Milliseconds from the first delivery to each.
    fn times(&self) -> Vec<u128> {
        self.0.delivered.lock().iter().map(|(at, _)| at.as_millis()).collect()
    }
}

/// Sees how pumps exit.
struct Watcher;

impl Actor for Watcher {
    type Msg = FeedMsg;
    type State = mpsc::UnboundedSender<ExitReason>;
    type Arguments = mpsc::UnboundedSender<ExitReason>;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        exits: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(exits)
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        exits: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(reason) = ExitReason::of_event(&event) {
            exits.send(reason)?;
        }
        Ok(())
    }
}

/// A feed and everything around it.
struct Bench {
    slot: Arc<FeedSlot>,
    agents: Recorder,
    events: Events,
    supervisor: ActorCell,
    exits: mpsc::UnboundedReceiver<ExitReason>,
    folder: Folder,
}

impl Bench {
    async fn new(content: &str, keys: &str, table: &str) -> Self {
        let folder = Folder::new();
        folder.write("f.csv", content);
        let config = config(&format!("source = \"f.csv\"\n{keys}"), table);
        Self::with(config, folder).await
    }

    async fn with(config: FeedConfig, folder: Folder) -> Self {
        let clock = Clock::start_at(1_000_000);
        let (sender, exits) = mpsc::unbounded_channel();
        let (supervisor, _) = Actor::spawn(None, Watcher, sender).await.unwrap();
        Self {
            slot: FeedSlot::resume(config, folder.path(), clock, 0, ReadMode::Inline),
            agents: Recorder::default(),
            events: Events::new(clock, 100),
            supervisor: supervisor.get_cell(),
            exits,
            folder,
        }
    }

    async fn start(&self) -> ActorRef<FeedMsg> {
        let args = FeedArgs {
            slot: self.slot.clone(),
            agents: self.agents.clone(),
            events: self.events.clone(),
            seat: None,
        };
        let spawned = Actor::spawn_linked(None, FeedActor::default(), args, self.supervisor.clone()).await;
        spawned.unwrap().0
    }

    async fn exit(&mut self) -> ExitReason {
        self.exits.recv().await.unwrap()
    }

    fn event_names(&self) -> Vec<String> {
        self.events.since(0).0.iter().map(|record| format!("{:?}", record.event)).collect()
    }
}

fn rows(count: usize) -> String {
    let rows: String = (0..count).map(|n| format!("{n},{n}\n")).collect();
    format!("a,b\n{rows}")
}

/// The whole sequence of a feed, as the recorder notes it.
fn expected(config: &FeedConfig, folder: &Folder) -> Vec<String> {
    let run = Run::of(config, folder.path());
    run.ending.unwrap();
    let pairs = run.emissions.iter().flat_map(|emission| {
        emission.targets.iter().map(|target| format!("{target} {} {:?}", emission.key, emission.payload))
    });
    pairs.collect()
}

/// Goal: everything is delivered in order, the end is an event and a normal exit, and the slot tells the same.
#[tokio::test(start_paused = true)]
async fn a_feed_runs_to_its_end() {
    let mut bench = Bench::new(&rows(1000), "max_malformed = 1.0", PLAIN).await;
    bench.agents.0.unknown.lock().insert("x/500".to_owned());
    assert_eq!(bench.slot.status().state, FeedState::Waiting);
    bench.start().await;
    assert_eq!(bench.exit().await, ExitReason::Normal);
    let names: Vec<String> =
        bench.agents.names().iter().map(|name| name.split(' ').next().unwrap().into()).collect();
    let all: Vec<String> = (0..1000).filter(|n| *n != 500).map(|n| format!("x/{n}")).collect();
    assert_eq!(names, all);
    let status = bench.slot.status();
    assert_eq!((status.state, status.error), (FeedState::Completed, None));
    assert_eq!((status.records, status.confirmed, status.dead_lettered), (1000, 1000, 1));
    assert_eq!((status.bytes_read, status.resumes), (status.bytes_total.unwrap(), 0));
    assert!(status.finished_unix_ms >= status.started_unix_ms);
    assert_eq!(
        bench.event_names(),
        [
            "FeedStarted { feed: \"plain\", resumed_at: 0 }",
            "FeedCompleted { feed: \"plain\", records: 1000, requests: 1000, malformed: 0 }"
        ]
    );

    // Started once more, by a sibling's crash perhaps, it has nothing left to do.
    bench.start().await;
    assert_eq!(bench.exit().await, ExitReason::Normal);
    assert_eq!((bench.agents.count(), bench.event_names().len()), (999, 2));
}

/// Goal: kills at any moment neither lose nor double a request. Method: kill after a random number of scheduler turns, start
/// again, until the feed completes; the deliveries are those of an undisturbed run. Several seeds, all feeds with reordering.
#[tokio::test(start_paused = true)]
async fn kills_neither_lose_nor_double() {
    for seed in 0..8 {
        let mut random = Seed::new(seed).stream("kills");
        let text = std::fs::read_to_string(crate::feed::test_support::week()).unwrap();
        let lines: Vec<&str> = text.lines().take(250).collect();
        let mut bench = Bench::new(&lines.join("\n"), "", FLIGHTS).await;
        let expected = expected(bench.slot.config(), &bench.folder);
        let mut kills = 0;
        loop {
            let pump = bench.start().await;
            for _ in 0..random.random_range(0..400) {
                tokio::task::yield_now().await;
            }
            pump.kill();
            if bench.exit().await == ExitReason::Normal {
                break;
            }
            kills += 1;
        }
        assert!(kills > 3, "seed {seed}: only {kills} kills");
        assert!(bench.agents.names() == expected, "seed {seed}");
        let status = bench.slot.status();
        assert_eq!(status.resumes, kills, "seed {seed}");
        assert_eq!(status.confirmed, expected.len() as u64, "seed {seed}");
    }
}

/// Goal: while an agent's inbox is full the feed waits, answers, and stops at once; then it goes on without a loss.
#[tokio::test(start_paused = true)]
async fn a_full_inbox_holds_the_feed_but_not_the_pump() {
    let mut bench = Bench::new(&rows(100), "", PLAIN).await;
    bench.agents.0.is_full.store(true, Ordering::Relaxed);
    let pump = bench.start().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let began = Instant::now();
    let status = call_t!(pump, FeedMsg::Status, 1000).unwrap();
    assert_eq!((status.state, status.confirmed), (FeedState::Running, 0));
    pump.stop(Some("shutdown".into()));
    assert_eq!(bench.exit().await, ExitReason::Shutdown(None));
    assert!(began.elapsed() <= 3 * WAIT, "{:?}", began.elapsed());
    assert_eq!((bench.slot.state(), bench.agents.count()), (FeedState::Waiting, 0));

    bench.agents.0.is_full.store(false, Ordering::Relaxed);
    bench.start().await;
    assert_eq!(bench.exit().await, ExitReason::Normal);
    assert_eq!(bench.agents.names(), expected(bench.slot.config(), &bench.folder));
}

/// Goal: nothing is delivered in a pause, a restart does not end it, and its time does not count for the replay.
#[tokio::test(start_paused = true)]
async fn a_pause_stops_the_replays_clock() {
    let mut bench = Bench::new(&rows(10), "replay = { rate = 1.0 }", PLAIN).await;
    let pump = bench.start().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(bench.agents.count(), 3);
    pump.cast(FeedMsg::Pause).unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!((bench.agents.count(), bench.slot.state()), (3, FeedState::Paused));
    pump.cast(FeedMsg::Resume).unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!((bench.agents.count(), bench.slot.state()), (4, FeedState::Running));
    pump.cast(FeedMsg::Pause).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    pump.kill();
    assert_eq!(bench.exit().await, ExitReason::Killed);
    let pump = bench.start().await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!((bench.agents.count(), bench.slot.state()), (4, FeedState::Paused));
    pump.cast(FeedMsg::Resume).unwrap();
    assert_eq!(bench.exit().await, ExitReason::Normal);
    assert_eq!(bench.agents.names(), expected(bench.slot.config(), &bench.folder));
    let times = bench.agents.times();
    assert!(times[4..].windows(2).all(|pair| pair[1] - pair[0] == 1000), "{times:?}");
}

/// Goal: a rate and a speed give each request its moment.
#[tokio::test(start_paused = true)]
async fn replays_keep_their_pace() {
    let mut bench = Bench::new(&rows(50), "replay = { rate = 250.0 }", PLAIN).await;
    bench.start().await;
    bench.exit().await;
    assert!(bench.agents.times().into_iter().eq((0..50).map(|n| n * 4)), "{:?}", bench.agents.times());

    let table = "name = \"s\"\n[[emit]]\nto = [\"x\"]\naction = \"a\"\nat = { date = \"{t}\" }";
    let content = "t\n2013-01-01T05:00\n2013-01-01T06:00\n2013-01-01T06:00\n2013-01-01T05:30\n2013-01-03\n";
    for (reorder, times) in
        [("", [0, 1000, 1000, 1000, 43_000]), ("reorder = \"1h\"", [0, 500, 1000, 1000, 43_000])]
    {
        let mut bench =
            Bench::new(content, &format!("replay = {{ speed = 3600.0 }}\n{reorder}"), table).await;
        bench.start().await;
        bench.exit().await;
        assert_eq!(bench.agents.times(), times);
    }
}

/// Goal: an error of the source is an orderly shutdown with the error for everyone to see; corrected, the feed goes on where it
/// stopped.
#[tokio::test(start_paused = true)]
async fn a_failed_feed_goes_on_once_its_source_is_corrected() {
    let mut bench = Bench::new(&(rows(150) + "bad\n"), "max_malformed = 0.0", PLAIN).await;
    bench.start().await;
    let ExitReason::Shutdown(Some(why)) = bench.exit().await else {
        panic!("a shutdown with a reason is expected")
    };
    assert!(why.contains("f.csv:152: 1 of 151 records are malformed"), "{why}");
    let status = bench.slot.status();
    assert_eq!((status.state, status.confirmed, status.malformed), (FeedState::Failed, 150, 1));
    assert_eq!(status.first_malformed.len(), 1);
    assert!(why.contains(&*status.error.unwrap()));
    assert!(bench.event_names()[1].starts_with("FeedFailed"), "{:?}", bench.event_names());

    bench.folder.write("f.csv", rows(200));
    bench.start().await;
    assert_eq!(bench.exit().await, ExitReason::Normal);
    assert_eq!(bench.agents.names(), expected(bench.slot.config(), &bench.folder));
    let status = bench.slot.status();
    assert_eq!((status.state, status.error, status.resumes), (FeedState::Completed, None, 1));
    assert_eq!((status.records, status.malformed, status.confirmed), (200, 0, 200));
    assert_eq!(bench.event_names()[2], "FeedStarted { feed: \"plain\", resumed_at: 150 }");
}

/// Goal: a reader that crashed fails the pump, and the restarted one reads the source anew without doubling a request.
#[tokio::test(start_paused = true)]
async fn a_crashed_reader_is_replaced() {
    let mut bench = Bench::new(&rows(3000), "", PLAIN).await;
    let pump = bench.start().await;
    while bench.agents.count() < 700 {
        tokio::task::yield_now().await;
    }
    bench.slot.break_reader();
    assert_eq!(bench.exit().await, ExitReason::Error("the feed's reader crashed".into()));
    drop(pump);
    let delivered = bench.agents.count();
    assert!(delivered < 3000, "{delivered}");

    // The next one gets a little further, then panics with the pipeline in its hands.
    let pump = bench.start().await;
    while bench.agents.count() < delivered + 100 {
        tokio::task::yield_now().await;
    }
    pump.kill();
    assert_eq!(bench.exit().await, ExitReason::Killed);
    bench.slot.poison();
    bench.start().await;
    assert_eq!(bench.exit().await, ExitReason::Normal);
    assert_eq!(bench.agents.names(), expected(bench.slot.config(), &bench.folder));
}

/// Goal: a request nobody can take is dead-lettered by the node and counted, and the feed goes on. Method: a node without
/// agents, and a reader on a thread of its own.
#[tokio::test]
async fn a_node_without_agents_dead_letters() {
    let folder = Folder::new();
    folder.write("f.csv", rows(700));
    let meter = opentelemetry::global::meter("test");
    let clock = Clock::start();
    let node = Node::new(NodeConfig::default(), Behaviors::new(), clock, &meter);
    let slot = FeedSlot::new(config("source = \"f.csv\"", PLAIN), folder.path(), clock);
    let args =
        FeedArgs { slot: slot.clone(), agents: node.clone(), events: node.events().clone(), seat: None };
    let (_, join) = Actor::spawn(None, FeedActor::default(), args).await.unwrap();
    join.await.unwrap();
    let status = slot.status();
    assert_eq!((status.state, status.confirmed, status.dead_lettered), (FeedState::Completed, 700, 700));
    assert_eq!((node.tally().sent, node.tally().dead_lettered), (700, 700));
}
