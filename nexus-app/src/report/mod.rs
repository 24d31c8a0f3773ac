//! Reports: tables over many agents, made by asking each of them.

mod config;

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

pub use config::ReportConfig;
use futures::StreamExt as _;
use nexus_actors::Node;
use nexus_actors::agent::Request;
use nexus_cluster::census::{Census, Unheard};
use serde::Serialize;
use serde_json::Value;

/// Agents asked at the same time.
const ASKED_AT_ONCE: usize = 64;
/// Agents asked at most, so that a report over a huge family stays a report.
const AGENTS_MAX: usize = 100_000;
/// How long one agent may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A finished report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Its title.
    pub title: String,
    /// Headings, in order.
    pub columns: Vec<String>,
    /// A row for each agent that answered; `null` where its answer lacks the field.
    pub rows: Vec<Vec<Value>>,
    /// Agents that did not answer, with the reason.
    pub silent: Vec<(Arc<str>, String)>,
}

/// Asks every agent of the report, those of the cluster's other nodes too, and puts the answers in order. Those that sleep are woken by
/// the question.
///
/// # Errors
/// A node of the cluster does not answer, so that it is not known whom to ask.
pub async fn make(node: &Node, census: Option<&Census>, config: &ReportConfig) -> Result<Report, Unheard> {
    let names = match census {
        None => node.names(&config.agents, "", AGENTS_MAX),
        Some(census) => census.names(&config.agents, AGENTS_MAX).await?,
    };
    let answers = futures::stream::iter(names)
        .map(|name| async move {
            let reply = node.ask(&name, Request::query(config.query.as_str()), TIMEOUT).await;
            (name, reply.and_then(|payload| payload.to_json()))
        })
        // In the order of the names, whoever answers first.
        .buffered(ASKED_AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let (mut rows, mut silent) = (Vec::new(), Vec::new());
    for (name, answer) in answers {
        match answer {
            Ok(answer) => rows.push(config.columns.values().map(|field| lookup(&answer, field)).collect()),
            Err(error) => silent.push((name, error.to_string())),
        }
    }
    let columns: Vec<String> = config.columns.keys().cloned().collect();
    if let Some(by) = config.sort.as_ref().and_then(|sort| columns.iter().position(|column| column == sort)) {
        sort_by(&mut rows, by);
    }
    rows.truncate(config.limit.unwrap_or(usize::MAX));
    Ok(Report { title: config.title.clone(), columns, rows, silent })
}

fn lookup(answer: &Value, field: &str) -> Value {
    field.split('.').try_fold(answer, |value, part| value.get(part)).cloned().unwrap_or(Value::Null)
}

/// Greatest first, equals in the order they have; what has no value comes last.
fn sort_by(rows: &mut [Vec<Value>], by: usize) {
    rows.sort_by(|a: &Vec<Value>, b: &Vec<Value>| match (&a[by], &b[by]) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        (a, b) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            _ => b.to_string().cmp(&a.to_string()),
        },
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: fields are found at any depth, and what is missing is null rather than an error.
    #[test]
    fn fields_are_looked_up_by_path() {
        let answer = json!({ "carrier": "UA", "dep_delay": { "p90": 44, "mean": null } });
        assert_eq!(lookup(&answer, "carrier"), json!("UA"));
        assert_eq!(lookup(&answer, "dep_delay.p90"), json!(44));
        for missing in ["dep_delay.mean", "dep_delay.p99", "carrier.p90", "", "x.y.z"] {
            assert_eq!(lookup(&answer, missing), Value::Null, "{missing}");
        }
    }

    /// Goal: greatest first, missing last, ties in their old order.
    #[test]
    fn rows_are_sorted() {
        let mut rows = vec![
            vec![json!("a"), json!(1)],
            vec![json!("b"), Value::Null],
            vec![json!("c"), json!(10.5)],
            vec![json!("d"), json!(1)],
        ];
        sort_by(&mut rows, 1);
        let names: Vec<_> = rows.iter().map(|row| row[0].as_str().unwrap()).collect();
        assert_eq!(names, ["c", "a", "d", "b"]);
    }
}
