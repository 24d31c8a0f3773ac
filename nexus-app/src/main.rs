//! The Nexus supervisor binary.

use std::process::ExitCode;

use nexus_app::Nexus;

fn main() -> ExitCode {
    Nexus::new().main()
}
