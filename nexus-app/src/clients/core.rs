//! What one connection does, as a state machine: something happened, at a time → what is to be done.
//!
//! ```text
//!            Closed            Effect::Close: the first one is the last effect there is
//!  open ─────────────▶ closing
//! ```
//!
//! Three clocks run while it is open. *Idle*: since the client last wanted something, unless it waits or listens. *Ping*: since
//! anything at all was heard of it; a ping that is not answered in time ends it. *Write*: since the message at the head of its
//! queue became the head.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nexus_actors::AgentError;
use nexus_actors::agent::Reply;
use nexus_actors::clock::Millis;
use nexus_client::protocol::{
    ClientMessage, CloseReason, Encoding, KEY_BYTES_MAX, Operation, Payload, ServerMessage, decode,
};

use super::limiter::Limiter;
use super::protocol::{Allow, Frame, answer, failure, refusal};

/// Refused messages in a row, at least, before a client that sends too much is disconnected.
const STRIKES_MIN: u32 = 100;

/// What holds for every connection.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) allow: Allow,
    pub(super) rate: u32,
    pub(super) burst: u32,
    pub(super) asks: u32,
    pub(super) ask_timeout: Duration,
    pub(super) payload_bytes: usize,
    pub(super) subscriptions: u32,
    pub(super) queue_messages: usize,
    pub(super) queue_bytes: usize,
    pub(super) write_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) ping_interval: Duration,
    pub(super) pong_timeout: Duration,
}

/// Whom an answer is for: the client's number, and how it wants to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) id: Option<u64>,
    pub(super) encoding: Encoding,
}

/// A request as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    pub(super) to: String,
    pub(super) operation: Operation,
    pub(super) key: String,
    pub(super) payload: Payload,
    /// Only of an ask.
    pub(super) at_least_once: bool,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// A whole message came.
    Message(Encoding, Bytes),
    /// A ping or a pong came.
    Control,
    /// An agent answered an [`Effect::Ask`].
    Answered(Ticket, Reply),
    /// An [`Effect::Tell`] ended.
    Told(Ticket, Result<(), AgentError>),
    /// An [`Effect::Listen`] ended.
    Listening(Ticket, Arc<str>, Result<(), AgentError>),
    /// Something was published to a group that this client listens to.
    Published(Frame),
    /// Publications were missed.
    Missed(Arc<str>, Encoding, u64),
    /// The message at the head of the queue, of so many bytes, has been written.
    Written(usize),
    /// The time that [`Core::deadline`] named has come.
    Tick,
    /// The connection cannot go on: the client closed it, sent what is no WebSocket, or the node stops.
    Ended(CloseReason),
}

/// What is to be done, in this order.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Put at the end of the queue.
    Send(Frame),
    /// Ping the client.
    Ping,
    /// Ask an agent; the answer comes back as [`Input::Answered`].
    Ask(Ticket, Order, Duration),
    /// Tell an agent; how that went comes back as [`Input::Told`].
    Tell(Ticket, Order),
    /// Listen to a group; how that went comes back as [`Input::Listening`].
    Listen(Ticket, Arc<str>),
    /// Listen to it no longer.
    Leave(Arc<str>),
    /// The client sent more than it may; for the counters.
    CountRateLimited,
    /// Forget the queue, say why, and close.
    Close(CloseReason),
}

/// A connection. See the module.
#[derive(Debug)]
pub(super) struct Core {
    rules: Arc<Rules>,
    limiter: Limiter,
    /// Messages refused in a row because there were too many.
    strikes: u32,
    /// When the client last wanted something, or was last given it.
    wanted: Millis,
    /// When anything was last heard of it.
    heard: Millis,
    /// The ping that is not answered yet.
    pinged: Option<Millis>,
    /// Asks that wait for their answers.
    asks: u32,
    /// Groups it listens to or is about to.
    groups: Vec<Arc<str>>,
    queued_messages: usize,
    queued_bytes: usize,
    /// When the head of the queue became the head.
    writing: Millis,
    closing: bool,
}

impl Core {
    pub(super) fn new(rules: Arc<Rules>, now: Millis) -> Self {
        Self {
            limiter: Limiter::new(rules.rate, rules.burst, now),
            rules,
            strikes: 0,
            wanted: now,
            heard: now,
            pinged: None,
            asks: 0,
            groups: Vec::new(),
            queued_messages: 0,
            queued_bytes: 0,
            writing: now,
            closing: false,
        }
    }

    /// Asks in flight and groups listened to.
    pub(super) fn overview(&self) -> (u32, usize) {
        (self.asks, self.groups.len())
    }

    /// Messages that wait to be written.
    pub(super) const fn queued(&self) -> usize {
        self.queued_messages
    }

    /// When [`Input::Tick`] is due, unless something happens before.
    pub(super) fn deadline(&self) -> Millis {
        let rules = &self.rules;
        let heard = match self.pinged {
            Some(pinged) => pinged + rules.pong_timeout,
            None => self.heard + rules.ping_interval,
        };
        let mut next = heard;
        if self.is_idle() {
            next = next.min(self.wanted + rules.idle_timeout);
        }
        if self.queued_messages > 0 {
            next = next.min(self.writing + rules.write_timeout);
        }
        next
    }

    fn is_idle(&self) -> bool {
        self.asks == 0 && self.groups.is_empty()
    }

    /// Takes what happened and says what is to be done.
    #[must_use]
    pub(super) fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.closing {
            return effects;
        }
        match input {
            Input::Message(encoding, bytes) => self.on_message(now, encoding, &bytes, &mut effects),
            Input::Control => self.on_control(now, &mut effects),
            Input::Answered(ticket, reply) => {
                self.asks = self.asks.saturating_sub(1);
                self.wanted = now;
                let message = answer(ticket.id.unwrap_or_default(), reply);
                self.send(now, Frame::of(ticket.encoding, &message), &mut effects);
            }
            Input::Told(ticket, result) => self.reply(now, ticket, result, &mut effects),
            Input::Listening(ticket, group, result) => {
                if result.is_err() {
                    self.groups.retain(|other| *other != group);
                }
                self.reply(now, ticket, result, &mut effects);
            }
            Input::Published(frame) => self.send(now, frame, &mut effects),
            Input::Missed(group, encoding, count) => {
                let message = ServerMessage::Missed { group: group.to_string(), count };
                self.send(now, Frame::of(encoding, &message), &mut effects);
            }
            Input::Written(bytes) => {
                self.queued_messages = self.queued_messages.saturating_sub(1);
                self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
                self.writing = now;
                if self.queued_messages > 0 {
                    // It reads, and while it is behind its own pongs wait unread.
                    self.on_hear(now);
                }
            }
            Input::Tick => self.on_tick(now, &mut effects),
            Input::Ended(reason) => self.close(reason, &mut effects),
        }
        effects
    }

    fn on_tick(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let rules = self.rules.clone();
        if self.queued_messages > 0 && now >= self.writing + rules.write_timeout {
            return self.close(CloseReason::Slow, effects);
        }
        if self.is_idle() && now >= self.wanted + rules.idle_timeout {
            return self.close(CloseReason::Idle, effects);
        }
        match self.pinged {
            Some(pinged) if now >= pinged + rules.pong_timeout => {
                self.close(CloseReason::Unresponsive, effects);
            }
            None if now >= self.heard + rules.ping_interval => {
                self.pinged = Some(now);
                effects.push(Effect::Ping);
            }
            _ => {}
        }
    }

    fn on_hear(&mut self, now: Millis) {
        self.heard = now;
        self.pinged = None;
    }

    /// Pings cost the node an answer each, so they count as messages, and nobody needs many.
    fn on_control(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.on_hear(now);
        if self.limiter.check(now).is_err() {
            effects.push(Effect::CountRateLimited);
            self.strike(effects);
        }
    }

    fn on_message(&mut self, now: Millis, encoding: Encoding, bytes: &[u8], effects: &mut Vec<Effect>) {
        self.on_hear(now);
        self.wanted = now;
        let allowed = self.limiter.check(now);
        let message = match decode::<ClientMessage>(encoding, bytes) {
            Ok(message) => message,
            Err(error) => {
                let ticket = Ticket { id: None, encoding };
                if allowed.is_err() {
                    effects.push(Effect::CountRateLimited);
                    self.strike(effects);
                }
                let text = format!("not a message of this protocol: {error}");
                return self.refuse(now, ticket, "malformed_message", text, effects);
            }
        };
        let ticket = Ticket { id: message.id(), encoding };
        if let Err(wait) = allowed {
            return self.on_too_much(now, ticket, wait, effects);
        }
        self.strikes = 0;
        match message {
            ClientMessage::Ask { to, operation, key, payload, timeout_ms, at_least_once, .. } => {
                let order = Order { to, operation, key, payload, at_least_once };
                self.on_ask(now, ticket, order, timeout_ms, effects);
            }
            ClientMessage::Tell { to, operation, key, payload, .. } => {
                let order = Order { to, operation, key, payload, at_least_once: false };
                match self.check_order(&order) {
                    Ok(()) => effects.push(Effect::Tell(ticket, order)),
                    Err((code, text)) => self.refuse(now, ticket, code, text, effects),
                }
            }
            ClientMessage::Subscribe { group, .. } => self.on_subscribe(now, ticket, &group, effects),
            ClientMessage::Unsubscribe { group, .. } => self.on_unsubscribe(now, ticket, &group, effects),
        }
    }

    fn on_too_much(&mut self, now: Millis, ticket: Ticket, wait: Duration, effects: &mut Vec<Effect>) {
        effects.push(Effect::CountRateLimited);
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let message = ServerMessage::Error {
            id: ticket.id,
            code: "rate_limited".to_owned(),
            message: format!(
                "more than {} messages a second, {} at once (clients.rate, clients.burst): wait {retry_after_ms} ms",
                self.rules.rate, self.rules.burst
            ),
            retry_after_ms: Some(retry_after_ms),
        };
        self.send(now, Frame::of(ticket.encoding, &message), effects);
        self.strike(effects);
    }

    fn strike(&mut self, effects: &mut Vec<Effect>) {
        self.strikes += 1;
        if self.strikes >= self.rules.burst.max(STRIKES_MIN) {
            self.close(CloseReason::RateLimited, effects);
        }
    }

    fn on_ask(
        &mut self,
        now: Millis,
        ticket: Ticket,
        order: Order,
        timeout_ms: Option<u64>,
        effects: &mut Vec<Effect>,
    ) {
        let longest = u64::try_from(self.rules.ask_timeout.as_millis()).unwrap_or(u64::MAX);
        let timeout = timeout_ms.unwrap_or(longest);
        if !(1..=longest).contains(&timeout) {
            let text = format!("`timeout_ms` is {timeout}; give 1 to {longest} (clients.ask_timeout)");
            return self.refuse(now, ticket, "bad_field", text, effects);
        }
        if let Err((code, text)) = self.check_order(&order) {
            return self.refuse(now, ticket, code, text, effects);
        }
        if self.asks >= self.rules.asks {
            let text = format!("{} asks wait for their answers, as many as may (clients.asks)", self.asks);
            return self.refuse(now, ticket, "too_many_asks", text, effects);
        }
        self.asks += 1;
        effects.push(Effect::Ask(ticket, order, Duration::from_millis(timeout)));
    }

    fn check_order(&self, order: &Order) -> Result<(), (&'static str, String)> {
        if !self.rules.allow.agent(&order.to) {
            return Err((
                "not_allowed",
                format!("clients may not reach `{}` (clients.allow)", shortened(&order.to)),
            ));
        }
        if order.key.len() > KEY_BYTES_MAX {
            let length = order.key.len();
            return Err((
                "bad_field",
                format!("the key has {length} bytes; at most {KEY_BYTES_MAX} are allowed"),
            ));
        }
        let (length, most) = (order.payload.bytes().len(), self.rules.payload_bytes);
        if length > most {
            let text =
                format!("the payload has {length} bytes; a message may have {most} (limits.payload_bytes)");
            return Err(("payload_too_large", text));
        }
        Ok(())
    }

    fn on_subscribe(&mut self, now: Millis, ticket: Ticket, group: &str, effects: &mut Vec<Effect>) {
        let most = self.rules.subscriptions as usize;
        let refused = if !self.rules.allow.group(group) {
            Some(("not_allowed", format!("clients may not listen to `{}` (clients.allow)", shortened(group))))
        } else if self.groups.iter().any(|other| &**other == group) {
            Some(("already_subscribed", format!("this connection listens to `{group}` already")))
        } else if self.groups.len() >= most {
            let text = format!(
                "this connection listens to {most} groups, as many as it may (clients.subscriptions)"
            );
            Some(("too_many_subscriptions", text))
        } else {
            None
        };
        if let Some((code, text)) = refused {
            return self.refuse(now, ticket, code, text, effects);
        }
        let group: Arc<str> = group.into();
        self.groups.push(group.clone());
        effects.push(Effect::Listen(ticket, group));
    }

    fn on_unsubscribe(&mut self, now: Millis, ticket: Ticket, group: &str, effects: &mut Vec<Effect>) {
        let Some(at) = self.groups.iter().position(|other| &**other == group) else {
            let text = format!("this connection does not listen to `{}`", shortened(group));
            return self.refuse(now, ticket, "not_subscribed", text, effects);
        };
        effects.push(Effect::Leave(self.groups.remove(at)));
        self.reply(now, ticket, Ok(()), effects);
    }

    /// Says that it is done, to whoever asked to be told, or that it is not, to everybody.
    fn reply(
        &mut self,
        now: Millis,
        ticket: Ticket,
        result: Result<(), AgentError>,
        effects: &mut Vec<Effect>,
    ) {
        let message = match (result, ticket.id) {
            (Ok(()), None) => return,
            (Ok(()), Some(id)) => ServerMessage::Done { id },
            (Err(error), id) => refusal(id, &error),
        };
        self.send(now, Frame::of(ticket.encoding, &message), effects);
    }

    fn refuse(
        &mut self,
        now: Millis,
        ticket: Ticket,
        code: &str,
        text: impl Into<String>,
        effects: &mut Vec<Effect>,
    ) {
        self.send(now, Frame::of(ticket.encoding, &failure(ticket.id, code, text)), effects);
    }

    fn send(&mut self, now: Millis, frame: Frame, effects: &mut Vec<Effect>) {
        if self.closing {
            return;
        }
        let others = self.queued_messages;
        let bytes = self.queued_bytes + frame.bytes.len();
        // One message alone may be longer than the queue.
        if others >= self.rules.queue_messages || (others > 0 && bytes > self.rules.queue_bytes) {
            return self.close(CloseReason::Slow, effects);
        }
        if others == 0 {
            self.writing = now;
        }
        self.queued_messages += 1;
        self.queued_bytes = bytes;
        effects.push(Effect::Send(frame));
    }

    fn close(&mut self, reason: CloseReason, effects: &mut Vec<Effect>) {
        if !self.closing {
            self.closing = true;
            effects.push(Effect::Close(reason));
        }
    }
}

/// A client's text, short enough to be sent back to it.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
