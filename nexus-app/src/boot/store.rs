//! From the topology to an open store, the agents in it, and feeds that go on at their marks.

use std::path::PathBuf;
use std::sync::Arc;

use nexus_actors::Node;
use nexus_actors::clock::Clock;
use nexus_actors::store::{FILE_NAME, Restored, Store, StoreConfig, StoreError};
use tokio::signal::unix::{SignalKind, signal};

use super::BootError;
use crate::feed::{self, FeedConfig, FeedError, FeedSlot, KeptPlace, Place, ReadMode};
use crate::topology::Topology;

/// Opens the store that the topology has, if it has one.
///
/// # Errors
/// [`BootError::Store`]: what is wrong with folder or file, and what to do.
pub(super) async fn open(topology: &Topology) -> Result<Option<Store>, BootError> {
    let Some(config) = &topology.store else { return Ok(None) };
    outlive_size_limits();
    let path = topology.base_dir.join(&config.path);
    let config = StoreConfig { max_bytes: Some(config.max_bytes), ..StoreConfig::new(&path) };
    let path = path.join(FILE_NAME);
    let opening = blocking(move || Store::open(config)).await;
    opening.map(Some).map_err(|error| unusable(path, error))
}

/// Brings the store's agents back, once all agents are declared.
///
/// # Errors
/// [`BootError::Store`]: the store cannot be read.
pub(super) async fn restore(node: &Node) -> Result<Option<Restored>, BootError> {
    let Some(store) = node.store() else { return Ok(None) };
    let path = PathBuf::from(&*store.path());
    let node = node.clone();
    let restored = blocking(move || node.restore()).await.map_err(|error| unusable(path, error))?;
    let Restored { dormant, declared, damaged, unclaimed, .. } = restored;
    tracing::info!(dormant, declared, damaged, unclaimed, "agents in the store");
    for lost in &restored.not_restored {
        tracing::warn!(agent = %lost.agent, reason = lost.reason, "not brought back from the store");
    }
    Ok(Some(restored))
}

/// The topology's feeds, each at its place.
///
/// # Errors
/// [`BootError::Store`]: the store has no number for one of them.
pub(super) async fn feeds(
    topology: &Topology,
    store: Option<&Store>,
    is_clustered: bool,
    clock: Clock,
) -> Result<Vec<Arc<FeedSlot>>, BootError> {
    let mut slots = Vec::with_capacity(topology.feed.len());
    let mut numbers = Vec::new();
    for config in &topology.feed {
        let place = match (store, topology.not_kept(config)) {
            _ if is_clustered => relayed(topology, config, &mut numbers).await,
            (Some(store), None) => place(topology, config, store).await?,
            (_, why) => Place::NotKept(why.unwrap_or("the node has no store").into()),
        };
        slots.push(FeedSlot::at(config.clone(), &topology.base_dir, clock, place, ReadMode::Thread));
    }
    Ok(slots)
}

/// A feed that the cluster runs once; `numbers` are those of the feeds before it. Each node reads its own where a source can be read only
/// once.
async fn relayed(topology: &Topology, config: &FeedConfig, numbers: &mut Vec<u16>) -> Place {
    match digest(topology, config).await {
        Ok(Some(digest)) => {
            let number = feed::number(&config.name, digest, |number| numbers.contains(&number));
            numbers.push(number);
            Place::Relayed(number)
        }
        Ok(None) => Place::NotKept("its source cannot be read again, so each node reads its own".into()),
        Err(error) => Place::Refused { confirmed: 0, why: error.to_string().into() },
    }
}

async fn digest(topology: &Topology, config: &FeedConfig) -> Result<Option<u64>, FeedError> {
    let (reading, base_dir) = (config.clone(), topology.base_dir.clone());
    blocking(move || feed::digest(&reading, &base_dir)).await
}

/// Where the feed goes on; or, if the store has another sequence under its name, that it must not.
async fn place(topology: &Topology, config: &FeedConfig, store: &Store) -> Result<Place, BootError> {
    let name = &config.name;
    let number = store.feed_number(name).map_err(|error| unusable(PathBuf::from(&*store.path()), error))?;
    let mark = store.feed(name);
    let confirmed = mark.as_ref().map_or(0, |mark| mark.position);
    let digest = match digest(topology, config).await {
        Ok(Some(digest)) => digest,
        Ok(None) => return Ok(Place::NotKept("its source cannot be read again".into())),
        Err(error) => return Ok(Place::Refused { confirmed, why: error.to_string().into() }),
    };
    if mark.is_some_and(|mark| mark.digest != digest) {
        let why = format!(
            "the store has {confirmed} requests of a feed `{name}` with another source or mapping, and this one cannot go on there: \
             put the source and the mapping back, or give the feed another name, under which it begins anew"
        );
        return Ok(Place::Refused { confirmed, why: why.into() });
    }
    let every = topology.store.as_ref().map(|store| store.checkpoint).unwrap_or_default();
    Ok(Place::Kept(KeptPlace { number, digest, confirmed, every }))
}

/// A write past a limit on the size of files (`ulimit -f`) is to fail like one to a full disk; by default its signal ends the
/// process.
fn outlive_size_limits() {
    // The handler stays when the listener goes, and has nothing to do.
    let handler = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    if let Err(error) = handler {
        tracing::warn!(%error, "a limit on the size of files would end the process");
    }
}

fn unusable(path: PathBuf, source: StoreError) -> BootError {
    let remedy = match &source {
        StoreError::InUse { .. } => "stop the other node, or give this one a `store.path` of its own",
        StoreError::Io { .. } => "`store.path` must be a folder that this user can write to",
        _ => "",
    };
    BootError::Store { path, remedy, source }
}

async fn blocking<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
