//! A feed's requests as one sequence of (request, agent) pairs, read one ahead and confirmed one by one.
//!
//! The sequence is the same every time the source is read, so a number is a position: how many pairs have been confirmed.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use nexus_actors::agent::Request;
use tokio::sync::mpsc;

use super::config::FeedConfig;
use super::error::FeedError;
use super::mapping::Emission;
use super::producer::Producer;
use super::status::Counters;
use super::time::EventTime;

/// Batches that wait between the feed's thread and its actor.
const BATCHES_AHEAD: usize = 8;

/// Where the source is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// On a thread of the feed's own.
    #[default]
    Thread,
    /// In place, when the next request is asked for. It blocks the caller while it reads: for simulation, where everything
    /// happens on one thread in an order that a seed decides.
    Inline,
}

/// What the sequence has next.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    /// The agent.
    pub(crate) target: Arc<str>,
    /// What it is sent.
    pub(crate) request: Request,
    /// The record it comes from.
    pub(crate) record: u64,
    /// The time it belongs to.
    pub(crate) at: Option<EventTime>,
}

/// What comes next, if not a request.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The source has ended, or cannot be read further.
    Ended(Result<(), FeedError>),
    /// The thread that read it has gone without a word: it panicked. Reading can begin anew.
    Broken,
}

/// See the module.
pub(crate) struct Pipeline {
    label: String,
    backend: Backend,
    batch: Vec<Emission>,
    /// The next pair: a request of the batch, and one of its agents.
    request: usize,
    target: usize,
    /// Pairs that an earlier run confirmed and that are still to come again.
    to_skip: u64,
    confirmed: u64,
    ending: Option<Ending>,
    /// Is told of each pair that is skipped.
    skipped: Option<Skipped>,
}

/// Hears of an agent and the place of its pair.
type Skipped = Box<dyn FnMut(&Arc<str>, u64) + Send>;

enum Backend {
    Thread(mpsc::Receiver<Message>),
    Inline(Box<dyn FnMut() -> Message + Send>),
}

enum Message {
    Batch(Vec<Emission>),
    Ended(Result<(), FeedError>),
}

impl Pipeline {
    /// Reads the source of `config` from its beginning and skips the first `confirmed` pairs.
    ///
    /// Nothing fails here: a source that cannot be read is the sequence's ending.
    pub(crate) fn resume(
        config: Arc<FeedConfig>,
        base_dir: &Path,
        confirmed: u64,
        mode: ReadMode,
        counters: Arc<Counters>,
    ) -> Self {
        let label = super::source::Origin::of(&config, base_dir).label();
        let mut next = messages(config.clone(), base_dir.to_owned(), confirmed, counters);
        let backend = match mode {
            ReadMode::Inline => Backend::Inline(Box::new(next)),
            ReadMode::Thread => {
                let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
                let spawned =
                    std::thread::Builder::new().name(format!("feed {}", config.name)).spawn(move || {
                        loop {
                            let message = next();
                            let is_last = matches!(message, Message::Ended(_));
                            // Fails when the pipeline is gone: then nobody wants the rest.
                            if sender.blocking_send(message).is_err() || is_last {
                                break;
                            }
                        }
                    });
                match spawned {
                    Ok(_) => Backend::Thread(receiver),
                    Err(source) => {
                        let mut error = Some(FeedError::Open { file: label.clone(), source });
                        Backend::Inline(Box::new(move || Message::Ended(error.take().map_or(Ok(()), Err))))
                    }
                }
            }
        };
        Self {
            label,
            backend,
            batch: Vec::new(),
            request: 0,
            target: 0,
            to_skip: confirmed,
            confirmed,
            ending: None,
            skipped: None,
        }
    }

    /// The same, which tells `skipped` of each pair that it skips, in order.
    pub(crate) fn telling(self, skipped: Option<Skipped>) -> Self {
        Self { skipped, ..self }
    }

    /// As if the reader had panicked.
    #[cfg(test)]
    pub(crate) fn break_reader(&mut self) {
        self.backend = Backend::Thread(mpsc::channel(1).1);
    }

    /// Pairs confirmed so far.
    pub(crate) const fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Whether reading must begin anew to go on.
    pub(crate) const fn is_stuck(&self) -> bool {
        matches!(self.ending, Some(Ending::Broken | Ending::Ended(Err(_))))
    }

    /// The next pair, the same until it is confirmed; or how the sequence ends.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, &Ending>> {
        while self.request == self.batch.len() && self.ending.is_none() {
            let message = match &mut self.backend {
                Backend::Inline(next) => Some(next()),
                Backend::Thread(receiver) => match receiver.poll_recv(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(message) => message,
                },
            };
            match message {
                Some(Message::Batch(batch)) => {
                    (self.batch, self.request, self.target) = (batch, 0, 0);
                    self.skip();
                }
                Some(Message::Ended(Ok(()))) if self.to_skip > 0 => {
                    let (file, confirmed) = (self.label.clone(), self.confirmed);
                    let found = confirmed - self.to_skip;
                    self.ending = Some(Ending::Ended(Err(FeedError::Shrunk { file, found, confirmed })));
                }
                Some(Message::Ended(result)) => self.ending = Some(Ending::Ended(result)),
                None => self.ending = Some(Ending::Broken),
            }
        }
        if let Some(emission) = self.batch.get(self.request) {
            return Poll::Ready(Ok(Next {
                target: emission.targets[self.target].clone(),
                request: Request::new(emission.operation, emission.key.clone(), emission.payload.clone()),
                record: emission.record,
                at: emission.at,
            }));
        }
        Poll::Ready(Err(self.ending.as_ref().expect("the loop ends with a request or with an ending")))
    }

    /// The pair that [`Pipeline::poll_next`] showed has been delivered.
    pub(crate) fn confirm(&mut self) {
        assert!(self.request < self.batch.len(), "only a pair that was shown can be confirmed");
        self.advance();
        self.confirmed += 1;
    }

    fn advance(&mut self) {
        self.target += 1;
        if self.target == self.batch[self.request].targets.len() {
            (self.request, self.target) = (self.request + 1, 0);
        }
    }

    fn skip(&mut self) {
        while self.to_skip > 0 && self.request < self.batch.len() {
            if let Some(skipped) = &mut self.skipped {
                let place = self.confirmed - self.to_skip + 1;
                skipped(&self.batch[self.request].targets[self.target], place);
            }
            self.advance();
            self.to_skip -= 1;
        }
    }
}

/// The producer's messages, one a call. The source is opened by the first call, where it may block.
fn messages(
    config: Arc<FeedConfig>,
    base_dir: std::path::PathBuf,
    confirmed: u64,
    counters: Arc<Counters>,
) -> impl FnMut() -> Message + Send + 'static {
    let mut producer = None;
    move || {
        let producer = match &mut producer {
            Some(producer) => producer,
            none => match Producer::open(config.clone(), &base_dir, confirmed, counters.clone()) {
                Ok(opened) => none.insert(opened),
                Err(error) => return Message::Ended(Err(error)),
            },
        };
        match producer.next_batch() {
            Ok(Some(batch)) => Message::Batch(batch),
            Ok(None) => Message::Ended(Ok(())),
            Err(error) => Message::Ended(Err(error)),
        }
    }
}

#[cfg(test)]
#[path = "pipeline_test.rs"]
mod tests;
