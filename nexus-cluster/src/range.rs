//! Ranges of parameters, for every `config.rs`.

use std::time::Duration;

use thiserror::Error;

/// A parameter is out of range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OutOfRange {
    /// An interval of no length.
    #[error("{field} must be above zero")]
    Zero {
        /// Which.
        field: &'static str,
    },
    /// A number out of its range.
    #[error("{field} is {value}, must be {low} to {high}")]
    Range {
        /// Which.
        field: &'static str,
        /// What it is.
        value: usize,
        /// The least it may be.
        low: usize,
        /// The most it may be.
        high: usize,
    },
}

/// Whether every time is above zero.
pub(crate) fn check_times(times: &[(&'static str, Duration)]) -> Result<(), OutOfRange> {
    let zero = times.iter().find(|(_, time)| time.is_zero());
    zero.map_or(Ok(()), |(field, _)| Err(OutOfRange::Zero { field }))
}

/// Whether every number is within its bounds, both included: field, value, least and most.
pub(crate) fn check_numbers(numbers: &[(&'static str, usize, usize, usize)]) -> Result<(), OutOfRange> {
    for &(field, value, low, high) in numbers {
        if !(low..=high).contains(&value) {
            return Err(OutOfRange::Range { field, value, low, high });
        }
    }
    Ok(())
}
