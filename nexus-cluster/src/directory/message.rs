//! What directories say to each other: MessagePack, with limits.

use bytes::{BufMut, Bytes, BytesMut};
use nexus_actors::agent::AgentId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::table::{BUCKET_MAX, BUCKETS, Stamp};
use crate::NodeId;
use crate::ring::RingEpoch;

/// Bytes of a message at most: a full bucket and a full chunk before it.
pub const MESSAGE_BYTES_MAX: usize = (BUCKET_MAX + CHUNK_RECORDS) * RECORD_BYTES + 16 * 1024;
/// Records after which a chunk of entries is full.
pub(crate) const CHUNK_RECORDS: usize = 1024;
/// A key, an epoch and a place in the ring.
const RECORD_BYTES: usize = 24;

/// One message. Requests are answered with their number; to ask again does no harm. What names places in the ring counts only if both
/// ends have the same ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// To the owner: the sender wants to be where `id` is.
    Register {
        /// Of the sender.
        request: u64,
        /// Which agent.
        id: AgentId,
        /// The claim's.
        epoch: u64,
        /// Whose place it takes, if that is intended.
        over: Option<NodeId>,
    },
    /// The claim stands.
    Registered {
        /// As asked.
        request: u64,
        /// As asked.
        id: AgentId,
        /// As asked.
        epoch: u64,
    },
    /// To one that holds the entry: where is it?
    Lookup {
        /// Of the sender.
        request: u64,
        /// Which agent.
        id: AgentId,
    },
    /// The entry: the answer to a look-up, and to a registration that comes too late.
    At {
        /// As asked.
        request: u64,
        /// Where it is.
        node: NodeId,
        /// Since when.
        epoch: u64,
    },
    /// The owner knows that there is no entry.
    Absent {
        /// As asked.
        request: u64,
    },
    /// The receiver is not the owner, or does not know yet what it owns: ask again.
    NotYet {
        /// As asked.
        request: u64,
    },
    /// The owner does not take it.
    Full {
        /// As asked.
        request: u64,
    },
    /// The sender's claims for `id` up to `epoch` are over.
    Unregister {
        /// Which agent.
        id: AgentId,
        /// The last epoch that is over.
        epoch: u64,
    },
    /// From the owner to its successors: one record.
    Put {
        /// The ring that places refer to.
        ring: RingEpoch,
        /// The record.
        records: Records,
    },
    /// What the sender knows that the receiver should hold, as one hash.
    Root {
        /// The ring that decides what is shared.
        ring: RingEpoch,
        /// Its digest.
        root: u64,
    },
    /// The receiver of a root has the same, or the receiver of entries has taken them all.
    InSync {
        /// The ring.
        ring: RingEpoch,
    },
    /// The receiver of a root has not the same: these are its digests of what it holds of it, for each bucket that is not empty.
    Differs {
        /// The ring.
        ring: RingEpoch,
        /// Buckets, ascending, with their digests.
        digests: Vec<(u16, u64)>,
    },
    /// All that the sender knows that the receiver should hold, of these buckets.
    Entries {
        /// The ring that places refer to.
        ring: RingEpoch,
        /// Which buckets.
        buckets: Vec<u16>,
        /// Everything in them.
        records: Records,
        /// What the sender itself claims up to this epoch is complete.
        as_of: u64,
        /// How many chunks of this burst came before.
        sequence: u32,
        /// What follows.
        then: Then,
    },
    /// The owner sees two claims: is this one of the receiver's own true?
    Confirm {
        /// Which agent.
        id: AgentId,
    },
    /// The receiver's claim, if it has one.
    Confirmed {
        /// Which agent.
        id: AgentId,
        /// Of its claim.
        epoch: Option<u64>,
    },
    /// The receiver's claim has lost, or its place was taken.
    Yield {
        /// Which agent.
        id: AgentId,
        /// Of the receiver's claim.
        epoch: u64,
        /// Where the agent is.
        to: NodeId,
    },
    /// The receiver's claim has won.
    Prevail {
        /// Which agent.
        id: AgentId,
        /// Of the receiver's claim.
        epoch: u64,
        /// Who lost.
        over: NodeId,
        /// Of the claim that lost.
        over_epoch: u64,
    },
}

/// What comes after a chunk of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// Another chunk.
    Next,
    /// The receiver's digests, to go on from: a burst is over.
    Ask,
    /// Nothing: that was all.
    Done,
}

/// Packed records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Records(Bytes);

impl Records {
    pub(crate) fn pack(records: &[(AgentId, Stamp)]) -> Self {
        let mut bytes = BytesMut::with_capacity(records.len() * RECORD_BYTES);
        for (id, stamp) in records {
            bytes.put_u128(id.get());
            bytes.put_u64(stamp.bits());
        }
        Self(bytes.freeze())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (AgentId, Stamp)> {
        self.0.as_chunks::<RECORD_BYTES>().0.iter().map(|record| {
            let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
            (AgentId::from_key(number(&record[..16])), Stamp::from_bits(number(&record[16..]) as u64))
        })
    }

    /// Bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// The bytes are no message. Drop them and count it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Longer than any message.
    #[error("{bytes} bytes, {MESSAGE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not of this form.
    #[error("malformed: {0}")]
    Malformed(String),
}

impl Message {
    /// Whether it is a request about one agent, or the answer to one: little work.
    pub(super) const fn is_brief(&self) -> bool {
        matches!(
            self,
            Self::Register { .. }
                | Self::Registered { .. }
                | Self::Lookup { .. }
                | Self::At { .. }
                | Self::Absent { .. }
                | Self::NotYet { .. }
                | Self::Full { .. }
        )
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        rmp_serde::to_vec(self).expect("plain data has a form in MessagePack").into()
    }

    /// From bytes of a peer.
    ///
    /// # Errors
    /// They are too long or no message.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong { bytes: bytes.len() });
        }
        let message: Self =
            rmp_serde::from_slice(bytes).map_err(|error| MessageError::Malformed(error.to_string()))?;
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), MessageError> {
        let malformed = |what: &str| Err(MessageError::Malformed(what.into()));
        match self {
            Self::Put { records, .. } | Self::Entries { records, .. }
                if records.0.len() % RECORD_BYTES != 0 =>
            {
                malformed("part of a record")
            }
            Self::Entries { buckets, .. } if !ascending(buckets.iter()) => malformed("buckets not ascending"),
            Self::Differs { digests, .. } if !ascending(digests.iter().map(|(bucket, _)| bucket)) => {
                malformed("buckets not ascending")
            }
            _ => Ok(()),
        }
    }
}

/// Each bucket once, and none beyond the last.
fn ascending<'a>(mut buckets: impl Iterator<Item = &'a u16>) -> bool {
    let mut next = 0;
    buckets.all(|bucket| {
        let fits = usize::from(*bucket) >= next && usize::from(*bucket) < BUCKETS;
        next = usize::from(*bucket) + 1;
        fits
    })
}

#[cfg(test)]
mod tests {
    use nexus_actors::rng::Seed;
    use rand::{Rng as _, RngCore};

    use super::*;

    /// Goal: what is encoded is decoded, and no bytes of a peer do harm. Method: all cut and changed forms of some messages.
    #[test]
    fn seeded_hostile_bytes_are_errors() {
        let seed = std::env::var("NEXUS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5);
        println!("NEXUS_TEST_SEED={seed}");
        let mut rng = Seed::new(seed).stream("message");
        let node = NodeId { name: "a".parse().unwrap(), incarnation: 7 };
        let (id, ring) = (AgentId::of("a/1"), RingEpoch::default());
        let records =
            Records::pack(&[(id, Stamp::new(5, 2)), (AgentId::of("a/2"), Stamp::new(1 << 47, 65_535))]);
        assert_eq!(
            records.iter().map(|(_, stamp)| (stamp.epoch(), stamp.place())).last(),
            Some((1 << 47, 65_535))
        );
        for message in [
            Message::Register { request: 1, id, epoch: 2, over: Some(node.clone()) },
            Message::At { request: 1, node, epoch: 3 },
            Message::Entries {
                ring,
                buckets: vec![1, 4095],
                records,
                as_of: 9,
                sequence: 0,
                then: Then::Done,
            },
            Message::Differs { ring, digests: vec![(0, 1), (7, 2)] },
        ] {
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes), Ok(message));
            for cut in 0..bytes.len() {
                assert!(Message::decode(&bytes[..cut]).is_err());
            }
            for _ in 0..500 {
                let mut changed = bytes.to_vec();
                let at = rng.random_range(0..changed.len());
                changed[at] = rng.next_u32() as u8;
                let _ = Message::decode(&changed);
            }
        }
        let wrong = Message::Differs { ring, digests: vec![(7, 1), (7, 2)] };
        assert!(Message::decode(&wrong.encode()).is_err());
        let beyond = Message::Entries {
            ring,
            buckets: vec![4096],
            records: Records::default(),
            as_of: 0,
            sequence: 0,
            then: Then::Ask,
        };
        assert!(Message::decode(&beyond.encode()).is_err());
        assert!(Message::decode(&vec![0; MESSAGE_BYTES_MAX + 1]).is_err());
    }
}
