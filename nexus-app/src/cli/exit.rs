//! Exit codes: one table, used by `--help` and the documentation.

use std::fmt::Write as _;
use std::process::ExitCode;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command did what it was asked to; a node stopped in order.
    Ok = 0,
    /// The command failed: the agent answered an error, there is no such agent, the answer makes no sense.
    Failed = 1,
    /// The command line is wrong, or names no single node.
    Usage = 2,
    /// The topology is invalid.
    Config = 3,
    /// No node answers.
    Unreachable = 4,
    /// The node refuses: no token, a wrong one, or control is not allowed.
    Denied = 5,
    /// The node ended because its tree failed.
    Tree = 6,
    /// A second Ctrl-C or SIGTERM ended the node at once.
    Interrupted = 130,
}

impl Exit {
    /// All of them, by number.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::Config,
        Self::Unreachable,
        Self::Denied,
        Self::Tree,
        Self::Interrupted,
    ];

    /// The number the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in one line.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done; for `run`: the node stopped in order",
            Self::Failed => {
                "the command failed, the agent answered with an error, or a node had to be killed to stop"
            }
            Self::Usage => "wrong usage, or it is not clear which node is meant",
            Self::Config => "the topology is invalid",
            Self::Unreachable => "no node can be reached",
            Self::Denied => "the node refused: token missing or wrong, or control not allowed",
            Self::Tree => "the tree failed to start, or gave up while running",
            Self::Interrupted => "ended at once by a second Ctrl-C or SIGTERM",
        }
    }

    /// The table as `--help` shows it.
    #[must_use]
    pub fn help() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Self::ALL {
            let _ = writeln!(text, "  {:>3}  {}", exit.code(), exit.meaning());
        }
        text
    }

    /// The table in Markdown, for the documentation.
    #[must_use]
    pub fn markdown() -> String {
        let mut text = String::from("| code | meaning |\n|---:|---|\n");
        for exit in Self::ALL {
            let _ = writeln!(text, "| {} | {} |", exit.code(), exit.meaning());
        }
        text
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: codes are distinct and in order, and both tables have all of them.
    #[test]
    fn the_table_is_complete() {
        assert!(Exit::ALL.windows(2).all(|pair| pair[0].code() < pair[1].code()));
        for table in [Exit::help(), Exit::markdown()] {
            for exit in Exit::ALL {
                assert!(
                    table.contains(&exit.code().to_string()) && table.contains(exit.meaning()),
                    "{table}"
                );
            }
        }
    }
}
