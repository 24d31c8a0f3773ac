//! What an agent has, it keeps: over sleep, over crashes of its behavior where it is stored, and over crashes of its node what was
//! answered under each-update.

use std::collections::{BTreeMap, BTreeSet};

use super::{End, Invariant, named};
use crate::chronicle::{Activation, Chronicle, Heard, MessageId};

/// See the module.
#[derive(Debug)]
pub(super) struct Kept;

impl Invariant for Kept {
    fn name(&self) -> &'static str {
        "kept"
    }

    fn end(&mut self, _: &End, chronicle: &Chronicle) -> Result<(), String> {
        let mut wrong = Vec::new();
        let mut before: BTreeMap<_, &Activation> = BTreeMap::new();
        for activation in &chronicle.activations {
            let place = chronicle.lives[activation.life].place;
            if let Some(earlier) = before.insert((place, activation.agent.clone()), activation)
                && let Some(missing) = missing(earlier, activation, chronicle)
            {
                wrong.push(missing);
            }
        }
        named(&wrong)
    }
}

/// What the later of two activations on one node lacks.
fn missing(earlier: &Activation, later: &Activation, chronicle: &Chronicle) -> Option<String> {
    let stored = earlier.agent.starts_with("each/");
    let slept = earlier.life == later.life && !earlier.crashed;
    let answered = |id: &&MessageId| chronicle.messages[**id as usize].heard == Heard::Done;
    let must: BTreeSet<_> = match (slept, stored) {
        (true, _) => earlier.has.iter().copied().collect(),
        (false, true) => earlier.has.iter().filter(answered).copied().collect(),
        (false, false) => return None,
    };
    let has: BTreeSet<_> = later.began_with.iter().copied().collect();
    let lacks: Vec<_> = must.difference(&has).collect();
    if lacks.is_empty() {
        return None;
    }
    let (agent, at) = (&later.agent, later.from.as_secs_f64());
    Some(format!("{agent} began at {at:.3} s on {} without {lacks:?}", chronicle.lives[later.life].name))
}
