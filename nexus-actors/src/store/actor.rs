//! Store: carries out what its core decides, one commit at a time, on a thread that may block.
//!
//! Supervised by the root as `permanent`, before the agents, so it stops after them. Owns nothing: what waits belongs to the
//! [`Store`], and a restart does the commit at hand again. On its graceful stop it writes what waits and closes the file.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::Store;
use super::core::{Changes, Ended, News, Step};
use super::error::StoreError;
use crate::node::Node;
use crate::supervision::{ChildSpec, Shutdown};
use crate::telemetry::Event;

/// How long the last commit may take when the node stops.
const STOP_MAX: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct StoreActor;

/// Its only message.
#[derive(Debug)]
pub(crate) enum StoreMsg {
    /// Look what is to be written.
    Look,
}

impl ractor::Message for StoreMsg {}

impl Actor for StoreActor {
    type Msg = StoreMsg;
    type State = (Node, Store);
    type Arguments = (Node, Store);

    async fn pre_start(
        &self,
        myself: ActorRef<StoreMsg>,
        (node, store): (Node, Store),
    ) -> Result<Self::State, ActorProcessingErr> {
        store.attach(myself);
        Ok((node, store))
    }

    async fn handle(
        &self,
        myself: ActorRef<StoreMsg>,
        message: StoreMsg,
        (node, store): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            StoreMsg::Look => {
                store.looking();
                let step = store.core().lock().next(node.clock().now());
                match step {
                    Step::Idle => {}
                    Step::Wait(at) => {
                        // Runs out with the actor.
                        myself.send_after(at.since(node.clock().now()), || StoreMsg::Look);
                    }
                    Step::Commit(changes) => {
                        commit(node, store, changes).await;
                        // To itself, so that a stop gets its turn.
                        store.nudge();
                    }
                }
            }
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<StoreMsg>,
        (node, store): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        // One more attempt if it is degraded, without the pause.
        store.core().lock().hurry();
        loop {
            let step = store.core().lock().next(node.clock().now());
            let Step::Commit(changes) = step else { break };
            commit(node, store, changes).await;
        }
        let lost = store.core().lock().waiting();
        if lost > 0 {
            let reason = store.wrong().map(|error| error.to_string()).unwrap_or_default();
            tracing::error!(agents = lost, %reason, "states of agents could not be written before the end");
        }
        store.shut();
        let closing = store.clone();
        if let Err(error) = blocking(move || closing.engine().lock().close()).await {
            tracing::error!(%error, "the store was not closed cleanly: it will be repaired when it is opened");
        }
        Ok(())
    }
}

async fn commit(node: &Node, store: &Store, changes: Arc<Changes>) {
    let (engine, written) = (store.clone(), changes.clone());
    let began = node.clock().nanos();
    let latency = store.latency();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let result = blocking(move || engine.write(&written)).await;
    let took = Duration::from_nanos(node.clock().nanos().saturating_sub(began));
    node.metrics().commit_duration(took);
    store.took(took);
    let Ended { answers, news } = store.core().lock().ended(node.clock().now(), result.clone());
    if result.is_ok() {
        store.committed(&changes);
    }
    let changed = news.is_some();
    if let Some(news) = news {
        store.set_degraded(matches!(news, News::Degraded(_)));
        node.events().emit(event(store, news));
    }
    for (waiter, answer) in answers {
        // Fails only when nobody waits any more.
        let _ = waiter.send(answer);
    }
    if changed || result.is_ok() {
        store.tell_watchers();
    }
}

fn event(store: &Store, news: News) -> Event {
    match news {
        News::Degraded(error) => {
            Event::StoreDegraded { store: store.path(), reason: error.to_string().into() }
        }
        News::Recovered { after } => Event::StoreRecovered {
            store: store.path(),
            after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        },
    }
}

/// Runs `work` where it may block: on a thread of its own, or here if there is only this one, as under simulation.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    // Fails only when the runtime is being shut down: the engine catches panics.
    done.unwrap_or(Err(StoreError::Closed))
}

impl Node {
    /// The actor that writes what agents give to the store, if the node has one. It starts before the agents.
    #[must_use]
    pub fn store_child(&self) -> Option<ChildSpec> {
        let store = self.store()?.clone();
        let child = ChildSpec::actor("store", || StoreActor, (self.clone(), store));
        Some(child.shutdown(Shutdown::Timeout(STOP_MAX)))
    }
}
