//! The file as a tree of values that know where they stand.

use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use crate::path::{Path, Step};

/// A value and where it stands in the text.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: NodeValue,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum NodeValue {
    /// `expanded` is what is meant, `written` what the file has; they differ where `${VARIABLE}` is used.
    String {
        written: String,
        expanded: String,
    },
    /// Whole numbers too large for 128 bits are at its ends, far out of any range.
    Integer(i128),
    Float(f64),
    Boolean(bool),
    /// TOML dates and times are handed on as text.
    Datetime(String),
    Array(Vec<Node>),
    /// In the order of the file.
    Table(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn of_table(table: &DeTable<'_>, span: Range<usize>) -> Self {
        let mut entries: Vec<Entry> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                key_span: key.span(),
                node: Self::of_value(value.get_ref(), value.span()),
            })
            .collect();
        entries.sort_by_key(|entry| entry.key_span.start);
        Self { span, value: NodeValue::Table(entries) }
    }

    fn of_value(value: &DeValue<'_>, span: Range<usize>) -> Self {
        let value = match value {
            DeValue::Table(table) => return Self::of_table(table, span),
            DeValue::String(text) => {
                NodeValue::String { written: text.to_string(), expanded: text.to_string() }
            }
            DeValue::Integer(number) => NodeValue::Integer(
                i128::from_str_radix(number.as_str(), number.radix())
                    .unwrap_or(if number.as_str().starts_with('-') { i128::MIN } else { i128::MAX }),
            ),
            DeValue::Float(number) => NodeValue::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => NodeValue::Boolean(*flag),
            DeValue::Datetime(datetime) => NodeValue::Datetime(datetime.to_string()),
            DeValue::Array(array) => NodeValue::Array(
                array.iter().map(|item| Self::of_value(item.get_ref(), item.span())).collect(),
            ),
        };
        Self { span, value }
    }

    /// What it is, for people.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.value {
            NodeValue::String { .. } => "a string",
            NodeValue::Integer(_) => "a whole number",
            NodeValue::Float(_) => "a number",
            NodeValue::Boolean(_) => "true or false",
            NodeValue::Datetime(_) => "a date or time",
            NodeValue::Array(_) => "an array",
            NodeValue::Table(_) => "a table",
        }
    }

    /// The node at `path`, if the file has it.
    pub(crate) fn get(&self, path: &Path) -> Option<&Self> {
        path.steps().iter().try_fold(self, |node, step| node.child(step))
    }

    /// Where `path` stands: the value, or the next table around it that the file has.
    pub(crate) fn span_of(&self, path: &Path) -> Range<usize> {
        let mut node = self;
        for step in path.steps() {
            match node.child(step) {
                Some(child) => node = child,
                None => break,
            }
        }
        node.span.clone()
    }

    /// Where the last key of `path` stands, if the file has it.
    pub(crate) fn key_span_of(&self, path: &Path) -> Option<Range<usize>> {
        let Some(Step::Key(key)) = path.steps().last() else { return None };
        let NodeValue::Table(entries) = &self.get(&path.parent()?)?.value else { return None };
        Some(entries.iter().find(|entry| entry.key == *key)?.key_span.clone())
    }

    /// The paths of the plain values that `span` touches.
    pub(crate) fn touched_by(&self, span: &Range<usize>) -> Vec<Path> {
        fn visit(node: &Node, path: &Path, span: &Range<usize>, found: &mut Vec<Path>) {
            match &node.value {
                NodeValue::Table(entries) => {
                    for entry in entries {
                        visit(&entry.node, &path.key(&entry.key), span, found);
                    }
                }
                NodeValue::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        visit(item, &path.index(index), span, found);
                    }
                }
                _ if node.span.start <= span.end && span.start <= node.span.end => found.push(path.clone()),
                _ => {}
            }
        }
        let mut found = Vec::new();
        visit(self, &Path::root(), span, &mut found);
        found
    }

    fn child(&self, step: &Step) -> Option<&Self> {
        match (&self.value, step) {
            (NodeValue::Table(entries), Step::Key(key)) => {
                entries.iter().find(|entry| entry.key == *key).map(|entry| &entry.node)
            }
            (NodeValue::Array(items), Step::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    /// The value as JSON, strings `expanded` or as written. Numbers that JSON has not (nan, infinities, more than 64 bits)
    /// become null: [`shape`](super::shape()) has refused them by then.
    pub(crate) fn to_json(&self, expanded: bool) -> Value {
        match &self.value {
            NodeValue::String { written, expanded: text } => {
                Value::String(if expanded { text.clone() } else { written.clone() })
            }
            NodeValue::Integer(number) => Number::from_i128(*number).map_or(Value::Null, Value::Number),
            NodeValue::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            NodeValue::Boolean(flag) => Value::Bool(*flag),
            NodeValue::Datetime(text) => Value::String(text.clone()),
            NodeValue::Array(items) => {
                Value::Array(items.iter().map(|item| item.to_json(expanded)).collect())
            }
            NodeValue::Table(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json(expanded))).collect::<Map<
                    String,
                    Value,
                >>(
                ),
            ),
        }
    }
}
