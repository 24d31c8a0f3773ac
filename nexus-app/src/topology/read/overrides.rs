//! Values that the command line gives in place of the file's: `--set node.name=air-2`.

use std::fmt;
use std::str::FromStr;

use toml::de::DeTable;

use super::node::{Entry, Node, NodeValue};
use crate::path::{Path, Step};

/// One value: where it belongs, and what it is. It counts as if the file had it there; tables are merged, anything else is replaced.
#[derive(Clone, Debug)]
pub struct Override {
    /// As it was written: `KEY=VALUE`.
    written: String,
    table: Node,
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl FromStr for Override {
    type Err = String;

    /// `KEY=VALUE`: a dotted key, and a value as TOML writes it. What is no value in TOML is a text, so that most texts need no quotes.
    fn from_str(written: &str) -> Result<Self, String> {
        let (key, value) = written.split_once('=').ok_or("it has no `=`: write KEY=VALUE")?;
        let key = key.trim();
        // TOML's own reader for both: it knows quoted keys, escapes and all kinds of values. A JSON text is one of TOML too.
        let quoted = || serde_json::Value::from(value).to_string();
        let table = parsed(&format!("{key} = {value}")).or_else(|_| parsed(&format!("{key} = {}", quoted())));
        let table = table.map_err(|problem| format!("`{key}` is no key such as `node.name`: {problem}"))?;
        Ok(Self { written: written.to_owned(), table })
    }
}

/// The one entry of a text that must be one line of TOML.
fn parsed(line: &str) -> Result<Node, String> {
    let table = DeTable::parse(line).map_err(|error| error.message().trim().to_owned())?;
    match table.get_ref().len() {
        1 if !line.contains('\n') => Ok(Node::of_table(table.get_ref(), 0..0)),
        _ => Err("it is more than one".to_owned()),
    }
}

impl Override {
    /// What a finding says of a value that comes from here. The value itself may be a secret.
    pub(crate) fn label(&self) -> String {
        let key = self.written.split_once('=').map_or("", |(key, _)| key.trim());
        format!("given by `--set {}`", key.escape_debug())
    }

    /// Puts the value into `root`, and says where the parts of it are.
    pub(crate) fn apply(&self, root: &mut Node) -> Vec<Path> {
        let mut places = Vec::new();
        merge(root, &self.table, &Path::root(), &mut places);
        places
    }
}

/// Values take the place in the text of those that they replace, else that of the table around them.
fn merge(into: &mut Node, from: &Node, path: &Path, places: &mut Vec<Path>) {
    let around = into.span.clone();
    if let (NodeValue::Table(entries), NodeValue::Table(given)) = (&mut into.value, &from.value) {
        for entry in given {
            let at = entries.iter().position(|known| known.key == entry.key).unwrap_or_else(|| {
                let node = Node { span: around.clone(), value: NodeValue::Table(Vec::new()) };
                entries.push(Entry { key: entry.key.clone(), key_span: around.clone(), node });
                entries.len() - 1
            });
            merge(&mut entries[at].node, &entry.node, &path.key(&entry.key), places);
        }
        return;
    }
    into.value = placed(from, &around).value;
    places.push(path.clone());
}

/// The same value at another place of the text.
fn placed(node: &Node, span: &std::ops::Range<usize>) -> Node {
    let value = match &node.value {
        NodeValue::Array(items) => NodeValue::Array(items.iter().map(|item| placed(item, span)).collect()),
        NodeValue::Table(entries) => NodeValue::Table(
            entries
                .iter()
                .map(|entry| Entry {
                    key: entry.key.clone(),
                    key_span: span.clone(),
                    node: placed(&entry.node, span),
                })
                .collect(),
        ),
        other => other.clone(),
    };
    Node { span: span.clone(), value }
}

/// Whether `path` is `place` or below it.
pub(crate) fn is_within(path: &Path, place: &Path) -> bool {
    let (path, place): (&[Step], &[Step]) = (path.steps(), place.steps());
    path.starts_with(place)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(file: &str, overrides: &[&str]) -> serde_json::Value {
        let table = DeTable::parse(file).unwrap();
        let mut root = Node::of_table(table.get_ref(), 0..0);
        for text in overrides {
            text.parse::<Override>().unwrap().apply(&mut root);
        }
        root.to_json(true)
    }

    /// Goal: values are TOML's, or texts; tables are merged, all else is replaced, what is missing is made.
    #[test]
    fn values_replace_and_tables_merge() {
        let file = "[node]\nname = \"a\"\nseed = 1\n[cluster]\nseeds = [\"x:1\"]\n";
        let given = [
            "node.name=air-2",
            "cluster.seeds=[\"y:2\", \"z:3\"]",
            "cluster.tls = { ca = \"ca.pem\" }",
            "cluster.tls.key=/tmp/a b",
            "limits.inbox=64",
            "debug.listen=127.0.0.1:7080",
        ];
        assert_eq!(
            merged(file, &given),
            json!({
                "node": { "name": "air-2", "seed": 1 },
                "cluster": { "seeds": ["y:2", "z:3"], "tls": { "ca": "ca.pem", "key": "/tmp/a b" } },
                "limits": { "inbox": 64 },
                "debug": { "listen": "127.0.0.1:7080" },
            })
        );
        assert_eq!(merged("a = 1", &["a.b=x=y"]), json!({ "a": { "b": "x=y" } }));
        assert_eq!(merged("", &["a="]), json!({ "a": "" }));
    }

    /// Goal: what is no key and value is refused, and nothing can come along with a value.
    #[test]
    fn malformed_overrides_are_refused() {
        for text in ["node.name", "=x", "a b=1", "a..b=1", "[a]=1", "a=1\nb = 2\nc=3"] {
            let given = text.parse::<Override>();
            assert!(given.is_err() || text.contains('\n'), "{text}: {given:?}");
        }
        let text: Override = "a=1\nb=2".parse().unwrap();
        assert_eq!(text.table.to_json(true), json!({ "a": "1\nb=2" }));
    }
}
