//! Why a stream does not become a connection; each reason has its own count.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use thiserror::Error;

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The other's proof of the cookie is wrong.
    WrongCookie,
    /// The other is of another cluster.
    WrongCluster,
    /// No protocol version is spoken by both.
    Version,
    /// The other bears our own name.
    OwnName,
    /// A newer life of the other is connected.
    Outdated,
    /// The other is connected already.
    Duplicate,
    /// A handshake that was heard before.
    Replayed,
    /// No TLS where TLS is asked for.
    Plaintext,
    /// TLS where none is spoken.
    Tls,
    /// A certificate of an authority that is not ours.
    UntrustedCertificate,
    /// A certificate whose time is over or has not begun.
    ExpiredCertificate,
    /// No certificate, one that cannot be read, or one of another name.
    BadCertificate,
    /// It took too long.
    TimeOut,
    /// Too many handshakes or connections at once.
    TooMany,
    /// Too many connections from one address in a short time.
    Rate,
    /// Bytes that no node sends.
    Malformed,
    /// The other went away.
    Closed,
}

impl Refusal {
    /// All of them, in the order of their counts.
    pub const ALL: [Self; 17] = [
        Self::WrongCookie,
        Self::WrongCluster,
        Self::Version,
        Self::OwnName,
        Self::Outdated,
        Self::Duplicate,
        Self::Replayed,
        Self::Plaintext,
        Self::Tls,
        Self::UntrustedCertificate,
        Self::ExpiredCertificate,
        Self::BadCertificate,
        Self::TimeOut,
        Self::TooMany,
        Self::Rate,
        Self::Malformed,
        Self::Closed,
    ];

    /// Its name, on the wire and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WrongCookie => "wrong_cookie",
            Self::WrongCluster => "wrong_cluster",
            Self::Version => "version",
            Self::OwnName => "own_name",
            Self::Outdated => "outdated",
            Self::Duplicate => "duplicate",
            Self::Replayed => "replayed",
            Self::Plaintext => "plaintext",
            Self::Tls => "tls",
            Self::UntrustedCertificate => "untrusted_certificate",
            Self::ExpiredCertificate => "expired_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::TimeOut => "time_out",
            Self::TooMany => "too_many",
            Self::Rate => "rate",
            Self::Malformed => "malformed",
            Self::Closed => "closed",
        }
    }

    /// The reason that a peer calls `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.as_str() == name)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A handshake that failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// We refused.
    #[error("refused ({refusal}): {detail}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// The values behind it, and the remedy.
        detail: String,
    },
    /// The other refused.
    #[error("refused by the peer ({0})")]
    ByPeer(Refusal),
    /// Nobody answers there.
    #[error("unreachable: {0}")]
    Unreachable(String),
}

impl HandshakeError {
    pub(super) fn refused(refusal: Refusal, detail: impl Into<String>) -> Self {
        Self::Refused { refusal, detail: detail.into() }
    }
}

/// The counts of one direction.
#[derive(Debug, Default)]
struct Counts([AtomicU64; Refusal::ALL.len()]);

impl Counts {
    fn add(&self, refusal: Refusal) {
        self.0[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn seen(&self) -> BTreeMap<Refusal, u64> {
        let counts = Refusal::ALL.into_iter().map(|it| (it, self.0[it as usize].load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// Told of each stream that does not become a connection: the address at its other end, and why. It must not block.
pub type Observer = Box<dyn Fn(&str, &HandshakeError) + Send + Sync>;

/// What became of all streams.
#[derive(Default)]
pub(super) struct Tally {
    observer: OnceLock<Observer>,
    refused: Counts,
    refused_by_peer: Counts,
    unreachable: AtomicU64,
    accepted: AtomicU64,
    pub(super) connected: AtomicU64,
}

impl Tally {
    pub(super) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Only the first one counts.
    pub(super) fn observe(&self, observer: Observer) {
        let _ = self.observer.set(observer);
    }

    pub(super) fn fail(&self, peer: &str, error: &HandshakeError) {
        if let Some(observer) = self.observer.get() {
            observer(peer, error);
        }
        match error {
            HandshakeError::Refused { refusal, .. } => self.refused.add(*refusal),
            HandshakeError::ByPeer(refusal) => self.refused_by_peer.add(*refusal),
            HandshakeError::Unreachable(_) => _ = self.unreachable.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(super) fn overview(&self) -> Handshakes {
        Handshakes {
            accepted: self.accepted.load(Ordering::Relaxed),
            connected: self.connected.load(Ordering::Relaxed),
            unreachable: self.unreachable.load(Ordering::Relaxed),
            refused: self.refused.seen(),
            refused_by_peer: self.refused_by_peer.seen(),
        }
    }
}

/// Counts of handshakes since the node's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Handshakes {
    /// Streams that others opened.
    pub accepted: u64,
    /// Connections that both sides could use.
    pub connected: u64,
    /// Dials that nobody answered.
    pub unreachable: u64,
    /// Refused by us, by reason; only what occurred.
    pub refused: BTreeMap<Refusal, u64>,
    /// Refused by the other, by its reason; only what occurred.
    pub refused_by_peer: BTreeMap<Refusal, u64>,
}
