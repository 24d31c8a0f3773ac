//! Datagrams are looked at whole before foca sees them: foca applies the news in a datagram before it finds that its end is
//! malformed, and takes anyone's word for who sent it.

use bytes::Buf;
use foca::{Codec, Message, PostcardCodec};
use serde::{Deserialize, Serialize};

use super::member::Member;
use crate::NodeId;

/// Why a datagram was dropped. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It is not what a member sends: cut short, too long, out of range, or with something behind its end.
    Malformed,
    /// It says it is from another than the node at the end of the connection, or from ourselves.
    Impostor,
    /// It would make us know more members than [`members_max`](super::MembershipConfig::members_max).
    TooMany,
}

/// Everyone that a datagram from `from` tells of, its sender included.
pub(super) fn inspect(mut bytes: &[u8], from: &NodeId, limit: usize) -> Result<Vec<Member>, Refusal> {
    let malformed = |_| Refusal::Malformed;
    if bytes.len() > limit {
        return Err(Refusal::Malformed);
    }
    let header: foca::Header<Member> = PostcardCodec.decode_header(&mut bytes).map_err(malformed)?;
    if header.src.id() != from {
        return Err(Refusal::Impostor);
    }
    let mut told = vec![header.src];
    match header.message {
        // Nobody here sends broadcasts of their own.
        Message::Broadcast => return Err(Refusal::Malformed),
        _ if bytes.is_empty() => return Ok(told),
        Message::Announce | Message::TurnUndead => return Err(Refusal::Malformed),
        _ => {}
    }
    let updates = bytes.try_get_u16().map_err(|_| Refusal::Malformed)?;
    for _ in 0..updates {
        let member: foca::Member<Member> = PostcardCodec.decode_member(&mut bytes).map_err(malformed)?;
        told.push(member.id().clone());
    }
    if bytes.is_empty() { Ok(told) } else { Err(Refusal::Malformed) }
}
