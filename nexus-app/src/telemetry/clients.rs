//! The clients' endpoint as metrics. No labels per client: fifty thousand of them would be fifty thousand time series.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::clients::{Clients, ClientsTotals};

/// A counter: name, description, how to read it.
type Counter = (&'static str, &'static str, fn(&ClientsTotals) -> u64);

const COUNTERS: [Counter; 5] = [
    ("nexus.clients.accepted", "Clients that were let in", |totals| totals.accepted),
    ("nexus.clients.messages.received", "Messages that clients sent", |totals| totals.received),
    ("nexus.clients.messages.sent", "Messages written to clients", |totals| totals.sent),
    ("nexus.clients.rate_limited", "Messages refused because a client sent too many", |totals| {
        totals.rate_limited
    }),
    ("nexus.clients.missed", "Publications that clients were too slow for", |totals| totals.missed),
];

/// A counter by reason: name, description, how to read it.
type Reasons = (&'static str, &'static str, fn(ClientsTotals) -> Vec<(&'static str, u64)>);

const BY_REASON: [Reasons; 2] = [
    ("nexus.clients.refused", "Connections refused before they were clients, by reason", |totals| {
        totals.refused
    }),
    ("nexus.clients.closed", "Clients that have gone, by reason: `slow` ones were cut off", |totals| {
        totals.closed
    }),
];

/// Exports the counters from now on.
pub(super) fn observe(meter: &Meter, clients: &Clients) {
    let this = clients.clone();
    meter
        .u64_observable_gauge("nexus.clients.connections")
        .with_description("Clients connected now")
        .with_callback(move |observer| observer.observe(this.totals().connections, &[]))
        .build();
    for (name, description, read) in COUNTERS {
        let this = clients.clone();
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| observer.observe(read(&this.totals()), &[]))
            .build();
    }
    for (name, description, read) in BY_REASON {
        let this = clients.clone();
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| {
                for (reason, count) in read(this.totals()) {
                    observer.observe(count, &[KeyValue::new("reason", reason)]);
                }
            })
            .build();
    }
}
