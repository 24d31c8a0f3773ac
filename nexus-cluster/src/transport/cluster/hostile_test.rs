//! Peers that are none: nothing of theirs is accepted, each is counted under its own reason, and honest peers go on.

use std::time::{Duration, UNIX_EPOCH};

use rand::Rng as _;
use rand::RngCore as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cluster_test::{DAY, files, tls};
use super::handshake::MAGIC;
use super::testing::*;
use super::*;
use crate::transport::Lane;

/// Two honest nodes still carry both lanes.
async fn check_honest(a: &TestNode, b: &TestNode) {
    let (one, other) = pair(a, b).await;
    let before = other.heard_count();
    one.send(Lane::Control, "hello");
    one.send(Lane::Data, "hello");
    until("the honest are heard", || other.heard_count() == before + 2).await;
}

/// Starts `hostile` against `honest` and waits until it is refused for `refusal` here, and hears so there if it can.
async fn check_refused(honest: &TestNode, hostile: ClusterConfig, refusal: Refusal, told: bool) {
    let before = honest.refused().get(&refusal).copied().unwrap_or(0);
    let hostile = TestNode::start(hostile).await;
    hostile.keep(honest);
    until(&format!("refused: {refusal}"), || {
        let heard = !told || hostile.refused_by_peer().contains_key(&refusal);
        honest.refused().get(&refusal).is_some_and(|count| *count > before) && heard
    })
    .await;
    hostile.carrier.stop();
    assert_eq!(hostile.lines(), 0);
}

/// Goal: each kind of wrong node is refused for its own reason, and is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_nodes_are_refused_for_their_reason() {
    let (a, b) = (TestNode::named("a").await, TestNode::named("b").await);
    b.keep(&a);
    check_honest(&b, &a).await;
    let cookie = Cookie::new("0123456789abcdeX");
    check_refused(&a, ClusterConfig { cookie, ..config("z") }, Refusal::WrongCookie, true).await;
    check_refused(&a, ClusterConfig { cluster: "other".into(), ..config("z") }, Refusal::WrongCluster, true)
        .await;
    check_refused(&a, ClusterConfig { versions: 2..=3, ..config("z") }, Refusal::Version, true).await;
    check_refused(&a, config("a"), Refusal::OwnName, true).await;
    let directory = tempfile::tempdir().unwrap();
    check_refused(&a, tls("z", files(directory.path(), "z")), Refusal::Tls, false).await;
    check_honest(&b, &a).await;
    assert_eq!(a.lines(), 1);
}

/// Goal: two adjacent releases speak the version that both know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adjacent_releases_agree_on_a_version() {
    let a = TestNode::start(ClusterConfig { versions: 1..=2, ..config("a") }).await;
    let b = TestNode::start(ClusterConfig { versions: 2..=3, ..config("b") }).await;
    b.keep(&a);
    let (one, other) = pair(&a, &b).await;
    assert_eq!((one.connection.version, other.connection.version), (2, 2));
}

/// Goal: under TLS, a peer without it, with a certificate of another authority, of another time or of another node is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_certificates_are_refused_for_their_reason() {
    let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = TestNode::start(tls("a", files(ours.path(), "a"))).await;
    let b = TestNode::start(tls("b", files(ours.path(), "b"))).await;
    b.keep(&a);
    check_honest(&b, &a).await;
    check_refused(&a, config("z"), Refusal::Plaintext, false).await;
    drop(TcpStream::connect(a.address()).await.unwrap());
    until("who says nothing is no attack", || a.refused().contains_key(&Refusal::Closed)).await;
    assert!(!a.refused().contains_key(&Refusal::Malformed));

    // It trusts our authority, so only its own certificate is wrong.
    let mut stranger = files(others.path(), "z");
    stranger.ca = ours.path().join("ca.pem");
    check_refused(&a, tls("z", stranger), Refusal::UntrustedCertificate, true).await;

    let authority = CertificateAuthority::open(ours.path()).unwrap();
    let past = UNIX_EPOCH.elapsed().unwrap() - 10 * DAY;
    let expired = authority.issue(&"y".parse().unwrap(), &[], past, DAY).unwrap();
    check_refused(&a, tls("y", expired), Refusal::ExpiredCertificate, true).await;
    check_refused(&a, tls("x", files(ours.path(), "not-x")), Refusal::BadCertificate, true).await;
    check_honest(&b, &a).await;
    assert_eq!(a.lines(), 1);
}

/// Goal: a handshake that was recorded is refused when it is played again. Method: a proxy between honest nodes records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_handshakes_are_refused() {
    let (a, b) = (TestNode::named("a").await, TestNode::named("b").await);
    let proxy = Proxy::start(a.address()).await;
    b.carrier.keep(&proxy.address.to_string());
    check_honest(&b, &a).await;
    let recorded = proxy.said.lock()[0].clone();
    let mut stream = TcpStream::connect(a.address()).await.unwrap();
    stream.write_all(&recorded).await.unwrap();
    until("refused", || a.refused().contains_key(&Refusal::Replayed)).await;
    assert_eq!(a.lines(), 1);
    check_honest(&b, &a).await;
}

/// Goal: a thousand clients that stall hold nobody up and are never more than the cap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_handshakes_block_nobody() {
    let mut one = config("a");
    (one.limits.accepts_burst, one.limits.handshakes_max) = (2_000, 64);
    one.timing.handshake = Duration::from_secs(2);
    let (a, b) = (TestNode::start(one).await, TestNode::named("b").await);
    let mut stalled = Vec::new();
    for number in 0..1_000 {
        let mut stream = TcpStream::connect(a.address()).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(&MAGIC).await.unwrap();
        }
        stalled.push(stream);
    }
    b.keep(&a);
    check_honest(&b, &a).await;
    until("the rest is refused", || {
        let refused = a.refused();
        let count = |refusal| refused.get(&refusal).copied().unwrap_or(0);
        count(Refusal::TooMany) + count(Refusal::TimeOut) == 1_000 && count(Refusal::TimeOut) <= 64
    })
    .await;
    check_honest(&b, &a).await;
    assert_eq!(a.lines(), 1);
}

/// Goal: a host that connects too often is refused before it costs anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_have_a_rate() {
    let mut one = config("a");
    (one.limits.accepts_per_second, one.limits.accepts_burst) = (1, 10);
    let a = TestNode::start(one).await;
    for _ in 0..100 {
        let mut stream = TcpStream::connect(a.address()).await.unwrap();
        _ = stream.write_all(&MAGIC).await;
    }
    until("most are refused", || a.refused().get(&Refusal::Rate).is_some_and(|count| *count > 50)).await;
}

/// Goal: bytes that no node sends end in `malformed`, whatever they are. Method: oversized, cut short, and random bytes, some after an
/// honest beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_random_bytes_are_malformed() {
    let seed = std::env::var("NEXUS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("NEXUS_TEST_SEED={seed}");
    let mut rng = Seed::new(seed).stream("hostile");
    let mut one = config("a");
    one.limits.accepts_burst = 2_000;
    let (a, b) = (TestNode::start(one).await, TestNode::named("b").await);
    b.keep(&a);
    check_honest(&b, &a).await;

    let mut attacks: Vec<Vec<u8>> = vec![
        [&MAGIC[..], &[0xff; 2_000]].concat(),
        [&MAGIC[..], &[0, 100], &[1; 20]].concat(),
        MAGIC[..3].to_vec(),
    ];
    for number in 0..200 {
        let mut bytes = vec![0; rng.random_range(1..3_000)];
        rng.fill_bytes(&mut bytes);
        match number % 3 {
            // Neither TLS nor an honest beginning.
            0 => bytes[0] = bytes[0].max(0x80),
            1 => bytes.splice(..0, MAGIC).for_each(drop),
            _ => {
                let length = (bytes.len() as u16).min(1_024).to_be_bytes();
                bytes.splice(..0, [&MAGIC[..], &length].concat()).for_each(drop);
            }
        }
        attacks.push(bytes);
    }
    let count = attacks.len() as u64;
    for attack in attacks {
        let mut stream = TcpStream::connect(a.address()).await.unwrap();
        _ = stream.write_all(&attack).await;
        _ = stream.shutdown().await;
        // Until it is refused: the refusal's text, the end or a reset.
        while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
    }
    until("all are counted", || a.refused().get(&Refusal::Malformed) == Some(&count)).await;
    check_honest(&b, &a).await;
    assert_eq!(a.lines(), 1);
}
