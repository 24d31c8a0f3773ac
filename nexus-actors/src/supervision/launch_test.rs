//! Starts that are carried out together, and on other runtimes.

use std::sync::{Arc, Weak};
use std::thread::ThreadId;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

use super::launch::BATCH_MAX;
use super::{
    ChildRules, Root, StartChild, StartContext, StartError, Started, SupervisorEnv, SupervisorError,
    SupervisorSpec,
};
use crate::clock::Clock;
use crate::telemetry::Events;

/// What an actor does when it starts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    Ready,
    /// Ready after the runtime has done something else.
    Yields,
    Fails,
    Panics,
    /// Panics before there is anything to await.
    PanicsAtOnce,
    Ignored,
    Hangs,
}

struct Starter {
    habit: Habit,
    home: Option<Handle>,
    /// Where `pre_start` ran.
    threads: Arc<Mutex<Vec<ThreadId>>>,
    /// Held by the actor while it starts and lives.
    alive: Weak<()>,
    reached: Arc<Notify>,
}

struct Quick;

impl Actor for Quick {
    type Msg = ();
    type State = Arc<()>;
    type Arguments = (Habit, Arc<()>, Arc<Notify>, Arc<Mutex<Vec<ThreadId>>>);

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        (habit, alive, reached, threads): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        threads.lock().push(std::thread::current().id());
        reached.notify_one();
        match habit {
            Habit::Yields => tokio::task::yield_now().await,
            Habit::Fails => return Err("no".into()),
            Habit::Panics => panic!("ouch"),
            Habit::Hangs => std::future::pending().await,
            Habit::Ready | Habit::Ignored | Habit::PanicsAtOnce => {}
        }
        Ok(alive)
    }
}

impl StartChild for Starter {
    fn start(&self, context: StartContext) -> BoxFuture<'static, Result<Started, StartError>> {
        assert!(self.habit != Habit::PanicsAtOnce, "ouch");
        let ignored = self.habit == Habit::Ignored;
        let alive = self.alive.upgrade().expect("the test holds it");
        let args = (self.habit, alive, self.reached.clone(), self.threads.clone());
        Box::pin(async move {
            if ignored {
                return Err(StartError::Ignored);
            }
            let (actor, _) = Quick::spawn_linked(None, Quick, args, context.supervisor().clone()).await?;
            Ok(actor.get_cell().into())
        })
    }

    fn home(&self) -> Option<Handle> {
        self.home.clone()
    }
}

struct Site {
    root: Root,
    threads: Arc<Mutex<Vec<ThreadId>>>,
    alive: Arc<()>,
    reached: Arc<Notify>,
}

impl Site {
    async fn new(rules: ChildRules) -> Self {
        let clock = Clock::start_at(0);
        let env = SupervisorEnv { clock, events: Events::new(clock, 1000) };
        let root = Root::start(SupervisorSpec::dynamic("root", rules), env).await.unwrap();
        Self { root, threads: Arc::default(), alive: Arc::default(), reached: Arc::default() }
    }

    fn starter(&self, habit: Habit, home: Option<&Runtime>) -> Arc<dyn StartChild> {
        Arc::new(Starter {
            habit,
            home: home.map(|home| home.handle().clone()),
            threads: self.threads.clone(),
            alive: Arc::downgrade(&self.alive),
            reached: self.reached.clone(),
        })
    }
}

fn another_runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

/// Goal: of starts that are begun together, each has its own outcome, whether it is ready at once or not, here and on another
/// runtime, where all that asked for it run. Method: more requests at once than a batch holds.
#[tokio::test]
async fn together_each_has_its_outcome() {
    let habits =
        [Habit::Ready, Habit::Yields, Habit::Fails, Habit::Panics, Habit::PanicsAtOnce, Habit::Ignored];
    let count = BATCH_MAX * 3;
    for home in [None, Some(another_runtime())] {
        let site = Site::new(ChildRules::worker("quick")).await;
        let starts = (0..count).map(|index| {
            let start = site.starter(habits[index % habits.len()], home.as_ref());
            site.root.supervisor().start_dynamic(format!("quick/{index}"), start)
        });
        // The calls are sent one after the other, before the supervisor has its first turn.
        let outcomes = join_all(starts).await;
        for (index, outcome) in outcomes.into_iter().enumerate() {
            match habits[index % habits.len()] {
                Habit::Ready | Habit::Yields => {
                    assert!(matches!(outcome, Ok(Some(_))), "{index}: {outcome:?}")
                }
                Habit::Ignored => assert!(matches!(outcome, Ok(None)), "{index}: {outcome:?}"),
                _ => {
                    let Err(SupervisorError::StartFailed { reason, .. }) = outcome else {
                        panic!("{index}: {outcome:?}")
                    };
                    let reason = reason.to_string();
                    assert!(reason.contains("no") || reason.contains("ouch"), "{index}: {reason}");
                }
            }
        }
        assert_eq!(site.root.view().counts().active, count / 3);
        let here = std::thread::current().id();
        let threads = std::mem::take(&mut *site.threads.lock());
        assert_eq!(threads.len(), count / 6 * 4);
        assert!(threads.iter().all(|thread| (*thread == here) == home.is_none()), "{home:?}");
        site.root.shutdown().await;
        if let Some(home) = home {
            home.shutdown_background();
        }
    }
}

/// Goal: a start that hangs ends with its time-out or with its supervisor and leaves nothing behind, while those that were begun
/// with it live.
#[tokio::test]
async fn a_hanging_start_is_called_off() {
    for (home, timeout) in
        [(None, None), (Some(another_runtime()), None), (None, Some(Duration::from_millis(5)))]
    {
        let site = Site::new(ChildRules { start_timeout: timeout, ..ChildRules::worker("quick") }).await;
        let supervisor = site.root.supervisor();
        let hanging = supervisor.start_dynamic("hangs", site.starter(Habit::Hangs, home.as_ref()));
        let living = supervisor.start_dynamic("lives", site.starter(Habit::Ready, home.as_ref()));
        let (hung, ()) = tokio::join!(hanging, async {
            living.await.unwrap().unwrap();
            assert!(site.root.view().counts().active == 1);
            site.reached.notified().await;
            if timeout.is_none() {
                site.root.shutdown().await;
            }
        });
        assert!(hung.is_err(), "{hung:?}");
        site.root.shutdown().await;
        let gone = async {
            while Arc::strong_count(&site.alive) > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("what hung is dropped");
        if let Some(home) = home {
            home.shutdown_background();
        }
    }
}

/// Goal: a start on a runtime that has ended fails and does not hang.
#[tokio::test]
async fn an_ended_runtime_starts_nothing() {
    let site = Site::new(ChildRules::worker("quick")).await;
    let ended = another_runtime();
    let starts = [0, 1].map(|index| (index, site.starter(Habit::Ready, Some(&ended))));
    ended.shutdown_background();
    for outcome in
        join_all(starts.map(|(index, start)| site.root.supervisor().start_dynamic(format!("{index}"), start)))
            .await
    {
        assert!(matches!(outcome, Err(SupervisorError::StartFailed { .. })), "{outcome:?}");
    }
    site.root.shutdown().await;
}
