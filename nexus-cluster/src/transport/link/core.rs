//! One peer's link: which frame is next, what it confirms, what is to be sent again. No locks, no tasks; time is handed in, and so is what
//! agents have consumed.
//!
//! Frames of a *session* are numbered from 1. A frame is kept until the peer acknowledges it; after a reconnect the unacknowledged ones are
//! sent again and the receiver drops those it has, so each is handled once and in order. Both ends begin a connection with a hello that
//! names the session they would resume. If both name the same, they do; else both begin a new one, named by the connection's epoch, which
//! both know. So an end that has given the other up, or has started anew, needs no further agreement: what the other still had is lost
//! there, and said to be.
//!
//! Credit is a total: the receiver says how many bytes of bodies it takes in all since the session began, which is what its agents have
//! consumed and a window. A sender that has used it up by less than a frame may send that frame, so that no frame is too large for it.
//!
//! *Strain.* An agent that is stuck keeps the credit of what waits in its inbox. If nothing at all was consumed for a while and the window
//! is nearly full, the receiver grants a second window. Until half of the first is free again, agents that handle nothing get a small
//! share of it and no more: their letters are rejected and their credit returns at once, while those of others go through. Memory
//! stays bounded by two windows.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;

use super::super::config::LinkConfig;
use super::super::envelope::{self, Kind, Mention, Mentions};
use super::super::frame::Header;

/// See the module.
#[derive(Debug)]
pub(super) struct Core {
    config: Arc<LinkConfig>,
    phase: Phase,
    /// 0 until the first one.
    session: u64,
    // Out.
    /// The frame that is being filled.
    filling: Filling,
    /// Closed frames that have not been sent, oldest first.
    ready: VecDeque<Filled>,
    /// Messages and bytes in these and the one being filled.
    queued_messages: u64,
    queued_bytes: u64,
    /// Sent frames that are not acknowledged, oldest first; and those before them that end within a message which is not.
    unacked: VecDeque<Sent>,
    /// The next of them to be sent on this connection.
    resend_at: usize,
    next_sequence: u64,
    sent_bytes: u64,
    peer_limit: u64,
    next_part: u64,
    control: VecDeque<Bytes>,
    control_bytes: u64,
    // In.
    received: u64,
    received_bytes: u64,
    /// What was last said of the first, and of what may come.
    acked: u64,
    advertised: u64,
    /// Say it with the next opportunity, even if it is little.
    flush: bool,
    strain: Strain,
}

#[derive(Debug)]
enum Phase {
    /// Without a connection since then.
    Down(Millis),
    Up {
        epoch: u64,
        hello_sent: bool,
        hello_heard: bool,
    },
    /// Given up, for this reason.
    Lost(Arc<str>),
}

#[derive(Debug, Default)]
struct Filling {
    body: Vec<u8>,
    opened: Millis,
    messages: u64,
    mentions: Mentions,
    /// Room of a frame that is done with.
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Filled {
    body: Bytes,
    opened: Millis,
    messages: u64,
    /// Whether it ends within a message that is sent in parts.
    open: bool,
}

#[derive(Debug)]
struct Sent {
    sequence: u64,
    filled: Filled,
}

#[derive(Debug, Default)]
struct Strain {
    on: bool,
    /// What was consumed when it last changed, and when that was.
    consumed: i64,
    since: Millis,
}

/// Why an envelope was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// So many wait already.
    Full { queued: u64, limit: u64 },
    /// The peer is lost, and how.
    Lost(Arc<str>),
}

/// What to send next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Control(Bytes),
    Frame(Header, Bytes),
}

/// What a frame means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Nothing more than its header says; or it is here already.
    Nothing,
    /// A new body: hand out its envelopes.
    Body,
    /// A new session. What was not acknowledged in the one before is lost, if there was one.
    NewSession(Option<Lost>),
}

/// Bodies that no peer has confirmed, in the order of their messages.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lost(pub(super) Vec<Bytes>);

impl Core {
    pub(super) fn new(config: Arc<LinkConfig>, now: Millis) -> Self {
        Self {
            config,
            phase: Phase::Down(now),
            session: 0,
            filling: Filling::default(),
            ready: VecDeque::new(),
            queued_messages: 0,
            queued_bytes: 0,
            unacked: VecDeque::new(),
            resend_at: 0,
            next_sequence: 1,
            sent_bytes: 0,
            peer_limit: 0,
            next_part: 0,
            control: VecDeque::new(),
            control_bytes: 0,
            received: 0,
            received_bytes: 0,
            acked: 0,
            advertised: 0,
            flush: false,
            strain: Strain::default(),
        }
    }

    // ---- connections ----

    /// Whether this is the connection at hand.
    pub(super) fn is_on(&self, connection: u64) -> bool {
        matches!(self.phase, Phase::Up { epoch, .. } if epoch == connection)
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// A connection takes the place of the one before, if there was one.
    pub(super) fn connected(&mut self, epoch: u64) {
        self.phase = Phase::Up { epoch, hello_sent: false, hello_heard: false };
        self.drop_control();
    }

    pub(super) fn disconnected(&mut self, now: Millis) {
        self.phase = Phase::Down(now);
        self.drop_control();
    }

    /// Control messages belong to their connection: their senders hear that it has ended.
    fn drop_control(&mut self) {
        self.control.clear();
        self.control_bytes = 0;
    }

    /// Gives the session up: nothing of the next one is consumed yet. With a reason the peer is lost until it connects again.
    pub(super) fn lose(&mut self, reason: Option<Arc<str>>) -> Lost {
        if let Some(reason) = reason {
            self.phase = Phase::Lost(reason);
            self.drop_control();
        }
        self.close_filling(false);
        let unacked = self.unacked.drain(..).map(|sent| sent.filled.body);
        let lost = unacked.chain(self.ready.drain(..).map(|filled| filled.body)).collect();
        (self.queued_messages, self.queued_bytes) = (0, 0);
        self.begin(0);
        Lost(lost)
    }

    /// A session begins, or none.
    fn begin(&mut self, session: u64) {
        self.session = session;
        (self.resend_at, self.next_sequence, self.sent_bytes, self.peer_limit) = (0, 1, 0, 0);
        (self.received, self.received_bytes, self.acked, self.advertised) = (0, 0, 0, 0);
        self.strain = Strain::default();
        self.flush = true;
    }

    // ---- out ----

    /// Whether a message of about so many bytes may wait now. Replies may where others may not: the asker holds room for them.
    pub(super) fn admit(&self, bytes: usize, is_reply: bool) -> Result<(), Refused> {
        if let Phase::Lost(reason) = &self.phase {
            return Err(Refused::Lost(reason.clone()));
        }
        let (limit, limit_bytes) = (self.config.queue_messages, self.config.queue_bytes);
        let times = if is_reply { 2 } else { 1 };
        let fits = self.queued_bytes + bytes as u64 <= limit_bytes * times || self.queued_messages == 0;
        if fits && self.queued_messages < limit * times {
            return Ok(());
        }
        Err(Refused::Full { queued: self.queued_messages, limit })
    }

    /// Whether so much waits that senders are turned away soon.
    pub(super) fn has_room(&self) -> bool {
        self.queued_messages <= self.config.queue_messages / 2
            && self.queued_bytes <= self.config.queue_bytes / 2
    }

    pub(super) fn queued(&self) -> (u64, u64) {
        (self.queued_messages, self.config.queue_messages)
    }

    /// Messages in frames that were sent and are not acknowledged.
    pub(super) fn unacked_messages(&self) -> u64 {
        self.unacked.iter().map(|sent| sent.filled.messages).sum()
    }

    /// Whether the next envelope opens a frame: only then its time matters.
    pub(super) const fn opens(&self) -> bool {
        self.filling.body.is_empty()
    }

    /// How the next envelope is to mention its target.
    pub(super) fn mention<'a>(&mut self, id: AgentId, name: Option<&'a str>) -> Mention<'a> {
        self.filling.mentions.mention(id, name)
    }

    /// Appends an envelope that is no longer than a part. `true` if the carrier is to be told.
    pub(super) fn push(&mut self, now: Millis, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.append(now, 1, write)
    }

    fn append(&mut self, now: Millis, messages: u64, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let first = self.queued_bytes == 0;
        if self.filling.body.is_empty() {
            self.filling.opened = now;
        }
        let before = self.filling.body.len();
        write(&mut self.filling.body);
        self.queued_bytes += (self.filling.body.len() - before) as u64;
        self.filling.messages += messages;
        self.queued_messages += messages;
        if self.filling.body.len() >= self.config.frame_bytes {
            self.close_filling(false);
        }
        first
    }

    /// Appends an encoded envelope in parts. It mentions its target for the first time: it is a body of its own.
    pub(super) fn push_parts(&mut self, now: Millis, encoded: &[u8]) -> bool {
        let (number, total) = (self.next_part, u32::try_from(encoded.len()).unwrap_or(u32::MAX));
        self.next_part += 1;
        let mut first = false;
        let mut rest = encoded;
        while !rest.is_empty() {
            let (part, left) = rest.split_at(rest.len().min(self.config.part_bytes));
            rest = left;
            // The message counts with its last part.
            first |= self.append(now, u64::from(rest.is_empty()), |out| {
                envelope::encode(out, Kind::Part, number, None, |out| {
                    out.extend_from_slice(&total.to_le_bytes());
                    out.extend_from_slice(part);
                });
            });
            self.close_filling(!rest.is_empty());
        }
        first
    }

    fn close_filling(&mut self, open: bool) {
        if self.filling.body.is_empty() {
            // It was closed for its length: what it ends within is known only now.
            if let Some(last) = self.ready.back_mut() {
                last.open |= open;
            }
            return;
        }
        let spare = std::mem::take(&mut self.filling.spare);
        let body = std::mem::replace(&mut self.filling.body, spare);
        let (opened, messages) = (self.filling.opened, std::mem::take(&mut self.filling.messages));
        self.filling.mentions.clear();
        self.ready.push_back(Filled { body: body.into(), opened, messages, open });
    }

    /// Appends a control message; answers what waits if that is too much.
    pub(super) fn push_control(&mut self, bytes: Bytes) -> Result<(), u64> {
        let size = bytes.len() as u64;
        if self.control_bytes + size > self.config.control_bytes {
            return Err(self.control_bytes);
        }
        self.control_bytes += size;
        self.control.push_back(bytes);
        Ok(())
    }

    /// What to send next. `consumed` are the bytes of this session's bodies that agents here are done with.
    pub(super) fn take(&mut self, now: Millis, consumed: i64) -> Option<Next> {
        let Phase::Up { hello_sent, hello_heard, .. } = &mut self.phase else { return None };
        if let Some(bytes) = self.control.pop_front() {
            self.control_bytes -= bytes.len() as u64;
            return Some(Next::Control(bytes));
        }
        if !*hello_sent {
            *hello_sent = true;
            let header =
                Header { hello: true, sequence: self.session, ack: self.received, ..Header::default() };
            return Some(Next::Frame(Header { limit: self.advertised, ..header }, Bytes::new()));
        }
        if !*hello_heard {
            return None;
        }
        self.fill_unacked();
        if let Some(sent) = self.unacked.get(self.resend_at) {
            let (sequence, opened, body) = (sent.sequence, sent.filled.opened, sent.filled.body.clone());
            self.resend_at += 1;
            let age_ms = u32::try_from(now.since(opened).as_millis()).unwrap_or(u32::MAX);
            return Some(Next::Frame(Header { age_ms, sequence, ..self.confirm(consumed) }, body));
        }
        self.is_confirmation_due(consumed).then(|| Next::Frame(self.confirm(consumed), Bytes::new()))
    }

    /// Whether the carrier would be given anything now.
    pub(super) fn has_work(&self, consumed: i64) -> bool {
        let Phase::Up { hello_sent, hello_heard, .. } = self.phase else { return false };
        let has_credit = self.sent_bytes < self.peer_limit;
        let has_frames = self.resend_at < self.unacked.len() || (has_credit && self.queued_bytes > 0);
        !self.control.is_empty()
            || !hello_sent
            || (hello_heard && (has_frames || self.is_confirmation_due(consumed)))
    }

    /// When so much is consumed, a confirmation is due.
    pub(super) fn due(&self) -> i64 {
        let windows = if self.strain.on { 2 } else { 1 };
        let mark = self.advertised + u64::from(self.config.window_bytes / 4);
        i64::try_from(mark).unwrap_or(i64::MAX) - windows * i64::from(self.config.window_bytes)
    }

    /// With all earlier frames sent and credit left, the next one joins them.
    fn fill_unacked(&mut self) {
        if self.resend_at < self.unacked.len() || self.sent_bytes >= self.peer_limit {
            return;
        }
        if self.ready.is_empty() {
            self.close_filling(false);
        }
        let Some(filled) = self.ready.pop_front() else { return };
        self.queued_messages -= filled.messages;
        self.queued_bytes -= filled.body.len() as u64;
        self.sent_bytes += filled.body.len() as u64;
        self.unacked.push_back(Sent { sequence: self.next_sequence, filled });
        self.next_sequence += 1;
    }

    /// A header that says what has come and what may come.
    fn confirm(&mut self, consumed: i64) -> Header {
        self.advertised = self.limit(consumed);
        self.acked = self.received;
        self.flush = false;
        Header { ack: self.acked, limit: self.advertised, ..Header::default() }
    }

    /// What the peer may send in all. It never falls.
    fn limit(&self, consumed: i64) -> u64 {
        let windows = if self.strain.on { 2 } else { 1 };
        let consumed = u64::try_from(consumed).unwrap_or(0);
        self.advertised.max(consumed + windows * u64::from(self.config.window_bytes))
    }

    /// Little news wait for a frame that goes anyway, or for the next tick.
    fn is_confirmation_due(&self, consumed: i64) -> bool {
        let enough = u64::from(self.config.window_bytes / 4);
        self.flush || self.limit(consumed) - self.advertised >= enough
    }

    // ---- in ----

    /// A frame has come on this connection. `Err`: no peer that keeps to the protocol sends it.
    pub(super) fn arrived(&mut self, header: &Header, body_bytes: usize) -> Result<Arrival, &'static str> {
        let Phase::Up { epoch, hello_heard, .. } = &mut self.phase else {
            return Err("there is no connection");
        };
        if header.hello == *hello_heard {
            return Err("a connection begins with one hello");
        }
        if header.hello {
            *hello_heard = true;
            if body_bytes > 0 {
                return Err("a hello has no body");
            }
            if header.sequence == 0 || header.sequence != self.session {
                let epoch = *epoch;
                // What was not sent in a session yet has nothing to do with the one that is gone.
                let lost = (self.session != 0).then(|| self.lose(None));
                self.begin(epoch);
                return Ok(Arrival::NewSession(lost));
            }
            self.flush = true;
        }
        self.acknowledged(header.ack)?;
        self.peer_limit = self.peer_limit.max(header.limit);
        if header.hello {
            self.resend_at = self.unacked.iter().take_while(|sent| sent.sequence <= header.ack).count();
            return Ok(Arrival::Nothing);
        }
        self.accept(header.sequence, body_bytes)
    }

    fn acknowledged(&mut self, ack: u64) -> Result<(), &'static str> {
        if ack >= self.next_sequence {
            return Err("it acknowledges what was not sent");
        }
        // A message in parts is kept whole until it is acknowledged whole: it may have to be dead-lettered.
        let acked = self.unacked.iter().take_while(|sent| sent.sequence <= ack);
        let whole = acked.enumerate().filter(|(_, sent)| !sent.filled.open).map(|(at, _)| at + 1).last();
        let gone = whole.unwrap_or(0);
        let largest = self.config.frame_bytes + self.config.part_bytes;
        for Sent { filled, .. } in self.unacked.drain(..gone) {
            // The carrier has let go of it long ago.
            let room = Vec::from(filled.body.try_into_mut().unwrap_or_default());
            if (self.filling.spare.capacity()..largest).contains(&room.capacity()) {
                self.filling.spare = room;
                self.filling.spare.clear();
            }
        }
        self.resend_at = self.resend_at.saturating_sub(gone);
        Ok(())
    }

    fn accept(&mut self, sequence: u64, body_bytes: usize) -> Result<Arrival, &'static str> {
        match (sequence, body_bytes) {
            (0, 0) => return Ok(Arrival::Nothing),
            (0, _) | (_, 0) => return Err("a body has a sequence, and a sequence a body"),
            _ => {}
        }
        if sequence <= self.received {
            // The acknowledgement was lost: say it again.
            self.flush = true;
            return Ok(Arrival::Nothing);
        }
        if sequence != self.received + 1 {
            return Err("a frame is missing");
        }
        if self.received_bytes >= self.advertised {
            return Err("it has used up its credit");
        }
        self.received = sequence;
        self.received_bytes += body_bytes as u64;
        Ok(Arrival::Body)
    }

    /// Whether there is strain.
    pub(super) const fn is_strained(&self) -> bool {
        self.strain.on
    }

    /// Of the session at hand; answers of another one are not sent.
    pub(super) const fn session(&self) -> u64 {
        self.session
    }

    // ---- time ----

    /// Time has passed. Why the peer is to be given up now, if it is.
    pub(super) fn tick(&mut self, now: Millis, consumed: i64) -> Option<String> {
        match self.phase {
            Phase::Up { .. } => {
                self.look_for_strain(now, consumed);
                self.flush |= self.received > self.acked || self.limit(consumed) > self.advertised;
                None
            }
            Phase::Down(since) if now.since(since) >= self.config.reconnect_timeout => {
                Some(format!("no connection for {} ms", now.since(since).as_millis()))
            }
            Phase::Down(_) | Phase::Lost(_) => None,
        }
    }

    fn look_for_strain(&mut self, now: Millis, consumed: i64) {
        let window = i64::from(self.config.window_bytes);
        let held = i64::try_from(self.received_bytes).unwrap_or(i64::MAX) - consumed;
        if consumed != self.strain.consumed || held < window * 3 / 4 {
            (self.strain.consumed, self.strain.since) = (consumed, now);
        } else if now.since(self.strain.since) >= self.config.strained_after {
            self.strain.on = true;
        }
        if held < window / 2 {
            self.strain.on = false;
        }
    }
}

#[cfg(test)]
#[path = "core_test.rs"]
mod core_test;
