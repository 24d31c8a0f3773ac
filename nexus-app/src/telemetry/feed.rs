//! The feeds' counters as metrics, by feed.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::feed::{FeedSlot, FeedStatus};

/// A counter of a feed: name, unit, description, how to read it.
type Counter = (&'static str, &'static str, &'static str, fn(&FeedStatus) -> u64);

const COUNTERS: [Counter; 9] = [
    ("nexus.feed.records", "", "Records read, malformed ones included", |feed| feed.records),
    ("nexus.feed.requests.confirmed", "", "Requests delivered to agents or the dead letters", |feed| {
        feed.confirmed
    }),
    (
        "nexus.feed.requests.kept",
        "",
        "Requests whose effect is in the store; 0 where a feed's place is not kept",
        |feed| feed.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position),
    ),
    ("nexus.feed.requests.dead_lettered", "", "Requests delivered to the dead letters", |feed| {
        feed.dead_lettered
    }),
    ("nexus.feed.records.malformed", "", "Malformed records", |feed| feed.malformed),
    ("nexus.feed.requests.late", "", "Requests that came too late to be put in order", |feed| feed.late),
    ("nexus.feed.requests.hurried", "", "Requests delivered before their turn for want of memory", |feed| {
        feed.hurried
    }),
    ("nexus.feed.replays", "", "How often it went back because part of it was lost in the cluster", |feed| {
        feed.replays
    }),
    ("nexus.feed.read", "By", "Bytes of the source read, as it is packed", |feed| feed.bytes_read),
];

pub(super) fn observe(meter: &Meter, feeds: Vec<Arc<FeedSlot>>) {
    for (name, unit, description, read) in COUNTERS {
        let feeds = feeds.clone();
        meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                for feed in &feeds {
                    let status = feed.status();
                    // What another node says of it, that one counts.
                    let count = if status.node.is_none() { read(&status) } else { 0 };
                    observer.observe(count, &[KeyValue::new("feed", feed.name().clone())]);
                }
            })
            .build();
    }
    meter
        .u64_observable_gauge("nexus.feed.state")
        .with_description("Always 1; the label says where the feed stands")
        .with_callback(move |observer| {
            for feed in &feeds {
                let state = serde_json::to_value(feed.status().state).unwrap_or_default();
                let state = state.as_str().unwrap_or_default().to_owned();
                let labels = [KeyValue::new("feed", feed.name().clone()), KeyValue::new("state", state)];
                observer.observe(1, &labels);
            }
        })
        .build();
}
