//! The registry is complete and single soon after a heal: every node finds every agent that runs where it runs; and at the end whoever asks
//! for an agent reaches the same one.
//!
//! The bound is that of `docs/design/0012`: 5 s with membership in agreement within half a second, so 4.5 s after all agree. Others than
//! the name's owner may answer from their cache for 30 s where the agent was before it moved: from there letters are passed on.

use std::time::Duration;

use nexus_cluster::NodeId;

use super::{End, Invariant, Look, Survey, named};
use crate::chronicle::Chronicle;

/// How long the cluster has been one before the registry is asked.
pub const SOON: Duration = Duration::from_millis(4_500);

/// How long an answer may be kept.
const CACHED: Duration = Duration::from_secs(31);

/// See the module.
#[derive(Debug)]
pub(super) struct Registry;

impl Invariant for Registry {
    fn name(&self) -> &'static str {
        "registry"
    }

    fn look(&mut self, look: &Look, chronicle: &Chronicle) -> Result<(), String> {
        match &look.survey {
            // Something came between: what was found means nothing.
            Some(survey) if survey.steady_since == look.steady_since => surveyed(survey, chronicle),
            _ => Ok(()),
        }
    }

    fn end(&mut self, end: &End, _: &Chronicle) -> Result<(), String> {
        let mut wrong = Vec::new();
        let Some((first, rest)) =
            end.nodes.iter().collect::<Vec<_>>().split_first().map(|(first, rest)| (*first, rest.to_vec()))
        else {
            return Err("no node is left".to_owned());
        };
        for (agent, said) in &first.1.lists {
            if let Err(error) = said {
                wrong.push(format!("{agent} does not answer n{}: {error}", first.0));
            }
            for (place, last) in &rest {
                let other = &last.lists[agent];
                if other != said {
                    let count =
                        |said: &Result<Vec<_>, String>| said.as_ref().map(Vec::len).map_err(Clone::clone);
                    wrong.push(format!(
                        "{agent} says {:?} to n{} and {:?} to n{place}",
                        count(said),
                        first.0,
                        count(other)
                    ));
                }
            }
        }
        named(&wrong)
    }
}

fn surveyed(survey: &Survey, chronicle: &Chronicle) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (agent, activation) in &survey.running {
        // One that has moved meanwhile may be found in either place.
        let still = chronicle.running().any(|(name, ids)| name == agent && ids == [*activation]);
        let host = &chronicle.lives[chronicle.activations[*activation].life].id;
        for (place, found) in survey.found.get(agent).into_iter().flatten().filter(|_| still) {
            let was_there = |node: &NodeId| {
                chronicle.activations.iter().any(|was| {
                    let ended = was.until.is_some_and(|until| until + CACHED > survey.at);
                    was.agent == *agent && ended && chronicle.lives[was.life].id == *node
                })
            };
            let right = match found {
                Ok(Some(node)) if survey.owners.get(agent) != Some(place) => node == host || was_there(node),
                Ok(Some(node)) => node == host,
                _ => false,
            };
            if !right {
                wrong.push(format!("{agent} runs on {host}, and n{place} finds {found:?}"));
            }
        }
    }
    named(&wrong)
}
