//! Bare ractor_cluster: 64 actors that its nodes announce to each other, casts and calls to their proxies.

use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message, RpcReplyPort};
use ractor_cluster::node::NodeServerSessionInformation;
use ractor_cluster::{NodeEventSubscription, NodeServer, NodeServerMessage, client_connect};
use tokio::sync::mpsc;

use super::far::{Far, obey};
use super::load::{BYTES, Contestant, Load, MANY, Measured, Measures, measure};

pub(crate) const FAR: &str = "remote-ractor-far";

/// Bytes either way, without an encoding to pay for.
enum Raw {
    Tell(Vec<u8>),
    Ask(Vec<u8>, RpcReplyPort<Vec<u8>>),
}

impl Message for Raw {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        let (variant, metadata) = (String::new(), None);
        Ok(match self {
            Self::Tell(args) => SerializedMessage::Cast { variant, args, metadata },
            Self::Ask(args, reply) => SerializedMessage::Call { variant, args, reply, metadata },
        })
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Cast { args, .. } => Ok(Self::Tell(args)),
            SerializedMessage::Call { args, reply, .. } => Ok(Self::Ask(args, reply)),
            SerializedMessage::CallReply(..) => Err(BoxedDowncastErr),
        }
    }
}

/// Counts; answers if asked.
struct Counter;

impl Actor for Counter {
    type Msg = Raw;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Raw>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(&self, _: ActorRef<Raw>, raw: Raw, count: &mut u64) -> Result<(), ActorProcessingErr> {
        *count += 1;
        match raw {
            Raw::Tell(bytes) => drop(std::hint::black_box(bytes)),
            Raw::Ask(bytes, reply) => reply.send(bytes)?,
        }
        Ok(())
    }
}

/// Hands out the proxies of a session that is ready.
struct Ready(mpsc::UnboundedSender<Vec<ActorCell>>);

impl NodeEventSubscription for Ready {
    fn node_session_opened(&self, _: NodeServerSessionInformation) {}
    fn node_session_disconnected(&self, _: NodeServerSessionInformation) {}
    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {}
    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        // Whoever waited may have ended.
        let _ = self.0.send(session.actor.get_cell().get_children());
    }
}

async fn server(name: &str, port: u16) -> Measured<ActorRef<NodeServerMessage>> {
    let (name, host) = (name.to_owned(), format!("host-{name}"));
    let server = NodeServer::new(port, "cookie".into(), name, host, None, None)
        .with_listen_addr("127.0.0.1".parse().expect("an address"));
    Actor::spawn(None, server, ()).await.map(|(server, _)| server).map_err(|error| error.to_string())
}

fn free_port() -> Measured<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

#[derive(Clone)]
struct Near(Vec<ActorRef<Raw>>);

impl Contestant for Near {
    async fn tell(&self, to: usize) {
        self.0[to].cast(Raw::Tell(vec![7; BYTES])).expect("it lives");
    }

    async fn ask(&self, to: usize) {
        let answer = self.0[to].call(|reply| Raw::Ask(vec![7; BYTES], reply), None).await;
        answer.expect("it lives").expect("it answers");
    }
}

/// Measures it.
pub(crate) async fn near(load: Load) -> Measured<Measures> {
    let mut far = Far::start(FAR)?;
    let said = far.order("start")?;
    let mut numbers = said.split(' ').map(|number| number.parse::<u64>().map_err(|error| error.to_string()));
    let port = numbers.next().ok_or("no port")??;
    let pids = numbers.collect::<Measured<Vec<u64>>>()?;
    let server = server("near", free_port()?).await?;
    let (ready, mut proxies) = mpsc::unbounded_channel();
    let subscription = Box::new(Ready(ready));
    server
        .cast(NodeServerMessage::SubscribeToEvents { id: "bench".into(), subscription })
        .map_err(|error| error.to_string())?;
    client_connect(&server, ("127.0.0.1", u16::try_from(port).map_err(|error| error.to_string())?))
        .await
        .map_err(|error| error.to_string())?;
    let children = proxies.recv().await.ok_or("no session")?;
    let proxy = |wanted: &u64| {
        let found = children
            .iter()
            .find(|child| matches!(child.get_id(), ActorId::Remote { pid, .. } if pid == *wanted));
        found.cloned().map(ActorRef::from).ok_or("an actor was not announced")
    };
    let near = Near(pids.iter().map(proxy).collect::<Result<_, _>>()?);
    measure(near, load).await
}

/// The other end.
pub(crate) fn far() -> Measured<()> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let port = free_port()?;
    let (said, _server) = runtime.block_on(async {
        let mut said = port.to_string();
        for _ in 0..MANY {
            let (actor, _) = Actor::spawn(None, Counter, ()).await.map_err(|error| error.to_string())?;
            said = format!("{said} {}", actor.get_id().pid());
        }
        Ok::<_, String>((said, server("far", port).await?))
    })?;
    obey(|_| Ok(said.clone()))
}
