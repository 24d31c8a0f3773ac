//! `kv`: a map of keys to values, with rules for what each key may hold.
//!
//! | request | does |
//! |---|---|
//! | query `KEY` | answers its value, or the query's default |
//! | update `KEY` | sets it, if the rules allow it |
//! | action `increment { key, by = 1 }` | adds to a number, 0 if there is none; answers the new value |
//! | action `append { key, value }` | adds a text to a text, or a value to a list; the first text or value begins one |
//! | action `remove { key }` | removes it; answers its last value |
//! | action `clear` | removes all; answers how many |
//! | action `keys` | answers the keys, sorted |
//!
//! A value is anything that JSON can say, lists and maps less than 64 levels deep; nil is no value.
//! Arguments: [`KvArgs`]. A restart begins again with the values its arguments give. After a partition that had it on two nodes, it has
//! the keys of both; of a key that both have, the value of the node that goes on. Who writes each key once loses nothing.

mod rule;

use std::collections::BTreeMap;
use std::io::Cursor;

use bytes::Bytes;
use nexus_actors::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};

pub use rule::{Rule, ValueKind};
use rule::{described, invalid, whole};

/// Bytes of the longest key.
const KEY_BYTES_MAX: usize = 256;
/// A value has fewer levels of lists and maps than this: more than people write, less than a stack holds.
const DEPTH_MAX: usize = 64;
/// The actions there are, for errors.
const ACTIONS: &str = "increment, append, remove, clear, keys";

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kv;

impl Actor for Kv {
    type Msg = AgentMessage;
    type State = KvState;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        spec: AgentSpec,
    ) -> Result<KvState, ActorProcessingErr> {
        Ok(KvState::new(spec.args::<Option<KvArgs>>()?.unwrap_or_default())?)
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut KvState,
    ) -> Result<(), ActorProcessingErr> {
        serve(state, message);
        Ok(())
    }
}

impl Durable for Kv {
    /// Keys of both. What both have stays as it is here, and so does what is written here and was removed there; what there is no room for
    /// is left out.
    fn merge(state: &mut KvState, other: KvState) {
        let left_out = state.unite(other);
        if left_out > 0 {
            tracing::warn!(left_out, "keys of a duplicate do not fit the rules or limits and are lost");
        }
    }
}

/// Arguments of a `kv` agent.
///
/// ```toml
/// [agent.args]
/// closed = true
/// keys.mode = { type = "text", allowed = ["day", "night"] }
/// keys.target = { type = "float", min = 5, max = 30 }
/// values = { mode = "day" }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KvArgs {
    /// Rules by key. Keys without one may hold anything.
    pub keys: BTreeMap<String, Rule>,
    /// Whether there are no keys but those with a rule. Default false.
    pub closed: bool,
    /// Keys it holds at most. Default 1024.
    pub max_keys: u32,
    /// Bytes of all keys and encoded values together at most. Default 1 MiB.
    pub max_bytes: u32,
    /// What it holds when it starts, checked like updates.
    pub values: Map<String, Value>,
}

impl Default for KvArgs {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            closed: false,
            max_keys: 1024,
            max_bytes: 1024 * 1024,
            values: Map::new(),
        }
    }
}

/// What a `kv` agent holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KvState {
    args: KvArgs,
    values: BTreeMap<String, Payload>,
    /// Of all keys and values in `values`; never more than `args.max_bytes`.
    bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Increment {
    key: String,
    #[serde(default = "one")]
    by: Number,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Append {
    key: String,
    value: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    key: String,
}

fn one() -> Number {
    Number::from(1)
}

impl KvState {
    /// A map with these rules and values.
    ///
    /// # Errors
    /// [`AgentError::Invalid`] for rules that contradict themselves and values that break them.
    pub fn new(mut args: KvArgs) -> Result<Self, AgentError> {
        for (key, rule) in &args.keys {
            check_key(key)?;
            rule.check_itself(key)?;
        }
        if args.closed && args.keys.is_empty() {
            return Err(invalid("`closed` without any `keys` allows no key at all".to_owned()));
        }
        let values = std::mem::take(&mut args.values);
        let mut state = Self { args, values: BTreeMap::new(), bytes: 0 };
        for (key, value) in values {
            state.set(&key, &value)?;
        }
        Ok(state)
    }

    fn increment(&mut self, Increment { key, by }: Increment) -> Reply {
        let sum = match self.value(&key)? {
            None => by,
            Some(Value::Number(current)) => sum(&key, &current, &by)?,
            Some(other) => {
                return Err(invalid(format!(
                    "`{key}` is {}; only numbers are incremented",
                    described(&other)
                )));
            }
        };
        self.set(&key, &Value::Number(sum))
    }

    fn append(&mut self, Append { key, value }: Append) -> Reply {
        let longer = match (self.value(&key)?, value) {
            (None, Value::String(text)) => Value::String(text),
            (None, item) => Value::Array(vec![item]),
            (Some(Value::String(text)), Value::String(more)) => Value::String(text + &more),
            (Some(Value::Array(mut items)), item) => {
                items.push(item);
                Value::Array(items)
            }
            (Some(current), item) => {
                let (current, item) = (described(&current), described(&item));
                return Err(invalid(format!("`{key}` is {current}; {item} cannot be appended to it")));
            }
        };
        self.set(&key, &longer)
    }

    fn remove(&mut self, Remove { key }: Remove) -> Reply {
        let value = self.values.remove(&key).ok_or(AgentError::NotFound { key: key.clone() })?;
        self.bytes -= key.len() + value.bytes().len();
        Ok(value)
    }

    fn clear(&mut self) -> Reply {
        let removed = self.values.len();
        self.values.clear();
        self.bytes = 0;
        Payload::encode(&removed)
    }

    /// Takes the keys that only `other` has, as far as rules and limits allow. How many it could not take.
    fn unite(&mut self, other: Self) -> usize {
        let mut left_out = 0;
        for (key, value) in other.values {
            if self.values.contains_key(&key) {
                continue;
            }
            match self.validate(&key, &value) {
                Ok(()) => self.put(&key, value),
                Err(_) => left_out += 1,
            }
        }
        left_out
    }

    /// Sets and answers a value that was computed here.
    fn set(&mut self, key: &str, value: &Value) -> Reply {
        let encoded = Payload::encode(value)?;
        self.validate(key, &encoded)?;
        self.put(key, encoded.clone());
        Ok(encoded)
    }

    fn put(&mut self, key: &str, value: Payload) {
        // A slice of its own: the payload may be a small part of a large buffer, which it would keep alive.
        let value = Payload::from_msgpack(Bytes::copy_from_slice(value.bytes()));
        self.bytes += key.len() + value.bytes().len();
        if let Some(old) = self.values.insert(key.to_owned(), value) {
            self.bytes -= key.len() + old.bytes().len();
        }
    }

    fn value(&self, key: &str) -> Result<Option<Value>, AgentError> {
        self.values.get(key).map(Payload::to_json).transpose()
    }

    fn check_known(&self, key: &str) -> Result<(), AgentError> {
        if !self.args.closed || self.args.keys.contains_key(key) {
            return Ok(());
        }
        let known: Vec<_> = self.args.keys.keys().map(String::as_str).collect();
        let key: String = key.chars().take(KEY_BYTES_MAX).collect();
        Err(AgentError::Unsupported { what: format!("key `{key}`; known are {}", known.join(", ")) })
    }

    /// Whether there is room for `key` with a value of `value_bytes`.
    fn check_room(&self, key: &str, value_bytes: usize) -> Result<(), AgentError> {
        let old = self.values.get(key);
        if old.is_none() && self.values.len() >= self.args.max_keys as usize {
            return Err(invalid(format!("`{key}` is one key more than {} (max_keys)", self.args.max_keys)));
        }
        let freed = old.map_or(0, |old| key.len() + old.bytes().len());
        let bytes = self.bytes - freed + key.len() + value_bytes;
        if bytes > self.args.max_bytes as usize {
            let max = self.args.max_bytes;
            return Err(invalid(format!(
                "with `{key}` it would hold {bytes} bytes; at most {max} (max_bytes)"
            )));
        }
        Ok(())
    }
}

impl Reactive for KvState {
    fn query(&self, key: &str) -> Reply {
        self.check_known(key)?;
        self.values.get(key).cloned().ok_or_else(|| AgentError::NotFound { key: key.to_owned() })
    }

    fn validate(&self, key: &str, value: &Payload) -> Result<(), AgentError> {
        check_key(key)?;
        self.check_known(key)?;
        // Room first: what is too large is not decoded.
        self.check_room(key, value.bytes().len())?;
        let value: Value = decode(value)?;
        if value.is_null() {
            return Err(invalid(format!("`{key}` cannot be nil or NaN: action `remove` takes a value away")));
        }
        self.args.keys.get(key).map_or(Ok(()), |rule| rule.check(key, &value))
    }

    fn update(&mut self, key: &str, value: Payload) -> Reply {
        self.put(key, value);
        Ok(Payload::EMPTY)
    }

    fn act(&mut self, name: &str, arguments: &Payload) -> Reply {
        match name {
            "increment" => self.increment(decode(arguments)?),
            "append" => self.append(decode(arguments)?),
            "remove" => self.remove(decode(arguments)?),
            "clear" => self.clear(),
            "keys" => Payload::encode(&self.values.keys().collect::<Vec<_>>()),
            _ => Err(AgentError::Unsupported { what: format!("action `{name}`; known are {ACTIONS}") }),
        }
    }

    fn inspect(&self) -> Reply {
        let mut values = Map::new();
        for (key, value) in &self.values {
            values.insert(key.clone(), value.to_json()?);
        }
        Payload::encode(&json!({
            "values": values,
            "rules": self.args.keys,
            "closed": self.args.closed,
            "keys": self.values.len(),
            "max_keys": self.args.max_keys,
            "bytes": self.bytes,
            "max_bytes": self.args.max_bytes,
        }))
    }
}

fn check_key(key: &str) -> Result<(), AgentError> {
    match key.len() {
        0 => Err(invalid("a key must not be empty".to_owned())),
        1..=KEY_BYTES_MAX => Ok(()),
        bytes => Err(invalid(format!("the key has {bytes} bytes; at most {KEY_BYTES_MAX} are allowed"))),
    }
}

/// Decodes a payload from somebody else: one whole value, not too deep.
fn decode<T: DeserializeOwned>(payload: &Payload) -> Result<T, AgentError> {
    if payload.is_empty() {
        return payload.decode();
    }
    let malformed = |reason: String| AgentError::Malformed { reason };
    let mut decoder = rmp_serde::Deserializer::new(Cursor::new(payload.bytes()));
    decoder.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut decoder).map_err(|error| malformed(error.to_string()))?;
    let (read, bytes) = (decoder.position(), payload.bytes().len());
    if read < bytes as u64 {
        return Err(malformed(format!("it goes on after the value: {read} of {bytes} bytes read")));
    }
    Ok(value)
}

fn sum(key: &str, a: &Number, b: &Number) -> Result<Number, AgentError> {
    let overflow = || invalid(format!("`{key}`: {a} + {b} is more than a number can hold"));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => {
            let sum = a + b;
            let small = i64::try_from(sum).map(Number::from);
            small.or_else(|_| u64::try_from(sum).map(Number::from)).map_err(|_| overflow())
        }
        _ => {
            let sum = a.as_f64().zip(b.as_f64()).map(|(a, b)| a + b);
            sum.and_then(Number::from_f64).ok_or_else(overflow)
        }
    }
}

#[cfg(test)]
mod kv_test;
