//! Limits of the links.

use std::time::Duration;

/// What a link may use, and when it gives up. The defaults suit a local network.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// A frame is closed when its body is this long, or earlier when the carrier asks for it. Larger frames cost a flood less and an ask
    /// behind it more. Default 64 KiB.
    pub frame_bytes: usize,
    /// The longest body that is taken from a peer, without compression. At least twice `frame_bytes` and `part_bytes`. Default 1 MiB.
    pub body_bytes_max: usize,
    /// Envelopes that are longer travel in parts of this length. Default 64 KiB.
    pub part_bytes: usize,
    /// The longest envelope. A link puts one together at a time, so this is also what a peer can make it hold. Default 16 MiB.
    pub message_bytes_max: usize,
    /// Bodies at least this long are compressed. It pays where the network is slower than about 400 MB/s, which is what lz4 takes of a
    /// core. Default never.
    pub lz4_min_bytes: usize,
    /// Messages that wait for the peer at most. Default 65,536.
    pub queue_messages: u64,
    /// Bytes that wait for the peer at most; one message may always wait. Replies may take as much again. Default 4 MiB.
    pub queue_bytes: u64,
    /// Bytes of control messages that wait for the peer at most. Default 4 MiB.
    pub control_bytes: u64,
    /// What a peer may have sent that agents here have not consumed, in bytes of bodies; one frame more at most. It should hold what
    /// the connection carries in a round trip. Default 1 MiB.
    pub window_bytes: u32,
    /// Asks of the peer that wait for their answer here at most; more are refused. Default 65,536.
    pub serving_max: usize,
    /// Asks of the peer that may be tried again and are remembered at most, those that wait for their answer included; if all do, more are
    /// refused. Default 65,536.
    pub remembered_max: usize,
    /// Bytes of their answers that are kept at most; one answer always is. Default 8 MiB.
    pub answer_bytes: u64,
    /// How long an answer is kept: a try that comes later is handled as a new ask. It should be longer than nodes are apart. Default
    /// 10 min.
    pub answers_kept_for: Duration,
    /// How long a peer may be without a connection before it is lost, with all that waits for it. Default 15 s.
    pub reconnect_timeout: Duration,
    /// The window is doubled when it was full for so long and nothing was consumed. Default 1 s.
    pub strained_after: Duration,
    /// While it is, an agent that handles nothing gets so many bytes from this peer and no more. Default 128 KiB.
    pub strained_share: u32,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            frame_bytes: 64 << 10,
            body_bytes_max: 1 << 20,
            part_bytes: 64 << 10,
            message_bytes_max: 16 << 20,
            lz4_min_bytes: usize::MAX,
            queue_messages: 65_536,
            queue_bytes: 4 << 20,
            control_bytes: 4 << 20,
            window_bytes: 1 << 20,
            serving_max: 65_536,
            remembered_max: 65_536,
            answer_bytes: 8 << 20,
            answers_kept_for: Duration::from_secs(600),
            reconnect_timeout: Duration::from_secs(15),
            strained_after: Duration::from_secs(1),
            strained_share: 128 << 10,
        }
    }
}

/// How often links look at their clocks: acknowledgements wait as long at most, and so does an asker's cancellation.
pub(super) const TICK: Duration = Duration::from_millis(20);
