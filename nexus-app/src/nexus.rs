//! The library form: a user's own binary with all of Nexus's commands.

use std::ffi::OsString;
use std::process::ExitCode;

use nexus_actors::agent::{AgentMessage, AgentSpec, Behaviors, Durable};
use ractor::Actor;

/// Builds a binary that runs nodes with the user's own behaviors.
///
/// ```no_run
/// # use nexus_actors::prelude::*;
/// # #[derive(Default)]
/// # struct Counter;
/// # impl ractor::Actor for Counter {
/// #     type Msg = AgentMessage;
/// #     type State = u64;
/// #     type Arguments = AgentSpec;
/// #     async fn pre_start(
/// #         &self,
/// #         _: ractor::ActorRef<AgentMessage>,
/// #         _: AgentSpec,
/// #     ) -> Result<u64, ractor::ActorProcessingErr> {
/// #         Ok(0)
/// #     }
/// # }
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     nexus_app::Nexus::new().behavior::<Counter>("counter").main()
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "call `main` to run it"]
pub struct Nexus {
    behaviors: Behaviors,
}

impl Default for Nexus {
    fn default() -> Self {
        Self::new()
    }
}

impl Nexus {
    /// A binary that knows the built-in behaviors.
    pub fn new() -> Self {
        Self { behaviors: Behaviors::new() }.with_builtin()
    }

    /// Registers the built-in behaviors. They replace others of the same names, so call it before [`Nexus::behavior`];
    /// [`Nexus::new`] has called it already.
    pub fn with_builtin(mut self) -> Self {
        crate::behaviors::register_all(&mut self.behaviors);
        self
    }

    /// Registers `A` under the name that topologies write as `behavior = "name"`. A name that is taken, also by a built-in
    /// behavior, means `A` from now on.
    pub fn behavior<A>(mut self, name: &str) -> Self
    where
        A: Actor<Msg = AgentMessage, Arguments = AgentSpec> + Default,
    {
        self.behaviors.register::<A>(name);
        self
    }

    /// Registers a behavior whose agents can hibernate. Otherwise as [`Nexus::behavior`].
    pub fn durable<A: Durable + Default>(mut self, name: &str) -> Self {
        self.behaviors.durable::<A>(name);
        self
    }

    /// The behaviors registered so far.
    #[must_use]
    pub const fn behaviors(&self) -> &Behaviors {
        &self.behaviors
    }

    /// Runs the command that `arguments`, the program's name first, ask for. Otherwise as [`Nexus::main`].
    #[must_use = "return it from `main`"]
    pub fn main_with(self, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
        crate::cli::main(&self.behaviors, arguments)
    }

    /// Reads the process's arguments and runs the command they ask for. Builds its own tokio runtime, so call it from a plain
    /// `fn main`. The exit codes are those of [`Exit`](crate::cli::Exit).
    #[must_use = "return it from `main`"]
    pub fn main(self) -> ExitCode {
        self.main_with(std::env::args_os())
    }
}
