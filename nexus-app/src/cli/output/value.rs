//! JSON values for people, and lenient access to them: endpoints may grow fields that this binary does not know.

use serde_json::Value;

/// `value`'s field as text; the empty text if it is missing or null.
pub(crate) fn text(value: &Value, field: &str) -> String {
    flat(&value[field])
}

/// `value`'s field as a number; 0 if it is missing or none.
pub(crate) fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or(0)
}

/// `value` in one line: strings bare, `null` empty, the rest as JSON.
pub(crate) fn flat(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

/// `value` over several lines, indented by its depth: fields as `name: value`, lists with dashes. Long lists of plain values
/// stay in one line.
pub(crate) fn render(value: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    push(value, 0, &mut lines);
    lines
}

fn push(value: &Value, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let name = clean(name);
                if is_flat(value) {
                    lines.push(format!("{indent}{name}: {}", shown(value)).trim_end().to_owned());
                } else {
                    lines.push(format!("{indent}{name}:"));
                    push(value, depth + 1, lines);
                }
            }
        }
        Value::Array(items) if !is_flat(value) => {
            for item in items {
                let start = lines.len();
                push(item, depth + 1, lines);
                // The item's first line carries the dash in place of two spaces of its indentation.
                if let Some(first) = lines.get_mut(start) {
                    first.replace_range(indent.len()..indent.len() + 2, "- ");
                }
            }
        }
        flat => lines.push(format!("{indent}{}", shown(flat))),
    }
}

fn is_flat(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.iter().all(|item| !item.is_object() && !item.is_array()),
        _ => true,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        other => flat(other),
    }
}

/// `text` with control characters written out, so that what an agent says cannot steer the terminal.
pub(crate) fn clean(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: nested values are readable, and nothing in them reaches the terminal as a control character.
    #[test]
    fn values_for_people() {
        let value = json!({
            "flights": 12, "delay": { "p50": -3.5, "p99": null }, "by_hour": [0, 1, 2], "legs": [
                { "from": "EWR", "to": "IAH" }, { "from": "IAH", "to": "EWR" }, []
            ], "note": "a\u{1b}[2J\nb", "empty": {},
        });
        insta::assert_snapshot!(render(&value).join("\n"), @r"
        flights: 12
        delay:
          p50: -3.5
          p99: null
        by_hour: [0, 1, 2]
        legs:
          - from: EWR
            to: IAH
          - from: IAH
            to: EWR
          - []
        note: a\u{1b}[2J\nb
        empty: {}
        ");
        assert_eq!(render(&json!("plain")), ["plain"]);
        assert_eq!(render(&Value::Null), ["null"]);
    }
}
