//! `GET /debug/events`: what happens on the node, live as server-sent events or a page as JSON.
//!
//! A stream holds at most one page of events. A client that reads too slowly is told how many it missed, with an event called
//! `missed`, once they are no longer kept.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json};
use futures::Stream;
use nexus_actors::telemetry::{ClusterEvent, Event, EventRecord, Events};
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;
use crate::debug::state::DebugState;

/// Time between comments that show a quiet stream is alive; a client that takes none of them is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client waits before it comes back, unless it knows better.
const RETRY: Duration = Duration::from_secs(2);
/// Events taken from the log at a time.
const PAGE: usize = 512;
/// Events on a JSON page unless the client asks for another number.
const LIMIT_DEFAULT: usize = 100;

pub(super) fn route() -> Route {
    Route::get("/debug/events", Access::Token, &["/debug/events"], get(events))
}

/// An event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    /// 1 for the node's first event, without gaps.
    seq: u64,
    /// When, in milliseconds since the node started.
    at_ms: u64,
    /// When, in milliseconds since 1970 (UTC).
    unix_ms: u64,
    /// Its name in `event`, and the event's own members.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    event: Event,
}

impl EventView {
    fn new(record: &EventRecord) -> Self {
        let at_ms = record.at.get();
        Self { seq: record.seq, at_ms, unix_ms: record.unix_ms, event: record.event.clone() }
    }
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventsPage {
    /// The place of the node's newest event.
    newest: u64,
    /// Events after `since` that are no longer kept.
    missed: u64,
    /// Give this as `since` to go on.
    next_since: u64,
    /// Oldest first.
    events: Vec<EventView>,
}

/// What happens on the node: starts, exits and restarts with their reasons, dead letters, feeds.
///
/// A stream begins with what happens next, or after `since` or `Last-Event-ID`. A place the node has not reached yet is one of
/// an earlier run: then all that is kept comes first.
#[utoipa::path(get, path = "/debug/events", tag = "tree", params(
    ("since" = Option<u64>, Query, description = "The place in the order after which to begin; 0: all that are kept"),
    ("Last-Event-ID" = Option<u64>, Header, description = "As `since`, which it overrides; browsers send it when they come back"),
    ("event" = Option<String>, Query, description = "How the event's name begins: `agent.`, `supervision.child_restarted`"),
    ("agent" = Option<String>, Query, description = "The agent, child, feed or target it is about"),
    ("follow" = Option<bool>, Query, description = "Whether the stream goes on after what is kept; default true"),
    ("format" = Option<String>, Query, description = "`sse` (default) or `json`"),
    ("limit" = Option<u64>, Query, description = "`json`: events to show, at most `debug.page_size_max`; default 100"),
), responses(
    (status = 200, description = "A stream of events, each with its place as `id`; or a page", content(
        (EventView = "text/event-stream"), (EventsPage = "application/json"))),
    (status = 400, description = "A bad parameter", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Too many streams", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn events(
    State(state): State<DebugState>,
    Extension(shutdown): Extension<CancellationToken>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let since = params.number("since", 0..=u64::MAX)?;
    let filter = Filter { event: params.text("event"), subject: params.text("agent") };
    let follow = params.word("follow", &[("true", true), ("false", false)])?;
    let as_json = params.word("format", &[("sse", false), ("json", true)])?;
    let page = params.page(LIMIT_DEFAULT, state.config().page_size_max as usize)?;
    params.finish()?;
    let events = state.node().events();
    if as_json {
        return Ok(Json(kept(events, since.unwrap_or(0), &filter, page.limit)).into_response());
    }
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse::<u64>().ok());
    let begin = match resumed.or(since) {
        None => events.emitted(),
        // A place of an earlier run of the node, whose order began anew.
        Some(place) if place > events.emitted() => 0,
        Some(place) => place,
    };
    let Ok(permit) = state.streams().clone().try_acquire_owned() else {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_streams",
            "too many event streams are open",
        )
        .remedy(
            "close others, use `format=json`, or raise `debug.max_connections`: half of them may be streams",
        )
        .header(axum::http::header::RETRY_AFTER, "5"));
    };
    let live = Live {
        events: events.clone(),
        receiver: events.listen(),
        filter,
        last: begin,
        queue: VecDeque::new(),
        catching_up: true,
        follow,
        shutdown,
        _permit: permit,
    };
    let stream = live.into_stream();
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn kept(events: &Events, since: u64, filter: &Filter, limit: usize) -> EventsPage {
    let mut found = Vec::new();
    let (mut last, mut missed) = (since, 0);
    loop {
        let (page, newest) = events.page(last, PAGE);
        for record in &page {
            missed += record.seq - last - 1;
            last = record.seq;
            if filter.matches(&record.event) {
                found.push(EventView::new(record));
            }
            if found.len() == limit {
                return EventsPage { newest, missed, next_since: last, events: found };
            }
        }
        if page.is_empty() {
            return EventsPage { newest, missed, next_since: last, events: found };
        }
    }
}

#[derive(Debug)]
struct Filter {
    /// A prefix of the event's name.
    event: Option<String>,
    subject: Option<String>,
}

impl Filter {
    fn matches(&self, event: &Event) -> bool {
        self.event.as_ref().is_none_or(|prefix| event.name().starts_with(prefix.as_str()))
            && self.subject.as_ref().is_none_or(|wanted| subject(event) == wanted)
    }
}

/// Whom an event is about.
fn subject(event: &Event) -> &str {
    match event {
        Event::AgentStarted { agent, .. }
        | Event::AgentStopped { agent, .. }
        | Event::AgentHibernated { agent, .. }
        | Event::AgentNotHibernated { agent, .. }
        | Event::AgentWakeFailed { agent, .. }
        | Event::AgentMoved { agent, .. }
        | Event::AgentMerged { agent, .. }
        | Event::AgentDuplicate { agent, .. }
        | Event::AgentIntelligenceAdapted { agent, .. }
        | Event::RequestRefused { agent, .. } => agent,
        Event::ChildStarted { child, .. }
        | Event::ChildExited { child, .. }
        | Event::ChildRestarted { child, .. }
        | Event::ChildTerminated { child, .. }
        | Event::StartFailed { child, .. }
        | Event::RestartDelayed { child, .. }
        | Event::ChildUnresponsive { child, .. } => child,
        Event::Escalated { supervisor, .. } => supervisor,
        Event::DeadLetter { target, .. } => target,
        Event::FeedStarted { feed, .. }
        | Event::FeedCompleted { feed, .. }
        | Event::FeedFailed { feed, .. } => feed,
        Event::SnapshotDamaged { agent, .. } | Event::SnapshotFailed { agent, .. } => agent,
        Event::StoreDegraded { store, .. } | Event::StoreRecovered { store, .. } => store,
        Event::PressureChanged { measure, .. } | Event::Acted { measure, .. } => measure,
        Event::ClientCutOff { peer, .. } => peer,
        Event::Cluster(event) => match event {
            ClusterEvent::MemberUp { node, .. }
            | ClusterEvent::MemberChanged { node, .. }
            | ClusterEvent::MemberSuspect { node }
            | ClusterEvent::MemberDown { node, .. }
            | ClusterEvent::MemberLeft { node } => node,
            ClusterEvent::DuplicateResolved { agent, .. } => agent,
            ClusterEvent::HandshakeRefused { peer, .. } => peer,
            ClusterEvent::Rejoined { .. }
            | ClusterEvent::PartitionChanged { .. }
            | ClusterEvent::StandingChanged { .. } => "cluster",
        },
    }
}

/// A stream's place in the order of events.
struct Live {
    events: Events,
    receiver: broadcast::Receiver<Arc<EventRecord>>,
    filter: Filter,
    /// The last event dealt with, sent or not.
    last: u64,
    queue: VecDeque<Arc<EventRecord>>,
    /// Whether the log has events the receiver will not bring.
    catching_up: bool,
    /// Whether the stream goes on after what is kept.
    follow: bool,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Live {
    fn into_stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        futures::stream::unfold(self, |mut live| async move {
            let event = live.next().await?;
            Some((Ok(event), live))
        })
    }

    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            while let Some(record) = self.queue.pop_front() {
                if record.seq > self.last + 1 {
                    let missed = missed(self.last + 1, record.seq - 1);
                    self.last = record.seq - 1;
                    self.queue.push_front(record);
                    return Some(missed);
                }
                if record.seq <= self.last {
                    continue;
                }
                self.last = record.seq;
                if self.filter.matches(&record.event) {
                    return Some(told(&record));
                }
            }
            self.fill().await?;
        }
    }

    /// Gets more events into the queue; `None` at the end.
    async fn fill(&mut self) -> Option<()> {
        if self.catching_up {
            // A filter may refuse page after page.
            tokio::task::yield_now().await;
            self.queue.extend(self.events.page(self.last, PAGE).0);
            self.catching_up = !self.queue.is_empty();
            let ended = self.shutdown.is_cancelled() || !(self.catching_up || self.follow);
            return (!ended).then_some(());
        }
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            received = self.receiver.recv() => match received {
                Ok(record) => {
                    self.queue.push_back(record);
                    Some(())
                }
                Err(RecvError::Lagged(_)) => {
                    self.catching_up = true;
                    Some(())
                }
                Err(RecvError::Closed) => None,
            },
        }
    }
}

fn told(record: &EventRecord) -> sse::Event {
    let data = serde_json::to_string(&EventView::new(record)).expect("events are maps of text and numbers");
    sse::Event::default().id(record.seq.to_string()).event(record.event.name()).retry(RETRY).data(data)
}

fn missed(from: u64, to: u64) -> sse::Event {
    let data = json!({ "from": from, "to": to, "count": to - from + 1 }).to_string();
    sse::Event::default().id(to.to_string()).event("missed").data(data)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use nexus_actors::clock::Clock;

    use super::*;

    fn started(agent: &str) -> Event {
        Event::AgentStarted { agent: agent.into(), behavior: "kv".into(), incarnation: 1 }
    }

    fn live(events: &Events, since: u64) -> Live {
        let permit = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
        Live {
            events: events.clone(),
            receiver: events.listen(),
            filter: Filter { event: None, subject: Some("wanted".into()) },
            last: since,
            queue: VecDeque::new(),
            catching_up: true,
            follow: true,
            shutdown: CancellationToken::new(),
            _permit: permit,
        }
    }

    /// Goal: a stream that falls behind holds little, says what it missed, and goes on in order; shutdown ends it. Method: more
    /// events than the log keeps between two reads.
    #[tokio::test]
    async fn a_slow_stream_is_told_what_it_missed() {
        let events = Events::new(Clock::start_at(0), 16);
        events.emit(started("wanted"));
        let mut live = live(&events, 0);
        assert!(live.next().await.is_some());
        assert_eq!(live.last, 1);
        for _ in 0..1000 {
            events.emit(started("other"));
        }
        events.emit(started("wanted"));
        let missed = format!("{:?}", live.next().await.unwrap());
        assert!(missed.contains("missed") && missed.contains("\\\"from\\\":2"), "{missed}");
        assert!(live.queue.len() <= PAGE);
        let next = format!("{:?}", live.next().await.unwrap());
        assert!(next.contains("wanted"), "{next}");
        assert_eq!(live.last, 1002);
        let shutdown = live.shutdown.clone();
        let mut stream = std::pin::pin!(live.into_stream());
        shutdown.cancel();
        assert!(stream.next().await.is_none());
    }

    /// Goal: pages go on where they ended and count what is gone.
    #[tokio::test]
    async fn pages_continue() {
        let events = Events::new(Clock::start_at(0), 4);
        for name in ["a", "b", "a", "b", "a", "b"] {
            events.emit(started(name));
        }
        let filter = Filter { event: Some("agent.".into()), subject: Some("a".into()) };
        let page = kept(&events, 0, &filter, 1);
        assert_eq!((page.newest, page.missed, page.next_since, page.events.len()), (6, 2, 3, 1));
        let page = kept(&events, page.next_since, &filter, 9);
        assert_eq!((page.missed, page.next_since, page.events.len()), (0, 6, 1));
    }
}
