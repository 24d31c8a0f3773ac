//! One tokio runtime for agents, with threads that stay where the layout puts them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime, worker_index};

use super::layout::RuntimeLayout;
use super::pin::{self, ThreadId};

/// How long the workers may take to come up; those that take longer are known later.
const WORKERS_UP: Duration = Duration::from_secs(5);
/// Threads for blocking calls, over all runtimes; each has a fair share, and at least this many.
const BLOCKING_MAX: usize = 512;
const BLOCKING_MIN: usize = 16;

/// A runtime's threads as they report themselves.
#[derive(Debug)]
pub(super) struct Threads {
    /// The thread that runs each worker; 0 if it is not known. A worker changes threads when its own blocks
    /// (`block_in_place`).
    workers: Box<[AtomicU32]>,
    /// Why a thread could not be pinned, of the first one.
    unpinned: Mutex<Option<String>>,
}

impl Threads {
    /// The thread of a worker.
    pub(super) fn of(&self, worker: usize) -> Option<ThreadId> {
        let thread = self.workers.get(worker)?.load(Ordering::Relaxed);
        (thread != 0).then_some(thread)
    }

    /// Why threads are not pinned, if they are not.
    pub(super) fn unpinned(&self) -> Option<String> {
        self.unpinned.lock().clone()
    }

    /// A worker is about to rest: the moment at which it can say who it is.
    fn note_worker(&self, up: &SyncSender<()>) {
        thread_local!(static THREAD: ThreadId = pin::this_thread().unwrap_or(0));
        let Some(slot) = worker_index().and_then(|worker| self.workers.get(worker)) else { return };
        let thread = THREAD.with(|thread| *thread);
        if slot.load(Ordering::Relaxed) != thread {
            slot.store(thread, Ordering::Relaxed);
            // Only the start listens.
            let _ = up.try_send(());
        }
    }
}

/// A runtime that is up. The [`Runtime`] itself is its owner's, to shut down.
#[derive(Debug)]
pub(super) struct Scheduler {
    pub(super) layout: RuntimeLayout,
    pub(super) handle: Handle,
    pub(super) threads: Arc<Threads>,
}

impl Scheduler {
    /// Starts a runtime, one of `siblings`, and waits until its workers are up.
    ///
    /// # Errors
    /// The system's, if it has no threads or files left. That a thread cannot be pinned is no error.
    pub(super) fn start(layout: RuntimeLayout, pin: bool, siblings: usize) -> io::Result<(Self, Runtime)> {
        let workers = (0..layout.workers).map(|_| AtomicU32::new(0)).collect();
        let threads = Arc::new(Threads { workers, unpinned: Mutex::new(None) });
        let (up, is_up) = sync_channel(layout.workers);
        let mut builder = Builder::new_multi_thread();
        builder
            .enable_all()
            .worker_threads(layout.workers)
            .max_blocking_threads((BLOCKING_MAX / siblings.max(1)).max(BLOCKING_MIN))
            .name(&*layout.name)
            .thread_name(thread_name(&layout.name));
        if pin {
            let (cpus, threads) = (layout.cpus.clone(), threads.clone());
            // Threads for blocking calls too: one that a worker starts would inherit its place in any case.
            builder.on_thread_start(move || {
                if let Err(error) = pin::pin_this_thread(&cpus) {
                    threads.unpinned.lock().get_or_insert_with(|| format!("CPUs {cpus}: {error}"));
                }
            });
        }
        let reporting = threads.clone();
        builder.on_thread_park(move || reporting.note_worker(&up));
        let runtime = builder.build()?;
        if pin::this_thread().is_some() {
            for _ in 0..layout.workers {
                if is_up.recv_timeout(WORKERS_UP).is_err() {
                    break;
                }
            }
        }
        Ok((Self { layout, handle: runtime.handle().clone(), threads }, runtime))
    }
}

/// What the threads of a runtime are called; Linux keeps 15 bytes of it.
pub(super) fn thread_name(runtime: &str) -> String {
    format!("nexus-{runtime}")
}
