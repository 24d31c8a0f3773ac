//! Our own listener: what strangers may cost us is bounded here, before a byte of theirs is read.
//!
//! Each address has a rate (GCRA), each handshake a task and a deadline. There are at most `handshakes_max` of them: one more ends the
//! oldest. An honest handshake takes milliseconds, so whoever stalls crowds out those who stall.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use ractor::ActorRef;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::actor::{CarrierMsg, Shared};
use super::config::Limits;
use super::connection::{Origin, serve};
use super::mux::Conn;
use super::refusal::{HandshakeError, Refusal};
use crate::transport::CloseReason;

/// Addresses whose rate is remembered; from then on those that have rested are forgotten, and if none has, all are.
const ADDRESSES_MAX: usize = 4_096;

/// How long to wait after the system could not accept, for want of descriptors as a rule.
const ACCEPT_FAILED: Duration = Duration::from_millis(50);

/// Rates of addresses.
pub(super) struct Rates(RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>, Quota);

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(limits.accepts_per_second))
            .allow_burst(at_least_one(limits.accepts_burst));
        Self(RateLimiter::hashmap(quota), quota)
    }

    /// True if another connection from `address` is welcome now.
    pub(super) fn allow(&mut self, address: IpAddr) -> bool {
        if self.0.len() >= ADDRESSES_MAX {
            self.0.retain_recent();
            if self.0.len() >= ADDRESSES_MAX {
                self.0 = RateLimiter::hashmap(self.1);
            }
        }
        self.0.check_key(&source(address)).is_ok()
    }
}

/// Whose rate an address counts for: with IPv6 a host has a /64 of its own.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address => address,
    }
}

/// Accepts until the task is ended.
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>, carrier: ActorRef<CarrierMsg>) {
    let mut rates = Rates::new(&shared.config.limits);
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                sleep(ACCEPT_FAILED).await;
                continue;
            }
        };
        shared.tally.accept();
        if !rates.allow(from.ip()) {
            shared
                .tally
                .fail(&from.to_string(), &HandshakeError::refused(Refusal::Rate, "too many in a short time"));
            continue;
        }
        if let Err(error) = stream.set_nodelay(true) {
            shared
                .tally
                .fail(&from.to_string(), &HandshakeError::refused(Refusal::Closed, error.to_string()));
            continue;
        }
        let conn = Arc::new(Conn::new(shared.next_id()));
        admit(&shared, &conn, from);
        shared.tasks.spawn(serve(shared.clone(), carrier.clone(), conn, Origin::Accepted(stream)));
    }
}

/// Takes up `conn` among the handshakes, and ends the oldest if they are too many.
fn admit(shared: &Shared, conn: &Arc<Conn>, from: SocketAddr) {
    let mut handshakes = shared.handshakes.lock();
    handshakes.insert(conn.id, conn.clone());
    if handshakes.len() > shared.config.limits.handshakes_max
        && let Some((_, oldest)) = handshakes.pop_first()
    {
        oldest.close(CloseReason::Closed("too many handshakes".into()));
        // Whose it was is not known any more; who comes now is one of those who press.
        let error = HandshakeError::refused(Refusal::TooMany, "the oldest of too many");
        shared.tally.fail(&from.to_string(), &error);
    }
}
