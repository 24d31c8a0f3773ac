//! The pump of a feed in a cluster: it claims the feed, and carries out what [`Redelivery`] decides.

use std::sync::Arc;
use std::time::Duration;

use nexus_actors::telemetry::Event;
use ractor::{ActorProcessingErr, ActorRef};

use super::{FeedMsg, FeedPumpState};
use crate::feed::deliver::Deliver;
use crate::feed::redelivery::{Effect, Input, Redelivery};
use crate::feed::seat::{Claim, Marks, Seat};
use crate::feed::slot::{FeedSlot, Relay};
use crate::feed::status::{FeedState, FeedStatus};

/// How often the feed is claimed, and told of.
const CLAIM: Duration = Duration::from_millis(500);

/// What a feed hears of its cluster.
#[derive(Debug)]
pub enum ClusterMsg {
    /// Time to claim the feed; the actor sends it to itself.
    Claim,
    /// Who runs it; from the task that claims.
    Claimed(Claim),
    /// Something that decides whether it goes back.
    Input(Input),
    /// How far its agents have come; from the task that asks, with the number of its question.
    Marks(u64, Option<Marks>),
}

/// What a pump keeps of its cluster. It has a [`Redelivery`] only while this node runs the feed.
#[derive(Debug)]
pub(super) struct Relayed {
    seat: Arc<dyn Seat>,
    pub(super) redelivery: Option<Redelivery>,
    /// What the others were told last.
    shown: Option<FeedStatus>,
    /// The number of the last question to all nodes. The answers to an earlier one may be older than a loss.
    asked: u64,
}

impl Relayed {
    pub(super) fn new(seat: Arc<dyn Seat>, slot: &FeedSlot) -> Self {
        // The actor before this one may have had the seat; it has it still. Whether something was lost meanwhile, an audit shows.
        let redelivery =
            slot.relay().filter(|relay| relay.is_seated()).map(|relay| Redelivery::new(relay.pass()));
        Self { seat, redelivery, shown: None, asked: 0 }
    }

    pub(super) fn may_pump(&self) -> bool {
        self.redelivery.as_ref().is_some_and(|redelivery| !redelivery.is_held())
    }
}

impl<D: Deliver> FeedPumpState<D> {
    pub(super) fn start_relayed(&mut self, myself: &ActorRef<FeedMsg>) -> Result<(), ActorProcessingErr> {
        if let Some(relay) = self.slot.relay() {
            relay.attach(myself.clone());
        }
        myself.cast(FeedMsg::Cluster(ClusterMsg::Claim))?;
        if self.relayed.as_ref().is_some_and(|relayed| relayed.redelivery.is_some()) {
            self.redeliver(myself, Input::NodeLost("its actor".into()))?;
            self.schedule(myself)?;
        }
        Ok(())
    }

    pub(super) fn on_cluster(
        &mut self,
        myself: &ActorRef<FeedMsg>,
        message: ClusterMsg,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ClusterMsg::Claim => self.claim(myself),
            ClusterMsg::Claimed(claim) => self.on_claimed(myself, claim)?,
            ClusterMsg::Input(input) => self.redeliver(myself, input)?,
            ClusterMsg::Marks(number, _) if self.relayed.as_ref().is_none_or(|own| own.asked != number) => {}
            ClusterMsg::Marks(_, marks) => {
                let relay = self.slot.relay();
                let audit = relay.zip(marks).map(|(relay, (marks, queued))| relay.audit(marks, queued));
                self.redeliver(myself, Input::Audited(audit))?;
            }
        }
        Ok(())
    }

    fn claim(&mut self, myself: &ActorRef<FeedMsg>) {
        let Some(relayed) = &mut self.relayed else { return };
        if self.slot.relay().is_none_or(Relay::is_closed) {
            return;
        }
        let claiming = relayed.seat.claim(self.slot.name());
        let news = relayed.redelivery.is_some().then(|| self.slot.status());
        let news = news.filter(|status| relayed.shown.as_ref() != Some(status));
        let showing = news.map(|status| {
            relayed.shown = Some(status.clone());
            relayed.seat.show(status)
        });
        let myself = myself.clone();
        tokio::spawn(async move {
            let claim = claiming.await;
            if let Some(showing) = showing {
                showing.await;
            }
            // A pump that has ended meanwhile has a successor, which claims by itself.
            let _ = myself.cast(FeedMsg::Cluster(ClusterMsg::Claimed(claim)));
        });
    }

    fn on_claimed(&mut self, myself: &ActorRef<FeedMsg>, claim: Claim) -> Result<(), ActorProcessingErr> {
        myself.send_after(CLAIM, || FeedMsg::Cluster(ClusterMsg::Claim));
        let (Some(relayed), Some(relay)) = (&mut self.relayed, self.slot.relay()) else { return Ok(()) };
        match claim {
            Claim::Here if relayed.redelivery.is_none() => {
                let pass = first_pass(self.slot.clock().unix_ms(self.slot.clock().now()));
                relayed.redelivery = Some(Redelivery::new(pass));
                self.pace.restart();
                self.slot.take_seat(pass);
                self.emit_started();
                self.schedule(myself)?;
            }
            Claim::Elsewhere(node, status) => {
                if relayed.redelivery.take().is_some() {
                    tracing::info!(feed = %self.slot.name(), %node, "another node runs the feed");
                    self.slot.leave_seat();
                }
                relay.set_elsewhere(node, status.map(|status| *status));
            }
            Claim::Here | Claim::Unclear => {}
        }
        Ok(())
    }

    /// Tells the core, and does what it says.
    pub(super) fn redeliver(
        &mut self,
        myself: &ActorRef<FeedMsg>,
        input: Input,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.slot.clock().now();
        let Some(redelivery) = self.relayed.as_mut().and_then(|relayed| relayed.redelivery.as_mut()) else {
            return Ok(());
        };
        for effect in redelivery.step(now, input) {
            match effect {
                // Looked at before each slice.
                Effect::Hold => {}
                Effect::Go => self.schedule(myself)?,
                Effect::Wake(span) => {
                    myself.send_after(span, || FeedMsg::Cluster(ClusterMsg::Input(Input::Tick)));
                }
                Effect::Audit => self.audit(myself),
                Effect::Rewind { to, pass, cause } => self.rewind(myself, to, pass, cause)?,
                Effect::Complete { behind } => self.complete_relayed(myself, behind)?,
            }
        }
        Ok(())
    }

    fn audit(&mut self, myself: &ActorRef<FeedMsg>) {
        let (Some(relayed), Some(relay)) = (&mut self.relayed, self.slot.relay()) else { return };
        relayed.asked += 1;
        let number = relayed.asked;
        let asking = relayed.seat.marks(relay.number(), relay.agents());
        let myself = myself.clone();
        tokio::spawn(async move {
            let marks = asking.await;
            // The successor of a pump that has ended asks by itself.
            let _ = myself.cast(FeedMsg::Cluster(ClusterMsg::Marks(number, marks)));
        });
    }

    fn rewind(
        &mut self,
        myself: &ActorRef<FeedMsg>,
        to: u64,
        pass: u8,
        cause: Arc<str>,
    ) -> Result<(), ActorProcessingErr> {
        let (feed, from) = (self.slot.name().clone(), self.slot.confirmed());
        tracing::warn!(%feed, from, to, "the feed goes back after {cause}");
        self.events.emit(Event::FeedRewound { feed, from, to, cause: cause.clone() });
        self.slot.rewind(to, pass, cause);
        self.pace.restart();
        self.schedule(myself)
    }

    fn complete_relayed(&self, myself: &ActorRef<FeedMsg>, behind: u64) -> Result<(), ActorProcessingErr> {
        let is_settled = self.slot.relay().is_none_or(|relay| relay.completed(behind));
        if behind > 0 {
            let feed = self.slot.name();
            tracing::warn!(%feed, "{behind} agents have not handled all of the feed and cannot be given the rest");
        }
        if self.slot.enter(FeedState::Completed, None) {
            self.emit_completed();
        }
        // Something has happened while the agents were asked: they are asked again.
        if !is_settled {
            myself.cast(FeedMsg::Cluster(ClusterMsg::Input(Input::NodeJoined("a node".into()))))?;
        }
        Ok(())
    }

    pub(super) fn release(&self) {
        if let Some(relayed) = self.relayed.as_ref().filter(|relayed| relayed.redelivery.is_some()) {
            relayed.seat.release(self.slot.name());
        }
    }
}

/// Deliveries that begin at different times, as those of different nodes do, have different passes: all but one in 256.
const fn first_pass(unix_ms: u64) -> u8 {
    let [low, high, ..] = unix_ms.to_le_bytes();
    low ^ high
}
