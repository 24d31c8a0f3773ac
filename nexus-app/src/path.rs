//! Where a value is in a configuration: `supervisor[0].agent[2].name`.

use std::fmt;

use serde_path_to_error::Segment;

/// One step down the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Into a table.
    Key(String),
    /// Into an array.
    Index(usize),
}

/// The steps from the root to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(Vec<Step>);

impl Path {
    pub(crate) fn root() -> Self {
        Self::default()
    }

    /// The value under `key`.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// The element at `index`.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The value at `below`, a path that begins here.
    pub(crate) fn join(&self, below: &Self) -> Self {
        Self(self.0.iter().chain(&below.0).cloned().collect())
    }

    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        Some(Self(parents.to_vec()))
    }

    /// The path where serde stopped.
    pub(crate) fn of_serde(path: &serde_path_to_error::Path) -> Self {
        let step = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        Self(path.iter().map_while(step).collect())
    }

    /// The path as garde and `Display` write it. No struct field has a dot or a bracket in its name.
    pub(crate) fn of_text(text: &str) -> Self {
        let step = |part: &str| match part.strip_suffix(']').map(str::parse) {
            Some(Ok(index)) => Step::Index(index),
            _ => Step::Key(part.to_owned()),
        };
        Self(text.split(['.', '[']).filter(|part| !part.is_empty()).map(step).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => write!(f, "{}", key.escape_debug())?,
                Step::Key(key) => write!(f, ".{}", key.escape_debug())?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a path reads back from its text and knows its parent.
    #[test]
    fn paths_read_back() {
        let path = Path::root().key("supervisor").index(0).key("agent").index(12).key("name");
        assert_eq!(path.to_string(), "supervisor[0].agent[12].name");
        assert_eq!(Path::of_text(&path.to_string()), path);
        assert_eq!(path.parent().unwrap().key("name"), path);
        assert_eq!(Path::of_text("supervisor[0]").join(&Path::of_text("agent[12].name")), path);
        assert_eq!(Path::root().parent(), None);
    }
}
