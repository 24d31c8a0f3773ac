//! Asks that are tried again, along a way whose answers are written down.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use opentelemetry::global;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::remote::{Asker, Claimed, Forwarded, Parcel, Remote, Way};
use crate::agent::{AgentId, Behaviors, Hints, Payload, Reply, Request, RequestId};
use crate::clock::{Clock, Millis};
use crate::error::AgentError;
use crate::node::{Node, NodeConfig};
use crate::rng::Seed;

/// What becomes of a try.
enum Fate {
    /// It is taken, and answered so.
    Answered(Reply),
    /// The way is lost already.
    LostAtOnce,
    /// It is taken and never answered.
    Silence,
}

/// The way to the only other node.
#[derive(Default)]
struct Script {
    fates: Mutex<VecDeque<Fate>>,
    tries: Mutex<Vec<(Instant, Request)>>,
    unanswered: Mutex<Vec<Asker>>,
}

#[derive(Clone)]
struct Elsewhere(Arc<Script>);

impl std::fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Elsewhere")
    }
}

impl Way for Elsewhere {
    fn forward(&self, _: AgentId, _: Option<&str>, parcel: Parcel) -> Forwarded {
        self.0.tries.lock().push((Instant::now(), parcel.request().clone()));
        match self.0.fates.lock().pop_front().expect("no more tries than are written down") {
            Fate::Answered(reply) => parcel.into_asker().answer(reply),
            Fate::LostAtOnce => return Forwarded::Lost(parcel, lost()),
            Fate::Silence => self.0.unanswered.lock().push(parcel.into_asker()),
        }
        Forwarded::Taken
    }

    fn fence(&self, _: AgentId, _: &str, asker: Asker) {
        asker.answer(Ok(Payload::EMPTY));
    }

    fn queue(&self) -> (u64, u64) {
        (0, 1)
    }

    fn room(&self) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }

    fn is_quiet(&self) -> bool {
        true
    }

    fn node(&self) -> &'static str {
        "b"
    }
}

impl Remote for Elsewhere {
    fn way(&self, _: AgentId, _: Option<&str>) -> Option<Arc<dyn Way>> {
        Some(Arc::new(self.clone()))
    }

    fn publish(&self, _: &str, _: &Request) -> (u64, u64) {
        (0, 0)
    }

    fn claim(&self, _: AgentId, _: &Arc<str>) -> BoxFuture<'static, Result<Claimed, AgentError>> {
        async { Ok(Claimed::Here) }.boxed()
    }

    fn release(&self, _: AgentId) {}

    fn way_to(&self, _: &str) -> Option<Arc<dyn Way>> {
        None
    }

    fn redirect(&self, _: &str, _: &Arc<str>, _: &str) {}
}

fn lost() -> AgentError {
    AgentError::NodeLost { node: "b".into(), reason: "a test says so".into() }
}

fn node(seed: u64, fates: Vec<Fate>) -> (Node, Arc<Script>) {
    let config = NodeConfig { seed: Seed::new(seed), ..NodeConfig::default() };
    let node = Node::new(config, Behaviors::new(), Clock::start_at(0), &global::meter("test"));
    let script = Arc::new(Script { fates: Mutex::new(fates.into()), ..Script::default() });
    node.set_remote(Arc::new(Elsewhere(script.clone())));
    (node, script)
}

/// Twelve tries that are lost, at once and later, and one that is answered.
fn thirteen() -> Vec<Fate> {
    let mut fates: Vec<_> = (0..12)
        .map(|number| if number % 2 == 0 { Fate::LostAtOnce } else { Fate::Answered(Err(lost())) })
        .collect();
    fates.push(Fate::Answered(Ok(Payload::encode(&7).unwrap())));
    fates
}

async fn pauses(seed: u64) -> Vec<Duration> {
    let (node, script) = node(seed, thirteen());
    let answered = node.ask("kv/1", Request::query("k").at_least_once(), None).await;
    assert_eq!(answered, Ok(Payload::encode(&7).unwrap()));
    let tries = script.tries.lock();
    tries.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
}

/// Goal: a marked ask is tried until it is answered, with pauses that grow to a second, of which a half at most is left out, and which a
/// seed repeats.
#[tokio::test(start_paused = true)]
async fn a_marked_ask_is_tried_until_it_is_answered() {
    let found = pauses(1).await;
    assert_eq!(found.len(), 12);
    for (number, pause) in found.iter().enumerate() {
        let longest = Duration::from_millis((50 << number.min(10)).min(1000));
        // Tokio's timers are of a millisecond.
        let range = longest / 2..=longest + Duration::from_millis(1);
        assert!(range.contains(pause), "{number}: {pause:?} of {longest:?}");
    }
    assert_eq!(found, pauses(1).await);
    assert_ne!(found, pauses(2).await);
}

/// Goal: all tries are the same request, hints and deadline included, under one id that no other ask has; and none is a dead letter.
#[tokio::test(start_paused = true)]
async fn tries_are_the_same_request() {
    let mut fates = thirteen();
    fates.push(Fate::Answered(Ok(Payload::EMPTY)));
    let (node, script) = node(1, fates);
    let hints = Hints { priority: 0.75, deadline: Some(Millis::new(900)), ..Hints::default() };
    let request = Request::update("k", Payload::encode(&1).unwrap()).with_hints(hints).at_least_once();
    assert!(!request.is_plain() && request.request_id().is_none());
    node.ask("kv/1", request.clone(), None).await.unwrap();
    // Whatever id a request brings from elsewhere, an ask is an ask of its own.
    let foreign = request.with_request_id(RequestId::new(9, 9));
    node.ask(&AgentId::of("kv/1"), foreign, None).await.unwrap();
    let tries = script.tries.lock();
    let ids: Vec<_> = tries.iter().map(|(_, request)| request.request_id().unwrap()).collect();
    assert!(ids[..13].iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!((ids[0].number(), ids[13].number()), (0, 1));
    assert!(ids[13] != ids[0] && ids[13] != RequestId::new(9, 9));
    assert!(tries.iter().all(|(_, request)| request.hints() == hints && &*request.key == "k"));
    assert_eq!((node.tally().sent, node.dead_letters().total()), (0, 0));
}

/// Goal: the time-out is that of all tries together, whether there is a pause or a try that is not answered when it is over; a dropped ask
/// is not tried again.
#[tokio::test(start_paused = true)]
async fn the_time_out_is_that_of_all_tries() {
    let limit = Duration::from_millis(100);
    for fates in
        [vec![Fate::LostAtOnce, Fate::LostAtOnce, Fate::LostAtOnce], vec![Fate::LostAtOnce, Fate::Silence]]
    {
        let (node, script) = node(1, fates);
        let started = Instant::now();
        let late = node.ask("kv/1", Request::query("k").at_least_once(), limit).await;
        assert_eq!(late, Err(AgentError::TimedOut { after_ms: 100 }));
        assert_eq!(started.elapsed(), limit);
        assert!(script.unanswered.lock().iter().all(Asker::is_gone), "nobody waits");
        let tried = script.tries.lock().len();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(script.tries.lock().len(), tried);
    }
}

/// Goal: any other error is the answer, an ask that is not marked is tried once, and a tell is, marked or not.
#[tokio::test(start_paused = true)]
async fn nothing_else_is_tried_again() {
    let (node, script) = node(
        1,
        vec![
            Fate::Answered(Err(AgentError::NoReply)),
            Fate::Answered(Err(lost())),
            Fate::LostAtOnce,
            Fate::LostAtOnce,
        ],
    );
    let other = node.ask("kv/1", Request::query("k").at_least_once(), None).await;
    assert_eq!(other, Err(AgentError::NoReply));
    assert_eq!(node.ask("kv/1", Request::query("k"), None).await, Err(lost()));
    assert_eq!(node.ask("kv/1", Request::query("k"), None).await, Err(lost()));
    assert_eq!(node.send("kv/1", Request::query("k").at_least_once()), Err(lost()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(script.tries.lock().len(), 4);
    assert_eq!(node.dead_letters().total(), 2, "the ask and the tell that found no way");
}
