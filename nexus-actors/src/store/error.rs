//! What can go wrong with the store.

use std::sync::Arc;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, or the file would grow past its limit. Nothing of the transaction is written; the store tries again by
    /// itself. Make room, or raise the limit.
    #[error("the store is full ({reason}): make room on its disk, or raise [store] max_bytes")]
    Full {
        /// The operating system's words, or the limit.
        reason: Arc<str>,
    },
    /// Reading or writing failed. Whether the transaction at hand is on disk is not known; the store opens its file again and
    /// tries again by itself.
    #[error("the store's disk fails: {reason}")]
    Io {
        /// The operating system's words.
        reason: Arc<str>,
    },
    /// The file is not what was written. Nothing is changed; restore a copy of it, or move it away to start without.
    #[error(
        "the store's file is damaged: {reason}; restore a copy of it, or move it away to start without it"
    )]
    Damaged {
        /// What was found.
        reason: Arc<str>,
    },
    /// Another process, or another store of this one, has the file open.
    #[error("the store `{path}` is in use by another process: a store belongs to one node")]
    InUse {
        /// The file.
        path: Arc<str>,
    },
    /// The file was written by another version of Nexus. Nothing is changed.
    #[error("the store `{path}` has format {found}, and this version of Nexus reads {known}")]
    Format {
        /// The file.
        path: Arc<str>,
        /// Its format.
        found: u64,
        /// The one that is known.
        known: u64,
    },
    /// As much as is allowed waits to be written already. Nothing was taken; try again when there is room.
    #[error("{waiting} bytes wait to be written to the store already, its limit is {limit}")]
    Busy {
        /// Bytes waiting.
        waiting: u64,
        /// The limit.
        limit: u64,
    },
    /// An agent's state is too large. It was not taken; the one stored before is kept.
    #[error("the state of `{agent}` has {bytes} bytes, more than the store's limit of {limit}")]
    TooLarge {
        /// The agent.
        agent: Arc<str>,
        /// The size of its state.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A behavior could not write its state down. The one stored before is kept.
    #[error("the state of `{agent}` cannot be written down: {reason}")]
    Unwritable {
        /// The agent.
        agent: Arc<str>,
        /// What the encoder said.
        reason: Arc<str>,
    },
    /// More feeds than there are numbers for.
    #[error("the store knows 65,535 feeds already and has no number for `{feed}`")]
    TooManyFeeds {
        /// The feed.
        feed: Arc<str>,
    },
    /// The node has no store.
    #[error("this node has no store: give it [store] path")]
    NoStore,
    /// The store has been stopped with its node.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn io(error: &std::io::Error) -> Self {
        let reason: Arc<str> = error.to_string().into();
        match error.kind() {
            // The last one is `RLIMIT_FSIZE`.
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge => Self::Full { reason },
            // So redb calls a file that is none of its own, or not all of it.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => Self::Damaged { reason },
            _ => Self::Io { reason },
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::io(&error),
            redb::Error::PreviousIo => Self::Io { reason: "an earlier operation failed".into() },
            redb::Error::DatabaseClosed => Self::Closed,
            other => Self::Damaged { reason: other.to_string().into() },
        }
    }
}
