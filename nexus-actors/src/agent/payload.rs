//! The one payload form: MessagePack in reference-counted bytes (design decision D2).

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::AgentError;

/// The deepest nesting that is decoded.
const DEPTH_MAX: usize = 128;

/// What there is of no value.
static NOTHING: Bytes = Bytes::new();

/// A MessagePack value, or nothing. Cloning shares the bytes.
///
/// What works locally works remotely, is recorded, replayed and stored in this form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload(
    /// Not empty. One reference, not the four words of `Bytes`: a request goes from core to core, and most carry nothing.
    Option<Arc<Bytes>>,
);

impl Payload {
    /// No value. Decodes as MessagePack nil.
    pub const EMPTY: Self = Self(None);

    /// Wraps bytes that already are MessagePack.
    #[must_use]
    pub fn from_msgpack(bytes: Bytes) -> Self {
        Self((!bytes.is_empty()).then(|| Arc::new(bytes)))
    }

    /// Encodes `value`; structs become maps with their fields' names.
    ///
    /// # Errors
    /// [`AgentError::Malformed`] if `value` cannot be represented, such as a map whose serializer fails.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, AgentError> {
        match rmp_serde::to_vec_named(value) {
            Ok(bytes) => Ok(Self::from_msgpack(bytes.into())),
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
        let bytes: &[u8] = if self.is_empty() { &[0xc0] } else { self.bytes() };
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
        self.0.map_or_else(Bytes::new, Arc::unwrap_or_clone)
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
    pub fn bytes(&self) -> &Bytes {
        self.0.as_deref().unwrap_or(&NOTHING)
    }

    /// Whether there is no value at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Bytes::deserialize(deserializer).map(Self::from_msgpack)
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
