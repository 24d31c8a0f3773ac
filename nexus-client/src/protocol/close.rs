//! Why a node closes a connection.

/// Why a node closes a connection: the close frame's code, and its reason in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The client closed it, or vanished.
    Client,
    /// The node stops.
    Stopping,
    /// What came was no WebSocket frame.
    Protocol,
    /// A text frame was no UTF-8.
    Text,
    /// A message was longer than the node takes.
    TooLong,
    /// The client said nothing for the idle time-out, waited for nothing and listened to nothing.
    Idle,
    /// The client did not answer a ping in time.
    Unresponsive,
    /// The client did not read what it was sent: its queue was full, or one message took too long.
    Slow,
    /// The client went on sending after it had been told that it sends too much.
    RateLimited,
}

impl CloseReason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Client,
        Self::Stopping,
        Self::Protocol,
        Self::Text,
        Self::TooLong,
        Self::Idle,
        Self::Unresponsive,
        Self::Slow,
        Self::RateLimited,
    ];

    /// The close frame's code: RFC 6455's where it has one, else one of those for private use.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Client => 1000,
            Self::Stopping => 1001,
            Self::Protocol => 1002,
            Self::Text => 1007,
            Self::TooLong => 1009,
            Self::Idle => 4000,
            Self::Unresponsive => 4001,
            Self::Slow => 4002,
            Self::RateLimited => 4003,
        }
    }

    /// Its name in metrics, events and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Stopping => "stopping",
            Self::Protocol => "protocol",
            Self::Text => "text",
            Self::TooLong => "too_long",
            Self::Idle => "idle",
            Self::Unresponsive => "unresponsive",
            Self::Slow => "slow",
            Self::RateLimited => "rate_limited",
        }
    }

    /// The reason of a close frame's code; `None` for codes that no node sends.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// What the close frame says; at most 123 bytes.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Client => "",
            Self::Stopping => "the node stops",
            Self::Protocol => "not a WebSocket frame",
            Self::Text => "a text frame that is no UTF-8",
            Self::TooLong => "a message longer than clients.message_bytes",
            Self::Idle => "nothing was said within clients.idle_timeout",
            Self::Unresponsive => "a ping was not answered within clients.pong_timeout",
            Self::Slow => {
                "what was sent was not read: see clients.queue_messages, queue_bytes and write_timeout"
            }
            Self::RateLimited => "more messages or pings than clients.rate, again and again",
        }
    }
}
