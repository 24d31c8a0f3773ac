//! Runtime files: how commands find the nodes that run on this machine as this user.
//!
//! `nexus run` writes one, `<node>.json`, with address and token into a directory that only its user may enter, and removes
//! it when it ends in order. A file whose process is gone is removed by whoever meets it.
//!
//! All functions block on files: call them from threads that may.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, geteuid, test_kill_process};
use serde::{Deserialize, Serialize, Serializer};

use crate::topology::Secret;

/// No runtime file is longer; what is longer is not one.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A running node, as its runtime file tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFile {
    /// The node's name.
    pub node: String,
    /// Its process.
    pub pid: u32,
    /// When that process started, in the kernel's clock ticks since boot: tells it from a later one with the same number.
    /// `None` where the kernel does not say.
    #[serde(default)]
    pub pid_started: Option<u64>,
    /// Base address of its debug endpoint, `http://127.0.0.1:7070`.
    pub url: String,
    /// The name of the cluster it is one of, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The endpoint's bearer token, if it wants one.
    #[serde(default, serialize_with = "expose")]
    pub token: Option<Secret>,
}

/// The one place where a token is written down: this file is private to its user.
fn expose<S: Serializer>(token: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    token.as_ref().map(Secret::expose).serialize(serializer)
}

impl RuntimeFile {
    /// The file of this process.
    #[must_use]
    pub fn of_this_process(node: String, url: String, token: Option<Secret>) -> Self {
        let pid = std::process::id();
        Self { node, pid, pid_started: started(pid), url, cluster: None, token }
    }

    /// Whether its process still runs.
    fn is_alive(&self) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return false;
        };
        // EPERM: there is such a process, of somebody else.
        let exists = !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH));
        exists && (self.pid_started.is_none() || self.pid_started == started(self.pid))
    }
}

/// The directory of runtime files: `$XDG_RUNTIME_DIR/nexus`, or `/tmp/nexus-<uid>` where there is none.
#[must_use]
pub fn directory(xdg_runtime_dir: Option<&str>) -> PathBuf {
    match xdg_runtime_dir {
        Some(dir) if Path::new(dir).is_absolute() => Path::new(dir).join("nexus"),
        _ => PathBuf::from(format!("/tmp/nexus-{}", geteuid().as_raw())),
    }
}

/// Writes `entry` into `dir` (mode 0700, made if missing) as a file of mode 0600, and returns its path for [`remove`].
///
/// If another running node has the same name, both get a file; the second one's name has its process number in it.
///
/// # Errors
/// Those of the file system, and `PermissionDenied` if `dir` belongs to somebody else or others may enter it: they could
/// read the token.
pub fn write(dir: &Path, entry: &RuntimeFile) -> io::Result<PathBuf> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => check_private(dir)?,
    }
    let mut path = dir.join(format!("{}.json", entry.node));
    let taken = read(&path).is_some_and(|other| other.pid != entry.pid && other.is_alive());
    if taken {
        path = dir.join(format!("{}.{}.json", entry.node, entry.pid));
    }
    // Whoever reads `path` sees the whole file or none: it is written aside and put in place at once.
    let aside = dir.join(format!(".{}.{}.new", entry.node, entry.pid));
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let text = serde_json::to_string_pretty(entry).expect("a runtime file is plain data");
    let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&aside, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    Ok(path)
}

/// Removes the file that [`write()`] returned, unless another process has replaced it since.
///
/// # Errors
/// Those of the file system. That it is gone already is none.
pub fn remove(path: &Path) -> io::Result<()> {
    if read(path).is_some_and(|entry| entry.pid != std::process::id()) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The nodes that run, by name. Files of processes that are gone are removed on the way.
///
/// # Errors
/// Those of the file system, and `PermissionDenied` if `dir` is not private to this user: its files could be forged and
/// send a token to a stranger. A missing `dir` means that none runs.
pub fn find(dir: &Path) -> io::Result<Vec<RuntimeFile>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    check_private(dir)?;
    let mut running = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match read(&path) {
            Some(entry) if entry.is_alive() => running.push(entry),
            // Somebody else may have removed it meanwhile; either way it is gone.
            Some(_) => drop(fs::remove_file(&path)),
            None => {}
        }
    }
    running.sort_by(|a, b| (&a.node, a.pid).cmp(&(&b.node, b.pid)));
    Ok(running)
}

fn read(path: &Path) -> Option<RuntimeFile> {
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn check_private(dir: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(dir)?;
    let problem = if !metadata.is_dir() {
        "is not a directory"
    } else if metadata.uid() != geteuid().as_raw() {
        "belongs to another user"
    } else if metadata.mode() & 0o077 != 0 {
        "may be entered by other users (its mode must be 0700)"
    } else {
        return Ok(());
    };
    let message = format!("{} {problem}; it would hold tokens", dir.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// Field 22 of `/proc/<pid>/stat`. The second field, the program's name, is in parentheses and may hold anything.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn entry(node: &str) -> RuntimeFile {
        let token = Some(Secret::new("0123456789abcdef".to_owned()));
        RuntimeFile::of_this_process(node.to_owned(), "http://127.0.0.1:7070".to_owned(), token)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Goal: a node's file is private, holds the token, is found, and is gone after an orderly end.
    #[test]
    fn written_found_removed() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("nexus");
        let path = write(&dir, &entry("airspace")).unwrap();
        assert_eq!((mode(&dir), mode(&path)), (0o700, 0o600));
        let running = find(&dir).unwrap();
        assert_eq!(running, [entry("airspace")]);
        assert_eq!(running[0].token.as_ref().unwrap().expose(), "0123456789abcdef");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(find(&dir).unwrap(), []);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "nothing is left behind");
    }

    /// Goal: files of processes that are gone are neither shown nor left: no such process, and a later process with the same
    /// number. What is no runtime file is not touched.
    #[test]
    fn stale_files_are_cleaned() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("nexus");
        let dead = RuntimeFile { pid: i32::MAX as u32, pid_started: None, ..entry("dead") };
        let reused = RuntimeFile { pid_started: Some(1), ..entry("reused") };
        for stale in [&dead, &reused] {
            write(&dir, stale).unwrap();
        }
        fs::write(dir.join("notes.json"), "not json").unwrap();
        write(&dir, &entry("alive")).unwrap();
        assert_eq!(find(&dir).unwrap(), [entry("alive")]);
        assert!(!dir.join("dead.json").exists() && !dir.join("reused.json").exists());
        assert!(dir.join("notes.json").exists());
    }

    /// Goal: a running node's file is not overwritten by one of the same name, nor removed by it.
    #[test]
    fn two_nodes_of_one_name() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("nexus");
        // Process 1 always runs; whose it is does not matter.
        let first = RuntimeFile { pid: 1, pid_started: None, ..entry("twin") };
        let first_path = write(&dir, &first).unwrap();
        let second_path = write(&dir, &entry("twin")).unwrap();
        assert_ne!(first_path, second_path);
        assert_eq!(find(&dir).unwrap().len(), 2);
        remove(&first_path).unwrap();
        assert!(first_path.exists(), "another process's file stays");
    }

    /// Goal: a directory that others may enter is refused by writer and reader, since tokens would leak or be forged.
    #[test]
    fn a_shared_directory_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("nexus");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        for error in [write(&dir, &entry("a")).unwrap_err(), find(&dir).unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("0700"), "{error}");
        }
    }

    /// Goal: the directory follows XDG, and a relative value is ignored as its specification asks.
    #[test]
    fn directory_follows_xdg() {
        assert_eq!(directory(Some("/run/user/7")), Path::new("/run/user/7/nexus"));
        let fallback = PathBuf::from(format!("/tmp/nexus-{}", geteuid().as_raw()));
        assert_eq!(directory(Some("relative")), fallback);
        assert_eq!(directory(None), fallback);
    }
}
