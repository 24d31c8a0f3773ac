//! Membership actor: gives the core its timers, datagrams and connections, and tells what it finds.
//!
//! Supervised by the cluster's supervisor as `permanent`. A restart begins with the members that were known before and with the last
//! identity; what was suspected or still to be passed on is lost, and found or heard again.

use std::sync::Arc;

use nexus_actors::clock::Clock;
use nexus_actors::rng::Seed;
use nexus_actors::supervision::ChildSpec;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tracing::{debug, info};

use super::config::MembershipConfig;
use super::core::{Membership, MembershipError};
use super::handle::MembershipHandle;
use super::member::Metadata;
use super::message::{Effect, Input, MembershipEvent, Timer};
use super::overview::MembershipOverview;
use crate::transport::{Carrier, ControlEvent, ControlLane, Service};

/// Seeds that are names of the domain name system begin so, and stand for all the addresses of the name.
const DNS: &str = "dns:";

/// Addresses taken of one such name at most.
const ADDRESSES_MAX: usize = 64;

/// What the membership actor is told.
#[derive(Debug)]
pub enum MembershipMsg {
    /// Something of the control lane.
    Control(ControlEvent),
    /// A timer of the core; the actor sends it to itself.
    Timer(Timer),
    /// The addresses of the seeds; the actor sends it to itself once their names are resolved.
    Seeds(Vec<String>),
    /// This node tells something else of itself.
    SetMetadata(Metadata),
    /// Leave; answered when the others had time to hear it.
    Leave(RpcReplyPort<()>),
    /// What is left to do when they had it; the actor sends it to itself.
    Left(Vec<Effect>, RpcReplyPort<()>),
    /// Everything for the debug endpoint.
    Overview(RpcReplyPort<MembershipOverview>),
}

impl ractor::Message for MembershipMsg {}

/// What the actor needs.
#[derive(Clone)]
pub struct MembershipSetup {
    /// The handle that the rest of the node has.
    pub handle: MembershipHandle,
    /// Its parameters.
    pub config: MembershipConfig,
    /// `host:port` of some members each, or `dns:host:port` for all addresses of a name. None, for the first node of a cluster.
    pub seeds: Vec<String>,
    /// The node's seed.
    pub seed: Seed,
    /// The node's clock.
    pub clock: Clock,
    /// Where datagrams go.
    pub lane: Arc<dyn ControlLane>,
    /// Who keeps connections.
    pub carrier: Arc<dyn Carrier>,
}

impl MembershipSetup {
    /// The actor, for the cluster's supervisor.
    ///
    /// # Errors
    /// The config or the metadata is out of range.
    pub fn child(self) -> Result<ChildSpec, MembershipError> {
        self.config.validate()?;
        self.handle.me().metadata().validate()?;
        Ok(ChildSpec::actor("membership", || MembershipActor, self))
    }
}

struct MembershipActor;

struct State {
    core: Membership,
    setup: MembershipSetup,
}

impl Actor for MembershipActor {
    type Msg = MembershipMsg;
    type State = State;
    type Arguments = MembershipSetup;

    async fn pre_start(
        &self,
        myself: ActorRef<MembershipMsg>,
        setup: MembershipSetup,
    ) -> Result<State, ActorProcessingErr> {
        let rng = setup.seed.stream("membership");
        let core = Membership::new(setup.handle.me(), setup.config.clone(), rng)?;
        let mut state = State { core, setup };
        state.setup.handle.started(myself.clone());
        state.resolve(&myself);
        state.step(&myself, Input::Restore(state.setup.handle.members()));
        // Those that were connected before we were.
        for peer in state.setup.lane.peers() {
            state.step(&myself, Input::Connected(peer));
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<MembershipMsg>,
        message: MembershipMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            MembershipMsg::Control(event) => state.on_control(&myself, event),
            MembershipMsg::Timer(timer) => state.step(&myself, Input::Timer(timer)),
            MembershipMsg::Seeds(seeds) => state.step(&myself, Input::Join { seeds }),
            MembershipMsg::SetMetadata(metadata) => state.step(&myself, Input::SetMetadata(metadata)),
            MembershipMsg::Leave(reply) => state.on_leave(&myself, reply),
            MembershipMsg::Left(effects, reply) => {
                state.run(&myself, effects);
                let _ = reply.send(());
            }
            MembershipMsg::Overview(reply) => {
                let _ = reply.send(state.core.overview());
            }
        }
        Ok(())
    }
}

impl State {
    /// Looks names up beside the actor; what is an address goes to the carrier as it is.
    fn resolve(&self, myself: &ActorRef<MembershipMsg>) {
        let seeds = self.setup.seeds.clone();
        if !seeds.iter().any(|seed| seed.starts_with(DNS)) {
            let _ = myself.cast(MembershipMsg::Seeds(seeds));
            return;
        }
        let myself = myself.clone();
        tokio::spawn(async move {
            let mut addresses = Vec::new();
            for seed in seeds {
                let Some(name) = seed.strip_prefix(DNS) else {
                    addresses.push(seed);
                    continue;
                };
                match tokio::net::lookup_host(name).await {
                    Ok(found) => {
                        addresses.extend(found.take(ADDRESSES_MAX).map(|address| address.to_string()))
                    }
                    Err(error) => {
                        // The carrier tries the name itself from time to time.
                        info!(name, %error, "seed not found");
                        addresses.push(name.to_owned());
                    }
                }
            }
            let _ = myself.cast(MembershipMsg::Seeds(addresses));
        });
    }

    fn on_control(&mut self, myself: &ActorRef<MembershipMsg>, event: ControlEvent) {
        let input = match event {
            ControlEvent::Connected(node) => Input::Connected(node),
            ControlEvent::Message { from, bytes } => Input::Datagram { from, bytes },
            ControlEvent::Disconnected(node, reason) => {
                debug!(%node, %reason, "disconnected");
                Input::Disconnected(node)
            }
        };
        self.step(myself, input);
    }

    /// Says farewell at once and ends connections a while later: what ends a connection may overtake what is queued on it.
    fn on_leave(&mut self, myself: &ActorRef<MembershipMsg>, reply: RpcReplyPort<()>) {
        let effects = self.core.step(self.setup.clock.now(), Input::Leave);
        let (later, now): (Vec<_>, Vec<_>) =
            effects.into_iter().partition(|effect| matches!(effect, Effect::Disconnect { .. }));
        self.run(myself, now);
        myself.send_after(self.setup.config.probe_timeout, move || MembershipMsg::Left(later, reply));
    }

    fn step(&mut self, myself: &ActorRef<MembershipMsg>, input: Input) {
        let effects = self.core.step(self.setup.clock.now(), input);
        self.setup.handle.renewed(self.core.me());
        self.run(myself, effects);
    }

    fn run(&self, myself: &ActorRef<MembershipMsg>, effects: Vec<Effect>) {
        let MembershipSetup { lane, carrier, handle, .. } = &self.setup;
        for effect in effects {
            match effect {
                // Whoever is not connected, or has too much waiting, does not get it: datagrams may be lost.
                Effect::Send { to, bytes } => drop(lane.send(&to, Service::Membership, bytes)),
                Effect::Arm { timer, after } => {
                    myself.send_after(after, move || MembershipMsg::Timer(timer));
                }
                Effect::Connect { address } => carrier.keep(&address),
                Effect::Disconnect { address } => carrier.forget(&address),
                Effect::Event(event) => {
                    log(&event);
                    handle.tell(&event);
                }
            }
        }
    }
}

fn log(event: &MembershipEvent) {
    match event {
        MembershipEvent::MemberUp(member) => debug!(?member, "member up"),
        MembershipEvent::MemberSuspect(member) => debug!(?member, "member suspected"),
        MembershipEvent::MemberDown(member) => debug!(?member, "member down"),
        MembershipEvent::MemberLeft(member) => debug!(?member, "member left"),
        MembershipEvent::MetadataChanged(member) => debug!(?member, "member's metadata changed"),
        MembershipEvent::Rejoined(me) => debug!(?me, "declared down by others, and back"),
        MembershipEvent::Partition(state) => debug!(?state, "partition"),
    }
}
