//! The rows: one file each.

mod ask;
mod balance;
mod cpu;
mod dormant;
mod live;
mod lookup;
mod policy;
mod queue;
mod reactive;
mod register;
pub(super) mod restart;
mod send;
mod tell;

use super::Row;

/// All rows in the order of the table.
pub(crate) const fn rows() -> &'static [Row] {
    &[
        tell::ROW,
        queue::ROW,
        ask::ROW,
        reactive::ROW,
        send::ROW,
        lookup::ROW,
        register::ROW,
        balance::ROW,
        restart::ROW,
        dormant::ROW,
        live::ROW,
        cpu::ROW,
        policy::ROW,
    ]
}
