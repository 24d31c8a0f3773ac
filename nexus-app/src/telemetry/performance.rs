//! The performance monitor as metrics.

use nexus_actors::performance::{Performance, PerformanceOverview};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

/// A gauge: name, unit, description, how to read it.
type Gauge = (&'static str, &'static str, &'static str, fn(&PerformanceOverview) -> Option<f64>);

const GAUGES: [Gauge; 4] = [
    ("nexus.performance.batch", "{message}", "Messages an agent handles in a turn now", |overview| {
        Some(f64::from(overview.batch))
    }),
    ("nexus.performance.shed_below", "1", "Requests of a priority below this are refused", |overview| {
        Some(f64::from(overview.shed_below_percent) / 100.0)
    }),
    ("nexus.performance.look.duration", "s", "How long the monitor's last look took", |overview| {
        overview.readings.as_ref().map(|readings| readings.took_us as f64 / 1e6)
    }),
    ("nexus.performance.lag", "s", "How late a timer fired at most, over all runtimes", |overview| {
        let runtimes = &overview.readings.as_ref()?.runtimes;
        runtimes.iter().map(|runtime| runtime.lag_us as f64 / 1e6).reduce(f64::max)
    }),
];

/// Exports what the monitor sees and does from now on.
pub(super) fn observe(meter: &Meter, performance: &Performance) {
    for (name, unit, description, read) in GAUGES {
        let this = performance.clone();
        meter
            .f64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                if let Some(value) = read(&this.overview()) {
                    observer.observe(value, &[]);
                }
            })
            .build();
    }
    observe_measures(meter, performance);
    let this = performance.clone();
    meter
        .u64_observable_counter("nexus.performance.actions")
        .with_description("What the performance monitor did, by action")
        .with_callback(move |observer| {
            for (action, count) in this.overview().counts {
                observer.observe(count, &[KeyValue::new("action", action)]);
            }
        })
        .build();
    let this = performance.clone();
    meter
        .u64_observable_counter("nexus.messages.shed")
        .with_description("Messages among the rejected ones that were refused for their priority")
        .with_callback(move |observer| observer.observe(this.overview().shed, &[]))
        .build();
}

fn observe_measures(meter: &Meter, performance: &Performance) {
    let this = performance.clone();
    meter
        .f64_observable_gauge("nexus.performance.reading")
        .with_description("What the monitor judges by, by measure: a share of what there is, 0 to 1")
        .with_callback(move |observer| {
            for status in this.overview().measures {
                if let Some(reading) = status.reading {
                    observer.observe(reading, &[KeyValue::new("measure", status.measure.name())]);
                }
            }
        })
        .build();
    let this = performance.clone();
    meter
        .u64_observable_gauge("nexus.performance.pressed")
        .with_description("Whether a measure is pressed: 0 or 1")
        .with_callback(move |observer| {
            for status in this.overview().measures {
                observer
                    .observe(u64::from(status.pressed), &[KeyValue::new("measure", status.measure.name())]);
            }
        })
        .build();
}
