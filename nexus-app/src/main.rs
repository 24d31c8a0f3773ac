//! The Nexus supervisor binary.

use std::process::ExitCode;

use nexus_app::{Allocator, Nexus};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    Nexus::new().main()
}
