//! Real nodes on a network of namespaces that is partitioned, slow and lossy.

mod check;
mod fault;
mod fleet;
mod load;
mod rounds;
mod switch;
