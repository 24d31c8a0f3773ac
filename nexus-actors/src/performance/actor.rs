//! Performance monitor: reads, has the core decide, does what it says, tells of it.
//!
//! Supervised by the root as `permanent`. Owns the sensors and the core's state; a restart takes all relief back, and what is still
//! pressed is found again. Groups that were moved stay where they are.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, spawn_blocking};

use super::config::{PerformanceConfig, PerformanceConfigError};
use super::core::{Action, Measure, Optimizer, Snapshot, Step};
use super::overview::{ActionOverview, PerformanceOverview, Shown, Vitals};
use super::sensors::{Readings, Sensors};
use crate::node::Node;
use crate::supervision::ChildSpec;
use crate::telemetry::Event;

/// A node's performance monitor, seen from outside: how to start it, and what it has seen and done. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Performance {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: Node,
    config: PerformanceConfig,
    root: PathBuf,
    shown: Mutex<Shown>,
}

impl Performance {
    /// The monitor of `node`, with the system's files below `root`: `/` for the machine we run on.
    ///
    /// # Errors
    /// What [`PerformanceConfig::validate`] finds.
    pub fn new(
        node: &Node,
        config: PerformanceConfig,
        root: impl Into<PathBuf>,
    ) -> Result<Self, PerformanceConfigError> {
        config.validate()?;
        let shown = Mutex::default();
        Ok(Self { inner: Arc::new(Inner { node: node.clone(), config, root: root.into(), shown }) })
    }

    /// The actor that looks, for a node's root; `None` if the monitor is switched off.
    #[must_use]
    pub fn child(&self) -> Option<ChildSpec> {
        let child = || ChildSpec::actor("performance.monitor", || Monitor, self.clone());
        self.inner.config.enabled.then(child)
    }

    /// What it has seen and done so far.
    #[must_use]
    pub fn overview(&self) -> PerformanceOverview {
        let Inner { node, config, shown, .. } = &*self.inner;
        let shown = shown.lock();
        PerformanceOverview {
            enabled: config.enabled,
            interval_ms: u64::try_from(config.interval.as_millis()).unwrap_or(u64::MAX),
            looks: shown.looks,
            readings: shown.readings.clone(),
            measures: shown.measures(config),
            batch: node.batch(),
            batch_configured: node.batch_configured(),
            batch_since: shown.batch_since,
            shed_below_percent: node.controls().shed_below(),
            shed_since: shown.shed_since,
            shed: node.controls().shed_count(),
            groups_moved: shown.groups_moved,
            counts: shown.counts.clone(),
            actions: shown.actions.iter().cloned().collect(),
        }
    }
}

/// See the module.
struct Monitor;

/// Its only message.
enum MonitorMsg {
    /// Look; the actor sends it to itself.
    Look,
}

impl ractor::Message for MonitorMsg {}

struct MonitorState {
    performance: Performance,
    /// Away while they read.
    sensors: Option<Sensors>,
    optimizer: Optimizer,
}

impl Actor for Monitor {
    type Msg = MonitorMsg;
    type State = MonitorState;
    type Arguments = Performance;

    async fn pre_start(
        &self,
        myself: ActorRef<MonitorMsg>,
        performance: Performance,
    ) -> Result<MonitorState, ActorProcessingErr> {
        let Inner { node, config, root, .. } = &*performance.inner;
        node.controls_at_rest();
        let sensors = Sensors::new(node, root.clone(), config.memory.limit_bytes);
        let optimizer = Optimizer::new(*config, node.batch_configured(), node.clock().now());
        myself.send_after(config.interval, || MonitorMsg::Look);
        Ok(MonitorState { performance, sensors: Some(sensors), optimizer })
    }

    async fn post_stop(
        &self,
        _: ActorRef<MonitorMsg>,
        state: &mut MonitorState,
    ) -> Result<(), ActorProcessingErr> {
        // Without a monitor nobody would take the relief back.
        state.performance.inner.node.controls_at_rest();
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<MonitorMsg>,
        message: MonitorMsg,
        state: &mut MonitorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            MonitorMsg::Look => {
                state.look().await?;
                myself.send_after(state.performance.inner.config.interval, || MonitorMsg::Look);
            }
        }
        Ok(())
    }
}

impl MonitorState {
    async fn look(&mut self) -> Result<(), ActorProcessingErr> {
        let (readings, snapshot) = self.read().await?;
        let inner = self.performance.inner.clone();
        let steps = self.optimizer.look(inner.node.clock().now(), &snapshot);
        let measures = self.optimizer.overview();
        let vitals = Vitals::new(&readings, &measures);
        {
            let mut shown = inner.shown.lock();
            shown.looks += 1;
            (shown.readings, shown.measures) = (Some(readings), Some(measures));
        }
        for step in steps {
            match step {
                Step::Changed { measure, pressed, reason } => {
                    let (measure, reason) = (measure.name().into(), reason.into());
                    inner.node.events().emit(Event::PressureChanged {
                        measure,
                        pressed,
                        reason,
                        readings: vitals,
                    });
                }
                Step::Act { measure, action, reason } => {
                    inner.clone().act(measure, action, reason, vitals).await?;
                }
            }
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(Readings, Snapshot), ActorProcessingErr> {
        let mut sensors = self.sensors.take().ok_or("the look before did not come back")?;
        let (sensors, seen) = apart(move || {
            let seen = sensors.read_all();
            (sensors, seen)
        })
        .await?;
        self.sensors = Some(sensors);
        Ok(seen)
    }
}

impl Inner {
    async fn act(
        self: Arc<Self>,
        measure: Measure,
        action: Action,
        reason: String,
        vitals: Vitals,
    ) -> Result<(), JoinError> {
        let node = self.node.clone();
        let (action, outcome) = apart(move || {
            let outcome = node.carry_out(&action);
            (action, outcome)
        })
        .await?;
        // A pressure that nothing relieves is told once, by its beginning.
        let Some(outcome) = outcome else { return Ok(()) };
        let at = self.node.clock().now();
        self.node.events().emit(Event::Acted {
            measure: measure.name().into(),
            action: action.name().into(),
            reason: reason.as_str().into(),
            outcome: outcome.as_str().into(),
            readings: vitals,
        });
        let mut shown = self.shown.lock();
        match &action {
            Action::SetBatch { .. } => shown.batch_since = Some(at),
            Action::SetShedBelow { .. } => shown.shed_since = Some(at),
            Action::Move { buckets, .. } => shown.groups_moved += buckets.len() as u64,
            Action::Hibernate { .. } | Action::Shrink => {}
        }
        shown.push(ActionOverview { at, measure, action: action.name(), reason, outcome });
        Ok(())
    }
}

/// Runs `work`, which looks at many agents, on a thread that may block; on the spot where there is one thread for everything, as in a
/// simulation, whose order must not depend on another.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    spawn_blocking(work).await
}
