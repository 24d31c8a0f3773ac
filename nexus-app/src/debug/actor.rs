//! The debug endpoint's actor. Owns the listener and, through it, all connections. Supervised by `ops.sup` as permanent; a
//! restart closes all connections and listens on the same address again.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::server::{self, DRAIN_MAX};
use super::state::DebugState;

/// How long a restarted endpoint waits for its predecessor to let go of the port.
const REBIND_MAX: Duration = Duration::from_secs(2);
/// Time between two tries.
const REBIND_PAUSE: Duration = Duration::from_millis(20);

/// What the endpoint's actor is sent.
#[derive(Debug)]
pub enum DebugMessage {
    /// The server has ended although nobody told it to.
    ServerEnded,
}

impl ractor::Message for DebugMessage {}

/// Where the endpoint listens, once it does. Shared with whoever wants to know; survives restarts, so that an endpoint on a
/// free port keeps it.
#[derive(Clone, Debug, Default)]
pub struct BoundAddress(Arc<OnceLock<SocketAddr>>);

impl BoundAddress {
    /// The address. `None` before the first start.
    #[must_use]
    pub fn get(&self) -> Option<SocketAddr> {
        self.0.get().copied()
    }

    /// The first address is kept: a restart finds its own here.
    pub(crate) fn set(&self, address: SocketAddr) {
        let _ = self.0.set(address);
    }
}

/// What the actor starts with.
#[derive(Clone, Debug)]
pub struct DebugArgs {
    /// What it serves.
    pub state: DebugState,
    /// Where it reports its address.
    pub bound: BoundAddress,
}

/// The running server.
#[derive(Debug)]
pub struct DebugServer {
    shutdown: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// The actor. See the module.
#[derive(Debug, Default)]
pub struct DebugActor;

impl Actor for DebugActor {
    type Msg = DebugMessage;
    type State = DebugServer;
    type Arguments = DebugArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<DebugMessage>,
        args: DebugArgs,
    ) -> Result<DebugServer, ActorProcessingErr> {
        let listener = listen(&args).await?;
        let address = listener.local_addr()?;
        args.bound.set(address);
        tracing::info!(%address, "debug endpoint listens");
        let shutdown = CancellationToken::new();
        let (state, stop) = (args.state, shutdown.clone());
        let task = tokio::spawn(async move {
            let ended = Ended(myself);
            server::serve(listener, state, stop).await;
            drop(ended);
        });
        Ok(DebugServer { shutdown, task: AbortOnDropHandle::new(task) })
    }

    async fn handle(
        &self,
        _: ActorRef<DebugMessage>,
        message: DebugMessage,
        _: &mut DebugServer,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            DebugMessage::ServerEnded => Err("the debug server ended by itself".into()),
        }
    }

    async fn post_stop(
        &self,
        _: ActorRef<DebugMessage>,
        server: &mut DebugServer,
    ) -> Result<(), ActorProcessingErr> {
        server.shutdown.cancel();
        // A little more than the server takes itself; what is left then is aborted with the state.
        let _ = tokio::time::timeout(DRAIN_MAX + Duration::from_millis(100), &mut server.task).await;
        Ok(())
    }
}

/// Tells the actor when it is dropped, so that a panic of the server is told as well.
struct Ended(ActorRef<DebugMessage>);

impl Drop for Ended {
    fn drop(&mut self) {
        // Fails when the actor has ended, which then knows.
        let _ = self.0.cast(DebugMessage::ServerEnded);
    }
}

/// Listens on the configured address, or again on the one of the incarnation before.
async fn listen(args: &DebugArgs) -> Result<TcpListener, String> {
    let Some(address) = args.bound.get() else { return server::bind(args.state.config().listen).await };
    let give_up = Instant::now() + REBIND_MAX;
    loop {
        // A predecessor that was killed closes its port only when its task is dropped.
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                tokio::time::sleep(REBIND_PAUSE).await;
            }
            Err(_) => return server::bind(address).await,
            Ok(listener) => return Ok(listener),
        }
    }
}
