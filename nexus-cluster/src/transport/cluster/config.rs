//! What the carrier is told: who the node is, whom it trusts, and its bounds.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::NodeId;

/// The protocol versions that this release speaks. A release speaks its own and the one before, so that two adjacent releases can be in
/// one cluster.
pub const VERSIONS: RangeInclusive<u16> = 1..=1;

/// Bytes of a cookie at least: it is proven by HMAC, which hides a short one from nobody who can guess.
const COOKIE_BYTES_MIN: usize = 16;

/// Bytes of a cluster's name at most.
const CLUSTER_BYTES_MAX: usize = 255;

/// Bytes of a frame or message at most that the outer header can say.
const FRAME_BYTES_LIMIT: usize = (1 << 24) - 1;

/// The secret that all nodes of a cluster share. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie(String);

impl Cookie {
    /// The cookie `secret`; [`ClusterConfig::validate`] says whether it is long enough.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(hidden)")
    }
}

/// PEM files of mutual TLS. Read again when one of them changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The node's certificate, then those between it and the CA. It must name the node ([`NodeId::name`]) and the hosts or IPs by which
    /// others dial it.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The certificates of the authorities whom we trust to name nodes.
    pub ca: PathBuf,
}

/// What protects the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Nothing but the proof of the cookie at the start: for loopback and for networks that are trusted.
    Plain,
    /// TLS 1.3 with certificates on both sides.
    Tls(TlsFiles),
}

/// Bounds of what others can make us keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Handshakes at once that others began. One more ends the oldest: an honest one takes milliseconds, a stalled one grows old.
    /// Default 256.
    pub handshakes_max: usize,
    /// Authenticated connections at once. Default 1,024.
    pub connections_max: usize,
    /// Connections a second from one address (IPv6: from one /64) after a burst. Default 50.
    pub accepts_per_second: u32,
    /// Connections at once from one address after a pause. Default 200.
    pub accepts_burst: u32,
    /// Bytes of a frame of the data lane. A larger one ends the connection. Default 4 MiB.
    pub frame_bytes_max: usize,
    /// Messages of the control lane that the peer's gateway has not yet handled; further ones stay with the link. Default 1,024.
    pub control_messages_max: u64,
    /// Bytes of the same, and of one ractor_cluster frame. Default 4 MiB.
    pub control_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes_max: 256,
            connections_max: 1_024,
            accepts_per_second: 50,
            accepts_burst: 200,
            frame_bytes_max: 4 << 20,
            control_messages_max: 1_024,
            control_bytes_max: 4 << 20,
        }
    }
}

/// Times of the carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the first byte to a connection that both sides can use. Default 5 s.
    pub handshake: Duration,
    /// After so long without a byte sent, an empty frame is. Default 1 s.
    pub heartbeat: Duration,
    /// After so long without a byte heard, the connection is lost. Default 5 s, at least three times the heartbeat: less detects a dead peer
    /// sooner and takes a slow one for dead.
    pub idle: Duration,
    /// The first wait before dialling again; doubles up to the next. A random half of it is left out. Default 100 ms.
    pub redial_min: Duration,
    /// The longest wait before dialling again. Default 10 s.
    pub redial_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            heartbeat: Duration::from_secs(1),
            idle: Duration::from_secs(5),
            redial_min: Duration::from_millis(100),
            redial_max: Duration::from_secs(10),
        }
    }
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// This life of this node.
    pub node: NodeId,
    /// The cluster's name: nodes of another are refused.
    pub cluster: String,
    /// The cluster's secret.
    pub cookie: Cookie,
    /// Where we listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What protects the stream.
    pub security: Security,
    /// Versions that we speak; [`VERSIONS`] unless a test says otherwise.
    pub versions: RangeInclusive<u16>,
    /// Bounds.
    pub limits: Limits,
    /// Times.
    pub timing: Timing,
}

/// A value that the carrier cannot work with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClusterConfigError {
    /// Too easy to guess.
    #[error(
        "the cookie has {bytes} bytes, at least {COOKIE_BYTES_MIN} are needed; `openssl rand -hex 32` makes a good one"
    )]
    CookieShort {
        /// Its length.
        bytes: usize,
    },
    /// Not a name.
    #[error("the cluster's name has {bytes} bytes, 1 to {CLUSTER_BYTES_MAX} are allowed")]
    ClusterName {
        /// Its length.
        bytes: usize,
    },
    /// Nothing fits in it.
    #[error("{what} is {value}, {min} to {max} is allowed")]
    Range {
        /// The setting.
        what: &'static str,
        /// What it is.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// One lost heartbeat would end a connection.
    #[error("idle time-out ({idle:?}) must be at least three times the heartbeat ({heartbeat:?})")]
    Idle {
        /// The idle time-out.
        idle: Duration,
        /// The heartbeat.
        heartbeat: Duration,
    },
}

impl ClusterConfig {
    /// `node` in `cluster`, listening at `listen`, with the defaults and without TLS.
    #[must_use]
    pub fn new(node: NodeId, cluster: impl Into<String>, cookie: Cookie, listen: SocketAddr) -> Self {
        Self {
            node,
            cluster: cluster.into(),
            cookie,
            listen,
            security: Security::Plain,
            versions: VERSIONS,
            limits: Limits::default(),
            timing: Timing::default(),
        }
    }

    /// Checks the values against each other.
    ///
    /// # Errors
    /// The first that cannot be.
    pub fn validate(&self) -> Result<(), ClusterConfigError> {
        let range = |what, value: u64, min: u64, max: u64| {
            let allowed = (min..=max).contains(&value);
            allowed.then_some(()).ok_or(ClusterConfigError::Range { what, value, min, max })
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Limits { handshakes_max, connections_max, frame_bytes_max, control_bytes_max, .. } = self.limits;
        let hour = 3_600_000;

        let bytes = self.cookie.bytes().len();
        if bytes < COOKIE_BYTES_MIN {
            return Err(ClusterConfigError::CookieShort { bytes });
        }
        let bytes = self.cluster.len();
        if !(1..=CLUSTER_BYTES_MAX).contains(&bytes) {
            return Err(ClusterConfigError::ClusterName { bytes });
        }
        range("limits.handshakes_max", handshakes_max as u64, 1, 1 << 16)?;
        range("limits.connections_max", connections_max as u64, 1, 1 << 16)?;
        range("limits.accepts_per_second", self.limits.accepts_per_second.into(), 1, 1 << 20)?;
        range("limits.accepts_burst", self.limits.accepts_burst.into(), 1, 1 << 20)?;
        range("limits.frame_bytes_max", frame_bytes_max as u64, 1 << 10, FRAME_BYTES_LIMIT as u64)?;
        range("limits.control_messages_max", self.limits.control_messages_max, 1, 1 << 20)?;
        range("limits.control_bytes_max", control_bytes_max as u64, 1 << 10, FRAME_BYTES_LIMIT as u64)?;
        range("timing.handshake in ms", millis(self.timing.handshake), 1, hour)?;
        range("timing.heartbeat in ms", millis(self.timing.heartbeat), 1, hour)?;
        range("timing.redial_min in ms", millis(self.timing.redial_min), 1, hour)?;
        range(
            "timing.redial_max in ms",
            millis(self.timing.redial_max),
            millis(self.timing.redial_min),
            hour,
        )?;
        let Timing { idle, heartbeat, .. } = self.timing;
        if idle < 3 * heartbeat {
            return Err(ClusterConfigError::Idle { idle, heartbeat });
        }
        Ok(())
    }
}
