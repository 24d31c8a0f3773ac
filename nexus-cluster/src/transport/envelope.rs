//! Envelopes: what agents say to each other, one after the other in the body of a [frame](super::frame). Pure.
//!
//! ```text
//! 0   kind     1   tell, ask, reply, cancel, part, fence, publish
//! 1   request  8   number of the ask that this is, answers or cancels, or of the envelope that this is a part of; else 0
//! 9   deadline 4   milliseconds left when the frame was opened; 0 for none
//! 13  length   4   of the content that follows
//! ```
//!
//! A tell's or ask's content is a byte that says what follows, its target, the key, hints and trace if there are any, its place in a feed and
//! what it follows there if that matters, the id of an ask that may be tried again (its number is that of one try), and to the end the
//! payload, which is MessagePack already. The header and the parts of a request are laid by hand: the payload is never encoded a second
//! time. A target is named once in a body, by its name (a length and bytes) or by the 16 bytes of an [`AgentId`]; envelopes after it
//! say which of the targets named so far they are for (two bytes), so that neither end looks at a name again, and a receiver has
//! what belongs together without searching for it. A fence's content is the 16 bytes of an [`AgentId`] and, to the end, the name of the node
//! that waits for it. A reply's content is a payload or an error. A part's is a stretch of an envelope that is larger than a frame; parts of
//! one envelope follow each other, so that a receiver puts one together at a time.

use std::time::Duration;

use nexus_actors::agent::{AgentId, Hints, NAME_BYTES_MAX, Reply, Request, Target};
use thiserror::Error;

use super::frame::{u32_at, u64_at};

/// Bytes before the content.
pub const HEADER_BYTES: usize = 17;

/// Set with the operation if hints or a trace follow the key.
pub(super) const HAS_EXTRAS: u8 = 0x80;
/// Set with the operation if the request's place in a feed comes before the payload: 8 bytes of its origin, 8 of the place that it
/// follows, and the pass.
pub(super) const HAS_PLACE: u8 = 0x40;
/// Set with the operation if the 16 bytes of a [`RequestId`](nexus_actors::agent::RequestId) come before the payload. Of a request that
/// nobody waits for they mean nothing.
pub(super) const HAS_ID: u8 = 0x08;

/// Set with the operation: how the target is mentioned.
pub(super) const MENTION: u8 = 0x30;
pub(super) const BY_NAME: u8 = 0x00;
pub(super) const BY_ID: u8 = 0x10;
pub(super) const AGAIN: u8 = 0x20;

/// What an envelope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A request that nobody waits for.
    Tell = 1,
    /// A request that is answered.
    Ask = 2,
    /// The answer.
    Reply = 3,
    /// The asker waits no more.
    Cancel = 4,
    /// A stretch of a large envelope.
    Part = 5,
    /// Answered when all before it, of the sender to an agent, has come where the agent lives.
    Fence = 6,
    /// A request for all members of a group, which stands where the target does. It is no target that is mentioned again.
    Publish = 7,
}

/// Why a body is no sequence of envelopes. The connection has a broken or hostile end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// It ends within one.
    #[error("it ends within an envelope")]
    Truncated,
    /// A kind that this version does not know.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// A part of the content is not what it must be.
    #[error("its {0} is malformed")]
    Content(&'static str),
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// By name: a family may make the agent.
    Name(&'a str),
    /// By key: only an agent that is known.
    Id(AgentId),
}

/// The same as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mention<'a> {
    /// For the first time in its body.
    First(Address<'a>),
    /// The target that was the so many-th to be mentioned in this body, from 0.
    Again(u16),
}

/// Which targets the body at hand has mentioned: the sender's side of a [`Reader`](super::reader::Reader). Of those whose keys fall on the same places the latest are
/// remembered, and others are mentioned anew.
#[derive(Debug)]
pub struct Mentions {
    /// From the place of the key's lowest bits on: the body in which it was mentioned, and its number there.
    known: Box<[(AgentId, u32, u16); MENTIONS_KNOWN]>,
    body: u32,
    next: u16,
}

/// Targets remembered at most; a power of two.
const MENTIONS_KNOWN: usize = 256;
/// Places where a target may be.
const MENTION_PLACES: usize = 8;

impl Default for Mentions {
    fn default() -> Self {
        Self { known: Box::new([(AgentId::from_key(0), 0, 0); MENTIONS_KNOWN]), body: 1, next: 0 }
    }
}

impl Mentions {
    /// A new body begins.
    pub fn clear(&mut self) {
        self.next = 0;
        self.body = self.body.wrapping_add(1);
        if self.body == 0 {
            *self = Self::default();
        }
    }

    /// How the next envelope is to mention a target.
    #[inline]
    pub fn mention<'a>(&mut self, id: AgentId, name: Option<&'a str>) -> Mention<'a> {
        let home = usize::try_from(id.get() % MENTIONS_KNOWN as u128).unwrap_or_default();
        let mut free = home;
        for place in 0..MENTION_PLACES {
            let at = (home + place) % MENTIONS_KNOWN;
            let (known, body, number) = self.known[at];
            if body != self.body {
                free = at;
                break;
            }
            if known == id {
                return Mention::Again(number);
            }
        }
        // Numbers that do not fit are those of targets that are mentioned each time anew.
        if self.next < u16::MAX {
            self.known[free] = (id, self.body, self.next);
            self.next += 1;
        }
        Mention::First(Address::of(id, name))
    }
}

impl<'a> Address<'a> {
    /// By name where it is known.
    #[must_use]
    pub fn of(id: AgentId, name: Option<&'a str>) -> Self {
        // One that is too long is no agent's.
        let name = name.filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()));
        name.map_or(Self::Id(id), Self::Name)
    }
}

impl Target for Address<'_> {
    fn id(&self) -> AgentId {
        match self {
            Self::Name(name) => AgentId::of(name),
            Self::Id(id) => *id,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Id(_) => None,
        }
    }
}

/// An envelope in a body, its content not yet looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What it is.
    pub kind: Kind,
    /// The ask's number, or that of the envelope it is a part of.
    pub number: u64,
    /// What is left until the request's deadline.
    pub deadline: Option<Duration>,
    /// What follows the header.
    pub content: &'a [u8],
}

impl Envelope<'_> {
    /// Its bytes with the header: what it takes of the receiver's credit.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        HEADER_BYTES + self.content.len()
    }
}

/// The envelopes in `body`, whose frame took `age` from its opening to its sending.
pub fn decode(body: &[u8], age: Duration) -> impl Iterator<Item = Result<Envelope<'_>, EnvelopeError>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let decoded = split(rest, age);
        rest = match &decoded {
            Ok(envelope) => &rest[envelope.bytes()..],
            Err(_) => &[],
        };
        Some(decoded)
    })
}

fn split(bytes: &[u8], age: Duration) -> Result<Envelope<'_>, EnvelopeError> {
    if bytes.len() < HEADER_BYTES {
        return Err(EnvelopeError::Truncated);
    }
    let kind = match bytes[0] {
        1 => Kind::Tell,
        2 => Kind::Ask,
        3 => Kind::Reply,
        4 => Kind::Cancel,
        5 => Kind::Part,
        6 => Kind::Fence,
        7 => Kind::Publish,
        unknown => return Err(EnvelopeError::Kind(unknown)),
    };
    let length = u32_at(bytes, 13) as usize;
    let content = bytes[HEADER_BYTES..].get(..length).ok_or(EnvelopeError::Truncated)?;
    let deadline = match u32_at(bytes, 9) {
        0 => None,
        left_ms => Some(Duration::from_millis(left_ms.into()).saturating_sub(age)),
    };
    Ok(Envelope { kind, number: u64_at(bytes, 1), deadline, content })
}

/// Appends an envelope whose content `write` appends.
///
/// # Panics
/// If the content is 4 GiB long or longer: a link's limits are far below.
pub fn encode(
    out: &mut Vec<u8>,
    kind: Kind,
    number: u64,
    deadline: Option<Duration>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let at = out.len();
    let left_ms = deadline.map_or(0, |left| u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1));
    let mut header = [0; HEADER_BYTES];
    header[0] = kind as u8;
    header[1..9].copy_from_slice(&number.to_le_bytes());
    header[9..13].copy_from_slice(&left_ms.to_le_bytes());
    out.extend_from_slice(&header);
    write(out);
    let length = out.len() - at - HEADER_BYTES;
    let length = u32::try_from(length).expect("an envelope is far shorter than 4 GiB");
    out[at + 13..at + HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// Appends the content of a tell or an ask. The deadline among its hints is left out: it is one of the sender's clock.
pub fn write_request(out: &mut Vec<u8>, to: Mention<'_>, request: &Request) {
    let extras = if request.is_plain() { None } else { extras(request) };
    let form = match to {
        Mention::First(Address::Name(_)) => BY_NAME,
        Mention::First(Address::Id(_)) => BY_ID,
        Mention::Again(_) => AGAIN,
    };
    let place = request.origin().zip(request.follows());
    let id = request.request_id();
    let flags = if extras.is_some() { HAS_EXTRAS } else { 0 }
        | if place.is_some() { HAS_PLACE } else { 0 }
        | if id.is_some() { HAS_ID } else { 0 };
    out.push(request.operation as u8 | form | flags);
    match to {
        Mention::First(Address::Name(name)) => {
            out.push(u8::try_from(name.len()).expect("an agent's name has 255 bytes at most"));
            out.extend_from_slice(name.as_bytes());
        }
        Mention::First(Address::Id(id)) => out.extend_from_slice(&id.get().to_le_bytes()),
        Mention::Again(number) => out.extend_from_slice(&number.to_le_bytes()),
    }
    write_part(out, request.key.as_bytes());
    if let Some(extras) = extras {
        write_part(out, &extras);
    }
    if let Some((origin, follows)) = place {
        out.extend_from_slice(&origin.bits().to_le_bytes());
        out.extend_from_slice(&follows.seq.to_le_bytes());
        out.push(follows.pass);
    }
    if let Some(id) = id {
        out.extend_from_slice(&id.get().to_le_bytes());
    }
    out.extend_from_slice(request.payload.bytes());
}

#[cold]
fn extras(request: &Request) -> Option<Vec<u8>> {
    let hints = Hints { deadline: None, ..request.hints() };
    let extras = (hints, request.trace());
    // Numbers and unit variants: there is nothing in them that could not be encoded.
    (extras != (Hints::default(), None)).then(|| rmp_serde::to_vec(&extras).ok()).flatten()
}

/// Appends the content of a reply.
pub fn write_reply(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Ok(payload) => {
            out.push(0);
            out.extend_from_slice(payload.bytes());
        }
        Err(error) => {
            out.push(1);
            // An error is texts and numbers: there is nothing in it that could not be encoded.
            out.extend_from_slice(&rmp_serde::to_vec_named(error).unwrap_or_default());
        }
    }
}

/// Appends the content of a fence of the node `origin`.
pub fn write_fence(out: &mut Vec<u8>, id: AgentId, origin: &str) {
    out.extend_from_slice(&id.get().to_le_bytes());
    out.extend_from_slice(origin.as_bytes());
}

/// The agent that a fence is for, and the node that waits for it.
///
/// # Errors
/// [`EnvelopeError::Content`].
pub fn read_fence(content: &[u8]) -> Result<(AgentId, &str), EnvelopeError> {
    let (key, origin) = content.split_first_chunk::<16>().ok_or(EnvelopeError::Content("target"))?;
    let origin = std::str::from_utf8(origin).ok().filter(|origin| origin.len() <= NAME_BYTES_MAX);
    let origin = origin.ok_or(EnvelopeError::Content("origin"))?;
    Ok((AgentId::from_key(u128::from_le_bytes(*key)), origin))
}

fn write_part(out: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("a part is far shorter than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(part);
}

const _: () = assert!(NAME_BYTES_MAX <= u8::MAX as usize, "a name's length is one byte");
