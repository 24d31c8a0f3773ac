//! Every restart is explained in the event log: a child that comes up again went down before, for a reason that is written
//! there, and the counters in the tree say the same as the log.
//!
//! Source: OTP's `supervisor(3)`, "restart": a child is started again because it, or a sibling that its strategy ties it to,
//! ended. What lies under a supervisor that ends, ends with it; its next incarnation counts from zero.

use std::collections::BTreeMap;

use nexus_actors::supervision::ExitReason;
use nexus_actors::telemetry::{Event, EventRecord};
use serde::Deserialize;

use crate::tree::{Entry, join};

/// An event with its place.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Happened {
    /// 1 for the first, without gaps.
    pub seq: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

impl From<&EventRecord> for Happened {
    fn from(record: &EventRecord) -> Self {
        Self { seq: record.seq, event: record.event.clone() }
    }
}

/// What the log says of one child under the present incarnation of its supervisor.
#[derive(Debug, Default)]
struct Child {
    up: bool,
    last_end: Option<ExitReason>,
    restarts: u64,
}

#[derive(Default)]
struct Log {
    children: BTreeMap<(String, String), Child>,
    /// Where each agent is supervised.
    places: BTreeMap<String, String>,
    /// Ends since an agent's last start: of itself or of what supervises it.
    ended: BTreeMap<String, bool>,
    wrong: Vec<String>,
}

/// Checks a whole event log, from a node's first event on, and the tree at its end.
///
/// # Errors
/// The first few restarts without an explanation and counters that differ, and how many there are.
pub fn restarts_explained(events: &[Happened], tree: &[Entry]) -> Result<(), String> {
    let mut log = Log::default();
    for happened in events {
        if let Event::ChildStarted { supervisor, child } | Event::ChildRestarted { supervisor, child, .. } =
            &happened.event
        {
            log.places.insert(child.to_string(), supervisor.to_string());
        }
    }
    for (at, happened) in events.iter().enumerate() {
        if happened.seq != at as u64 + 1 {
            log.wrong.push(format!("event {} stands at place {}: the log has a gap", happened.seq, at + 1));
            break;
        }
        log.take(happened);
    }
    for entry in tree.iter().filter(|entry| !entry.supervisor.is_empty()) {
        let child = log.children.get(&(entry.supervisor.clone(), entry.id.clone()));
        let logged = child.map_or(0, |child| child.restarts);
        if entry.restarts != logged {
            let path = entry.path();
            log.wrong.push(format!("`{path}`: {} restarts in the tree, {logged} in the log", entry.restarts));
        }
    }
    let wrong = log.wrong;
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{} of them, such as\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n")))
}

impl Log {
    fn take(&mut self, happened: &Happened) {
        let seq = happened.seq;
        match &happened.event {
            Event::ChildStarted { supervisor, child } => {
                // A dynamic child that ended for good and came to life again begins anew.
                let new = Child { up: true, ..Child::default() };
                let before = std::mem::replace(self.child(supervisor, child), new);
                if before.up {
                    self.wrong.push(format!("{seq}: `{supervisor}/{child}` started while it was up"));
                }
            }
            Event::ChildExited { supervisor, child, reason }
            | Event::ChildTerminated { supervisor, child, reason, .. }
            | Event::StartFailed { supervisor, child, reason } => {
                let entry = self.child(supervisor, child);
                entry.up = false;
                entry.last_end = Some(reason.clone());
                self.end_below(&join(supervisor, child));
                self.ended.insert(child.to_string(), true);
            }
            Event::ChildRestarted { supervisor, child, restarts, cause, reason } => {
                self.restarted(seq, supervisor, child, *restarts, cause, reason);
            }
            Event::AgentStarted { agent, incarnation, .. } => {
                let explained = self.ended.insert(agent.to_string(), false).unwrap_or(false);
                if *incarnation > 1 && !explained {
                    self.wrong.push(format!("{seq}: incarnation {incarnation} of `{agent}` without an end"));
                }
            }
            _ => {}
        }
    }

    fn restarted(
        &mut self,
        seq: u64,
        supervisor: &str,
        child: &str,
        restarts: u64,
        cause: &str,
        reason: &ExitReason,
    ) {
        let entry = self.child(supervisor, child);
        let was_up = std::mem::replace(&mut entry.up, true);
        entry.restarts += 1;
        let counted = entry.restarts;
        let path = join(supervisor, child);
        if was_up {
            self.wrong.push(format!("{seq}: `{path}` restarted and had not ended"));
        }
        if counted != restarts {
            self.wrong.push(format!("{seq}: `{path}` says restart {restarts}, the log has {counted}"));
        }
        let on_request = *reason == ExitReason::Shutdown(Some("restart on request".into()));
        let caused = self.child(supervisor, cause).last_end.clone();
        if !(caused.as_ref() == Some(reason) || on_request && caused.is_some()) {
            let path = join(supervisor, child);
            self.wrong.push(format!(
                "{seq}: `{path}` restarted because of `{cause}` ({reason}), whose last end was {caused:?}"
            ));
        }
    }

    fn child(&mut self, supervisor: &str, child: &str) -> &mut Child {
        self.children.entry((supervisor.to_owned(), child.to_owned())).or_default()
    }

    /// Everything under the supervisor `path` ended with it. Nothing happens if it is none.
    fn end_below(&mut self, path: &str) {
        let below = format!("{path}/");
        let is_below = |supervisor: &str| supervisor == path || supervisor.starts_with(&below);
        self.children.retain(|(supervisor, _), _| !is_below(supervisor));
        for (agent, supervisor) in &self.places {
            if is_below(supervisor) {
                self.ended.insert(agent.clone(), true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Doctor = fn(&mut Vec<Event>);

    const AGENTS: &str = "nexus/agents.sup";

    fn started(supervisor: &str, child: &str) -> Event {
        Event::ChildStarted { supervisor: supervisor.into(), child: child.into() }
    }

    fn exited(supervisor: &str, child: &str) -> Event {
        Event::ChildExited { supervisor: supervisor.into(), child: child.into(), reason: ExitReason::Killed }
    }

    fn restarted(supervisor: &str, child: &str, restarts: u64) -> Event {
        Event::ChildRestarted {
            supervisor: supervisor.into(),
            child: child.into(),
            restarts,
            cause: child.into(),
            reason: ExitReason::Killed,
        }
    }

    fn came(agent: &str, incarnation: u64) -> Event {
        Event::AgentStarted { agent: agent.into(), behavior: "kv".into(), incarnation }
    }

    /// An agent is killed, then its supervisor.
    fn story() -> Vec<Event> {
        vec![
            came("kv/a", 1),
            started(AGENTS, "kv/a"),
            started("nexus", "agents.sup"),
            exited(AGENTS, "kv/a"),
            came("kv/a", 2),
            restarted(AGENTS, "kv/a", 1),
            exited("nexus", "agents.sup"),
            came("kv/a", 3),
            started(AGENTS, "kv/a"),
            restarted("nexus", "agents.sup", 1),
        ]
    }

    fn log(events: Vec<Event>) -> Vec<Happened> {
        events.into_iter().zip(1..).map(|(event, seq)| Happened { seq, event }).collect()
    }

    fn tree() -> Vec<Entry> {
        let entry = |supervisor: &str, id: &str, is_supervisor, restarts| Entry {
            supervisor: supervisor.into(),
            id: id.into(),
            is_supervisor,
            is_agent: !is_supervisor,
            running: true,
            restarts,
        };
        vec![
            entry("", "nexus", true, 0),
            entry("nexus", "agents.sup", true, 1),
            entry(AGENTS, "kv/a", false, 0),
        ]
    }

    /// Goal: an honest log passes, and leaving out, adding or changing one event of it is found.
    #[test]
    fn fires_on_a_doctored_log() {
        assert_eq!(restarts_explained(&log(story()), &tree()), Ok(()));
        let doctored: [(&str, Doctor); 5] = [
            ("`nexus/agents.sup/kv/a` restarted and had not ended", |story| drop(story.remove(3))),
            ("incarnation 3 of `kv/a` without an end", |story| drop(story.remove(6))),
            ("says restart 2, the log has 1", |story| story[5] = restarted(AGENTS, "kv/a", 2)),
            ("1 restarts in the tree, 0 in the log", |story| drop(story.pop())),
            ("whose last end was Some(Normal)", |story| {
                let (supervisor, child) = (AGENTS.into(), "kv/a".into());
                story[3] = Event::ChildExited { supervisor, child, reason: ExitReason::Normal };
            }),
        ];
        for (expected, doctor) in doctored {
            let mut story = story();
            doctor(&mut story);
            let error = restarts_explained(&log(story), &tree()).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    /// Goal: a gap in the log and a counter in the tree that is off by one are found.
    #[test]
    fn fires_on_gaps_and_counters() {
        let mut gap = log(story());
        gap.remove(3);
        assert!(restarts_explained(&gap, &tree()).unwrap_err().contains("the log has a gap"));
        let mut tree = tree();
        tree[2].restarts = 1;
        let error = restarts_explained(&log(story()), &tree).unwrap_err();
        assert!(error.contains("`nexus/agents.sup/kv/a`: 1 restarts in the tree, 0 in the log"), "{error}");
    }
}
