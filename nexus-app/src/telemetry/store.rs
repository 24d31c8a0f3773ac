//! The store's counters as metrics.

use nexus_actors::store::{Store, StoreState, StoreStatus};
use opentelemetry::metrics::Meter;

/// An instrument: name, unit, description, how to read it.
type Instrument = (&'static str, &'static str, &'static str, fn(&StoreStatus) -> u64);

const COUNTERS: [Instrument; 3] = [
    ("nexus.store.commits", "", "Commits", |store| store.commits),
    ("nexus.store.commits.failed", "", "Commits that failed", |store| store.failures),
    ("nexus.store.snapshots", "", "Snapshots of agents committed", |store| store.snapshots),
];

const GAUGES: [Instrument; 4] = [
    ("nexus.store.file", "By", "Length of the store's file", |store| store.file_bytes),
    ("nexus.store.waiting", "By", "Bytes that wait to be written", |store| store.waiting_bytes),
    ("nexus.store.records.damaged", "", "Damaged records that were put aside, now and earlier", |store| {
        store.damaged
    }),
    ("nexus.store.degraded", "", "1 while the store does not write, else 0", |store| {
        u64::from(store.state != StoreState::Ok)
    }),
];

/// Exports the counters from now on.
pub(super) fn observe(meter: &Meter, store: &Store) {
    for (name, unit, description, read) in COUNTERS {
        let store = store.clone();
        meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| observer.observe(read(&store.status()), &[]))
            .build();
    }
    for (name, unit, description, read) in GAUGES {
        let store = store.clone();
        meter
            .u64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| observer.observe(read(&store.status()), &[]))
            .build();
    }
}
