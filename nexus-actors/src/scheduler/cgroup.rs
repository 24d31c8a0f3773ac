//! What the process's control group grants it: CPUs and processor time. Reads files below a root that is given, and nothing else.
//!
//! Version 2 is read where its files are, version 1 else. A limit of any group above binds those below, so every group from the
//! process's own to the root is looked at. Source: the kernel's `admin-guide/cgroup-v2.rst` and `scheduler/sched-bwc.rst`.

use std::path::{Path, PathBuf};

use super::cpu_list::CpuList;
use super::topology::Notes;

/// Groups looked at from the process's own upwards: a malformed path must not keep us long.
const DEPTH_MAX: usize = 64;

/// What a control group grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// The CPUs its members may use, if that is restricted.
    pub(super) cpus: Option<CpuList>,
    /// Thousandths of a CPU that its members may use together, if that is limited.
    pub(super) quota_millis: Option<u64>,
}

/// Reads the grant of the process whose files are below `root`.
pub(super) fn read(root: &Path, notes: &mut Notes) -> Grant {
    let Some(membership) = notes.read(root, "proc/self/cgroup") else { return Grant::default() };
    let mount = Path::new("sys/fs/cgroup");
    let mut grant = Grant::default();
    for line in membership.lines() {
        // `hierarchy:controllers:path`; version 2 is hierarchy 0 without controllers.
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            notes.add(format!("proc/self/cgroup: `{}` is no control group", short(line)));
            continue;
        };
        let has = |name| controllers.split(',').any(|controller| controller == name);
        if hierarchy == "0" && controllers.is_empty() {
            for folder in upwards(mount, path) {
                limit(&mut grant.quota_millis, quota_v2(root, &folder, notes));
                narrow(&mut grant.cpus, cpus(root, &folder.join("cpuset.cpus.effective"), notes));
            }
        }
        if has("cpu") {
            for folder in upwards(&mount.join("cpu"), path) {
                limit(&mut grant.quota_millis, quota_v1(root, &folder, notes));
            }
        }
        if has("cpuset") {
            for folder in upwards(&mount.join("cpuset"), path) {
                narrow(&mut grant.cpus, cpus(root, &folder.join("cpuset.effective_cpus"), notes));
            }
        }
    }
    grant
}

/// The folders of `group` and of all groups above it. In a container the path may be that of the host, which is not mounted
/// here: then only the root of the mount is there, and is the container's own group.
pub(crate) fn upwards(mount: &Path, group: &str) -> Vec<PathBuf> {
    let steps: Vec<&str> = group.split('/').filter(|step| !step.is_empty()).take(DEPTH_MAX).collect();
    if steps.contains(&"..") {
        return vec![mount.to_owned()];
    }
    (0..=steps.len())
        .rev()
        .map(|depth| steps[..depth].iter().fold(mount.to_owned(), |a, b| a.join(b)))
        .collect()
}

fn limit(quota: &mut Option<u64>, found: Option<u64>) {
    *quota = (*quota).into_iter().chain(found).min();
}

fn narrow(cpus: &mut Option<CpuList>, found: Option<CpuList>) {
    *cpus = match (cpus.take(), found) {
        (Some(before), Some(found)) => Some(before.and(&found)),
        (before, found) => before.or(found),
    };
}

fn cpus(root: &Path, file: &Path, notes: &mut Notes) -> Option<CpuList> {
    // An empty list is a group that restricts nothing.
    notes.parse::<CpuList>(root, file).filter(|cpus| !cpus.is_empty())
}

/// `cpu.max`: `max 100000` or `quota period`, both in microseconds.
pub(crate) fn quota_v2(root: &Path, folder: &Path, notes: &mut Notes) -> Option<u64> {
    let file = folder.join("cpu.max");
    let text = notes.read(root, &file)?;
    let mut fields = text.split_whitespace();
    let quota = fields.next()?;
    if quota == "max" {
        return None;
    }
    let period = fields.next().unwrap_or("100000");
    let found = quota.parse().ok().zip(period.parse().ok()).and_then(|(quota, period)| millis(quota, period));
    if found.is_none() {
        notes.add(format!("{}: `{}` is no quota", file.display(), short(&text)));
    }
    found
}

/// `cpu.cfs_quota_us` over `cpu.cfs_period_us`; -1 is no limit.
pub(crate) fn quota_v1(root: &Path, folder: &Path, notes: &mut Notes) -> Option<u64> {
    let quota = notes.parse::<i64>(root, &folder.join("cpu.cfs_quota_us"))?;
    let period = notes.parse::<u64>(root, &folder.join("cpu.cfs_period_us"))?;
    millis(u64::try_from(quota).ok()?, period)
}

/// Thousandths of a CPU, at least 1. `None` if it cannot be.
fn millis(quota: u64, period: u64) -> Option<u64> {
    Some(quota.checked_mul(1000)?.checked_div(period)?.max(1))
}

fn short(text: &str) -> String {
    text.trim().chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::fixture::Files;

    fn grant(files: &str) -> (Option<String>, Option<u64>, Vec<String>) {
        let files = Files::unpack(files);
        let mut notes = Notes::default();
        let grant = read(files.root(), &mut notes);
        (grant.cpus.map(|cpus| cpus.to_string()), grant.quota_millis, notes.into_inner())
    }

    /// Goal: the tightest limit on the way up counts, in both versions; no limit is none.
    #[test]
    fn the_tightest_limit_counts() {
        let v2 = "== proc/self/cgroup\n0::/a/b\n== sys/fs/cgroup/a/cpu.max\n150000 100000\n\
                  == sys/fs/cgroup/a/b/cpu.max\nmax 100000\n== sys/fs/cgroup/a/b/cpuset.cpus.effective\n2-5\n\
                  == sys/fs/cgroup/a/cpuset.cpus.effective\n0-4\n";
        assert_eq!(grant(v2), (Some("2-4".into()), Some(1500), vec![]));
        let v1 = "== proc/self/cgroup\n4:cpu,cpuacct:/a\n3:cpuset:/a\n\
                  == sys/fs/cgroup/cpu/a/cpu.cfs_quota_us\n50000\n== sys/fs/cgroup/cpu/a/cpu.cfs_period_us\n100000\n\
                  == sys/fs/cgroup/cpu/cpu.cfs_quota_us\n-1\n== sys/fs/cgroup/cpu/cpu.cfs_period_us\n100000\n\
                  == sys/fs/cgroup/cpuset/a/cpuset.effective_cpus\n7\n";
        assert_eq!(grant(v1), (Some("7".into()), Some(500), vec![]));
        assert_eq!(
            grant("== proc/self/cgroup\n0::/\n== sys/fs/cgroup/cpu.max\nmax 100000\n"),
            (None, None, vec![])
        );
        assert_eq!(grant("== unrelated\n"), (None, None, vec![]));
        let outside = "== proc/self/cgroup\n0::/../../other\n== sys/fs/cgroup/cpu.max\n200000 100000\n";
        assert_eq!(grant(outside).1, Some(2000), "the host's path leads to the mount's root");
    }

    /// Goal: nonsense is noted and grants everything.
    #[test]
    fn nonsense_is_noted() {
        for (files, noted) in [
            ("== proc/self/cgroup\nwhat\n", "`what` is no control group"),
            ("== proc/self/cgroup\n0::/\n== sys/fs/cgroup/cpu.max\nmany 1\n", "`many 1` is no quota"),
            ("== proc/self/cgroup\n0::/\n== sys/fs/cgroup/cpu.max\n100 0\n", "`100 0` is no quota"),
            ("== proc/self/cgroup\n0::/\n== sys/fs/cgroup/cpuset.cpus.effective\n5-2\n", "`5-2` is no CPU"),
        ] {
            let (cpus, quota, notes) = grant(files);
            assert_eq!((cpus, quota, notes.len()), (None, None, 1), "{files}");
            assert!(notes[0].contains(noted), "{notes:?}");
        }
    }
}
