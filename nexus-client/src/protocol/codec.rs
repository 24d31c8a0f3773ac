//! JSON and MessagePack, of the same structures.

use std::io::Cursor;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The deepest nesting of arrays and maps that is read; serde_json's own limit, kept for MessagePack too.
pub(crate) const DEPTH_MAX: usize = 128;

/// How a message is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON, in text frames.
    #[default]
    Json,
    /// MessagePack, in binary frames; structures are maps.
    MessagePack,
}

/// Bytes that are not the message they should be, or a value that an encoding cannot hold: JSON has no map keys but texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CodecError {
    /// What was met, and where if that is known.
    reason: String,
}

impl CodecError {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self { reason: error.to_string() }
    }
}

/// Writes `value`.
///
/// # Errors
/// [`CodecError`] if the encoding cannot hold it.
pub fn encode<T: Serialize + ?Sized>(encoding: Encoding, value: &T) -> Result<Bytes, CodecError> {
    let bytes = match encoding {
        Encoding::Json => serde_json::to_vec(value).map_err(CodecError::new)?,
        Encoding::MessagePack => rmp_serde::to_vec_named(value).map_err(CodecError::new)?,
    };
    Ok(bytes.into())
}

/// Reads one whole value.
///
/// # Errors
/// [`CodecError`], also for bytes after the value and for nesting deeper than 128.
pub fn decode<T: DeserializeOwned>(encoding: Encoding, bytes: &[u8]) -> Result<T, CodecError> {
    match encoding {
        Encoding::Json => serde_json::from_slice(bytes).map_err(CodecError::new),
        Encoding::MessagePack => {
            let mut decoder = rmp_serde::Deserializer::new(Cursor::new(bytes));
            decoder.set_max_depth(DEPTH_MAX);
            let value = T::deserialize(&mut decoder).map_err(CodecError::new)?;
            match bytes.len() as u64 - decoder.position() {
                0 => Ok(value),
                left => Err(CodecError::new(format!("{left} bytes after the message"))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{ClientMessage, Operation, Payload, ServerMessage};
    use super::*;

    fn ask(payload: &Value) -> ClientMessage {
        ClientMessage::Ask {
            id: u64::MAX,
            to: "a/b".into(),
            operation: Operation::Update,
            key: "k".into(),
            payload: Payload::from_value(payload).unwrap(),
            timeout_ms: Some(5),
            at_least_once: true,
        }
    }

    /// Goal: every message is the same after a journey in either encoding, whatever its payload.
    #[test]
    fn messages_round_trip() {
        for payload in
            [json!(null), json!({ "a": [1, -2, 2.5, null, true, "x", { "b": {} }] }), json!(u64::MAX)]
        {
            for encoding in [Encoding::Json, Encoding::MessagePack] {
                let message = ask(&payload);
                let bytes = encode(encoding, &message).unwrap();
                assert_eq!(decode::<ClientMessage>(encoding, &bytes).unwrap(), message, "{encoding:?}");
                let published = ServerMessage::Published {
                    group: "g".into(),
                    operation: Operation::Action,
                    key: "k".into(),
                    payload: Payload::from_value(&payload).unwrap(),
                };
                let bytes = encode(encoding, &published).unwrap();
                assert_eq!(decode::<ServerMessage>(encoding, &bytes).unwrap(), published, "{encoding:?}");
            }
        }
    }

    /// Goal: an extension type, which JSON has none of, is a list of its number and its bytes.
    #[test]
    fn extension_types_are_lists() {
        let payload = decode::<Payload>(Encoding::MessagePack, &[0xd4, 5, 7]).unwrap();
        assert_eq!(payload.bytes()[..], [0x92, 5, 0xc4, 1, 7]);
    }

    /// Goal: nothing malformed is taken, and nothing costs the stack.
    #[test]
    fn malformed_messages_are_refused() {
        for text in [
            "",
            "null",
            "{}",
            "[]",
            r#"{"type":"ask"}"#,
            r#"{"type":"sing","id":1}"#,
            r#"{"type":"subscribe","id":1,"group":"g","more":1}"#,
            r#"{"type":"subscribe","id":-1,"group":"g"}"#,
            r#"{"type":"subscribe","id":1,"group":"g"} x"#,
        ] {
            assert!(decode::<ClientMessage>(Encoding::Json, text.as_bytes()).is_err(), "{text}");
        }
        let deep = format!(
            r#"{{"type":"tell","to":"a","operation":"action","key":"k","payload":{}"#,
            "[".repeat(100_000)
        );
        assert!(decode::<ClientMessage>(Encoding::Json, deep.as_bytes()).is_err());
        assert!(decode::<ClientMessage>(Encoding::MessagePack, &vec![0x91; 100_000]).is_err());
        assert!(decode::<ClientMessage>(Encoding::MessagePack, &[0xdf, 0xff, 0xff, 0xff, 0xff]).is_err());
        let mut bytes = encode(Encoding::MessagePack, &ask(&json!(1))).unwrap().to_vec();
        bytes.push(0);
        assert!(decode::<ClientMessage>(Encoding::MessagePack, &bytes).is_err());
    }

    /// Goal: binary values pass in MessagePack; JSON shows them as arrays of numbers.
    #[test]
    fn binary_values_pass() {
        let binary = Payload::from_msgpack(Bytes::from_static(&[0xc4, 0x02, 0x00, 0xff]));
        let answer = ServerMessage::Answer { id: 1, value: binary };
        let bytes = encode(Encoding::MessagePack, &answer).unwrap();
        assert_eq!(decode::<ServerMessage>(Encoding::MessagePack, &bytes).unwrap(), answer);
        let text = encode(Encoding::Json, &answer).unwrap();
        assert_eq!(text, r#"{"type":"answer","id":1,"value":[0,255]}"#);
    }
}
