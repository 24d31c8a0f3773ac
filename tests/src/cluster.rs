//! A cluster of real processes, as `nexus cluster up` starts it.

use std::path::Path;
use std::time::Duration;

use nexus_app::cli::runtime_file::{self, RuntimeFile};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::http::Endpoint;
use crate::process::{Ended, Process, Sandbox};
use crate::wait::until;

/// How long nodes may take to find each other, and to agree that one is gone, on a busy machine in a debug build.
pub const AGREE_MAX: Duration = Duration::from_secs(60);

/// Several nodes of one topology, on free ports. Killed when dropped.
#[derive(Debug)]
pub struct LocalCluster {
    /// Where they run.
    pub sandbox: Sandbox,
    /// The command.
    pub up: Process,
}

impl LocalCluster {
    /// `nexus cluster up COUNT`, all nodes ready. `topology` is the text of `air.toml`, so that they are `air-1`, `air-2`, …
    ///
    /// # Panics
    /// If they do not get ready.
    #[must_use]
    pub fn start(binary: &Path, count: usize, topology: &str, arguments: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let file = sandbox.write("air.toml", format!("{topology}{CLUSTER}"));
        let mut command = sandbox.command(binary);
        command.args(["cluster", "up", &count.to_string()]).arg(file).args(arguments);
        let up = Process::spawn(&mut command);
        up.prints(&format!("all {count} nodes are ready"), AGREE_MAX);
        Self { sandbox, up }
    }

    /// The nodes that run now, by name.
    ///
    /// # Panics
    /// If their files cannot be read.
    #[must_use]
    pub fn running(&self) -> Vec<RuntimeFile> {
        let dir = runtime_file::directory(self.sandbox.path("").to_str());
        runtime_file::find(&dir).expect("the sandbox is ours")
    }

    /// The endpoint of a node that runs.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn endpoint(&self, node: &str) -> Endpoint {
        until(node, AGREE_MAX, || {
            let entry = self.running().into_iter().find(|entry| entry.node == node)?;
            let address = entry.url.strip_prefix("http://")?.parse().ok()?;
            Some(Endpoint { address, token: entry.token.map(|token| token.expose().to_owned()) })
        })
    }

    /// Kills a node at once.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&self, node: &str) {
        self.signal(node, Signal::KILL);
    }

    /// Sends a signal to a node.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, node: &str, signal: Signal) {
        let entry = self.running().into_iter().find(|entry| entry.node == node).expect("it runs");
        kill_process(pid(&entry), signal).expect("it is our child's child");
    }

    /// Waits until `node` takes the member `name` to be in `state`, and gives what it says of it.
    ///
    /// # Panics
    /// If that does not happen in time.
    pub fn agrees(&self, node: &str, name: &str, state: &str) -> Value {
        let endpoint = self.endpoint(node);
        until(&format!("{node} takes {name} to be {state}"), AGREE_MAX, || {
            let view = endpoint.json("/cluster/members");
            let member = view["members"].as_array()?.iter().find(|one| one["name"] == name)?.clone();
            (member["state"] == state).then_some(member)
        })
    }

    /// Stops all nodes in order.
    ///
    /// # Panics
    /// If that takes too long.
    #[must_use]
    pub fn stop(self) -> Ended {
        self.up.signal(Signal::INT);
        self.up.wait(AGREE_MAX)
    }
}

/// Ends a topology: everything on free ports, and as patient as processes of one machine need.
const CLUSTER: &str = "\n[debug]\nlisten = \"127.0.0.1:0\"\nallow_control = true\n\
                       [cluster]\nlisten = \"127.0.0.1:0\"\npreset = \"local\"\n";

/// The process of a runtime file.
///
/// # Panics
/// If its number is none.
#[must_use]
pub fn pid(entry: &RuntimeFile) -> Pid {
    i32::try_from(entry.pid).ok().and_then(Pid::from_raw).expect("a process has a number")
}

/// Whether the process is there.
#[must_use]
pub fn lives(entry: &RuntimeFile) -> bool {
    test_kill_process(pid(entry)).is_ok()
}
