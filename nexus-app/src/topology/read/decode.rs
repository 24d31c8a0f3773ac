//! The last steps to plain data: serde, then garde.

use garde::Validate;
use serde_json::Value;

use super::findings::{Finding, Findings};
use super::node::Node;
use crate::path::{Path, Step};
use crate::topology::Topology;
use crate::topology::model::{AgentConfig, SupervisorConfig};

/// More rounds than a file has keys that only serde can refuse; a bound, not a tuning knob.
const ROUNDS_MAX: usize = 256;

/// Decodes what [`shape`](super::shape()) left. What serde or garde refuse all the same is reported and left out; `None` if a
/// topology cannot be made without it.
pub(crate) fn decode(mut value: Value, root: &Node, findings: &mut Findings<'_>) -> Option<Topology> {
    for _ in 0..ROUNDS_MAX {
        let error = match serde_path_to_error::deserialize::<_, Topology>(value.clone()) {
            Ok(mut topology) => {
                show_args_as_written(&mut topology, root);
                validate(&topology, findings);
                return Some(topology);
            }
            Err(error) => error,
        };
        let path = Path::of_serde(error.path());
        let message = format!("`{path}`: {}", error.inner());
        findings.push(Finding::new("invalid-value", path.clone(), message));
        findings.taint(path.clone());
        if !remove(&mut value, &path) {
            return None;
        }
    }
    None
}

/// Removes the key at `path`. False if there is none, as when the path ends in an array.
fn remove(value: &mut Value, path: &Path) -> bool {
    let Some((Step::Key(key), parents)) = path.steps().split_last() else { return false };
    let parent = parents.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    });
    parent.and_then(Value::as_object_mut).is_some_and(|table| table.shift_remove(key).is_some())
}

/// Checks the bounds that JSON Schema has no words for, such as those of lengths of time.
fn validate(topology: &Topology, findings: &mut Findings<'_>) {
    let Err(report) = topology.validate() else { return };
    for (path, error) in report.iter() {
        let path = Path::of_text(&path.to_string());
        let message = format!("`{path}`: {error}");
        findings.push(Finding::new("out-of-range", path.clone(), message));
        findings.taint(path);
    }
}

/// Arguments are shown with `${VARIABLE}` as the file has it, since what it stands for may be secret.
fn show_args_as_written(topology: &mut Topology, root: &Node) {
    fn agents(agents: &mut [AgentConfig], path: &Path, root: &Node) {
        for (index, agent) in agents.iter_mut().enumerate() {
            let path = path.index(index).key("args");
            if let Some(Value::Object(shown)) = root.get(&path).map(|node| node.to_json(false)) {
                agent.args.show_as(shown);
            }
        }
    }
    fn supervisors(list: &mut [SupervisorConfig], path: &Path, root: &Node) {
        for (index, supervisor) in list.iter_mut().enumerate() {
            let path = path.index(index);
            agents(&mut supervisor.agent, &path.key("agent"), root);
            supervisors(&mut supervisor.supervisor, &path.key("supervisor"), root);
        }
    }
    agents(&mut topology.agent, &Path::root().key("agent"), root);
    supervisors(&mut topology.supervisor, &Path::root().key("supervisor"), root);
}
