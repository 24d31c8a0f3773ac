//! The file: one redb database, opened again after each failure. Blocks; called from a thread that may.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
};

use super::core::{Changes, FeedRow};
use super::disk::{Capped, Disk, Failure};
use super::error::StoreError;

/// What is known of each agent, by name.
const AGENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("agents");
/// Records that were found damaged, by agent: nothing reads them, nothing deletes them.
const DAMAGED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("damaged");
/// Number, position and digest of each feed; position and digest only once there was a checkpoint.
const FEEDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("feeds");
/// The format of these tables, and the last sequence number.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const FORMAT: &str = "format";
const SEQUENCE: &str = "sequence";
/// The format this version reads and writes.
const FORMAT_KNOWN: u64 = 1;

/// A file at least this large, of which less than a half is used, is worth compacting while it is opened.
pub(crate) const COMPACT_FROM: u64 = 64 << 20;

/// Agents whose record is damaged, and what is wrong with it.
pub(crate) type Damaged = Vec<(Arc<str>, String)>;

/// See the module.
pub(crate) struct Engine {
    disk: Arc<dyn Disk>,
    max_bytes: Option<u64>,
    cache_bytes: u64,
    /// None after a failure, until it is needed.
    database: Option<Database>,
    /// The first failure of the disk in the operation at hand.
    failure: Failure,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("disk", &self.disk).field("open", &self.database.is_some()).finish()
    }
}

/// What the file says of itself.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    pub(crate) feeds: BTreeMap<Arc<str>, FeedRow>,
    pub(crate) sequence: u64,
    pub(crate) damaged: u64,
}

impl Engine {
    pub(crate) fn new(disk: Arc<dyn Disk>, max_bytes: Option<u64>, cache_bytes: u64) -> Self {
        Self { disk, max_bytes, cache_bytes, database: None, failure: Failure::default() }
    }

    /// Opens the file, or makes it, and reads what is read once.
    pub(crate) fn open(&mut self) -> Result<Opened, StoreError> {
        let path = self.disk.path();
        self.guarded(|database| {
            let transaction = database.begin_write()?;
            {
                let mut meta = transaction.open_table(META)?;
                let found = meta.get(FORMAT)?.map(|format| format.value());
                match found {
                    None => drop(meta.insert(FORMAT, FORMAT_KNOWN)?),
                    Some(FORMAT_KNOWN) => {}
                    Some(found) => {
                        return Ok(Err(StoreError::Format { path, found, known: FORMAT_KNOWN }));
                    }
                }
                transaction.open_table(AGENTS)?;
                transaction.open_table(DAMAGED)?;
                transaction.open_table(FEEDS)?;
            }
            transaction.commit()?;
            let transaction = database.begin_read()?;
            let mut opened = Opened {
                sequence: transaction.open_table(META)?.get(SEQUENCE)?.map_or(0, |last| last.value()),
                damaged: transaction.open_table(DAMAGED)?.len()?,
                ..Opened::default()
            };
            for entry in transaction.open_table(FEEDS)?.iter()? {
                let (name, row) = entry?;
                let Some(row) = decode_feed(row.value()) else {
                    let reason = format!("the record of the feed `{}`", name.value()).into();
                    return Ok(Err(StoreError::Damaged { reason }));
                };
                opened.feeds.insert(name.value().into(), row);
            }
            Ok(Ok(opened))
        })?
    }

    /// Writes all of `changes`, or nothing.
    pub(crate) fn commit(&mut self, changes: &Changes, sequence: u64) -> Result<(), StoreError> {
        self.guarded(|database| {
            let transaction = database.begin_write()?;
            {
                let mut agents = transaction.open_table(AGENTS)?;
                for (name, write) in &changes.agents {
                    // An empty record is that of an agent that lives elsewhere now.
                    if write.record.is_empty() {
                        agents.remove(&**name)?;
                    } else {
                        agents.insert(&**name, &*write.record)?;
                    }
                }
                let mut feeds = transaction.open_table(FEEDS)?;
                for (name, row) in &changes.feeds {
                    let mark = match row.mark {
                        Some(mark) => Some(mark),
                        None => feeds
                            .get(&**name)?
                            .and_then(|row| decode_feed(row.value()))
                            .and_then(|row| row.mark),
                    };
                    feeds.insert(&**name, &*encode_feed(&FeedRow { mark, ..row.clone() }))?;
                }
                transaction.open_table(META)?.insert(SEQUENCE, sequence)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// How many agents have a record.
    pub(crate) fn agents(&mut self) -> Result<u64, StoreError> {
        self.guarded(|database| Ok(database.begin_read()?.open_table(AGENTS)?.len()?))
    }

    /// Shows every agent's record, in the order of their names, to `see`, and changes nothing. Those in which it finds damage, and
    /// how many were put aside earlier.
    pub(crate) fn read(
        &mut self,
        mut see: impl FnMut(&str, &[u8]) -> Result<(), String>,
    ) -> Result<(Damaged, u64), StoreError> {
        self.guarded(|database| {
            let transaction = database.begin_read()?;
            let mut damaged = Vec::new();
            for entry in transaction.open_table(AGENTS)?.iter()? {
                let (name, record) = entry?;
                if let Err(reason) = see(name.value(), record.value()) {
                    damaged.push((name.value().into(), reason));
                }
            }
            Ok((damaged, transaction.open_table(DAMAGED)?.len()?))
        })
    }

    /// Shows every agent's record, in the order of their names, to `see`; those in which it finds damage are put aside.
    pub(crate) fn scan(
        &mut self,
        mut see: impl FnMut(&str, &[u8]) -> Result<(), String>,
    ) -> Result<Vec<(Arc<str>, String)>, StoreError> {
        self.guarded(|database| {
            let mut damaged = Vec::new();
            for entry in database.begin_read()?.open_table(AGENTS)?.iter()? {
                let (name, record) = entry?;
                if let Err(reason) = see(name.value(), record.value()) {
                    damaged.push((name.value().into(), reason));
                }
            }
            if !damaged.is_empty() {
                let transaction = database.begin_write()?;
                {
                    let (mut agents, mut aside) =
                        (transaction.open_table(AGENTS)?, transaction.open_table(DAMAGED)?);
                    for (name, _) in &damaged {
                        let name: &Arc<str> = name;
                        if let Some(record) = agents.remove(&**name)? {
                            aside.insert(&**name, record.value())?;
                        }
                    }
                }
                transaction.commit()?;
            }
            Ok(damaged)
        })
    }

    /// Gives unused parts of the file back. Answers whether there were any.
    pub(crate) fn compact(&mut self) -> Result<bool, StoreError> {
        self.guarded(|database| {
            database.compact().map_err(|error| match error {
                redb::CompactionError::Storage(error) => redb::Error::from(error),
                other => redb::Error::Corrupted(other.to_string()),
            })
        })
    }

    /// Compacts the file if it has `from` bytes and less than half of them are used.
    pub(crate) fn compact_if_worth(&mut self, from: u64) -> Result<bool, StoreError> {
        let bytes = self.bytes();
        if bytes < from {
            return Ok(false);
        }
        let used = self.guarded(|database| {
            let transaction = database.begin_write()?;
            let stats = transaction.stats()?;
            transaction.abort()?;
            Ok(stats.allocated_pages() * stats.page_size() as u64)
        })?;
        if used > bytes / 2 { Ok(false) } else { self.compact() }
    }

    /// The length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.disk.bytes()
    }

    /// Closes the file, so that it need not be repaired when it is opened.
    pub(crate) fn close(&mut self) -> Result<(), StoreError> {
        match self.database.take() {
            None => Ok(()),
            Some(database) => database.close().map_err(|error| self.error_on_open(error)),
        }
    }

    /// Runs `work` on the open database. After any failure, a panic included, the file is closed and opened anew the next time:
    /// redb then goes back to the last commit.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        *self.failure.lock() = None;
        let mut database = match self.database.take() {
            Some(database) => database,
            None => self.open_database()?,
        };
        match catch_unwind(AssertUnwindSafe(|| work(&mut database))) {
            Ok(Ok(value)) => {
                self.database = Some(database);
                Ok(value)
            }
            Ok(Err(error)) => {
                drop_quietly(database);
                Err(self.failed(error.into()))
            }
            Err(_) => {
                drop_quietly(database);
                Err(StoreError::Damaged { reason: "redb panicked, see the log".into() })
            }
        }
    }

    fn open_database(&self) -> Result<Database, StoreError> {
        let backend = self.disk.open().map_err(|error| StoreError::io(&error))?;
        let backend = Capped::new(backend, self.max_bytes, self.failure.clone());
        let cache_bytes = usize::try_from(self.cache_bytes).unwrap_or(usize::MAX);
        let opening = catch_unwind(AssertUnwindSafe(|| {
            Builder::new().set_cache_size(cache_bytes).create_with_backend(backend)
        }));
        match opening {
            Ok(opened) => opened.map_err(|error| self.error_on_open(error)),
            Err(_) => Err(StoreError::Damaged {
                reason: "redb panicked while it opened the file, see the log".into(),
            }),
        }
    }

    fn error_on_open(&self, error: DatabaseError) -> StoreError {
        match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: self.disk.path() },
            other => self.failed(redb::Error::from(other).into()),
        }
    }

    /// What the disk said, or else redb's `error`.
    fn failed(&self, error: StoreError) -> StoreError {
        self.failure.lock().clone().unwrap_or(error)
    }
}

/// A database whose disk has failed may panic once more while it is closed.
fn drop_quietly(database: Database) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
}

fn encode_feed(row: &FeedRow) -> Vec<u8> {
    let mut bytes = row.number.to_le_bytes().to_vec();
    if let Some((position, digest)) = row.mark {
        bytes.extend(position.to_le_bytes());
        bytes.extend(digest.to_le_bytes());
    }
    bytes
}

fn decode_feed(bytes: &[u8]) -> Option<FeedRow> {
    let (number, mark) = bytes.split_first_chunk()?;
    let mark = match mark.split_first_chunk() {
        None if mark.is_empty() => None,
        None => return None,
        Some((position, digest)) => {
            Some((u64::from_le_bytes(*position), u64::from_le_bytes(digest.try_into().ok()?)))
        }
    };
    Some(FeedRow { number: u16::from_le_bytes(*number), mark })
}
