//! What the process uses, from `/proc/self` (Linux; elsewhere these metrics are absent), and what build it is.

use std::fs;

use nexus_actors::clock::{Clock, Millis};
use nexus_actors::performance::process::{cpu_seconds as seconds_of, field_bytes};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

pub(super) fn observe(meter: &Meter, clock: Clock) {
    meter
        .u64_observable_gauge("nexus.build.info")
        .with_description("Always 1; the labels say which build this is")
        .with_callback(|observer| {
            observer.observe(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
        })
        .build();
    meter
        .f64_observable_gauge("nexus.process.uptime")
        .with_unit("s")
        .with_description("Time since the node started")
        .with_callback(move |observer| {
            observer.observe(clock.now().since(Millis::ZERO).as_secs_f64(), &[]);
        })
        .build();
    meter
        .u64_observable_gauge("nexus.process.memory.resident")
        .with_unit("By")
        .with_description("Memory in use")
        .with_callback(|observer| {
            if let Some(bytes) = status_bytes("VmRSS") {
                observer.observe(bytes, &[]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("nexus.process.memory.resident.peak")
        .with_unit("By")
        .with_description("The most memory that was in use")
        .with_callback(|observer| {
            if let Some(bytes) = status_bytes("VmHWM") {
                observer.observe(bytes, &[]);
            }
        })
        .build();
    meter
        .f64_observable_counter("nexus.process.cpu.time")
        .with_unit("s")
        .with_description("Processor time used, user and system")
        .with_callback(|observer| {
            if let Some(seconds) = cpu_seconds() {
                observer.observe(seconds, &[]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("nexus.process.open_fds")
        .with_description("Open file descriptors")
        .with_callback(|observer| {
            if let Ok(entries) = fs::read_dir("/proc/self/fd") {
                observer.observe(entries.count() as u64, &[]);
            }
        })
        .build();
}

/// A field of the process's `/proc/self/status` in bytes.
pub(crate) fn status_bytes(field: &str) -> Option<u64> {
    field_bytes(&fs::read_to_string("/proc/self/status").ok()?, field)
}

/// Processor time that the process has used, user and system, in seconds.
pub(crate) fn cpu_seconds() -> Option<f64> {
    seconds_of(&fs::read_to_string("/proc/self/stat").ok()?)
}
