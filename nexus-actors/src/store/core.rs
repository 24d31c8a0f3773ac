//! What waits to be written, what is written next, and what becomes of those who wait when that fails. Pure: time arrives as an
//! argument, answers and news leave as data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::error::StoreError;
use crate::clock::Millis;

/// The first pause after a failure; each further one is twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Bytes a write costs beside its name and record.
const OVERHEAD: u64 = 64;

/// A snapshot to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) record: Arc<[u8]>,
    /// Whether it is tried again after a failure. Otherwise its agent goes back to what was committed before.
    pub(crate) keep: bool,
}

/// How far a feed has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedRow {
    pub(crate) number: u16,
    /// Its position and the digest of what it reads, once there was a checkpoint.
    pub(crate) mark: Option<(u64, u64)>,
}

/// What one transaction writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) agents: BTreeMap<Arc<str>, Write>,
    pub(crate) feeds: BTreeMap<Arc<str>, FeedRow>,
}

impl Changes {
    fn bytes(&self) -> u64 {
        self.agents.iter().map(|(name, write)| cost(name, write)).sum()
    }
}

fn cost(name: &str, write: &Write) -> u64 {
    OVERHEAD + (name.len() + write.record.len()) as u64
}

/// Whether the store can write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Ok,
    Degraded { error: StoreError, since: Millis, failures: u32, retry_at: Millis },
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Commit this, then say how it ended. Empty after a failure: whether anything can be written at all.
    Commit(Arc<Changes>),
    /// Nothing before this time.
    Wait(Millis),
    /// Nothing before there is something.
    Idle,
}

/// Something an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Degraded(StoreError),
    Recovered { after: Duration },
}

/// How a commit ended, for those who wait.
#[derive(Debug)]
pub(crate) struct Ended<W> {
    pub(crate) answers: Vec<(W, Result<(), StoreError>)>,
    pub(crate) news: Option<News>,
}

/// See the module. `W` is whoever waits for an answer.
#[derive(Debug)]
pub(crate) struct Core<W> {
    queue_bytes: u64,
    waiting: Changes,
    waiters: Vec<W>,
    /// Bytes of `waiting`.
    bytes: u64,
    /// What is being committed, and who waits for it.
    flying: Option<(Arc<Changes>, Vec<W>)>,
    health: Health,
    closed: bool,
}

impl<W> Core<W> {
    pub(crate) fn new(queue_bytes: u64) -> Self {
        Self {
            queue_bytes,
            waiting: Changes::default(),
            waiters: Vec::new(),
            bytes: 0,
            flying: None,
            health: Health::Ok,
            closed: false,
        }
    }

    pub(crate) const fn health(&self) -> &Health {
        &self.health
    }

    /// Snapshots that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.agents.len()
    }

    /// Bytes that wait to be written.
    pub(crate) const fn waiting_bytes(&self) -> u64 {
        self.bytes
    }

    /// What waits once `write` takes the place of what waits of the agent; `None` if there is no room for it. One always has room.
    fn bytes_with(&self, name: &str, write: &Write) -> Option<u64> {
        let replaced = self.waiting.agents.get(name).map_or(0, |earlier| cost(name, earlier));
        let others = self.bytes - replaced;
        let bytes = others + cost(name, write);
        (others == 0 || bytes <= self.queue_bytes).then_some(bytes)
    }

    /// Why whoever wants an answer gets none.
    pub(crate) fn refusal(&self) -> Option<StoreError> {
        match &self.health {
            _ if self.closed => Some(StoreError::Closed),
            Health::Ok => None,
            Health::Degraded { error, .. } => Some(error.clone()),
        }
    }

    /// Takes a snapshot of the agent `name` in place of the one that waits, if there is one.
    ///
    /// # Errors
    /// `Busy`, `Closed`, and, if somebody waits or it is not to be kept, what is wrong with the store: it was not taken.
    pub(crate) fn write(
        &mut self,
        name: Arc<str>,
        write: Write,
        waiter: Option<W>,
    ) -> Result<(), StoreError> {
        if let Some(error) = self.refusal()
            && (self.closed || waiter.is_some() || !write.keep)
        {
            return Err(error);
        }
        let busy = StoreError::Busy { waiting: self.bytes, limit: self.queue_bytes };
        self.bytes = self.bytes_with(&name, &write).ok_or(busy)?;
        self.waiting.agents.insert(name, write);
        self.waiters.extend(waiter);
        Ok(())
    }

    /// Takes a feed's number, and its mark if somebody waits for that.
    ///
    /// # Errors
    /// `Closed`, and, if somebody waits, what is wrong with the store.
    pub(crate) fn feed(&mut self, name: Arc<str>, row: FeedRow, waiter: Option<W>) -> Result<(), StoreError> {
        if let Some(error) = self.refusal()
            && (self.closed || waiter.is_some())
        {
            return Err(error);
        }
        self.waiting.feeds.insert(name, row);
        self.waiters.extend(waiter);
        Ok(())
    }

    /// What to do at `now`.
    pub(crate) fn next(&mut self, now: Millis) -> Step {
        if self.flying.is_some() {
            return Step::Idle;
        }
        match self.health {
            Health::Degraded { retry_at, .. } if now < retry_at => return Step::Wait(retry_at),
            Health::Ok if self.waiting == Changes::default() => return Step::Idle,
            _ => {}
        }
        let changes = Arc::new(std::mem::take(&mut self.waiting));
        self.bytes = 0;
        self.flying = Some((changes.clone(), std::mem::take(&mut self.waiters)));
        Step::Commit(changes)
    }

    /// Forgets the pause after a failure: there is no time for it.
    pub(crate) fn hurry(&mut self) {
        if let Health::Degraded { retry_at, .. } = &mut self.health {
            *retry_at = Millis::ZERO;
        }
    }

    /// The commit has ended.
    pub(crate) fn ended(&mut self, now: Millis, result: Result<(), StoreError>) -> Ended<W> {
        let (changes, mut waiters) = self.flying.take().expect("one commit at a time");
        let news = match &result {
            Ok(()) => self.recovered(now),
            Err(error) => {
                self.put_back(&changes);
                // They would wait for the whole pause: whoever waits hears of it now.
                waiters.append(&mut self.waiters);
                self.degraded(now, error.clone())
            }
        };
        Ended { answers: waiters.into_iter().map(|waiter| (waiter, result.clone())).collect(), news }
    }

    fn recovered(&mut self, now: Millis) -> Option<News> {
        match std::mem::replace(&mut self.health, Health::Ok) {
            Health::Ok => None,
            Health::Degraded { since, .. } => Some(News::Recovered { after: now.since(since) }),
        }
    }

    fn degraded(&mut self, now: Millis, error: StoreError) -> Option<News> {
        let (since, failures) = match self.health {
            Health::Ok => (now, 1),
            Health::Degraded { since, failures, .. } => (since, failures.saturating_add(1)),
        };
        let news = (failures == 1).then(|| News::Degraded(error.clone()));
        self.health = Health::Degraded { error, since, failures, retry_at: now + pause(failures) };
        news
    }

    /// What is kept waits again, unless something newer does; what is not kept is forgotten, also of what came meanwhile: those
    /// who wait for it were told so.
    fn put_back(&mut self, changes: &Changes) {
        let newer = std::mem::take(&mut self.waiting);
        for (name, write) in changes.agents.iter().chain(&newer.agents).filter(|(_, write)| write.keep) {
            self.waiting.agents.insert(name.clone(), write.clone());
        }
        for (name, row) in changes.feeds.iter().chain(&newer.feeds) {
            // A number must be written with the snapshots that use it. A mark had somebody who waited for it.
            self.waiting.feeds.insert(name.clone(), FeedRow { mark: None, ..row.clone() });
        }
        self.bytes = self.waiting.bytes();
    }

    /// Whoever commits is gone: what it had at hand is done again, which does no harm if it was done.
    pub(crate) fn begin_again(&mut self) {
        self.closed = false;
        if let Some((changes, waiters)) = self.flying.take() {
            let newer = std::mem::replace(&mut self.waiting, Changes::clone(&changes));
            self.waiting.agents.extend(newer.agents);
            self.waiting.feeds.extend(newer.feeds);
            self.waiters.splice(..0, waiters);
            self.bytes = self.waiting.bytes();
        }
    }

    /// Nothing is taken any more. Answers those who still wait.
    pub(crate) fn close(&mut self) -> Vec<W> {
        self.closed = true;
        let mut waiters = std::mem::take(&mut self.waiters);
        waiters.extend(self.flying.take().into_iter().flat_map(|(_, waiters)| waiters));
        waiters
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    RETRY_FIRST
        .saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX))
        .min(RETRY_MAX)
}
