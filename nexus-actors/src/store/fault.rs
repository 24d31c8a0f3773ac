//! A disk in memory that fails on request: for tests, here and in other crates, and for simulation.
//!
//! What was written and not synced is lost by a [power loss](FaultDisk::power_loss), except for a part that the generator chooses,
//! and the last write that survives may be torn. All failures are the caller's choice: two runs with one seed are alike.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng as _;
use redb::StorageBackend;

use super::disk::Disk;
use crate::rng::Rng;

/// A file in memory that fails on request. Cheap to clone; all clones are one disk.
#[derive(Clone, Default)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What a power loss leaves in any case.
    synced: Vec<u8>,
    /// What is read.
    written: Vec<u8>,
    /// What was done since the last sync, in order.
    unsynced: Vec<Change>,
    /// The file's length may not exceed this.
    capacity: Option<u64>,
    /// Bytes that may still be written.
    budget: Option<u64>,
    /// Operations that write or sync until one fails with an I/O error.
    fails_in: Option<u64>,
    /// Whether all fail after that one.
    stays_broken: bool,
    /// Operations that wrote or synced so far.
    operations: u64,
    /// Grows with each power loss: backends opened before it are dead.
    generation: u64,
}

enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>, bytes: Option<usize>) {
        match self {
            Self::Length(length) => file.resize(*length, 0),
            Self::Write(at, data) => {
                let data = &data[..bytes.unwrap_or(data.len())];
                if file.len() < at + data.len() {
                    file.resize(at + data.len(), 0);
                }
                file[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

impl fmt::Debug for FaultDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("FaultDisk")
            .field("bytes", &state.written.len())
            .field("operations", &state.operations)
            .finish_non_exhaustive()
    }
}

impl FaultDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the file cannot grow past `bytes`.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = Some(bytes);
    }

    /// The disk is full once this many more bytes are written, also within the file's length: real files have holes.
    pub fn full_after(&self, bytes: u64) {
        self.state.lock().budget = Some(bytes);
    }

    /// The `n`-th write, change of length or sync from now on (1: the next) fails with an I/O error and changes nothing; with
    /// `stays_broken` all after it too, and reads.
    pub fn fail_at(&self, n: u64, stays_broken: bool) {
        let mut state = self.state.lock();
        state.fails_in = Some(n.max(1));
        state.stays_broken = stays_broken;
    }

    /// No more I/O errors, and room again.
    pub fn repair(&self) {
        let mut state = self.state.lock();
        state.fails_in = None;
        state.capacity = None;
        state.budget = None;
    }

    /// Writes, changes of length and syncs so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// The power fails and comes back: what was not synced survives up to a point that `rng` chooses, the last write perhaps in
    /// part. Backends opened before are dead, as their process would be.
    pub fn power_loss(&self, rng: &mut Rng) {
        let mut state = self.state.lock();
        let unsynced = std::mem::take(&mut state.unsynced);
        let survivors = rng.random_range(0..=unsynced.len());
        let mut file = std::mem::take(&mut state.synced);
        for (at, change) in unsynced.iter().take(survivors).enumerate() {
            let torn = match change {
                Change::Write(_, data) if at + 1 == survivors => Some(rng.random_range(0..=data.len())),
                _ => None,
            };
            change.apply(&mut file, torn);
        }
        state.written.clone_from(&file);
        state.synced = file;
        state.generation += 1;
    }

    /// Changes a byte of the file behind the store's back.
    ///
    /// # Panics
    /// If the file is not that long.
    pub fn damage(&self, at: u64, flip: u8) {
        let state = &mut *self.state.lock();
        let at = usize::try_from(at).expect("a file in memory");
        state.written[at] ^= flip;
        state.synced.clone_from(&state.written);
        state.unsynced.clear();
    }

    /// The places in the file at which `bytes` are found.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Vec<u64> {
        let state = self.state.lock();
        let windows = state.written.windows(bytes.len().max(1)).enumerate();
        windows.filter(|(_, window)| *window == bytes).map(|(at, _)| at as u64).collect()
    }
}

impl Disk for FaultDisk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let mut state = self.state.lock();
        if state.is_broken() {
            return Err(broken());
        }
        // One owner at a time, as a file lock has it; the one before is gone or has failed.
        state.generation += 1;
        Ok(Box::new(FaultBackend { disk: self.clone(), generation: state.generation }))
    }

    fn path(&self) -> Arc<str> {
        "memory".into()
    }

    fn bytes(&self) -> u64 {
        self.state.lock().written.len() as u64
    }
}

impl State {
    const fn is_broken(&self) -> bool {
        matches!(self.fails_in, Some(0)) && self.stays_broken
    }

    /// Counts an operation that changes something, and fails if it is its turn.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.fails_in {
            None => Ok(()),
            Some(0) if self.stays_broken => Err(broken()),
            Some(0) => Ok(()),
            Some(left) => {
                *left -= 1;
                if *left == 0 { Err(broken()) } else { Ok(()) }
            }
        }
    }

    /// Whether the file may be that long.
    fn reach(&self, length: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if length > capacity.max(self.written.len() as u64) => {
                Err(ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    /// Whether that much may still be written.
    fn spend(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(budget) = &mut self.budget {
            *budget = budget.checked_sub(bytes).ok_or(ErrorKind::StorageFull)?;
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.written, None);
        self.unsynced.push(change);
    }
}

fn broken() -> io::Error {
    io::Error::other("injected I/O error")
}

/// An open [`FaultDisk`].
#[derive(Debug)]
struct FaultBackend {
    disk: FaultDisk,
    generation: u64,
}

impl FaultBackend {
    fn state<T>(&self, operate: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        if state.generation != self.generation {
            return Err(io::Error::new(ErrorKind::BrokenPipe, "the power was lost"));
        }
        operate(&mut state)
    }
}

impl StorageBackend for FaultBackend {
    fn len(&self) -> io::Result<u64> {
        self.state(|state| Ok(state.written.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.state(|state| {
            if state.is_broken() {
                return Err(broken());
            }
            let start = usize::try_from(offset).map_err(io::Error::other)?;
            let end = start.checked_add(out.len()).filter(|end| *end <= state.written.len());
            let end = end.ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?;
            out.copy_from_slice(&state.written[start..end]);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state(|state| {
            state.operate()?;
            state.reach(len)?;
            let length = usize::try_from(len).map_err(io::Error::other)?;
            state.change(Change::Length(length));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state(|state| {
            state.operate()?;
            for change in std::mem::take(&mut state.unsynced) {
                change.apply(&mut state.synced, None);
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.state(|state| {
            state.operate()?;
            let at = usize::try_from(offset).map_err(io::Error::other)?;
            let end = at.checked_add(data.len()).ok_or(ErrorKind::InvalidInput)?;
            state.reach(end as u64)?;
            state.spend(data.len() as u64)?;
            state.change(Change::Write(at, data.to_vec()));
            Ok(())
        })
    }
}
