//! Hibernator: tells agents that have been idle for long enough to hibernate.
//! Supervised by the root as `permanent`. A restart loses nothing: what it watches belongs to the node.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::node::Node;
use crate::supervision::ChildSpec;

/// Agents told in one turn, at most.
const TURN_MAX: usize = 1024;
/// The shortest time between two turns, unless one was full.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest: agents that come to life meanwhile may have a shorter patience.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// See the module.
pub(crate) struct Hibernator;

/// Its only message.
pub(crate) enum HibernatorMsg {
    /// Look who is idle.
    Look,
}

impl ractor::Message for HibernatorMsg {}

impl Actor for Hibernator {
    type Msg = HibernatorMsg;
    type State = Node;
    type Arguments = Node;

    async fn pre_start(
        &self,
        myself: ActorRef<HibernatorMsg>,
        node: Node,
    ) -> Result<Node, ActorProcessingErr> {
        myself.cast(HibernatorMsg::Look)?;
        Ok(node)
    }

    async fn handle(
        &self,
        myself: ActorRef<HibernatorMsg>,
        message: HibernatorMsg,
        node: &mut Node,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            HibernatorMsg::Look => {
                let now = node.clock().now();
                let next = node.hibernate_idle(now, TURN_MAX);
                let pause = next.map_or(PAUSE_MAX, |at| at.since(now).clamp(PAUSE_MIN, PAUSE_MAX));
                // Runs out with the actor.
                myself.send_after(pause, || HibernatorMsg::Look);
            }
        }
        Ok(())
    }
}

impl Node {
    /// The actor that lets idle agents hibernate. A node with families that do so needs one.
    #[must_use]
    pub fn hibernator_child(&self) -> ChildSpec {
        ChildSpec::actor("hibernator", || Hibernator, self.clone())
    }
}
