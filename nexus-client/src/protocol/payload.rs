//! Values: any JSON, or any MessagePack. An extension type becomes a list of its number and its bytes.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::codec::{CodecError, Encoding, decode};

/// A value, kept as MessagePack and written as part of the message it is in. Cloning shares the bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payload(Bytes);

/// MessagePack's nil, which is the same as no value.
const NIL: u8 = 0xc0;

impl Payload {
    /// No value.
    pub const EMPTY: Self = Self(Bytes::new());

    /// Wraps bytes that already are one MessagePack value, or empty.
    #[must_use]
    pub const fn from_msgpack(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The value as MessagePack; empty for no value.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes any value; structs become maps with their fields' names.
    ///
    /// # Errors
    /// [`CodecError`] if it cannot be represented.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, CodecError> {
        rmp_serde::to_vec_named(value).map(Self::normal).map_err(CodecError::new)
    }

    /// Reads the value as a `T`.
    ///
    /// # Errors
    /// [`CodecError`] if it is no `T`.
    pub fn to_value<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        decode(Encoding::MessagePack, if self.0.is_empty() { &[NIL] } else { &self.0 })
    }

    fn normal(bytes: Vec<u8>) -> Self {
        if bytes == [NIL] { Self::EMPTY } else { Self(bytes.into()) }
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.to_value::<serde_json::Value>() {
            Ok(value) => write!(f, "{value}"),
            Err(_) => write!(f, "{:?}", self.0),
        }
    }
}

impl Serialize for Payload {
    /// Event by event, without a tree between.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            return serializer.serialize_unit();
        }
        let mut from = rmp_serde::Deserializer::from_read_ref(&self.0);
        from.set_max_depth(super::codec::DEPTH_MAX);
        serde_transcode::transcode(&mut from, serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bytes = Vec::new();
        serde_transcode::transcode(deserializer, &mut rmp_serde::Serializer::new(&mut bytes))
            .map_err(serde::de::Error::custom)?;
        Ok(Self::normal(bytes))
    }
}
