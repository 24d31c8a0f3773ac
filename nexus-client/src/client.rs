//! The client's side that programs use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::driver;
use crate::error::ClientError;
use crate::options::Options;
use crate::protocol::{ClientMessage, Operation, Payload};
use crate::subscription::{Groups, Subscription};

/// Messages that wait for the connection. A caller that finds it full waits.
const WAITING_MAX: usize = 256;

/// A message on its way to the node, and who waits for what comes of it.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) message: ClientMessage,
    pub(crate) reply: Option<oneshot::Sender<Result<Payload, ClientError>>>,
}

/// A request to an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    operation: Operation,
    key: String,
    payload: Payload,
    timeout_ms: Option<u64>,
    at_least_once: bool,
}

impl Request {
    fn new(operation: Operation, key: &str, payload: Payload) -> Self {
        Self { operation, key: key.to_owned(), payload, timeout_ms: None, at_least_once: false }
    }

    /// Reads `key`.
    #[must_use]
    pub fn query(key: &str) -> Self {
        Self::new(Operation::Query, key, Payload::EMPTY)
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// [`ClientError::Value`] if it cannot be written.
    pub fn update<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Self, ClientError> {
        Ok(Self::new(Operation::Update, key, Payload::from_value(value)?))
    }

    /// Does what `name` says with `arguments`.
    ///
    /// # Errors
    /// [`ClientError::Value`] if they cannot be written.
    pub fn action<T: Serialize + ?Sized>(name: &str, arguments: &T) -> Result<Self, ClientError> {
        Ok(Self::new(Operation::Action, name, Payload::from_value(arguments)?))
    }

    /// How long the answer may take, 1 ms to the node's `clients.ask_timeout`, which is also the default. Only for asks.
    #[must_use]
    pub const fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// The request may be handled more than once without harm: the node tries again when it has lost the way to the agent's node, until the
    /// answer may take no longer. Only for asks.
    #[must_use]
    pub const fn at_least_once(mut self) -> Self {
        self.at_least_once = true;
        self
    }
}

/// A connection to a node, opened again when it is lost. Cheap to clone; it ends with its last clone and subscription.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    groups: Groups,
    next_id: Arc<AtomicU64>,
}

impl Client {
    /// Connects. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Connect`]: the first connection must succeed; later ones are tried for as long as it takes.
    pub async fn connect(options: Options) -> Result<Self, ClientError> {
        let socket = driver::open(&options).await?;
        let (commands, receiver) = mpsc::channel(WAITING_MAX);
        let client = Self { commands, groups: Groups::default(), next_id: Arc::new(AtomicU64::new(1)) };
        tokio::spawn(driver::run(options, socket, receiver, client.groups.clone(), client.next_id.clone()));
        Ok(client)
    }

    /// Asks an agent and waits for its answer. Dropping the future gives the answer up, not the request.
    ///
    /// # Errors
    /// [`ClientError::Refused`] by the agent or the node; [`ClientError::Disconnected`].
    pub async fn ask(&self, to: &str, request: Request) -> Result<Payload, ClientError> {
        let Request { operation, key, payload, timeout_ms, at_least_once } = request;
        let (id, to) = (self.id(), to.to_owned());
        self.send(ClientMessage::Ask { id, to, operation, key, payload, timeout_ms, at_least_once }).await
    }

    /// Puts a request into an agent's inbox.
    ///
    /// # Errors
    /// [`ClientError::Refused`], such as `overloaded` where the inbox is full; [`ClientError::Disconnected`].
    pub async fn tell(&self, to: &str, request: Request) -> Result<(), ClientError> {
        let Request { operation, key, payload, .. } = request;
        let message = ClientMessage::Tell { id: Some(self.id()), to: to.to_owned(), operation, key, payload };
        self.send(message).await.map(drop)
    }

    /// Hears what is published to `group` from now on. Several subscriptions of a client to a group share one of the node's.
    ///
    /// # Errors
    /// [`ClientError::Refused`], such as `not_allowed`; [`ClientError::Disconnected`].
    pub async fn subscribe(&self, group: &str) -> Result<Subscription, ClientError> {
        let number = self.id();
        let (first, receiver) = self.groups.add(group, number);
        let subscription = Subscription {
            group: group.to_owned(),
            number,
            receiver,
            groups: self.groups.clone(),
            commands: self.commands.clone(),
            next_id: self.next_id.clone(),
        };
        if first {
            let message = ClientMessage::Subscribe { id: self.id(), group: group.to_owned() };
            if let Err(error) = self.send(message).await {
                self.groups.forget(group);
                return Err(error);
            }
        }
        Ok(subscription)
    }

    fn id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    async fn send(&self, message: ClientMessage) -> Result<Payload, ClientError> {
        let gone = |_| ClientError::Disconnected { reason: None };
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command { message, reply: Some(reply) }).await.map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }
}
