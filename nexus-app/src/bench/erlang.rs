//! Erlang/OTP beside Nexus, where it is installed: modules of ours, compiled and run once for all rows that use them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Plan;
use super::remote::free_port;
use super::remote::load::Load;

/// The modules, in the binary so that an installed one has them.
const LOCAL: [&str; 2] = ["nexus_bench.erl", include_str!("../../../tests/erlang/nexus_bench.erl")];
const REMOTE: [&str; 2] =
    ["nexus_bench_remote.erl", include_str!("../../../tests/erlang/nexus_bench_remote.erl")];

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
        compile(folder.path(), LOCAL)?;
        // A few processes would measure the allocator's pages.
        let processes = plan.live.max(10_000);
        let numbers = [plan.rounds, plan.of(2_000_000), plan.of(100_000), plan.of(2_000), processes]
            .map(|n| n.to_string());
        let mut erl = Command::new("erl");
        // Processes to spare; no shell, no crash dumps.
        erl.args(["+P", "20000000", "-noshell", "-noinput", "-pa"]).arg(folder.path());
        erl.args(["-s", "nexus_bench", "main"]).args(numbers).env("ERL_CRASH_DUMP_BYTES", "0");
        Self::of(&said("erl", &mut erl)?)
    }

    /// Measures two nodes of Erlang distribution over loopback, without its port mapper.
    ///
    /// # Errors
    /// Those of [`Self::measure`].
    pub(super) fn measure_remote(plan: &Plan, load: Load) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("a folder for its module: {error}"))?;
        compile(folder.path(), REMOTE)?;
        let port = free_port().map_err(|error| format!("a port: {error}"))?.to_string();
        let cookie = format!("nexus{}", std::process::id());
        let node = |name: &str| {
            let mut erl = Command::new("erl");
            erl.args(["-name", &format!("{name}@127.0.0.1"), "-setcookie", &cookie]);
            erl.args(["-start_epmd", "false", "-erl_epmd_port", &port, "-noshell", "-noinput", "-pa"]);
            erl.arg(folder.path()).env("ERL_CRASH_DUMP_BYTES", "0");
            erl
        };
        let mut far = node("far");
        far.args(["-s", "nexus_bench_remote", "far"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut far = Ended(far.spawn().map_err(|error| format!("erl: {error}"))?);
        let mut ready = String::new();
        let answers = far.0.stdout.take().ok_or("erl has no output")?;
        BufReader::new(answers).read_line(&mut ready).map_err(|error| format!("erl: {error}"))?;
        let mut near = node("near");
        near.args(["-dist_listen", "false", "-s", "nexus_bench_remote", "near"]);
        near.args([plan.rounds, load.tells, load.asks].map(|number| number.to_string()));
        Self::of(&said("erl", &mut near)?)
    }

    fn of(said: &str) -> Result<Self, String> {
        let line = said.lines().last().unwrap_or_default();
        serde_json::from_str(line).map(Self).map_err(|error| format!("erl answered `{line}`: {error}"))
    }

    /// One figure.
    pub(super) fn get(&self, key: &str) -> Option<f64> {
        self.0.get(key).copied()
    }
}

fn compile(folder: &Path, [file, module]: [&str; 2]) -> Result<(), String> {
    fs::write(folder.join(file), module).map_err(|error| format!("{file}: {error}"))?;
    said("erlc", Command::new("erlc").arg(file).current_dir(folder)).map(drop)
}

/// A process that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It ends by itself when the other node does; this is for the case that there was none.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
