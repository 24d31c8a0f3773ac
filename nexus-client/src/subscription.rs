//! What is heard of a group.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::client::Command;
use crate::protocol::{ClientMessage, Operation, Payload};

/// Publications that wait for a subscription's reader. Further ones are missed, and counted.
const WAITING_MAX: usize = 1024;

/// A request that was published to a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Query, update or action.
    pub operation: Operation,
    /// The request's key.
    pub key: String,
    /// Its payload.
    pub payload: Payload,
}

/// What a subscription hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// A request was published.
    Published(Published),
    /// So many publications were missed, because this client or the way to it was too slow.
    Missed(u64),
    /// The connection was lost and is back. What was published meanwhile was missed.
    Reconnected,
}

/// A subscription to a group. Ends the subscription when dropped.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) group: String,
    pub(crate) number: u64,
    pub(crate) receiver: mpsc::Receiver<Heard>,
    pub(crate) groups: Groups,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) next_id: Arc<AtomicU64>,
}

impl Subscription {
    /// The next thing heard; `None` when the client is gone, or the node refused the group after a reconnect.
    pub async fn next(&mut self) -> Option<Heard> {
        self.receiver.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.groups.remove(&self.group, self.number) {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            let message = ClientMessage::Unsubscribe { id, group: std::mem::take(&mut self.group) };
            // If there is no room, publications go on to be heard by nobody until the connection ends.
            let _ = self.commands.try_send(Command { message, reply: None });
        }
    }
}

/// One reader of a group.
#[derive(Debug)]
struct Listener {
    number: u64,
    sender: mpsc::Sender<Heard>,
    missed: u64,
}

impl Listener {
    fn hear(&mut self, heard: Heard) {
        if self.missed > 0 && self.sender.try_send(Heard::Missed(self.missed)).is_ok() {
            self.missed = 0;
        }
        match (self.sender.try_send(heard), self.missed) {
            (Err(TrySendError::Full(Heard::Missed(count))), _) => self.missed += count,
            (Err(TrySendError::Full(_)), _) => self.missed += 1,
            _ => {}
        }
    }
}

/// The groups that are subscribed to, with their readers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups(Arc<Mutex<BTreeMap<String, Vec<Listener>>>>);

impl Groups {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Listener>>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a reader. Whether it is the group's first, so that the node must be told.
    pub(crate) fn add(&self, group: &str, number: u64) -> (bool, mpsc::Receiver<Heard>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut groups = self.lock();
        let listeners = groups.entry(group.to_owned()).or_default();
        listeners.push(Listener { number, sender, missed: 0 });
        (listeners.len() == 1, receiver)
    }

    /// Takes a reader away. Whether it was the group's last.
    fn remove(&self, group: &str, number: u64) -> bool {
        let mut groups = self.lock();
        let Some(listeners) = groups.get_mut(group) else { return false };
        listeners.retain(|listener| listener.number != number);
        let last = listeners.is_empty();
        if last {
            groups.remove(group);
        }
        last
    }

    /// The node does not have this group for us: its readers' streams end.
    pub(crate) fn forget(&self, group: &str) {
        self.lock().remove(group);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub(crate) fn hear(&self, group: &str, heard: &Heard) {
        if let Some(listeners) = self.lock().get_mut(group) {
            listeners.iter_mut().for_each(|listener| listener.hear(heard.clone()));
        }
    }
}
