//! Groups' publications on their way to many clients.
//!
//! A hub is a task for each group that was ever listened to. It hears the node's publications, so that a publisher wakes one
//! task and not fifty thousand, and passes them on; each is encoded at most once for each encoding, whoever listens.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use nexus_actors::agent::Request;
use nexus_actors::{AgentError, Node};
use nexus_client::protocol::{Encoding, encode};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::protocol::{Frame, published};

/// Publications that wait for the slowest client's task. One that falls behind by more is told how many it missed.
const LAG_MAX: usize = 256;

/// What a listener hears.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// A request was published.
    Posted(Arc<Posting>),
    /// So many publications were missed before this one.
    Missed(u64),
}

/// A publication, encoded when first needed.
#[derive(Debug)]
pub(super) struct Posting {
    group: Arc<str>,
    request: Arc<Request>,
    json: OnceLock<Option<Frame>>,
    message_pack: OnceLock<Option<Frame>>,
}

impl Posting {
    /// The publication in an encoding; `None` if that cannot hold it.
    pub(super) fn frame(&self, encoding: Encoding) -> Option<Frame> {
        let once = match encoding {
            Encoding::Json => &self.json,
            Encoding::MessagePack => &self.message_pack,
        };
        let make = || {
            let bytes = encode(encoding, &published(&self.group, &self.request)).ok()?;
            Some(Frame { encoding, bytes })
        };
        once.get_or_init(make).clone()
    }
}

/// The hubs of one incarnation of the endpoint: at most one for each group that the topology declares.
#[derive(Debug)]
pub(super) struct Hubs {
    node: Node,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    senders: Mutex<BTreeMap<Arc<str>, broadcast::Sender<News>>>,
}

impl Hubs {
    pub(super) fn new(node: Node, shutdown: CancellationToken, tasks: TaskTracker) -> Self {
        Self { node, shutdown, tasks, senders: Mutex::default() }
    }

    /// Hears what is published to `group` from now on.
    ///
    /// # Errors
    /// [`AgentError::UnknownGroup`].
    pub(super) fn listen(&self, group: &Arc<str>) -> Result<broadcast::Receiver<News>, AgentError> {
        let mut senders = self.senders.lock();
        if let Some(sender) = senders.get(group) {
            return Ok(sender.subscribe());
        }
        let heard = self.node.listen(group)?;
        let (sender, receiver) = broadcast::channel(LAG_MAX);
        senders.insert(group.clone(), sender.clone());
        self.tasks.spawn(run(group.clone(), heard, sender, self.shutdown.clone()));
        Ok(receiver)
    }
}

async fn run(
    group: Arc<str>,
    mut heard: broadcast::Receiver<Arc<Request>>,
    listeners: broadcast::Sender<News>,
    shutdown: CancellationToken,
) {
    loop {
        let news = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            news = heard.recv() => news,
        };
        let news = match news {
            Ok(request) => News::Posted(Arc::new(Posting {
                group: group.clone(),
                request,
                json: OnceLock::new(),
                message_pack: OnceLock::new(),
            })),
            Err(RecvError::Lagged(count)) => News::Missed(count),
            Err(RecvError::Closed) => return,
        };
        // Fails only when nobody listens at the moment.
        let _ = listeners.send(news);
    }
}
