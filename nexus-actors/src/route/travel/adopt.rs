//! A message of another node is the first for an agent that is not here: it is claimed before anything else, and whoever sent is told if it
//! lives elsewhere.
//!
//! Until then what comes waits as for any agent that arrives. If this node's own agents have sent to it by another way, what they send now
//! has to wait for that, wherever the agent turns out to live.

use std::sync::Arc;

use super::super::passage::Before;
use super::Arrival;
use crate::agent::{AgentId, Target, check_name};
use crate::node::Node;
use crate::route::remote::{Claimed, Remote, Way};
use crate::route::{DeadLetterReason, RouteTable};

impl Node {
    /// Whether what is sent to the agent waits from now on until it is claimed: a family would make it, and it is not here.
    pub(in crate::route) fn adopts<T: Target + ?Sized>(&self, to: &T) -> bool {
        let Some(remote) = self.remote_slot().get() else { return false };
        let Some(name) = to.name().filter(|name| check_name(name).is_ok()) else { return false };
        let Some(family) = self.family_of(name).filter(|family| !family.is_stopped()) else { return false };
        if self.routes().contains(to.id()) || self.routes().len() >= self.agents_max() {
            return false;
        }
        let Some(arrival) = self.arrive(&name.into(), family, None) else { return false };
        tokio::spawn(arrival.claim(remote.clone()));
        true
    }
}

impl Arrival {
    async fn claim(mut self, remote: Arc<dyn Remote>) {
        if matches!(self.before, Before::Unclaimed | Before::Asleep(_)) {
            // It came to this node between two looks, and is claimed as what is here is.
            return self.cancel().await;
        }
        match remote.claim(AgentId::of(&self.name), &self.name).await {
            Ok(Claimed::Here) => {
                self.cell = Some(self.node.cell_of(&self.name, &self.family, None));
                self.activate();
                self.join().await;
            }
            Ok(Claimed::Elsewhere(way)) => self.pass_on(&way, &*remote).await,
            Err(error) => {
                tracing::warn!(agent = %self.name, %error, "it could not be claimed");
                self.node.give_up(&self.name, &self.halt, DeadLetterReason::StartFailed);
            }
        }
    }

    /// The agent lives elsewhere: what waits goes there, and who sent it sends there from now on.
    async fn pass_on(self, way: &Arc<dyn Way>, remote: &dyn Remote) {
        let id = AgentId::of(&self.name);
        if let Before::Way(old) = &self.before
            && old.node() != way.node()
        {
            // What comes by that way does not wait for it: two nodes that had sent to each other would wait for each other.
            self.node.drain_if(&self.name, &self.halt, way, false, |_| self.halt.forward(way)).await;
            self.node.fence(id, old).await;
        }
        let turned = |routes: &RouteTable| routes.turn(&self.halt, id, Some(way));
        self.node.drain(&self.name, &self.halt, way, turned).await;
        for sender in self.halt.senders().iter().filter(|sender| ***sender != *way.node()) {
            remote.redirect(sender, &self.name, way.node());
        }
    }
}
