//! The store's limits.

use std::path::PathBuf;

/// How a node keeps its agents' states on disk.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The directory of the store's file. It is made if it is not there.
    pub path: PathBuf,
    /// The file never grows past this; updates that would need more are refused. It grows by doubling, from 4 GiB on by 4 GiB, so a
    /// power of two wastes nothing. At least 4 MiB. Default: none.
    pub max_bytes: Option<u64>,
    /// Bytes that may wait to be written, at most; one state may always wait. More lets agents go on for longer while the disk
    /// is slow, and costs memory. Default 64 MiB.
    pub queue_bytes: u64,
    /// Pages of the file kept in memory, in bytes. More makes writes into a large store faster. Default 64 MiB.
    pub cache_bytes: u64,
}

/// The file in the store's directory.
pub const FILE_NAME: &str = "nexus.redb";

/// The smallest limit of the file: a new one has 1.1 MiB, and a commit writes next to what it replaces.
pub const MAX_BYTES_MIN: u64 = 4 << 20;

impl StoreConfig {
    /// A store in the directory `path`, without a limit.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: None, queue_bytes: 64 << 20, cache_bytes: 64 << 20 }
    }
}
