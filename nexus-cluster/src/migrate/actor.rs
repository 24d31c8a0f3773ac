//! Migration: hands its core what happens, and lets the node carry out what it says.
//!
//! Supervised by `cluster.sup` as `permanent`, after the directory. Owns nothing: core, agents on their way and what waits to be looked at
//! belong to the [`Migration`] handle, so a restart forgets nothing.

use std::sync::atomic::Ordering;

use nexus_actors::agent::AgentId;
use nexus_actors::route::travel::{Luggage, TravelError};
use nexus_actors::telemetry::Event;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::core::{Effect, Input, Key};
use super::error::Refusal;
use super::handle::{Happened, Leaver, Migration};
use super::message::{Message, Passport, Purpose};
use crate::NodeId;
use crate::directory::Unavailable;
use crate::transport::{ControlEvent, Service};

/// How often the directory is asked again that does not answer.
const ATTEMPTS: u32 = 3;

/// See the module.
pub(super) struct MigrationActor;

/// What it is told.
#[derive(Debug)]
pub(super) enum MigrationMsg {
    /// Time to look at the clock.
    Tick,
    /// Something has happened.
    Look,
}

impl ractor::Message for MigrationMsg {}

impl Actor for MigrationActor {
    type Msg = MigrationMsg;
    type State = Migration;
    type Arguments = Migration;

    async fn pre_start(
        &self,
        myself: ActorRef<MigrationMsg>,
        migration: Migration,
    ) -> Result<Migration, ActorProcessingErr> {
        *migration.inner.actor.lock() = Some(myself.clone());
        myself.cast(MigrationMsg::Look)?;
        myself.cast(MigrationMsg::Tick)?;
        Ok(migration)
    }

    async fn handle(
        &self,
        myself: ActorRef<MigrationMsg>,
        message: MigrationMsg,
        migration: &mut Migration,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            MigrationMsg::Tick => {
                migration.step(Input::Tick);
                // Runs out with the actor.
                myself.send_after(migration.inner.tick, || MigrationMsg::Tick);
            }
            MigrationMsg::Look => migration.look(),
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<MigrationMsg>,
        migration: &mut Migration,
    ) -> Result<(), ActorProcessingErr> {
        *migration.inner.actor.lock() = None;
        Ok(())
    }
}

impl Migration {
    /// Takes in all that has happened.
    fn look(&self) {
        self.inner.told.store(false, Ordering::SeqCst);
        loop {
            let Some(happened) = self.inner.happened.lock().pop_front() else { return };
            match happened {
                Happened::Input(input) => self.step(input),
                Happened::Control(event) => self.on_control(event),
                Happened::Left(number, outcome) => self.on_left(number, outcome),
                Happened::Admitted(key, arrival, result) => {
                    self.inner.arrivals.lock().insert(key.clone(), *arrival);
                    self.step(Input::Admitted { key, result });
                }
            }
        }
    }

    fn on_control(&self, event: ControlEvent) {
        let ControlEvent::Message { from, bytes } = event else { return };
        match Message::decode(&bytes) {
            Ok(Message::Drain { on: true }) => self.begin_drain(),
            Ok(Message::Drain { on: false }) => self.undrain(),
            Ok(message) => self.step(Input::Message { from, message }),
            Err(error) => tracing::warn!(%from, %error, "a message about a move is dropped"),
        }
    }

    fn on_left(&self, number: u64, outcome: Result<Option<Luggage>, TravelError>) {
        match outcome {
            Ok(luggage) => {
                let mut leavers = self.inner.leavers.lock();
                let Some(leaver) = leavers.get_mut(&number) else { return };
                leaver.departure.keep(luggage.clone());
                let name = leaver.departure.name().clone();
                drop(leavers);
                let state = luggage.as_ref().map(|luggage| luggage.state.clone()).unwrap_or_default();
                let passport = luggage.map(|luggage| Passport {
                    name,
                    purpose: Purpose::Move,
                    behavior: luggage.behavior,
                    level: luggage.level,
                    incarnation: luggage.incarnation,
                    version: luggage.version,
                    marks: luggage.marks,
                    bytes: luggage.state.len() as u64,
                });
                self.step(Input::Departed { number, passport, state });
            }
            Err(error) => {
                self.inner.leavers.lock().remove(&number);
                self.step(Input::Stayed { number, why: error.to_string(), here: error.is_here() });
            }
        }
    }

    pub(super) fn step(&self, input: Input) {
        let effects = self.inner.core.lock().step(self.inner.clock.now(), input);
        for effect in effects {
            self.run(effect);
        }
    }

    fn run(&self, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(&to, &message),
            Effect::Depart { number, agent, must } => self.depart(number, &agent, must),
            Effect::Stay { number } => {
                let leaver = self.inner.leavers.lock().get(&number).map(|leaver| leaver.departure.clone());
                if let Some(departure) = leaver {
                    departure.stay();
                }
            }
            Effect::Reclaim { number, id, over } => self.reclaim(number, id, over),
            Effect::Return { number } => {
                if let Some(leaver) = self.inner.leavers.lock().remove(&number) {
                    leaver.departure.come_back();
                }
            }
            Effect::Relay { number, to } => self.relay(number, to),
            Effect::Settle { number } => {
                if let Some(Leaver { departure, to: Some(to) }) = self.inner.leavers.lock().remove(&number) {
                    departure.settle(to.name.as_str());
                }
            }
            Effect::Renumber { number, fresh } => {
                let mut leavers = self.inner.leavers.lock();
                if let Some(leaver) = leavers.remove(&number) {
                    leavers.insert(fresh, leaver);
                }
            }
            Effect::Finished { request, result } => self.finished(request, result),
            Effect::Expect { key, passport } => self.expect(key, &passport),
            Effect::Admit { key, passport, state } => self.admit(key, passport, state),
            Effect::Absorb { key, passport, state } => self.absorb(key, passport, state),
            Effect::Activate { key } => {
                if let Some(arrival) = self.inner.arrivals.lock().remove(&key) {
                    arrival.activate();
                    tokio::spawn(arrival.join());
                }
            }
            Effect::Cancel { key } => {
                if let Some(arrival) = self.inner.arrivals.lock().remove(&key) {
                    tokio::spawn(arrival.cancel());
                }
            }
            Effect::Switch { key, name, to } => {
                let this = self.clone();
                this.inner.directory.learn(AgentId::of(&name), to.clone());
                tokio::spawn(async move {
                    this.inner.node.switch(&name, key.0.name.as_str(), to.name.as_str()).await;
                    this.happened(Happened::Input(Input::Switched { key }));
                });
            }
        }
    }

    fn send(&self, to: &NodeId, message: &Message) {
        // What is not sent is said again.
        if let Err(error) = self.inner.lane.send(&to.name, Service::Migration, message.encode()) {
            tracing::debug!(%error, "a message about a move was not sent");
        }
    }

    fn depart(&self, number: u64, agent: &std::sync::Arc<str>, must: bool) {
        match self.inner.node.depart(agent, must) {
            Ok((departure, left)) => {
                self.inner.leavers.lock().insert(number, Leaver { departure, to: None });
                let this = self.clone();
                tokio::spawn(async move {
                    // Unanswered only if the node ends.
                    if let Ok(outcome) = left.await {
                        this.happened(Happened::Left(number, outcome));
                    }
                });
            }
            Err(error) => {
                let (why, here) = (error.to_string(), error.is_here());
                self.happened(Happened::Input(Input::Stayed { number, why, here }));
            }
        }
    }

    fn reclaim(&self, number: u64, id: AgentId, over: Option<NodeId>) {
        let this = self.clone();
        tokio::spawn(async move {
            let answer = this.inner.directory.register(id, over).await.map_err(drop);
            this.happened(Happened::Input(Input::Reclaimed { number, answer }));
        });
    }

    fn relay(&self, number: u64, to: NodeId) {
        let mut leavers = self.inner.leavers.lock();
        let Some(leaver) = leavers.get_mut(&number) else { return };
        leaver.to = Some(to.clone());
        let departure = leaver.departure.clone();
        drop(leavers);
        let (name, id) = (departure.name().clone(), AgentId::of(departure.name()));
        // Its owner has taken this node's claim away, and has said so; that word may have been lost.
        self.inner.directory.unregister(id);
        self.inner.directory.learn(id, to.clone());
        self.inner.node.events().emit(Event::AgentMoved { agent: name, to: to.name.to_string().into() });
        let this = self.clone();
        tokio::spawn(async move {
            departure.relay(to.name.as_str()).await;
            this.happened(Happened::Input(Input::Relayed { number }));
        });
    }

    fn expect(&self, key: Key, passport: &Passport) {
        let expected = self.inner.node.expect(&passport.name, &passport.behavior, key.0.name.as_str());
        let result = match expected {
            Ok(arrival) => {
                self.inner.arrivals.lock().insert(key.clone(), arrival);
                Ok(())
            }
            Err(error) => Err(Refusal::Node(error.to_string())),
        };
        self.happened(Happened::Input(Input::Expected { key, result }));
    }

    fn admit(&self, key: Key, passport: Passport, state: bytes::Bytes) {
        let Some(mut arrival) = self.inner.arrivals.lock().remove(&key) else { return };
        let this = self.clone();
        tokio::spawn(async move {
            let id = passport.id();
            let result = match arrival.store(&luggage(passport, state)).await {
                Ok(()) => this.register(id, &key.0).await,
                Err(error) => Err(Refusal::Node(error.to_string())),
            };
            this.happened(Happened::Admitted(key, Box::new(arrival), result));
        });
    }

    /// The step that decides where the agent lives.
    async fn register(&self, id: AgentId, over: &NodeId) -> Result<(), Refusal> {
        let mut attempt = 1;
        loop {
            match self.inner.directory.register(id, Some(over.clone())).await {
                Ok(None) => return Ok(()),
                Ok(Some(node)) => return Err(Refusal::Directory(format!("it lives on `{node}`"))),
                Err(Unavailable::TimedOut | Unavailable::Overloaded) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(Refusal::Directory(error.to_string())),
            }
        }
    }

    fn absorb(&self, key: Key, passport: Passport, state: bytes::Bytes) {
        let this = self.clone();
        tokio::spawn(async move {
            let name = passport.name.clone();
            let result = this.inner.node.absorb(&name, luggage(passport, state)).await;
            if result.is_ok() {
                let loser = key.0.name.to_string().into();
                this.inner.node.events().emit(Event::AgentMerged { agent: name, loser });
            }
            let result = result.map_err(Refusal::from);
            this.happened(Happened::Input(Input::Admitted { key, result }));
        });
    }
}

fn luggage(passport: Passport, state: bytes::Bytes) -> Luggage {
    let Passport { behavior, level, incarnation, version, marks, .. } = passport;
    Luggage { behavior, level, incarnation, version, marks, state }
}
