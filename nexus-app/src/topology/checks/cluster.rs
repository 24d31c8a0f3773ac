//! The cluster: what this node is called in it, where the others reach it, what protects it, and where agents come to life.

use std::net::SocketAddr;

use nexus_cluster::NodeName;

use super::{Context, Finding, Findings, Path, walk};
use crate::topology::{ClusterConfig, Place};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings<'_>) {
    check_places(context, findings);
    let Some(config) = &context.topology.cluster else { return };
    let path = Path::root().key("cluster");
    check_name(context, &path, findings);
    check_security(context, config, &path, findings);
    check_addresses(context, config, &path, findings);
    check_texts(config, &path, findings);
    check_times(config, &path, findings);
}

/// Nodes' names are told to others, and stand in certificates: fewer characters than elsewhere.
fn check_name(context: &Context<'_>, path: &Path, findings: &mut Findings<'_>) {
    let name = Path::root().key("node").key("name");
    if let Err(problem) = context.topology.node_name().parse::<NodeName>() {
        let message = format!("`node.name`: {problem}");
        let help = "give the node a `name` under [node] that no other node of the cluster has";
        findings.push(
            Finding::new("malformed-name", name, message).related(path.clone(), "in a cluster").help(help),
        );
    }
}

fn check_security(context: &Context<'_>, config: &ClusterConfig, path: &Path, findings: &mut Findings<'_>) {
    let is_variable = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !is_variable(&config.cookie_env) {
        // Perhaps somebody took it for the place of the secret itself.
        let message = "`cluster.cookie_env` is no name of an environment variable";
        let help = "it names the variable that holds the secret, such as NEXUS_COOKIE; the secret never stands in the file";
        let place = path.key("cookie_env");
        findings.add_secret_at(&place);
        findings.push(Finding::new("malformed-name", place, message).help(help));
    }
    match &config.tls {
        None => {
            if !config.listen.ip().is_loopback()
                && !config.plaintext
                && !findings.is_tainted(&path.key("tls"))
                && !findings.is_tainted(&path.key("listen"))
            {
                let message = format!(
                    "`cluster` has no `tls` while `cluster.listen` is {}: whoever is on the network could read and change what nodes say",
                    config.listen
                );
                let help = "give `tls` certificates (`nexus cluster cert` makes some), or set `plaintext = true` if the network is yours alone";
                findings.push(Finding::new("open-cluster", path.key("listen"), message).help(help));
            }
        }
        Some(tls) => {
            for (key, file) in [("cert", &tls.cert), ("key", &tls.key), ("ca", &tls.ca)] {
                let file = context.topology.base_dir.join(file);
                if !file.is_file() {
                    let message =
                        format!("`cluster.tls.{key}` is {:?}, which is no file", file.display().to_string());
                    let help = "`nexus cluster cert DIR NODE` makes an authority, certificates and keys";
                    findings
                        .push(Finding::new("unreadable-file", path.key("tls").key(key), message).help(help));
                }
            }
        }
    }
}

fn check_addresses(context: &Context<'_>, config: &ClusterConfig, path: &Path, findings: &mut Findings<'_>) {
    let listen = path.key("listen");
    if findings.is_tainted(&listen) {
        return;
    }
    if config.listen.ip().is_unspecified() && config.advertise.is_none() {
        let message = format!("`cluster.listen` is {}, to which nobody can connect", config.listen);
        let help = "say where the others reach this node: `advertise = \"10.0.0.5:7072\"`";
        findings.push(Finding::new("no-advertise", listen.clone(), message).help(help));
    }
    if let Some(Ok(address)) = config.advertise.as_ref().map(|text| text.parse::<SocketAddr>())
        && address.ip().is_unspecified()
    {
        let message = format!("`cluster.advertise` is {address}, to which nobody can connect");
        let help = "give the address of this machine as the others see it";
        findings.push(Finding::new("no-advertise", path.key("advertise"), message).help(help));
    }
    let debug = &context.topology.debug;
    let others = [
        debug.enabled.then_some(("debug.listen", debug.listen)),
        context.topology.clients.as_ref().map(|clients| ("clients.listen", clients.listen)),
    ];
    for (name, other) in others.into_iter().flatten() {
        let anywhere = config.listen.ip().is_unspecified() || other.ip().is_unspecified();
        let same = config.listen.port() != 0
            && config.listen.port() == other.port()
            && (config.listen.ip() == other.ip() || anywhere);
        if same {
            let message = format!("`cluster.listen` and `{name}` are both {}", config.listen);
            let help = "give one of them another port";
            findings.push(Finding::new("duplicate-address", listen.clone(), message).help(help));
        }
    }
}

/// What is sent to others is counted in bytes.
fn check_texts(config: &ClusterConfig, path: &Path, findings: &mut Findings<'_>) {
    for (key, text, limit) in
        [("name", &config.name, 255), ("zone", &config.zone, 64), ("version", &config.version, 64)]
    {
        if text.len() > limit {
            let message = format!("`cluster.{key}` has {} bytes; allowed are {limit}", text.len());
            findings.push(Finding::new("out-of-range", path.key(key), message).help("shorten it"));
        }
    }
}

/// Times that the preset and what is changed of it do not allow together.
fn check_times(config: &ClusterConfig, path: &Path, findings: &mut Findings<'_>) {
    let mut refuse = |place: Path, problem: String, help: &str| {
        findings.push(Finding::new("impossible-times", place, problem).help(help));
    };
    if let Err(problem) = config.membership().validate() {
        let help = "leave both out, or give a probe twice the time that an answer gets";
        refuse(path.key("membership"), format!("`cluster.membership`: {problem}"), help);
    }
    if let Err(problem) = config.gossip().validate() {
        refuse(path.key("gossip"), format!("`cluster.gossip`: {problem}"), "leave it out");
    }
    if let Err(problem) = config.directory().validate() {
        refuse(path.key("directory"), format!("`cluster.directory`: {problem}"), "leave it out");
    }
    let timing = config.timing();
    if timing.idle < 3 * timing.heartbeat {
        let problem = format!(
            "`cluster.connection.idle_timeout` is {:?}, less than three times the heartbeat ({:?}): one that is late would end a connection",
            timing.idle, timing.heartbeat
        );
        refuse(path.key("connection"), problem, "raise `idle_timeout`, or lower `heartbeat`");
    }
}

fn check_places(context: &Context<'_>, findings: &mut Findings<'_>) {
    let cluster = Path::root().key("cluster");
    for found in walk::agents(context.topology) {
        let (name, path) = (&found.config.name, found.path.key("place"));
        if found.config.place.is_default() {
            continue;
        }
        if context.topology.cluster.is_none() && !findings.is_tainted(&cluster) {
            let message = format!("`{name}` has a `place` among nodes, but this node is alone");
            let help = "add `[cluster]`, or remove `place`";
            findings.push(Finding::new("no-cluster", path.clone(), message).help(help));
        }
        if let Place::Label(label) = &found.config.place
            && label.zone.is_none()
            && label.version.is_none()
        {
            let message = format!("`{path}` asks for no label, so that any node would do");
            let help = "write `place = { label = { zone = \"east\" } }`, or a `version`, or both";
            findings.push(Finding::new("no-label", path, message).help(help));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nexus_cluster::membership::{MembershipConfig, PartitionPolicy};
    use nexus_cluster::transport::cluster::Timing;

    use crate::topology::test::{accepts, reports};
    use crate::topology::{LabelConfig, Place, Seed};

    /// Goal: what a topology leaves out is the parts' own, what it says arrives there, over the preset.
    #[test]
    fn settings_arrive() {
        let plain = accepts("[cluster]").cluster.unwrap();
        assert_eq!((plain.membership(), plain.timing()), (MembershipConfig::lan(), Timing::default()));
        assert_eq!((plain.name.as_str(), plain.listen.to_string().as_str()), ("nexus", "127.0.0.1:7072"));
        let text = "[cluster]\npreset = \"local\"\npartition = \"quorum\"\nseeds = [\"a:1\", \"dns:b:2\"]\n\
                    [cluster.membership]\nprobe_period = \"2s\"\nsuspicion_mult = 9\n[cluster.gossip]\ninterval = \"7s\"\n\
                    [cluster.directory]\nsuccessors = 1\n[cluster.link]\nlz4_min_bytes = 1024\n\
                    [cluster.connection]\nheartbeat = \"100ms\"\nidle_timeout = \"1s\"\nhandshakes = 7\n";
        let config = accepts(text).cluster.unwrap();
        let expected = MembershipConfig {
            probe_period: Duration::from_secs(2),
            suspicion_mult: 9,
            partition: PartitionPolicy::Quorum,
            ..MembershipConfig::local()
        };
        assert_eq!(config.membership(), expected);
        assert_eq!((config.gossip().interval, config.directory().successors), (Duration::from_secs(7), 1));
        assert_eq!((config.link().lz4_min_bytes, config.limits().handshakes_max), (1024, 7));
        assert_eq!(config.timing().idle, Duration::from_secs(1));
        let seeds: Vec<_> = config.seeds.iter().map(|seed| Seed::of(seed)).collect();
        assert_eq!(seeds, [Seed::Address("a:1"), Seed::Dns("b:2")]);
    }

    #[test]
    fn addresses_can_be_reached() {
        accepts("[cluster]\nlisten = \"0.0.0.0:7072\"\nadvertise = \"air-1.example:7072\"\nplaintext = true");
        accepts("[cluster]\nlisten = \"127.0.0.1:0\"");
        reports("[cluster]\nlisten = \"0.0.0.0:7072\"\nplaintext = true", &[("no-advertise", 2)]);
        reports("[cluster]\nadvertise = \"0.0.0.0:7072\"", &[("no-advertise", 2)]);
        reports(
            "[cluster]\nadvertise = \"here\"\nseeds = [\"a\", \"dns:\"]",
            &[("malformed-address", 2), ("malformed-address", 3), ("malformed-address", 3)],
        );
        reports("[cluster]\nlisten = \"127.0.0.1:7070\"", &[("duplicate-address", 2)]);
        reports("[cluster]\nlisten = \"localhost:7072\"", &[("malformed-address", 2)]);
    }

    /// Goal: a node does not talk in the open by accident, and its secret is neither in the file nor in a report.
    #[test]
    fn secrets_stay_out_of_the_file() {
        reports("[cluster]\nlisten = \"10.0.0.1:7072\"", &[("open-cluster", 2)]);
        reports(
            "[cluster]\ntls = { cert = \"a\", key = \"b\", ca = \"c\" }",
            &[("unreadable-file", 2), ("unreadable-file", 2), ("unreadable-file", 2)],
        );
        for text in [
            "[cluster]\ncookie = \"hunter2\"",
            "[cluster]\ncookie_env = \"hunter2 hunter2\"",
            "[cluster]\ncookie = 'hunter2",
        ] {
            let code = if text.contains("env") {
                "malformed-name"
            } else if text.ends_with('2') {
                "syntax"
            } else {
                "unknown-key"
            };
            let report = reports(text, &[(code, 2)]);
            let shown = format!("{report} {}", serde_json::to_string(&report).unwrap());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn values_have_ranges_and_fit_together() {
        reports(
            "[cluster]\nname = \"\"\nweight = 17\npreset = \"moon\"\npartition = \"both\"",
            &[("out-of-range", 2), ("out-of-range", 3), ("unknown-value", 4), ("unknown-value", 5)],
        );
        reports("[cluster]\nzone = \"ääääääääääääääääääääääääääääääääää\"", &[("out-of-range", 2)]);
        reports("[cluster.membership]\nprobe_timeout = \"900ms\"", &[("impossible-times", 1)]);
        reports("[cluster.connection]\nheartbeat = \"2s\"", &[("impossible-times", 1)]);
        reports("[cluster.link]\nwindow_bytes = 1", &[("out-of-range", 2)]);
        reports("[node]\nname = \"a@b\"\n[cluster]", &[("malformed-name", 2)]);
        accepts("[node]\nname = \"a@b\"");
    }

    #[test]
    fn places_are_among_nodes() {
        let agent = |place: &str| {
            format!("[[agent]]\nname = \"s/*\"\nbehavior = \"kv\"\nplace = {place}\n[cluster]\n")
        };
        for (text, place) in [
            ("\"ring\"", Place::Ring),
            ("\"local\"", Place::Local),
            ("\"least_loaded\"", Place::LeastLoaded),
            (
                "{ label = { zone = \"east\" } }",
                Place::Label(LabelConfig { zone: Some("east".to_owned()), version: None }),
            ),
        ] {
            assert_eq!(accepts(&agent(text)).agent[0].place, place);
        }
        reports(&agent("\"rings\""), &[("unknown-value", 4)]);
        reports(&agent("{ label = {} }"), &[("no-label", 4)]);
        reports(&agent("{ label = { rack = \"a\", zone = \"b\" } }"), &[("unknown-key", 4)]);
        reports(&agent("\"local\"").replace("[cluster]", ""), &[("no-cluster", 4)]);
        accepts(&agent("\"ring\"").replace("[cluster]", ""));
    }
}
