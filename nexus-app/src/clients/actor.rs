//! The actor of the clients' endpoint. Owns the listener and, through it, all connections. Supervised by `ops.sup` as permanent;
//! a restart closes all connections and listens on the same address again.

use std::io;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::files;
use super::server::{self, DRAIN_MAX};
use super::state::Clients;

/// How long a restarted endpoint waits for its predecessor to let go of the port.
const REBIND_MAX: Duration = Duration::from_secs(2);
/// Time between two tries.
const REBIND_PAUSE: Duration = Duration::from_millis(20);

/// What the endpoint's actor is sent.
#[derive(Debug)]
pub enum ClientsMessage {
    /// The server has ended although nobody told it to.
    ServerEnded,
}

impl ractor::Message for ClientsMessage {}

/// What the actor starts with.
#[derive(Clone, Debug)]
pub struct ClientsArgs {
    /// What it serves.
    pub clients: Clients,
}

/// The running server.
#[derive(Debug)]
pub struct ClientsServer {
    shutdown: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// The actor. See the module.
#[derive(Debug, Default)]
pub struct ClientsActor;

impl Actor for ClientsActor {
    type Msg = ClientsMessage;
    type State = ClientsServer;
    type Arguments = ClientsArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<ClientsMessage>,
        args: ClientsArgs,
    ) -> Result<ClientsServer, ActorProcessingErr> {
        let connections = files::make_room(args.clients.config().connections.into());
        args.clients.set_connections_max(connections);
        let listener = listen(&args).await?;
        let address = listener.local_addr()?;
        args.clients.bound().set(address);
        tracing::info!(%address, connections, "clients' endpoint listens");
        let shutdown = CancellationToken::new();
        let (clients, stop) = (args.clients, shutdown.clone());
        let task = tokio::spawn(async move {
            let ended = Ended(myself);
            server::serve(listener, clients, connections, stop).await;
            drop(ended);
        });
        Ok(ClientsServer { shutdown, task: AbortOnDropHandle::new(task) })
    }

    async fn handle(
        &self,
        _: ActorRef<ClientsMessage>,
        message: ClientsMessage,
        _: &mut ClientsServer,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ClientsMessage::ServerEnded => Err("the clients' server ended by itself".into()),
        }
    }

    async fn post_stop(
        &self,
        _: ActorRef<ClientsMessage>,
        server: &mut ClientsServer,
    ) -> Result<(), ActorProcessingErr> {
        server.shutdown.cancel();
        // A little more than the server takes itself; what is left then is aborted with the state.
        let _ = tokio::time::timeout(DRAIN_MAX + Duration::from_millis(100), &mut server.task).await;
        Ok(())
    }
}

/// Tells the actor when it is dropped, so that a panic of the server is told as well.
struct Ended(ActorRef<ClientsMessage>);

impl Drop for Ended {
    fn drop(&mut self) {
        // Fails when the actor has ended, which then knows.
        let _ = self.0.cast(ClientsMessage::ServerEnded);
    }
}

/// Listens on the configured address, or again on the one of the incarnation before.
async fn listen(args: &ClientsArgs) -> Result<TcpListener, String> {
    let again = args.clients.address();
    let address = again.unwrap_or(args.clients.config().listen);
    let give_up = Instant::now() + REBIND_MAX;
    loop {
        match server::bind(address) {
            // A predecessor that was killed closes its port only when its task is dropped.
            Err((io::ErrorKind::AddrInUse, _)) if again.is_some() && Instant::now() < give_up => {
                tokio::time::sleep(REBIND_PAUSE).await;
            }
            bound => return bound.map_err(|(_, reason)| reason),
        }
    }
}
