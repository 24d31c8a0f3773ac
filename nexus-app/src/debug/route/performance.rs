//! `GET /debug/performance`: what presses the node, and what is done about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use nexus_actors::clock::{Clock, Millis};
use nexus_actors::performance::{ActionOverview, MeasureStatus, PerformanceOverview, Readings};
use serde::Serialize;
use utoipa::ToSchema;

use super::tree::duration;
use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

pub(super) fn route() -> Route {
    Route::get("/debug/performance", Access::Token, &["/debug/performance"], get(performance))
}

/// How a measure stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MeasureView {
    /// `memory`, `cpu` or `imbalance`.
    #[schema(value_type = String)]
    measure: &'static str,
    /// Whether anything is done about it.
    enabled: bool,
    /// The last reading: a share of what there is; of imbalance, the difference between two runtimes' shares of time.
    reading: Option<f64>,
    /// Where pressure begins.
    high: f64,
    /// Where it ends.
    low: f64,
    /// Whether it is pressed.
    pressed: bool,
    /// For how long it has been, or has not been, in milliseconds.
    for_ms: u64,
}

/// Something that was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActionView {
    /// When, in milliseconds since 1970 (UTC).
    unix_ms: u64,
    /// How long ago, in milliseconds.
    ago_ms: u64,
    /// What it relieves, or relieved.
    #[schema(value_type = String)]
    measure: &'static str,
    /// `hibernate`, `shrink`, `lower_batch`, `restore_batch`, `shed`, `admit` or `move`.
    #[schema(value_type = String)]
    action: &'static str,
    /// The reading and the level it was judged by.
    reason: String,
    /// What came of it.
    outcome: String,
}

/// The performance monitor.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PerformanceView {
    /// Whether there is one.
    enabled: bool,
    /// The time between two looks in milliseconds.
    interval_ms: u64,
    /// Looks so far.
    looks: u64,
    /// Memory, CPU, imbalance: in the order in which they are relieved.
    measures: Vec<MeasureView>,
    /// Messages an agent handles in a turn now.
    batch: u32,
    /// The same without pressure.
    batch_configured: u32,
    /// For how long it has been so, in milliseconds; null if it never changed.
    batch_for_ms: Option<u64>,
    /// Requests of a priority below this are refused; 0: none is.
    shed_below: f64,
    /// For how long, in milliseconds; null if that never changed.
    shed_for_ms: Option<u64>,
    /// Requests refused for their priority so far.
    shed: u64,
    /// Groups of agents that were placed on another runtime so far.
    groups_moved: u64,
    /// Actions so far, by name.
    #[schema(value_type = Object)]
    counts: BTreeMap<&'static str, u64>,
    /// What was read at the last look: `memory`, `cpu`, `runtimes` with their busy part and lag, `inboxes`, `latency`; null before the
    /// first.
    #[schema(value_type = Object)]
    readings: Option<Readings>,
    /// The last actions, newest first.
    actions: Vec<ActionView>,
}

impl PerformanceView {
    fn new(overview: PerformanceOverview, clock: &Clock) -> Self {
        let now = clock.now();
        let ago = |at: Millis| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        let measure = |status: MeasureStatus| MeasureView {
            measure: status.measure.name(),
            enabled: status.enabled,
            reading: status.reading,
            high: status.high,
            low: status.low,
            pressed: status.pressed,
            for_ms: ago(status.since),
        };
        let action = |action: ActionOverview| ActionView {
            unix_ms: clock.unix_ms(action.at),
            ago_ms: ago(action.at),
            measure: action.measure.name(),
            action: action.action,
            reason: action.reason,
            outcome: action.outcome,
        };
        Self {
            enabled: overview.enabled,
            interval_ms: overview.interval_ms,
            looks: overview.looks,
            measures: overview.measures.into_iter().map(measure).collect(),
            batch: overview.batch,
            batch_configured: overview.batch_configured,
            batch_for_ms: overview.batch_since.map(ago),
            shed_below: f64::from(overview.shed_below_percent) / 100.0,
            shed_for_ms: overview.shed_since.map(ago),
            shed: overview.shed,
            groups_moved: overview.groups_moved,
            counts: overview.counts,
            readings: overview.readings,
            actions: overview.actions.into_iter().map(action).collect(),
        }
    }
}

/// The performance monitor: what it read, what is pressed and since when, what is active, and the last actions with their reasons.
#[utoipa::path(get, path = "/debug/performance", tag = "node", params(
    ("format" = Option<String>, Query, description = "`json` (default) or `text`"),
), responses(
    (status = 200, description = "The monitor; `enabled` is false where the topology or a single-threaded runtime has none", content(
        (PerformanceView = "application/json"), (String = "text/plain"))),
    (status = 400, description = "A bad parameter", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "The node was built without a monitor", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn performance(
    State(state): State<DebugState>,
    mut params: Params,
) -> Result<Response, Problem> {
    let as_text = params.word("format", &[("json", false), ("text", true)])?;
    params.finish()?;
    let Some(performance) = &state.sources().performance else {
        let detail = "the node was built without a performance monitor";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_performance_monitor", detail));
    };
    let view = PerformanceView::new(performance.overview(), state.node().clock());
    if as_text {
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text(&view)).into_response());
    }
    Ok(Json(view).into_response())
}

/// The view for people.
fn text(view: &PerformanceView) -> String {
    if !view.enabled {
        return "the performance monitor is off\n".to_owned();
    }
    let mut lines = vec![format!("a look every {}; {} so far", duration(view.interval_ms), view.looks)];
    lines.extend(view.measures.iter().map(measure_line));
    lines.push(batch_line(view));
    lines.push(shed_line(view));
    if view.groups_moved > 0 {
        lines.push(format!("placement   {} groups of agents moved so far", view.groups_moved));
    }
    if let Some(readings) = &view.readings {
        lines.push(String::new());
        lines.extend(reading_lines(readings));
    }
    lines.push(String::new());
    lines.push(if view.actions.is_empty() { "nothing was done so far" } else { "last actions" }.to_owned());
    for ActionView { ago_ms, measure, action, reason, outcome, .. } in &view.actions {
        lines.push(format!("{:>10} ago  {measure:<9}  {action:<13}  {reason}: {outcome}", duration(*ago_ms)));
    }
    lines.join("\n") + "\n"
}

fn measure_line(view: &MeasureView) -> String {
    let reading = view.reading.map_or_else(|| "-".to_owned(), |reading| format!("{reading:.3}"));
    let state = match (view.enabled, view.pressed) {
        (false, _) => "off".to_owned(),
        (true, true) => format!("PRESSED for {}", duration(view.for_ms)),
        (true, false) => format!("calm for {}", duration(view.for_ms)),
    };
    format!("{:<10}  {reading:>5}  pressed from {} to {}  {state}", view.measure, view.high, view.low)
}

fn since(for_ms: Option<u64>) -> String {
    for_ms.map(|ms| format!(", for {}", duration(ms))).unwrap_or_default()
}

fn batch_line(view: &PerformanceView) -> String {
    let PerformanceView { batch, batch_configured, .. } = view;
    format!("batch       {batch} of {batch_configured} messages{}", since(view.batch_for_ms))
}

fn shed_line(view: &PerformanceView) -> String {
    let now = if view.shed_below > 0.0 {
        format!("requests of a priority below {:.2} are refused", view.shed_below)
    } else {
        "no request is refused for its priority".to_owned()
    };
    format!("shedding    {now}{}; {} were so far", since(view.shed_for_ms), view.shed)
}

fn reading_lines(readings: &Readings) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(memory) = &readings.memory {
        let (used, limit) = (mib(memory.used_bytes), mib(memory.limit_bytes));
        let resident = mib(memory.resident_bytes);
        let by = serde_json::to_value(memory.limited_by).unwrap_or_default();
        let by = by.as_str().unwrap_or_default();
        lines.push(format!("memory      {used} of {limit} MiB (limit: {by}), {resident} MiB resident"));
    }
    if let Some(cpu) = &readings.cpu {
        let mut line = format!("cpu         {:.2} of {:.2} CPUs", cpu.used_cpus, cpu.limit_cpus);
        if let (Some(share), Some(throttled)) = (cpu.group_share, cpu.throttled) {
            // A string takes whatever is written.
            let _ = write!(
                line,
                "; control group at {share:.2} of its quota, throttled {throttled:.2} of the time"
            );
        }
        lines.push(line);
    }
    for runtime in &readings.runtimes {
        let (name, workers, busy) = (&runtime.name, runtime.workers, runtime.busy);
        let lag_ms = runtime.lag_us as f64 / 1000.0;
        lines.push(format!(
            "runtime     {name}: {workers} workers, {busy:.2} busy, {lag_ms:.1} ms late at most"
        ));
    }
    let inboxes = &readings.inboxes;
    let (queued, live, full) = (inboxes.queued, inboxes.live, inboxes.full);
    let mut line = format!("inboxes     {queued} messages for {live} agents awake, {full} full");
    if let Some(agent) = &inboxes.deepest_agent {
        let _ = write!(line, "; {} for {agent}", inboxes.deepest);
    }
    lines.push(line);
    if let Some(latency) = &readings.latency {
        let bound = |us: Option<f64>| us.map_or_else(|| "more than 1 s".to_owned(), |us| format!("{us} µs"));
        let (half, most) = (bound(latency.p50_us), bound(latency.p99_us));
        lines.push(format!(
            "handling    half within {half}, 99 in 100 within {most}, of {} timed",
            latency.timed
        ));
    }
    lines.push(format!("cost        {:.1} ms for the last look", readings.took_us as f64 / 1000.0));
    lines.extend(readings.notes.iter().map(|note| format!("note        {note}")));
    lines
}

const fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use nexus_actors::performance::{
        CpuReading, InboxReading, LatencyReading, LimitedBy, Measure, MemoryReading, RuntimeReading,
    };

    use super::*;

    fn overview() -> PerformanceOverview {
        let status = |measure, reading, pressed| MeasureStatus {
            measure,
            enabled: measure != Measure::Imbalance,
            high: 0.8,
            low: 0.6,
            reading,
            pressed,
            since: Millis::ZERO,
        };
        let readings = Readings {
            took_us: 15_570,
            memory: Some(MemoryReading {
                share: 0.5,
                used_bytes: 512 << 20,
                limit_bytes: 1 << 30,
                limited_by: LimitedBy::Group,
                resident_bytes: 500 << 20,
            }),
            cpu: Some(CpuReading {
                share: 0.95,
                used_cpus: 1.8,
                limit_cpus: 2.0,
                group_share: Some(0.95),
                throttled: Some(0.1),
            }),
            runtimes: vec![RuntimeReading {
                name: "numa0".to_owned(),
                agents: true,
                workers: 2,
                busy: 0.9,
                lag_us: 2500,
            }],
            inboxes: InboxReading {
                live: 1000,
                queued: 12,
                deepest: 7,
                deepest_agent: Some("kv/a".into()),
                ..InboxReading::default()
            },
            latency: Some(LatencyReading { timed: 40, p50_us: Some(2.0), p99_us: None }),
            notes: vec!["sys/fs/cgroup/memory.max: odd".to_owned()],
            ..Readings::default()
        };
        PerformanceOverview {
            enabled: true,
            interval_ms: 5000,
            looks: 3,
            readings: Some(readings),
            measures: vec![
                status(Measure::Memory, Some(0.5), false),
                status(Measure::Cpu, Some(0.95), true),
                status(Measure::Imbalance, None, false),
            ],
            batch: 16,
            batch_configured: 128,
            batch_since: Some(Millis::ZERO),
            shed_below_percent: 25,
            shed_since: None,
            shed: 4,
            groups_moved: 2,
            counts: BTreeMap::new(),
            actions: vec![ActionOverview {
                at: Millis::ZERO,
                measure: Measure::Cpu,
                action: "shed",
                reason: "0.950 is at or above 0.8".to_owned(),
                outcome: "requests of a priority below 0.25 are refused".to_owned(),
            }],
        }
    }

    /// Goal: the text says what the JSON says: readings, what is pressed since when, what is active, what was done and why.
    #[tokio::test(start_paused = true)]
    async fn the_monitor_as_text() {
        let clock = Clock::start_at(0);
        tokio::time::advance(std::time::Duration::from_secs(75)).await;
        insta::assert_snapshot!(text(&PerformanceView::new(overview(), &clock)));
        let off = PerformanceOverview { enabled: false, ..overview() };
        assert_eq!(text(&PerformanceView::new(off, &clock)), "the performance monitor is off\n");
    }
}
