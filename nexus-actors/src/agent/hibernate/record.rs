//! What is left of a dormant agent: one allocation of its size and about ten bytes.

use crate::agent::Family;
use crate::agent::durable::Snapshot;
use crate::agent::level::Level;
use crate::store::Marks;

/// A dormant agent: its family's index, its level, how often it has started, the version of its state (one to five bytes each), its
/// marks if it has any, the length of its key, its key (its name without the family's prefix) and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record(Box<[u8]>);

/// The parts of a [`Record`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) family: u32,
    pub(crate) level: Level,
    pub(crate) incarnation: u32,
    pub(crate) version: u32,
    pub(crate) key: &'a str,
    pub(crate) marks: Marks,
    pub(crate) state: &'a [u8],
}

/// Added to the level where marks follow: their number, and feed and place of each.
const MARKED: u64 = 8;

impl Record {
    /// The record of the agent `name` of `family`.
    pub(crate) fn of(
        family: &Family,
        name: &str,
        level: Level,
        incarnation: u32,
        snapshot: &Snapshot,
    ) -> Self {
        let Snapshot { version, state, marks } = snapshot;
        Self::new(&Parts {
            family: family.index,
            level,
            incarnation,
            version: *version,
            marks: marks.clone(),
            key: family.pattern.key(name),
            state,
        })
    }

    pub(crate) fn new(parts: &Parts<'_>) -> Self {
        let marks = parts.marks.as_slice();
        let mut bytes = Vec::with_capacity(24 + 12 * marks.len() + parts.key.len() + parts.state.len());
        let marked = if marks.is_empty() { 0 } else { MARKED };
        let head = [
            parts.family.into(),
            parts.level as u64 + marked,
            parts.incarnation.into(),
            parts.version.into(),
        ];
        let listed = marks.iter().flat_map(|(feed, seq)| [u64::from(*feed), *seq]);
        let count = (!marks.is_empty()).then_some(marks.len() as u64);
        for number in head.into_iter().chain(count).chain(listed).chain([parts.key.len() as u64]) {
            write(&mut bytes, number);
        }
        bytes.extend_from_slice(parts.key.as_bytes());
        bytes.extend_from_slice(parts.state);
        Self(bytes.into_boxed_slice())
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        let mut bytes = &*self.0;
        let [family, level, incarnation, version] = std::array::from_fn(|_| read(&mut bytes));
        let count = if level < MARKED { 0 } else { read(&mut bytes) };
        let marks: Vec<_> = (0..count).map(|_| (narrow(read(&mut bytes)), read(&mut bytes))).collect();
        let length: usize = narrow(read(&mut bytes));
        let (key, state) = bytes.split_at(length);
        let key = std::str::from_utf8(key).expect("written from a `str`");
        let level = Level::from_u8(narrow(level % MARKED));
        let (family, incarnation, version) = (narrow(family), narrow(incarnation), narrow(version));
        Parts { family, level, incarnation, version, marks: marks.into(), key, state }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let parts = self.parts();
        Snapshot { version: parts.version, state: parts.state.into(), marks: parts.marks }
    }
}

/// A number that was written from a smaller type.
fn narrow<T: TryFrom<u64, Error: std::fmt::Debug>>(number: u64) -> T {
    T::try_from(number).expect("written from this type")
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow (LEB128).
fn write(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn read(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("written whole");
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Goal: whatever is laid down is found again.
        #[test]
        fn records_are_read_as_written(
            (family, incarnation, version) in (any::<u32>(), any::<u32>(), any::<u32>()),
            key in "[a-zA-Z0-9é]{0,60}",
            state in proptest::collection::vec(any::<u8>(), 0..300),
            marks in proptest::collection::vec((any::<u16>(), any::<u64>()), 0..4),
        ) {
            let marks = Marks::from(marks);
            let parts =
                Parts { family, level: Level::Adaptive, incarnation, version, marks: marks.clone(), key: &key, state: &state };
            let record = Record::new(&parts);
            prop_assert_eq!(record.parts(), parts);
            prop_assert_eq!(record.snapshot(), Snapshot { version, state: state.clone().into(), marks });
        }
    }

    /// Goal: a sensor with 64 bytes of state stays well below 100 bytes.
    #[test]
    fn records_are_small() {
        let parts = Parts {
            family: 3,
            level: Level::Reactive,
            incarnation: 9,
            version: 1,
            marks: Marks::default(),
            key: "9999999",
            state: &[0; 64],
        };
        assert_eq!(Record::new(&parts).0.len(), 64 + 7 + 5);
        assert_eq!(size_of::<Record>(), 16);
    }
}
