//! Messages to a group as one name: `group:desks`. Off the path of messages to agents: only a name without a route comes here.

use std::sync::Arc;
use std::time::Duration;

use super::balance::Offered;
use super::{DeadLetterReason, Group};
use crate::agent::{GROUP_PREFIX, Letter, Sent};
use crate::error::AgentError;
use crate::node::Node;

/// How long [`Node::deliver`] waits for room with the member that refused last before it asks for another one: that member may be
/// stuck while others have room by now.
const ROOM_WAIT_MAX: Duration = Duration::from_millis(10);

impl Node {
    /// Gives `letter` to one agent of `group`.
    pub(super) fn offer_to_group(&self, group: &str, letter: Letter) -> Sent {
        let name = || group.to_owned();
        let Some(found) = self.groups().get(group) else {
            let error = AgentError::UnknownGroup { name: name() };
            return self.no_way(group, letter, error, DeadLetterReason::UnknownGroup);
        };
        if !found.is_balanced() {
            let error = AgentError::NotBalanced { name: name() };
            return self.no_way(group, letter, error, DeadLetterReason::NotBalanced);
        }
        match found.offer(letter) {
            Offered::Taken => Sent::Done,
            Offered::Asleep(letter, name) => self.try_deliver(&*name, letter),
            Offered::Full(letter) => Sent::Full(letter),
            Offered::Nobody(letter) => self.nobody(group, &found, letter),
        }
    }

    /// Everybody who was asked is full: one rejection, counted with the member that refused last.
    pub(super) fn group_overloaded(&self, group: &str, letter: Letter) -> AgentError {
        let found = self.groups().get(group);
        if let Some(error) = found.as_ref().and_then(|group| group.reject(|cell| cell.reject())) {
            return error;
        }
        // Its last agent has gone between the two looks.
        let error = AgentError::NoMember { name: group.to_owned(), agents: 0 };
        self.unroutable(&reference(group), letter, error, DeadLetterReason::NoMember)
    }

    /// Waits until the member that refused last may have room, and at most [`ROOM_WAIT_MAX`].
    pub(super) async fn group_room(&self, group: &str) {
        let refuser = self.groups().get(group).and_then(|group| group.refuser());
        if let Some(cell) = refuser {
            // Whichever comes first, the group is asked anew.
            let _ = tokio::time::timeout(ROOM_WAIT_MAX, cell.inbox().room(cell.limit())).await;
        }
    }

    /// The agent that would serve the next message to `group:` and this name. Counts as a decision for strategies that take turns,
    /// and nothing is sent. `None` if there is no such group, it has no strategy or nobody takes messages.
    #[must_use]
    pub fn choose_member(&self, group: &str) -> Option<Arc<str>> {
        self.groups().get(group)?.decide()
    }

    fn nobody(&self, group: &str, found: &Group, letter: Letter) -> Sent {
        let agents = found.agents() as u64;
        let error = AgentError::NoMember { name: group.to_owned(), agents };
        self.no_way(group, letter, error, DeadLetterReason::NoMember)
    }

    fn no_way(&self, group: &str, letter: Letter, error: AgentError, reason: DeadLetterReason) -> Sent {
        Sent::Failed(self.unroutable(&reference(group), letter, error, reason))
    }
}

/// How a message names the group.
fn reference(group: &str) -> String {
    format!("{GROUP_PREFIX}{group}")
}
