//! Looks at the node on a thread of its own, so that keys are answered while the node is not.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::sample::{Query, Sample};
use crate::cli::client::Client;
use crate::cli::connection::Connection;
use crate::cli::environment::Environment;
use crate::cli::error::CliError;

/// A look, and when it was taken since the start.
pub(super) type Look = (Duration, Result<Sample, String>);

/// The thread's two ends: queries in, looks out. It ends when the query end is dropped.
#[derive(Debug)]
pub(super) struct Poller {
    pub(super) queries: Sender<Query>,
    pub(super) looks: Receiver<Look>,
}

impl Poller {
    /// Looks at once, then every `interval` and at each new query.
    pub(super) fn start(
        client: Client,
        connection: Connection,
        environment: Environment,
        interval: Duration,
        query: Query,
    ) -> io::Result<Self> {
        let (queries, incoming) = mpsc::channel();
        // Where the screen is slow, the poller waits rather than piling looks up.
        let (outgoing, looks) = mpsc::sync_channel(1);
        let started = Instant::now();
        let work = move || {
            let (mut client, mut query) = (client, query);
            loop {
                let found = Sample::take(&client, &query);
                if let Err(error) = &found
                    && may_have_moved(error)
                    // It may have come back with another port or token.
                    && let Ok(found_again) = connection.client(&environment)
                {
                    client = found_again.with_timeout(interval.max(Duration::from_secs(5)));
                }
                let look = (started.elapsed(), found.map_err(|error| error.to_string()));
                if outgoing.send(look).is_err() {
                    return;
                }
                match incoming.recv_timeout(interval) {
                    // Of several, the last one counts.
                    Ok(newer) => query = incoming.try_iter().last().unwrap_or(newer),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        thread::Builder::new().name("nexus-top".to_owned()).spawn(work)?;
        Ok(Self { queries, looks })
    }
}

const fn may_have_moved(error: &CliError) -> bool {
    matches!(error, CliError::Unreachable { .. } | CliError::Denied { .. } | CliError::Protocol { .. })
}
