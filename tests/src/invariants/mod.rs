//! What must hold whatever happens to a node: one invariant a file, each with tests that it fires.

mod accounting;
mod restarts_explained;
mod tree_complete;

pub use accounting::{Books, accounting};
pub use restarts_explained::{Happened, restarts_explained};
pub use tree_complete::{Route, tree_complete};
