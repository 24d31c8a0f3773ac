//! Frames of the outer header, and a peer that speaks too early.

use bytes::{BufMut as _, BytesMut};
use rand::Rng as _;
use rand::RngCore as _;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::mux::{Conn, run};
use super::outer::{Channel, next};
use super::testing::config;
use super::*;

/// Goal: frames come out as they went in, wherever the stream is cut; random bytes never panic and never make us keep more than came.
#[test]
fn seeded_frames_survive_any_cut() {
    let seed = std::env::var("NEXUS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("NEXUS_TEST_SEED={seed}");
    let mut rng = Seed::new(seed).stream("mux");
    let limits = Limits { frame_bytes_max: 2_000, ..Limits::default() };
    for _ in 0..200 {
        let mut sent = Vec::new();
        let mut wire = BytesMut::new();
        for _ in 0..20 {
            let channel = [Channel::Session, Channel::Data, Channel::Own][rng.random_range(0..3)];
            let mut bytes = vec![0; rng.random_range(0..200)];
            rng.fill_bytes(&mut bytes);
            wire.put_u32((channel as u32) << 24 | bytes.len() as u32);
            wire.put_slice(&bytes);
            sent.push((channel, bytes));
        }
        let (mut buffer, mut heard) = (BytesMut::new(), Vec::new());
        while !wire.is_empty() {
            let cut = rng.random_range(1..=wire.len().min(300));
            buffer.extend_from_slice(&wire.split_to(cut));
            while let Some((channel, bytes)) = next(&mut buffer, &limits).unwrap() {
                heard.push((channel, bytes.to_vec()));
            }
        }
        assert_eq!(heard, sent);
    }
    for _ in 0..20_000 {
        let mut bytes = vec![0; rng.random_range(0..64)];
        rng.fill_bytes(&mut bytes);
        if let Some(first) = bytes.first_mut() {
            *first %= 5;
        }
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = next(&mut buffer, &limits) {}
        assert!(buffer.capacity() <= bytes.len().max(64));
    }
}

/// Runs a connection whose other end says `bytes`, and gives the reason of its end.
async fn ended_by(bytes: &[u8]) -> CloseReason {
    let (mut peer, stream) = tokio::io::duplex(1 << 16);
    let (_session, pipe) = tokio::io::duplex(1 << 16);
    let (read, write) = tokio::io::split::<DuplexStream>(stream);
    let config = config("a");
    let conn = Conn::new(1);
    let run = run((Box::new(read), Box::new(write)), pipe, &conn, &config.limits, &config.timing);
    let speak = async {
        peer.write_all(bytes).await.unwrap();
        std::future::pending().await
    };
    tokio::select! {
        reason = run => reason,
        () = speak => unreachable!("it never ends"),
    }
}

/// Goal: what no peer sends ends the connection with its reason: a frame before we are ready, one too large, a channel or a word that is
/// none, more handled than was sent; and silence.
#[tokio::test(start_paused = true)]
async fn what_no_peer_sends_ends_the_connection() {
    let early = ended_by(&[1, 0, 0, 1, 9]).await;
    assert_eq!(early, CloseReason::Malformed("a frame before we were ready".into()));
    let large = ended_by(&[1, 0xff, 0xff, 0xff]).await;
    assert_eq!(large, CloseReason::Malformed("16777215 bytes on channel 1, 4194304 are allowed".into()));
    assert_eq!(ended_by(&[9, 0, 0, 0]).await, CloseReason::Malformed("there is no channel 9".into()));
    assert!(matches!(ended_by(&[2, 0, 0, 1, 99]).await, CloseReason::Malformed(_)));
    let handled = ended_by(&[2, 0, 0, 9, 2, 0, 0, 0, 0, 0, 0, 0, 5]).await;
    assert_eq!(handled, CloseReason::Malformed("5 control messages handled, 0 were sent".into()));
    assert_eq!(ended_by(&[2, 0, 0, 1, 3]).await, CloseReason::Replaced);
    assert_eq!(ended_by(&[]).await, CloseReason::Idle);
}
