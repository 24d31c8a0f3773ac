//! Who is at the other end, before ractor_cluster sees a byte.
//!
//! ```text
//!   dialer                                             acceptor
//!     magic, Hello(versions, cluster, node, nonce)  →
//!                              ←  Hello(versions, cluster, node, nonce)
//!     Proof(HMAC(cookie, "dialer" ‖ transcript))    →
//!                              ←  Proof(HMAC(cookie, "acceptor" ‖ transcript))
//!   the higher name                                    the lower name, which decides
//!     Holds(epoch of the connection it has, if any) →
//!                              ←  Verdict(sequence) or Refuse(reason)
//! ```
//!
//! Challenge and response in both directions (ISO/IEC 9798-4, mutual authentication by a keyed check function). The transcript is both
//! hellos as they were sent and, under TLS, keying material exported from the session (RFC 9266): a proof fits one handshake, one role and
//! one stream only. Nonces are 256 bits from the operating system: a node's seed is printed, and a nonce must not be foreseeable. The
//! connection's epoch is another HMAC over the transcript, so both ends know it and nobody else does.
//!
//! Messages are MessagePack maps behind a length of 16 bits. Fields that a version does not know are ignored; both ends hash the bytes, not
//! the fields.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use parking_lot::Mutex;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::config::ClusterConfig;
use super::refusal::{HandshakeError, Refusal};
use crate::{NodeId, NodeName};

/// What a dialer sends first: neither TLS nor HTTP, and not a message.
pub(super) const MAGIC: [u8; 8] = *b"nexus\r\n\x01";

/// The first byte of a TLS handshake record.
pub(super) const TLS_RECORD: u8 = 0x16;

/// Bytes of a message at most: two names of 255 bytes and a nonce fit twice.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// Nonces of proven handshakes that are remembered to tell a replay from a wrong cookie; both are refused.
const NONCES_MAX: usize = 1_024;

type Nonce = [u8; 32];

/// Which end of the stream we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Dialer,
    Acceptor,
}

impl Role {
    const fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }

    const fn label(self) -> &'static [u8] {
        match self {
            Self::Dialer => b"nexus dialer proof",
            Self::Acceptor => b"nexus acceptor proof",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hello {
    version_min: u16,
    version_max: u16,
    cluster: String,
    name: NodeName,
    incarnation: u64,
    nonce: Nonce,
    /// The local part of the gateway's actor id, by which the other finds its proxy.
    gateway: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Hello(Hello),
    Proof([u8; 32]),
    Holds(Option<u64>),
    Verdict(u64),
    Refuse(String),
}

/// What a node brings to every handshake.
pub(super) struct Identity {
    pub(super) node: NodeId,
    cluster: String,
    versions: (u16, u16),
    key: hmac::Key,
    gateway: u64,
    random: SystemRandom,
    heard: Mutex<Heard>,
}

/// The other end, proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) version: u16,
    pub(super) epoch: u64,
    pub(super) gateway: u64,
}

/// Nonces heard in proven handshakes, the oldest first.
#[derive(Default)]
struct Heard {
    order: VecDeque<Nonce>,
    nonces: BTreeSet<Nonce>,
}

impl Heard {
    fn add(&mut self, nonce: Nonce) {
        if self.nonces.insert(nonce) {
            self.order.push_back(nonce);
        }
        if self.order.len() > NONCES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.nonces.remove(&oldest);
        }
    }
}

impl Identity {
    pub(super) fn new(config: &ClusterConfig, gateway: u64) -> Self {
        Self {
            node: config.node.clone(),
            cluster: config.cluster.clone(),
            versions: (*config.versions.start(), *config.versions.end()),
            key: hmac::Key::new(hmac::HMAC_SHA256, config.cookie.bytes()),
            gateway,
            random: SystemRandom::new(),
            heard: Mutex::default(),
        }
    }

    /// The cookie that ractor_cluster is given: its own challenge has 32 bits and must not be a way to ours.
    pub(super) fn session_cookie(config: &ClusterConfig) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, config.cookie.bytes());
        let tag = hmac::sign(&key, b"nexus session cookie");
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// True if we decide which of two connections to `peer` is kept: the lower name does.
    pub(super) fn decides(&self, peer: &NodeName) -> bool {
        self.node.name < *peer
    }

    fn hello(&self) -> Result<Hello, HandshakeError> {
        let mut nonce = Nonce::default();
        let no_random = |_| HandshakeError::Unreachable("the operating system gives no random bytes".into());
        self.random.fill(&mut nonce).map_err(no_random)?;
        Ok(Hello {
            version_min: self.versions.0,
            version_max: self.versions.1,
            cluster: self.cluster.clone(),
            name: self.node.name.clone(),
            incarnation: self.node.incarnation,
            nonce,
            gateway: self.gateway,
        })
    }

    /// Checks a hello for what needs no proof, and gives the version that both speak: the highest.
    fn check(&self, hello: &Hello) -> Result<u16, HandshakeError> {
        let refused = |refusal, detail: String| Err(HandshakeError::refused(refusal, detail));
        if hello.cluster != self.cluster {
            return refused(Refusal::WrongCluster, format!("`{}` is not of `{}`", hello.name, self.cluster));
        }
        if hello.name == self.node.name {
            return refused(
                Refusal::OwnName,
                format!("`{}` is our own name; each node needs its own", hello.name),
            );
        }
        let (min, max) = self.versions;
        let version = max.min(hello.version_max);
        if version < min.max(hello.version_min) {
            let (theirs, detail) = (hello.version_min..=hello.version_max, "upgrade one release at a time");
            return refused(
                Refusal::Version,
                format!("it speaks {theirs:?}, we speak {min}..={max}: {detail}"),
            );
        }
        if self.heard.lock().nonces.contains(&hello.nonce) {
            return refused(Refusal::Replayed, format!("a handshake of `{}` was heard before", hello.name));
        }
        Ok(version)
    }

    fn sign(&self, label: &[u8], transcript: &Transcript) -> [u8; 32] {
        let mut tag = [0; 32];
        tag.copy_from_slice(hmac::sign(&self.key, &transcript.bytes(label)).as_ref());
        tag
    }
}

/// Both hellos as sent, and what binds them to the stream.
struct Transcript {
    dialer: Vec<u8>,
    acceptor: Vec<u8>,
    binding: Vec<u8>,
}

impl Transcript {
    /// What is signed for `label`: lengths in front, so that no two transcripts are the same bytes.
    fn bytes(&self, label: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [label, &self.dialer, &self.acceptor, &self.binding] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

/// Proves both ends to each other. `binding` is the TLS session's keying material, empty without TLS.
///
/// # Errors
/// Why the other is refused (it has been told, if it spoke our language), or why it refused us.
pub(super) async fn authenticate<S>(
    stream: &mut S,
    role: Role,
    identity: &Identity,
    binding: &[u8],
) -> Result<Peer, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let result = prove(stream, role, identity, binding).await;
    if let Err(HandshakeError::Refused { refusal, .. }) = &result {
        refuse(stream, *refusal).await;
    }
    result
}

async fn prove<S>(
    stream: &mut S,
    role: Role,
    identity: &Identity,
    binding: &[u8],
) -> Result<Peer, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ours = encode(&Message::Hello(identity.hello()?));
    let (theirs, hello) = match role {
        Role::Dialer => {
            stream.write_all(&MAGIC).await.map_err(lost)?;
            write(stream, &ours).await?;
            read_hello(stream).await?
        }
        Role::Acceptor => {
            read_magic(stream).await?;
            read_hello(stream).await?
        }
    };
    let version = identity.check(&hello)?;
    if role == Role::Acceptor {
        write(stream, &ours).await?;
    }
    let binding = binding.to_vec();
    let transcript = match role {
        Role::Dialer => Transcript { dialer: ours, acceptor: theirs, binding },
        Role::Acceptor => Transcript { dialer: theirs, acceptor: ours, binding },
    };

    let proof = encode(&Message::Proof(identity.sign(role.label(), &transcript)));
    // The dialer proves itself first: who does not know the cookie learns nothing from an acceptor.
    if role == Role::Dialer {
        write(stream, &proof).await?;
    }
    let Message::Proof(theirs) = read(stream).await? else { return Err(unexpected("a proof")) };
    // In constant time.
    if hmac::verify(&identity.key, &transcript.bytes(role.other().label()), &theirs).is_err() {
        let detail = format!("`{}` does not know our cookie", hello.name);
        return Err(HandshakeError::refused(Refusal::WrongCookie, detail));
    }
    identity.heard.lock().add(hello.nonce);
    if role == Role::Acceptor {
        write(stream, &proof).await?;
    }

    let mut epoch = [0; 8];
    epoch.copy_from_slice(&identity.sign(b"nexus epoch", &transcript)[..8]);
    let node = NodeId { name: hello.name, incarnation: hello.incarnation };
    Ok(Peer { node, version, epoch: u64::from_le_bytes(epoch), gateway: hello.gateway })
}

/// Tells the deciding end which connection we have to it, and gives its verdict: the sequence number of the admission.
pub(super) async fn ask<S>(stream: &mut S, holds: Option<u64>) -> Result<u64, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    write(stream, &encode(&Message::Holds(holds))).await?;
    match read(stream).await? {
        Message::Verdict(sequence) => Ok(sequence),
        _ => Err(unexpected("a verdict")),
    }
}

/// The epoch of the connection that the other end has to us.
pub(super) async fn asked<S>(stream: &mut S) -> Result<Option<u64>, HandshakeError>
where
    S: AsyncRead + Unpin,
{
    match read(stream).await? {
        Message::Holds(epoch) => Ok(epoch),
        _ => Err(unexpected("what it holds")),
    }
}

/// Tells the other end that the connection is admitted.
pub(super) async fn admit<S>(stream: &mut S, sequence: u64) -> Result<(), HandshakeError>
where
    S: AsyncWrite + Unpin,
{
    write(stream, &encode(&Message::Verdict(sequence))).await
}

/// Tells the other end why not; whether it hears it does not matter to us.
pub(super) async fn refuse<S>(stream: &mut S, refusal: Refusal)
where
    S: AsyncWrite + Unpin,
{
    if refusal != Refusal::Closed {
        _ = write(stream, &encode(&Message::Refuse(refusal.as_str().into()))).await;
        _ = stream.shutdown().await;
    }
}

fn encode(message: &Message) -> Vec<u8> {
    rmp_serde::to_vec_named(message).expect("names, numbers and bytes always encode")
}

fn unexpected(what: &str) -> HandshakeError {
    HandshakeError::refused(Refusal::Malformed, format!("{what} was expected"))
}

/// What an error of the socket says of the handshake; also those that rustls wraps.
fn lost(error: io::Error) -> HandshakeError {
    super::tls::classify(&error)
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> Result<(), HandshakeError> {
    let length = u16::try_from(message.len()).expect("a message has 1,024 bytes at most");
    let mut bytes = Vec::with_capacity(2 + message.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await.map_err(lost)?;
    stream.flush().await.map_err(lost)
}

/// Fills `buffer`. Nothing at all is a peer that went away; a part is one that was cut short.
async fn fill<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut [u8]) -> Result<(), HandshakeError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]).await.map_err(lost)? {
            0 if filled == 0 => return Err(HandshakeError::refused(Refusal::Closed, "the peer went away")),
            0 => return Err(HandshakeError::refused(Refusal::Malformed, "cut short")),
            read => filled += read,
        }
    }
    Ok(())
}

async fn read_magic<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), HandshakeError> {
    let mut magic = [0; MAGIC.len()];
    fill(stream, &mut magic).await?;
    match magic {
        MAGIC => Ok(()),
        [TLS_RECORD, ..] => {
            Err(HandshakeError::refused(Refusal::Tls, "it speaks TLS, we do not: set it on both sides"))
        }
        _ => Err(HandshakeError::refused(Refusal::Malformed, "no node begins like this")),
    }
}

async fn read_bytes<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, HandshakeError> {
    let mut length = [0; 2];
    fill(stream, &mut length).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MESSAGE_BYTES_MAX {
        let detail = format!("a message of {length} bytes, {MESSAGE_BYTES_MAX} are allowed");
        return Err(HandshakeError::refused(Refusal::Malformed, detail));
    }
    let mut bytes = vec![0; length];
    match fill(stream, &mut bytes).await {
        Err(HandshakeError::Refused { refusal: Refusal::Closed, .. }) => {
            Err(HandshakeError::refused(Refusal::Malformed, "cut short"))
        }
        filled => filled.map(|()| bytes),
    }
}

fn decode(bytes: &[u8]) -> Result<Message, HandshakeError> {
    let malformed = |_| HandshakeError::refused(Refusal::Malformed, "a message that does not decode");
    match rmp_serde::from_slice(bytes).map_err(malformed)? {
        // A reason that only a later version knows is still a refusal.
        Message::Refuse(reason) => {
            Err(HandshakeError::ByPeer(Refusal::named(&reason).unwrap_or(Refusal::Closed)))
        }
        message => Ok(message),
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Message, HandshakeError> {
    decode(&read_bytes(stream).await?)
}

async fn read_hello<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Vec<u8>, Hello), HandshakeError> {
    let bytes = read_bytes(stream).await?;
    match decode(&bytes)? {
        Message::Hello(hello) => Ok((bytes, hello)),
        _ => Err(unexpected("a hello")),
    }
}
