//! What is left of a dormant agent: one allocation of its size and about ten bytes.

use crate::agent::durable::Snapshot;
use crate::agent::level::Level;

/// A dormant agent: its family's index, its level, how often it has started, the version of its state (one to five bytes each), the
/// length of its key, its key (its name without the family's prefix) and its state.
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
    pub(crate) state: &'a [u8],
}

impl Record {
    pub(crate) fn new(parts: &Parts<'_>) -> Self {
        let mut bytes = Vec::with_capacity(24 + parts.key.len() + parts.state.len());
        for number in [parts.family, parts.level as u32, parts.incarnation, parts.version, length(parts.key)]
        {
            write(&mut bytes, number);
        }
        bytes.extend_from_slice(parts.key.as_bytes());
        bytes.extend_from_slice(parts.state);
        Self(bytes.into_boxed_slice())
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        let mut bytes = &*self.0;
        let [family, level, incarnation, version, length] = std::array::from_fn(|_| read(&mut bytes));
        let (key, state) = bytes.split_at(length as usize);
        let key = std::str::from_utf8(key).expect("written from a `str`");
        let level = Level::from_u8(u8::try_from(level).expect("written from a `Level`"));
        Parts { family, level, incarnation, version, key, state }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let parts = self.parts();
        Snapshot { version: parts.version, state: parts.state.into() }
    }
}

/// Names are at most 255 bytes long.
fn length(key: &str) -> u32 {
    u32::try_from(key.len()).expect("a name's length was checked")
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow (LEB128).
fn write(bytes: &mut Vec<u8>, mut number: u32) {
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

fn read(bytes: &mut &[u8]) -> u32 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("written whole");
        *bytes = rest;
        number |= u32::from(first & 0x7f) << shift;
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
        ) {
            let parts = Parts { family, level: Level::Adaptive, incarnation, version, key: &key, state: &state };
            let record = Record::new(&parts);
            prop_assert_eq!(record.parts(), parts);
            prop_assert_eq!(record.snapshot(), Snapshot { version, state: state.clone().into() });
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
            key: "9999999",
            state: &[0; 64],
        };
        assert_eq!(Record::new(&parts).0.len(), 64 + 7 + 5);
        assert_eq!(size_of::<Record>(), 16);
    }
}
