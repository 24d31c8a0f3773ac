//! The environment, as far as commands look at it. Handed in, so that tests have their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Environment variables a command may read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// The process's own. Variables that are no UTF-8 are left out.
    pub(crate) fn of_process() -> Self {
        let text = |value: std::ffi::OsString| value.into_string().ok();
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
        Self { variables: variables.collect() }
    }

    #[cfg(test)]
    pub(crate) fn of<const N: usize>(variables: [(&str, &str); N]) -> Self {
        let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { variables: owned.into_iter().collect() }
    }

    #[cfg(test)]
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// The variable's value. An empty one counts as not set, as is the custom for `NO_COLOR` and the like.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The variable's value, empty ones included.
    pub(crate) fn lookup(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    /// Where running nodes leave their runtime files: private to the user.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        super::runtime_file::directory(self.get("XDG_RUNTIME_DIR"))
    }
}
