//! `cargo bench -p nexus-app --bench rows [-- ROW… OPTIONS]`: what `nexus bench` measures, built and run in one step.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo adds a flag for benchmark harnesses. Parts of rows run in processes of this binary, which then is `nexus`.
    let mut arguments: Vec<OsString> = std::env::args_os().filter(|argument| argument != "--bench").collect();
    if arguments.get(1).is_none_or(|first| first != "bench") {
        arguments.insert(1, "bench".into());
    }
    nexus_app::Nexus::new().main_with(arguments)
}
