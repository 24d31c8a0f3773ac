//! Parts of rows in processes of their own: a process that has done nothing else has clean memory and CPU time.

use std::process::{Command, Stdio};

use super::{BenchError, Measures, Part, Plan, remote_rows, rows};

/// How much of what a failed child said is repeated.
const SAID_MAX: usize = 2_000;

/// Measures `part` in another process of this binary.
pub(super) fn measure(part: &'static str, plan: &Plan) -> Result<Measures, BenchError> {
    let failed = |reason: String| BenchError::Child { part: part.to_owned(), reason };
    let binary = std::env::current_exe().map_err(BenchError::System)?;
    let plan = serde_json::to_string(plan).expect("a plan is plain data");
    let ended = Command::new(binary)
        .args(["bench", "--part", part, "--plan", &plan])
        .stdin(Stdio::null())
        .output()
        .map_err(BenchError::System)?;
    let said = String::from_utf8_lossy(&ended.stderr);
    if !ended.status.success() {
        let tail = said.len().saturating_sub(SAID_MAX);
        let tail = (tail..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(said.len());
        return Err(failed(format!("{}: {}", ended.status, said[tail..].trim())));
    }
    serde_json::from_slice(&ended.stdout).map_err(|error| failed(format!("its answer: {error}")))
}

/// What a child does: measures the part called `name` and returns its figures. `None` if no row has such a part.
pub(crate) fn run_part(name: &str, plan: &Plan) -> Option<Result<Measures, BenchError>> {
    let all = rows().iter().chain(remote_rows());
    let part: &Part = all.flat_map(|row| row.parts).find(|part| part.name == name)?;
    Some((part.measure)(plan))
}
