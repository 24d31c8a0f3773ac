//! Distributed traces: a context that travels with requests, and spans around handling them.
//!
//! Spans go to OpenTelemetry's global tracer. Until an exporter is installed that is a no-op, and a request without a
//! context costs nothing at all.

use std::future::Future;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue, global};
use serde::{Deserialize, Serialize};

use crate::agent::Request;

/// Name of the tracer all Nexus spans come from.
const TRACER: &str = "nexus";

tokio::task_local! {
    /// The context of the request this task is handling.
    static CURRENT: TraceContext;
}

/// A W3C trace context: which trace a request belongs to and which span caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// 128-bit trace id, never 0.
    pub trace_id: u128,
    /// 64-bit id of the span that caused the request, never 0.
    pub span_id: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent` header (W3C Trace Context, §3.2). `None` if it is not one.
    #[must_use]
    pub fn from_traceparent(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lengths = (version.len(), trace.len(), span.len(), flags.len());
        if lengths != (2, 32, 16, 2) || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let hex =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
        if ![version, trace, span, flags].into_iter().all(hex) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    /// The context of the request the current task is handling, if that request is traced.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|context| *context).ok()
    }

    fn of_span(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self {
            trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(context.span_id().to_bytes()),
            sampled: context.is_sampled(),
        })
    }

    fn as_parent(self) -> Context {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from(self.trace_id),
            SpanId::from(self.span_id),
            flags,
            true,
            TraceState::default(),
        ))
    }
}

/// Starts a trace for a request that enters the node from outside: `name` is what the outside sees, `parent` what it sent.
/// Runs `work` with the new context as the current one; requests sent within carry it on.
pub async fn in_root_span<T>(
    name: &'static str,
    parent: Option<TraceContext>,
    work: impl Future<Output = T>,
) -> T {
    let tracer = global::tracer(TRACER);
    let builder = tracer.span_builder(name).with_kind(SpanKind::Server);
    let parent = parent.map_or_else(Context::new, TraceContext::as_parent);
    let mut span = tracer.build_with_context(builder, &parent);
    let result = match TraceContext::of_span(span.span_context()) {
        Some(context) => CURRENT.scope(context, work).await,
        None => work.await,
    };
    span.end();
    result
}

/// Runs `handling` of `request` by `agent` in a span that is a child of the request's context.
pub(crate) async fn in_span<T, E>(
    agent: &str,
    request: &Request,
    handling: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Some(parent) = request.trace() else { return handling.await };
    let tracer = global::tracer(TRACER);
    let builder = tracer.span_builder("agent.request").with_kind(SpanKind::Consumer).with_attributes([
        KeyValue::new("nexus.agent", agent.to_owned()),
        KeyValue::new("nexus.operation", request.operation.name()),
        KeyValue::new("nexus.key", request.key.to_string()),
    ]);
    let mut span = tracer.build_with_context(builder, &parent.as_parent());
    // Without an exporter the span is a no-op; the caller's context still travels on.
    let context = TraceContext::of_span(span.span_context()).unwrap_or(parent);
    let result = CURRENT.scope(context, handling).await;
    if result.is_err() {
        span.set_status(Status::error("the agent failed"));
    }
    span.end();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the W3C examples are read, everything malformed is refused.
    #[test]
    fn traceparent_is_read_strictly() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::from_traceparent(valid).expect("the W3C example");
        assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((context.span_id, context.sampled), (0x00f0_67aa_0ba9_02b7, true));
        for malformed in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(TraceContext::from_traceparent(malformed), None, "{malformed}");
        }
    }
}
