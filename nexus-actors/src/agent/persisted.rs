//! What the host of a stored agent keeps in mind, and what it does with the next letter.

use std::sync::Arc;

use ractor::Actor;

use super::batch::Batch;
use super::behavior::AgentSpec;
use super::durable::{Codec, Snapshot};
use super::inbox::Letter;
use super::keeper::Keeper;
use super::ledger::Ledger;
use super::message::{Operation, Request};
use crate::clock::Millis;
use crate::error::AgentError;
use crate::store::{Marks, Origin, Persist, Standing, Store, StoreError};

/// What the host of a persisted agent knows beside its behavior's state.
#[derive(Debug)]
pub(super) struct Persisted {
    pub(super) store: Store,
    pub(super) persist: Persist,
    /// For going back to a snapshot.
    pub(super) spec: AgentSpec,
    /// The state it began with, while nothing is stored: what a failed first commit goes back to.
    pub(super) initial: Option<Snapshot>,
    pub(super) marks: Marks,
    /// Requests that may have changed the state, or the marks, since it was last given to the store.
    pub(super) changes: u64,
    /// When the first of them was handled.
    pub(super) since: Millis,
    /// Whether they come from a feed.
    pub(super) fed: bool,
    /// Those among them that nobody waits for: told of if they are undone.
    pub(super) told: Vec<Request>,
    /// Whether a look at the time is on its way.
    pub(super) timer: bool,
    pub(super) ledger: Arc<Ledger>,
    /// Whether the answer to the request at hand is withheld.
    pub(super) withhold: bool,
}

/// What to do with the first letter of a batch.
pub(super) enum Admit {
    /// There is none.
    Empty,
    /// It was handled before: its feed was resumed.
    Skip,
    /// The agent has handled its feed up to this place only, and lacks what comes before it.
    Early {
        mark: u64,
    },
    /// It crashed the agent when its feed delivered it before.
    Poison,
    /// What was changed so far must be stored first.
    Settle,
    /// It would change what cannot be stored.
    Refuse(AgentError),
    /// The same, and its sender would not hear of it.
    Wait,
    Handle,
}

impl Persisted {
    /// For an agent that starts from a snapshot with `marks`, or else with the state that `codec` writes of `state`.
    pub(super) fn start<A: Actor>(
        spec: AgentSpec,
        keeper: &Keeper,
        marks: Option<Marks>,
        codec: &Codec<A>,
        state: &A::State,
    ) -> Result<Option<Box<Self>>, AgentError> {
        let Some(store) = spec.node.store().cloned() else { return Ok(None) };
        let persist = keeper.persist;
        let initial = match &marks {
            None if persist == Persist::EachUpdate => Some((codec.write)(state)?),
            _ => None,
        };
        Ok(Some(Box::new(Self {
            store,
            persist,
            spec,
            initial,
            marks: marks.unwrap_or_default(),
            changes: 0,
            since: Millis::ZERO,
            fed: false,
            told: Vec::new(),
            timer: false,
            ledger: Arc::default(),
            withhold: false,
        })))
    }

    /// Where the answer to the request at hand waits for the commit, if it does.
    pub(super) fn withholds(&self) -> Option<&Arc<Ledger>> {
        self.withhold.then_some(&self.ledger)
    }

    /// Whether the state differs from what was given to the store.
    pub(super) const fn is_changed(&self) -> bool {
        self.changes > 0
    }

    /// `poison` says which of its feeds' requests have crashed the agent.
    pub(super) fn admit(&mut self, batch: &mut Batch<'_>, poison: impl Fn(Origin) -> bool) -> Admit {
        let Some(Letter { request, .. }) = batch.first() else { return Admit::Empty };
        let (origin, changes) = (request.origin(), changes(request));
        match origin.map_or(Standing::Next, |origin| self.marks.standing(origin, request.follows())) {
            Standing::Next => {}
            Standing::Handled => return Admit::Skip,
            Standing::Early { mark } => return Admit::Early { mark },
        }
        if request.chained().is_some_and(|(origin, _)| poison(origin)) {
            return Admit::Poison;
        }
        self.withhold = false;
        batch.set_unsettles(self.persist == Persist::EachUpdate && origin.is_some());
        if self.persist != Persist::EachUpdate {
            return Admit::Handle;
        }
        if changes {
            if let Some(error) = self.store.wrong() {
                return if origin.is_some() { Admit::Wait } else { Admit::Refuse(not_stored(&error)) };
            }
            if self.changes > 0 && self.fed != origin.is_some() {
                return Admit::Settle;
            }
            self.ledger.hold();
            self.withhold = true;
        } else {
            // It may see what is not stored yet.
            self.withhold = self.changes > 0;
        }
        Admit::Handle
    }

    /// The request was handled, or will never be.
    pub(super) fn handled(&mut self, request: &Request, asked: bool, now: impl FnOnce() -> Millis) {
        if !changes(request) {
            return;
        }
        if self.changes == 0 {
            self.since = now();
            self.fed = request.origin().is_some();
        }
        self.changes += 1;
        match request.origin() {
            Some(origin) => self.marks.advance(origin),
            None if self.persist == Persist::EachUpdate && !asked => self.told.push(request.clone()),
            None => {}
        }
    }

    /// The state was given to the store.
    pub(super) fn given(&mut self) {
        self.changes = 0;
        self.told.clear();
        self.initial = None;
    }
}

/// Whether handling it may change what is stored. A feed's query moves the mark.
fn changes(request: &Request) -> bool {
    request.operation != Operation::Query || request.origin().is_some()
}

pub(super) fn not_stored(error: &StoreError) -> AgentError {
    AgentError::NotStored { reason: error.to_string() }
}
