//! The thread that carries packets between devices.

use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nexus_actors::rng::Seed;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::SyncDevice;

use super::core::{Core, Counts, Way};

/// The largest packet there is.
const PACKET_MAX: usize = 65_536;
/// Packets taken from one device before the next has its turn.
const TURN: usize = 64;
/// How long it waits for packets before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// A running switch. It ends when dropped.
pub struct Switch {
    shared: Arc<Shared>,
    size: usize,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    core: Mutex<Core>,
    ends: AtomicBool,
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().expect("no holder panics")
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Switch {
    pub(super) fn new(devices: Vec<SyncDevice>, seed: Seed) -> io::Result<Self> {
        let size = devices.len();
        let shared =
            Arc::new(Shared { core: Mutex::new(Core::new(size, seed)), ends: AtomicBool::new(false) });
        let carried = shared.clone();
        let thread = thread::Builder::new().name("switch".into()).spawn(move || carry(&devices, &carried))?;
        Ok(Self { shared, size, thread: Some(thread) })
    }

    /// From now on the way between `from` and `to` is like `way`, in this direction only.
    ///
    /// # Panics
    /// If there is no such namespace.
    pub fn set(&self, from: usize, to: usize, way: Way) {
        self.shared.core().set(from, to, way);
    }

    /// From now on all ways are like `way`.
    pub fn set_all(&self, way: Way) {
        let mut core = self.shared.core();
        for at in 0..self.size * self.size {
            core.set(at / self.size, at % self.size, way);
        }
    }

    /// What became of the packets from `from` to `to`.
    ///
    /// # Panics
    /// If there is no such namespace.
    #[must_use]
    pub fn counts(&self, from: usize, to: usize) -> Counts {
        assert!(from < self.size && to < self.size, "{from} to {to}: there are {}", self.size);
        self.shared.core().counts(from, to)
    }

    /// The same over all ways.
    #[must_use]
    pub fn total(&self) -> Counts {
        let core = self.shared.core();
        (0..self.size * self.size).fold(Counts::default(), |sum, at| {
            let one = core.counts(at / self.size, at % self.size);
            Counts {
                taken: sum.taken + one.taken,
                delivered: sum.delivered + one.delivered,
                lost: sum.lost + one.lost,
                cut: sum.cut + one.cut,
                overflowed: sum.overflowed + one.overflowed,
            }
        })
    }

    /// Packets for nobody here.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.shared.core().strays()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn carry(devices: &[SyncDevice], shared: &Shared) {
    let began = Instant::now();
    let mut room = vec![0; PACKET_MAX];
    let mut fds: Vec<_> =
        devices.iter().map(|device| PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN)).collect();
    while !shared.ends.load(Ordering::Relaxed) {
        let wait = shared.core().next().map_or(LOOK, |due| due.saturating_sub(began.elapsed()).min(LOOK));
        let wait = Timespec::try_from(wait).expect("it is short");
        // Interrupted by a signal: it looks for itself.
        let _ = poll(&mut fds, Some(&wait));
        for (from, device) in devices.iter().enumerate() {
            for _ in 0..TURN {
                // Nothing there, or the namespace goes.
                let Ok(length) = device.recv(&mut room) else { break };
                shared.core().take(began.elapsed(), from, &room[..length]);
            }
        }
        loop {
            let Some(arrived) = shared.core().arrived(began.elapsed()) else { break };
            // A device without room loses it, as a network card would.
            let _ = devices[arrived.to].send(&arrived.packet);
        }
    }
}
