//! The one payload form: MessagePack in reference-counted bytes (design decision D2).

use std::io::Cursor;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::AgentError;

/// The deepest nesting that is decoded.
const DEPTH_MAX: usize = 128;

/// A MessagePack value, or nothing. Cloning shares the bytes.
///
/// What works locally works remotely, is recorded, replayed and stored in this form.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(Bytes);

impl Clone for Payload {
    /// Most requests carry nothing, and every request is cloned once on its way: without this, through a table of functions.
    #[inline]
    fn clone(&self) -> Self {
        if self.0.is_empty() { Self::EMPTY } else { Self(self.0.clone()) }
    }
}

impl Payload {
    /// No value. Decodes as MessagePack nil.
    pub const EMPTY: Self = Self(Bytes::new());

    /// Wraps bytes that already are MessagePack.
    #[must_use]
    pub const fn from_msgpack(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Encodes `value`; structs become maps with their fields' names.
    ///
    /// # Errors
    /// [`AgentError::Malformed`] if `value` cannot be represented, such as a map whose serializer fails.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, AgentError> {
        match rmp_serde::to_vec_named(value) {
            Ok(bytes) => Ok(Self(bytes.into())),
            Err(error) => Err(AgentError::Malformed { reason: format!("cannot encode: {error}") }),
        }
    }

    /// Decodes the whole value.
    ///
    /// # Errors
    /// [`AgentError::Malformed`] with the decoder's reason: also for bytes after the value, and for arrays and maps nested
    /// deeper than 128, which would cost the decoder its stack. Nothing else changes.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, AgentError> {
        let malformed = |reason: String| AgentError::Malformed { reason };
        let bytes: &[u8] = if self.0.is_empty() { &[0xc0] } else { &self.0 };
        let mut decoder = rmp_serde::Deserializer::new(Cursor::new(bytes));
        decoder.set_max_depth(DEPTH_MAX);
        let value = T::deserialize(&mut decoder).map_err(|error| malformed(error.to_string()))?;
        match bytes.len() as u64 - decoder.position() {
            0 => Ok(value),
            left => Err(malformed(format!("{left} bytes after the value"))),
        }
    }

    /// The bytes, without copying them.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The value as JSON, for people.
    ///
    /// # Errors
    /// [`AgentError::Malformed`] if the bytes are no MessagePack value, or one that JSON cannot show: binary, or a map whose
    /// keys are no text.
    pub fn to_json(&self) -> Result<serde_json::Value, AgentError> {
        self.decode()
    }

    /// The encoded bytes; empty for [`Payload::EMPTY`].
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether there is no value at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: JSON in, MessagePack between, the same JSON out; and garbage is an error, not a panic.
    #[test]
    fn round_trips_and_refuses_garbage() {
        let value = json!({ "delay": -4, "carrier": "UA", "legs": [1, 2.5, null, true] });
        assert_eq!(Payload::encode(&value).and_then(|p| p.to_json()), Ok(value));
        assert_eq!(Payload::EMPTY.to_json(), Ok(serde_json::Value::Null));
        let garbage = Payload::from_msgpack(Bytes::from_static(&[0xdf, 0xff, 0xff, 0xff, 0xff]));
        assert!(matches!(garbage.to_json(), Err(AgentError::Malformed { .. })));
        let deep = Payload::from_msgpack(vec![0x91; 100_000].into());
        assert!(matches!(deep.to_json(), Err(AgentError::Malformed { .. })), "and costs no stack");
        let trailing = Payload::from_msgpack(Bytes::from_static(&[0x01, 0x02]));
        assert_eq!(
            trailing.decode::<u8>(),
            Err(AgentError::Malformed { reason: "1 bytes after the value".into() })
        );
    }
}
