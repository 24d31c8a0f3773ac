//! The `nexus` binary as a process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{await_line, end};

/// The token of every node here.
const TOKEN: &str = "a-token-for-the-browser-tests";

/// A running node with the airspace of the first week. Stopped in order when it is dropped.
#[derive(Debug)]
pub struct NodeProcess {
    binary: PathBuf,
    child: Child,
    url: String,
    // Holds the topology and the runtime files.
    directory: TempDir,
}

impl NodeProcess {
    /// Starts a node from `binary` that lets itself be controlled, or not.
    #[must_use]
    pub fn start(binary: &Path, allow_control: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::start_at(binary, directory, "127.0.0.1:0", allow_control)
    }

    /// Kills it at once and starts it again at the same address with the same token.
    #[must_use]
    pub fn kill_and_start_again(self, meanwhile: impl FnOnce()) -> Self {
        let address = self.url.trim_start_matches("http://").to_owned();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let binary = self.binary.clone();
        signal(&self.child, Signal::KILL);
        drop(self);
        meanwhile();
        Self::start_at(&binary, directory, &address, false)
    }

    fn start_at(binary: &Path, directory: TempDir, listen: &str, allow_control: bool) -> Self {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let text = std::fs::read_to_string(config.join("airspace.toml")).expect("the airspace topology");
        let data = config.join("data").canonicalize().expect("the week's records");
        let text = text.replace("source = \"data/", &format!("source = \"{}/", data.display()));
        let debug = format!(
            "\n[debug]\nlisten = \"{listen}\"\ntoken = \"{TOKEN}\"\nallow_control = {allow_control}\n"
        );
        let topology = directory.path().join("airspace.toml");
        std::fs::write(&topology, text + &debug).expect("a writable temporary directory");
        let child = Command::new(binary)
            .args(["run".as_ref(), topology.as_os_str()])
            .env("XDG_RUNTIME_DIR", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the nexus binary starts");
        // From here on it ends with its owner, whatever happens.
        let mut node = Self { binary: binary.to_owned(), child, url: String::new(), directory };
        let stderr = node.child.stderr.take().expect("it is piped");
        // Its log is JSON, because nobody watches it on a terminal.
        node.url = await_line(stderr, "the node", |line| {
            let record: serde_json::Value = serde_json::from_str(line).ok()?;
            (record["message"] == "node is up").then(|| record["url"].as_str().map(str::to_owned))?
        });
        node
    }

    /// The page's address, the token in its fragment.
    #[must_use]
    pub fn page(&self) -> String {
        format!("{}/#token={TOKEN}", self.url)
    }

    /// The page's address without the token.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.url
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> &'static str {
        TOKEN
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        signal(&self.child, Signal::TERM);
        end(&mut self.child, Duration::from_secs(10));
        let _ = self.directory.path();
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has a number");
    // Fails when it has ended already.
    let _ = kill_process(pid, signal);
}
