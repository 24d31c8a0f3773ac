//! The acceptance test of supervision and accounting: a thousand agents and twenty supervisors are killed during a replay at
//! full speed, and the node knows afterwards where every message went and why everything was started again.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nexus_actors::agent::{AgentStatus, Behaviors};
use nexus_actors::prelude::*;
use nexus_actors::rng::Rng;
use nexus_actors::supervision::{Root, SupervisorView};
use nexus_app::behaviors::Echo;
use nexus_app::behaviors::airspace::{Aircraft, Airport, Carrier};
use nexus_app::feed::FeedState;
use nexus_tests::flights::{read, requests, week};
use nexus_tests::invariants::{Books, Happened, Route, accounting, restarts_explained, tree_complete};
use nexus_tests::process::Sandbox;
use nexus_tests::wait::until;
use nexus_tests::{seed, tree};
use rand::Rng as _;
use rand::seq::SliceRandom as _;

use crate::node;

const AGENTS: usize = 1000;
const SUPERVISORS: usize = 20;
/// The week is replayed so many times in a row, for the kills to fall among messages.
const WEEKS: usize = 4;
/// Sends of the test's own with each kill: more than a tower's inbox holds.
const BURST: usize = 24;
/// The list of agents to aim at is made anew after so many kills: it takes longer to make than a kill.
const LIST_EVERY: usize = 25;
/// How long one step may take on a busy machine.
const STEP_MAX: Duration = Duration::from_secs(30);

/// Requests that a behavior has handled to the end, in any incarnation.
static PROCESSED: AtomicU64 = AtomicU64::new(0);

/// Counts what `A` handles to the end, and gives kills a place to hit: an await point while a request is in hand.
struct Counted<A>(A, PhantomData<fn()>);

impl<A: Default> Default for Counted<A> {
    fn default() -> Self {
        Self(A::default(), PhantomData)
    }
}

impl<A: Actor<Msg = AgentMessage, Arguments = AgentSpec>> Actor for Counted<A> {
    type Msg = AgentMessage;
    type State = A::State;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        myself: ActorRef<AgentMessage>,
        spec: AgentSpec,
    ) -> Result<A::State, ActorProcessingErr> {
        self.0.pre_start(myself, spec).await
    }

    async fn handle(
        &self,
        myself: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        let is_request = matches!(message, AgentMessage::Request(..));
        tokio::task::yield_now().await;
        self.0.handle(myself, message, state).await?;
        // No await point from here to the host's own count.
        PROCESSED.fetch_add(u64::from(is_request), Ordering::Relaxed);
        Ok(())
    }
}

fn behaviors() -> Behaviors {
    let mut behaviors = Behaviors::new();
    behaviors.register::<Counted<Aircraft>>("aircraft");
    behaviors.register::<Counted<Airport>>("airport");
    behaviors.register::<Counted<Carrier>>("carrier");
    behaviors.register::<Counted<Echo>>("echo");
    behaviors
}

/// Writes the week's records, `times` in a row under one header.
pub(crate) fn write_weeks(path: &Path, times: usize) {
    let week = std::fs::read_to_string(week()).unwrap();
    let (header, records) = week.split_once('\n').unwrap();
    std::fs::write(path, format!("{header}\n{}", records.repeat(times))).unwrap();
}

/// Requests the feed of `testdata/kill.toml` makes of one week: the airspace's, and one of each record for the tower.
pub(crate) fn week_requests() -> u64 {
    let rows = read(&week());
    requests(&rows) + rows.len() as u64
}

/// The topology of this test.
pub(crate) fn range() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kill.toml");
    std::fs::read_to_string(path).unwrap()
}

#[derive(Clone, Copy)]
enum Shot {
    Agent,
    Supervisor,
}

/// What the test sends itself, and how that went.
#[derive(Default)]
struct Sender {
    sent: u64,
    rejected: u64,
}

impl Sender {
    fn note(&mut self, outcome: Result<(), AgentError>) {
        self.sent += 1;
        self.rejected += u64::from(matches!(outcome, Err(AgentError::Overloaded { .. })));
    }

    /// A burst for one tower, a request for nobody, and one whose asker does not wait for long.
    async fn burst(&mut self, node: &Node, tower: &str, target: &str) {
        for _ in 0..BURST {
            self.note(node.send(tower, Request::query_or("last", Payload::EMPTY)));
        }
        self.note(node.send("nobody", Request::query("summary")));
        let asked = node.ask(target, Request::query("summary"), Duration::from_millis(1)).await;
        self.note(asked.map(drop));
    }
}

fn supervisors(root: &Root) -> Vec<Arc<SupervisorView>> {
    let mut found = root.view().nested();
    let mut next = 0;
    while next < found.len() {
        found.extend(found[next].nested());
        next += 1;
    }
    found
}

/// Kills a random running agent of `names`, or a supervisor, and waits until its actor has ended. Its name.
async fn shoot(shot: Shot, root: &Root, names: &[Arc<str>], rng: &mut Rng) -> String {
    loop {
        let aim = match shot {
            Shot::Agent => {
                let name = &names[rng.random_range(0..names.len())];
                root.view().locate(name).and_then(|found| found.cell()).map(|cell| (name.to_string(), cell))
            }
            Shot::Supervisor => {
                let supervisors = supervisors(root);
                let view = &supervisors[rng.random_range(0..supervisors.len())];
                view.cell().map(|cell| (view.path().to_string(), cell))
            }
        };
        if let Some((name, cell)) = aim.filter(|(_, cell)| cell.get_status() == ractor::ActorStatus::Running)
        {
            cell.kill();
            cell.wait(Some(STEP_MAX)).await.unwrap_or_else(|_| panic!("`{name}` survived"));
            return name;
        }
        // Between two incarnations: aim again.
        tokio::task::yield_now().await;
    }
}

/// Goal: under a thousand kills of agents and twenty of supervisors, the feed's among them, no message is lost from the books, the
/// tree heals completely, and every restart stands in the event log with its reason.
///
/// Method: the week several times at full speed; kills spread evenly over the replay by the feed's own count, on random running
/// targets; the test sends into overloaded, missing and impatient places meanwhile. Sends are counted where they are made,
/// processed requests by the behaviors, dead letters by their store; the node's tally must agree with all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_thousand_kills() {
    let mut rng = seed::of("seeded_thousand_kills").stream("kills");
    let sandbox = Sandbox::new();
    write_weeks(&sandbox.path("flights.csv"), WEEKS);
    let running = node::start(&range(), &sandbox.path(""), behaviors()).await;
    let (node, root, feed) = (running.node().clone(), running.root().clone(), running.feeds()[0].clone());
    let total = week_requests() * WEEKS as u64;

    let mut plan = [vec![Shot::Agent; AGENTS], vec![Shot::Supervisor; SUPERVISORS]].concat();
    plan.shuffle(&mut rng);
    let mut sender = Sender::default();
    let (mut shot_supervisors, mut names) = (BTreeSet::new(), Vec::new());
    for (done, shot) in plan.iter().enumerate() {
        // Within the first nine tenths of the replay, so that it still runs when the last one falls.
        let due = total * 9 / 10 * done as u64 / plan.len() as u64;
        until("the replay goes on", STEP_MAX, || (feed.confirmed() >= due).then_some(()));
        if done % LIST_EVERY == 0 {
            names = node.agents().into_iter().map(|agent| agent.name).collect();
        }
        let name = shoot(*shot, &root, &names, &mut rng).await;
        let tower = ["tower/EWR", "tower/JFK", "tower/LGA"][rng.random_range(0..3)];
        match shot {
            Shot::Agent => sender.burst(&node, tower, &name).await,
            Shot::Supervisor => drop(shot_supervisors.insert(name)),
        }
    }
    assert_ne!(feed.state(), FeedState::Completed, "the kills fell during the replay");
    let end = tokio::time::timeout(2 * STEP_MAX, running.feeds_over()).await.unwrap();
    assert_eq!(end.failed, []);
    until("the tree heals", STEP_MAX, || {
        let healed =
            node.agents().iter().all(|agent| agent.status == AgentStatus::Running && agent.queued == 0);
        let up = root.view().totals();
        // Feed and progress have ended by themselves.
        (healed && up.active + 2 == up.supervisors + up.workers).then_some(())
    });

    let (agents, tally) = (node.agents(), node.tally());
    println!("{tally:?}, {} agents; supervisors: {shot_supervisors:?}", agents.len());
    let restarted: u64 = agents.iter().map(|agent| agent.incarnation - 1).sum();
    assert!(restarted >= AGENTS as u64, "each kill ended an incarnation of its own: {restarted}");
    assert_eq!(feed.confirmed(), total, "each request of the feed was confirmed once");
    let books = Books {
        node: tally,
        sent: total + sender.sent,
        rejected: sender.rejected,
        dead_letters: node.dead_letters().total(),
        processed: Some(PROCESSED.load(Ordering::Relaxed)),
    };
    accounting(&books).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(tally.rejected > 0 && tally.dead_lettered > AGENTS as u64, "every account was used: {tally:?}");

    let snapshot = root.view().snapshot("nexus", usize::MAX, 0, usize::MAX, &|_| None).unwrap();
    let entries = tree::of_node(&snapshot);
    let routes: Vec<Route> = agents
        .iter()
        .map(|agent| Route { name: agent.name.to_string(), running: agent.status == AgentStatus::Running })
        .collect();
    tree_complete(&routes, &entries).unwrap_or_else(|wrong| panic!("{wrong}"));
    let events: Vec<Happened> = node.events().since(0).0.iter().map(|record| (&**record).into()).collect();
    restarts_explained(&events, &entries).unwrap_or_else(|wrong| panic!("{wrong}"));
    node::stop(running, STEP_MAX).await;
}
