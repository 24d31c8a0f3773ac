//! Queries over a summary: the whole, or one part by its path.

use nexus_actors::prelude::*;
use serde::Serialize;
use serde_json::Value;

/// Answers `key` from `summary`: `summary` is the whole, `departed` a field, `dep_delay.p90` a field's field. A field named in
/// `open` has entries that come and go, so one that is not there has no value; any other unknown key is a mistake.
///
/// # Errors
/// [`AgentError::NotFound`] for a part that has no value yet, [`AgentError::Unsupported`] with the known keys.
pub(super) fn query<S: Serialize>(summary: &S, key: &str, open: &[&str]) -> Reply {
    if key == "summary" {
        return Payload::encode(summary);
    }
    let whole = to_value(summary)?;
    let mut part = &whole;
    for (depth, name) in key.split('.').enumerate() {
        let inside_open = depth > 0 && key.split('.').next().is_some_and(|field| open.contains(&field));
        part = match part.get(name) {
            Some(found) => found,
            None if inside_open || part.is_null() => return Err(not_found(key)),
            None => return Err(unknown(&whole, key)),
        };
    }
    if part.is_null() { Err(not_found(key)) } else { Payload::encode(part) }
}

/// `value` as JSON.
///
/// # Errors
/// [`AgentError::Failed`] if it has no JSON form, such as a map whose keys are no texts.
pub(super) fn to_value<S: Serialize>(value: &S) -> Result<Value, AgentError> {
    serde_json::to_value(value)
        .map_err(|error| AgentError::Failed { reason: format!("cannot show: {error}") })
}

fn not_found(key: &str) -> AgentError {
    AgentError::NotFound { key: key.to_owned() }
}

fn unknown(whole: &Value, key: &str) -> AgentError {
    let fields = whole.as_object().into_iter().flatten();
    let known: Vec<_> = std::iter::once("summary").chain(fields.map(|(field, _)| field.as_str())).collect();
    AgentError::Unsupported { what: format!("query of `{key}`; known are {}", known.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: paths reach fields; no value, an absent entry and an unknown key are told apart.
    #[test]
    fn paths() {
        let summary = json!({
            "flights": 3, "worst": null, "delay": { "mean": null, "p50": 4 }, "origins": { "EWR": { "arrivals": 1 } },
        });
        let ask = |key| query(&summary, key, &["origins"]).and_then(|found| found.to_json());
        assert_eq!(ask("summary"), Ok(summary.clone()));
        assert_eq!(ask("flights"), Ok(json!(3)));
        assert_eq!(ask("delay.p50"), Ok(json!(4)));
        assert_eq!(ask("origins.EWR.arrivals"), Ok(json!(1)));
        for key in ["worst", "worst.hour", "delay.mean", "origins.LGA", "origins.LGA.arrivals"] {
            assert_eq!(ask(key), Err(not_found(key)));
        }
        for key in ["", "flight", "delay.p51", "flights.x", "delay.p50.x", "."] {
            let error = ask(key).unwrap_err().to_string();
            let expected = "known are summary, flights, worst, delay, origins";
            assert!(error.contains(expected) && error.contains(&format!("`{key}`")), "{error}");
        }
    }
}
