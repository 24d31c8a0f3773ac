//! What was answered was done: an ask that is answered with success was handled before, and has not become a dead letter as well.

use std::collections::BTreeSet;

use super::{End, Invariant, named};
use crate::chronicle::{Chronicle, Heard};

/// See the module.
#[derive(Debug)]
pub(super) struct Answered;

impl Invariant for Answered {
    fn name(&self) -> &'static str {
        "answered"
    }

    fn end(&mut self, _: &End, chronicle: &Chronicle) -> Result<(), String> {
        let dead: BTreeSet<_> = chronicle.lives.iter().flat_map(|life| &life.books.dead).collect();
        let mut wrong = Vec::new();
        for (id, message) in chronicle.messages.iter().enumerate() {
            if message.heard != Heard::Done {
                continue;
            }
            let before = |at| message.heard_at.is_some_and(|heard_at| at <= heard_at);
            if !message.handled.iter().any(|(_, at)| before(*at)) {
                wrong.push(format!("{id} to {} was answered and not handled", message.agent));
            } else if dead.contains(&(id as u64)) {
                wrong.push(format!("{id} to {} was answered and is a dead letter", message.agent));
            }
        }
        named(&wrong)
    }
}
