//! One node's keys as anyone knows them, and how they are brought up to date.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::NodeName;

/// Bytes of a key at most.
pub const KEY_BYTES_MAX: usize = 128;

/// What an entry costs beside its key and value, roughly as on the wire.
const ENTRY_BYTES: usize = 16;

/// No honest node counts as far.
const VERSION_MAX: u64 = u64::MAX / 2;

/// One key's last word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) version: u64,
    /// `None`: a tombstone.
    pub(super) value: Option<Bytes>,
}

/// A node's keys. Its owner alone writes it; every write has the next version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeState {
    /// The life of the owner that wrote it.
    pub(super) incarnation: u64,
    /// Everything up to this version is here.
    pub(super) version: u64,
    /// Tombstones up to this version are not: who knows less than this takes the state as a whole or not at all.
    pub(super) collected: u64,
    pub(super) entries: BTreeMap<String, Entry>,
    /// Of keys and values.
    pub(super) bytes: usize,
}

/// What changed in a node's keys after version `from` and up to `to`. From 0 it is the whole state, and what is not in it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Update {
    pub(super) owner: NodeName,
    pub(super) incarnation: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) collected: u64,
    pub(super) entries: Vec<(String, u64, Option<Bytes>)>,
}

impl Update {
    /// About as many bytes as it has on the wire, rather more.
    pub(super) fn size(&self) -> usize {
        let entry = |(key, _, value): &(String, u64, Option<Bytes>)| entry_bytes(key, value.as_ref());
        self.owner.as_str().len() + 48 + self.entries.iter().map(entry).sum::<usize>()
    }

    /// Whether an honest node can have sent it, where nodes have `node_bytes`.
    pub(super) fn is_sound(&self, node_bytes: usize) -> bool {
        let Self { from, to, collected, entries, .. } = self;
        let entry = |(key, version, _): &(String, u64, Option<Bytes>)| {
            !key.is_empty() && key.len() <= KEY_BYTES_MAX && version > from && version <= to
        };
        let bytes: usize = entries.iter().map(|(key, _, value)| entry_bytes(key, value.as_ref())).sum();
        from < to && collected <= to && *to <= VERSION_MAX && bytes <= node_bytes && entries.iter().all(entry)
    }
}

/// What an update did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// These keys have another value now, or none.
    Changed(Vec<(String, u64, Option<Bytes>)>),
    /// It said nothing new.
    Known,
    /// Something before it is missing.
    Gap,
}

fn entry_bytes(key: &str, value: Option<&Bytes>) -> usize {
    key.len() + value.map_or(0, Bytes::len) + ENTRY_BYTES
}

impl NodeState {
    pub(super) fn new(incarnation: u64) -> Self {
        Self { incarnation, ..Self::default() }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Bytes> {
        self.entries.get(key)?.value.as_ref()
    }

    /// Where it stands: compared as a whole.
    pub(super) fn at(&self) -> (u64, u64) {
        (self.incarnation, self.version)
    }

    /// What `bytes` would be with this write.
    pub(super) fn bytes_with(&self, key: &str, value: Option<&Bytes>) -> usize {
        let before = self.entries.get(key).map_or(0, |entry| entry_bytes(key, entry.value.as_ref()));
        self.bytes - before + entry_bytes(key, value)
    }

    pub(super) fn put(&mut self, key: &str, version: u64, value: Option<Bytes>) {
        self.bytes = self.bytes_with(key, value.as_ref());
        self.entries.insert(key.to_owned(), Entry { version, value });
    }

    /// The owner's own write.
    pub(super) fn write(&mut self, key: &str, value: Option<Bytes>) {
        self.version += 1;
        self.put(key, self.version, value);
    }

    /// The owner gives up its tombstones up to version `up_to`, which is news for all others. Whether there were any.
    pub(super) fn collect(&mut self, up_to: u64) -> bool {
        let tombs = self.entries.values().filter(|entry| entry.value.is_none()).map(|entry| entry.version);
        let Some(last) = tombs.filter(|version| *version <= up_to).max() else { return false };
        self.drop_tombstones(last);
        self.version += 1;
        true
    }

    /// The owner has heard of a later version of its own than it has: it was started anew in the same life. Everything it has said
    /// since is said again, as a whole, with versions above.
    pub(super) fn write_above(&mut self, heard: u64) {
        self.version = heard + 1;
        self.collected = self.version;
        for entry in self.entries.values_mut() {
            self.version += 1;
            entry.version = self.version;
        }
    }

    fn drop_tombstones(&mut self, up_to: u64) {
        self.collected = self.collected.max(up_to);
        let bytes = &mut self.bytes;
        self.entries.retain(|key, entry| {
            let keep = entry.value.is_some() || entry.version > up_to;
            *bytes -= if keep { 0 } else { entry_bytes(key, None) };
            keep
        });
    }

    /// What someone lacks who stands at `(incarnation, version)`; `None` if that is nothing.
    pub(super) fn since(&self, owner: &NodeName, at: (u64, u64)) -> Option<Update> {
        if at >= self.at() || self.version == 0 {
            return None;
        }
        let from = if at.0 == self.incarnation && at.1 >= self.collected { at.1 } else { 0 };
        let newer = self.entries.iter().filter(|(_, entry)| entry.version > from);
        let entries = newer.map(|(key, entry)| (key.clone(), entry.version, entry.value.clone())).collect();
        let Self { incarnation, version: to, collected, .. } = *self;
        Some(Update { owner: owner.clone(), incarnation, from, to, collected, entries })
    }

    /// Brings a sound update in.
    pub(super) fn apply(&mut self, update: &Update, node_bytes: usize) -> Applied {
        if (update.incarnation, update.to) <= self.at() {
            return Applied::Known;
        }
        if update.from == 0 {
            return self.replace(update);
        }
        let follows = update.incarnation == self.incarnation
            && update.from <= self.version
            && update.collected <= self.version;
        if !follows {
            return Applied::Gap;
        }
        let mut next = self.clone();
        let mut changed = Vec::new();
        for (key, version, value) in &update.entries {
            if *version > self.version {
                next.put(key, *version, value.clone());
                changed.push((key.clone(), *version, value.clone()));
            }
        }
        next.drop_tombstones(update.collected);
        next.version = update.to;
        // Its owner would not have let it grow this large.
        if next.bytes > node_bytes {
            return Applied::Gap;
        }
        *self = next;
        Applied::Changed(changed)
    }

    fn replace(&mut self, update: &Update) -> Applied {
        let mut next = Self::new(update.incarnation);
        (next.version, next.collected) = (update.to, update.collected);
        for (key, version, value) in &update.entries {
            next.put(key, *version, value.clone());
        }
        let before = std::mem::replace(self, next);
        let differs = |(key, entry): &(&String, &Entry)| before.entries.get(*key) != Some(*entry);
        let mut changed: Vec<_> = self.entries.iter().filter(differs).map(told).collect();
        // What is not in the whole is gone.
        let live = before.entries.iter().filter(|(_, entry)| entry.value.is_some());
        let gone = live.filter(|(key, _)| !self.entries.contains_key(*key));
        changed.extend(gone.map(|(key, _)| (key.clone(), update.to, None)));
        Applied::Changed(changed)
    }
}

fn told((key, entry): (&String, &Entry)) -> (String, u64, Option<Bytes>) {
    (key.clone(), entry.version, entry.value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 1000;

    fn name() -> NodeName {
        "a".parse().unwrap()
    }

    fn value(text: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn copy(state: &NodeState) -> NodeState {
        let mut copy = NodeState::default();
        copy.apply(&state.since(&name(), (0, 0)).unwrap(), ROOM);
        copy
    }

    /// Goal: a copy follows by what changed since it last heard, and says which keys did; what it has heard is nothing new.
    #[test]
    fn copies_follow() {
        let mut state = NodeState::new(1);
        state.write("x", value("1"));
        let mut other = copy(&state);
        assert_eq!(other, state);
        state.write("y", value("2"));
        state.write("x", None);
        let update = state.since(&name(), other.at()).unwrap();
        assert_eq!((update.from, update.to), (1, 3));
        let changed = vec![("x".into(), 3, None), ("y".into(), 2, value("2"))];
        assert_eq!(other.apply(&update, ROOM), Applied::Changed(changed));
        assert_eq!(other, state);
        assert_eq!(other.apply(&update, ROOM), Applied::Known);
        assert_eq!(state.since(&name(), other.at()), None);
    }

    /// Goal: an update whose beginning is missing is not taken, and one that would make the state too large neither.
    #[test]
    fn gaps_are_not_jumped() {
        let mut state = NodeState::new(1);
        state.write("x", value("1"));
        let mut other = copy(&state);
        state.write("y", value("2"));
        let at = state.at();
        state.write("z", value("3"));
        let late = state.since(&name(), at).unwrap();
        assert_eq!(other.apply(&late, ROOM), Applied::Gap);
        let all = state.since(&name(), other.at()).unwrap();
        assert_eq!(other.apply(&all, 40), Applied::Gap);
        assert_eq!(other.version, 1);
    }

    /// Goal: whoever missed a tombstone that has been collected takes the whole state, in which the key is not: it does not come back.
    #[test]
    fn collected_tombstones_do_not_resurrect() {
        let mut state = NodeState::new(1);
        state.write("x", value("1"));
        state.write("y", value("2"));
        let mut late = copy(&state);
        state.write("x", None);
        let mut there = copy(&state);
        assert!(state.collect(3) && !state.collect(9));
        assert_eq!(state.version, 4);
        for copy in [&mut late, &mut there] {
            let update = state.since(&name(), copy.at()).unwrap();
            assert!(matches!(copy.apply(&update, ROOM), Applied::Changed(_)));
            assert_eq!((&*copy, copy.get("x")), (&state, None));
        }
    }

    /// Goal: a newer life replaces the older one's keys; an owner started anew in the same life is believed again.
    #[test]
    fn newer_lives_and_new_starts() {
        let mut old = NodeState::new(1);
        old.write("x", value("1"));
        old.write("y", value("1"));
        let mut other = copy(&old);
        let mut new = NodeState::new(2);
        new.write("y", value("2"));
        let update = new.since(&name(), other.at()).unwrap();
        let changed = vec![("y".into(), 1, value("2")), ("x".into(), 1, None)];
        assert_eq!(other.apply(&update, ROOM), Applied::Changed(changed));

        let mut again = NodeState::new(2);
        again.write("z", value("3"));
        again.write_above(other.version);
        other.apply(&again.since(&name(), other.at()).unwrap(), ROOM);
        assert_eq!(other, again);
        assert_eq!((other.get("y"), other.get("z")), (None, value("3").as_ref()));
    }

    /// Goal: no update is sound that no honest node sends.
    #[test]
    fn unsound_updates() {
        let mut state = NodeState::new(1);
        state.write("x", value("1"));
        let good = state.since(&name(), (0, 0)).unwrap();
        assert!(good.is_sound(ROOM) && !good.is_sound(10));
        for bad in [
            Update { to: 0, ..good.clone() },
            Update { collected: 2, ..good.clone() },
            Update { to: u64::MAX, ..good.clone() },
            Update { entries: vec![(String::new(), 1, None)], ..good.clone() },
            Update { entries: vec![("x".into(), 2, None)], ..good.clone() },
            Update { entries: vec![("x".repeat(129), 1, None)], ..good },
        ] {
            assert!(!bad.is_sound(ROOM), "{bad:?}");
        }
    }
}
