//! The shell with real actors: what only ractor can get wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorStatus};

use super::{
    ChildRules, ChildSpec, ExitReason, Found, Restart, Root, RootError, Shutdown, SpecError, StartChild,
    StartContext, StartError, Started, Status, Strategy, SupervisorEnv, SupervisorError, SupervisorSpec,
    SupervisorView,
};
use crate::clock::Clock;
use crate::telemetry::{Event, Events};

type Log = Arc<Mutex<Vec<String>>>;

/// Writes down its life.
struct Diary;

#[derive(Clone)]
struct DiaryArgs {
    id: &'static str,
    log: Log,
    habit: Habit,
}

#[derive(Clone, Copy, PartialEq)]
enum Habit {
    Good,
    HangsInPreStart,
    PanicsInPostStart,
    HangsInHandle,
    HangsInPostStop,
    PanicsInPostStop,
}

struct DiaryState {
    args: DiaryArgs,
    /// Written when the state is dropped, however the actor ends.
    _dropped: OnDrop,
}

struct OnDrop(&'static str, Log);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.1.lock().push(format!("{} dropped", self.0));
    }
}

impl Actor for Diary {
    type Msg = ();
    type State = DiaryState;
    type Arguments = DiaryArgs;

    async fn pre_start(&self, _: ActorRef<()>, args: DiaryArgs) -> Result<DiaryState, ActorProcessingErr> {
        let dropped = OnDrop(args.id, args.log.clone());
        args.log.lock().push(format!("{} starts", args.id));
        if args.habit == Habit::HangsInPreStart {
            std::future::pending::<()>().await;
        }
        Ok(DiaryState { args, _dropped: dropped })
    }

    async fn post_start(&self, _: ActorRef<()>, state: &mut DiaryState) -> Result<(), ActorProcessingErr> {
        assert!(state.args.habit != Habit::PanicsInPostStart, "ouch");
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<()>,
        (): (),
        state: &mut DiaryState,
    ) -> Result<(), ActorProcessingErr> {
        if state.args.habit == Habit::HangsInHandle {
            std::future::pending::<()>().await;
        }
        Err("boom".into())
    }

    async fn post_stop(&self, _: ActorRef<()>, state: &mut DiaryState) -> Result<(), ActorProcessingErr> {
        state.args.log.lock().push(format!("{} post_stop", state.args.id));
        match state.args.habit {
            Habit::HangsInPostStop => std::future::pending().await,
            Habit::PanicsInPostStop => panic!("ouch"),
            _ => Ok(()),
        }
    }
}

struct Fixture {
    env: SupervisorEnv,
    log: Log,
}

impl Fixture {
    fn new() -> Self {
        let clock = Clock::start_at(0);
        Self { env: SupervisorEnv { clock, events: Events::new(clock, 10_000) }, log: Log::default() }
    }

    fn diary(&self, id: &'static str, habit: Habit) -> ChildSpec {
        ChildSpec::actor(id, || Diary, DiaryArgs { id, log: self.log.clone(), habit })
    }

    fn good(&self, id: &'static str) -> ChildSpec {
        self.diary(id, Habit::Good)
    }

    async fn start(&self, spec: SupervisorSpec) -> Root {
        Root::start(spec, self.env.clone()).await.unwrap()
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock())
    }

    /// The events so far as names with the child.
    fn events(&self) -> Vec<Event> {
        self.env.events.since(0).0.iter().map(|record| record.event.clone()).collect()
    }

    /// Waits for the next event that `wanted` accepts, past ones included.
    async fn until(&self, wanted: impl Fn(&Event) -> bool) {
        let (past, mut live) = self.env.events.since(0);
        if past.iter().any(|record| wanted(&record.event)) {
            return;
        }
        while !wanted(&live.recv().await.unwrap().event) {}
    }
}

fn cell(root: &Root, path: &str) -> ActorCell {
    root.view().find(path).and_then(|found| found.cell()).unwrap_or_else(|| panic!("{path} runs"))
}

fn restarted(id: &'static str, times: u64) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::ChildRestarted { child, restarts, .. } if &**child == id && *restarts == times)
}

/// Goal: a shutdown runs every `post_stop`, in reverse start order, nested supervisors included.
#[tokio::test(start_paused = true)]
async fn shutdown_runs_post_stop_in_reverse() {
    let fixture = Fixture::new();
    let nested = SupervisorSpec::new("s").child(fixture.good("b")).child(fixture.good("c"));
    let spec = SupervisorSpec::new("root")
        .child(fixture.good("a"))
        .child(ChildSpec::supervisor(nested))
        .child(fixture.good("d"));
    let root = fixture.start(spec).await;
    assert_eq!(fixture.log(), ["a starts", "b starts", "c starts", "d starts"]);
    assert_eq!(root.shutdown().await, ExitReason::Shutdown(None));
    let stops: Vec<_> = fixture.log().into_iter().filter(|line| line.ends_with("post_stop")).collect();
    assert_eq!(stops, ["d post_stop", "c post_stop", "b post_stop", "a post_stop"]);
}

/// Goal: so does a bare ractor `stop` of the supervisor's actor, where ractor itself would kill the children.
#[tokio::test(start_paused = true)]
async fn a_bare_stop_runs_post_stop_in_reverse() {
    let fixture = Fixture::new();
    let nested = SupervisorSpec::new("s").child(fixture.good("b")).child(fixture.good("c"));
    let stubborn = fixture.diary("d", Habit::HangsInPostStop);
    let spec = SupervisorSpec::new("root")
        .child(fixture.good("a"))
        .child(ChildSpec::supervisor(nested))
        .child(stubborn);
    let root = fixture.start(spec).await;
    fixture.log();
    root.view().cell().unwrap().stop(Some("enough".into()));
    assert_eq!(root.exited().await, ExitReason::Shutdown(None));
    let log = fixture.log();
    let stops: Vec<_> = log.iter().filter(|line| line.ends_with("post_stop")).collect();
    assert_eq!(stops, ["d post_stop", "c post_stop", "b post_stop", "a post_stop"]);
    assert_eq!(log.iter().filter(|line| line.ends_with("dropped")).count(), 4);
}

/// Goal: a bare stop in the middle of a termination that waits neither hangs nor skips anybody.
#[tokio::test(start_paused = true)]
async fn a_bare_stop_in_the_middle_of_a_termination() {
    let fixture = Fixture::new();
    let stubborn = fixture.diary("b", Habit::HangsInPostStop);
    let spec = SupervisorSpec::new("root").child(fixture.good("a")).child(stubborn);
    let root = fixture.start(spec).await;
    let supervisor = root.supervisor().clone();
    let call = tokio::spawn(async move { supervisor.terminate_child("b").await });
    while root.view().child("b").unwrap().status != Status::Stopping {
        tokio::task::yield_now().await;
    }
    root.view().cell().unwrap().stop(None);
    assert_eq!(root.exited().await, ExitReason::Shutdown(None));
    assert_eq!(call.await.unwrap(), Err(SupervisorError::ShuttingDown));
    assert!(fixture.log().contains(&"a post_stop".to_owned()));
}

/// Goal: an actor that hangs in `handle` or `post_stop` is killed when its shutdown time is over, and not before.
#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_is_killed() {
    for habit in [Habit::HangsInHandle, Habit::HangsInPostStop] {
        let fixture = Fixture::new();
        let child = fixture.diary("a", habit).shutdown(Shutdown::Timeout(Duration::from_secs(3)));
        let root = fixture.start(SupervisorSpec::new("root").child(child)).await;
        if habit == Habit::HangsInHandle {
            cell(&root, "root/a").send_message(()).unwrap();
        }
        let before = tokio::time::Instant::now();
        root.supervisor().terminate_child("a").await.unwrap();
        assert_eq!(before.elapsed(), Duration::from_secs(3));
        let exit = root.view().child("a").unwrap().last_exit.unwrap();
        assert_eq!(exit.reason, ExitReason::Killed);
        assert!(fixture.log().contains(&"a dropped".to_owned()));
        root.shutdown().await;
    }
}

/// Goal: a brutal kill does not run `post_stop` and takes no time.
#[tokio::test(start_paused = true)]
async fn brutal_kill_skips_post_stop() {
    let fixture = Fixture::new();
    let child = fixture.diary("a", Habit::HangsInPostStop).shutdown(Shutdown::BrutalKill);
    let root = fixture.start(SupervisorSpec::new("root").child(child)).await;
    let before = tokio::time::Instant::now();
    root.shutdown().await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(fixture.log(), ["a starts", "a dropped"]);
}

/// Goal: a `pre_start` that hangs is dropped when its time is over, and what was started before is stopped.
#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_is_dropped() {
    let fixture = Fixture::new();
    let slow = fixture.diary("b", Habit::HangsInPreStart).start_timeout(Duration::from_secs(2));
    let spec = SupervisorSpec::new("root").child(fixture.good("a")).child(slow);
    let error = Root::start(spec, fixture.env.clone()).await.unwrap_err();
    let reason = ExitReason::StartFailed("child `b`: not started within 2s".into());
    assert_eq!(error, RootError::StartFailed { name: "root".into(), reason });
    assert_eq!(fixture.log(), ["a starts", "b starts", "b dropped", "a post_stop", "a dropped"]);
}

/// Goal: the tree can be seen, and shut down, while a start deep in it hangs.
#[tokio::test(start_paused = true)]
async fn a_tree_is_visible_while_it_boots() {
    let fixture = Fixture::new();
    let nested =
        SupervisorSpec::new("s").child(fixture.good("b")).child(fixture.diary("c", Habit::HangsInPreStart));
    let spec = SupervisorSpec::new("root").child(fixture.good("a")).child(ChildSpec::supervisor(nested));
    let root = Root::spawn(spec, fixture.env.clone()).await.unwrap();
    let boot = tokio::spawn({
        let root = root.clone();
        async move { root.boot().await }
    });
    while root.view().find("root/s/c").is_none_or(|found| status(&found) != Status::Starting) {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&root.view().find("root/s").unwrap()), Status::Starting);
    assert_eq!(status(&root.view().find("root/s/b").unwrap()), Status::Running);
    assert_eq!(root.shutdown().await, ExitReason::Shutdown(None));
    assert!(boot.await.unwrap().is_err());
    assert_eq!(
        fixture.log(),
        [
            "a starts",
            "b starts",
            "c starts",
            "c dropped",
            "b post_stop",
            "b dropped",
            "a post_stop",
            "a dropped"
        ]
    );
}

fn status(found: &Found) -> Status {
    match found {
        Found::Root(root) => root.status(),
        Found::Child { child, .. } => child.status,
    }
}

/// Goal: panics in every callback are the child's problem only.
#[tokio::test(start_paused = true)]
async fn panics_are_contained() {
    let fixture = Fixture::new();
    let post_stop = fixture.diary("a", Habit::PanicsInPostStop);
    let post_start = fixture.diary("b", Habit::PanicsInPostStart).restart(Restart::Temporary);
    let root = fixture.start(SupervisorSpec::new("root").child(post_stop).child(post_start)).await;
    fixture.until(|event| matches!(event, Event::ChildExited { child, .. } if &**child == "b")).await;
    assert!(root.view().child("b").is_none());
    root.supervisor().terminate_child("a").await.unwrap();
    let exit = root.view().child("a").unwrap().last_exit.unwrap();
    assert_eq!(exit.reason, ExitReason::Error("ouch".into()));
    let factory = ChildSpec::actor("c", || -> Diary { panic!("no actor") }, {
        DiaryArgs { id: "c", log: fixture.log.clone(), habit: Habit::Good }
    });
    let error = root.supervisor().start_child(factory).await.unwrap_err();
    let reason = ExitReason::StartFailed("no actor".into());
    assert_eq!(error, SupervisorError::StartFailed { id: "c".into(), reason });
    assert_eq!(root.shutdown().await, ExitReason::Shutdown(None));
}

/// Goal: a killed supervisor is built anew with its specification's children, after the old ones are gone.
#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_heals() {
    let fixture = Fixture::new();
    let inner = SupervisorSpec::new("t").child(fixture.good("a"));
    let outer = SupervisorSpec::new("s").child(ChildSpec::supervisor(inner)).child(fixture.good("b"));
    let root = fixture.start(SupervisorSpec::new("root").child(ChildSpec::supervisor(outer))).await;
    let old = cell(&root, "root/s/t/a");
    fixture.log();
    cell(&root, "root/s").kill();
    fixture.until(restarted("s", 1)).await;
    assert_eq!(old.get_status(), ActorStatus::Stopped);
    let log = fixture.log();
    let mut drops = log[..2].to_vec();
    drops.sort();
    assert_eq!(drops, ["a dropped", "b dropped"], "{log:?}");
    assert_eq!(log[2..], ["a starts", "b starts"]);
    assert_eq!(root.view().totals().active, 5);
    root.shutdown().await;
}

/// Goal: the root's last word is the whole chain of causes, and its future resolves with it.
#[tokio::test(start_paused = true)]
async fn escalation_tells_the_whole_story() {
    let fixture = Fixture::new();
    let once = Duration::from_secs(5);
    let inner = SupervisorSpec::new("t").intensity(0, once).child(fixture.good("a"));
    let outer = SupervisorSpec::new("s").intensity(0, once).child(ChildSpec::supervisor(inner));
    let spec = SupervisorSpec::new("root").intensity(0, once).child(ChildSpec::supervisor(outer));
    let root = fixture.start(spec).await;
    cell(&root, "root/s/t/a").send_message(()).unwrap();
    let reason = root.exited().await;
    let chain = reason.chain();
    assert_eq!(chain.len(), 4, "{chain:?}");
    for (line, supervisor) in chain.iter().zip(["`root` gave up", "`root/s` gave up", "`root/s/t` gave up"]) {
        assert!(line.contains(supervisor), "{line}");
    }
    assert_eq!(chain[3], "error: boom");
    assert_eq!(root.supervisor().terminate_child("s").await, Err(SupervisorError::Gone));
}

/// Goal: a root whose actor is killed is reported as killed.
#[tokio::test(start_paused = true)]
async fn a_killed_root_is_reported() {
    let fixture = Fixture::new();
    let root = fixture.start(SupervisorSpec::new("root").child(fixture.good("a"))).await;
    let child = cell(&root, "root/a");
    cell(&root, "root").kill();
    assert_eq!(root.exited().await, ExitReason::Killed);
    assert_eq!(root.view().status(), Status::Terminated);
    child.wait(None).await.unwrap();
}

/// Breaks rules when it starts an actor.
struct Careless {
    log: Log,
    how: How,
    starts: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum How {
    /// The actor ends before its start returns.
    ReturnsLate,
    /// The actor is not linked to its supervisor.
    Unlinked,
    /// The actor is not linked, and ends before its start returns.
    UnlinkedAndLate,
}

impl StartChild for Careless {
    fn start(&self, context: StartContext) -> BoxFuture<'static, Result<Started, StartError>> {
        let args = DiaryArgs { id: "careless", log: self.log.clone(), habit: Habit::Good };
        let (how, first) = (self.how, self.starts.fetch_add(1, Ordering::Relaxed) == 0);
        Box::pin(async move {
            let (actor, _) = match how {
                How::ReturnsLate => {
                    Diary::spawn_linked(None, Diary, args, context.supervisor().clone()).await?
                }
                How::Unlinked | How::UnlinkedAndLate => Diary::spawn(None, Diary, args).await?,
            };
            if first && !matches!(how, How::Unlinked) {
                actor.send_message(())?;
                actor.get_cell().wait(None).await?;
                // Until the report has reached the supervisor.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            }
            Ok(actor.get_cell().into())
        })
    }
}

impl From<ractor::concurrency::Timeout> for StartError {
    fn from(timeout: ractor::concurrency::Timeout) -> Self {
        Self::Failed(timeout.into())
    }
}

impl<T> From<ractor::MessagingErr<T>> for StartError
where
    T: Send + 'static,
{
    fn from(_: ractor::MessagingErr<T>) -> Self {
        Self::Failed("the message was not sent".into())
    }
}

/// Goal: an exit that is reported before the start has returned counts, once; so does one that nobody reports.
#[tokio::test(start_paused = true)]
async fn early_exits_are_not_lost() {
    for (how, reason) in [
        (How::ReturnsLate, ExitReason::Error("boom".into())),
        (How::UnlinkedAndLate, ExitReason::Error("the exit was not reported".into())),
    ] {
        let fixture = Fixture::new();
        let start = Careless { log: fixture.log.clone(), how, starts: Arc::default() };
        let child = ChildSpec::new("a", Arc::new(start), ChildRules::worker("careless"));
        let root = fixture.start(SupervisorSpec::new("root").child(child)).await;
        fixture.until(restarted("a", 1)).await;
        let exits: Vec<_> =
            fixture.events().into_iter().filter(|event| matches!(event, Event::ChildExited { .. })).collect();
        assert_eq!(exits, [Event::ChildExited { supervisor: "root".into(), child: "a".into(), reason }]);
        assert_eq!(root.view().child("a").unwrap().status, Status::Running);
        root.shutdown().await;
    }
}

/// Goal: an actor that was spawned without a link is linked, so that its exit is seen.
#[tokio::test(start_paused = true)]
async fn unlinked_actors_are_linked() {
    let fixture = Fixture::new();
    let start = Careless { log: fixture.log.clone(), how: How::Unlinked, starts: Arc::default() };
    let child = ChildSpec::new("a", Arc::new(start), ChildRules::worker("careless"));
    let root = fixture.start(SupervisorSpec::new("root").child(child)).await;
    cell(&root, "root/a").send_message(()).unwrap();
    fixture.until(restarted("a", 1)).await;
    root.shutdown().await;
}

/// Blocks its thread until it is told to go on.
struct Blocking(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl Actor for Blocking {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        let _ = self.0.lock().unwrap().recv();
        Ok(())
    }
}

/// Starts [`Blocking`] on another runtime.
struct Elsewhere {
    runtime: tokio::runtime::Handle,
    release: Arc<Mutex<Option<std::sync::mpsc::Receiver<()>>>>,
}

impl StartChild for Elsewhere {
    fn start(&self, context: StartContext) -> BoxFuture<'static, Result<Started, StartError>> {
        let (runtime, release) = (self.runtime.clone(), self.release.lock().take().unwrap());
        Box::pin(async move {
            let supervisor = context.supervisor().clone();
            let actor = Blocking(std::sync::Mutex::new(release));
            let spawned = runtime.spawn(Blocking::spawn_linked(None, actor, (), supervisor)).await;
            let (actor, _) = spawned.expect("the spawn does not panic")?;
            Ok(actor.get_cell().into())
        })
    }
}

/// Goal: an actor that blocks its thread and so survives its kill does not hang its supervisor: it is reported and left.
#[test]
fn an_actor_that_never_yields_is_left_behind() {
    let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let this = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (go_on, release) = std::sync::mpsc::channel();
    let fixture = Fixture { env: this.block_on(async { Fixture::new().env }), log: Log::default() };
    this.block_on(async {
        let start =
            Elsewhere { runtime: other.handle().clone(), release: Arc::new(Mutex::new(Some(release))) };
        let child = ChildSpec::new("a", Arc::new(start), ChildRules::worker("blocking"));
        let root = fixture.start(SupervisorSpec::new("root").child(child)).await;
        cell(&root, "root/a").send_message(()).unwrap();
        assert_eq!(root.shutdown().await, ExitReason::Shutdown(None));
        assert!(fixture.events().iter().any(|event| matches!(event, Event::ChildUnresponsive { .. })));
        go_on.send(()).unwrap();
    });
}

/// Goal: ten thousand dynamic children start, restart and end; nothing is left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_dynamic_children() {
    const COUNT: usize = 10_000;
    let fixture = Fixture::new();
    let spec = SupervisorSpec::dynamic("root", ChildRules::worker("diary"))
        .intensity(100_000, Duration::from_secs(60));
    let root = fixture.start(spec).await;
    for index in 0..COUNT {
        let start = fixture.good("many").start;
        root.supervisor().start_dynamic(format!("many/{index}"), start).await.unwrap();
    }
    assert_eq!(root.supervisor().count_children().active, COUNT);
    for index in (0..COUNT).step_by(10) {
        cell(&root, &format!("root/many/{index}")).kill();
    }
    while root.view().restarts() < (COUNT / 10) as u64 || root.view().counts().active < COUNT {
        tokio::task::yield_now().await;
    }
    root.shutdown().await;
    assert_eq!(root.view().counts().active, 0);
    let log = fixture.log();
    let dropped = log.iter().filter(|line| line.ends_with("dropped")).count();
    assert_eq!(dropped, COUNT + COUNT / 10);
}

fn is_complete(view: &Arc<SupervisorView>) -> bool {
    let children = view.children(0, 10);
    children.len() == 3
        && children
            .iter()
            .all(|child| child.status == Status::Running && child.nested.as_ref().is_none_or(is_complete))
}

/// Goal: under random kills on many threads, of workers and supervisors alike, a tree ends up complete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_heals_under_random_kills() {
    use rand::Rng as _;
    let seed = 7;
    let mut rng = crate::rng::Seed::new(seed).stream("kills");
    let fixture = Fixture::new();
    let often = |spec: SupervisorSpec| spec.intensity(100_000, Duration::from_secs(60));
    let inner = |name: &str, strategy| {
        let children = ["a", "b", "c"].map(|id| fixture.good(id));
        let spec = often(SupervisorSpec::new(name)).strategy(strategy);
        ChildSpec::supervisor(children.into_iter().fold(spec, SupervisorSpec::child))
    };
    let spec = often(SupervisorSpec::new("root"))
        .child(inner("all", Strategy::OneForAll))
        .child(inner("rest", Strategy::RestForOne))
        .child(inner("one", Strategy::OneForOne));
    let root = fixture.start(spec).await;
    let story = async {
        let mut killed = BTreeSet::new();
        while killed.len() < 1000 {
            let supervisor = ["all", "rest", "one"][rng.random_range(0..3)];
            let path = match rng.random_range(0..10) {
                0 => format!("root/{supervisor}"),
                index => format!("root/{supervisor}/{}", ["a", "b", "c"][index % 3]),
            };
            let found = root.view().find(&path).filter(|found| status(found) == Status::Running);
            if let Some(cell) =
                found.and_then(|found| found.cell()).filter(|cell| killed.insert(cell.get_id()))
            {
                cell.kill();
            }
            tokio::task::yield_now().await;
        }
        while !is_complete(root.view()) {
            tokio::task::yield_now().await;
        }
    };
    let healed = tokio::time::timeout(Duration::from_secs(60), story).await;
    assert!(healed.is_ok(), "seed {seed}: {:#?}", root.view().snapshot("root", 9, 0, 9, &|_| None));
    assert!(root.view().restarts() > 10, "supervisors were restarted: {}", root.view().restarts());
    let exits = fixture.events().into_iter().filter(|event| matches!(event, Event::ChildExited { .. }));
    assert!(exits.count() > 100, "most kills were seen one by one");
    root.shutdown().await;
}

/// Goal: a specification that makes no sense starts nothing, at the root and at run time.
#[tokio::test(start_paused = true)]
async fn nonsense_is_refused() {
    let fixture = Fixture::new();
    let twice = SupervisorSpec::new("root").child(fixture.good("a")).child(fixture.good("a"));
    let error = Root::start(twice, fixture.env.clone()).await.unwrap_err();
    assert_eq!(error, RootError::InvalidSpec(SpecError::DuplicateId("a".into())));
    let root = fixture.start(SupervisorSpec::new("root")).await;
    let significant = fixture.good("a").restart(Restart::Transient).significant(true);
    let refused = root.supervisor().start_child(significant).await.unwrap_err();
    assert_eq!(refused, SupervisorError::InvalidSpec(SpecError::SignificantWithoutAutoShutdown("a".into())));
    assert!(fixture.log().is_empty());
    root.boot().await.unwrap();
    assert_eq!(root.view().counts().specs, 0);
}
