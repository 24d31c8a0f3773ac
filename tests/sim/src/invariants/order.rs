//! Per-pair order: what one sender sends to one agent is handled in that order, wherever the agent lives by then. Some may be missing.
//!
//! While an agent lives on both sides of a partition, each of the two has an order of its own; and when they become one, what was sent to
//! the one that ends follows. Where one of two nodes gives the other one up as lost, what had gone from one to the other may be handled
//! after what was sent later, and after what waited behind it until then: the fence by way of a home that is lost is not waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nexus_cluster::NodeId;

use super::{End, Invariant, named};
use crate::chronicle::{Activation, ActivationId, Chronicle, MessageId};

/// How long after a loss that is handled which had waited for the node that is lost.
const RELEASED_WITHIN: Duration = Duration::from_millis(2);

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
        let came_from = |node: &NodeId, activation: ActivationId| {
            let Activation { agent, life, from, .. } = &chronicle.activations[activation];
            let before = chronicle.activations.iter().filter(|one| one.agent == *agent && one.from <= *from);
            before.map(|one| one.life).any(|there| there != *life && chronicle.lives[there].id == *node)
        };
        // The last message of each pair that an activation has handled so far, in the order in which they were sent.
        let mut last: BTreeMap<_, BTreeMap<ActivationId, (MessageId, Duration)>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for (id, message) in (0..).zip(&chronicle.messages) {
            let Some(&(activation, at)) = message.handled.first() else { continue };
            let before = last.entry((message.sender, &message.agent)).or_default();
            let overtaken = before.iter().find(|(other, (earlier, handled_at))| {
                let sent_at = chronicle.messages[*earlier as usize].at;
                let lost = |(node, lost): &(NodeId, Duration)| {
                    // Until then it waited for what had gone by way of that node: one that had the agent, or passed on what came for it.
                    let waited = (message.at..=at).contains(lost);
                    let released = || at - *lost <= RELEASED_WITHIN || came_from(node, activation);
                    (sent_at..=message.at).contains(lost) || (waited && released())
                };
                *handled_at > at
                    && !chronicle.lives[message.sender].losses.iter().any(lost)
                    && !live_at_once(&chronicle.activations[**other], &chronicle.activations[activation])
                    && !was_doubled(&message.agent, sent_at, *handled_at)
            });
            if let Some((other, (earlier, handled_at))) = overtaken {
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
            let latest = before.entry(activation).or_insert((id, at));
            if at >= latest.1 {
                *latest = (id, at);
            }
        }
        named(&wrong)
    }
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
