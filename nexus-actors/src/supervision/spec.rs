//! Descriptions of supervisors and children, and how a child is started.
//!
//! A specification is plain data that can be cloned: a supervisor that is restarted by its own supervisor starts from the
//! same one, so children added at run time are lost with it, as in OTP.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::{Actor, ActorCell};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::backoff::Backoff;
use super::error::{SpecError, StartError};
use super::intensity::INTENSITY_MAX;
use super::reason::ExitReason;
use super::start::{StartContext, StartSupervisor};
use super::strategy::{AutoShutdown, Restart, Strategy};
use super::view::SupervisorView;

/// OTP's default shutdown time of a worker.
pub const WORKER_SHUTDOWN: Duration = Duration::from_secs(5);

/// How a child is ended by its supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shutdown {
    /// `stop("shutdown")`, which runs `post_stop`; after this time without an exit, a kill. Default of workers: 5 s.
    Timeout(Duration),
    /// `stop("shutdown")` and as much time as it takes. Default of supervisors, and the only right value for them.
    Infinity,
    /// A kill: the task is dropped at its next await point and `post_stop` does not run.
    BrutalKill,
}

/// What a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildKind {
    /// Any other actor.
    Worker,
    /// A supervisor.
    Supervisor,
}

/// What a start produced.
#[derive(Clone)]
pub struct Started {
    /// The running actor, linked to its supervisor.
    pub cell: ActorCell,
    /// What it supervises, if it is a supervisor.
    pub nested: Option<Arc<SupervisorView>>,
}

impl From<ActorCell> for Started {
    fn from(cell: ActorCell) -> Self {
        Self { cell, nested: None }
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Started").field(&self.cell.get_id()).finish()
    }
}

/// Starts a child: for the first time, and again for each restart.
///
/// The future spawns exactly one actor, linked to [`StartContext::supervisor`] (`Actor::spawn_linked`) and with no name
/// (ractor's name registry is global to the process). It may be dropped at any await point when the start takes too long or
/// the supervisor ends: what it spawned earlier would then live on, so spawn last, or stop it on drop.
pub trait StartChild: Send + Sync + 'static {
    /// Starts the actor and waits until it is ready to work.
    fn start(&self, context: StartContext) -> BoxFuture<'static, Result<Started, StartError>>;

    /// The runtime that [`start`](Self::start) is to run on, if it is not the supervisor's. An actor lives where it was spawned.
    fn home(&self) -> Option<Handle> {
        None
    }

    /// What the tree shows as this child's type, if it differs from [`ChildRules::label`]: for dynamic children, which
    /// share the rules of their supervisor's template.
    fn label(&self) -> Option<Arc<str>> {
        None
    }

    /// The child has exited. It may be started again. Must not block.
    fn exited(&self, reason: &ExitReason) {
        let _ = reason;
    }

    /// The supervisor will not start the child again by itself: it was terminated on request, is done, or could not be
    /// added. Also called for all children of a supervisor that this happens to, so it may come more than once. Not called
    /// when a supervisor ends, because its own supervisor may start it again. Must not block.
    fn ended(&self) {}
}

/// How a child is supervised: everything in OTP's child specification but its id and start function.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildRules {
    /// Worker or supervisor. Default: worker.
    pub kind: ChildKind,
    /// When it is restarted. Default: permanent.
    pub restart: Restart,
    /// Whether its end may end the supervisor ([`AutoShutdown`]). Default: false.
    pub significant: bool,
    /// How it is ended. Default: 5 s for a worker, infinity for a supervisor.
    pub shutdown: Shutdown,
    /// How long its start may take; after that the start has failed. An extension: `None`, the default, is OTP's infinity.
    pub start_timeout: Option<Duration>,
    /// How long it waits before restarts. An extension; `None`, the default, takes the supervisor's, which is off by default.
    pub backoff: Option<Backoff>,
    /// What the tree shows as its type, for example the behavior's name.
    pub label: Arc<str>,
}

impl ChildRules {
    /// The rules of a permanent worker, with OTP's defaults.
    pub fn worker(label: impl Into<Arc<str>>) -> Self {
        Self {
            kind: ChildKind::Worker,
            restart: Restart::Permanent,
            significant: false,
            shutdown: Shutdown::Timeout(WORKER_SHUTDOWN),
            start_timeout: None,
            backoff: None,
            label: label.into(),
        }
    }

    /// The rules of a permanent supervisor, with OTP's defaults.
    pub fn supervisor(label: impl Into<Arc<str>>) -> Self {
        Self { kind: ChildKind::Supervisor, shutdown: Shutdown::Infinity, ..Self::worker(label) }
    }

    /// Sets when it is restarted.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Sets how it is ended.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Sets whether its end may end the supervisor.
    #[must_use]
    pub fn significant(mut self, significant: bool) -> Self {
        self.significant = significant;
        self
    }

    /// Sets how long its start may take.
    #[must_use]
    pub fn start_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.start_timeout = timeout.into();
        self
    }

    /// Sets how long it waits before restarts.
    #[must_use]
    pub fn backoff(mut self, backoff: impl Into<Option<Backoff>>) -> Self {
        self.backoff = backoff.into();
        self
    }

    /// Checks the rules for a child called `id` under a supervisor with `auto_shutdown`.
    ///
    /// # Errors
    ///
    /// OTP's `bad_combination`s of significance, and a bad back-off.
    pub fn validate(&self, id: &Arc<str>, auto_shutdown: AutoShutdown) -> Result<(), SpecError> {
        if self.significant && auto_shutdown == AutoShutdown::Never {
            return Err(SpecError::SignificantWithoutAutoShutdown(id.clone()));
        }
        if self.significant && self.restart == Restart::Permanent {
            return Err(SpecError::SignificantPermanent(id.clone()));
        }
        self.backoff.as_ref().map_or(Ok(()), Backoff::validate)
    }
}

/// A child: its id, how it is started and how it is supervised.
#[derive(Clone)]
pub struct ChildSpec {
    /// Unique under its supervisor. A worker's may contain `/`, a supervisor's may not.
    pub id: Arc<str>,
    /// Starts it.
    pub start: Arc<dyn StartChild>,
    /// How it is supervised.
    pub rules: ChildRules,
    /// The specification of a nested supervisor, checked together with the parent's.
    pub(super) nested: Option<Arc<SupervisorSpec>>,
}

impl ChildSpec {
    /// A child started by `start`.
    pub fn new(id: impl Into<Arc<str>>, start: Arc<dyn StartChild>, rules: ChildRules) -> Self {
        Self { id: id.into(), start, rules, nested: None }
    }

    /// A permanent worker: the actor that `handler` makes, started with a clone of `arguments` each time. Its label is the
    /// type's name.
    pub fn actor<A, F>(id: impl Into<Arc<str>>, handler: F, arguments: A::Arguments) -> Self
    where
        A: Actor,
        A::Arguments: Clone + Sync,
        F: Fn() -> A + Send + Sync + 'static,
    {
        let start = Arc::new(StartActor { handler, arguments });
        Self::new(id, start, ChildRules::worker(short_type_name::<A>()))
    }

    /// A permanent supervisor; its id is the specification's name, its label the strategy.
    #[must_use]
    pub fn supervisor(spec: SupervisorSpec) -> Self {
        let spec = Arc::new(spec);
        Self {
            id: spec.name.clone(),
            start: Arc::new(StartSupervisor::new(spec.clone())),
            rules: ChildRules::supervisor(spec.strategy.name()),
            nested: Some(spec),
        }
    }

    /// Sets when it is restarted.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.rules.restart = restart;
        self
    }

    /// Sets how it is ended.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.rules.shutdown = shutdown;
        self
    }

    /// Sets whether its end may end the supervisor.
    #[must_use]
    pub fn significant(mut self, significant: bool) -> Self {
        self.rules.significant = significant;
        self
    }

    /// Sets how long its start may take.
    #[must_use]
    pub fn start_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.rules.start_timeout = timeout.into();
        self
    }

    /// Sets how long it waits before restarts.
    #[must_use]
    pub fn backoff(mut self, backoff: impl Into<Option<Backoff>>) -> Self {
        self.rules.backoff = backoff.into();
        self
    }

    /// Sets what the tree shows as its type.
    #[must_use]
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.rules.label = label.into();
        self
    }

    /// Checks this child, and everything nested in it, under a supervisor with `auto_shutdown`.
    ///
    /// # Errors
    ///
    /// The first mistake found.
    pub fn validate(&self, auto_shutdown: AutoShutdown) -> Result<(), SpecError> {
        if self.id.is_empty() {
            return Err(SpecError::EmptyId);
        }
        if self.rules.kind == ChildKind::Supervisor && self.id.contains('/') {
            return Err(SpecError::SlashInSupervisorId(self.id.clone()));
        }
        self.rules.validate(&self.id, auto_shutdown)?;
        self.nested.as_ref().map_or(Ok(()), |spec| spec.validate())
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec").field("id", &self.id).field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// A supervisor: its flags and its children in start order.
#[derive(Clone, Debug)]
pub struct SupervisorSpec {
    /// Its id under its own supervisor; without `/`.
    pub name: Arc<str>,
    /// How it answers a child's exit. Default: one-for-one.
    pub strategy: Strategy,
    /// Restarts allowed within `period`: more, and the supervisor gives up. Default: 1.
    pub intensity: u32,
    /// The window of `intensity`. Default: 5 s.
    pub period: Duration,
    /// Whether it ends with its significant children. Default: never.
    pub auto_shutdown: AutoShutdown,
    /// The back-off of children without one of their own. An extension; default: off.
    pub backoff: Option<Backoff>,
    /// Its children in start order; none for `simple_one_for_one`.
    pub children: Vec<ChildSpec>,
    /// The rules of all children of a `simple_one_for_one` supervisor.
    pub template: Option<ChildRules>,
    /// The runtime it lives on, with its nested supervisors and all children that ask for none of their own. Default: that of its own
    /// supervisor.
    pub home: Option<Handle>,
}

impl SupervisorSpec {
    /// A one-for-one supervisor without children, with OTP's defaults.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            strategy: Strategy::OneForOne,
            intensity: 1,
            period: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::Never,
            backoff: None,
            children: Vec::new(),
            template: None,
            home: None,
        }
    }

    /// A `simple_one_for_one` supervisor: children are added at run time and supervised after `template`.
    pub fn dynamic(name: impl Into<Arc<str>>, template: ChildRules) -> Self {
        Self { strategy: Strategy::SimpleOneForOne, template: Some(template), ..Self::new(name) }
    }

    /// Sets how a child's exit is answered.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Allows `intensity` restarts within `period`.
    #[must_use]
    pub fn intensity(mut self, intensity: u32, period: Duration) -> Self {
        self.intensity = intensity;
        self.period = period;
        self
    }

    /// Sets whether it ends with its significant children.
    #[must_use]
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// Sets the back-off of children without one of their own.
    #[must_use]
    pub fn backoff(mut self, backoff: impl Into<Option<Backoff>>) -> Self {
        self.backoff = backoff.into();
        self
    }

    /// Sets the runtime it lives on.
    #[must_use]
    pub fn home(mut self, home: Option<Handle>) -> Self {
        self.home = home;
        self
    }

    /// Adds a child, started after those added before.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Checks the supervisor and everything nested in it.
    ///
    /// # Errors
    ///
    /// The first mistake found.
    pub fn validate(&self) -> Result<(), SpecError> {
        if self.name.is_empty() {
            return Err(SpecError::EmptyId);
        }
        if self.name.contains('/') {
            return Err(SpecError::SlashInSupervisorId(self.name.clone()));
        }
        if self.period.is_zero() {
            return Err(SpecError::ZeroPeriod);
        }
        if self.intensity > INTENSITY_MAX {
            return Err(SpecError::IntensityTooHigh(self.intensity));
        }
        self.backoff.as_ref().map_or(Ok(()), Backoff::validate)?;
        if self.strategy == Strategy::SimpleOneForOne {
            let template = self.template.as_ref().ok_or(SpecError::MissingTemplate)?;
            template.validate(&self.name, self.auto_shutdown)?;
            if !self.children.is_empty() {
                return Err(SpecError::ChildrenUnderSimpleOneForOne);
            }
        }
        let mut ids = HashSet::new();
        for child in &self.children {
            if !ids.insert(&child.id) {
                return Err(SpecError::DuplicateId(child.id.clone()));
            }
            child.validate(self.auto_shutdown)?;
        }
        Ok(())
    }
}

/// [`ChildSpec::actor`]'s start.
struct StartActor<A: Actor, F> {
    handler: F,
    arguments: A::Arguments,
}

impl<A, F> StartChild for StartActor<A, F>
where
    A: Actor,
    A::Arguments: Clone + Sync,
    F: Fn() -> A + Send + Sync + 'static,
{
    fn start(&self, context: StartContext) -> BoxFuture<'static, Result<Started, StartError>> {
        let handler = (self.handler)();
        let arguments = self.arguments.clone();
        Box::pin(async move {
            let (actor, _) = A::spawn_linked(None, handler, arguments, context.supervisor().clone()).await?;
            Ok(actor.get_cell().into())
        })
    }
}

/// `a::b::Type<c::D>` as `Type`.
fn short_type_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Never;

    impl StartChild for Never {
        fn start(&self, _: StartContext) -> BoxFuture<'static, Result<Started, StartError>> {
            Box::pin(async { Err(StartError::Ignored) })
        }
    }

    fn child(id: &str) -> ChildSpec {
        ChildSpec::new(id, Arc::new(Never), ChildRules::worker("never"))
    }

    fn error(spec: &SupervisorSpec) -> Option<SpecError> {
        spec.validate().err()
    }

    /// Goal: OTP's defaults: one_for_one, 1 in 5 s, never; permanent, 5 s for a worker, infinity for a supervisor.
    #[test]
    fn defaults_are_otps() {
        let spec = SupervisorSpec::new("s");
        assert_eq!(
            (spec.strategy, spec.intensity, spec.period),
            (Strategy::OneForOne, 1, Duration::from_secs(5))
        );
        assert_eq!(spec.auto_shutdown, AutoShutdown::Never);
        let worker = child("w").rules;
        assert_eq!(worker.shutdown, Shutdown::Timeout(Duration::from_secs(5)));
        assert_eq!((worker.restart, worker.significant), (Restart::Permanent, false));
        let supervisor = ChildSpec::supervisor(spec);
        assert_eq!(supervisor.rules.shutdown, Shutdown::Infinity);
        assert_eq!((&*supervisor.id, &*supervisor.rules.label), ("s", "one_for_one"));
    }

    /// Goal: each kind of nonsense is refused with its own error, and a sound specification is not.
    #[test]
    fn validation_names_the_mistake() {
        let spec = || SupervisorSpec::new("s");
        assert_eq!(error(&spec().child(child("a/1")).child(child("b"))), None);
        assert_eq!(error(&SupervisorSpec::new("")), Some(SpecError::EmptyId));
        assert_eq!(error(&spec().child(child(""))), Some(SpecError::EmptyId));
        assert_eq!(error(&SupervisorSpec::new("a/b")), Some(SpecError::SlashInSupervisorId("a/b".into())));
        assert_eq!(
            error(&spec().child(child("a")).child(child("a"))),
            Some(SpecError::DuplicateId("a".into()))
        );
        assert_eq!(error(&spec().intensity(1, Duration::ZERO)), Some(SpecError::ZeroPeriod));
        assert_eq!(
            error(&spec().intensity(u32::MAX, Duration::from_secs(1))),
            Some(SpecError::IntensityTooHigh(u32::MAX))
        );
        let bad = Backoff::doubling(Duration::ZERO, Duration::ZERO);
        assert!(matches!(error(&spec().backoff(bad)), Some(SpecError::BadBackoff { .. })));
        assert!(matches!(error(&spec().child(child("a").backoff(bad))), Some(SpecError::BadBackoff { .. })));
        assert_eq!(error(&spec().strategy(Strategy::SimpleOneForOne)), Some(SpecError::MissingTemplate));
        let dynamic = SupervisorSpec::dynamic("d", ChildRules::worker("w"));
        assert_eq!(error(&dynamic), None);
        assert_eq!(error(&dynamic.child(child("a"))), Some(SpecError::ChildrenUnderSimpleOneForOne));
    }

    /// Goal: OTP's rules for significant children, also for those of a nested supervisor.
    #[test]
    fn significant_children_need_auto_shutdown_and_an_end() {
        let any = SupervisorSpec::new("s").auto_shutdown(AutoShutdown::AnySignificant);
        let significant = child("a").significant(true);
        assert_eq!(
            error(&any.clone().child(significant.clone())),
            Some(SpecError::SignificantPermanent("a".into()))
        );
        let transient = significant.restart(Restart::Transient);
        assert_eq!(error(&any.child(transient.clone())), None);
        let never = SupervisorSpec::new("s").child(transient);
        let refused = Some(SpecError::SignificantWithoutAutoShutdown("a".into()));
        assert_eq!(error(&never), refused);
        assert_eq!(error(&SupervisorSpec::new("top").child(ChildSpec::supervisor(never))), refused);
    }

    /// Goal: a label is the bare type name.
    #[test]
    fn labels_are_short() {
        assert_eq!(short_type_name::<Option<std::sync::Arc<str>>>(), "Option");
    }
}
