//! Per-pair order: what one sender sends to one agent is handled in that order, wherever the agent lives by then. Some may be missing.
//!
//! While an agent lives on both sides of a partition, each of the two has an order of its own; and when they become one, what was sent to
//! the one that ends follows. Where one of two nodes gives the other one up as lost, what had gone from one to the other may be handled
//! after what was sent later: that need not wait for it any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{End, Invariant, named};
use crate::chronicle::{Activation, ActivationId, Chronicle, LifeId, Message, MessageId};

/// See the module.
#[derive(Debug)]
pub(super) struct Order;

impl Invariant for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn end(&mut self, _: &End, chronicle: &Chronicle) -> Result<(), String> {
        let doubled = doubled(chronicle);
        let was_doubled = |agent: &Arc<str>, from: Duration, until: Duration| {
            let times = doubled.get(agent).into_iter().flatten();
            times.into_iter().any(|(began, ended)| *began <= until && from <= *ended)
        };
        // What has been handled of each pair, in the order in which it was sent.
        let mut pairs: BTreeMap<_, Vec<(MessageId, &Message, ActivationId, Duration)>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for (id, message) in (0..).zip(&chronicle.messages) {
            let Some(&(activation, at)) = message.handled.first() else { continue };
            let before = pairs.entry((message.sender, &message.agent)).or_default();
            let overtaken = before.iter().find(|(_, earlier, other, handled_at)| {
                *handled_at > at
                    && !lost_its_way(chronicle, earlier, at)
                    && !live_at_once(&chronicle.activations[*other], &chronicle.activations[activation])
                    && !was_doubled(&message.agent, earlier.at, *handled_at)
            });
            if let Some((earlier, _, other, handled_at)) = overtaken {
                let on =
                    |activation: ActivationId| &chronicle.lives[chronicle.activations[activation].life].name;
                wrong.push(format!(
                    "{earlier} of {} to {} was handled on {} at {:.3} s, and {id} on {} at {:.3} s before it",
                    chronicle.lives[message.sender].name,
                    message.agent,
                    on(*other),
                    handled_at.as_secs_f64(),
                    on(activation),
                    at.as_secs_f64(),
                ));
            }
            before.push((id, message, activation, at));
        }
        named(&wrong)
    }
}

/// Whether one of two nodes between which `message` has gone had given the other one up since it was sent, until then.
fn lost_its_way(chronicle: &Chronicle, message: &Message, until: Duration) -> bool {
    let lost = |(from, to): &(LifeId, LifeId)| {
        let other = &chronicle.lives[*to].id;
        let losses = &chronicle.lives[*from].losses;
        losses.iter().any(|(node, at)| node == other && (message.at..=until).contains(at))
    };
    message.hops.iter().any(lost)
}

fn end_of(activation: &Activation) -> Duration {
    activation.until.unwrap_or(Duration::MAX)
}

/// Whether these are two of an agent, on two nodes, at one time.
fn live_at_once(one: &Activation, other: &Activation) -> bool {
    one.life != other.life && one.from < end_of(other) && other.from < end_of(one)
}

/// When each agent lived on two nodes at once.
fn doubled(chronicle: &Chronicle) -> BTreeMap<Arc<str>, Vec<(Duration, Duration)>> {
    let mut of: BTreeMap<_, Vec<&Activation>> = BTreeMap::new();
    for activation in &chronicle.activations {
        of.entry(activation.agent.clone()).or_default().push(activation);
    }
    let times = of.into_iter().map(|(agent, activations)| {
        let pairs = activations.iter().enumerate().flat_map(|(number, one)| {
            let others = activations[number + 1..].iter().filter(|other| live_at_once(one, other));
            others.map(|other| (one.from.max(other.from), end_of(one).min(end_of(other))))
        });
        (agent, pairs.collect())
    });
    times.collect()
}
