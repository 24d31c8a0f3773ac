//! By chance, in proportion to the speed of answers.

use rand::{Rng as _, RngCore};

use super::{Gauge, Members, Strategy, next_in_turn};

/// Draws that may fall on a member that takes nothing, before the next in turn is taken instead.
const DRAWS_MAX: usize = 4;

/// Serves with a member drawn by chance, each weighing `1 / (mean time its answers take)`: one that is twice as fast gets twice as
/// much. The mean is that of the asks through the group (see the meter); sends are distributed by it, and do not change it.
///
/// Nobody's weight is 0, so one that was slow is asked now and then and can recover. One that has not been asked yet weighs as
/// much as the fastest, so that it is: a departure from the source, where it would weigh as much as one that takes 1.
#[derive(Debug)]
pub(super) struct Weighted;

impl Strategy for Weighted {
    fn name(&self) -> &'static str {
        "weighted"
    }

    fn about(&self) -> &'static str {
        "By chance, the faster its answers to asks the more: for agents of uneven speed."
    }

    #[expect(clippy::cast_precision_loss, reason = "a number of members, times a weight")]
    fn choose(&self, members: &dyn Members, turn: u64, chance: &mut dyn RngCore) -> Option<usize> {
        let gauges = members.all();
        let (mut sum, mut fastest, mut unknown) = (0.0, 0.0f32, 0usize);
        for gauge in gauges.iter().filter(|gauge| !gauge.is_full()) {
            match gauge.speed() {
                Some(speed) => (sum, fastest) = (sum + speed, fastest.max(speed)),
                None => unknown += 1,
            }
        }
        let newcomer = if fastest > 0.0 { fastest } else { 1.0 };
        let total = sum + newcomer * unknown as f32;
        if total > 0.0 {
            for _ in 0..DRAWS_MAX {
                let drawn = total * chance.random::<f32>();
                if let Some(at) = find(gauges, drawn, newcomer).filter(|at| members.takes(*at)) {
                    return Some(at);
                }
            }
        }
        next_in_turn(members, turn)
    }
}

/// Whose part of the sum of weights `drawn` falls into.
fn find(gauges: &[Gauge], mut drawn: f32, newcomer: f32) -> Option<usize> {
    let mut last = None;
    for (at, gauge) in gauges.iter().enumerate().filter(|(_, gauge)| !gauge.is_full()) {
        last = Some(at);
        drawn -= gauge.speed().unwrap_or(newcomer);
        if drawn < 0.0 {
            return last;
        }
    }
    // Rounding, or a reading that changed between the two looks.
    last
}
