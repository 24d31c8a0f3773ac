//! Checkpoints: the states of the agents that a feed has reached, and the feed's position, on disk together.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::error::StoreError;
use crate::agent::{AgentId, AgentMessage, HostMessage};
use crate::node::Node;

/// Agents asked for their state at a time: each holds a snapshot in memory until it is written.
const ASKED_MAX: usize = 1024;

/// How far a feed has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedMark {
    /// The feed's name.
    pub feed: Arc<str>,
    /// How many of its requests are confirmed: the place of the last one, counted from 1.
    pub position: u64,
    /// What it reads and how: it is resumed only where this is the same.
    pub digest: u64,
}

/// A checkpoint's wish: that the agent's state be given to the store once it has handled so much of a feed.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) feed: u16,
    pub(crate) seq: u64,
    /// Dropped unanswered if the agent sleeps or ends instead.
    pub(crate) done: oneshot::Sender<Result<(), StoreError>>,
}

impl Node {
    /// Writes the states of the `touched` agents, each once it has handled the feed's request in the place beside it, and then, in
    /// the same transaction or a later one, the feed's mark. When this returns `Ok`, all of it is on disk; if the process dies at
    /// any moment, the mark on disk is never ahead of the states.
    ///
    /// Agents that are not known any more or not persisted are skipped. The feed need not pause. An agent that never comes to the
    /// place delays the checkpoint until it is idle, stopped, or the store fails.
    ///
    /// # Errors
    /// What is wrong with the store: the mark is not written, and the states will be. Try again with a later position.
    pub async fn checkpoint(&self, mark: FeedMark, touched: Vec<(AgentId, u64)>) -> Result<(), StoreError> {
        let store = self.store().ok_or(StoreError::NoStore)?;
        if let Some(error) = store.wrong() {
            return Err(error);
        }
        let feed = store.feed_number(&mark.feed)?;
        stream::iter(touched)
            .map(|(id, seq)| self.saved(id, feed, seq))
            .buffer_unordered(ASKED_MAX)
            .try_collect::<()>()
            .await?;
        store.mark(mark).await
    }

    /// Waits until the agent's state with the feed's request `seq` was given to the store.
    async fn saved(&self, id: AgentId, feed: u16, seq: u64) -> Result<(), StoreError> {
        loop {
            // A dormant agent's state was committed before it slept.
            let Some(cell) = self.routes().get(id) else { return Ok(()) };
            let Some(keeper) = cell.keeper() else { return Ok(()) };
            let (done, receiver) = oneshot::channel();
            keeper.wish(Wish { feed, seq, done });
            if cell.is_retired() {
                return Ok(());
            }
            if let Some(actor) = cell.actor() {
                // Fails only when the actor has ended: its successor looks when it starts.
                let _ = actor.cast(AgentMessage::Host(HostMessage::Save));
            }
            drop(cell);
            if let Ok(answer) = receiver.await {
                return answer;
            }
        }
    }
}
