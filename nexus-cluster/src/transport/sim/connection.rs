//! One connection of a [`Network`]: a task that takes and two that deliver, per direction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::{CloseReason, Lane, Line, Outgoing};
use super::{Network, Traffic};
use crate::NodeName;

/// Frames and messages on their way per lane: what buffers between two machines hold.
const IN_FLIGHT_MAX: usize = 64;

pub(super) struct Wire {
    network: Network,
    names: [NodeName; 2],
    lines: [Arc<dyn Line>; 2],
    epoch: u64,
    ended: AtomicBool,
    /// Told when it ends, and when a partition heals.
    changed: Notify,
}

impl Wire {
    pub(super) fn new(
        network: Network,
        names: [NodeName; 2],
        lines: [Arc<dyn Line>; 2],
        epoch: u64,
    ) -> Arc<Self> {
        Arc::new(Self { network, names, lines, epoch, ended: AtomicBool::new(false), changed: Notify::new() })
    }

    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn start(self: &Arc<Self>) {
        for from in [0, 1] {
            let (control, control_due) = mpsc::channel(IN_FLIGHT_MAX);
            let (data, data_due) = mpsc::channel(IN_FLIGHT_MAX);
            tokio::spawn(self.clone().take(from, control, data));
            tokio::spawn(self.clone().deliver(1 - from, Lane::Control, control_due));
            tokio::spawn(self.clone().deliver(1 - from, Lane::Data, data_due));
        }
    }

    pub(super) fn changed(&self) {
        self.changed.notify_waiters();
    }

    pub(super) fn close(&self, reason: &CloseReason) {
        self.end(reason, None);
    }

    /// The end called `name` is no more: nobody is left to tell there.
    pub(super) fn crash(&self, name: &NodeName) {
        self.end(&CloseReason::Lost(format!("`{name}` is gone")), Some(name));
    }

    fn end(&self, reason: &CloseReason, gone: Option<&NodeName>) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        self.network.remove(&self.names[0], &self.names[1], self.epoch);
        let ends = [&self.names[0], &self.names[1]];
        self.network.tell(Traffic::Closed { ends, epoch: self.epoch, reason });
        for (name, line) in self.names.iter().zip(&self.lines) {
            if Some(name) != gone {
                line.closed(reason.clone());
            }
        }
        self.changed();
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    async fn take(
        self: Arc<Self>,
        from: usize,
        control: mpsc::Sender<(Instant, bytes::Bytes)>,
        data: mpsc::Sender<(Instant, bytes::Bytes)>,
    ) {
        let line = self.lines[from].clone();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that an end between the two is not missed.
            changed.as_mut().enable();
            if self.has_ended() {
                return;
            }
            let Some(outgoing) = line.take() else {
                tokio::select! {
                    biased;
                    () = &mut changed => {}
                    () = line.work().notified() => {}
                }
                continue;
            };
            let Some(delay) = self.network.fate(&self.names[from], &self.names[1 - from]) else {
                return self.close(&CloseReason::Lost("by chance".into()));
            };
            let due = Instant::now() + delay;
            let (lane, bytes) = match outgoing {
                Outgoing::Control(bytes) => (&control, bytes),
                Outgoing::Data(bytes) => (&data, bytes),
            };
            tokio::select! {
                biased;
                () = &mut changed => {
                    if self.has_ended() {
                        return;
                    }
                    // A partition has healed; what was taken still goes.
                    if lane.send((due, bytes)).await.is_err() {
                        return;
                    }
                }
                sent = lane.send((due, bytes.clone())) => {
                    if sent.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn deliver(
        self: Arc<Self>,
        to: usize,
        lane: Lane,
        mut due: mpsc::Receiver<(Instant, bytes::Bytes)>,
    ) {
        while let Some((at, bytes)) = due.recv().await {
            sleep_until(at).await;
            if !self.gets_through(to).await {
                return;
            }
            let (from, to_name) = (&self.names[1 - to], &self.names[to]);
            self.network.tell(Traffic::Arrives { from, to: to_name, lane, bytes: &bytes });
            if let Err(reason) = self.lines[to].arrived(lane, bytes) {
                return self.close(&reason);
            }
        }
    }

    /// Waits while the direction is blocked. `false` if the connection has ended.
    async fn gets_through(&self, to: usize) -> bool {
        let stalled = Instant::now();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.has_ended() {
                return false;
            }
            if !self.network.is_blocked(&self.names[1 - to], &self.names[to]) {
                return true;
            }
            let left = self.network.faults().idle_timeout.saturating_sub(stalled.elapsed());
            if timeout(left, changed).await.is_err() {
                self.close(&CloseReason::Idle);
                return false;
            }
        }
    }
}
