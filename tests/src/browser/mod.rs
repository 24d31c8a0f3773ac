//! A real node seen through a real browser: headless Chromium, steered by ChromeDriver.

mod driver;
mod node;
mod page;

pub use driver::{Browser, missing};
pub use node::NodeProcess;
pub use page::Page;

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a process may take until it says that it is up, on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// Reads what a process says until `wanted` finds something in a line; the rest is read and forgotten, so that the process
/// never waits for a reader.
fn await_line<T: Send + 'static>(
    output: impl Read + Send + 'static,
    what: &str,
    wanted: impl Fn(&str) -> Option<T> + Send + 'static,
) -> T {
    let (found, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(value) = wanted(&line) {
                let _ = found.send(value);
            }
        }
    });
    match receiver.recv_timeout(START_MAX) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("{what} was not up within {START_MAX:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("{what} ended without being up"),
    }
}

/// Kills what has not ended by itself within `grace`.
fn end(child: &mut Child, grace: Duration) {
    let limit = Instant::now() + grace;
    while Instant::now() < limit {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}
