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
mod remote;
mod remote_control;
mod remote_memory;
pub(super) mod restart;
mod send;
mod tell;

use super::Row;

/// The rows of one process, in the order of the table.
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

/// Those between two processes (`--remote`), in the order of the table.
pub(crate) const fn remote_rows() -> &'static [Row] {
    &[remote::ROW, remote_control::ROW, remote_memory::ROW]
}
