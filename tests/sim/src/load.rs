//! The workload: on each node somebody who tells and asks agents wherever they are, at random times, now and then in bursts.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nexus_actors::agent::{Payload, Request};
use nexus_actors::rng::Rng;
use nexus_actors::{AgentError, Node};
use nexus_cluster::transport::reader::Reader;
use nexus_cluster::transport::{envelope, frame};
use rand::Rng as _;
use tokio::task::JoinSet;

use crate::chronicle::{self, Heard, Kind, LifeId, MessageId};
use crate::counter::{ADD, CRASH, PAUSE};

/// Asks of one sender under way at most.
const ASKS_MAX: usize = 64;
/// How long an answer is waited for.
const PATIENCE: Range<u64> = 200..8_000;
/// Messages of a burst.
const BURST: Range<usize> = 20..300;

/// Sends until it is aborted. The asks that are under way then are aborted with it.
pub async fn load(node: Node, life: LifeId, agents: Arc<[Arc<str>]>, mut rng: Rng) {
    let mut asks = JoinSet::new();
    loop {
        tokio::time::sleep(Duration::from_millis(rng.random_range(5..120))).await;
        while asks.try_join_next().is_some() {}
        let agent = agents[rng.random_range(0..agents.len())].clone();
        match rng.random_range(0..1000) {
            0..630 => tell(&node, life, &agent, &mut rng),
            630..633 => {
                for _ in 0..rng.random_range(BURST) {
                    tell(&node, life, &agent, &mut rng);
                }
            }
            633..650 => {
                let id = sends(life, &agent, Kind::Tell);
                let delivered = node.deliver(&agent, request(id, &mut rng));
                if let Ok(sent) = tokio::time::timeout(Duration::from_secs(2), delivered).await {
                    hears(id, sent.map(|()| Heard::Nothing));
                } else {
                    // Cancelled: it was not sent.
                    hears(id, Ok(Heard::Overloaded));
                }
            }
            _ if asks.len() < ASKS_MAX => {
                let id = sends(life, &agent, Kind::Ask);
                let patience = Duration::from_millis(rng.random_range(PATIENCE));
                let asked = node.ask(&agent, request(id, &mut rng), patience);
                asks.spawn(async move { hears(id, asked.await.map(|_| Heard::Done)) });
            }
            _ => {}
        }
    }
}

fn tell(node: &Node, life: LifeId, agent: &Arc<str>, rng: &mut Rng) {
    let id = sends(life, agent, Kind::Tell);
    let sent = node.send(agent, request(id, rng));
    if sent.is_err() {
        hears(id, sent.map(|()| Heard::Nothing));
    }
}

fn request(id: MessageId, rng: &mut Rng) -> Request {
    let (key, payload) = match rng.random_range(0..1000) {
        0..5 => (CRASH, Payload::encode(&id)),
        5..60 => (PAUSE, Payload::encode(&(id, rng.random_range(1_u64..80)))),
        _ => (ADD, Payload::encode(&id)),
    };
    Request::action(key, payload.expect("numbers have a form in MessagePack"))
}

/// The message that a request of this workload is.
#[must_use]
pub fn message_of(key: &str, payload: &Payload) -> Option<MessageId> {
    match key {
        ADD | CRASH => payload.decode().ok(),
        PAUSE => payload.decode::<(MessageId, u64)>().ok().map(|(id, _)| id),
        _ => None,
    }
}

/// The messages of this workload in a frame of the data lane. None of them is so large that it goes in parts.
#[must_use]
pub fn messages_in(frame: &[u8]) -> Vec<MessageId> {
    let frame =
        frame::decode(&Bytes::copy_from_slice(frame), usize::MAX).expect("simulated networks do not falsify");
    let mut reader = Reader::new(&frame.body);
    let letters = envelope::decode(&frame.body, Duration::ZERO)
        .flatten()
        .filter(|envelope| matches!(envelope.kind, envelope::Kind::Tell | envelope::Kind::Ask));
    let requests = letters.filter_map(|letter| reader.request(letter.content).ok());
    requests.filter_map(|(_, request)| message_of(&request.key, &request.payload)).collect()
}

fn sends(life: LifeId, agent: &Arc<str>, kind: Kind) -> MessageId {
    chronicle::with(|chronicle| chronicle.sends(life, agent, kind)).expect("a simulation is written down")
}

fn hears(id: MessageId, heard: Result<Heard, AgentError>) {
    let heard = heard.unwrap_or_else(|error| match error {
        AgentError::Overloaded { .. } => Heard::Overloaded,
        other => Heard::Failed(other.to_string()),
    });
    chronicle::with(|chronicle| chronicle.hears(id, heard));
}
