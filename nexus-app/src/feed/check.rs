//! A feed's configuration looked at before it starts.

use super::config::{FeedConfig, Replay};
use super::error::ConfigProblem;
use super::mapping::check_mapping;
use super::source::check_source;
use crate::path::Path;

/// Every mistake in `config` that can be seen without starting it; with the `header` of its source also the columns that the
/// source lacks.
#[must_use]
pub fn check_feed(config: &FeedConfig, header: Option<&[String]>) -> Vec<ConfigProblem> {
    let mut problems = check_source(config);
    problems.extend(check_mapping(config, header));
    problems.extend(check_times(config));
    problems
}

/// Replay at the records' own time, and reordering, need a time. A feed without it runs, but not as it says.
fn check_times(config: &FeedConfig) -> Vec<ConfigProblem> {
    let emit = |at| Path::root().key("emit").index(at).key("at");
    if config.emit.is_empty() || config.emit.iter().any(|emit| emit.at.is_some()) {
        return Vec::new();
    }
    let problem = |key, purpose| {
        let message = format!("`{key}` {purpose}, but no emit has one (`at`)");
        ConfigProblem::new("no-time", Path::root().key(key), message)
            .help("give the emits their time, such as `at = { date = \"{date}\" }`")
            .unless((0..config.emit.len()).map(emit))
    };
    let replay = matches!(config.replay, Replay::Speed(_));
    let replay = replay.then(|| problem("replay", "follows the records' time"));
    let reorder = config.reorder.map(|_| problem("reorder", "puts requests in order of time"));
    replay.into_iter().chain(reorder).collect()
}
