//! The arguments a topology hands to a behavior.

use std::fmt;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

/// A table of arguments, in the order of the file. TOML dates and times arrive as text.
///
/// What is shown, by `Debug` and serialization, is the table as the file has it: a value written `${VARIABLE}` is shown as that.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub struct Args {
    values: Map<String, Value>,
    shown: Map<String, Value>,
}

impl Args {
    /// The arguments.
    #[must_use]
    pub const fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The arguments as the MessagePack map that a behavior receives.
    #[must_use]
    pub fn to_msgpack(&self) -> Bytes {
        rmp_serde::to_vec_named(&self.values).expect("a JSON map always encodes as MessagePack").into()
    }

    /// Replaces what is shown by the table as the file has it.
    pub(crate) fn show_as(&mut self, shown: Map<String, Value>) {
        self.shown = shown;
    }
}

impl From<Map<String, Value>> for Args {
    fn from(values: Map<String, Value>) -> Self {
        Self { shown: values.clone(), values }
    }
}

impl fmt::Debug for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.shown).finish()
    }
}

impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown.serialize(serializer)
    }
}

impl JsonSchema for Args {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Args".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": true })
    }
}
