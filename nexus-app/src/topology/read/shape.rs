//! Compares the file's tree with the JSON Schema: keys, types, ranges, formats.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::findings::{Finding, Findings};
use super::node::{Entry, Node, NodeValue};
use crate::path::Path;
use crate::suggest::{did_you_mean, nearest};
use crate::topology::model::format;

/// Reports every place where `root` departs from `schema`, and returns the tree as a value that conforms to it: what is wrong is
/// left out if it may be, else replaced by something harmless, and tainted in `findings` in both cases.
pub(crate) fn shape(root: &Node, schema: &Value, findings: &mut Findings<'_>) -> Value {
    let mut walk = Walk { root: schema, findings };
    walk.read(root, schema, &Path::root()).unwrap_or_else(|| json!({}))
}

struct Walk<'a, 'b> {
    /// The whole schema, which references point into.
    root: &'a Value,
    findings: &'a mut Findings<'b>,
}

impl<'a> Walk<'a, '_> {
    /// The node as a conforming value; `None` if it is reported and is to be left out.
    fn read(&mut self, node: &Node, schema: &'a Value, path: &Path) -> Option<Value> {
        let schema = self.resolve(schema);
        let holds_secrets = schema.get("additionalProperties").is_some_and(is_secret);
        // A table of secrets gets to each of them; what stands in its place may be one.
        if is_secret(schema) || (holds_secrets && !matches!(node.value, NodeValue::Table(_))) {
            self.findings.add_secret(node.span.clone());
        }
        if let Some(alternatives) = alternatives(schema) {
            return self.read_alternative(node, schema, alternatives, path);
        }
        if !admits(schema, node) {
            self.wrong_type(node, &[schema], schema, path);
            return None;
        }
        match &node.value {
            NodeValue::Table(entries) => Some(self.read_table(entries, schema, path)),
            NodeValue::Array(items) => self.read_array(items, schema, path),
            NodeValue::String { expanded, .. } => self.read_string(node, expanded, schema, path),
            NodeValue::Integer(number) => {
                let (min, max) = integer_bounds(schema);
                let inside = (min..=max).contains(number);
                inside
                    .then(|| node.to_json(true))
                    .or_else(|| self.out_of_range(*number, min, max, schema, path))
            }
            NodeValue::Float(number) => {
                let bound = |key, default| schema.get(key).and_then(Value::as_f64).unwrap_or(default);
                let (min, max) = (bound("minimum", f64::MIN), bound("maximum", f64::MAX));
                let inside = (min..=max).contains(number);
                inside
                    .then(|| node.to_json(true))
                    .or_else(|| self.out_of_range(*number, min, max, schema, path))
            }
            NodeValue::Boolean(_) | NodeValue::Datetime(_) => Some(node.to_json(true)),
        }
    }

    fn read_table(&mut self, entries: &[Entry], schema: &'a Value, path: &Path) -> Value {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&NONE);
        let mut table = Map::new();
        for entry in entries {
            let child = path.key(&entry.key);
            let child_schema = match (properties.get(&entry.key), schema.get("additionalProperties")) {
                (Some(property), _) => property,
                (None, Some(other @ Value::Object(_))) => other,
                (None, Some(Value::Bool(false))) => {
                    self.unknown_key(entry, properties, path);
                    continue;
                }
                (None, _) => {
                    if self.is_sound(&entry.node, &child) {
                        table.insert(entry.key.clone(), entry.node.to_json(true));
                    }
                    continue;
                }
            };
            match self.read(&entry.node, child_schema, &child) {
                Some(value) => {
                    table.insert(entry.key.clone(), value);
                }
                None => self.findings.taint(child),
            }
        }
        for key in required(schema) {
            if table.contains_key(key) {
                continue;
            }
            let child = path.key(key);
            let property = properties.get(key).unwrap_or(&Value::Null);
            let place = if path.steps().is_empty() { "the file".to_owned() } else { format!("`{path}`") };
            self.findings.push(
                Finding::new("missing-key", child.clone(), format!("{place} lacks the key `{key}`"))
                    .help_if(description(property)),
            );
            self.findings.taint(child);
            table.insert(key.to_owned(), self.placeholder(property));
        }
        Value::Object(table)
    }

    fn read_array(&mut self, items: &[Node], schema: &'a Value, path: &Path) -> Option<Value> {
        let length = items.len() as u64;
        let bound = |key| schema.get(key).and_then(Value::as_u64);
        let (min, max) = (bound("minItems").unwrap_or(0), bound("maxItems").unwrap_or(u64::MAX));
        if !(min..=max).contains(&length) {
            let allowed = range_text(min.to_string(), (max < u64::MAX).then(|| max.to_string()));
            let message = format!("`{path}` has {length} elements; allowed is {allowed}");
            self.findings
                .push(Finding::new("out-of-range", path.clone(), message).help_if(description(schema)));
            return None;
        }
        let item_schema = schema.get("items").unwrap_or(&Value::Bool(true));
        let mut array = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let child = path.index(index);
            let value = self.read(item, item_schema, &child).unwrap_or_else(|| {
                self.findings.taint(child);
                self.placeholder(item_schema)
            });
            array.push(value);
        }
        Some(Value::Array(array))
    }

    fn read_string(&mut self, node: &Node, text: &str, schema: &'a Value, path: &Path) -> Option<Value> {
        // A reference that was not replaced has been reported; what it stands for is unknown.
        if self.findings.is_tainted(path) {
            return None;
        }
        let shown = if is_secret(schema) { "***".to_owned() } else { format!("{text:?}") };
        let length = text.chars().count() as u64;
        let bound = |key| schema.get(key).and_then(Value::as_u64);
        let (min, max) = (bound("minLength").unwrap_or(0), bound("maxLength").unwrap_or(u64::MAX));
        if !(min..=max).contains(&length) {
            let allowed = range_text(min.to_string(), (max < u64::MAX).then(|| max.to_string()));
            let message = format!("`{path}` has {length} characters; allowed is {allowed}");
            self.findings
                .push(Finding::new("out-of-range", path.clone(), message).help_if(description(schema)));
            return None;
        }
        let format_name = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        if let Err((code, problem, help)) = format::check(format_name, text) {
            let message = format!("`{path}` is {shown}, which {problem}");
            self.findings.push(Finding::new(code, path.clone(), message).help(help));
            return None;
        }
        Some(node.to_json(true))
    }

    /// Chooses among alternatives by the node's type, and among several tables by their keys.
    fn read_alternative(
        &mut self,
        node: &Node,
        schema: &'a Value,
        alternatives: &'a [Value],
        path: &Path,
    ) -> Option<Value> {
        let all: Vec<&'a Value> = alternatives.iter().map(|alternative| self.resolve(alternative)).collect();
        // An `Option` of a choice is a choice within a choice.
        let fitting: Vec<&'a Value> =
            all.iter().copied().filter(|schema| self.admits_deep(schema, node)).collect();
        if fitting.is_empty() {
            self.wrong_type(node, &all, schema, path);
            return None;
        }
        if let (NodeValue::String { expanded, .. }, true) =
            (&node.value, fitting.iter().all(|schema| schema.get("const").is_some()))
        {
            return self.read_choice(expanded, &fitting, path);
        }
        if let (NodeValue::Table(entries), true) = (&node.value, fitting.len() > 1) {
            return self.read_variant(entries, &fitting, path);
        }
        self.read(node, fitting[0], path)
    }

    /// A string that must be one of several.
    fn read_choice(&mut self, text: &str, choices: &[&'a Value], path: &Path) -> Option<Value> {
        if self.findings.is_tainted(path) {
            return None;
        }
        let names: Vec<&str> = choices.iter().filter_map(|schema| schema.get("const")?.as_str()).collect();
        if names.contains(&text) {
            return Some(Value::String(text.to_owned()));
        }
        let message = format!("`{path}` is {text:?}, which is not one of its values");
        let help = did_you_mean(text, "allowed are", names.iter().copied());
        self.findings.push(Finding::new("unknown-value", path.clone(), message).help(help));
        None
    }

    /// A table that must have exactly one of several keys.
    fn read_variant(&mut self, entries: &[Entry], variants: &[&'a Value], path: &Path) -> Option<Value> {
        let names: Vec<&str> = variants.iter().flat_map(|schema| required(schema)).collect();
        let message = match entries {
            [entry] => {
                let variant = variants.iter().find(|schema| required(schema).any(|key| key == entry.key));
                if let Some(variant) = variant {
                    // A reported value leaves nothing of the variant behind.
                    let child = path.key(&entry.key);
                    let property = variant.get("properties").and_then(|all| all.get(&entry.key))?;
                    let value = self.read(&entry.node, property, &child)?;
                    return Some(json!({ entry.key.as_str(): value }));
                }
                format!("`{path}` has the unknown key `{}`", entry.key.escape_debug())
            }
            _ => format!("`{path}` has {} keys; it takes exactly one", entries.len()),
        };
        let given = entries.first().map_or("", |entry| entry.key.as_str());
        let help = did_you_mean(given, "give one of", names.iter().copied());
        let code = if entries.len() == 1 { "unknown-key" } else { "one-of" };
        self.findings.push(Finding::new(code, path.clone(), message).help(help));
        None
    }

    fn unknown_key(&mut self, entry: &Entry, properties: &'a Map<String, Value>, path: &Path) {
        let mut known: Vec<&str> = properties.keys().map(String::as_str).collect();
        known.sort_unstable();
        if properties.values().any(|property| is_secret(self.resolve(property))) {
            self.findings.add_secret(entry.node.span.clone());
        }
        // The cluster's secret, by the name that people give it.
        if entry.key.contains("cookie") {
            self.findings.add_secret(entry.node.span.clone());
        }
        self.add_secrets_under(&entry.node);
        let place = if path.steps().is_empty() { String::new() } else { format!(" in `{path}`") };
        let message = format!("unknown key `{}`{place}", entry.key.escape_debug());
        let help = did_you_mean(&entry.key, "known keys", known.iter().copied());
        self.findings.push(Finding::new("unknown-key", path.key(&entry.key), message).at_key().help(help));
        self.findings.taint(path.key(&entry.key));
        // What was meant is not known to be missing or to have its default.
        if let Some(meant) = nearest(&entry.key, known) {
            self.findings.taint(path.key(meant));
        }
    }

    /// What nobody knows may hold a secret all the same, if a key in it has the name of one.
    fn add_secrets_under(&mut self, node: &Node) {
        match &node.value {
            NodeValue::Table(entries) => {
                for entry in entries {
                    if matches!(entry.key.as_str(), "token" | "headers" | "cookie") {
                        self.findings.add_secret(entry.node.span.clone());
                    }
                    self.add_secrets_under(&entry.node);
                }
            }
            NodeValue::Array(items) => items.iter().for_each(|item| self.add_secrets_under(item)),
            _ => {}
        }
    }

    fn wrong_type(&mut self, node: &Node, expected: &[&Value], schema: &Value, path: &Path) {
        let mut names: Vec<&str> = expected.iter().flat_map(|schema| self.type_names(schema)).collect();
        names.dedup();
        let message = format!("`{path}` is {}; expected {}", node.kind(), names.join(" or "));
        let help = match &node.value {
            NodeValue::String { expanded, .. }
                if expanded.parse::<f64>().is_ok() && names.iter().any(|name| name.contains("number")) =>
            {
                Some("write the number without quotes".to_owned())
            }
            NodeValue::String { expanded, .. }
                if matches!(expanded.as_str(), "true" | "false") && names.contains(&"true or false") =>
            {
                Some("write it without quotes".to_owned())
            }
            NodeValue::Integer(number) if names.contains(&"a length of time such as \"5s\"") => {
                Some(format!("write it with its unit: \"{number}s\""))
            }
            NodeValue::Table(_) if names == ["an array"] => {
                Some("write the header in double brackets: `[[…]]`".to_owned())
            }
            NodeValue::Array(_) if names == ["a table"] => {
                Some("write the header in single brackets: `[…]`".to_owned())
            }
            _ if names == ["an array"] => Some("write it in brackets: `[…]`".to_owned()),
            _ => description(schema),
        };
        self.findings.push(Finding::new("wrong-type", path.clone(), message).help_if(help));
    }

    fn out_of_range(
        &mut self,
        value: impl std::fmt::Display,
        min: impl std::fmt::Display,
        max: impl std::fmt::Display,
        schema: &Value,
        path: &Path,
    ) -> Option<Value> {
        let message = format!("`{path}` is {value}; allowed is {min} to {max}");
        self.findings.push(Finding::new("out-of-range", path.clone(), message).help_if(description(schema)));
        None
    }

    /// Whether a value of free form has only numbers that every part of Nexus can hold.
    fn is_sound(&mut self, node: &Node, path: &Path) -> bool {
        let bad = match &node.value {
            NodeValue::Integer(number) => i64::try_from(*number).is_err() && u64::try_from(*number).is_err(),
            NodeValue::Float(number) => !number.is_finite(),
            NodeValue::Array(items) => {
                let sound = |(index, item)| self.is_sound(item, &path.index(index));
                return items.iter().enumerate().map(sound).fold(true, |all, one| all & one);
            }
            NodeValue::Table(entries) => {
                let sound = |entry: &Entry| self.is_sound(&entry.node, &path.key(&entry.key));
                return entries.iter().map(sound).fold(true, |all, one| all & one);
            }
            _ => false,
        };
        if bad {
            let message = format!("`{path}` is a number that cannot be handed on");
            let help = "whole numbers have at most 64 bits, others are finite";
            self.findings.push(Finding::new("out-of-range", path.clone(), message).help(help));
            self.findings.taint(path.clone());
        }
        !bad
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#')) {
            Some(pointer) => self.root.pointer(pointer).unwrap_or(schema),
            None => schema,
        }
    }

    fn admits_deep(&self, schema: &'a Value, node: &Node) -> bool {
        match alternatives(schema) {
            Some(list) => list.iter().any(|one| self.admits_deep(self.resolve(one), node)),
            None => admits(schema, node),
        }
    }

    /// The types a schema takes, for people.
    fn type_names(&self, schema: &Value) -> Vec<&'static str> {
        if let Some(list) = alternatives(schema) {
            let mut names: Vec<_> = list
                .iter()
                .flat_map(|one| {
                    let pointer =
                        one.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
                    self.type_names(pointer.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(one))
                })
                .collect();
            names.dedup();
            return names;
        }
        let format_name = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        types(schema)
            .filter_map(|name| match name {
                "string" => Some(format::kind(format_name)),
                "integer" => Some("a whole number"),
                "number" => Some("a number"),
                "boolean" => Some("true or false"),
                "array" => Some("an array"),
                "object" => Some("a table"),
                _ => None,
            })
            .collect()
    }

    /// A harmless value that conforms to `schema`.
    fn placeholder(&self, schema: &'a Value) -> Value {
        let schema = self.resolve(schema);
        if let Some(first) = alternatives(schema).and_then(<[Value]>::first) {
            return self.placeholder(first);
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        match types(schema).next() {
            Some("string") => format::placeholder(schema.get("format").and_then(Value::as_str)).into(),
            Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(0)),
            Some("boolean") => json!(false),
            Some("array") => json!([]),
            Some("object") => {
                let property = |key: &str| schema.get("properties").and_then(|all| all.get(key));
                let fill = |key: &'a str| Some((key.to_owned(), self.placeholder(property(key)?)));
                Value::Object(required(schema).filter_map(fill).collect())
            }
            _ => Value::Null,
        }
    }
}

fn alternatives(schema: &Value) -> Option<&[Value]> {
    Some(schema.get("anyOf").or_else(|| schema.get("oneOf"))?.as_array()?.as_slice())
}

fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let (one, many) = match schema.get("type") {
        Some(Value::String(one)) => (Some(one.as_str()), None),
        Some(Value::Array(many)) => (None, Some(many)),
        _ => (None, None),
    };
    one.into_iter().chain(many.into_iter().flatten().filter_map(Value::as_str))
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether the node's type is one the schema takes. A schema without a type takes all.
fn admits(schema: &Value, node: &Node) -> bool {
    let fits = |name: &str| {
        matches!(
            (&node.value, name),
            (NodeValue::String { .. }, "string")
                | (NodeValue::Integer(_), "integer" | "number")
                | (NodeValue::Float(_), "number")
                | (NodeValue::Boolean(_), "boolean")
                | (NodeValue::Array(_), "array")
                | (NodeValue::Table(_), "object")
        )
    };
    schema.get("type").is_none() || types(schema).any(fits)
}

fn is_secret(schema: &Value) -> bool {
    schema.get("format").and_then(Value::as_str) == Some(format::SECRET)
}

fn integer_bounds(schema: &Value) -> (i128, i128) {
    let bound = |key| {
        let value = schema.get(key)?;
        value.as_i64().map(i128::from).or_else(|| value.as_f64().map(|number| number as i128))
    };
    let unsigned = schema.get("format").and_then(Value::as_str).is_some_and(|name| name.starts_with("uint"));
    let (min, max) = if unsigned { (0, u64::MAX.into()) } else { (i64::MIN.into(), i64::MAX.into()) };
    (bound("minimum").unwrap_or(min), bound("maximum").unwrap_or(max))
}

fn range_text(min: String, max: Option<String>) -> String {
    max.map_or_else(|| format!("{min} or more"), |max| format!("{min} to {max}"))
}

/// The first paragraph of what the schema says about a value.
fn description(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    Some(text.split("\n\n").next()?.replace('\n', " "))
}
