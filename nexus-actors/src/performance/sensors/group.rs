//! The process's control groups.

use std::path::{Path, PathBuf};

use crate::scheduler::cgroup::upwards;
use crate::scheduler::topology::Notes;

/// Which interface a group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// The folders, relative to `root`, of the process's group for `controller` and of all groups above it: a limit of any binds. Of
/// version 2 first, then of version 1; folders that are not there answer nothing when they are read.
pub(super) fn folders(root: &Path, controller: &str, notes: &mut Notes) -> Vec<(Version, PathBuf)> {
    let membership = notes.read(root, "proc/self/cgroup").unwrap_or_default();
    let mount = Path::new("sys/fs/cgroup");
    let (mut two, mut one) = (Vec::new(), Vec::new());
    for line in membership.lines() {
        // `hierarchy:controllers:path`; version 2 is hierarchy 0 without controllers.
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if hierarchy == "0" && controllers.is_empty() {
            two.extend(upwards(mount, path).into_iter().map(|folder| (Version::Two, folder)));
        } else if controllers.split(',').any(|name| name == controller) {
            let folders = upwards(&mount.join(controller), path);
            one.extend(folders.into_iter().map(|folder| (Version::One, folder)));
        }
    }
    two.append(&mut one);
    two
}

/// The value of a field in a file of lines like `inactive_file 4096`.
pub(super) fn stat(text: &str, field: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::fixture::Files;

    /// Goal: groups of both versions are found from the process's own upwards; other controllers and nonsense are passed by.
    #[test]
    fn groups_are_found_upwards() {
        let files = Files::unpack("== proc/self/cgroup\n4:memory:/a/b\n3:cpu,cpuacct:/c\nwhat\n0::/d\n");
        let found = folders(files.root(), "memory", &mut Notes::default());
        let shown: Vec<_> =
            found.iter().map(|(version, path)| format!("{version:?} {}", path.display())).collect();
        let expected = [
            "Two sys/fs/cgroup/d",
            "Two sys/fs/cgroup",
            "One sys/fs/cgroup/memory/a/b",
            "One sys/fs/cgroup/memory/a",
            "One sys/fs/cgroup/memory",
        ];
        assert_eq!(shown, expected);
        assert_eq!(stat("file 1\ninactive_file 42\n", "inactive_file"), Some(42));
        assert_eq!(stat("inactive_files 42\n", "inactive_file"), None);
    }
}
