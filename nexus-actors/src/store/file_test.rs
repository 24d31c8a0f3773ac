//! The store in a real file, with threads of its own.

use std::fs;
use std::sync::Arc;

use futures::future::join_all;
use redb::{Database, TableDefinition};

use super::config::{FILE_NAME, StoreConfig};
use super::core::{Changes, Write};
use super::disk::{Disk as _, FileDisk};
use super::engine::Engine;
use super::error::StoreError;
use super::fault::FaultDisk;
use super::handle::Store;
use super::testing::{Sums, start};
use crate::rng::Seed;

/// Goal: many agents on many threads write each update into one file; a second process is refused meanwhile; after a graceful end
/// all is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_fleet_in_one_file() {
    const AGENTS: u64 = 20;
    const EACH: u64 = 15;
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::new(directory.path().join("made/on/demand"));
    let site = start(Store::open(config.clone()).unwrap()).await;
    let refused = Store::open(config.clone()).err().unwrap();
    assert!(matches!(&refused, StoreError::InUse { path } if path.contains(FILE_NAME)), "{refused}");
    let adding = (0..AGENTS * EACH).map(|number| {
        let site = &site;
        async move { site.add(&format!("each/{}", number % AGENTS), 1).await }
    });
    for added in join_all(adding).await {
        added.unwrap();
    }
    let status = site.store.status();
    assert!(status.snapshots >= AGENTS && status.commits <= status.snapshots, "{status:?}");
    site.root.shutdown().await;
    drop(site);

    let site = start(Store::open(config).unwrap()).await;
    assert_eq!((site.restored.dormant, site.restored.damaged), (AGENTS, 0));
    for agent in 0..AGENTS {
        assert_eq!(site.sum(&format!("each/{agent}")).await, Ok(Sums { sum: EACH, count: EACH }));
    }
    site.root.shutdown().await;
}

/// Goal: a file of which most is unused shrinks and keeps what it holds; one that is used, or small, is left alone.
#[test]
fn unused_parts_are_given_back() {
    const AGENTS: usize = 2000;
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(FileDisk::new(directory.path()));
    let mut engine = Engine::new(disk.clone(), None, 16 << 20);
    engine.open().unwrap();
    let write = |engine: &mut Engine, every: usize, bytes: usize| {
        let record = Write { record: vec![7; bytes].into(), keep: true };
        let agents = (0..AGENTS).filter(|agent| agent % 10 % every == 0);
        let agents = agents.map(|agent| (format!("a/{agent:05}").into(), record.clone())).collect();
        engine.commit(&Changes { agents, ..Changes::default() }, 1).unwrap();
    };
    write(&mut engine, 1, 3000);
    assert!(!engine.compact_if_worth(0).unwrap(), "used");
    write(&mut engine, 1, 10);
    write(&mut engine, 10, 3000);
    engine.close().unwrap();
    engine.open().unwrap();
    let before = disk.bytes();
    assert!(!engine.compact_if_worth(before + 1).unwrap(), "small");
    assert!(engine.compact_if_worth(before).unwrap(), "most of it is unused");
    assert!(disk.bytes() <= before / 2, "{} of {before} bytes are left", disk.bytes());
    let mut held = 0;
    let seen = engine.scan(|_, record| {
        held += record.len();
        Ok(())
    });
    assert_eq!(seen, Ok(Vec::new()));
    assert_eq!(held, AGENTS / 10 * 3000 + AGENTS / 10 * 9 * 10);
}

/// Goal: a process that ends while it makes its file, at any moment, by a kill or with the power, can start again.
#[test]
fn a_file_cut_short_while_it_is_made() {
    let mut rng = Seed::new(7).stream("power");
    // Opening and, when it is dropped, closing.
    let disk = FaultDisk::new();
    let mut engine = Engine::new(Arc::new(disk.clone()), None, 16 << 20);
    engine.open().unwrap();
    let opening = disk.operations();
    drop(engine);
    let operations = disk.operations();
    assert!(opening > 5, "{opening}");
    for last in 1..=operations {
        for power in [None, Some(1), Some(2), Some(3)] {
            let disk = FaultDisk::new();
            disk.fail_at(last, true);
            let cut = Engine::new(Arc::new(disk.clone()), None, 16 << 20).open();
            assert_eq!(cut.is_err(), last <= opening, "operation {last} of {opening} and {operations}");
            disk.repair();
            if power.is_some() {
                disk.power_loss(&mut rng);
            }
            let opened = Engine::new(Arc::new(disk), None, 16 << 20).open();
            assert_eq!(opened.map(|opened| opened.sequence), Ok(0), "operation {last}, power {power:?}");
        }
    }
}

/// Goal: a file that is no store, one of another format, and a directory that cannot be made are errors that name what is wrong.
#[test]
fn other_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::new(directory.path());
    let file = directory.path().join(FILE_NAME);
    for garbage in [vec![0xaa; 100], vec![0xaa; 2 << 20], b"redb\x1a\x0a\xa9\x0d\x0a".repeat(300_000)] {
        fs::write(&file, &garbage).unwrap();
        let refused = Store::open(config.clone()).err().unwrap();
        assert!(matches!(&refused, StoreError::Damaged { .. } | StoreError::Io { .. }), "{refused}");
        assert_eq!(fs::read(&file).unwrap().len(), garbage.len(), "it is left as it was");
    }
    fs::remove_file(&file).unwrap();
    let database = Database::create(&file).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    transaction.open_table(meta).unwrap().insert("format", 99).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = Store::open(config.clone()).err().unwrap();
    assert!(matches!(refused, StoreError::Format { found: 99, known: 1, .. }), "{refused}");
    let below = StoreConfig::new(file.join("below/a/file"));
    assert!(matches!(Store::open(below), Err(StoreError::Io { .. })));
}
