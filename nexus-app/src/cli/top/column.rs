//! The columns of `nexus top`: what they show, and how they sort.

use std::cmp::Ordering;

use clap::ValueEnum;

use super::state::Row;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Column {
    Name,
    Behavior,
    Status,
    Queued,
    Rate,
    Processed,
    Rejected,
    DeadLettered,
    Restarts,
    Uptime,
}

impl Column {
    /// From left to right.
    pub(super) const ALL: [Self; 10] = [
        Self::Name,
        Self::Behavior,
        Self::Status,
        Self::Queued,
        Self::Rate,
        Self::Processed,
        Self::Rejected,
        Self::DeadLettered,
        Self::Restarts,
        Self::Uptime,
    ];

    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Behavior => "BEHAVIOR",
            Self::Status => "STATUS",
            Self::Queued => "QUEUED",
            Self::Rate => "PER S",
            Self::Processed => "PROCESSED",
            Self::Rejected => "REJECTED",
            Self::DeadLettered => "DEAD",
            Self::Restarts => "RESTARTS",
            Self::Uptime => "UPTIME",
        }
    }

    /// The endpoint's name of it. It knows no rates: those who have done most come first, the screen sorts them by rate.
    pub(super) const fn parameter(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Behavior => "behavior",
            Self::Status => "status",
            Self::Queued => "queued",
            Self::Rate | Self::Processed => "processed",
            Self::Rejected => "rejected",
            Self::DeadLettered => "dead_lettered",
            Self::Restarts => "restarts",
            Self::Uptime => "uptime_ms",
        }
    }

    /// Whether its cells are numbers; then the largest come first.
    pub(super) const fn is_number(self) -> bool {
        !matches!(self, Self::Name | Self::Behavior | Self::Status)
    }

    pub(super) fn next(self, step: isize) -> Self {
        let count = Self::ALL.len().cast_signed();
        let index = Self::ALL.iter().position(|column| *column == self).expect("ALL has every column");
        let next = (index.cast_signed() + step).rem_euclid(count);
        Self::ALL[next.cast_unsigned()]
    }

    /// Ascending order; equal ones by name.
    pub(super) fn compare(self, a: &Row, b: &Row) -> Ordering {
        let (left, right) = (&a.agent, &b.agent);
        let order = match self {
            Self::Name => Ordering::Equal,
            Self::Behavior => left.behavior.cmp(&right.behavior),
            Self::Status => left.status.cmp(&right.status),
            Self::Queued => left.queued.cmp(&right.queued),
            Self::Rate => a.per_second.unwrap_or(0.0).total_cmp(&b.per_second.unwrap_or(0.0)),
            Self::Processed => left.processed.cmp(&right.processed),
            Self::Rejected => left.rejected.cmp(&right.rejected),
            Self::DeadLettered => left.dead_lettered.cmp(&right.dead_lettered),
            Self::Restarts => left.restarts.cmp(&right.restarts),
            Self::Uptime => left.uptime_ms.cmp(&right.uptime_ms),
        };
        order.then_with(|| left.name.cmp(&right.name))
    }
}
