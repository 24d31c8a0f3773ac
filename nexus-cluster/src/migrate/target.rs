//! The target's part: an agent comes, and is taken or refused.

use bytes::{Bytes, BytesMut};
use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;

use super::core::{Core, Effect, Key};
use super::error::Refusal;
use super::message::{Message, Passport, Purpose};
use crate::NodeId;

/// Ends that are remembered at most, for sources that ask again. The oldest go.
const REMEMBERED_MAX: usize = 65_536;

/// After how many retries' time a source that has not said that nothing more comes is told again where it stands.
const REMIND_RETRIES: u32 = 5;

/// An agent that comes, or has.
#[derive(Debug)]
pub(super) struct Arrival {
    passport: Passport,
    stage: Stage,
    /// When the source is told again where it stands, until it has said that nothing more comes.
    say_at: Millis,
}

#[derive(Debug)]
enum Stage {
    /// Its place is made ready.
    Expecting,
    /// Its state comes.
    Receiving(BytesMut),
    /// It is stored and registered.
    Taking,
    /// It lives here. Whether the source has said that nothing more comes from there.
    Taken { settled: bool },
    /// It does not come.
    Refused(Refusal),
}

impl Arrival {
    /// Whether it is neither here nor refused yet.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Expecting | Stage::Receiving(_) | Stage::Taking)
    }
}

impl Core {
    /// Whether the agent has come and its letters by way of the source have not all.
    pub(super) fn is_arriving(&self, id: AgentId) -> bool {
        self.arrivals.values().any(|arrival| {
            arrival.passport.id() == id
                && (arrival.is_open() || matches!(arrival.stage, Stage::Taken { settled: false }))
        })
    }

    pub(super) fn on_offer(
        &mut self,
        now: Millis,
        from: NodeId,
        number: u64,
        floor: u64,
        passport: Passport,
    ) {
        self.rise(&from, floor);
        if number < self.floors.get(&from).copied().unwrap_or(0) {
            return;
        }
        let key = (from, number);
        if self.arrivals.contains_key(&key) {
            return self.answer(&key);
        }
        let (bytes, limit) = (passport.bytes, self.config.state_bytes_max as u64);
        let open = self.arrivals.values().filter(|arrival| arrival.is_open()).count();
        let refusal = if bytes > limit {
            Some(Refusal::TooLarge { bytes, limit })
        } else if open >= self.config.arrivals_max {
            Some(Refusal::Busy { limit: self.config.arrivals_max as u64 })
        } else if self.draining && passport.purpose == Purpose::Move {
            Some(Refusal::Draining)
        } else {
            None
        };
        let stage = match refusal {
            Some(refusal) => Stage::Refused(refusal),
            None if passport.purpose == Purpose::Merge => Stage::Receiving(BytesMut::new()),
            None => {
                self.effects.push(Effect::Expect { key: key.clone(), passport: passport.clone() });
                Stage::Expecting
            }
        };
        self.arrivals.insert(
            key.clone(),
            Arrival { passport, stage, say_at: now + self.config.retry * REMIND_RETRIES },
        );
        self.forget_oldest();
        self.answer(&key);
    }

    /// Says where the move stands.
    fn answer(&mut self, key: &Key) {
        let number = key.1;
        let message = match self.arrivals.get(key) {
            None => Message::Refused { number, why: Refusal::Unknown },
            Some(arrival) => match &arrival.stage {
                Stage::Expecting => return,
                Stage::Receiving(state) => Message::Want { number, offset: state.len() as u64 },
                Stage::Taking => Message::Want { number, offset: arrival.passport.bytes },
                Stage::Taken { .. } => Message::Taken { number },
                Stage::Refused(why) => Message::Refused { number, why: why.clone() },
            },
        };
        self.send(&key.0, message);
    }

    pub(super) fn on_expected(&mut self, key: Key, result: Result<(), Refusal>) {
        match self.arrivals.get_mut(&key) {
            Some(arrival) if matches!(arrival.stage, Stage::Expecting) => {
                arrival.stage = match result {
                    Ok(()) => Stage::Receiving(BytesMut::new()),
                    Err(refusal) => Stage::Refused(refusal),
                };
                self.answer(&key);
            }
            _ if result.is_ok() => self.effects.push(Effect::Cancel { key }),
            _ => {}
        }
    }

    pub(super) fn on_part(&mut self, key: Key, offset: u64, bytes: &[u8]) {
        if let Some(arrival) = self.arrivals.get_mut(&key)
            && let Stage::Receiving(state) = &mut arrival.stage
            && offset == state.len() as u64
            && offset + bytes.len() as u64 <= arrival.passport.bytes
        {
            state.extend_from_slice(bytes);
            if state.len() as u64 == arrival.passport.bytes {
                let state: Bytes = std::mem::take(state).freeze();
                arrival.stage = Stage::Taking;
                let (key, passport) = (key.clone(), arrival.passport.clone());
                self.effects.push(match passport.purpose {
                    Purpose::Move => Effect::Admit { key, passport, state },
                    Purpose::Merge => Effect::Absorb { key, passport, state },
                });
            }
        }
        self.answer(&key);
    }

    pub(super) fn on_admitted(&mut self, now: Millis, key: Key, result: Result<(), Refusal>) {
        let Some(arrival) = self.arrivals.get_mut(&key) else { return };
        if !matches!(arrival.stage, Stage::Taking) {
            return;
        }
        let moves = arrival.passport.purpose == Purpose::Move;
        match result {
            Ok(()) => {
                // Nothing is kept for one that lived here all the time.
                arrival.stage = Stage::Taken { settled: !moves };
                arrival.say_at = now + self.config.retry * REMIND_RETRIES;
                if moves {
                    self.effects.push(Effect::Activate { key: key.clone() });
                }
            }
            Err(refusal) => {
                arrival.stage = Stage::Refused(refusal);
                if moves {
                    self.effects.push(Effect::Cancel { key: key.clone() });
                }
            }
        }
        self.answer(&key);
    }

    /// The word that ends a move, or calls it off, may have been lost: the source that is told once more where it stands says it again.
    pub(super) fn remind_sources(&mut self, now: Millis) {
        let again = now + self.config.retry * REMIND_RETRIES;
        let mut due = Vec::new();
        for (key, arrival) in &mut self.arrivals {
            let waits = matches!(arrival.stage, Stage::Receiving(_) | Stage::Taken { settled: false });
            if waits && arrival.say_at <= now {
                arrival.say_at = again;
                due.push(key.clone());
            }
        }
        due.iter().for_each(|key| self.answer(key));
    }

    pub(super) fn on_over(&mut self, from: NodeId, number: u64, floor: u64) {
        let key = (from, number);
        self.end(&key);
        self.rise(&key.0, floor);
        self.forget_below_floor(&key);
    }

    /// What was being taken when its source went on is forgotten when that is over.
    fn forget_below_floor(&mut self, key: &Key) {
        let is_below = self.floors.get(&key.0).is_some_and(|floor| key.1 < *floor);
        if is_below && self.arrivals.get(key).is_some_and(|arrival| !arrival.is_open()) {
            self.arrivals.remove(key);
        }
    }

    /// The source says no more of this move.
    fn end(&mut self, key: &Key) {
        let Some(arrival) = self.arrivals.get_mut(key) else { return };
        match &mut arrival.stage {
            Stage::Expecting | Stage::Receiving(_) => self.refuse(key),
            Stage::Taken { settled } => *settled = true,
            // What is being taken is taken or not: the directory decides.
            Stage::Taking | Stage::Refused(_) => {}
        }
    }

    fn refuse(&mut self, key: &Key) {
        let Some(arrival) = self.arrivals.get_mut(key) else { return };
        let had_place =
            matches!(arrival.stage, Stage::Receiving(_)) && arrival.passport.purpose == Purpose::Move;
        arrival.stage = Stage::Refused(Refusal::Unknown);
        // While it is expected, its place is given back when it is ready.
        if had_place {
            self.effects.push(Effect::Cancel { key: key.clone() });
        }
    }

    /// The source has moves from `floor` on: what was before is forgotten.
    fn rise(&mut self, from: &NodeId, floor: u64) {
        let known = self.floors.entry(from.clone()).or_default();
        if floor <= *known {
            return;
        }
        *known = floor;
        let over: Vec<Key> = self
            .arrivals
            .range((from.clone(), 0)..(from.clone(), floor))
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            self.end(&key);
            self.forget_below_floor(&key);
        }
    }

    /// A source is gone: what it has not sent whole does not come.
    pub(super) fn source_gone(&mut self, node: &NodeId) {
        let its: Vec<Key> = self
            .arrivals
            .range((node.clone(), 0)..=(node.clone(), u64::MAX))
            .map(|(key, _)| key.clone())
            .collect();
        for key in its {
            self.end(&key);
        }
    }

    /// Keeps what is remembered bounded.
    fn forget_oldest(&mut self) {
        if self.arrivals.len() > REMEMBERED_MAX {
            let oldest =
                self.arrivals.iter().find(|(_, arrival)| !arrival.is_open()).map(|(key, _)| key.clone());
            if let Some(key) = oldest {
                self.arrivals.remove(&key);
            }
        }
    }
}
