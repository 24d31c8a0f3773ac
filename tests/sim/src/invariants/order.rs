//! Per-pair order: what one sender sends to one agent is handled in that order, wherever the agent lives by then. Some may be missing.

use std::collections::BTreeMap;

use super::{End, Invariant, named};
use crate::chronicle::Chronicle;

/// See the module.
#[derive(Debug)]
pub(super) struct Order;

impl Invariant for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn end(&mut self, _: &End, chronicle: &Chronicle) -> Result<(), String> {
        let handled = |(id, message): (usize, &crate::chronicle::Message)| {
            let (activation, at) = *message.handled.first()?;
            Some(((message.sender, message.agent.clone()), (id, activation, at)))
        };
        let mut last: BTreeMap<_, (usize, usize, std::time::Duration)> = BTreeMap::new();
        let mut wrong = Vec::new();
        // In the order in which they were sent.
        for (pair, (id, activation, at)) in chronicle.messages.iter().enumerate().filter_map(handled) {
            if let Some((before, earlier, handled_at)) = last.get(&pair)
                && *handled_at > at
            {
                let on = |activation: usize| &chronicle.lives[chronicle.activations[activation].life].name;
                wrong.push(format!(
                    "{before} of {} to {} was handled on {} at {:.3} s, and {id} on {} at {:.3} s before it",
                    chronicle.lives[pair.0].name,
                    pair.1,
                    on(*earlier),
                    handled_at.as_secs_f64(),
                    on(activation),
                    at.as_secs_f64(),
                ));
            }
            last.insert(pair, (id, activation, at));
        }
        named(&wrong)
    }
}
