//! Supervision after OTP's `supervisor`.

mod reason;

pub use reason::{Escalation, ExitReason};
