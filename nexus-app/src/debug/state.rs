//! What the endpoint shows and steers, shared by all its requests.

use std::fmt;
use std::sync::{Arc, OnceLock};

use nexus_actors::Node;
use nexus_actors::performance::Performance;
use nexus_actors::store::Restored;
use nexus_actors::supervision::{Root, SupervisorView};
use tokio::sync::Semaphore;

use super::auth::generate_token;
use super::problem::Problem;
use super::readiness::Readiness;
use crate::clients::Clients;
use crate::cluster::Clustered;
use crate::feed::FeedSlot;
use crate::telemetry::Telemetry;
use crate::topology::{Auth, DebugConfig, Secret};

/// Requests at one time that look at every agent. Each holds memory in proportion to their number.
const SWEEPS_MAX: usize = 2;

/// Where the boot sequence puts the tree once it is spawned. The endpoint is part of that tree, so it must exist first.
pub type RootSlot = Arc<OnceLock<Root>>;

/// What the endpoint is given to show.
#[derive(Debug)]
pub struct DebugSources {
    /// The node.
    pub node: Node,
    /// Its metrics.
    pub telemetry: Telemetry,
    /// The supervision tree, from the moment it is spawned.
    pub root: RootSlot,
    /// The feeds, in the topology's order.
    pub feeds: Vec<Arc<FeedSlot>>,
    /// Whether the node is ready.
    pub readiness: Arc<Readiness>,
    /// The largest payload of a message in bytes: `limits.payload_bytes`.
    pub payload_bytes_max: usize,
    /// The clients' endpoint, if there is one.
    pub clients: Option<Clients>,
    /// The performance monitor, if there is one; it may be switched off.
    pub performance: Option<Performance>,
    /// What the store gave back when the node started, if there is one.
    pub restored: Option<Restored>,
    /// The node's part in its cluster, if it is one of one.
    pub cluster: Option<Clustered>,
}

/// The endpoint's configuration and sources. Cheap to clone.
#[derive(Clone)]
pub struct DebugState {
    inner: Arc<Inner>,
}

struct Inner {
    config: DebugConfig,
    token: Option<Secret>,
    token_generated: bool,
    sources: DebugSources,
    sweeps: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl fmt::Debug for DebugState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugState").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl DebugState {
    /// Puts configuration and sources together; makes a token if one is needed and none is given.
    ///
    /// # Errors
    /// If the operating system has no randomness for a token.
    pub fn new(config: DebugConfig, sources: DebugSources) -> Result<Self, String> {
        let token_generated = config.auth == Auth::Token && config.token.is_none();
        let token = match (config.auth, &config.token) {
            (Auth::Off, _) => None,
            (Auth::Token, Some(token)) => Some(token.clone()),
            (Auth::Token, None) => Some(generate_token()?),
        };
        // Streams stay as long as their clients: the other half is for requests that end.
        let streams = (config.max_connections as usize / 2).max(1);
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                token,
                token_generated,
                sources,
                sweeps: Arc::new(Semaphore::new(SWEEPS_MAX)),
                streams: Arc::new(Semaphore::new(streams)),
            }),
        })
    }

    /// The token that opens the endpoint; `None` where everybody may use it.
    #[must_use]
    pub fn token(&self) -> Option<&Secret> {
        self.inner.token.as_ref()
    }

    /// Whether the token was made here, so that somebody has to be told.
    #[must_use]
    pub fn token_generated(&self) -> bool {
        self.inner.token_generated
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &DebugConfig {
        &self.inner.config
    }

    pub(crate) fn sources(&self) -> &DebugSources {
        &self.inner.sources
    }

    pub(crate) fn node(&self) -> &Node {
        &self.inner.sources.node
    }

    pub(crate) fn listens_on_loopback(&self) -> bool {
        self.inner.config.listen.ip().is_loopback()
    }

    pub(crate) fn streams(&self) -> &Arc<Semaphore> {
        &self.inner.streams
    }

    /// The tree's root supervisor.
    pub(crate) fn root(&self) -> Result<Arc<SupervisorView>, Problem> {
        let root = self.inner.sources.root.get().map(|root| root.view().clone());
        root.ok_or_else(|| {
            Problem::new(
                axum::http::StatusCode::SERVICE_UNAVAILABLE,
                "tree_not_started",
                "the supervision tree has not been started yet",
            )
            .remedy("try again; GET /readyz tells when")
        })
    }

    /// Runs `look`, which goes over all agents, on a thread that may block; few at a time, the others wait their turn.
    pub(crate) async fn sweep<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.inner.sweeps.clone().acquire_owned().await.expect("it is never closed");
        let this = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            // Kept until the work is done, also if nobody waits for it any more.
            let _turn = turn;
            look(&this)
        });
        task.await.map_err(|error| {
            Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
        })
    }
}
