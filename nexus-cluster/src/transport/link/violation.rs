//! What no peer that keeps to the protocol sends: the connection ends, and it is counted under its own reason.

use std::collections::BTreeMap;

use super::super::envelope::EnvelopeError;
use super::super::frame::FrameError;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// What it is counted under.
    pub(super) reason: &'static str,
    /// With the values.
    pub(super) detail: String,
}

/// Violations of one peer by their reasons, which are few: they are texts of this program.
pub(super) type Violations = BTreeMap<&'static str, u64>;

impl From<FrameError> for Violation {
    fn from(error: FrameError) -> Self {
        let reason = match error {
            FrameError::Short { .. } => "a frame is short",
            FrameError::Magic { .. } => "a frame of another layout",
            FrameError::Flags { .. } => "a frame has unknown flags",
            FrameError::Length { .. } => "the lengths of a frame do not agree, or are too large",
            FrameError::Checksum => "the checksum of a frame is wrong",
            FrameError::Lz4 { .. } => "a body does not decompress",
        };
        Self { reason, detail: error.to_string() }
    }
}

impl From<EnvelopeError> for Violation {
    fn from(error: EnvelopeError) -> Self {
        let reason = match error {
            EnvelopeError::Truncated => "a body ends within an envelope",
            EnvelopeError::Kind(_) => "an envelope of an unknown kind",
            EnvelopeError::Content(_) => "the content of an envelope is malformed",
        };
        Self { reason, detail: error.to_string() }
    }
}

impl From<&'static str> for Violation {
    fn from(reason: &'static str) -> Self {
        Self { reason, detail: reason.to_owned() }
    }
}
