//! Reads the requests and replies in one body: the receiver's side of [`envelope`](super::envelope). Pure.
//!
//! What the envelopes of a body have in common is looked at once: targets are numbered as they are mentioned, a key like the one before is
//! not checked again, and small payloads are copied next to each other, into chunks of [`CHUNK_BYTES`]. So an agent that keeps one of them
//! keeps a chunk, and never the body.

use std::str;

use bytes::{Bytes, BytesMut};
use nexus_actors::AgentError;
use nexus_actors::agent::{AgentId, Hints, Operation, Payload, Reply, Request, RequestId};
use nexus_actors::store::{Follows, Origin};
use nexus_actors::telemetry::TraceContext;
use smol_str::SmolStr;

use super::envelope::{
    AGAIN, Address, BY_ID, BY_NAME, EnvelopeError, HAS_EXTRAS, HAS_ID, HAS_PLACE, MENTION,
};
use super::frame::{array, u32_at, u64_at};

/// A payload is left where it came, in its body, if it is at least this part of it.
const SLICED_MIN_PART: usize = 4;

/// Bytes of a place in a feed.
const PLACE_BYTES: usize = 17;

/// Small payloads share so many bytes.
pub const CHUNK_BYTES: usize = 1024;
/// A payload from so many bytes on has bytes of its own.
const SMALL_BYTES_MAX: usize = CHUNK_BYTES / 4;

/// See the module.
#[derive(Debug)]
pub struct Reader<'a> {
    body: &'a Bytes,
    /// In the order of their first mention.
    targets: Vec<Address<'a>>,
    /// The last one.
    key: (&'a [u8], SmolStr),
    /// Room for small payloads.
    chunk: BytesMut,
}

impl<'a> Reader<'a> {
    /// Nothing of `body` is read yet.
    #[must_use]
    pub fn new(body: &'a Bytes) -> Self {
        Self { body, targets: Vec::new(), key: (&[], SmolStr::default()), chunk: BytesMut::new() }
    }

    /// Whom the requests read so far are for, by their numbers.
    #[must_use]
    pub fn targets(&self) -> &[Address<'a>] {
        &self.targets
    }

    /// The request in a tell's or ask's `content`, which lies in the body, and the number of its target.
    ///
    /// # Errors
    /// [`EnvelopeError::Content`] names the part that is malformed.
    pub fn request(&mut self, content: &'a [u8]) -> Result<(usize, Request), EnvelopeError> {
        let mut rest = content;
        let flags = take(&mut rest, 1, "operation")?[0];
        let target = self.target(flags & MENTION, &mut rest)?;
        let operation = match flags & !(HAS_EXTRAS | HAS_PLACE | HAS_ID | MENTION) {
            0 => Operation::Query,
            1 => Operation::Update,
            2 => Operation::Action,
            _ => return Err(EnvelopeError::Content("operation")),
        };
        let key = read_part(&mut rest, "key")?;
        if key != self.key.0 {
            self.key = (key, text(key, "key")?.into());
        }
        let extras = if flags & HAS_EXTRAS == 0 { None } else { Some(read_part(&mut rest, "hints")?) };
        let place = if flags & HAS_PLACE == 0 { None } else { Some(read_place(&mut rest)?) };
        let id = if flags & HAS_ID == 0 { None } else { Some(take(&mut rest, 16, "request id")?) };
        let payload = Payload::from_msgpack(self.own(rest));
        let mut request = Request::new(operation, self.key.1.clone(), payload);
        if let Some((origin, follows)) = place {
            request = request.from_feed_after(origin, follows);
        }
        if let Some(extras) = extras {
            let (hints, trace): (Hints, Option<TraceContext>) =
                rmp_serde::from_slice(extras).map_err(|_| EnvelopeError::Content("hints"))?;
            request = request.with_hints(Hints { deadline: None, ..hints });
            if let Some(trace) = trace {
                request = request.with_trace(trace);
            }
        }
        if let Some(id) = id {
            request = request.with_request_id(RequestId::from_bits(u128::from_le_bytes(array(id, 0))));
        }
        Ok((target, request))
    }

    /// The group and the request in the `content` of a publication, which lies in the body.
    ///
    /// # Errors
    /// [`EnvelopeError::Content`].
    pub fn publication(&mut self, content: &'a [u8]) -> Result<(&'a str, Request), EnvelopeError> {
        let mentioned = self.targets.len();
        let (_, request) = self.request(content)?;
        let group = self.targets.get(mentioned).copied();
        self.targets.truncate(mentioned);
        match group {
            Some(Address::Name(group)) => Ok((group, request)),
            _ => Err(EnvelopeError::Content("group")),
        }
    }

    /// The reply in `content`, which lies in the body.
    ///
    /// # Errors
    /// [`EnvelopeError::Content`].
    pub fn reply(&mut self, content: &'a [u8]) -> Result<Reply, EnvelopeError> {
        match content.split_first() {
            Some((0, payload)) => Ok(Ok(Payload::from_msgpack(self.own(payload)))),
            Some((1, error)) => {
                let error: AgentError =
                    rmp_serde::from_slice(error).map_err(|_| EnvelopeError::Content("error"))?;
                Ok(Err(error))
            }
            _ => Err(EnvelopeError::Content("reply")),
        }
    }

    fn target(&mut self, form: u8, rest: &mut &'a [u8]) -> Result<usize, EnvelopeError> {
        let malformed = EnvelopeError::Content("target");
        let address = match form {
            AGAIN => {
                let number = usize::from(u16::from_le_bytes(array(take(rest, 2, "target")?, 0)));
                return if number < self.targets.len() { Ok(number) } else { Err(malformed) };
            }
            BY_ID => {
                let key = u128::from_le_bytes(array(take(rest, 16, "target")?, 0));
                Address::Id(AgentId::from_key(key))
            }
            BY_NAME => match take(rest, 1, "target")?[0] {
                0 => return Err(malformed),
                length => Address::Name(text(take(rest, length.into(), "target")?, "target")?),
            },
            _ => return Err(malformed),
        };
        self.targets.push(address);
        Ok(self.targets.len() - 1)
    }

    /// `part`, which lies in the body: a slice of it, or a copy.
    fn own(&mut self, part: &[u8]) -> Bytes {
        match part.len() {
            0 => Bytes::new(),
            length if length >= self.body.len() / SLICED_MIN_PART => self.body.slice_ref(part),
            length if length >= SMALL_BYTES_MAX => Bytes::copy_from_slice(part),
            length => {
                if self.chunk.capacity() < length {
                    self.chunk = BytesMut::with_capacity(CHUNK_BYTES.min(self.body.len()));
                }
                self.chunk.extend_from_slice(part);
                self.chunk.split().freeze()
            }
        }
    }
}

fn read_place(rest: &mut &[u8]) -> Result<(Origin, Follows), EnvelopeError> {
    let malformed = EnvelopeError::Content("place in a feed");
    let bytes = take(rest, PLACE_BYTES, "place in a feed")?;
    let origin = Origin::from_bits(u64_at(bytes, 0)).ok_or(malformed)?;
    let follows = Follows { seq: u64_at(bytes, 8), pass: bytes[16] };
    if follows.seq < origin.seq() { Ok((origin, follows)) } else { Err(malformed) }
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
    str::from_utf8(bytes).map_err(|_| EnvelopeError::Content(what))
}
