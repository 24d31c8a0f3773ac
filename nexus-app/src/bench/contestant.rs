//! What every contestant does with a message: count it, answer if asked. One implementation for all rows.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nexus_actors::agent::Behaviors;
use nexus_actors::prelude::*;
use ractor::SupervisionEvent;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot};

/// Messages in a contestant's inbox or channel at most, where it is bounded.
pub(crate) const INBOX: usize = 65_536;
/// Work in one message with the key [`WORK_KEY`].
pub(crate) const WORK: Duration = Duration::from_micros(50);
/// The key of a message that is work.
pub(crate) const WORK_KEY: &str = "work";

/// Messages handled so far in this process. One counter for all, so that its cost is the same for every contestant; alone on its cache
/// lines, so that none pays for what others of its statics are used for.
static HANDLED: Alone<AtomicU64> = Alone(AtomicU64::new(0));

#[repr(align(128))]
struct Alone<T>(T);

/// Messages handled so far.
pub(crate) fn handled() -> u64 {
    HANDLED.0.load(Ordering::Relaxed)
}

fn handle(key: &str) {
    if key == WORK_KEY {
        let until = Instant::now() + WORK;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }
    HANDLED.0.fetch_add(1, Ordering::Relaxed);
}

/// Registers the agents' behaviors that rows use.
pub(crate) fn register(behaviors: &mut Behaviors) {
    behaviors.durable::<Counter>("bench-counter");
    behaviors.register::<Stuck>("bench-stuck");
    behaviors.register::<super::row::restart::Phoenix>("bench-phoenix");
}

/// 64 bytes of state: seven numbers that take nine bytes each in MessagePack, and the array's head.
#[derive(Serialize, Deserialize)]
pub(crate) struct Readings([u64; 7]);

impl Readings {
    const fn new() -> Self {
        Self([u64::MAX; 7])
    }
}

/// The Nexus agent.
#[derive(Default)]
pub(crate) struct Counter;

impl Actor for Counter {
    type Msg = AgentMessage;
    type State = Readings;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        _: AgentSpec,
    ) -> Result<Readings, ActorProcessingErr> {
        Ok(Readings::new())
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut Readings,
    ) -> Result<(), ActorProcessingErr> {
        if let AgentMessage::Request(request, reply) = message {
            state.0[0] -= 1;
            handle(&request.key);
            if reply.is_wanted() {
                reply.send(Ok(request.payload));
            }
        }
        Ok(())
    }
}

impl Durable for Counter {}

/// A Nexus agent that never finishes its first message, so that its inbox stays as full as it is.
#[derive(Default)]
pub(crate) struct Stuck;

impl Actor for Stuck {
    type Msg = AgentMessage;
    type State = ();
    type Arguments = AgentSpec;

    async fn pre_start(&self, _: ActorRef<AgentMessage>, _: AgentSpec) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AgentMessage::Request(..) => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

/// The same in bare ractor: a message with a key, a body and perhaps a reply port.
pub(crate) struct Bare;

pub(crate) enum BareMessage {
    Tell(SmolStr, Payload),
    Ask(SmolStr, Payload, ractor::RpcReplyPort<Payload>),
}

impl ractor::Message for BareMessage {}

impl BareMessage {
    pub(crate) fn tell(key: &'static str) -> Self {
        Self::Tell(SmolStr::new_static(key), Payload::EMPTY)
    }
}

impl Actor for Bare {
    type Msg = BareMessage;
    type State = Readings;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<BareMessage>, (): ()) -> Result<Readings, ActorProcessingErr> {
        Ok(Readings::new())
    }

    async fn handle(
        &self,
        _: ActorRef<BareMessage>,
        message: BareMessage,
        state: &mut Readings,
    ) -> Result<(), ActorProcessingErr> {
        state.0[0] -= 1;
        match message {
            BareMessage::Tell(key, payload) => {
                handle(&key);
                drop(black_box((key, payload)));
            }
            BareMessage::Ask(key, payload, reply) => {
                handle(&key);
                // The asker waits.
                let _ = reply.send(payload);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<BareMessage>,
        _: SupervisionEvent,
        _: &mut Readings,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// `count` bare actors.
pub(crate) async fn bare(count: usize) -> Vec<ActorRef<BareMessage>> {
    let mut actors = Vec::with_capacity(count);
    for _ in 0..count {
        actors.push(Bare::spawn(None, Bare, ()).await.expect("a bare actor starts").0);
    }
    actors
}

/// The same in bare tokio.
pub(crate) enum ChannelMessage {
    Tell(SmolStr, Payload),
    Ask(SmolStr, Payload, oneshot::Sender<Payload>),
}

impl ChannelMessage {
    pub(crate) fn tell(key: &'static str) -> Self {
        Self::Tell(SmolStr::new_static(key), Payload::EMPTY)
    }
}

/// `count` bare tokio tasks, each behind a bounded channel. Called on a runtime.
pub(crate) fn channels(count: usize) -> Vec<mpsc::Sender<ChannelMessage>> {
    (0..count).map(|_| channel()).collect()
}

fn channel() -> mpsc::Sender<ChannelMessage> {
    let (sender, mut receiver) = mpsc::channel(INBOX);
    tokio::spawn(async move {
        while let Some(message) = receiver.recv().await {
            match message {
                ChannelMessage::Tell(key, payload) => {
                    handle(&key);
                    drop(black_box((key, payload)));
                }
                ChannelMessage::Ask(key, payload, reply) => {
                    handle(&key);
                    // The asker waits.
                    let _ = reply.send(payload);
                }
            }
        }
    });
    sender
}

/// A request that is only counted.
pub(crate) fn request() -> Request {
    Request::action(SmolStr::new_static("count"), Payload::EMPTY)
}

/// A request that is [`WORK`].
pub(crate) fn work() -> Request {
    Request::action(SmolStr::new_static(WORK_KEY), Payload::EMPTY)
}

/// The names of agents `PREFIX/0`, `PREFIX/1`, ….
pub(crate) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}/{number}")).collect()
}
