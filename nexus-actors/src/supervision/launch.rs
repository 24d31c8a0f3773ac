//! Carrying out starts: at once in the supervisor, or together with others in a task, on the runtime they ask for.
//!
//! Most actors are ready as soon as they are spawned. One that starts alone is spawned by its supervisor and needs no task.
//! Where many are to start (a family that is woken), the supervisor gathers what its mailbox holds and leaves the spawning to one
//! task a batch: the supervisor's thread is not the only one then, and one hand-over between threads serves the whole batch.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{AbortRegistration, Abortable, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;

use super::actor::Reports;
use super::core::{AttemptId, ChildKey, StartFailure};
use super::error::StartError;
use super::message::Completion;
use super::spec::{StartChild, Started};
use super::start::StartContext;
use crate::text;

/// Starts that one task carries out, at most.
pub(super) const BATCH_MAX: usize = 64;

/// A start that has been ordered.
pub(super) struct Attempt {
    pub(super) key: ChildKey,
    pub(super) attempt: AttemptId,
    pub(super) start: Arc<dyn StartChild>,
    pub(super) context: StartContext,
    pub(super) timeout: Option<Duration>,
    /// Ends it early; it reports nothing then.
    pub(super) abort: AbortRegistration,
}

/// A start under way; `None` once it was aborted.
pub(super) type Starting = BoxFuture<'static, Option<Completion>>;

impl Attempt {
    /// Begins it: the start's own synchronous part runs here.
    pub(super) fn begin(self) -> Starting {
        let Self { key, attempt, start, context, timeout, abort } = self;
        let starting = async move {
            match outcome(&*start, context, timeout).await {
                Ok(process) => Completion::Started { key, attempt, process },
                Err(failure) => Completion::StartFailed { key, attempt, failure },
            }
        };
        Abortable::new(starting, abort).map(Result::ok).boxed()
    }
}

async fn outcome(
    start: &dyn StartChild,
    context: StartContext,
    timeout: Option<Duration>,
) -> Result<Started, StartFailure> {
    // What makes an actor is user code like the actor's own, before its first await and after.
    let starting = AssertUnwindSafe(async move { start.start(context).await }).catch_unwind();
    let started = match timeout {
        None => starting.await,
        Some(limit) => match tokio::time::timeout(limit, starting).await {
            Ok(started) => started,
            Err(_) => return Err(StartFailure::Failed(format!("not started within {limit:?}").into())),
        },
    };
    match started {
        Ok(Ok(process)) => Ok(process),
        Ok(Err(StartError::Ignored)) => Err(StartFailure::Ignored),
        Ok(Err(StartError::Failed(error))) => Err(StartFailure::Failed(error.to_string().into())),
        Err(panic) => Err(StartFailure::Failed(text::of_panic(&*panic).into())),
    }
}

/// The starts of one task and the runtime for it, if that is another one.
pub(super) struct Batch {
    pub(super) home: Option<Handle>,
    pub(super) attempts: Vec<Attempt>,
}

/// The attempts by the runtimes they ask for, each in order. To be called on the supervisor's runtime.
pub(super) fn by_home(attempts: Vec<Attempt>) -> Vec<Batch> {
    let here = Handle::current().id();
    let mut batches: Vec<Batch> = Vec::new();
    for attempt in attempts {
        let home = attempt.start.home().filter(|home| home.id() != here);
        let id = home.as_ref().map(Handle::id);
        match batches.iter_mut().find(|batch| batch.home.as_ref().map(Handle::id) == id) {
            Some(batch) => batch.attempts.push(attempt),
            None => batches.push(Batch { home, attempts: vec![attempt] }),
        }
    }
    batches
}

/// Carries out a batch: one report for all that are ready at once, one for each of the others.
pub(super) fn run(attempts: Vec<Attempt>, reports: Reports) -> impl Future<Output = ()> + Send {
    let left = attempts.iter().map(|attempt| (attempt.attempt, attempt.key)).collect();
    // Made here: a runtime that has ended drops the future without a poll.
    let mut unreported = Unreported { left, reports };
    async move {
        let pending = FuturesUnordered::new();
        let mut ready = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            let mut starting = attempt.begin();
            match futures::poll!(starting.as_mut()) {
                Poll::Ready(completion) => ready.extend(completion),
                Poll::Pending => pending.push(starting),
            }
        }
        unreported.report(ready);
        let mut pending = std::pin::pin!(pending);
        while let Some(completion) = pending.next().await {
            unreported.report(completion.into_iter().collect());
        }
        // What is left was aborted.
        unreported.left.clear();
    }
}

/// What a batch has not reported. Dropped early, because its runtime is being shut down, it reports that.
struct Unreported {
    left: BTreeMap<AttemptId, ChildKey>,
    reports: Reports,
}

impl Unreported {
    fn report(&mut self, mut completions: Vec<Completion>) {
        for completion in &completions {
            if let Completion::Started { attempt, .. } | Completion::StartFailed { attempt, .. } = completion
            {
                self.left.remove(attempt);
            }
        }
        match completions.len() {
            0 => {}
            1 => self.reports.send(completions.remove(0)),
            _ => self.reports.send(Completion::Many(completions)),
        }
    }
}

impl Drop for Unreported {
    fn drop(&mut self) {
        for (attempt, key) in std::mem::take(&mut self.left) {
            let failure = StartFailure::Failed("its runtime was shut down".into());
            self.reports.send(Completion::StartFailed { key, attempt, failure });
        }
    }
}

/// The outcome of a start that is ready at once.
pub(super) fn poll_once(starting: &mut Starting) -> Poll<Option<Completion>> {
    starting.as_mut().poll(&mut Context::from_waker(futures::task::noop_waker_ref()))
}
