//! Memory in use and how much there may be.
//!
//! A control group's use is counted without the file pages that the kernel would give up first, as the kubelet does
//! (`memory.current - inactive_file`): they are no pressure. Source: the kernel's `admin-guide/cgroup-v2.rst` and
//! `cgroup-v1/memory.rst`.

use std::path::Path;

use serde::Serialize;

use super::group::{self, Version};
use super::process::field_bytes;
use crate::scheduler::topology::Notes;

/// Who says how much memory there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// The configuration.
    Configured,
    /// A control group.
    Group,
    /// The machine: it has no more.
    Machine,
}

/// Memory in use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemoryReading {
    /// `used_bytes` over `limit_bytes`; more than 1 if a configured limit is passed.
    pub share: f64,
    /// What counts against the limit: the whole group's use, or the process's resident set.
    pub used_bytes: u64,
    /// How much there may be.
    pub limit_bytes: u64,
    /// Who says so.
    pub limited_by: LimitedBy,
    /// The process's resident set.
    pub resident_bytes: u64,
}

/// The reading of the limit that is nearest. A configured limit stands instead of all others.
pub(super) fn read(root: &Path, configured: Option<u64>, notes: &mut Notes) -> Option<MemoryReading> {
    let resident = field_bytes(&notes.read(root, "proc/self/status")?, "VmRSS")?;
    let reading = |used: u64, limit: u64, limited_by| {
        #[expect(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
        let share = used as f64 / limit.max(1) as f64;
        MemoryReading { share, used_bytes: used, limit_bytes: limit, limited_by, resident_bytes: resident }
    };
    if let Some(limit) = configured {
        return Some(reading(resident, limit, LimitedBy::Configured));
    }
    let machine = notes.read(root, "proc/meminfo").and_then(|text| field_bytes(&text, "MemTotal"));
    let mut nearest = machine.map(|limit| reading(resident, limit, LimitedBy::Machine));
    for (version, folder) in group::folders(root, "memory", notes) {
        let Some((used, limit)) = group_use(root, version, &folder, notes) else { continue };
        // Version 1 says "no limit" with a number that no machine has.
        if machine.is_some_and(|machine| limit >= machine) {
            continue;
        }
        let found = reading(used, limit, LimitedBy::Group);
        if nearest.as_ref().is_none_or(|nearest| found.share > nearest.share) {
            nearest = Some(found);
        }
    }
    nearest
}

/// Use and limit of a group that has one.
fn group_use(root: &Path, version: Version, folder: &Path, notes: &mut Notes) -> Option<(u64, u64)> {
    let (limit, usage, inactive) = match version {
        Version::Two => ("memory.max", "memory.current", "inactive_file"),
        Version::One => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    };
    let text = notes.read(root, folder.join(limit))?;
    if text.trim() == "max" {
        return None;
    }
    let limit: u64 = notes.parse(root, folder.join(limit))?;
    let usage: u64 = notes.parse(root, folder.join(usage))?;
    let stat = notes.read(root, folder.join("memory.stat")).unwrap_or_default();
    Some((usage.saturating_sub(group::stat(&stat, inactive).unwrap_or(0)), limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::fixture::Files;

    const PROCESS: &str = "== proc/self/status\nVmRSS:\t 1024 kB\n== proc/meminfo\nMemTotal: 8192 kB\n";

    fn reading(files: &str, configured: Option<u64>) -> (Option<MemoryReading>, Vec<String>) {
        let files = Files::unpack(files);
        let mut notes = Notes::default();
        (read(files.root(), configured, &mut notes), notes.into_inner())
    }

    fn shown(files: &str) -> String {
        let (reading, notes) = reading(files, None);
        let reading = reading.unwrap();
        assert_eq!((notes, reading.resident_bytes), (vec![], 1 << 20));
        format!("{:?} {} of {}", reading.limited_by, reading.used_bytes, reading.limit_bytes)
    }

    /// Goal: a container's limit counts, in both versions, without the cache; of several the nearest; without any the machine's.
    #[test]
    fn the_nearest_limit_counts() {
        assert_eq!(shown(PROCESS), "Machine 1048576 of 8388608");
        let two = "== proc/self/cgroup\n0::/a/b\n== sys/fs/cgroup/a/memory.max\n4000000\n\
                   == sys/fs/cgroup/a/memory.current\n3000000\n== sys/fs/cgroup/a/memory.stat\nanon 5\ninactive_file 500000\n\
                   == sys/fs/cgroup/a/b/memory.max\nmax\n== sys/fs/cgroup/a/b/memory.current\n2000000\n";
        assert_eq!(shown(&format!("{PROCESS}{two}")), "Group 2500000 of 4000000");
        let tighter = "== sys/fs/cgroup/memory.max\n3000000\n== sys/fs/cgroup/memory.current\n2900000\n";
        assert_eq!(shown(&format!("{PROCESS}{two}{tighter}")), "Group 2900000 of 3000000");
        let one = "== proc/self/cgroup\n4:memory:/a\n== sys/fs/cgroup/memory/a/memory.limit_in_bytes\n2000000\n\
                   == sys/fs/cgroup/memory/a/memory.usage_in_bytes\n1500000\n\
                   == sys/fs/cgroup/memory/a/memory.stat\ntotal_inactive_file 100000\n\
                   == sys/fs/cgroup/memory/memory.limit_in_bytes\n9223372036854771712\n\
                   == sys/fs/cgroup/memory/memory.usage_in_bytes\n8000000\n";
        assert_eq!(shown(&format!("{PROCESS}{one}")), "Group 1400000 of 2000000");
    }

    /// Goal: a configured limit stands alone; a system that tells nothing gives no reading; nonsense is noted and passed by.
    #[test]
    fn odd_systems() {
        let (configured, _) = reading(PROCESS, Some(1 << 19));
        let configured = configured.unwrap();
        assert_eq!((configured.limited_by, configured.share), (LimitedBy::Configured, 2.0));
        assert_eq!(reading("== unrelated\n", None), (None, vec![]));
        let nonsense = "== proc/self/cgroup\n0::/\n== sys/fs/cgroup/memory.max\nmuch\n";
        let (reading, notes) = reading(&format!("{PROCESS}{nonsense}"), None);
        assert_eq!(reading.map(|reading| reading.limited_by), Some(LimitedBy::Machine));
        assert!(notes[0].contains("memory.max"), "{notes:?}");
    }
}
