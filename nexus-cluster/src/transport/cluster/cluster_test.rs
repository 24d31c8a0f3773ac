//! Nodes over real sockets.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use super::testing::*;
use super::*;
use crate::transport::Lane;

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Files of a node `name` of the authority in `directory`.
pub(super) fn files(directory: &std::path::Path, name: &str) -> TlsFiles {
    let now = UNIX_EPOCH.elapsed().unwrap();
    let authority = match CertificateAuthority::open(directory) {
        Ok(authority) => authority,
        Err(_) => CertificateAuthority::create(directory, now, DAY).unwrap(),
    };
    authority.issue(&name.parse().unwrap(), &["127.0.0.1".into()], now, DAY).unwrap()
}

pub(super) fn tls(name: &str, files: TlsFiles) -> ClusterConfig {
    ClusterConfig { security: Security::Tls(files), ..config(name) }
}

/// Sends numbers on both lanes and both ways, and checks that each lane has them in order.
async fn check_lanes(a: &TestNode, b: &TestNode) {
    let (one, other) = pair(a, b).await;
    let (from_one, from_other) = (one.heard_count(), other.heard_count());
    for number in 0..500_u32 {
        for line in [&one, &other] {
            line.send(Lane::Control, number.to_be_bytes().to_vec());
            // Frames of both ways of writing.
            let mut frame = vec![0; if number % 50 == 0 { 100_000 } else { 100 }];
            frame[..4].copy_from_slice(&number.to_be_bytes());
            line.send(Lane::Data, frame);
        }
    }
    until("all arrived", || {
        one.heard_count() == from_one + 1_000 && other.heard_count() == from_other + 1_000
    })
    .await;
    for line in [&one, &other] {
        let heard = line.heard.lock();
        for lane in [&heard.control, &heard.data] {
            let numbers: Vec<_> =
                lane.iter().map(|b| u32::from_be_bytes(b[..4].try_into().unwrap())).collect();
            assert_eq!(numbers[numbers.len() - 500..], (0..500).collect::<Vec<_>>());
        }
        assert!(heard.data.iter().all(|frame| frame[4..].iter().all(|byte| *byte == 0)));
    }
}

/// Goal: both lanes carry both ways, in order, with and without TLS; both ends know the same connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_carry_both_lanes_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let plain = (config("a"), config("b"));
    let secure = (tls("c", files(directory.path(), "c")), tls("d", files(directory.path(), "d")));
    for (one, other) in [plain, secure] {
        let (a, b) = (TestNode::start(one).await, TestNode::start(other).await);
        a.keep(&b);
        check_lanes(&a, &b).await;
        let (one, other) = pair(&a, &b).await;
        assert_eq!(one.connection.peer, b.carrier.overview().node);
        assert_eq!(other.connection.peer, a.carrier.overview().node);
        let shown = a.carrier.overview();
        assert_eq!(shown.connections.len(), 1);
        assert_eq!(shown.connections[0].epoch, one.connection.epoch);
        assert_eq!(shown.handshakes.refused, BTreeMap::new());
    }
}

/// Goal: three nodes are connected pair by pair, and stopping one ends its lines and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_connect_pair_by_pair() {
    let (a, b, c) = (TestNode::named("a").await, TestNode::named("b").await, TestNode::named("c").await);
    a.keep(&b);
    c.keep(&a);
    b.keep(&c);
    check_lanes(&a, &b).await;
    check_lanes(&a, &c).await;
    check_lanes(&c, &b).await;
    let ((to_c, from_c), (to_b, _)) = (pair(&a, &c).await, pair(&a, &b).await);
    c.carrier.stop();
    until("both lines of c have ended", || !to_c.is_open() && !from_c.is_open()).await;
    assert_eq!(from_c.closed.lock().len(), 1);
    assert!(to_b.is_open());
    check_lanes(&a, &b).await;
}

/// Goal: the control lane passes a data lane that never ends. Method: each message is sent when the former has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_does_not_hold_up_the_control_lane() {
    let (a, b) = (TestNode::named("a").await, TestNode::named("b").await);
    a.keep(&b);
    let (one, other) = pair(&a, &b).await;
    one.set_flood(true);
    until("the flood runs", || other.data_bytes.load(Ordering::SeqCst) > 1 << 20).await;
    for count in 1..=20 {
        one.send(Lane::Control, "ping");
        until("the ping came", || other.heard.lock().control.len() == count).await;
    }
    one.set_flood(false);
    assert!(one.is_open() && other.is_open());
}

/// Goal: a connection that is cut, or falls silent, ends on both sides, is told once, and is replaced by one with another epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_dialed_again() {
    let quick = |name| {
        let mut config = config(name);
        // A dial into silence is given up soon.
        (config.timing.handshake, config.timing.idle) = (Duration::from_secs(1), Duration::from_secs(1));
        config
    };
    let (a, b) = (TestNode::start(quick("a")).await, TestNode::start(quick("b")).await);
    let proxy = Proxy::start(b.address()).await;
    a.carrier.keep(&proxy.address.to_string());
    let mut former = pair(&a, &b).await;
    for mode in [Mode::Cut, Mode::Silent] {
        proxy.mode.send_replace(mode);
        until("both ends noticed", || !former.0.is_open() && !former.1.is_open()).await;
        proxy.mode.send_replace(Mode::Relay);
        let next = pair(&a, &b).await;
        assert_ne!(next.0.connection.epoch, former.0.connection.epoch);
        for line in [&former.0, &former.1] {
            let closed = line.closed.lock();
            let expected = match mode {
                Mode::Silent => matches!(closed[..], [CloseReason::Idle]),
                _ => matches!(closed[..], [CloseReason::Lost(_)]),
            };
            assert!(expected, "{mode:?}: {closed:?}");
        }
        check_lanes(&a, &b).await;
        former = next;
    }
}

/// Goal: a peer that handles nothing makes us hold no more than the window of the control lane. Method: the network falls silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_lane_is_bounded() {
    let mut config = config("a");
    config.limits.control_messages_max = 100;
    let (a, b) = (TestNode::start(config).await, TestNode::named("b").await);
    let proxy = Proxy::start(b.address()).await;
    a.carrier.keep(&proxy.address.to_string());
    let (one, other) = pair(&a, &b).await;
    for _ in 0..1_000 {
        one.send(Lane::Control, "before");
    }
    until("the window moves on", || other.heard_count() == 1_000).await;
    proxy.mode.send_replace(Mode::Silent);
    for _ in 0..1_000 {
        one.send(Lane::Control, "after");
    }
    until("the silence is noticed", || !one.is_open()).await;
    let left = one.control_left();
    assert!((900..1_000).contains(&left), "{left} left of 1,000 with a window of 100");
}

/// Goal: when both dial at once, both keep the same connection, and only that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_dials_leave_one_connection() {
    for _ in 0..5 {
        let (a, b) = (TestNode::named("a").await, TestNode::named("b").await);
        a.keep(&b);
        b.keep(&a);
        check_lanes(&a, &b).await;
        let (one, other) = pair(&a, &b).await;
        assert_eq!(one.connection.epoch, other.connection.epoch);
        assert_eq!(a.carrier.overview().connections.len(), 1);
        a.carrier.stop();
        b.carrier.stop();
    }
}

/// Goal: a later life of a peer takes the place of the former at once; `forget` and `close` end what they name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_lives_replace_earlier_ones() {
    let a = TestNode::named("a").await;
    let first = TestNode::named("b").await;
    first.keep(&a);
    let (old, _) = pair(&a, &first).await;
    let mut second = config("b");
    second.node.incarnation = 2;
    let second = TestNode::start(second).await;
    second.keep(&a);
    let (new, other) = pair(&a, &second).await;
    assert_eq!(*old.closed.lock(), [CloseReason::Replaced]);
    assert_eq!(new.connection.peer.incarnation, 2);
    until("the former life is refused", || a.refused().contains_key(&Refusal::Outdated)).await;

    a.carrier.close(&"b".parse().unwrap(), CloseReason::Closed("test".into()));
    until("closed by name", || !new.is_open() && !other.is_open()).await;
    assert_eq!(*new.closed.lock(), [CloseReason::Closed("test".into())]);
    let (_, other) = pair(&a, &second).await;
    second.carrier.forget(&a.address());
    until("forgotten", || !other.is_open()).await;
}

/// Goal: what a line calls malformed ends the connection with that reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_can_end_its_connection() {
    let (a, b) = (TestNode::named("a").await, TestNode::named("b").await);
    a.keep(&b);
    for lane in [Lane::Control, Lane::Data] {
        let (one, other) = pair(&a, &b).await;
        one.send(lane, "bad");
        until("ended", || !one.is_open() && !other.is_open()).await;
        assert_eq!(*other.closed.lock(), [CloseReason::Malformed("bad".into())]);
    }
}

/// Goal: certificates are exchanged while traffic flows: the connection stands, new ones use the new certificates, and what does not fit
/// together leaves the former in use. Method: a node that trusts the new authority only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_reloaded_under_traffic() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let in_use = files(old.path(), "a");
    let a = TestNode::start(tls("a", in_use.clone())).await;
    let b = TestNode::start(tls("b", files(old.path(), "b"))).await;
    let c = TestNode::start(tls("c", files(new.path(), "c"))).await;
    a.keep(&b);
    let (one, other) = pair(&a, &b).await;
    one.set_flood(true);
    c.keep(&a);
    until("c trusts a not yet", || c.refused().contains_key(&Refusal::UntrustedCertificate)).await;

    let next = files(new.path(), "a");
    fs::copy(&next.certificate, &in_use.certificate).unwrap();
    let half = a.carrier.reload().unwrap_err();
    assert!(half.to_string().contains("do not fit together"), "{half}");
    assert_eq!(a.carrier.overview().tls_error, Some(half.to_string()));
    fs::copy(&next.key, &in_use.key).unwrap();
    let both = [fs::read(&in_use.ca).unwrap(), fs::read(&next.ca).unwrap()].concat();
    fs::write(&in_use.ca, both).unwrap();
    c.line("a").await;
    assert_eq!(a.carrier.overview().tls_error, None);
    let before = other.data_bytes.load(Ordering::SeqCst);
    until("the flood goes on", || other.data_bytes.load(Ordering::SeqCst) > before).await;
    assert!(one.is_open() && other.is_open());
    one.set_flood(false);
}
