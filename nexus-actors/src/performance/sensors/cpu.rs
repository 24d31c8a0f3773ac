//! CPU in use and how much there may be. A control group's quota is shared by all its members, so where there is one the whole
//! group's use counts as well. Source: the kernel's `admin-guide/cgroup-v2.rst` and `scheduler/sched-bwc.rst`.

use std::path::{Path, PathBuf};
use std::thread;

use serde::Serialize;

use super::group::{self, Version};
use super::process::cpu_seconds;
use crate::scheduler::cgroup::{quota_v1, quota_v2};
use crate::scheduler::topology::Notes;

/// CPU in use since the look before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CpuReading {
    /// The process's use over what it may use, or its control group's, whichever is more; 0 to 1.
    pub share: f64,
    /// CPUs' worth of time that the process used.
    pub used_cpus: f64,
    /// CPUs' worth of time that it may use: its CPUs, or its control group's quota if that is less.
    pub limit_cpus: f64,
    /// The part of its quota that the process's control group used, of the group that is nearest to it; `None` without a quota.
    pub group_share: Option<f64>,
    /// The part of the quota's periods in which that group was throttled.
    pub throttled: Option<f64>,
}

/// A group with a quota, as it was at a look.
#[derive(Clone, Debug)]
struct Group {
    folder: PathBuf,
    /// In CPUs.
    quota: f64,
    used_ns: Option<u64>,
    periods: u64,
    throttled: u64,
}

#[derive(Debug)]
struct Look {
    at_ns: u64,
    process_s: f64,
    groups: Vec<Group>,
}

/// Remembers the look before.
#[derive(Debug)]
pub(super) struct CpuSensor {
    /// CPUs that the process's threads may run on.
    cpus: f64,
    last: Option<Look>,
}

impl CpuSensor {
    pub(super) fn new() -> Self {
        Self::with_cpus(thread::available_parallelism().map_or(1, usize::from))
    }

    fn with_cpus(cpus: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "CPUs are few")]
        let cpus = cpus as f64;
        Self { cpus, last: None }
    }

    /// The use since the last call; `None` at the first one.
    pub(super) fn read(&mut self, root: &Path, at_ns: u64, notes: &mut Notes) -> Option<CpuReading> {
        let process_s = cpu_seconds(&notes.read(root, "proc/self/stat")?)?;
        let look = Look { at_ns, process_s, groups: groups(root, notes) };
        let last = self.last.replace(look)?;
        let look = self.last.as_ref()?;
        #[expect(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
        let window_s = look.at_ns.saturating_sub(last.at_ns) as f64 / 1e9;
        if window_s <= 0.0 {
            return None;
        }
        let limit = look.groups.iter().map(|group| group.quota).fold(self.cpus, f64::min);
        let used = (look.process_s - last.process_s).max(0.0) / window_s;
        let shares = look.groups.iter().filter_map(|group| {
            let before = last.groups.iter().find(|before| before.folder == group.folder)?;
            group.since(before, window_s)
        });
        let nearest = shares.max_by(|a, b| a.0.total_cmp(&b.0));
        let group_share = nearest.map(|(share, _)| share);
        Some(CpuReading {
            share: (used / limit).max(group_share.unwrap_or(0.0)).min(1.0),
            used_cpus: used,
            limit_cpus: limit,
            group_share,
            throttled: nearest.map(|(_, throttled)| throttled),
        })
    }
}

impl Group {
    /// The part of the quota used since `before`, and the part of periods throttled.
    #[expect(clippy::cast_precision_loss, reason = "shares need no 53 bits")]
    fn since(&self, before: &Self, window_s: f64) -> Option<(f64, f64)> {
        let used_s = self.used_ns?.saturating_sub(before.used_ns?) as f64 / 1e9;
        let periods = self.periods.saturating_sub(before.periods).max(1);
        let throttled = self.throttled.saturating_sub(before.throttled);
        Some((used_s / window_s / self.quota, throttled as f64 / periods as f64))
    }
}

fn groups(root: &Path, notes: &mut Notes) -> Vec<Group> {
    let folders = group::folders(root, "cpu", notes);
    folders.into_iter().filter_map(|(version, folder)| read_group(root, version, folder, notes)).collect()
}

fn read_group(root: &Path, version: Version, folder: PathBuf, notes: &mut Notes) -> Option<Group> {
    let quota_millis = match version {
        Version::Two => quota_v2(root, &folder, notes),
        Version::One => quota_v1(root, &folder, notes),
    }?;
    let stat = notes.read(root, folder.join("cpu.stat")).unwrap_or_default();
    let used_ns = match version {
        Version::Two => group::stat(&stat, "usage_usec").and_then(|usec| usec.checked_mul(1000)),
        Version::One => used_v1(root, &folder, notes),
    };
    #[expect(clippy::cast_precision_loss, reason = "CPUs are few")]
    let quota = quota_millis as f64 / 1000.0;
    let field = |name| group::stat(&stat, name).unwrap_or(0);
    Some(Group { quota, used_ns, periods: field("nr_periods"), throttled: field("nr_throttled"), folder })
}

/// `cpuacct` is mounted with `cpu`, or beside it.
fn used_v1(root: &Path, folder: &Path, notes: &mut Notes) -> Option<u64> {
    let beside = Path::new("sys/fs/cgroup/cpuacct").join(folder.strip_prefix("sys/fs/cgroup/cpu").ok()?);
    let with = notes.parse(root, folder.join("cpuacct.usage"));
    with.or_else(|| notes.parse(root, beside.join("cpuacct.usage")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::fixture::Files;

    const SECOND: u64 = 1_000_000_000;

    /// The reading of two looks a second apart, on a machine of four CPUs.
    fn reading(before: &str, after: &str) -> Option<CpuReading> {
        let mut sensor = CpuSensor::with_cpus(4);
        let mut notes = Notes::default();
        assert_eq!(
            sensor.read(Files::unpack(before).root(), SECOND, &mut notes),
            None,
            "there is nothing before"
        );
        let reading = sensor.read(Files::unpack(after).root(), 2 * SECOND, &mut notes);
        assert_eq!(notes.into_inner(), Vec::<String>::new());
        reading
    }

    fn process(ticks: u64) -> String {
        format!("== proc/self/stat\n42 (nexus) S 1 2 3 4 5 6 7 8 9 10 {ticks} 0 0 0 20 0 1 0 5\n")
    }

    /// Goal: without a quota the machine's CPUs are what there is; files that are not there give no reading.
    #[test]
    fn a_process_alone() {
        let reading = reading(&process(100), &process(300)).unwrap();
        assert_eq!((reading.used_cpus, reading.limit_cpus, reading.share), (2.0, 4.0, 0.5));
        assert_eq!((reading.group_share, reading.throttled), (None, None));
        assert_eq!(CpuSensor::with_cpus(1).read(Path::new("/nowhere"), 0, &mut Notes::default()), None);
    }

    /// Goal: with a quota the group's use counts, others' in it included, in both versions; so does its throttling.
    #[test]
    fn a_group_with_a_quota() {
        let two = |ticks, usage: u64, throttled: u64| {
            let files = format!(
                "== proc/self/cgroup\n0::/a\n== sys/fs/cgroup/a/cpu.max\n200000 100000\n\
                 == sys/fs/cgroup/a/cpu.stat\nusage_usec {usage}\nnr_periods {}\nnr_throttled {throttled}\n\
                 == sys/fs/cgroup/cpu.max\nmax 100000\n",
                usage / 100_000
            );
            format!("{}{files}", process(ticks))
        };
        let found = reading(&two(0, 5_000_000, 3), &two(50, 6_500_000, 6)).unwrap();
        assert_eq!((found.used_cpus, found.limit_cpus), (0.5, 2.0));
        assert_eq!((found.share, found.group_share, found.throttled), (0.75, Some(0.75), Some(0.2)));
        let one = |ticks, usage: u64, account: &str| {
            let files = format!(
                "== proc/self/cgroup\n4:cpu,cpuacct:/a\n== sys/fs/cgroup/cpu/a/cpu.cfs_quota_us\n100000\n\
                 == sys/fs/cgroup/cpu/a/cpu.cfs_period_us\n100000\n== sys/fs/cgroup/{account}/a/cpuacct.usage\n{usage}\n"
            );
            format!("{}{files}", process(ticks))
        };
        for account in ["cpu", "cpuacct"] {
            let found = reading(&one(0, 0, account), &one(90, SECOND / 2, account)).unwrap();
            assert_eq!((found.limit_cpus, found.group_share, found.share), (1.0, Some(0.5), 0.9));
        }
    }
}
