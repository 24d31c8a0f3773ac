//! Envelopes: what agents say to each other, one after the other in the body of a [frame](super::frame). Pure.
//!
//! ```text
//! 0   kind     1   tell, ask, reply, cancel, part, fence
//! 1   request  8   number of the ask that this is, answers or cancels, or of the envelope that this is a part of; else 0
//! 9   deadline 4   milliseconds left when the frame was opened; 0 for none
//! 13  length   4   of the content that follows
//! ```
//!
//! A tell's or ask's content is its target (a length and a name, or a zero and the 16 bytes of an [`AgentId`]), the operation, the key,
//! hints and trace if there are any, and to the end the payload, which is MessagePack already. The header and the parts of a request are laid by hand:
//! the payload is never encoded a second time. A fence's content is the 16 bytes of an [`AgentId`]. A reply's content is a payload or an error. A part's is a stretch of an envelope that is
//! larger than a frame; parts of one envelope follow each other, so that a receiver puts one together at a time.

use std::time::Duration;

use bytes::Bytes;
use nexus_actors::AgentError;
use nexus_actors::agent::{AgentId, Hints, NAME_BYTES_MAX, Operation, Payload, Reply, Request, Target};
use nexus_actors::telemetry::TraceContext;
use thiserror::Error;

use super::frame::{array, u32_at, u64_at};

/// Bytes before the content.
pub const HEADER_BYTES: usize = 17;

/// Set with the operation if hints or a trace follow the key.
const HAS_EXTRAS: u8 = 0x80;

/// A payload is left where it came, in its frame, if it is at least this part of it. A smaller one is copied: an agent that keeps it
/// would keep the whole frame.
const SLICED_MIN_PART: usize = 4;

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

/// Whom a request is for, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// By name: a family may make the agent.
    Name(&'a str),
    /// By key: only an agent that is known.
    Id(AgentId),
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
pub fn write_request(out: &mut Vec<u8>, id: AgentId, name: Option<&str>, request: &Request) {
    match name.and_then(|name| Some((name, u8::try_from(name.len()).ok().filter(|length| *length > 0)?))) {
        Some((name, length)) => {
            out.push(length);
            out.extend_from_slice(name.as_bytes());
        }
        None => {
            out.push(0);
            out.extend_from_slice(&id.get().to_le_bytes());
        }
    }
    let hints = Hints { deadline: None, ..request.hints() };
    let extras = (hints, request.trace());
    let extras = (extras != (Hints::default(), None)).then(|| rmp_serde::to_vec(&extras));
    // Numbers and unit variants: there is nothing in them that could not be encoded.
    let extras = extras.and_then(Result::ok);
    out.push(request.operation as u8 | if extras.is_some() { HAS_EXTRAS } else { 0 });
    write_part(out, request.key.as_bytes());
    if let Some(extras) = extras {
        write_part(out, &extras);
    }
    out.extend_from_slice(request.payload.bytes());
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

/// The target and the request of a tell's or ask's `content`, which lies in `body`.
///
/// # Errors
/// [`EnvelopeError::Content`] names the part that is malformed.
pub fn read_request<'a>(content: &'a [u8], body: &Bytes) -> Result<(Address<'a>, Request), EnvelopeError> {
    let mut rest = content;
    let address = match usize::from(take(&mut rest, 1, "target")?[0]) {
        0 => {
            let key = u128::from_le_bytes(array(take(&mut rest, 16, "target")?, 0));
            Address::Id(AgentId::from_key(key))
        }
        length => Address::Name(text(take(&mut rest, length, "target")?, "target")?),
    };
    let flags = take(&mut rest, 1, "operation")?[0];
    let operation = match flags & !HAS_EXTRAS {
        0 => Operation::Query,
        1 => Operation::Update,
        2 => Operation::Action,
        _ => return Err(EnvelopeError::Content("operation")),
    };
    let key = text(read_part(&mut rest, "key")?, "key")?;
    let extras = if flags & HAS_EXTRAS == 0 { None } else { Some(read_part(&mut rest, "hints")?) };
    let mut request = Request::new(operation, key, Payload::from_msgpack(own(rest, body)));
    if let Some(extras) = extras {
        let (hints, trace): (Hints, Option<TraceContext>) =
            rmp_serde::from_slice(extras).map_err(|_| EnvelopeError::Content("hints"))?;
        request = request.with_hints(Hints { deadline: None, ..hints });
        if let Some(trace) = trace {
            request = request.with_trace(trace);
        }
    }
    Ok((address, request))
}

/// Appends the content of a fence.
pub fn write_fence(out: &mut Vec<u8>, id: AgentId) {
    out.extend_from_slice(&id.get().to_le_bytes());
}

/// The agent that a fence is for.
///
/// # Errors
/// [`EnvelopeError::Content`].
pub fn read_fence(content: &[u8]) -> Result<AgentId, EnvelopeError> {
    let key = <[u8; 16]>::try_from(content).map_err(|_| EnvelopeError::Content("target"))?;
    Ok(AgentId::from_key(u128::from_le_bytes(key)))
}

/// The reply in `content`, which lies in `body`.
///
/// # Errors
/// [`EnvelopeError::Content`].
pub fn read_reply(content: &[u8], body: &Bytes) -> Result<Reply, EnvelopeError> {
    match content.split_first() {
        Some((0, payload)) => Ok(Ok(Payload::from_msgpack(own(payload, body)))),
        Some((1, error)) => {
            let error: AgentError =
                rmp_serde::from_slice(error).map_err(|_| EnvelopeError::Content("error"))?;
            Ok(Err(error))
        }
        _ => Err(EnvelopeError::Content("reply")),
    }
}

/// `part`, which lies in `body`: a slice of it, or a copy.
fn own(part: &[u8], body: &Bytes) -> Bytes {
    if part.is_empty() {
        Bytes::new()
    } else if part.len() >= body.len() / SLICED_MIN_PART {
        body.slice_ref(part)
    } else {
        Bytes::copy_from_slice(part)
    }
}

fn write_part(out: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("a part is far shorter than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(part);
}

fn read_part<'a>(rest: &mut &'a [u8], what: &'static str) -> Result<&'a [u8], EnvelopeError> {
    let length = u32_at(take(rest, 4, what)?, 0) as usize;
    take(rest, length, what)
}

fn take<'a>(rest: &mut &'a [u8], length: usize, what: &'static str) -> Result<&'a [u8], EnvelopeError> {
    let (taken, left) = rest.split_at_checked(length).ok_or(EnvelopeError::Content(what))?;
    *rest = left;
    Ok(taken)
}

fn text<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, EnvelopeError> {
    std::str::from_utf8(bytes).map_err(|_| EnvelopeError::Content(what))
}

const _: () = assert!(NAME_BYTES_MAX <= u8::MAX as usize, "a name's length is one byte");
