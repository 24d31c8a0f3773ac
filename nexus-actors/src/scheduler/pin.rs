//! Where threads run, asked of the kernel and told to it. Linux only: elsewhere threads are not pinned, and nothing is known.

use std::io;

use super::cpu_list::CpuList;

/// A thread's number in the kernel.
pub(super) type ThreadId = u32;

#[cfg(target_os = "linux")]
mod linux {
    use rustix::process::{Pid, getpid};
    use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

    use super::{CpuList, ThreadId, io};

    fn list(set: &CpuSet) -> CpuList {
        let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
        cpus.filter_map(|cpu| u32::try_from(cpu).ok()).collect()
    }

    pub(crate) fn allowed() -> Option<CpuList> {
        sched_getaffinity(Some(getpid())).ok().map(|set| list(&set))
    }

    pub(crate) fn this_thread() -> Option<ThreadId> {
        ThreadId::try_from(gettid().as_raw_nonzero().get()).ok()
    }

    pub(crate) fn pin_this_thread(cpus: &CpuList) -> io::Result<()> {
        let mut set = CpuSet::new();
        for cpu in cpus.iter().map(|cpu| cpu as usize).filter(|cpu| *cpu < CpuSet::MAX_CPU) {
            set.set(cpu);
        }
        Ok(sched_setaffinity(None, &set)?)
    }

    pub(crate) fn cpus_of(thread: ThreadId) -> Option<CpuList> {
        let thread = Pid::from_raw(i32::try_from(thread).ok()?)?;
        sched_getaffinity(Some(thread)).ok().map(|set| list(&set))
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    use super::{CpuList, ThreadId, io};

    pub(crate) fn allowed() -> Option<CpuList> {
        None
    }

    pub(crate) fn this_thread() -> Option<ThreadId> {
        None
    }

    pub(crate) fn pin_this_thread(_: &CpuList) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn cpus_of(_: ThreadId) -> Option<CpuList> {
        None
    }
}

/// The CPUs that this process was given, by its main thread.
#[must_use]
pub fn allowed() -> Option<CpuList> {
    linux::allowed()
}

/// The calling thread.
pub(super) fn this_thread() -> Option<ThreadId> {
    linux::this_thread()
}

/// Keeps the calling thread to `cpus`.
///
/// # Errors
/// The kernel's: none of them may be used (`EINVAL`), or a sandbox forbids it (`EPERM`). The thread then stays where it was.
pub(super) fn pin_this_thread(cpus: &CpuList) -> io::Result<()> {
    linux::pin_this_thread(cpus)
}

/// Where the kernel lets `thread` run; `None` if it has ended.
pub(super) fn cpus_of(thread: ThreadId) -> Option<CpuList> {
    linux::cpus_of(thread)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Goal: what is pinned reads back from the kernel, by the thread and from outside; what cannot be is refused and changes
    /// nothing.
    #[test]
    fn pinning_reads_back() {
        let allowed = allowed().expect("Linux tells");
        let one: CpuList = allowed.iter().take(1).collect();
        let pinned = std::thread::spawn(move || {
            pin_this_thread(&one).unwrap();
            let me = this_thread().unwrap();
            assert_eq!(cpus_of(me), Some(one.clone()));
            let nowhere: CpuList = "1023".parse().unwrap();
            assert!(pin_this_thread(&nowhere).is_err() || one == nowhere);
            assert!(pin_this_thread(&CpuList::default()).is_err());
            assert_eq!(cpus_of(me), Some(one));
            me
        });
        let ended = pinned.join().unwrap();
        assert!(cpus_of(ended).is_none_or(|cpus| !cpus.is_empty()), "a number may be in use again");
        assert_eq!(cpus_of(u32::MAX), None);
    }
}
