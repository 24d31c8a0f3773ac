//! Frames of the data lane: a fixed header, then a body of [envelopes](super::envelope). Pure.
//!
//! ```text
//!  0   magic    4  "NXF" and the version of this layout
//!  4   flags    1  bit 0: the body is lz4; bit 1: this is a hello
//!  5   reserved 3  zero
//!  8   age      4  milliseconds from the frame's opening to its sending: what deadlines in it have lost
//! 12   length   4  of the body as it follows
//! 16   raw      4  of the body without compression
//! 20   sequence 8  of this frame, from 1; 0 if it has none; in a hello the session that its sender would resume, or 0
//! 28   ack      8  the highest sequence that its sender has received without a gap
//! 36   limit    8  bytes of bodies that its sender takes in all, since the session began
//! 44   checksum 8  xxh3-64 of the body, with that of the header before this as its seed
//! 52   body
//! ```
//!
//! Little-endian. `ack` and `limit` are totals, not steps, so one that is lost, repeated or late does no harm (Source: QUIC, RFC 9000
//! §4.1 `MAX_DATA` and §13.2). A frame that is nothing but these two has no body and no sequence.

use bytes::Bytes;
use thiserror::Error;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 52;

const MAGIC: [u8; 4] = *b"NXF\x01";
const LZ4: u8 = 1;
const HELLO: u8 = 2;
const CHECKSUM_AT: usize = 44;
/// No byte of lz4 stands for more bytes than this: a body that claims so is not believed.
const LZ4_RATIO_MAX: usize = 255;

/// What a header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Whether this is the first frame of a connection, which says what its sender would resume.
    pub hello: bool,
    /// Milliseconds from the frame's opening to its sending.
    pub age_ms: u32,
    /// Of this frame, from 1; 0 if it has none. In a hello the session that its sender would resume, or 0.
    pub sequence: u64,
    /// The highest sequence received without a gap.
    pub ack: u64,
    /// Bytes of bodies that the sender of this frame takes in all.
    pub limit: u64,
}

/// A frame that is whole and unharmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Its body, without compression: a slice of what came where it was not compressed.
    pub body: Bytes,
}

/// Why bytes are no frame. Nothing is allocated for them; the connection that they came by has a broken or hostile end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Fewer bytes than a header has.
    #[error("{bytes} bytes are no frame: a header has {HEADER_BYTES}")]
    Short {
        /// How many there are.
        bytes: usize,
    },
    /// The first bytes are not those of a frame of this version.
    #[error("a frame begins with {MAGIC:02x?}, this with {found:02x?}")]
    Magic {
        /// What is there instead.
        found: [u8; 4],
    },
    /// Flags or reserved bytes that this version does not know.
    #[error("unknown flags {flags:#04x}")]
    Flags {
        /// The flags.
        flags: u8,
    },
    /// The lengths in the header, what follows it, and the limit do not agree.
    #[error(
        "a body of {length} bytes, {raw} without compression, where {present} are present and {limit} allowed"
    )]
    Length {
        /// As the header says.
        length: usize,
        /// As the header says, without compression.
        raw: usize,
        /// What follows the header.
        present: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The checksum differs.
    #[error("the checksum is wrong")]
    Checksum,
    /// The body does not decompress to the length that the header says.
    #[error("the body is no lz4 of {raw} bytes")]
    Lz4 {
        /// As the header says.
        raw: usize,
    },
}

/// The frame of `header` and `body`, compressed if it is at least `lz4_min_bytes` long and gets a tenth shorter by it. In two pieces,
/// so that the body is not copied.
///
/// # Panics
/// If the body is 4 GiB long or longer: a link's limits are far below.
#[must_use]
pub fn encode(header: &Header, body: &Bytes, lz4_min_bytes: usize) -> [Bytes; 2] {
    let packed = if body.len() >= lz4_min_bytes { pack(body) } else { None };
    let length = |bytes: usize| u32::try_from(bytes).expect("a body is far shorter than 4 GiB").to_le_bytes();
    let lz4 = if packed.is_some() { LZ4 } else { 0 };
    let hello = if header.hello { HELLO } else { 0 };
    let raw = length(body.len());
    let body = packed.unwrap_or_else(|| body.clone());
    let mut head = [0; HEADER_BYTES];
    head[..4].copy_from_slice(&MAGIC);
    head[4] = lz4 | hello;
    head[8..12].copy_from_slice(&header.age_ms.to_le_bytes());
    head[12..16].copy_from_slice(&length(body.len()));
    head[16..20].copy_from_slice(&raw);
    head[20..28].copy_from_slice(&header.sequence.to_le_bytes());
    head[28..36].copy_from_slice(&header.ack.to_le_bytes());
    head[36..44].copy_from_slice(&header.limit.to_le_bytes());
    let sum = checksum(&head, &body);
    head[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
    [Bytes::copy_from_slice(&head), body]
}

/// Makes the checksum of a frame right, whatever is in it.
#[cfg(test)]
pub(super) fn seal(frame: &mut [u8]) {
    let sum = checksum(&frame[..HEADER_BYTES], &frame[HEADER_BYTES..]);
    frame[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
}

fn pack(body: &[u8]) -> Option<Bytes> {
    let mut packed = vec![0; lz4_flex::block::get_maximum_output_size(body.len())];
    // It fails only for want of room, and there is as much as can be needed.
    let length = lz4_flex::block::compress_into(body, &mut packed).ok()?;
    packed.truncate(length);
    (length < body.len() - body.len() / 10).then(|| packed.into())
}

/// A frame in one piece.
#[must_use]
pub fn join(pieces: &[Bytes; 2]) -> Bytes {
    pieces.concat().into()
}

/// The frame that `bytes` are, with a body of `body_bytes_max` at most. Allocates only to decompress, once the checksum is right, and
/// then no more than 255 times what came.
///
/// # Errors
/// [`FrameError`].
pub fn decode(bytes: &Bytes, body_bytes_max: usize) -> Result<Frame, FrameError> {
    if bytes.len() < HEADER_BYTES {
        return Err(FrameError::Short { bytes: bytes.len() });
    }
    if bytes[..4] != MAGIC {
        return Err(FrameError::Magic { found: array(bytes, 0) });
    }
    let flags = bytes[4];
    if flags & !(LZ4 | HELLO) != 0 || bytes[5..8] != [0; 3] {
        return Err(FrameError::Flags { flags });
    }
    let is_lz4 = flags & LZ4 != 0;
    let (length, raw) = (u32_at(bytes, 12) as usize, u32_at(bytes, 16) as usize);
    let present = bytes.len() - HEADER_BYTES;
    let plausible = if is_lz4 { raw.div_ceil(LZ4_RATIO_MAX) <= length } else { raw == length };
    if length != present || raw > body_bytes_max || !plausible {
        return Err(FrameError::Length { length, raw, present, limit: body_bytes_max });
    }
    if checksum(&bytes[..HEADER_BYTES], &bytes[HEADER_BYTES..]) != u64_at(bytes, CHECKSUM_AT) {
        return Err(FrameError::Checksum);
    }
    let body = if is_lz4 {
        let unpacked = lz4_flex::block::decompress(&bytes[HEADER_BYTES..], raw);
        Bytes::from(unpacked.ok().filter(|body| body.len() == raw).ok_or(FrameError::Lz4 { raw })?)
    } else {
        bytes.slice(HEADER_BYTES..)
    };
    let header = Header {
        hello: flags & HELLO != 0,
        age_ms: u32_at(bytes, 8),
        sequence: u64_at(bytes, 20),
        ack: u64_at(bytes, 28),
        limit: u64_at(bytes, 36),
    };
    Ok(Frame { header, body })
}

fn checksum(head: &[u8], body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, xxh3_64(&head[..CHECKSUM_AT]))
}

/// `N` bytes at `at`, which are there.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of this length")
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}
