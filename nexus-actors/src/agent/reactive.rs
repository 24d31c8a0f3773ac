//! The reactive level's rules for behaviors that follow the three forms: query with default, validated update, deterministic
//! action.
//!
//! A behavior may handle [`AgentMessage`] as it likes; one whose state implements [`Reactive`] gets these rules by calling
//! [`serve`] from its `handle`.

use super::message::{AgentMessage, Operation, Request};
use super::payload::Payload;
use super::reply::Reply;
use crate::error::AgentError;

/// State that is queried, updated and acted upon. Nothing here waits, reads time or draws random numbers, so the same requests
/// in the same order give the same state.
pub trait Reactive {
    /// The value of `key`. [`AgentError::NotFound`] if there is none: the asker's default, if it brought one, is answered
    /// instead.
    ///
    /// # Errors
    /// Whatever the asker is to see.
    fn query(&self, key: &str) -> Reply;

    /// Whether `key` may be set to `value`. Called before every [`Reactive::update`], with the state unchanged.
    ///
    /// # Errors
    /// [`AgentError::Invalid`] with the rule that is broken and the values; the state stays as it is.
    fn validate(&self, key: &str, value: &Payload) -> Result<(), AgentError> {
        let _ = value;
        Err(AgentError::Unsupported { what: format!("update of `{key}`: this agent takes no updates") })
    }

    /// Sets `key` to `value`, which [`Reactive::validate`] has allowed.
    ///
    /// # Errors
    /// Whatever the asker is to see; the state must be unchanged then.
    fn update(&mut self, key: &str, value: Payload) -> Reply {
        let _ = value;
        Err(AgentError::Unsupported { what: format!("update of `{key}`: this agent takes no updates") })
    }

    /// Does what `name` says.
    ///
    /// # Errors
    /// Whatever the asker is to see; the state must be unchanged then.
    fn act(&mut self, name: &str, arguments: &Payload) -> Reply {
        let _ = arguments;
        Err(AgentError::Unsupported { what: format!("action `{name}`: this agent takes no actions") })
    }

    /// The state for an operator's eyes.
    ///
    /// # Errors
    /// Whatever the operator is to see.
    fn inspect(&self) -> Reply {
        Err(AgentError::Unsupported { what: "inspection: this agent shows nothing".into() })
    }
}

/// Answers `message` by the reactive level's rules.
pub fn serve<S: Reactive>(state: &mut S, message: AgentMessage) {
    match message {
        AgentMessage::Request(request, reply) => reply.send(answer(state, request)),
        AgentMessage::Inspect(reply) => reply.send(state.inspect()),
        // The host handles its own messages; none arrives here.
        AgentMessage::Host(_) => {}
    }
}

fn answer<S: Reactive>(state: &mut S, request: Request) -> Reply {
    match request.operation {
        Operation::Query => state.query(&request.key),
        Operation::Update => {
            state.validate(&request.key, &request.payload)?;
            state.update(&request.key, request.payload)
        }
        Operation::Action => state.act(&request.key, &request.payload),
    }
}
