//! From a file's text to the plain data, with every mistake on the way.
//!
//! ```text
//! text ─ toml ─▶ Node tree with spans ─ --set, env ─▶ ${VAR} expanded ─ shape ─▶ JSON value ─ decode ─▶ Topology ─ checks
//!       syntax                        unset            keys, types, ranges          what is left          meaning
//! ```
//!
//! serde stops at its first error, so [`shape`] compares the tree with the JSON Schema of the structs first. It reports each
//! mistake and puts a harmless value in its place, marked as tainted, so that decoding succeeds and the checks of
//! meaning run on all that is sound. What concerns a tainted place is not reported again.

mod decode;
mod env;
mod findings;
mod node;
mod overrides;
mod shape;
mod source;

pub(super) use decode::decode;
pub(super) use env::{expand, report as report_env};
pub(super) use findings::{Finding, Findings};
pub(super) use node::Node;
pub use overrides::Override;
pub(super) use shape::shape;
pub(super) use source::Source;
