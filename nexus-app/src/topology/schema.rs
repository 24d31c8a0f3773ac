//! The JSON Schema of topology files, for editors and for the reader itself.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Topology;

/// The JSON Schema (draft 2020-12) of a topology file. Editors complete and check with it; the reader takes keys, types and
/// ranges from it, so the two never disagree.
#[must_use]
pub fn schema() -> Value {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Topology>();
    serde_json::to_value(schema).expect("a schema is JSON")
}
#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: editors get a schema of the right dialect that knows every table. Method: its head, and a look at the rest.
    #[test]
    fn schema_describes_every_table() {
        let schema = schema();
        let head = serde_json::json!({
            "$schema": schema["$schema"],
            "title": schema["title"],
            "description": schema["description"],
            "properties": schema["properties"],
            "AgentConfig": schema["$defs"]["AgentConfig"],
        });
        insta::assert_snapshot!("schema_head", serde_json::to_string_pretty(&head).expect("JSON"));
        let definitions = schema["$defs"].as_object().expect("definitions");
        for (name, definition) in definitions {
            assert!(definition["description"].is_string(), "{name} has no description");
            for (key, property) in definition["properties"].as_object().into_iter().flatten() {
                assert!(property["description"].is_string(), "{name}.{key} has no description");
            }
        }
    }
}
