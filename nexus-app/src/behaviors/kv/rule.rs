//! Rules for what a key may hold.

use nexus_actors::AgentError;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// A whole number, 64 bits, signed or not.
    Int,
    /// Any finite number; a whole one is one too.
    Float,
    /// UTF-8 text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A list of values of any type.
    List,
    /// A map of values of any type.
    Map,
}

/// What a key may hold. All that is given must hold; a rule that gives nothing allows every value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// The type. Default: any, or a number where `min` or `max` is given.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ValueKind>,
    /// The smallest number allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// The largest number allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
    /// The only values allowed. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Vec<Value>>,
    /// The longest text in characters, or the longest list or map in entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
}

impl ValueKind {
    /// The type's name in topologies and errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Text => "text",
            Self::Bool => "bool",
            Self::List => "list",
            Self::Map => "map",
        }
    }

    fn admits(self, value: &Value) -> bool {
        match self {
            Self::Int => value.is_i64() || value.is_u64(),
            Self::Float => value.is_number(),
            Self::Text => value.is_string(),
            Self::Bool => value.is_boolean(),
            Self::List => value.is_array(),
            Self::Map => value.is_object(),
        }
    }
}

impl Rule {
    /// Whether `key` may hold `value`.
    ///
    /// # Errors
    /// [`AgentError::Invalid`] with the part of the rule that is broken.
    pub fn check(&self, key: &str, value: &Value) -> Result<(), AgentError> {
        self.broken_by(value).map_or(Ok(()), |reason| Err(invalid(format!("`{key}` {reason}"))))
    }

    /// Whether the rule makes sense: some value keeps it.
    ///
    /// # Errors
    /// [`AgentError::Invalid`] with the contradiction.
    pub fn check_itself(&self, key: &str) -> Result<(), AgentError> {
        let wrong = |reason: String| Err(invalid(format!("the rule for `{key}`: {reason}")));
        let bounded = self.min.is_some() || self.max.is_some();
        if let Some(kind) = self.kind {
            if bounded && !matches!(kind, ValueKind::Int | ValueKind::Float) {
                return wrong(format!("`min` and `max` are for numbers, its type is {}", kind.name()));
            }
            if self.max_length.is_some()
                && !matches!(kind, ValueKind::Text | ValueKind::List | ValueKind::Map)
            {
                return wrong(format!(
                    "`max_length` is for text, lists and maps, its type is {}",
                    kind.name()
                ));
            }
        } else if bounded && self.max_length.is_some() {
            return wrong("`min` and `max` are for numbers, `max_length` is not".to_owned());
        }
        if let (Some(min), Some(max)) = (&self.min, &self.max)
            && less(max, min)
        {
            return wrong(format!("`min` ({min}) must not be greater than `max` ({max})"));
        }
        match self.allowed.as_deref() {
            Some([]) => wrong("`allowed` is empty, so nothing may be set".to_owned()),
            Some(allowed) => match allowed.iter().find_map(|value| self.broken_by(value)) {
                Some(reason) => wrong(format!("one of `allowed` {reason}")),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    fn broken_by(&self, value: &Value) -> Option<String> {
        if let Some(kind) = self.kind
            && !kind.admits(value)
        {
            return Some(format!("must be {}, not {}", kind.name(), described(value)));
        }
        if self.min.is_some() || self.max.is_some() {
            let Value::Number(number) = value else {
                return Some(format!("must be a number, not {}", described(value)));
            };
            if let Some(min) = self.min.as_ref().filter(|min| less(number, min)) {
                return Some(format!("is {number}; at least {min} is allowed"));
            }
            if let Some(max) = self.max.as_ref().filter(|max| less(max, number)) {
                return Some(format!("is {number}; at most {max} is allowed"));
            }
        }
        if let (Some(longest), Some(length)) = (self.max_length, length(value))
            && length > longest as usize
        {
            return Some(format!("has length {length}; at most {longest} is allowed"));
        }
        let allowed = self.allowed.as_ref()?;
        if allowed.iter().any(|one| same(one, value)) {
            return None;
        }
        let allowed: Vec<_> = allowed.iter().map(described).collect();
        Some(format!("is {}; allowed are {}", described(value), allowed.join(", ")))
    }
}

pub(super) fn invalid(reason: String) -> AgentError {
    AgentError::Invalid { reason }
}

/// A value for an error message: scalars as JSON, cut short; what is larger by its type.
pub(super) fn described(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        Value::String(text) if text.chars().nth(40).is_some() => {
            format!("\"{}…\"", text.chars().take(40).collect::<String>())
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => Some(text.chars().count()),
        Value::Array(items) => Some(items.len()),
        Value::Object(fields) => Some(fields.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => !less(a, b) && !less(b, a),
        _ => a == b,
    }
}

/// The number as a whole one, if it is one.
pub(super) fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn less(a: &Number, b: &Number) -> bool {
    match (whole(a), whole(b)) {
        // As floats, large whole numbers would lose their last digits.
        (Some(a), Some(b)) => a < b,
        _ => a.as_f64() < b.as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(text: Value) -> Rule {
        serde_json::from_value(text).unwrap()
    }

    /// Goal: each part of a rule lets the right values through. Method: a table of rules, values and outcomes.
    #[test]
    fn values_are_checked() {
        let text = json!({ "type": "text", "max_length": 3 });
        let range = json!({ "min": -1, "max": 2.5 });
        let modes = json!({ "allowed": ["auto", 1, null] });
        let cases = [
            (json!({}), json!([1, { "x": null }]), None),
            (json!({ "type": "int" }), json!(u64::MAX), None),
            (json!({ "type": "int" }), json!(1.0), Some("must be int, not 1.0")),
            (json!({ "type": "float" }), json!(1), None),
            (json!({ "type": "bool" }), json!("true"), Some("must be bool, not \"true\"")),
            (json!({ "type": "list", "max_length": 1 }), json!([1, 2]), Some("has length 2; at most 1")),
            (json!({ "type": "map" }), json!([]), Some("must be map, not a list")),
            (text.clone(), json!("äöü"), None),
            (text.clone(), json!("abcd"), Some("has length 4; at most 3 is allowed")),
            (text, json!(null), Some("must be text, not nil")),
            (range.clone(), json!(-1), None),
            (range.clone(), json!(-1.5), Some("is -1.5; at least -1 is allowed")),
            (range.clone(), json!(3), Some("is 3; at most 2.5 is allowed")),
            (range, json!(true), Some("must be a number, not true")),
            (json!({ "max": 9_007_199_254_740_992_i64 }), json!(9_007_199_254_740_993_i64), Some("at most")),
            (modes.clone(), json!(1.0), None),
            (modes, json!("a".repeat(50)), Some("aaa…\"; allowed are \"auto\", 1, nil")),
        ];
        for (shape, value, expected) in cases {
            let found = rule(shape.clone()).check("k", &value).map_err(|error| error.to_string());
            match expected {
                None => assert_eq!(found, Ok(()), "{shape} {value}"),
                Some(reason) => {
                    assert!(found.clone().unwrap_err().contains(reason), "{shape} {value}: {found:?}")
                }
            }
        }
    }

    /// Goal: a rule nothing can keep is found when it is written, not when it is used.
    #[test]
    fn contradictions_are_found() {
        let cases = [
            (json!({ "min": 2, "max": 1 }), "`min` (2) must not be greater than `max` (1)"),
            (json!({ "type": "text", "min": 0 }), "for numbers, its type is text"),
            (json!({ "type": "int", "max_length": 3 }), "for text, lists and maps, its type is int"),
            (json!({ "max": 1, "max_length": 3 }), "`max_length` is not"),
            (json!({ "allowed": [] }), "nothing may be set"),
            (json!({ "type": "int", "allowed": [1, "x"] }), "one of `allowed` must be int, not \"x\""),
        ];
        for (shape, expected) in cases {
            let error = rule(shape.clone()).check_itself("k").unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("`k`"), "{shape}: {error}");
        }
        assert_eq!(rule(json!({ "min": 1, "max": 1, "allowed": [1] })).check_itself("k"), Ok(()));
        assert!(serde_json::from_value::<Rule>(json!({ "maximum": 1 })).is_err());
    }
}
