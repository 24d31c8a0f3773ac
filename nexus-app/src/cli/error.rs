//! What a command can fail with. Each error says what was tried, and [`CliError::remedy`] what to do about it.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::exit::Exit;
use crate::topology::Report;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The options contradict each other or do not parse.
    #[error("{message}")]
    Usage {
        /// What is wrong, with the values.
        message: String,
        /// What to write instead.
        remedy: String,
    },
    /// No address was given and no node runs on this machine as this user.
    #[error("no node runs on this machine as this user{}", named(.name.as_deref()))]
    NoNode {
        /// The node that was asked for, if one was.
        name: Option<String>,
        /// The nodes that do run.
        running: Vec<String>,
    },
    /// Several nodes run on this machine, and the command names none.
    #[error("{} nodes run on this machine:\n{}", .running.len(), .running.join("\n"))]
    SeveralNodes {
        /// `name  url  pid` of each, aligned.
        running: Vec<String>,
        /// Whether they all have the name that was asked for.
        same_name: bool,
    },
    /// Nothing answers at the address, or the connection broke.
    #[error("no node answers at {url}: {reason}")]
    Unreachable {
        /// The base address.
        url: String,
        /// The transport's error.
        reason: String,
    },
    /// The node is there and did not answer in time.
    #[error("the node at {url} did not answer within {limit}")]
    TimedOut {
        /// The base address.
        url: String,
        /// The time limit.
        limit: String,
    },
    /// The node refused the request (401, 403).
    #[error("the node at {url} refused: {detail}")]
    Denied {
        /// The base address.
        url: String,
        /// The node's words.
        detail: String,
        /// 401 (who are you) or 403 (you may not).
        status: u16,
        /// Whether a token was sent.
        token_sent: bool,
    },
    /// The node answered with a problem (RFC 9457).
    #[error("{detail}")]
    Problem {
        /// HTTP status.
        status: u16,
        /// The problem's detail, or title.
        detail: String,
        /// The whole problem.
        problem: Value,
        /// What to do about it, if the command knows.
        remedy: Option<String>,
    },
    /// What answers is no Nexus node, or one of another version.
    #[error("the answer of {url} makes no sense: {reason}")]
    Protocol {
        /// The address with path.
        url: String,
        /// What was met.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A store that no node uses could not be opened or read.
    #[error("{}: {reason}", .path.display())]
    Store {
        /// What was given for it.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("{0}")]
    Certificate(String),
    /// The topology is invalid.
    #[error("{}", .0.render(false))]
    Topology(Box<Report>),
    /// The node could not be started or its tree gave up, with the chain of reasons.
    #[error("{0}")]
    Tree(String),
    /// Something on this machine failed: terminal, runtime, signals.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A row of `nexus bench` could not be measured.
    #[error("{0}")]
    Bench(String),
    /// Output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

fn named(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(" under the name `{name}`"))
}

impl CliError {
    pub(crate) fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), remedy: remedy.into() }
    }

    pub(crate) const fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// The exit code it leads to.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            // The reader of the pipe has seen enough: that is no failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Usage { .. } | Self::SeveralNodes { .. } => Exit::Usage,
            Self::NoNode { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } => Exit::Unreachable,
            Self::Denied { .. } => Exit::Denied,
            Self::Problem { .. }
            | Self::Protocol { .. }
            | Self::File { .. }
            | Self::Store { .. }
            | Self::Certificate(_)
            | Self::System { .. }
            | Self::Bench(_)
            | Self::Output(_) => Exit::Failed,
            Self::Topology(_) => Exit::Config,
            Self::Tree(_) => Exit::Tree,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        let remedy = match self {
            Self::Usage { remedy, .. } => remedy.clone(),
            Self::NoNode { running, .. } if !running.is_empty() => {
                format!("these do, name one with --node:\n{}", running.join("\n"))
            }
            Self::NoNode { .. } => {
                "start one with `nexus run FILE`, or name its address with --url".to_owned()
            }
            Self::SeveralNodes { same_name: true, .. } => "name one with --url".to_owned(),
            Self::SeveralNodes { .. } => "name one with --node NAME".to_owned(),
            Self::Unreachable { .. } => "start one with `nexus run FILE`, or name it with --url".to_owned(),
            Self::TimedOut { .. } => {
                "it may be overloaded: try again, or allow more with --timeout".to_owned()
            }
            Self::Denied { status: 401, token_sent: false, .. } => {
                "it wants the token that `nexus run` prints at start: give it with --token-file FILE or \
                 NEXUS_TOKEN"
                    .to_owned()
            }
            Self::Denied { status: 401, .. } => {
                "the token is not this node's: see --token-file and NEXUS_TOKEN".to_owned()
            }
            Self::Denied { .. } => "to steer agents set `allow_control = true` under [debug]".to_owned(),
            Self::Problem { remedy: Some(remedy), .. } => remedy.clone(),
            Self::Problem { problem, .. } => return remedy_of(problem),
            Self::Protocol { .. } => "check that --url names a Nexus node of this version".to_owned(),
            Self::File { .. }
            | Self::Store { .. }
            | Self::Certificate(_)
            | Self::System { .. }
            | Self::Topology(_)
            | Self::Tree(_)
            | Self::Bench(_)
            | Self::Output(_) => return None,
        };
        Some(remedy)
    }

    /// The error for programs: `-o json` writes it to the standard error.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut error = json!({ "message": self.to_string(), "exit": self.exit().code() });
        match self {
            Self::Problem { problem, .. } => error["problem"] = problem.clone(),
            Self::Topology(report) => {
                error["message"] = "the topology is invalid".into();
                error["report"] = serde_json::to_value(report).expect("a report is plain data");
            }
            _ => {}
        }
        if let Some(remedy) = self.remedy() {
            error["remedy"] = remedy.into();
        }
        json!({ "error": error })
    }
}

/// What a command can do about a problem: its commands where the endpoint would name routes, else the endpoint's own words.
fn remedy_of(problem: &Value) -> Option<String> {
    let remedy = match problem["code"].as_str() {
        Some("not_found") => "give `--default VALUE` to get an answer where there is no value",
        Some("unknown_agent") => "`nexus agents` lists the agents there are",
        Some("stopped") => "`nexus restart AGENT` starts it again; one that is dormant is woken by a message",
        Some("dormant") => "a message wakes it, such as `nexus ask AGENT KEY`",
        Some("crashed") => "the request is among `nexus dead-letters`; `nexus inspect AGENT` shows the exits",
        _ => return problem["remedy"].as_str().map(super::output::clean),
    };
    Some(remedy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every way a node cannot be used names a remedy, and a closed pipe is no failure.
    #[test]
    fn errors_name_the_remedy() {
        let url = || "http://127.0.0.1:7070".to_owned();
        let unreachable = CliError::Unreachable { url: url(), reason: "Connection refused".to_owned() };
        assert_eq!(unreachable.to_string(), "no node answers at http://127.0.0.1:7070: Connection refused");
        assert_eq!(unreachable.remedy().unwrap(), "start one with `nexus run FILE`, or name it with --url");
        let denied =
            CliError::Denied { url: url(), detail: "no token".to_owned(), status: 401, token_sent: false };
        assert!(denied.remedy().unwrap().contains("NEXUS_TOKEN"));
        assert_eq!(denied.to_json()["error"]["exit"], 5);
        let pipe = CliError::Output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(pipe.exit(), Exit::Ok);
    }
}
