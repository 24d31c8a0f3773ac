//! A restart after a panic: from the panic to the `pre_start` of the next incarnation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use nexus_actors::prelude::*;
use parking_lot::Mutex;
use ractor::SupervisionEvent;

use crate::bench::contestant;
use crate::bench::figure::{Figure, Target, Unit};
use crate::bench::sample::quantile;
use crate::bench::site::{Site, until};
use crate::bench::{BenchError, Row, Run};

pub(super) const ROW: Row = Row {
    name: "restart",
    about: "from an agent's panic to the start of its next incarnation: p50 and p99",
    measure,
    parts: &[],
};

const PANICS: usize = 2_000;
const TOPOLOGY: &str = r#"
[[supervisor]]
name = "nest"
intensity = 1_000_000
period = "1ms"
  [[supervisor.agent]]
  name = "phoenix"
  behavior = "bench-phoenix"
"#;

/// When the process's first restart was measured, the zero of `FELL`.
static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);
/// When the last panic was, in nanoseconds since `ZERO`; 0 before the first.
static FELL: AtomicU64 = AtomicU64::new(0);
/// How long the restarts took in nanoseconds.
static TOOK: Mutex<Vec<f64>> = Mutex::new(Vec::new());

fn now() -> u64 {
    u64::try_from(ZERO.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Ends the actor as a panic does. Unwinds without the panic hook: a message for each on the terminal would be all that is
/// measured.
fn fall() -> ! {
    FELL.store(now().max(1), Ordering::Release);
    std::panic::resume_unwind(Box::new("as it is told to"))
}

/// Called by whoever starts.
fn rise() {
    let fell = FELL.swap(0, Ordering::AcqRel);
    if fell > 0 {
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a restart, far below 2^52")]
        TOOK.lock().push(now().saturating_sub(fell) as f64);
    }
}

/// The Nexus agent: panics at every message.
#[derive(Default)]
pub(in crate::bench) struct Phoenix;

impl Actor for Phoenix {
    type Msg = AgentMessage;
    type State = ();
    type Arguments = AgentSpec;

    async fn pre_start(&self, _: ActorRef<AgentMessage>, _: AgentSpec) -> Result<(), ActorProcessingErr> {
        rise();
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AgentMessage::Request(..) => fall(),
            _ => Ok(()),
        }
    }
}

/// The same in bare ractor.
struct Bird;

struct Fall;

impl ractor::Message for Fall {}

impl Actor for Bird {
    type Msg = Fall;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Fall>, (): ()) -> Result<(), ActorProcessingErr> {
        rise();
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Fall>, _: Fall, _: &mut ()) -> Result<(), ActorProcessingErr> {
        fall()
    }
}

/// What a supervisor in bare ractor does: starts a linked actor, and another when it fails.
struct Nest;

type Slot = Arc<Mutex<Option<ActorRef<Fall>>>>;

impl Actor for Nest {
    type Msg = Fall;
    type State = Slot;
    type Arguments = Slot;

    async fn pre_start(&self, myself: ActorRef<Fall>, slot: Slot) -> Result<Slot, ActorProcessingErr> {
        hatch(&myself, &slot).await?;
        Ok(slot)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Fall>,
        event: SupervisionEvent,
        slot: &mut Slot,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(event, SupervisionEvent::ActorFailed(..)) {
            hatch(&myself, slot).await?;
        }
        Ok(())
    }
}

async fn hatch(nest: &ActorRef<Fall>, slot: &Slot) -> Result<(), ActorProcessingErr> {
    let (bird, _) = Bird::spawn_linked(None, Bird, (), nest.get_cell()).await?;
    *slot.lock() = Some(bird);
    Ok(())
}

fn measure(run: &Run<'_>) -> Result<Vec<Figure>, BenchError> {
    let site = Site::start(TOPOLOGY)?;
    let slot = Slot::default();
    let (nest, _) = {
        let slot = slot.clone();
        site.run(async move { Nest::spawn(None, Nest, slot).await })?
            .map_err(|error| BenchError::Contestant(error.to_string()))?
    };
    let count = run.plan.of(PANICS);
    let mut samples = run.rounds(|samples| {
        let node = site.node();
        let ours = site.run(falls(count, move || {
            node.send("phoenix", contestant::request()).expect("its inbox outlives it");
        }))?;
        let slot = slot.clone();
        let bare = site.run(falls(count, move || {
            // The next one stands in the slot a moment after it has started.
            while slot.lock().as_ref().is_none_or(|bird| bird.cast(Fall).is_err()) {
                std::hint::spin_loop();
            }
        }))?;
        for (contestant, mut times) in [("nexus", ours), ("ractor", bare)] {
            samples.add(contestant, "p50", quantile(&mut times, 0.5));
            samples.add(contestant, "p99", quantile(&mut times, 0.99));
        }
        Ok(())
    })?;
    nest.stop(None);
    run.erlang(&mut samples, "p50", "restart_p50_ns");
    run.erlang(&mut samples, "p99", "restart_p99_ns");
    let baselines = &["ractor", "erlang"];
    Ok(vec![
        samples.figure("p50", Unit::Nanoseconds, baselines).target(Target::AtMostTimes(2.0, "ractor")),
        samples.figure("p99", Unit::Nanoseconds, baselines),
    ])
}

/// Nanoseconds of each of `count` restarts, one after the other.
async fn falls(count: usize, fall: impl Fn()) -> Vec<f64> {
    TOOK.lock().clear();
    for done in 0..count {
        fall();
        until("it starts again", || TOOK.lock().len() > done).await;
    }
    std::mem::take(&mut *TOOK.lock())
}
