//! The endpoint over real connections.
