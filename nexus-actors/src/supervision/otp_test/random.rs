//! Random trees and random crashes in the pure world. What holds in every one of them is checked after each step.

use std::time::Duration;

use proptest::prelude::*;

use super::World;
use super::pure::PureWorld;
use super::script::{Call, Command, Flags, HowStart, Node, worker};
use crate::supervision::{AutoShutdown, Backoff, ChildKind, Restart, Shutdown, Strategy as Answer};

/// Something that happens; indexes are taken modulo what there is.
#[derive(Clone, Debug)]
enum Happening {
    Exit { worker: usize, reason: Option<&'static str> },
    Crashes { workers: Vec<usize> },
    KillWorker(usize),
    KillSupervisor(usize),
    Fails { worker: usize, how: HowStart, count: u32 },
    Advance { ms: u64 },
    Terminate(usize),
    Restart(usize),
    Cycle(usize),
    Delete(usize),
    Add { supervisor: usize, temporary: bool },
    Stubborn(usize),
}

fn crashes() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (any::<usize>(), prop::sample::select(vec![None, Some("shutdown"), Some("disk full")]))
            .prop_map(|(worker, reason)| Happening::Exit { worker, reason }),
        4 => prop::collection::vec(any::<usize>(), 1..4).prop_map(|workers| Happening::Crashes { workers }),
        1 => any::<usize>().prop_map(Happening::KillWorker),
        1 => any::<usize>().prop_map(Happening::KillSupervisor),
        1 => (any::<usize>(), prop::sample::select(vec![HowStart::Fails, HowStart::Panics]), 1_u32..3)
            .prop_map(|(worker, how, count)| Happening::Fails { worker, how, count }),
        4 => (0_u64..60).prop_map(|tenths| Happening::Advance { ms: tenths * 100 }),
    ]
}

fn anything() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => crashes(),
        1 => any::<usize>().prop_map(Happening::Terminate),
        1 => any::<usize>().prop_map(Happening::Restart),
        1 => any::<usize>().prop_map(Happening::Cycle),
        1 => any::<usize>().prop_map(Happening::Delete),
        1 => (any::<usize>(), any::<bool>())
            .prop_map(|(supervisor, temporary)| Happening::Add { supervisor, temporary }),
        1 => any::<usize>().prop_map(Happening::Stubborn),
        1 => any::<usize>()
            .prop_map(|worker| Happening::Fails { worker, how: HowStart::Hangs, count: 1 }),
        1 => any::<usize>()
            .prop_map(|worker| Happening::Fails { worker, how: HowStart::Ignored, count: 1 }),
    ]
}

fn any_worker(backoff: bool) -> impl Strategy<Value = Node> {
    let restart = prop::sample::select(vec![Restart::Permanent, Restart::Transient, Restart::Temporary]);
    let shutdown = prop::sample::select(vec![
        None,
        Some(Shutdown::BrutalKill),
        Some(Shutdown::Timeout(Duration::from_secs(1))),
    ]);
    (restart, shutdown, any::<bool>(), any::<bool>()).prop_map(move |(restart, shutdown, timeout, waits)| {
        let pause = Backoff::doubling(Duration::from_millis(500), Duration::from_secs(4));
        Node {
            restart,
            shutdown,
            significant: restart != Restart::Permanent && timeout,
            start_timeout: timeout.then_some(Duration::from_secs(2)),
            backoff: (backoff && waits).then_some(pause),
            ..worker("w")
        }
    })
}

fn tree(backoff: bool, auto_shutdown: bool) -> impl Strategy<Value = Node> {
    any_worker(backoff)
        .prop_recursive(3, 24, 5, move |child| {
            let strategies = vec![Answer::OneForOne, Answer::OneForAll, Answer::RestForOne];
            let auto = prop::sample::select(vec![
                AutoShutdown::Never,
                AutoShutdown::AnySignificant,
                AutoShutdown::AllSignificant,
            ]);
            (prop::collection::vec(child, 1..5), prop::sample::select(strategies), 0_u32..6, auto).prop_map(
                move |(children, strategy, intensity, auto)| {
                    let auto = if auto_shutdown { auto } else { AutoShutdown::Never };
                    supervisor(children, strategy, intensity, auto)
                },
            )
        })
        .prop_map(|node| match node.supervisor {
            Some(_) => Node { id: "root".into(), ..node },
            None => Node {
                id: "root".into(),
                ..supervisor(vec![node], Answer::OneForOne, 3, AutoShutdown::Never)
            },
        })
}

fn supervisor(mut children: Vec<Node>, strategy: Answer, intensity: u32, auto: AutoShutdown) -> Node {
    for (index, child) in children.iter_mut().enumerate() {
        let kind = if child.supervisor.is_some() { 's' } else { 'w' };
        child.id = format!("{kind}{index}");
        child.significant &= auto != AutoShutdown::Never;
    }
    let period = Duration::from_secs(3);
    Node {
        supervisor: Some(Flags { strategy, intensity, period, auto_shutdown: auto }),
        children,
        ..worker("s")
    }
}

fn pick(paths: &[String], index: usize) -> Option<String> {
    (!paths.is_empty()).then(|| paths[index % paths.len()].clone())
}

fn split(path: &str) -> (String, String) {
    let (supervisor, id) = path.rsplit_once('/').unwrap_or(("", path));
    (supervisor.to_owned(), id.to_owned())
}

/// The happening as a command, if there is anybody it could happen to.
fn command(world: &PureWorld, happening: &Happening) -> Option<Command> {
    let workers = world.running(ChildKind::Worker);
    let supervisors = world.running(ChildKind::Supervisor);
    let call = |index: usize, call: fn(String) -> Call| {
        let (supervisor, id) = split(&pick(&workers, index)?);
        Some(Command::Call { supervisor, call: call(id) })
    };
    match happening {
        Happening::Exit { worker, reason } => {
            Some(Command::Exit { path: pick(&workers, *worker)?, reason: reason.map(str::to_owned) })
        }
        Happening::Crashes { workers: indexes } => {
            let mut paths: Vec<_> = indexes.iter().filter_map(|index| pick(&workers, *index)).collect();
            paths.sort();
            paths.dedup();
            Some(Command::Crash(paths))
        }
        Happening::KillWorker(index) => Some(Command::Kill(pick(&workers, *index)?)),
        Happening::KillSupervisor(index) => Some(Command::Kill(pick(&supervisors, *index)?)),
        Happening::Fails { worker, how, count } => {
            let (_, id) = split(&pick(&workers, *worker)?);
            Some(Command::NextStarts { id, how: *how, count: *count })
        }
        Happening::Advance { ms } => Some(Command::Advance(Duration::from_millis(*ms))),
        Happening::Terminate(index) => call(*index, Call::Terminate),
        Happening::Restart(index) => call(*index, Call::Restart),
        Happening::Cycle(index) => call(*index, Call::Cycle),
        Happening::Delete(index) => call(*index, Call::Delete),
        Happening::Add { supervisor, temporary } => {
            let restart = if *temporary { Restart::Temporary } else { Restart::Permanent };
            let node = Box::new(Node { restart, ..worker(&format!("added{supervisor}")) });
            let supervisor = pick(&supervisors, *supervisor).unwrap_or_default();
            Some(Command::Call { supervisor, call: Call::Start(node) })
        }
        Happening::Stubborn(index) => Some(Command::Stubborn(split(&pick(&workers, *index)?).1)),
    }
}

fn check_all_intensities(world: &PureWorld, path: &str, node: &Node) {
    if let Some(flags) = &node.supervisor {
        world.check_intensity(path, flags.intensity, flags.period);
    }
    for child in &node.children {
        check_all_intensities(world, &format!("{path}/{}", child.id), child);
    }
}

/// Runs the story and checks after each step.
fn live(tree: &Node, story: &[Happening], healed: bool) -> PureWorld {
    let mut world = PureWorld::new(tree);
    run(&mut world, &Command::Boot);
    for happening in story {
        if world.has_ended() {
            break;
        }
        if let Some(command) = command(&world, happening) {
            run(&mut world, &command);
        }
        world.check(healed && !world.has_ended());
    }
    // Where restarts can be late (back-off, stubborn siblings) their times say nothing about when they were decided.
    if healed {
        check_all_intensities(&world, "root", tree);
    }
    world.check_explained();
    world
}

fn run(world: &mut PureWorld, command: &Command) {
    // The pure world never waits.
    futures::FutureExt::now_or_never(world.run(command)).expect("the pure world does not wait");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: after crashes alone the tree is whole again whenever nothing is left to do, or it has given up and nothing of
    /// it lives; and no supervisor restarts more often than its intensity allows.
    #[test]
    fn crashes_heal_or_end(tree in tree(false, false), story in prop::collection::vec(crashes(), 1..40)) {
        live(&tree, &story, true);
    }

    /// Goal: whatever is asked and whatever resists, no process is lost, every restart is explained, and a shutdown ends
    /// everything in bounded time.
    #[test]
    fn everything_ends(tree in tree(true, true), story in prop::collection::vec(anything(), 1..60)) {
        let mut world = live(&tree, &story, false);
        run(&mut world, &Command::Shutdown);
        // Each of the at most 24 stubborn workers may take a second and is then killed.
        run(&mut world, &Command::Advance(Duration::from_secs(600)));
        prop_assert!(world.has_ended());
        world.check(false);
    }

    /// Goal: the same story gives the same trace.
    #[test]
    fn traces_repeat(tree in tree(true, true), story in prop::collection::vec(anything(), 1..30)) {
        prop_assert_eq!(live(&tree, &story, false).trace(), live(&tree, &story, false).trace());
    }
}
