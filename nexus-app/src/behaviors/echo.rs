//! `echo`: answers what it is sent. For trying out feeds, supervision and time-outs.
//!
//! | request | does |
//! |---|---|
//! | action `fail { reason }` | ends the agent with an error: its supervisor restarts it |
//! | action `panic { reason }` | panics, which ends the agent as well |
//! | action `sleep { ms }` | takes that long, while its inbox fills; answers its payload |
//! | any other query, update or action | answers its payload |
//!
//! Takes no arguments and has no state but a count of the requests it has answered, which a restart sets to 0.

use std::time::Duration;

use nexus_actors::prelude::*;
use serde::{Deserialize, Serialize};

/// The longest `sleep`, one hour: an agent that sleeps cannot be stopped in order.
const SLEEP_MS_MAX: u64 = 3_600_000;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

/// What an echo knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchoState {
    /// Requests answered since it started.
    pub answered: u64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Failure {
    reason: String,
}

impl Default for Failure {
    fn default() -> Self {
        Self { reason: "asked to".to_owned() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sleep {
    ms: u64,
}

/// What a request makes of the agent.
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    Answer(Reply),
    Fail(String),
    Panic(String),
    Sleep(Duration),
}

impl Actor for Echo {
    type Msg = AgentMessage;
    type State = EchoState;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        _: AgentSpec,
    ) -> Result<EchoState, ActorProcessingErr> {
        Ok(EchoState::default())
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut EchoState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AgentMessage::Request(request, reply) => {
                reply.send(respond(request).await?);
                state.answered += 1;
            }
            AgentMessage::Inspect(reply) => reply.value(state),
            // The host handles its own messages; none arrives here.
            AgentMessage::Host(_) => {}
        }
        Ok(())
    }
}

impl Durable for Echo {}

/// The answer, or the failure that ends the agent.
async fn respond(request: Request) -> Result<Reply, String> {
    match effect(&request) {
        Effect::Answer(reply) => Ok(reply),
        Effect::Fail(reason) => Err(reason),
        Effect::Panic(reason) => panic!("{reason}"),
        Effect::Sleep(length) => {
            tokio::time::sleep(length).await;
            Ok(Ok(request.payload))
        }
    }
}

fn effect(request: &Request) -> Effect {
    let effect = match (request.operation, &*request.key) {
        (Operation::Action, "fail") => failure(&request.payload).map(Effect::Fail),
        (Operation::Action, "panic") => failure(&request.payload).map(Effect::Panic),
        (Operation::Action, "sleep") => sleep(&request.payload).map(Effect::Sleep),
        (Operation::Query | Operation::Update | Operation::Action, _) => {
            Ok(Effect::Answer(Ok(request.payload.clone())))
        }
    };
    effect.unwrap_or_else(|error| Effect::Answer(Err(error)))
}

fn failure(arguments: &Payload) -> Result<String, AgentError> {
    Ok(arguments.decode::<Option<Failure>>()?.unwrap_or_default().reason)
}

fn sleep(arguments: &Payload) -> Result<Duration, AgentError> {
    let Sleep { ms } = arguments.decode()?;
    if ms > SLEEP_MS_MAX {
        let reason = format!("ms is {ms}; at most {SLEEP_MS_MAX} (one hour) are allowed");
        return Err(AgentError::Invalid { reason });
    }
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn action(name: &str, arguments: Value) -> Request {
        Request::action(name, Payload::encode(&arguments).unwrap())
    }

    /// Goal: whatever is sent comes back, also under the names of the special actions when it is no action.
    #[tokio::test]
    async fn answers_its_payload() {
        let payload = Payload::encode(&json!({ "a": [1, null] })).unwrap();
        let requests = [
            Request::query_or("fail", payload.clone()),
            Request::update("panic", payload.clone()),
            Request::action("anything", payload.clone()),
        ];
        for request in requests {
            assert_eq!(respond(request).await, Ok(Ok(payload.clone())));
        }
    }

    /// Goal: `fail` and `panic` end the agent with the reason given, or with one of their own; bad arguments do not end it.
    #[tokio::test]
    async fn fails_on_request() {
        assert_eq!(respond(action("fail", json!({ "reason": "boom" }))).await, Err("boom".to_owned()));
        assert_eq!(respond(Request::action("fail", Payload::EMPTY)).await, Err("asked to".to_owned()));
        let panicked = tokio::spawn(respond(action("panic", json!({ "reason": "bang" })))).await.unwrap_err();
        assert_eq!(panicked.into_panic().downcast_ref::<String>().map(String::as_str), Some("bang"));
        let wrong = respond(action("fail", json!({ "cause": "boom" }))).await;
        assert!(matches!(wrong, Ok(Err(AgentError::Malformed { .. }))), "{wrong:?}");
    }

    /// Goal: `sleep` takes its time, which has a limit. Method: paused clock.
    #[tokio::test(start_paused = true)]
    async fn sleeps_on_request() {
        let started = tokio::time::Instant::now();
        let answer = respond(action("sleep", json!({ "ms": 60_000 }))).await;
        assert_eq!(started.elapsed(), Duration::from_secs(60));
        assert_eq!(answer.unwrap().unwrap().to_json(), Ok(json!({ "ms": 60_000 })));
        for wrong in [json!({ "ms": 3_600_001 }), json!({ "ms": -1 }), json!({}), json!(null)] {
            let answer = respond(action("sleep", wrong.clone())).await;
            assert!(matches!(answer, Ok(Err(_))), "{wrong}: {answer:?}");
        }
        assert_eq!(started.elapsed(), Duration::from_secs(60));
    }

    proptest! {
        /// Goal: no arguments make it panic unasked.
        #[test]
        fn any_bytes_end_in_an_effect(
            name in prop_oneof![Just("fail"), Just("panic"), Just("sleep"), Just("x")],
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = effect(&Request::action(name, Payload::from_msgpack(bytes.into())));
        }
    }
}
