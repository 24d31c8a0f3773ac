//! Asks that are tried again: at least once.
//!
//! A request that is marked is sent as any other is. If the answer is that the way to the agent's node was lost, nobody knows whether it was
//! handled: it is sent once more, after a pause that doubles from [`PAUSES`]' base to its cap, of which a half at most is left out by chance,
//! so that those who lost the same node do not come back together. All tries have one [id](crate::agent::RequestId), by which the agent's
//! node tells a second try from another ask. Chance comes from the node's seed and the ask's number, so a run is repeated by its seed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rand::Rng as _;
use tokio::sync::oneshot;

use super::send::letter;
use crate::agent::{AgentId, Answer, Letter, Reply, Request, RequestId, Target};
use crate::error::AgentError;
use crate::node::Node;
use crate::supervision::Backoff;

/// From one try to the next.
const PAUSES: Backoff = Backoff::doubling(Duration::from_millis(50), Duration::from_secs(1));

/// Waits for the answer to an ask.
pub(super) enum Answering {
    /// To the one try.
    Once(oneshot::Receiver<Reply>),
    /// To the last of some tries. Boxed to keep the others small.
    Again(BoxFuture<'static, Reply>),
}

/// A try on its way.
struct Try {
    dispatched: Result<(), AgentError>,
    receiver: oneshot::Receiver<Reply>,
}

/// Whom an ask is for.
struct Addressee {
    id: AgentId,
    name: Option<Arc<str>>,
}

impl Target for Addressee {
    fn id(&self) -> AgentId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Future for Answering {
    type Output = Reply;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        match self.get_mut() {
            // A port always answers before it is dropped.
            Self::Once(receiver) => {
                receiver.poll_unpin(context).map(|answered| answered.unwrap_or(Err(AgentError::NoReply)))
            }
            Self::Again(asking) => asking.poll_unpin(context),
        }
    }
}

impl Node {
    /// The first try is on its way when this returns.
    #[cold]
    pub(super) fn ask_again<T: Target + ?Sized>(&self, to: &T, request: Request) -> Answering {
        let to = Addressee { id: to.id(), name: to.name().map(Arc::from) };
        // Part of the trace of whoever asks, not of whoever runs when it is tried again.
        let Letter { request, .. } = letter(request.with_request_id(self.next_request_id()), Answer::Nobody);
        let first = self.try_to_ask(&to, &request);
        let node = self.clone();
        Answering::Again(async move { node.ask_until_answered(&to, &request, first).await }.boxed())
    }

    async fn ask_until_answered(&self, to: &Addressee, request: &Request, first: Try) -> Reply {
        let (mut current, mut failures, mut rng) = (first, 0, None);
        loop {
            let reply = match current.dispatched {
                Ok(()) => Answering::Once(current.receiver).await,
                Err(error) => Err(error),
            };
            if !matches!(reply, Err(AgentError::NodeLost { .. })) {
                return reply;
            }
            let number = request.request_id().map_or(0, RequestId::number);
            let rng = rng.get_or_insert_with(|| self.seed().stream(&format!("ask {number}")));
            let longest = PAUSES.delay(failures);
            tokio::time::sleep(rng.random_range(longest / 2..=longest)).await;
            failures = failures.saturating_add(1);
            current = self.try_to_ask(to, request);
        }
    }

    fn try_to_ask(&self, to: &Addressee, request: &Request) -> Try {
        let (answer, receiver) = Answer::channel();
        let letter = Letter { request: request.clone(), answer };
        Try { dispatched: self.dispatch(to, letter), receiver }
    }
}
