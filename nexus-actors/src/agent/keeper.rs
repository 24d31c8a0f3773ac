//! What belongs to an agent whose state is written to the store, beside its actor: its policy, and who waits for its state.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::store::{Persist, Wish};

/// See the module.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) persist: Persist,
    wishes: Mutex<Vec<Wish>>,
    /// Whether there are wishes: looked at after every batch.
    wished: AtomicBool,
}

impl Keeper {
    pub(crate) fn new(persist: Persist) -> Self {
        Self { persist, wishes: Mutex::default(), wished: AtomicBool::new(false) }
    }

    /// A checkpoint wants the agent's state.
    pub(crate) fn wish(&self, wish: Wish) {
        let mut wishes = self.wishes.lock();
        wishes.push(wish);
        self.wished.store(true, Ordering::Release);
    }

    /// Whether somebody wants the agent's state.
    pub(crate) fn is_wished(&self) -> bool {
        self.wished.load(Ordering::Acquire)
    }

    /// Those who want it.
    pub(crate) fn take_wishes(&self) -> Vec<Wish> {
        let mut wishes = self.wishes.lock();
        self.wished.store(false, Ordering::Release);
        std::mem::take(&mut wishes)
    }
}
