//! Erlang/OTP beside Nexus, where it is installed: one module of ours, compiled and run once for all rows.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Plan;

/// The module, in the binary so that an installed one has it.
const MODULE: &str = include_str!("../../../tests/erlang/nexus_bench.erl");
const FILE: &str = "nexus_bench.erl";

/// Erlang's figures by key; see the module.
#[derive(Debug)]
pub(super) struct Erlang(BTreeMap<String, f64>);

impl Erlang {
    /// Measures Erlang with as much as the other contestants.
    ///
    /// # Errors
    /// Why there are no figures: it is not installed, or what it said.
    pub(super) fn measure(plan: &Plan) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("a folder for its module: {error}"))?;
        compile(folder.path())?;
        // A few processes would measure the allocator's pages.
        let processes = plan.live.max(10_000);
        let numbers = [plan.rounds, plan.of(2_000_000), plan.of(100_000), plan.of(2_000), processes]
            .map(|n| n.to_string());
        let mut erl = Command::new("erl");
        // Processes to spare; no shell, no crash dumps.
        erl.args(["+P", "20000000", "-noshell", "-noinput", "-pa"]).arg(folder.path());
        erl.args(["-s", "nexus_bench", "main"]).args(numbers).env("ERL_CRASH_DUMP_BYTES", "0");
        let said = said("erl", &mut erl)?;
        let line = said.lines().last().unwrap_or_default();
        serde_json::from_str(line).map(Self).map_err(|error| format!("erl answered `{line}`: {error}"))
    }

    /// One figure.
    pub(super) fn get(&self, key: &str) -> Option<f64> {
        self.0.get(key).copied()
    }
}

fn compile(folder: &Path) -> Result<(), String> {
    fs::write(folder.join(FILE), MODULE).map_err(|error| format!("{FILE}: {error}"))?;
    said("erlc", Command::new("erlc").arg(FILE).current_dir(folder)).map(drop)
}

/// What a program writes to its standard output.
fn said(name: &str, command: &mut Command) -> Result<String, String> {
    let ended = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!(
                "`{name}` is not installed; on Debian: apt-get install --no-install-recommends erlang-base"
            )
        }
        _ => format!("{name}: {error}"),
    })?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    if ended.status.success() {
        return Ok(text);
    }
    Err(format!("{name} ended with {}: {text}{}", ended.status, String::from_utf8_lossy(&ended.stderr)))
}
