//! The real binary as a child process, in a sandbox of its own: runtime directory, working directory and environment.

use std::fmt;
use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nexus_app::cli::runtime_file;
pub use rustix::process::Signal;
use rustix::process::{Pid, Resource, Rlimit, kill_process, prlimit};
use tempfile::TempDir;

use crate::http::Endpoint;
use crate::wait::until;

/// How long a node may take to come up on a busy machine in a debug build.
pub const START_MAX: Duration = Duration::from_secs(20);

/// The path of the binary under test: the one that the variable `NEXUS_TEST_BINARY` names, else the one that is built with the tests. A
/// macro, because Cargo tells the latter to integration tests only.
#[macro_export]
macro_rules! nexus_binary {
    () => {
        $crate::process::named_or(env!("CARGO_BIN_EXE_nexus-under-test"))
    };
}

/// See [`nexus_binary`].
#[must_use]
pub fn named_or(built: &'static str) -> &'static Path {
    static NAMED: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("NEXUS_TEST_BINARY").map(PathBuf::from));
    NAMED.as_deref().unwrap_or_else(|| Path::new(built))
}

/// Ends a topology with a debug endpoint on a free port that allows control.
pub const ENDPOINT: &str = "\n[debug]\nlisten = \"127.0.0.1:0\"\nallow_control = true\n";

/// The repository's `config` directory.
#[must_use]
pub fn config_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

/// A directory for one test, removed with it.
#[derive(Debug)]
pub struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    /// An empty one.
    ///
    /// # Panics
    /// If the system has no room for it.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        Self { dir: TempDir::with_prefix("nexus-test-").expect("a temporary directory") }
    }

    /// The path of `name` in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    ///
    /// # Panics
    /// If that fails.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// A topology of `config/` under its own name and beside its data, with its endpoint on a free port.
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    pub fn shipped(&self, name: &str) -> PathBuf {
        let text = std::fs::read_to_string(config_dir().join(name)).expect("a topology of that name");
        assert!(!text.contains("[debug]"), "{name} has an endpoint of its own");
        let data = config_dir().canonicalize().expect("it exists").join("data");
        let linked = std::os::unix::fs::symlink(data, self.path("data"));
        linked.expect("one topology per sandbox");
        self.write(name, text + ENDPOINT)
    }

    /// The binary with this sandbox as its surroundings.
    #[must_use]
    pub fn command(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        for variable in ["NEXUS_LOG", "NEXUS_URL", "NEXUS_TOKEN", "NEXUS_NODE", "NEXUS_COOKIE", "RUST_LOG"] {
            command.env_remove(variable);
        }
        command.env("XDG_RUNTIME_DIR", self.dir.path()).env("NO_COLOR", "1").current_dir(self.dir.path());
        command.stdin(Stdio::null());
        command
    }

    /// `nexus run TOPOLOGY`, running, with more arguments.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn run(&self, binary: &Path, topology: &Path, arguments: &[&str]) -> Process {
        Process::spawn(self.command(binary).arg("run").arg(topology).args(arguments))
    }

    /// The endpoint of the one node that runs in this sandbox, once it can be reached.
    ///
    /// # Panics
    /// If it does not come up, or several nodes run.
    #[must_use]
    pub fn endpoint(&self, process: &Process) -> Endpoint {
        let dir = runtime_file::directory(self.dir.path().to_str());
        until("the runtime file", START_MAX, || {
            if process.has_ended() {
                panic!("it ended before its endpoint was up: {}", process.stderr.text());
            }
            let entry = runtime_file::find(&dir).ok()?.into_iter().next()?;
            let address = entry.url.strip_prefix("http://")?.parse().ok()?;
            Some(Endpoint { address, token: entry.token.map(|token| token.expose().to_owned()) })
        })
    }
}

/// Kills a process that another one of this test has started, at once.
///
/// # Panics
/// If there is no such process.
pub fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a number of a process");
    kill_process(pid, Signal::KILL).expect("it runs");
}

/// A child process whose output is read as it comes. Killed when dropped.
pub struct Process {
    child: Mutex<Child>,
    pid: Pid,
    stdin: Option<ChildStdin>,
    stdout: Output,
    stderr: Output,
}

/// How a process ended.
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// All it wrote to its standard output.
    pub stdout: String,
    /// All it wrote to its standard error.
    pub stderr: String,
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {:?}, signal {:?}\n{}\n{}", self.code, self.signal, self.stdout, self.stderr)
    }
}

impl Process {
    /// Starts `command`; its output is captured, its input is what the command says.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_to(Stdio::piped(), command)
    }

    /// [`Process::spawn`] with another standard output; it is captured only if it is a pipe of its own.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn spawn_to(stdout: impl Into<Stdio>, command: &mut Command) -> Self {
        let child = command.stdout(stdout).stderr(Stdio::piped()).spawn();
        Self::of(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// A child that was started elsewhere, such as in a namespace.
    ///
    /// # Panics
    /// If its standard error is no pipe.
    #[must_use]
    pub fn of(mut child: Child) -> Self {
        Self {
            pid: Pid::from_child(&child),
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map_or_else(|| Output::of(std::io::empty()), Output::of),
            stderr: Output::of(child.stderr.take().expect("it is piped")),
            child: Mutex::new(child),
        }
    }

    /// Its standard input, once; `None` if it has none.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If there is no such process any more.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("it runs until it is waited for");
    }

    /// Waits until `text` was written to the standard error.
    ///
    /// # Panics
    /// If that does not happen in time, with what was written instead.
    pub fn says(&self, text: &str, limit: Duration) {
        self.stderr.wait_for(text, limit);
    }

    /// Waits until `text` was written to the standard output.
    ///
    /// # Panics
    /// If that does not happen in time, with what was written instead.
    pub fn prints(&self, text: &str, limit: Duration) {
        self.stdout.wait_for(text, limit);
    }

    /// What was written to the standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Its number in the kernel.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// From now on no file it writes can be larger than this.
    ///
    /// # Panics
    /// If that is not permitted.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(self.pid), Resource::Fsize, limit).expect("it is our child");
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.child.lock().expect("no holder panics").try_wait().expect("it is our child").is_some()
    }

    /// Memory that it holds now and held at most, in KiB: `VmRSS` and `VmHWM` of Linux.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn memory_kib(&self) -> (u64, u64) {
        let path = format!("/proc/{}/status", self.pid.as_raw_nonzero());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the process lives");
            line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end in time, with what it wrote.
    pub fn wait(mut self, limit: Duration) -> Ended {
        let give_up = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.get_mut().expect("no holder panics").try_wait().expect("ours") {
                break status;
            }
            if Instant::now() > give_up {
                panic!("still running after {limit:?}: {}\n{}", self.stdout.text(), self.stderr.text());
            }
            std::thread::park_timeout(Duration::from_millis(2));
        };
        Ended {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.end(),
            stderr: self.stderr.end(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().expect("no holder panics");
        // It has ended already, unless its test has failed.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// What a process writes, read by a thread so that it never waits for us.
struct Output {
    shared: Arc<(Mutex<Vec<u8>>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let written = shared.clone();
        let reader = std::thread::spawn(move || {
            let mut room = [0; 8192];
            while let Ok(read @ 1..) = pipe.read(&mut room) {
                written.0.lock().expect("no holder panics").extend_from_slice(&room[..read]);
                written.1.notify_all();
            }
        });
        Self { shared, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.0.lock().expect("no holder panics")).into_owned()
    }

    fn end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it does not panic");
        }
        self.text()
    }

    fn wait_for(&self, text: &str, limit: Duration) {
        let (bytes, changed) = &*self.shared;
        let missing = |bytes: &mut Vec<u8>| !String::from_utf8_lossy(bytes).contains(text);
        let bytes = bytes.lock().expect("no holder panics");
        let (bytes, waited) = changed.wait_timeout_while(bytes, limit, missing).expect("no holder panics");
        assert!(!waited.timed_out(), "no `{text}` within {limit:?}: {}", String::from_utf8_lossy(&bytes));
    }
}
