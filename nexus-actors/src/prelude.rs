//! What an agent's author types every day.

pub use ractor::{Actor, ActorProcessingErr, ActorRef};

pub use crate::agent::{
    AgentMessage, AgentSpec, Durable, Operation, Payload, Reactive, Reply, ReplyPort, Request, serve,
};
pub use crate::error::AgentError;
pub use crate::node::Node;
