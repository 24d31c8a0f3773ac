//! The Nexus supervisor binary.

fn main() {}
