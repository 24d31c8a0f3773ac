//! Which node a command talks to, and with which token.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;

use super::client::Client;
use super::environment::Environment;
use super::error::CliError;
use super::runtime_file::{self, RuntimeFile};
use crate::topology::Secret;

/// No token is longer.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Options of every command that talks to a running node.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Node (default: the one that runs on this machine)")]
pub(crate) struct Connection {
    /// Address of the node's debug endpoint, such as http://127.0.0.1:7070 [env: NEXUS_URL]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Name of a node on this machine, if several run
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    node: Option<String>,
    /// File with the endpoint's bearer token [env: NEXUS_TOKEN, the token itself]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Where a node is and what opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) token: Option<Secret>,
}

impl Connection {
    pub(crate) fn client(&self, environment: &Environment) -> Result<Client, CliError> {
        Client::new(self.endpoint(environment)?)
    }

    /// The same for what every node of a cluster can say: if all that run on this machine are of one cluster, the first of them answers.
    pub(crate) fn client_of_cluster(&self, environment: &Environment) -> Result<Client, CliError> {
        let mut this = self.clone();
        if this.url.is_none() && this.node.is_none() && environment.get("NEXUS_URL").is_none() {
            this.node = of_one_cluster(&running(environment)?);
        }
        this.client(environment)
    }

    /// The address from `--url`, `--node`, `NEXUS_URL` or the only runtime file, in this order; the token from
    /// `--token-file`, `NEXUS_TOKEN` or the runtime file of that very address.
    pub(crate) fn endpoint(&self, environment: &Environment) -> Result<Endpoint, CliError> {
        let given = match (&self.url, &self.node) {
            (Some(url), _) => Some((url.as_str(), "--url")),
            (None, Some(_)) => None,
            (None, None) => environment.get("NEXUS_URL").map(|url| (url, "NEXUS_URL")),
        };
        let token = self.token(environment)?;
        let Some((url, option)) = given else {
            let running = running(environment)?;
            let file = choose(running, self.node.as_deref())?;
            return Ok(Endpoint { url: file.url, token: token.or(file.token) });
        };
        let url = base_url(url, option)?;
        // Only a token that was written for this address goes there. Without one the node may still let us in, so trouble
        // with the directory is no error here.
        let known = || running(environment).ok()?.into_iter().find(|file| file.url == url)?.token;
        let token = token.or_else(known);
        Ok(Endpoint { url, token })
    }

    fn token(&self, environment: &Environment) -> Result<Option<Secret>, CliError> {
        let (token, source) = match &self.token_file {
            Some(path) => (read_token(path)?, "--token-file"),
            None => match environment.get("NEXUS_TOKEN") {
                Some(token) => (token.trim().to_owned(), "NEXUS_TOKEN"),
                None => return Ok(None),
            },
        };
        // It becomes an HTTP header.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CliError::usage(
                format!("{source} holds no token: it is empty or has spaces or characters beyond ASCII"),
                "give the token that `nexus run` prints at start, in one line",
            ));
        }
        Ok(Some(Secret::new(token)))
    }
}

fn read_token(path: &PathBuf) -> Result<String, CliError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|source| CliError::File { path: path.clone(), source })?;
    Ok(text.trim().to_owned())
}

fn running(environment: &Environment) -> Result<Vec<RuntimeFile>, CliError> {
    let dir = environment.runtime_dir();
    runtime_file::find(&dir).map_err(|source| CliError::File { path: dir, source })
}

/// The first one's name, if all are of one cluster.
fn of_one_cluster(running: &[RuntimeFile]) -> Option<String> {
    let first = running.first()?;
    let is_one = first.cluster.is_some() && running.iter().all(|file| file.cluster == first.cluster);
    is_one.then(|| first.node.clone())
}

/// The only one, or the only one called `name`.
fn choose(running: Vec<RuntimeFile>, name: Option<&str>) -> Result<RuntimeFile, CliError> {
    let all = list(&running);
    let mut fitting: Vec<_> =
        running.into_iter().filter(|file| name.is_none_or(|name| file.node == name)).collect();
    match (fitting.pop(), fitting.is_empty()) {
        (None, _) => Err(CliError::NoNode { name: name.map(str::to_owned), running: all }),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            fitting.push(last);
            let same_name = fitting.iter().all(|file| file.node == fitting[0].node);
            Err(CliError::SeveralNodes { running: list(&fitting), same_name })
        }
    }
}

fn list(running: &[RuntimeFile]) -> Vec<String> {
    let width = running.iter().map(|file| file.node.chars().count()).max().unwrap_or(0);
    let line = |file: &RuntimeFile| format!("  {:width$}  {}  pid {}", file.node, file.url, file.pid);
    running.iter().map(line).collect()
}

/// `url` without a slash at its end, if it can be used: plain HTTP with a host, and neither query nor user.
fn base_url(url: &str, option: &str) -> Result<String, CliError> {
    let wrong = |why: &str| {
        let message = format!("{option} {url:?} {why}");
        CliError::usage(message, "write it as http://HOST:PORT, such as http://127.0.0.1:7070")
    };
    if url.starts_with("https://") {
        return Err(CliError::usage(
            format!("{option} {url:?} wants TLS, which the debug endpoint does not speak"),
            "reach a remote node through a tunnel, such as `ssh -L 7070:127.0.0.1:7070 HOST`",
        ));
    }
    let uri: ureq::http::Uri = url.parse().map_err(|_| wrong("is no address"))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority.ok_or_else(|| wrong("is no http:// address"))?;
    if authority.host().is_empty() || authority.as_str().contains('@') || uri.query().is_some() {
        return Err(wrong("has more or less than host, port and path"));
    }
    Ok(format!("http://{authority}{}", uri.path().trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    fn file(node: &str, port: u16) -> RuntimeFile {
        let token = Some(Secret::new(format!("token-of-{node}")));
        RuntimeFile::of_this_process(node.to_owned(), format!("http://127.0.0.1:{port}"), token)
    }

    struct Machine {
        home: tempfile::TempDir,
    }

    impl Machine {
        fn running(nodes: &[RuntimeFile]) -> Self {
            let home = tempfile::tempdir().unwrap();
            for node in nodes {
                runtime_file::write(&home.path().join("nexus"), node).unwrap();
            }
            Self { home }
        }

        fn environment(&self, more: &[(&str, &str)]) -> Environment {
            let mut environment = Environment::of([("XDG_RUNTIME_DIR", self.home.path().to_str().unwrap())]);
            for (name, value) in more {
                environment.set(name, value);
            }
            environment
        }

        fn endpoint(
            &self,
            connection: &Connection,
            more: &[(&str, &str)],
        ) -> Result<(String, String), CliError> {
            let endpoint = connection.endpoint(&self.environment(more))?;
            Ok((endpoint.url, endpoint.token.map_or_else(String::new, |token| token.expose().to_owned())))
        }
    }

    fn pair(url: &str, token: &str) -> (String, String) {
        (url.to_owned(), token.to_owned())
    }

    /// Goal: with one node on the machine no option is needed; options beat the environment, which beats the file.
    #[test]
    fn order_of_sources() {
        let machine = Machine::running(&[file("a", 1)]);
        let none = Connection::default();
        assert_eq!(machine.endpoint(&none, &[]).unwrap(), pair("http://127.0.0.1:1", "token-of-a"));
        let variables = [("NEXUS_URL", "http://host:2/"), ("NEXUS_TOKEN", " secret ")];
        assert_eq!(machine.endpoint(&none, &variables).unwrap(), pair("http://host:2", "secret"));
        let token_file = machine.home.path().join("token");
        std::fs::write(&token_file, "from-file\n").unwrap();
        let options = Connection {
            url: Some("http://other:3/base/".to_owned()),
            token_file: Some(token_file),
            ..Connection::default()
        };
        assert_eq!(machine.endpoint(&options, &variables).unwrap(), pair("http://other:3/base", "from-file"));
        let node = Connection { node: Some("a".to_owned()), ..Connection::default() };
        let url_only = [("NEXUS_URL", "http://host:2")];
        assert_eq!(machine.endpoint(&node, &url_only).unwrap(), pair("http://127.0.0.1:1", "token-of-a"));
    }

    /// Goal: a token from a runtime file goes to the address it was written for and nowhere else.
    #[test]
    fn tokens_do_not_stray() {
        let machine = Machine::running(&[file("a", 1)]);
        let at = |url: &str| Connection { url: Some(url.to_owned()), ..Connection::default() };
        assert_eq!(machine.endpoint(&at("http://127.0.0.1:1/"), &[]).unwrap().1, "token-of-a");
        assert_eq!(machine.endpoint(&at("http://elsewhere:1"), &[]).unwrap().1, "");
    }

    /// Goal: none, several and the wrong node are told with what runs and what to do.
    #[test]
    fn no_single_node() {
        let none = Machine::running(&[]).endpoint(&Connection::default(), &[]).unwrap_err();
        assert_eq!(none.exit(), Exit::Unreachable);
        insta::assert_snapshot!(told(&none), @r"
        no node runs on this machine as this user
        start one with `nexus run FILE`, or name its address with --url
        ");
        let two = Machine::running(&[file("air", 1), file("b", 2)]);
        let several = two.endpoint(&Connection::default(), &[]).unwrap_err();
        assert_eq!(several.exit(), Exit::Usage);
        insta::assert_snapshot!(told(&several), @r"
        2 nodes run on this machine:
          air  http://127.0.0.1:1  pid N
          b    http://127.0.0.1:2  pid N
        name one with --node NAME
        ");
        let wrong = Connection { node: Some("c".to_owned()), ..Connection::default() };
        insta::assert_snapshot!(told(&two.endpoint(&wrong, &[]).unwrap_err()), @r"
        no node runs on this machine as this user under the name `c`
        these do, name one with --node:
          air  http://127.0.0.1:1  pid N
          b    http://127.0.0.1:2  pid N
        ");
    }

    /// Goal: any node of a cluster answers for it, as long as it is clear which cluster is meant.
    #[test]
    fn any_node_of_one_cluster() {
        let of = |node: &str, cluster: Option<&str>| RuntimeFile {
            cluster: cluster.map(str::to_owned),
            ..file(node, 1)
        };
        let (a, b) = (of("a", Some("air")), of("b", Some("air")));
        assert_eq!(of_one_cluster(&[a.clone(), b]), Some("a".to_owned()));
        assert_eq!(of_one_cluster(&[a.clone(), of("b", Some("sea"))]), None);
        assert_eq!(of_one_cluster(&[a, of("b", None)]), None);
        assert_eq!(of_one_cluster(&[of("a", None), of("b", None)]), None);
        assert_eq!(of_one_cluster(&[]), None);
    }

    fn told(error: &CliError) -> String {
        let text = format!("{error}\n{}", error.remedy().unwrap_or_default());
        text.replace(&std::process::id().to_string(), "N")
    }

    /// Goal: addresses and tokens that cannot work are refused before anything is sent, with the right form.
    #[test]
    fn bad_addresses_and_tokens() {
        for url in [
            "",
            "127.0.0.1:7070",
            "ftp://host",
            "http://",
            "http://user:pw@host",
            "http://host?x=1",
            "https://host",
        ] {
            let error = base_url(url, "--url").unwrap_err();
            assert_eq!(error.exit(), Exit::Usage, "{url}");
        }
        let machine = Machine::running(&[file("a", 1)]);
        for token in ["two words", "grün"] {
            let error = machine.endpoint(&Connection::default(), &[("NEXUS_TOKEN", token)]).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            assert!(!error.to_string().contains(token), "a token is never shown");
        }
        let missing = Connection { token_file: Some("missing".into()), ..Connection::default() };
        let error = machine.endpoint(&missing, &[]).unwrap_err();
        assert!(error.to_string().starts_with("missing: "), "{error}");
    }
}
