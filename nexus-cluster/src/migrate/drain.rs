//! Draining: a node's agents move to others, a batch at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use nexus_actors::agent::AgentId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::core::Input;
use super::error::MoveError;
use super::handle::{Happened, Migration};

/// Failures that are named; more are counted.
const NAMED_MAX: usize = 100;
/// How often an agent that is refused or not ready is tried again.
const ATTEMPTS: u32 = 5;

/// How far a drain is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Whether the node is being drained, or was: it takes no new agents.
    pub draining: bool,
    /// Agents that were to move.
    pub total: u64,
    /// Agents that live elsewhere now.
    pub moved: u64,
    /// Agents that stay.
    pub failed: u64,
    /// The first hundred of them, with the reasons.
    pub reasons: BTreeMap<Arc<str>, String>,
    /// Bytes of state that have moved.
    pub bytes: u64,
    /// Whether it is over.
    pub done: bool,
}

impl Progress {
    fn note(&mut self, agent: Arc<str>, result: Result<u64, MoveError>) {
        match result {
            Ok(bytes) => {
                self.moved += 1;
                self.bytes += bytes;
            }
            Err(error) => {
                self.failed += 1;
                if self.reasons.len() < NAMED_MAX {
                    self.reasons.insert(agent, error.to_string());
                }
            }
        }
    }
}

/// What a node tells the others of itself, by gossip.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Agents that it has.
    pub agents: u64,
    /// How far it is drained, without the reasons.
    pub drain: Progress,
}

impl Migration {
    /// Moves everything off this node, [`batch`](super::MigrationConfig::batch) agents at a time, to where their placement says. Until it is
    /// [called off](Self::undrain) the node takes no agents. Those that stay, and why, are in the answer; agents that are declared one by
    /// one do not move. If a drain is under way, this is its end.
    pub async fn drain(&self) -> Progress {
        self.begin_drain();
        let mut progress = self.progress();
        // Fails only when the node ends.
        let _ = progress.wait_for(|progress| progress.done || !progress.draining).await;
        progress.borrow().clone()
    }

    /// The same without waiting.
    pub fn begin_drain(&self) {
        let begun = self.inner.drain.send_if_modified(|progress| {
            let begins = !progress.draining || (progress.done && progress.failed > 0);
            if begins {
                *progress = Progress { draining: true, ..Progress::default() };
            }
            begins
        });
        if begun {
            self.happened(Happened::Input(Input::Draining(true)));
            tokio::spawn(self.clone().move_all());
        }
    }

    async fn move_all(self) {
        let agents = self.inner.node.member_names();
        self.inner.drain.send_modify(|progress| progress.total = agents.len() as u64);
        let mut moves = futures::stream::iter(agents)
            .map(|agent| {
                let this = &self;
                async move {
                    let result = this.move_one(&agent).await;
                    (agent, result)
                }
            })
            .buffer_unordered(self.inner.config.batch);
        while let Some((agent, result)) = moves.next().await {
            self.inner.drain.send_modify(|progress| progress.note(agent, result));
        }
        self.inner.drain.send_modify(|progress| progress.done = true);
    }

    async fn move_one(&self, agent: &Arc<str>) -> Result<u64, MoveError> {
        let mut attempt = 1;
        loop {
            if !self.is_draining() {
                return Err(MoveError::Stays {
                    agent: agent.to_string(),
                    why: "the drain was called off".into(),
                });
            }
            let place = self.inner.place.get().and_then(|place| place(AgentId::of(agent), agent));
            let to = place.filter(|node| *node != self.inner.me);
            let to = to.ok_or_else(|| MoveError::Nowhere { agent: agent.to_string() })?;
            match self.migrate(agent, to).await {
                Err(MoveError::Refused { .. } | MoveError::TargetLost { .. } | MoveError::NotYet { .. })
                    if attempt < ATTEMPTS && self.inner.node.has_agent(&**agent) =>
                {
                    tokio::time::sleep(self.inner.config.retry * attempt).await;
                    attempt += 1;
                }
                // It has gone by itself.
                Err(MoveError::Stays { .. }) if !self.inner.node.has_agent(&**agent) => return Ok(0),
                result => return result,
            }
        }
    }

    /// The node takes agents again. Of a drain under way no more agents begin to move.
    pub fn undrain(&self) {
        self.inner.drain.send_modify(|progress| progress.draining = false);
        self.happened(Happened::Input(Input::Draining(false)));
    }

    /// Whether this node is being drained, or was.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.drain.borrow().draining
    }

    /// How far the drain of this node is, now and whenever that changes.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.inner.drain.subscribe()
    }

    /// What the others are to know of this node.
    #[must_use]
    pub fn report(&self) -> Report {
        let agents = self.inner.node.agent_count() as u64;
        let drain = Progress { reasons: BTreeMap::new(), ..self.inner.drain.borrow().clone() };
        Report { agents, drain }
    }
}
