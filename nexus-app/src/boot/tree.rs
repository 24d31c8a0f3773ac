//! From a topology to supervisor specifications.

use nexus_actors::agent::{AgentTemplate, FamilyRules, Level, NamePattern, Payload};
use nexus_actors::route::GroupSpec;
use nexus_actors::scheduler::Schedulers;
use nexus_actors::store::Persist;
use nexus_actors::supervision::{
    AutoShutdown, Backoff, ChildRules, ChildSpec, Restart, Shutdown, Strategy, SupervisorSpec,
};
use nexus_actors::{DeclareError, Node};

use crate::topology::{
    self, AgentConfig, BackoffConfig, Every, LimitsConfig, Start, SupervisorConfig, Topology,
};

/// Id of the supervisor that holds everything the topology declares.
pub(crate) const AGENTS_SUP: &str = "agents.sup";

/// How a supervisor answers the exits of its children; families pass it on to their own supervisors.
#[derive(Clone, Copy)]
struct Tolerance {
    intensity: u32,
    period: std::time::Duration,
    backoff: Option<Backoff>,
}

/// Declares all groups and agents on `node`, and says how to start them.
///
/// # Errors
/// What a checked topology can still meet: a behavior that is not registered, more agents than the node may hold.
pub(super) fn agents_sup(node: &Node, topology: &Topology) -> Result<ChildSpec, DeclareError> {
    declare_groups(node, topology);
    let tolerance =
        Tolerance { intensity: topology.node.intensity, period: topology.node.period, backoff: None };
    let home = node.schedulers().and_then(Schedulers::only).cloned();
    let mut spec =
        SupervisorSpec::new(AGENTS_SUP).intensity(tolerance.intensity, tolerance.period).home(home);
    for agent in &topology.agent {
        spec = spec.child(agent_child(node, &topology.limits, agent, tolerance)?);
    }
    for supervisor in &topology.supervisor {
        spec = spec.child(supervisor_child(node, &topology.limits, supervisor)?);
    }
    Ok(ChildSpec::supervisor(spec))
}

fn declare_groups(node: &Node, topology: &Topology) {
    for group in &topology.group {
        let members = topology.group_members(&group.name).unwrap_or_default();
        let balance = group.balance.map(|balance| balance.strategy());
        node.declare_group(GroupSpec { name: group.name.as_str().into(), members, balance });
    }
}

fn supervisor_child(
    node: &Node,
    limits: &LimitsConfig,
    config: &SupervisorConfig,
) -> Result<ChildSpec, DeclareError> {
    let tolerance = Tolerance {
        intensity: config.intensity,
        period: config.period,
        backoff: config.backoff.as_ref().map(backoff),
    };
    let mut spec = SupervisorSpec::new(config.name.as_str())
        .strategy(strategy(config.strategy))
        .intensity(tolerance.intensity, tolerance.period)
        .auto_shutdown(auto_shutdown(config.auto_shutdown))
        .backoff(tolerance.backoff);
    for agent in &config.agent {
        spec = spec.child(agent_child(node, limits, agent, tolerance)?);
    }
    for nested in &config.supervisor {
        spec = spec.child(supervisor_child(node, limits, nested)?);
    }
    let child = ChildSpec::supervisor(spec);
    Ok(child
        .restart(restart(config.restart))
        .shutdown(shutdown(config.shutdown))
        .significant(config.significant))
}

fn agent_child(
    node: &Node,
    limits: &LimitsConfig,
    config: &AgentConfig,
    tolerance: Tolerance,
) -> Result<ChildSpec, DeclareError> {
    let template = AgentTemplate {
        behavior: config.behavior.as_str().into(),
        args: Payload::from_msgpack(config.args.to_msgpack()),
        inbox: config.inbox(limits),
        level: level(config.level),
        persist: persist(config.persist),
    };
    let rules = ChildRules::worker(config.behavior.as_str())
        .restart(restart(config.restart))
        .shutdown(shutdown(config.shutdown));
    match (&config.name, config.start()) {
        (NamePattern::Exact(name), Start::Eager) => {
            node.agent_child(name.as_str(), &template, rules.significant(config.significant))
        }
        (pattern, start) => {
            let family = FamilyRules {
                name: config.child_id().into(),
                agent: rules,
                intensity: tolerance.intensity,
                period: tolerance.period,
                backoff: tolerance.backoff,
                eager: start == Start::Eager,
                hibernate_after: config.hibernate_after,
            };
            node.family_child(pattern.clone(), template, family)
        }
    }
}

const fn strategy(config: topology::Strategy) -> Strategy {
    match config {
        topology::Strategy::OneForOne => Strategy::OneForOne,
        topology::Strategy::OneForAll => Strategy::OneForAll,
        topology::Strategy::RestForOne => Strategy::RestForOne,
    }
}

const fn restart(config: topology::Restart) -> Restart {
    match config {
        topology::Restart::Permanent => Restart::Permanent,
        topology::Restart::Transient => Restart::Transient,
        topology::Restart::Temporary => Restart::Temporary,
    }
}

const fn shutdown(config: topology::Shutdown) -> Shutdown {
    match config {
        topology::Shutdown::Timeout(limit) => Shutdown::Timeout(limit),
        topology::Shutdown::Infinity => Shutdown::Infinity,
        topology::Shutdown::BrutalKill => Shutdown::BrutalKill,
    }
}

const fn auto_shutdown(config: topology::AutoShutdown) -> AutoShutdown {
    match config {
        topology::AutoShutdown::Never => AutoShutdown::Never,
        topology::AutoShutdown::AnySignificant => AutoShutdown::AnySignificant,
        topology::AutoShutdown::AllSignificant => AutoShutdown::AllSignificant,
    }
}

const fn level(config: topology::Level) -> Level {
    match config {
        topology::Level::Reactive => Level::Reactive,
        topology::Level::Proactive => Level::Proactive,
        topology::Level::Adaptive => Level::Adaptive,
        topology::Level::Emergent => Level::Emergent,
    }
}

const fn persist(config: topology::Persist) -> Persist {
    match config {
        topology::Persist::None => Persist::None,
        topology::Persist::OnHibernate => Persist::OnHibernate,
        topology::Persist::EachUpdate => Persist::EachUpdate,
        topology::Persist::Every(Every::Messages(count)) => Persist::EveryMessages(count),
        topology::Persist::Every(Every::Span(span)) => Persist::EveryInterval(span),
    }
}

const fn backoff(config: &BackoffConfig) -> Backoff {
    Backoff { base: config.initial, factor: config.factor, cap: config.max }
}
