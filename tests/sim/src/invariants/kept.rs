//! What an agent has, it keeps: over sleep, over moves, over the merge after a heal, and, where it is stored, over crashes of its behavior
//! and of its node what was answered under each-update.
//!
//! At the end each agent must have every message that was handled by it, except those that were on a node when that crashed, or in a
//! behavior when that failed, and are nowhere else. Of an agent under each-update what was answered with success is excepted from that, even if it
//! was started elsewhere while its node was gone: what that node has stored is brought together with what the agent has become.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{End, Invariant, named};
use crate::chronicle::{Activation, Chronicle, Heard, LifeId, MessageId};

/// See the module.
#[derive(Debug)]
pub(super) struct Kept;

impl Invariant for Kept {
    fn name(&self) -> &'static str {
        "kept"
    }

    fn end(&mut self, end: &End, chronicle: &Chronicle) -> Result<(), String> {
        let mut wrong = Vec::new();
        let lost = lost(chronicle);
        let mut handled: BTreeMap<&Arc<str>, BTreeSet<MessageId>> = BTreeMap::new();
        for (id, message) in
            chronicle.messages.iter().enumerate().filter(|(_, message)| !message.handled.is_empty())
        {
            handled.entry(&message.agent).or_default().insert(id as MessageId);
        }
        let said =
            |agent: &Arc<str>| end.nodes.values().find_map(|last| last.lists.get(agent)?.as_ref().ok());
        for (agent, handled) in handled {
            // One that does not answer is the registry's business.
            let Some(has) = said(agent) else { continue };
            let has: BTreeSet<_> = has.iter().copied().collect();
            let missing: Vec<_> =
                handled.iter().filter(|id| !has.contains(id) && !lost.contains(id)).collect();
            if !missing.is_empty() {
                let (count, first) = (missing.len(), &missing[..missing.len().min(5)]);
                wrong
                    .push(format!("{agent} has not {count} of {} that it handled: {first:?}", handled.len()));
            }
        }
        named(&wrong)
    }
}

/// What may be gone: what was nowhere but on a node that crashed, or in a behavior that failed.
fn lost(chronicle: &Chronicle) -> BTreeSet<MessageId> {
    let mut lost = BTreeSet::new();
    for (at, life) in
        chronicle.lives.iter().enumerate().filter_map(|(life, known)| Some((known.until?, life)))
    {
        let here = chronicle.activations.iter().filter(|activation| activation.life == life);
        for activation in here {
            lost.extend(gone(chronicle, activation, at, Some(life)));
        }
    }
    for activation in chronicle.activations.iter().filter(|activation| activation.crashed) {
        let at = activation.until.unwrap_or(Duration::MAX);
        lost.extend(gone(chronicle, activation, at, None));
    }
    lost
}

/// What the activation had handled and is gone with it.
fn gone<'a>(
    chronicle: &'a Chronicle,
    activation: &'a Activation,
    at: Duration,
    life: Option<LifeId>,
) -> impl Iterator<Item = MessageId> + 'a {
    let stored = activation.agent.starts_with("each/");
    // Others that had taken it over by then, and are on another node that lives.
    let elsewhere = chronicle.activations.iter().filter(move |other| {
        let lives = chronicle.lives[other.life].until.is_none_or(|until| until > at);
        let holds = other.from <= at && !other.moved;
        lives && holds && other.agent == activation.agent && life.is_some_and(|life| other.life != life)
    });
    let elsewhere: BTreeSet<MessageId> = elsewhere.flat_map(|other| other.has.iter().copied()).collect();
    activation.has.iter().copied().filter(move |id| {
        let answered = chronicle.messages[*id as usize].heard == Heard::Done;
        let safe = stored && answered;
        !safe && !elsewhere.contains(id)
    })
}
