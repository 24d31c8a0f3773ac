//! Behaviors whose state outlives their actor: how it is written down and read again.

use std::fmt;
use std::future::Future;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::behavior::AgentSpec;
use super::message::AgentMessage;
use super::payload::Payload;
use crate::error::AgentError;
use crate::store::Marks;

/// A behavior whose state can be written down, so that an idle agent may hibernate: its actor ends, and the next message starts
/// another from the state that was written. Register it with [`Behaviors::durable`](super::Behaviors::durable).
///
/// What the state cannot write (handles, caches) is skipped with `#[serde(skip)]` and made anew in [`Durable::wake`].
///
/// ```
/// use nexus_actors::agent::{AgentMessage, AgentSpec, Durable};
/// use ractor::{Actor, ActorProcessingErr, ActorRef};
///
/// #[derive(Default)]
/// struct Meter;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Reading(f64);
///
/// impl Actor for Meter {
///     type Msg = AgentMessage;
///     type State = Reading;
///     type Arguments = AgentSpec;
///
///     async fn pre_start(&self, _: ActorRef<AgentMessage>, _: AgentSpec) -> Result<Reading, ActorProcessingErr> {
///         Ok(Reading(0.0))
///     }
/// }
///
/// impl Durable for Meter {}
///
/// let mut behaviors = nexus_actors::agent::Behaviors::new();
/// behaviors.durable::<Meter>("meter");
/// ```
pub trait Durable:
    Actor<Msg = AgentMessage, Arguments = AgentSpec, State: Serialize + DeserializeOwned>
{
    /// The version of the state's form: raise it when an older snapshot can no longer be decoded. Default 1.
    const VERSION: u32 = 1;

    /// The state of a snapshot that was written by an older version of the behavior. The default refuses.
    ///
    /// # Errors
    /// Why there is no way from `version` to [`Durable::VERSION`]: the wake fails with it, and the snapshot is kept.
    fn migrate(version: u32, state: &Payload) -> Result<Self::State, AgentError> {
        let _ = state;
        let what = format!("a snapshot of version {version}: this behavior has version {}", Self::VERSION);
        Err(AgentError::Unsupported { what })
    }

    /// Two nodes ran this agent, on two sides of a partition: brings what the `other` one has become into the state of the one that goes
    /// on. Both have a past in common. The default does not care: what the other one did is lost.
    fn merge(state: &mut Self::State, other: Self::State) {
        let _ = (state, other);
    }

    /// Called instead of `pre_start` when an agent starts from a snapshot: the place to make what the snapshot does not hold.
    ///
    /// # Errors
    /// The wake fails with it. It is tried again, and the snapshot is kept.
    fn wake(
        &self,
        myself: ActorRef<AgentMessage>,
        spec: AgentSpec,
        state: Self::State,
    ) -> impl Future<Output = Result<Self::State, ActorProcessingErr>> + Send {
        let _ = (myself, spec);
        async { Ok(state) }
    }
}

/// A behavior's state, written down.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// [`Durable::VERSION`] of the behavior that wrote it.
    pub(crate) version: u32,
    /// The state in MessagePack. Boxed, because a million of them lie in memory.
    pub(crate) state: Box<[u8]>,
    /// How far the agent has handled each feed.
    pub(crate) marks: Marks,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot {{ version: {}, {} bytes }}", self.version, self.state.len())
    }
}

type Wake<A> = fn(
    &A,
    ActorRef<AgentMessage>,
    AgentSpec,
    Snapshot,
) -> BoxFuture<'_, Result<<A as Actor>::State, ActorProcessingErr>>;

/// What a host knows of a durable behavior, without knowing that it is one.
pub(crate) struct Codec<A: Actor> {
    pub(crate) write: fn(&A::State) -> Result<Snapshot, AgentError>,
    pub(crate) merge: fn(&mut A::State, Snapshot) -> Result<(), AgentError>,
    pub(crate) wake: Wake<A>,
}

impl<A: Actor> fmt::Debug for Codec<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

impl<A: Durable> Codec<A> {
    pub(crate) const fn new() -> Self {
        Self { write: write::<A>, merge: merge::<A>, wake: wake::<A> }
    }
}

fn write<A: Durable>(state: &A::State) -> Result<Snapshot, AgentError> {
    let bytes = Payload::encode(state)?.into_bytes();
    Ok(Snapshot { version: A::VERSION, state: Box::from(&*bytes), marks: Marks::default() })
}

fn merge<A: Durable>(state: &mut A::State, other: Snapshot) -> Result<(), AgentError> {
    A::merge(state, read::<A>(other)?);
    Ok(())
}

fn wake<A: Durable>(
    behavior: &A,
    myself: ActorRef<AgentMessage>,
    spec: AgentSpec,
    snapshot: Snapshot,
) -> BoxFuture<'_, Result<A::State, ActorProcessingErr>> {
    async move {
        let state = read::<A>(snapshot)?;
        behavior.wake(myself, spec, state).await
    }
    .boxed()
}

fn read<A: Durable>(snapshot: Snapshot) -> Result<A::State, AgentError> {
    let payload = Payload::from_msgpack(Vec::from(snapshot.state).into());
    match snapshot.version {
        version if version == A::VERSION => payload.decode(),
        version => A::migrate(version, &payload),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// The same behavior in its first and in its second version.
    struct First;
    struct Second;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Celsius(f64);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Kelvin {
        kelvin: f64,
    }

    impl Actor for First {
        type Msg = AgentMessage;
        type State = Celsius;
        type Arguments = AgentSpec;

        async fn pre_start(
            &self,
            _: ActorRef<AgentMessage>,
            _: AgentSpec,
        ) -> Result<Celsius, ActorProcessingErr> {
            Ok(Celsius(0.0))
        }
    }

    impl Actor for Second {
        type Msg = AgentMessage;
        type State = Kelvin;
        type Arguments = AgentSpec;

        async fn pre_start(
            &self,
            _: ActorRef<AgentMessage>,
            _: AgentSpec,
        ) -> Result<Kelvin, ActorProcessingErr> {
            Ok(Kelvin { kelvin: 273.15 })
        }
    }

    impl Durable for First {}

    impl Durable for Second {
        const VERSION: u32 = 2;

        fn migrate(version: u32, state: &Payload) -> Result<Kelvin, AgentError> {
            match version {
                1 => state.decode().map(|Celsius(celsius)| Kelvin { kelvin: celsius + 273.15 }),
                _ => Err(AgentError::Unsupported { what: format!("version {version}") }),
            }
        }
    }

    /// Goal: a state is read as it was written, an older one is migrated, and what cannot be read is refused with the versions.
    #[test]
    fn snapshots_outlive_their_version() {
        let written = (Codec::<First>::new().write)(&Celsius(20.0)).unwrap();
        assert_eq!(read::<First>(written.clone()), Ok(Celsius(20.0)));
        assert_eq!(read::<Second>(written.clone()), Ok(Kelvin { kelvin: 293.15 }));
        let newer = Snapshot { version: 7, ..written.clone() };
        let refusal = read::<First>(newer).unwrap_err().to_string();
        assert!(refusal.contains("version 7") && refusal.contains("version 1"), "{refusal}");
        let damaged = Snapshot { state: written.state[1..].into(), ..written };
        assert!(matches!(read::<First>(damaged), Err(AgentError::Malformed { .. })));
    }
}
