//! The outer header of a stream, and the carrier's own words.
//!
//! ```text
//!   ┌─ 8 bits ─┬─────── 24 bits ───────┬────────┐
//!   │ channel  │ length (big endian)   │ bytes  │
//!   └──────────┴───────────────────────┴────────┘
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::config::Limits;
use crate::transport::CloseReason;

/// Bytes of the outer header.
const HEADER_BYTES: usize = 4;

/// Bytes of one piece of channel 0 at most.
pub(super) const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a word of channel 2 at most.
const WORD_BYTES_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Session,
    Data,
    Own,
}

impl Channel {
    const fn max(self, limits: &Limits) -> usize {
        match self {
            Self::Session => PIECE_BYTES_MAX,
            Self::Data => limits.frame_bytes_max,
            Self::Own => WORD_BYTES_MAX,
        }
    }
}

/// What the carrier says to its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Alive,
    Ready,
    Handled(u64),
    Closing(CloseReason),
}

impl Word {
    pub(super) fn put(&self, out: &mut BytesMut) {
        let mut bytes = Vec::new();
        match self {
            Self::Alive => {}
            Self::Ready => bytes.push(1),
            Self::Handled(count) => {
                bytes.push(2);
                bytes.extend_from_slice(&count.to_be_bytes());
            }
            Self::Closing(CloseReason::Replaced) => bytes.push(3),
            Self::Closing(reason) => {
                bytes.push(4);
                bytes.extend(reason.to_string().bytes().take(WORD_BYTES_MAX - 1));
            }
        }
        put(out, Channel::Own, &bytes);
    }

    pub(super) fn get(mut bytes: Bytes) -> Result<Self, CloseReason> {
        match bytes.try_get_u8() {
            Err(_) => Ok(Self::Alive),
            Ok(1) if bytes.is_empty() => Ok(Self::Ready),
            Ok(2) if bytes.len() == 8 => Ok(Self::Handled(bytes.get_u64())),
            Ok(3) if bytes.is_empty() => Ok(Self::Closing(CloseReason::Replaced)),
            Ok(4) => {
                let why = String::from_utf8_lossy(&bytes).into_owned();
                Ok(Self::Closing(CloseReason::Closed(format!("by the peer: {why}"))))
            }
            Ok(kind) => Err(CloseReason::Malformed(format!("word {kind} with {} bytes", bytes.len()))),
        }
    }
}

pub(super) fn put(out: &mut BytesMut, channel: Channel, bytes: &[u8]) {
    out.put_u32(header(channel, bytes.len()));
    out.put_slice(bytes);
}

pub(super) fn header(channel: Channel, length: usize) -> u32 {
    let length = u32::try_from(length).expect("lengths are checked against 24 bits");
    ((channel as u32) << 24) | length
}

/// Splits the next whole frame off `buffer`; `None` if more bytes are needed.
pub(super) fn next(buffer: &mut BytesMut, limits: &Limits) -> Result<Option<(Channel, Bytes)>, CloseReason> {
    let Some(head) = buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let head = u32::from_be_bytes(*head);
    let (number, length) = (head >> 24, (head & 0x00ff_ffff) as usize);
    let channel = match number {
        0 => Channel::Session,
        1 => Channel::Data,
        2 => Channel::Own,
        _ => return Err(CloseReason::Malformed(format!("there is no channel {number}"))),
    };
    let max = channel.max(limits);
    if length > max {
        let why = format!("{length} bytes on channel {number}, {max} are allowed");
        return Err(CloseReason::Malformed(why));
    }
    if buffer.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    buffer.advance(HEADER_BYTES);
    Ok(Some((channel, buffer.split_to(length).freeze())))
}
