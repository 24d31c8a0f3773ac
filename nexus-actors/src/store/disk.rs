//! Where the store's bytes lie: a file, or something that behaves like one and fails on request ([`super::fault`]).

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::config::FILE_NAME;
use super::error::StoreError;

/// Something that holds a store's file.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens the file, and makes it if there is none. May block.
    ///
    /// # Errors
    /// The operating system's.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// What to call the file in messages.
    fn path(&self) -> Arc<str>;

    /// The file's length, 0 if it cannot be told.
    fn bytes(&self) -> u64;

    /// How long a commit takes beside the time that passes while it is done: simulated disks, whose work takes no time, are slow by
    /// this. Default nothing.
    fn latency(&self) -> Duration {
        Duration::ZERO
    }
}

/// A file in a directory.
#[derive(Debug)]
pub(crate) struct FileDisk {
    directory: PathBuf,
    file: PathBuf,
}

impl FileDisk {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), file: directory.join(FILE_NAME) }
    }
}

impl Disk for FileDisk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        fs::create_dir_all(&self.directory)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.file)?;
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    }

    fn path(&self) -> Arc<str> {
        self.file.display().to_string().into()
    }

    fn bytes(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |file| file.len())
    }
}

/// The first failure of a backend since it was last asked: redb names only the first operation that fails and calls the rest
/// previous errors.
pub(crate) type Failure = Arc<Mutex<Option<StoreError>>>;

/// What every finished file begins with.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// A backend that does not grow past a limit, remembers its first failure, and takes a file whose making was cut short for none.
#[derive(Debug)]
pub(crate) struct Capped {
    inner: Box<dyn StorageBackend>,
    max_bytes: Option<u64>,
    failure: Failure,
    /// Whether [`Capped::clear_unfinished`] has run: redb asks for the length first, once it holds the file's lock.
    examined: AtomicBool,
}

impl Capped {
    pub(crate) fn new(inner: Box<dyn StorageBackend>, max_bytes: Option<u64>, failure: Failure) -> Self {
        Self { inner, max_bytes, failure, examined: AtomicBool::new(false) }
    }

    /// Empties a file that holds nothing yet: redb gives a new file its length first and its magic number last, and refuses for ever
    /// one that a `kill -9` or a power failure left in between.
    fn clear_unfinished(&self) -> io::Result<()> {
        let mut found = [0; MAGIC.len()];
        let length = usize::try_from(self.inner.len()?).unwrap_or(usize::MAX).min(found.len());
        self.inner.read(0, &mut found[..length])?;
        let begun = found.iter().zip(MAGIC).take_while(|(found, magic)| *found == magic).count();
        if length > 0 && begun < MAGIC.len() && found[begun..].iter().all(|byte| *byte == 0) {
            tracing::warn!("the store's file was not finished when it was made: it is made anew");
            self.inner.set_len(0)?;
        }
        Ok(())
    }

    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            self.failure.lock().get_or_insert_with(|| StoreError::io(error));
        })
    }
}

impl StorageBackend for Capped {
    fn len(&self) -> io::Result<u64> {
        if !self.examined.swap(true, Ordering::Relaxed) {
            self.noted(self.clear_unfinished())?;
        }
        self.noted(self.inner.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.noted(self.inner.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.noted(match self.max_bytes {
            Some(max) if len > max => {
                let reason = format!("its file would grow to {len} bytes, its limit is {max}");
                Err(io::Error::new(ErrorKind::StorageFull, reason))
            }
            _ => self.inner.set_len(len),
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.noted(self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.noted(self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.noted(self.inner.close())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
