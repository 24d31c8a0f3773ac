//! `nexus cluster cert`: an authority of one's own, and certificates of nodes.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use nexus_cluster::NodeName;
use nexus_cluster::transport::cluster::{CertError, CertificateAuthority, TlsFiles};
use serde_json::json;

use super::super::exit::Exit;
use super::super::output::Tone;
use super::super::{CliError, Context, Outcome};

/// By which names a node is reached on its own machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// An authority outlives the certificates that it issues.
const AUTHORITY_DAYS: u32 = 3650;

/// Make certificates for TLS between nodes
///
/// The first call makes an authority in DIR (`ca.pem`, `ca.key`); each call issues a certificate and key for every NODE. A
/// certificate names its node (`node.name` in the topology) and the hosts by which others reach it: both are checked whenever
/// nodes connect. Keys are readable by this user only, and nothing is overwritten. Each node needs its own two files and `ca.pem`;
/// `ca.key` can make further nodes, so it stays here. Who has an authority already uses that instead.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  nexus cluster cert certs air-1 air-2               Nodes on this machine
  nexus cluster cert certs air-3=10.0.0.3            A node that others reach at 10.0.0.3
  nexus cluster cert certs air-4=air-4.example,10.0.0.4 --days 90")]
pub(crate) struct CertArgs {
    /// The folder for authority, certificates and keys; made if missing
    directory: PathBuf,
    /// The nodes, each with the hosts and IP addresses by which others reach it; without any, it is this machine's loopback
    #[arg(required = true, value_name = "NODE[=HOST,…]")]
    nodes: Vec<NodeHosts>,
    /// Days that a node's certificate is valid for
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// A node and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeHosts {
    name: NodeName,
    hosts: Vec<String>,
}

impl FromStr for NodeHosts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, hosts) = text.split_once('=').map_or((text, None), |(name, hosts)| (name, Some(hosts)));
        let name = name.parse().map_err(|problem: nexus_cluster::NodeNameError| problem.to_string())?;
        let hosts: Vec<String> = match hosts {
            None => LOOPBACK.map(str::to_owned).to_vec(),
            Some(hosts) => hosts.split(',').map(|host| host.trim().to_owned()).collect(),
        };
        match hosts.iter().find(|host| {
            host.is_empty() || host.contains([':', '/', ' ']) && host.parse::<std::net::IpAddr>().is_err()
        }) {
            Some(host) => Err(format!("{host:?} is no host: write names or IP addresses without a port")),
            None => Ok(Self { name, hosts }),
        }
    }
}

pub(super) fn run(args: &CertArgs, context: &mut Context<'_>) -> Outcome {
    let (authority, is_new) = authority(&args.directory)?;
    let mut made = Vec::with_capacity(args.nodes.len());
    for node in &args.nodes {
        made.push((node, issue(&authority, node, args.days)?));
    }
    if context.out.is_json() {
        let nodes: Vec<_> = made
            .iter()
            .map(|(node, files)| {
                json!({
                    "node": node.name, "hosts": node.hosts, "cert": files.certificate, "key": files.key, "ca": files.ca,
                    "days": args.days,
                })
            })
            .collect();
        context.out.json(&json!({ "authority_made": is_new, "nodes": nodes }))?;
        return Ok(Exit::Ok);
    }
    let shown = args.directory.display();
    let how = if is_new { "made" } else { "is the one that was there" };
    context.out.line(&format!("authority {shown}/ca.pem {how}; keep {shown}/ca.key here"))?;
    for (node, files) in made {
        let name = context.out.tone(Tone::Strong, node.name.as_str());
        context.out.line(&format!(
            "{name}: {} and {}, for {}, valid for {} days",
            files.certificate.display(),
            files.key.display(),
            node.hosts.join(", "),
            args.days
        ))?;
        context.out.line(&format!(
            "  [cluster] tls = {{ cert = {:?}, key = {:?}, ca = {:?} }}",
            files.certificate, files.key, files.ca
        ))?;
    }
    Ok(Exit::Ok)
}

/// The authority in `directory`, and whether it was made now.
pub(super) fn authority(directory: &Path) -> Result<(CertificateAuthority, bool), CliError> {
    let is_new = !directory.join("ca.key").exists();
    let authority = match is_new {
        true => CertificateAuthority::create(directory, now(), days(AUTHORITY_DAYS)),
        false => CertificateAuthority::open(directory),
    };
    authority.map(|authority| (authority, is_new)).map_err(failed)
}

/// A certificate for a node on this machine.
pub(super) fn issue_local(authority: &CertificateAuthority, name: NodeName) -> Result<TlsFiles, CliError> {
    issue(authority, &NodeHosts { name, hosts: LOOPBACK.map(str::to_owned).to_vec() }, 1)
}

fn issue(authority: &CertificateAuthority, node: &NodeHosts, valid: u32) -> Result<TlsFiles, CliError> {
    authority.issue(&node.name, &node.hosts, now(), days(valid)).map_err(failed)
}

fn failed(error: CertError) -> CliError {
    match error {
        CertError::File { file, error } => CliError::File { path: file, source: error },
        error => CliError::Certificate(error.to_string()),
    }
}

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 24 * 60 * 60)
}

/// The time since 1970; a clock before that is taken for 1970, and its certificates for expired.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::super::environment::Environment;
    use super::super::super::output::{Format, Out};
    use super::*;

    fn cert(directory: &Path, nodes: &[&str]) -> (Result<Exit, CliError>, String) {
        let mut written = Vec::new();
        let nodes = nodes.iter().map(|node| node.parse().unwrap()).collect();
        let args = CertArgs { directory: directory.to_owned(), nodes, days: 30 };
        let mut context = Context {
            environment: &Environment::default(),
            behaviors: &nexus_actors::agent::Behaviors::new(),
            out: Out::to(&mut written, Format::Text),
        };
        let ended = run(&args, &mut context);
        drop(context);
        (ended, String::from_utf8(written).unwrap())
    }

    /// Goal: one authority for all calls, private keys, and nothing overwritten.
    #[test]
    fn an_authority_grows_nodes() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("certs");
        let (ended, told) = cert(&directory, &["air-1", "air-2=10.0.0.2"]);
        assert_eq!(ended.unwrap(), Exit::Ok);
        assert!(told.contains("ca.pem made") && told.contains("for 10.0.0.2, valid for 30 days"), "{told}");
        let authority = std::fs::read(directory.join("ca.pem")).unwrap();
        let (ended, told) = cert(&directory, &["air-3"]);
        assert_eq!(ended.unwrap(), Exit::Ok);
        assert!(told.contains("was there") && told.contains("tls = {"), "{told}");
        assert_eq!(std::fs::read(directory.join("ca.pem")).unwrap(), authority);
        for key in ["ca.key", "air-1.key", "air-2.key", "air-3.key"] {
            let mode = std::fs::metadata(directory.join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
        let (ended, _) = cert(&directory, &["air-1"]);
        let error = ended.unwrap_err();
        assert!(error.to_string().contains("not overwritten"), "{error}");
    }

    #[test]
    fn hosts_have_no_ports() {
        for good in ["a", "a=b", "a=10.0.0.1,::1"] {
            assert!(good.parse::<NodeHosts>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a=", "a=b:7072", "a=b,,c", "a=http://b"] {
            assert!(bad.parse::<NodeHosts>().is_err(), "{bad}");
        }
    }
}
