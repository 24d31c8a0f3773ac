//! A simulated node's disk: survives its node, loses what was not synced, is slow on request, and has all that is written in the trace.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nexus_actors::rng::Rng;
use nexus_actors::store::fault::FaultDisk;
use nexus_actors::store::{Disk, StorageBackend};
use xxhash_rust::xxh3::xxh3_64;

use super::chronicle::note;

/// See the module. Cheap to clone; all clones are one disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    node: Arc<str>,
    disk: FaultDisk,
    latency_ms: Arc<AtomicU64>,
}

impl SimDisk {
    /// The empty disk of `node`.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self { node: node.into(), disk: FaultDisk::new(), latency_ms: Arc::default() }
    }

    /// From now on a commit takes this long.
    pub fn set_latency(&self, latency: Duration) {
        self.latency_ms.store(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The power of its node fails.
    pub fn power_loss(&self, rng: &mut Rng) {
        self.disk.power_loss(rng);
    }
}

impl Disk for SimDisk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        note(format_args!("disk of {} opened, {} bytes", self.node, self.disk.bytes()));
        Ok(Box::new(Traced { node: self.node.clone(), backend: self.disk.open()? }))
    }

    fn path(&self) -> Arc<str> {
        self.disk.path()
    }

    fn bytes(&self) -> u64 {
        self.disk.bytes()
    }

    fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms.load(Ordering::Relaxed))
    }
}

/// Writes down what is written.
#[derive(Debug)]
struct Traced {
    node: Arc<str>,
    backend: Box<dyn StorageBackend>,
}

impl StorageBackend for Traced {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        note(format_args!("disk of {} has {len} bytes", self.node));
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        note(format_args!("disk of {} syncs", self.node));
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        note(format_args!("disk of {} at {offset} {} bytes {:016x}", self.node, data.len(), xxh3_64(data)));
        self.backend.write(offset, data)
    }
}
