//! Where a feed's requests go.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use nexus_actors::agent::{AgentId, GROUP_PREFIX, Request};
use nexus_actors::store::Store;
use nexus_actors::{AgentError, Node};

use super::checkpoint::Checkpoint;
use super::slot::FeedSlot;

/// Where a feed's requests go: a [`Node`], or what stands for it in a test.
pub trait Deliver: Clone + fmt::Debug + Send + Sync + 'static {
    /// Puts `request` into the inbox of `target`, waiting while that is full, and tells whose inbox it is. It is there when this
    /// returns `Ok`, and a dropped future has sent nothing.
    ///
    /// # Errors
    /// The request is in the dead letters.
    fn deliver(
        &self,
        target: &Arc<str>,
        request: Request,
    ) -> impl Future<Output = Result<AgentId, AgentError>> + Send;

    /// Keeps the place of the feed `slot` with the state of the agents it reached: see [`Checkpoint`].
    ///
    /// # Errors
    /// Why it is not kept; nothing of it is.
    fn keep(
        &self,
        slot: &FeedSlot,
        checkpoint: Checkpoint,
    ) -> impl Future<Output = Result<(), Arc<str>>> + Send + 'static;

    /// Whether feeds whose place is kept should wait, because what they gave now could not be kept.
    fn is_held(&self) -> bool {
        false
    }
}

impl Deliver for Node {
    async fn deliver(&self, target: &Arc<str>, request: Request) -> Result<AgentId, AgentError> {
        // Where the feed's place is kept, a group's member is chosen here, so that it is known who must answer for the request. If
        // none can be, the group's own error says why.
        let group = target.strip_prefix(GROUP_PREFIX).filter(|_| request.origin().is_some());
        let member = group.and_then(|group| self.choose_member(group));
        let target = member.as_ref().unwrap_or(target);
        Self::deliver(self, target, request).await.map(|()| AgentId::of(target))
    }

    fn keep(
        &self,
        slot: &FeedSlot,
        checkpoint: Checkpoint,
    ) -> impl Future<Output = Result<(), Arc<str>>> + Send + 'static {
        let (node, mark) = (self.clone(), slot.mark(checkpoint.position));
        async move {
            let mark = mark.ok_or("the feed has no place in the store")?;
            node.checkpoint(mark, checkpoint.touched).await.map_err(|error| error.to_string().into())
        }
    }

    fn is_held(&self) -> bool {
        self.store().is_some_and(Store::is_degraded)
    }
}
