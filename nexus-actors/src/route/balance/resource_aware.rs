//! The lowest score of CPU, memory and queue.

use rand::RngCore;

use super::{Gauge, Members, Strategy, least};

/// What each reading weighs; the sum is 1.
const CPU: f32 = 0.4;
const MEMORY: f32 = 0.3;
const QUEUE: f32 = 0.3;

/// Serves with the member of the lowest score `0.4 · cpu + 0.3 · memory + 0.3 · queue`, each 0 to 1; among equals, each in turn.
///
/// - `cpu`: the share of time the agent is busy with messages, by the utilization law `U = X · S` (Denning and Buzen, "The
///   Operational Analysis of Queueing Network Models", 1978): messages handled a second, over the last 100 ms or more, times the
///   mean time one takes, which the host measures with one message in 64. Waiting inside a handler counts as busy: nobody else
///   is served meanwhile.
/// - `memory`: the share of what it may use. Of an agent on this node nobody measures that, so it is unknown.
/// - `queue`: messages in the inbox over its limit.
///
/// A reading that is unknown is left out and the others' weights are scaled up to a sum of 1: a departure from the source, whose
/// agents all tell their memory.
#[derive(Debug)]
pub(super) struct ResourceAware;

impl Strategy for ResourceAware {
    fn name(&self) -> &'static str {
        "resource_aware"
    }

    fn about(&self) -> &'static str {
        "The lowest score of CPU (0.4), memory (0.3) and queue (0.3), each as far as it is known."
    }

    fn choose(&self, members: &dyn Members, turn: u64, _: &mut dyn RngCore) -> Option<usize> {
        least(members, turn, |gauge| f64::from(score(gauge)))
    }
}

/// 0 is idle, 1 is used up.
pub(super) fn score(gauge: &Gauge) -> f32 {
    let (mut sum, mut weights) = (QUEUE * gauge.fill(), QUEUE);
    for (weight, reading) in [(CPU, gauge.cpu()), (MEMORY, gauge.memory())] {
        if let Some(reading) = reading {
            sum += weight * reading;
            weights += weight;
        }
    }
    sum / weights
}
