//! Ctrl-C and SIGTERM: the first asks for an ordered stop, the second ends the process at once.

use std::fmt;
use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT, from Ctrl-C.
    Interrupt,
    /// SIGTERM, from service managers.
    Terminate,
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// The signals that ask this process to end, from now on: they no longer end it by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over. Call it within a tokio runtime.
    ///
    /// # Errors
    /// The system's, if handlers cannot be installed.
    pub fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one. Cancelling it loses none.
    pub async fn next(&mut self) -> StopSignal {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
        }
    }
}

/// Calls `first` at the first signal and `second` at the second, on a thread and runtime of their own: they come through even
/// when behaviors block every worker of the node's runtime.
///
/// # Errors
/// The system's, if thread, runtime or handlers cannot be made.
pub(crate) fn watch(
    first: impl FnOnce(StopSignal) + Send + 'static,
    second: impl FnOnce(StopSignal) + Send + 'static,
) -> io::Result<()> {
    let (ready, installed) = mpsc::sync_channel(1);
    let watcher = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        runtime.block_on(async {
            let mut signals = match Signals::new() {
                Ok(signals) => signals,
                Err(error) => return drop(ready.send(Err(error))),
            };
            drop(ready.send(Ok(())));
            first(signals.next().await);
            second(signals.next().await);
        });
    };
    thread::Builder::new().name("nexus-signals".to_owned()).spawn(watcher)?;
    // The thread answers once; if it panicked before that, the channel is closed.
    installed.recv().unwrap_or_else(|_| Err(io::Error::other("the signal thread ended")))
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Sent, getpid, kill_process};

    use super::*;

    /// Goal: two signals are told apart as first and second, in order, without ending the process.
    #[test]
    fn first_and_second() {
        let (sender, received) = mpsc::channel();
        let again = sender.clone();
        watch(
            move |signal| sender.send(("first", signal)).unwrap(),
            move |signal| again.send(("second", signal)).unwrap(),
        )
        .unwrap();
        kill_process(getpid(), Sent::TERM).unwrap();
        assert_eq!(received.recv().unwrap(), ("first", StopSignal::Terminate));
        kill_process(getpid(), Sent::INT).unwrap();
        assert_eq!(received.recv().unwrap(), ("second", StopSignal::Interrupt));
    }
}
