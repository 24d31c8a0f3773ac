//! What the process uses, from `/proc/self` (Linux; elsewhere these metrics are absent), and what build it is.

use std::fs;

use nexus_actors::clock::{Clock, Millis};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

/// Clock ticks per second in `/proc/self/stat`: fixed at 100 in Linux's interface to programs (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

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
    bytes_of(&fs::read_to_string("/proc/self/status").ok()?, field)
}

/// A field of `/proc/self/status` in bytes.
fn bytes_of(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Processor time that the process has used, user and system, in seconds.
pub(crate) fn cpu_seconds() -> Option<f64> {
    seconds_of(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// User and system time of `/proc/self/stat` in seconds.
fn seconds_of(stat: &str) -> Option<f64> {
    // The second field is the program's name in brackets and may itself have spaces and brackets.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the kernel's formats are read, hostile program names included.
    #[test]
    fn reads_the_kernels_formats() {
        let status = "Name:\tnexus\nVmHWM:\t    2048 kB\nVmRSS:\t   1024 kB\n";
        assert_eq!((bytes_of(status, "VmRSS"), bytes_of(status, "VmHWM")), (Some(1 << 20), Some(2 << 20)));
        assert_eq!(bytes_of(status, "VmXXX"), None);
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 5";
        assert_eq!(seconds_of(stat), Some(2.0));
        assert_eq!(seconds_of("42 (a"), None);
    }
}
