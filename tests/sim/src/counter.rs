//! The agents of a simulation: each writes down the messages it is sent, and tells the chronicle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::agent::{AgentMessage, AgentSpec, Durable};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};

use crate::chronicle::{self, ActivationId, MessageId};

/// The name of the behavior.
pub const BEHAVIOR: &str = "counter";
/// Write a message down.
pub const ADD: &str = "add";
/// The same, after a pause in milliseconds.
pub const PAUSE: &str = "pause";
/// Write it down and crash.
pub const CRASH: &str = "crash";
/// Say what is written down.
pub const LIST: &str = "list";

/// See the module.
#[derive(Debug, Default)]
pub struct Counter;

/// What it has written down.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Numbers {
    /// The messages, in the order in which they were handled.
    pub ids: Vec<MessageId>,
    #[serde(skip)]
    running: Option<Running>,
}

/// Tells the chronicle when the actor has ended, however it did.
#[derive(Debug)]
struct Running(ActivationId);

impl Drop for Running {
    fn drop(&mut self) {
        chronicle::with(|chronicle| chronicle.stops(self.0));
    }
}

impl Numbers {
    fn start(spec: &AgentSpec, ids: Vec<MessageId>) -> Self {
        let agent: Arc<str> = spec.name.clone();
        let running = chronicle::with(|chronicle| chronicle.starts(&agent, spec.node.name(), &ids));
        Self { ids, running: running.flatten().map(Running) }
    }

    fn add(&mut self, id: MessageId) {
        self.ids.push(id);
        if let Some(Running(activation)) = self.running {
            chronicle::with(|chronicle| chronicle.handles(activation, id));
        }
    }
}

/// The messages of both, each once.
#[must_use]
pub fn merged(one: &[MessageId], other: &[MessageId]) -> Vec<MessageId> {
    let known: BTreeSet<_> = one.iter().collect();
    one.iter().chain(other.iter().filter(|id| !known.contains(id))).copied().collect()
}

impl Actor for Counter {
    type Msg = AgentMessage;
    type State = Numbers;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        spec: AgentSpec,
    ) -> Result<Numbers, ActorProcessingErr> {
        Ok(Numbers::start(&spec, Vec::new()))
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        numbers: &mut Numbers,
    ) -> Result<(), ActorProcessingErr> {
        let AgentMessage::Request(request, reply) = message else { return Ok(()) };
        match &*request.key {
            LIST => reply.value(&numbers.ids),
            ADD => {
                numbers.add(request.payload.decode()?);
                reply.done();
            }
            PAUSE => {
                let (id, millis): (MessageId, u64) = request.payload.decode()?;
                tokio::time::sleep(Duration::from_millis(millis)).await;
                numbers.add(id);
                reply.done();
            }
            CRASH => {
                numbers.add(request.payload.decode()?);
                if let Some(Running(activation)) = numbers.running {
                    chronicle::with(|chronicle| chronicle.fails(activation));
                }
                return Err("told to crash".into());
            }
            other => return Err(format!("`{other}` is no request of a counter").into()),
        }
        Ok(())
    }
}

impl Durable for Counter {
    fn merge(state: &mut Numbers, other: Numbers) {
        state.ids = merged(&state.ids, &other.ids);
        if let Some(Running(activation)) = state.running {
            chronicle::with(|chronicle| chronicle.merges(activation, &state.ids));
        }
    }

    async fn wake(
        &self,
        _: ActorRef<AgentMessage>,
        spec: AgentSpec,
        state: Numbers,
    ) -> Result<Numbers, ActorProcessingErr> {
        Ok(Numbers::start(&spec, state.ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what both have is there once, in the order of the first.
    #[test]
    fn merging_is_a_union() {
        assert_eq!(merged(&[3, 1], &[1, 2]), [3, 1, 2]);
        assert_eq!(merged(&[], &[1]), [1]);
    }
}
