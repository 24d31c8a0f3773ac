//! From one topology to what each of several nodes on this machine has of its own.
//!
//! Node k of the topology `air` is `air-k`. The first has the ports of the file; each further one has them plus ten, so that all are where
//! one expects them; port 0 stays a free port. Its store is the folder of its name in the file's. All seeds are on this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nexus_cluster::transport::cluster::TlsFiles;

use crate::cli::CliError;
use crate::topology::{ClusterConfig, Override, Topology};

/// Between the ports of two nodes.
const PORT_STEP: u16 = 10;

/// What one node has of its own.
#[derive(Clone, Debug)]
pub(super) struct NodePlan {
    pub(super) name: String,
    /// Where the carrier listens.
    pub(super) cluster: SocketAddr,
    /// `KEY=VALUE` for `--set`, without what depends on the others.
    own: Vec<String>,
}

/// The nodes of `topology`, `count` of them. `free` finds a port of an address that nobody has.
///
/// # Errors
/// A port that there is not, or none free.
pub(super) fn nodes(
    topology: &Topology,
    count: u16,
    mut free: impl FnMut(IpAddr) -> Result<u16, CliError>,
) -> Result<Vec<NodePlan>, CliError> {
    let local = |address: SocketAddr| match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        _ => address,
    };
    let listen =
        topology.cluster.as_ref().map_or_else(|| ClusterConfig::default().listen, |cluster| cluster.listen);
    (0..count)
        .map(|at| {
            let name = format!("{}-{}", topology.node_name(), at + 1);
            let mut cluster = moved(local(listen), at)?;
            if cluster.port() == 0 {
                cluster.set_port(free(cluster.ip())?);
            }
            let mut own = vec![
                set("node.name", &name),
                set("debug.listen", &moved(topology.debug.listen, at)?.to_string()),
                set("cluster.listen", &cluster.to_string()),
                set("cluster.advertise", &cluster.to_string()),
                // Most of them: fewer that start first, or are left, begin nothing of their own.
                format!("cluster.expect={}", count / 2 + 1),
            ];
            if let Some(clients) = &topology.clients {
                own.push(set("clients.listen", &moved(clients.listen, at)?.to_string()));
            }
            if let Some(store) = &topology.store {
                own.push(set("store.path", &store.path.join(&name).display().to_string()));
            }
            Ok(NodePlan { name, cluster, own })
        })
        .collect()
}

impl NodePlan {
    /// All that `nexus run` is given with `--set`: with the other nodes of `all` as seeds, `tls` if there are certificates, and what the
    /// user gave last.
    pub(super) fn overrides(&self, all: &[Self], tls: Option<&TlsFiles>, more: &[Override]) -> Vec<String> {
        let mut list = self.own.clone();
        let others = all.iter().filter(|other| other.name != self.name);
        let seeds: Vec<_> = others.map(|other| other.cluster.to_string()).collect();
        list.push(format!("cluster.seeds={}", serde_json::Value::from(seeds)));
        if let Some(files) = tls {
            for (key, file) in [("cert", &files.certificate), ("key", &files.key), ("ca", &files.ca)] {
                list.push(set(&format!("cluster.tls.{key}"), &file.display().to_string()));
            }
        }
        list.extend(more.iter().map(ToString::to_string));
        list
    }
}

/// A text, in quotes: it may look like a number.
fn set(key: &str, text: &str) -> String {
    format!("{key}={}", serde_json::Value::from(text))
}

/// The address of node `at`.
fn moved(address: SocketAddr, at: u16) -> Result<SocketAddr, CliError> {
    let port = match address.port() {
        0 => Some(0),
        port => at.checked_mul(PORT_STEP).and_then(|step| port.checked_add(step)),
    };
    let port = port.ok_or_else(|| {
        CliError::usage(
            format!(
                "node {} would listen on port {} + {at} × {PORT_STEP}, which there is not",
                at + 1,
                address.port()
            ),
            "start fewer nodes, or give the topology lower ports, or port 0 for free ones",
        )
    })?;
    Ok(SocketAddr::new(address.ip(), port))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nexus_actors::agent::Behaviors;

    use super::*;
    use crate::topology::BehaviorNames;

    fn topology(text: &str) -> Topology {
        let mut behaviors = Behaviors::new();
        crate::behaviors::register_all(&mut behaviors);
        Topology::parse(text, "air.toml", Path::new(""), &BehaviorNames::of(&behaviors), &|_| None).unwrap()
    }

    fn planned(text: &str, count: u16) -> Result<Vec<Vec<String>>, CliError> {
        let mut port = 20_000;
        let free = |_| {
            port += 1;
            Ok(port)
        };
        let nodes = nodes(&topology(text), count, free)?;
        Ok(nodes.iter().map(|node| node.overrides(&nodes, None, &[])).collect())
    }

    /// Goal: nodes get in nobody's way, and find each other.
    #[test]
    fn nodes_have_ports_and_folders_of_their_own() {
        let text = "[store]\npath = \"state\"\n[[agent]]\nname = \"b/*\"\nbehavior = \"kv\"\npersist = \"on-hibernate\"\n";
        let plans = planned(text, 2).unwrap();
        assert_eq!(
            plans[1],
            [
                "node.name=\"air-2\"",
                "debug.listen=\"127.0.0.1:7080\"",
                "cluster.listen=\"127.0.0.1:7082\"",
                "cluster.advertise=\"127.0.0.1:7082\"",
                "cluster.expect=2",
                "store.path=\"state/air-2\"",
                "cluster.seeds=[\"127.0.0.1:7072\"]",
            ]
        );
        assert!(plans.iter().flatten().all(|text| text.parse::<Override>().is_ok()));
    }

    /// Goal: free ports are free, an address that is everywhere becomes one on this machine, and ports end at 65,535.
    #[test]
    fn ports_are_ports() {
        let text = "[debug]\nlisten = \"127.0.0.1:0\"\n[cluster]\nlisten = \"0.0.0.0:0\"\nadvertise = \"a:1\"\nplaintext = true";
        let plans = planned(text, 2).unwrap();
        assert!(plans[1].contains(&"debug.listen=\"127.0.0.1:0\"".to_owned()), "{plans:?}");
        assert!(plans[1].contains(&"cluster.listen=\"127.0.0.1:20002\"".to_owned()), "{plans:?}");
        assert!(planned("[debug]\nlisten = \"127.0.0.1:65530\"", 1).is_ok());
        let error = planned("[debug]\nlisten = \"127.0.0.1:65530\"", 2).unwrap_err();
        assert!(error.to_string().contains("65530 + 1 × 10"), "{error}");
    }
}
