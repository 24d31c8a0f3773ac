//! At most once: no message is handled twice, whatever connections and nodes do.

use super::{End, Invariant, named};
use crate::chronicle::Chronicle;

/// See the module.
#[derive(Debug)]
pub(super) struct Once;

impl Invariant for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn end(&mut self, _: &End, chronicle: &Chronicle) -> Result<(), String> {
        let mut wrong = Vec::new();
        for (id, message) in chronicle.messages.iter().enumerate() {
            if message.handled.len() > 1 {
                let by = message
                    .handled
                    .iter()
                    .map(|(activation, at)| {
                        let life = chronicle.activations[*activation].life;
                        format!("on {} at {:.3} s", chronicle.lives[life].name, at.as_secs_f64())
                    })
                    .collect::<Vec<_>>();
                wrong.push(format!("{id} to {} was handled {}", message.agent, by.join(" and ")));
            }
        }
        named(&wrong)
    }
}
