//! Machines in text form, unpacked into folders.

use std::path::Path;

use tempfile::TempDir;

/// The files of a machine: each begins with `== path`, its content follows.
#[derive(Debug)]
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn unpack(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in text.split("== ").skip(1) {
            let (path, content) = file.split_once('\n').unwrap();
            put(dir.path(), path, content);
        }
        Self(dir)
    }

    /// Writes another file, or one anew.
    pub(crate) fn put(&self, path: &str, content: &str) {
        put(self.root(), path, content);
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }
}

fn put(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
