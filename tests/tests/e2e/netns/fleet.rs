//! Three nodes of one cluster, each a process in a namespace of its own, under mutual TLS.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nexus_cluster::transport::cluster::CertificateAuthority;
use nexus_tests::http::{Answer, Endpoint};
use nexus_tests::netns::{Network, address};
use nexus_tests::nexus_binary;
use nexus_tests::process::{Process, Sandbox, Signal};
use serde_json::{Value, json};

pub(super) const SIZE: usize = 3;
/// How long the nodes may take until all are ready and agree.
pub(super) const READY_MAX: Duration = Duration::from_secs(90);
/// A connection without a byte for so long is given up.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(3);
const CARRIER_PORT: u16 = 7072;
const DEBUG_PORT: u16 = 7070;
const VALIDITY: Duration = Duration::from_secs(24 * 60 * 60);
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn name(at: usize) -> String {
    format!("node-{}", at + 1)
}

/// A node's debug endpoint, for whoever is in its namespace.
pub(super) fn endpoint() -> Endpoint {
    Endpoint { address: SocketAddr::from(([127, 0, 0, 1], DEBUG_PORT)), token: None }
}

/// The nodes. They end with their namespaces, if not before.
pub(super) struct Fleet<'a> {
    network: &'a Network,
    sandboxes: Vec<Sandbox>,
    processes: Vec<Option<Process>>,
    /// What earlier lives of each node have said.
    said: Vec<String>,
    authorities: Authorities,
}

impl<'a> Fleet<'a> {
    /// All nodes, started and ready.
    pub(super) fn start(network: &'a Network) -> (Self, Authority) {
        let mut fleet = Self {
            network,
            sandboxes: (0..SIZE).map(|_| Sandbox::new()).collect(),
            processes: (0..SIZE).map(|_| None).collect(),
            said: vec![String::new(); SIZE],
            authorities: Authorities { vault: Sandbox::new(), made: 0 },
        };
        let authority = fleet.authorities.add();
        for at in 0..SIZE {
            fleet.sandboxes[at].write("node.toml", topology(at));
            fleet.trust(at, std::slice::from_ref(&authority));
            fleet.certify(at, &authority);
            fleet.launch(at);
        }
        fleet.agree();
        (fleet, authority)
    }

    pub(super) fn launch(&mut self, at: usize) {
        let mut command = self.sandboxes[at].command(nexus_binary!());
        command.args(["run", "node.toml"]).env("NEXUS_COOKIE", "a cookie of more than sixteen bytes");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let child = self.network.namespace(at).spawn(&mut command).unwrap();
        self.processes[at] = Some(Process::of(child));
    }

    pub(super) fn process(&self, at: usize) -> &Process {
        self.processes[at].as_ref().unwrap()
    }

    /// Ends it at once, and waits until it has gone.
    pub(super) fn kill(&mut self, at: usize) {
        let process = self.processes[at].take().unwrap();
        process.signal(Signal::KILL);
        let ended = process.wait(READY_MAX);
        self.said[at] += &ended.stderr;
    }

    /// All that a node has said since the test began.
    pub(super) fn log(&self, at: usize) -> String {
        self.said[at].clone() + &self.processes[at].as_ref().map(Process::stderr).unwrap_or_default()
    }

    pub(super) fn get(&self, at: usize, path: &str) -> Answer {
        self.network.namespace(at).within(|| endpoint().get(path))
    }

    pub(super) fn json(&self, at: usize, path: &str) -> Value {
        self.network.namespace(at).within(|| endpoint().json(path))
    }

    /// Asks an agent something, so that it is awake for a while.
    pub(super) fn wake(&self, at: usize, agent: &str) {
        let body = json!({ "operation": "action", "key": "keys" });
        let answer = self
            .network
            .namespace(at)
            .within(|| endpoint().post_json(&format!("/api/agents/{agent}/ask"), &body));
        assert_eq!(answer.status, 200, "{agent}: {answer:?}");
    }

    /// Waits until each node is ready, and all see the same members, alive and connected. How long that took.
    pub(super) fn agree(&self) -> Duration {
        self.wait_for("the nodes agree", |at| {
            let (ready, members) = (self.try_get(at, "/readyz")?, self.try_get(at, "/cluster/members")?);
            let list = members["members"].as_array().ok_or_else(|| members.to_string())?;
            let well =
                |one: &Value| one["state"] == "alive" && (one["me"] == true || one["connected"] == true);
            let whole = ready["ready"] != false && list.len() == SIZE && list.iter().all(well);
            if whole { Ok(()) } else { Err(format!("{ready} {members}")) }
        })
    }

    /// Waits until all are connected with all.
    pub(super) fn connect(&self) -> Duration {
        self.wait_for("the nodes connect", |at| {
            let links = self.try_get(at, "/cluster/links")?;
            let up = links["links"].as_array().ok_or_else(|| links.to_string())?;
            let up = up.iter().filter(|link| link["connected"] == true).count();
            if up == SIZE - 1 { Ok(()) } else { Err(links.to_string()) }
        })
    }

    fn wait_for(&self, what: &str, look: impl Fn(usize) -> Result<(), String>) -> Duration {
        let began = Instant::now();
        loop {
            let Some((at, why)) = (0..SIZE).find_map(|at| look(at).err().map(|why| (at, why))) else {
                return began.elapsed();
            };
            assert!(!self.process(at).has_ended(), "{} ended: {}", name(at), self.log(at));
            if began.elapsed() > READY_MAX {
                let logs: Vec<String> =
                    (0..SIZE).map(|at| format!("== {}\n{}", name(at), self.log(at))).collect();
                panic!("{what}: not within {READY_MAX:?}; {}: {why}\n{}", name(at), logs.join("\n"));
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// The JSON of a good answer, or what came instead.
    fn try_get(&self, at: usize, path: &str) -> Result<Value, String> {
        let answer = self.network.namespace(at).within(|| endpoint().try_get(path));
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.body) }
    }

    /// One more authority.
    pub(super) fn add_authority(&mut self) -> Authority {
        self.authorities.add()
    }

    /// From now on node `at` trusts these and nobody else.
    pub(super) fn trust(&self, at: usize, authorities: &[Authority]) {
        let bundle: String =
            authorities.iter().map(|one| fs::read_to_string(one.path("ca.pem")).unwrap()).collect();
        self.replace(at, "ca.pem", bundle.as_bytes());
    }

    /// Node `at` gets a new certificate, while it runs.
    pub(super) fn certify(&self, at: usize, authority: &Authority) {
        let issuer = CertificateAuthority::open(&authority.folder).unwrap();
        let hosts = [address(at).to_string()];
        let files = issuer.issue(&name(at).parse().unwrap(), &hosts, now(), VALIDITY).unwrap();
        for (from, to) in [(&files.certificate, "cert.pem"), (&files.key, "key.pem")] {
            self.replace(at, to, &fs::read(from).unwrap());
            fs::remove_file(from).unwrap();
        }
    }

    /// Writes a file beside and puts it in place at once, as who manages certificates does.
    fn replace(&self, at: usize, file: &str, content: &[u8]) {
        let aside = self.sandboxes[at].write(&format!("{file}.new"), content);
        fs::rename(aside, self.sandboxes[at].path(file)).unwrap();
    }
}

/// A folder with `ca.pem` and `ca.key`.
#[derive(Clone)]
pub(super) struct Authority {
    folder: std::path::PathBuf,
}

impl Authority {
    fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.join(file)
    }
}

struct Authorities {
    vault: Sandbox,
    made: u32,
}

impl Authorities {
    fn add(&mut self) -> Authority {
        self.made += 1;
        let folder = self.vault.path(&format!("authority-{}", self.made));
        CertificateAuthority::create(&folder, now(), VALIDITY).unwrap();
        Authority { folder }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn topology(at: usize) -> String {
    let seeds: Vec<String> = (0..SIZE).map(|at| format!("\"{}:{CARRIER_PORT}\"", address(at))).collect();
    let (name, own, seeds, idle) = (name(at), address(at), seeds.join(", "), IDLE_MAX.as_secs());
    format!(
        r#"[node]
name = "{name}"

[limits]
events = 1_000_000
dead_letters = 1000

[debug]
listen = "127.0.0.1:{DEBUG_PORT}"
auth = "off"
allow_control = true
page_size_max = 10_000

[store]
path = "state"

[cluster]
name = "faults"
listen = "{own}:{CARRIER_PORT}"
seeds = [{seeds}]
expect = 2
tls = {{ cert = "cert.pem", key = "key.pem", ca = "ca.pem" }}

[cluster.connection]
heartbeat = "500ms"
idle_timeout = "{idle}s"
redial_max = "2s"

[[agent]]
name = "book/*"
behavior = "kv"
persist = "each-update"
inbox = 256
args = {{ max_keys = 100_000 }}
"#
    )
}
