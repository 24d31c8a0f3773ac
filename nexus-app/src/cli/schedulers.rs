//! `nexus schedulers`.

use clap::Args;
use serde_json::Value;

use super::connection::Connection;
use super::exit::Exit;
use super::output::{Column, Table, Tone, clean, count, number, text};
use super::{Context, Outcome};

/// Show the runtimes that agents live on: threads, CPUs, load
///
/// The first line of each runtime is the runtime, those below are its workers with the CPUs that the kernel lets them use.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  nexus schedulers\n  nexus schedulers -o json")]
pub(crate) struct SchedulersArgs {
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &SchedulersArgs, context: &mut Context<'_>) -> Outcome {
    let answer = args.connection.client(context.environment)?.get("/debug/schedulers", &[])?;
    if context.out.is_json() {
        context.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    context.out.table(&table(&answer))?;
    let summary = context.out.tone(Tone::Dim, &summary(&answer));
    context.out.line(&summary)?;
    let unpinned = text(&answer, "unpinned");
    if !unpinned.is_empty() {
        let line = context.out.tone(Tone::Warn, &format!("threads are not pinned: {unpinned}"));
        context.out.line(&line)?;
    }
    Ok(Exit::Ok)
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn table(answer: &Value) -> Table {
    let mut table = Table::new([
        Column::left("RUNTIME"),
        Column::right("NODE"),
        Column::left("THREAD"),
        Column::left("CPUS"),
        Column::right("BUSY"),
        Column::right("PARKS"),
        Column::right("QUEUED"),
        Column::right("TASKS"),
        Column::right("AGENTS"),
    ]);
    for runtime in list(answer, "runtimes") {
        let workers = list(runtime, "workers");
        table.row([
            text(runtime, "name").into(),
            text(runtime, "node").into(),
            text(runtime, "thread_name").into(),
            text(runtime, "cpus").into(),
            percent(runtime).into(),
            count(workers.iter().map(|worker| number(worker, "parks")).sum()).into(),
            count(number(runtime, "queued")).into(),
            count(number(runtime, "tasks")).into(),
            count(number(runtime, "agents")).into(),
        ]);
        for (at, worker) in workers.iter().enumerate() {
            table.row([
                format!("  worker {at}").into(),
                String::new().into(),
                text(worker, "thread").into(),
                text(worker, "cpus").into(),
                percent(worker).into(),
                count(number(worker, "parks")).into(),
                String::new().into(),
                String::new().into(),
                String::new().into(),
            ]);
        }
    }
    table
}

fn percent(value: &Value) -> String {
    format!("{:.0}%", value["busy"].as_f64().unwrap_or(0.0) * 100.0)
}

/// Policy, reserve and where the layout is less than it could be, in one line.
fn summary(answer: &Value) -> String {
    let mut parts = vec![format!("policy {}", text(answer, "policy"))];
    let reserved = text(answer, "reserved");
    if !reserved.is_empty() {
        parts.push(format!("reserved for the system: {reserved}"));
    }
    parts.extend(list(answer, "notes").iter().filter_map(Value::as_str).map(clean));
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: runtimes with their workers below them; what is not known is left empty.
    #[test]
    fn runtimes_as_a_table() {
        let answer = json!({
            "policy": "numa", "pin": true, "unpinned": null, "reserved": "0", "window_ms": 1000,
            "notes": ["one NUMA node: one runtime for all agents"],
            "runtimes": [
                {
                    "name": "system", "thread_name": null, "node": null, "cpus": null, "busy": 0.004, "queued": 0,
                    "tasks": 12, "agents": 0, "workers": [{ "thread": null, "cpus": null, "busy": 0.004, "parks": 90 }],
                },
                {
                    "name": "numa0", "thread_name": "nexus-numa0", "node": 0, "cpus": "1-2", "busy": 0.75, "queued": 3,
                    "tasks": 5000, "agents": 1_000_000, "workers": [
                        { "thread": 4711, "cpus": "1-2", "busy": 0.5, "parks": 1000 },
                        { "thread": 4712, "cpus": "1-2", "busy": 1.0, "parks": 2 },
                    ],
                },
            ],
        });
        let lines = table(&answer).lines(None, &|_, text| text.to_owned()).join("\n");
        insta::assert_snapshot!(format!("{lines}\n{}", summary(&answer)));
    }
}
