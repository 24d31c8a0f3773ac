//! Every message is accounted for, over all nodes.
//!
//! On each node that runs: `sent = processed + rejected + dead-lettered + queued`, with nothing queued at rest. Over all lives, messages
//! that were sent are counted by the node that had their agent, or by one that could not pass them on:
//!
//! - not fewer: every message is counted once at least, unless it was in the links of a node that crashed, or the sender had not sent it
//!   yet;
//! - not more: one is counted twice only if its sender's node gave it up as lost, or crashed, before it was confirmed.
//!
//! Each dead letter is also found among the dead letters.

use super::{End, Invariant};
use crate::chronicle::{Chronicle, Heard};

/// See the module.
#[derive(Debug)]
pub(super) struct Accounting;

impl Invariant for Accounting {
    fn name(&self) -> &'static str {
        "accounting"
    }

    fn end(&mut self, _: &End, chronicle: &Chronicle) -> Result<(), String> {
        let (mut counted, mut lost, mut given_up, mut in_links) = (0, 0, 0, 0);
        for life in &chronicle.lives {
            let tally = life.books.tally;
            let ends = tally.processed + tally.rejected + tally.dead_lettered + tally.queued;
            if tally.sent != ends {
                return Err(format!(
                    "{} has sent {} and accounts for {ends}: {tally:?}",
                    life.name, tally.sent
                ));
            }
            let (runs, dead) = (life.until.is_none(), life.books.dead.len() as u64);
            if runs && tally.queued > 0 {
                return Err(format!("{} messages still wait on {}", tally.queued, life.name));
            }
            if tally.dead_lettered != dead {
                return Err(format!(
                    "{} counts {} dead letters and has {dead}",
                    life.name, tally.dead_lettered
                ));
            }
            counted += tally.sent;
            given_up += life.books.given_up;
            if runs {
                in_links += life.books.in_links;
            } else {
                lost += life.books.in_links;
            }
        }
        if in_links > 0 {
            return Err(format!("{in_links} messages are still on their way"));
        }
        // Whoever waited for room when it crashed, or at the end, had not sent it.
        let unsent = |heard: &Heard| matches!(heard, Heard::Nothing);
        let waiting =
            chronicle.messages.iter().filter(|message| unsent(&message.heard) && message.handled.is_empty());
        let (sent, waiting) = (chronicle.messages.len() as u64, waiting.count() as u64);
        let crashed = chronicle.lives.iter().any(|life| life.until.is_some());
        let fewest = sent.saturating_sub(lost + if crashed { waiting.min(1) } else { 0 });
        let most = sent + given_up + lost;
        if !(fewest..=most).contains(&counted) {
            return Err(format!("{sent} were sent, and {counted} are counted, not {fewest} to {most}"));
        }
        Ok(())
    }
}
