//! A stored snapshot in bytes. Pure.
//!
//! ```text
//! format 1 | flags 1 | level 1 | incarnation 4 | version 4 | sequence 8 | behavior 2+n | marks 2+10·n | state 4+n | checksum 8
//! ```
//!
//! Numbers are little-endian. The state is compressed (lz4 block) if flag 1 is set; the number before it is its length in full.
//! The checksum is the xxh3-64 of the agent's name, a zero byte and all that comes before it: a record under a wrong name is damaged.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::marks::Marks;
use crate::agent::{Level, Snapshot};

const FORMAT: u8 = 1;
const COMPRESSED: u8 = 1;
const CHECKSUM_BYTES: usize = 8;

/// States of this size and more are compressed, if that saves an eighth: a smaller one shares a page of 4 KiB with others whatever is
/// done, and a `MessagePack` map of a few keys hardly repeats itself.
const COMPRESS_FROM: usize = 1024;

/// The largest state in bytes.
pub(crate) const STATE_BYTES_MAX: usize = 256 << 20;

/// What is stored of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) behavior: Arc<str>,
    pub(crate) level: Level,
    pub(crate) incarnation: u32,
    /// Grows with every snapshot of the store.
    pub(crate) sequence: u64,
    pub(crate) snapshot: Snapshot,
}

/// The record of the agent `name`.
pub(crate) fn encode(name: &str, stored: &Stored) -> Vec<u8> {
    let state = &stored.snapshot.state;
    let packed = (state.len() >= COMPRESS_FROM)
        .then(|| lz4_flex::block::compress(state))
        .filter(|packed| packed.len() <= state.len() / 8 * 7);
    let body = packed.as_deref().unwrap_or(state);
    let marks = stored.snapshot.marks.as_slice();
    let mut bytes = Vec::with_capacity(40 + stored.behavior.len() + 10 * marks.len() + body.len());
    bytes.extend([FORMAT, if packed.is_some() { COMPRESSED } else { 0 }, stored.level as u8]);
    bytes.extend(stored.incarnation.to_le_bytes());
    bytes.extend(stored.snapshot.version.to_le_bytes());
    bytes.extend(stored.sequence.to_le_bytes());
    bytes.extend(short(stored.behavior.len()).to_le_bytes());
    bytes.extend(stored.behavior.as_bytes());
    bytes.extend(short(marks.len()).to_le_bytes());
    for (feed, seq) in marks {
        bytes.extend(feed.to_le_bytes());
        bytes.extend(seq.to_le_bytes());
    }
    bytes.extend(u32::try_from(state.len()).expect("bounded by STATE_BYTES_MAX").to_le_bytes());
    bytes.extend(body);
    let sum = checksum(name, &bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// Behaviors' names are literals of a program, marks are one a feed: both fit.
fn short(length: usize) -> u16 {
    u16::try_from(length).expect("a name of a behavior, and marks of at most 65,535 feeds")
}

fn checksum(name: &str, bytes: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(name.as_bytes());
    hasher.update(&[0]);
    hasher.update(bytes);
    hasher.digest()
}

/// What the record of the agent `name` says.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn decode(name: &str, record: &[u8]) -> Result<Stored, String> {
    let (body, sum) =
        record.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| format!("only {} bytes", record.len()))?;
    // Looked at before the checksum, which another format may keep elsewhere.
    match body.first() {
        Some(&FORMAT) => {}
        other => return Err(format!("format {}, known is {FORMAT}", other.copied().unwrap_or_default())),
    }
    let (found, stated) = (checksum(name, body), u64::from_le_bytes(*sum));
    if found != stated {
        return Err(format!("checksum {found:016x}, stated is {stated:016x}"));
    }
    Reader(body).stored().ok_or_else(|| "it ends early, although its checksum is right".to_owned())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn stored(mut self) -> Option<Stored> {
        let [_, flags, level] = self.array()?;
        let incarnation = u32::from_le_bytes(self.array()?);
        let version = u32::from_le_bytes(self.array()?);
        let sequence = u64::from_le_bytes(self.array()?);
        let length = u16::from_le_bytes(self.array()?);
        let behavior = std::str::from_utf8(self.bytes(length.into())?).ok()?.into();
        let marks = (0..u16::from_le_bytes(self.array()?))
            .map(|_| Some((u16::from_le_bytes(self.array()?), u64::from_le_bytes(self.array()?))))
            .collect::<Option<Vec<_>>>()?;
        let length = usize::try_from(u32::from_le_bytes(self.array()?)).ok()?;
        let state = match flags & COMPRESSED {
            0 => (self.0.len() == length).then(|| self.0.to_vec())?,
            _ if length > STATE_BYTES_MAX => return None,
            _ => lz4_flex::block::decompress(self.0, length).ok().filter(|state| state.len() == length)?,
        };
        let snapshot = Snapshot { version, state: state.into(), marks: Marks::from(marks) };
        Some(Stored { behavior, level: Level::from_u8(level), incarnation, sequence, snapshot })
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(state: Vec<u8>, marks: Vec<(u16, u64)>) -> Stored {
        let snapshot = Snapshot { version: 3, state: state.into(), marks: marks.into() };
        Stored { behavior: "kv".into(), level: Level::Proactive, incarnation: 7, sequence: 99, snapshot }
    }

    proptest! {
        /// Goal: what is written is read, compressed or not; a record with a changed byte, a missing one or another name is
        /// damaged, and never panics.
        #[test]
        fn records_are_read_as_written(
            state in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..3000),
                proptest::collection::vec(0_u8..3, 1000..5000),
            ],
            marks in proptest::collection::btree_map(any::<u16>(), any::<u64>(), 0..5),
            (at, flip) in (any::<proptest::sample::Index>(), 1_u8..),
        ) {
            let written = stored(state, marks.into_iter().collect());
            let record = encode("kv/a", &written);
            prop_assert_eq!(decode("kv/a", &record), Ok(written));
            prop_assert!(decode("kv/b", &record).is_err());
            prop_assert!(decode("kv/a", &record[..at.index(record.len())]).is_err());
            let mut damaged = record;
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
            prop_assert!(decode("kv/a", &damaged).is_err());
        }
    }

    /// Goal: large states that repeat themselves are stored compressed, small ones and random ones as they are; and the damage
    /// is named.
    #[test]
    fn records_say_what_they_are() {
        let length = |state: Vec<u8>| encode("a", &stored(state, vec![])).len();
        assert_eq!(length(vec![7; COMPRESS_FROM - 1]), 37 + COMPRESS_FROM - 1);
        assert!(length(vec![7; COMPRESS_FROM]) < 100);
        let record = encode("a", &stored(vec![1, 2, 3], vec![]));
        assert!(decode("a", &record[1..]).unwrap_err().contains("format"), "the first byte names the format");
        assert!(decode("b", &record).unwrap_err().contains("checksum"));
        assert_eq!(decode("a", &[]), Err("only 0 bytes".to_owned()));
    }
}
