//! What this process uses.

use std::io;

use super::BenchError;
use crate::telemetry::{cpu_seconds, status_bytes};

/// Resident memory in bytes.
pub(crate) fn resident() -> Result<f64, BenchError> {
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory, far below 2^52")]
    status_bytes("VmRSS").map(|bytes| bytes as f64).ok_or_else(|| unknown("memory (VmRSS)"))
}

/// Processor time used so far in seconds, user and system, to a hundredth.
pub(crate) fn cpu() -> Result<f64, BenchError> {
    cpu_seconds().ok_or_else(|| unknown("processor time"))
}

fn unknown(what: &str) -> BenchError {
    BenchError::System(io::Error::new(
        io::ErrorKind::Unsupported,
        format!("/proc/self does not show this process's {what}: these rows need Linux"),
    ))
}
