//! What must hold. Each returns what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Nobody answered twice, late, or stopped what does not live there; nothing waits for longer than its time-out.
pub(super) fn answered(world: &World) -> Vec<String> {
    let late = world.nodes.values().flat_map(|node| {
        let late = node.asked.iter().filter(|(_, (_, until))| *until < world.now);
        late.map(|(request, (id, _))| format!("{} has not answered {request} about {id}", node.id))
    });
    world.wrong.iter().cloned().chain(late).collect()
}

/// In a healed cluster each agent lives once.
pub(super) fn single(world: &World) -> Vec<String> {
    let mut hosts: BTreeMap<AgentId, Vec<&NodeName>> = BTreeMap::new();
    for (name, node) in &world.nodes {
        node.agents.iter().for_each(|id| hosts.entry(*id).or_default().push(name));
    }
    hosts
        .iter()
        .filter(|(_, hosts)| hosts.len() > 1)
        .map(|(id, hosts)| format!("{id} lives at {hosts:?}"))
        .collect()
}

/// Directory and shell agree on what lives on a node.
pub(super) fn local(world: &World) -> Vec<String> {
    let ids = (0..NAMES).map(agent);
    let wrong = ids.flat_map(|id| {
        world
            .nodes
            .values()
            .filter(move |node| node.core.is_local(id) != node.agents.contains(&id))
            .map(move |node| (id, node))
    });
    wrong
        .map(|(id, node)| format!("{} is wrong about its own {id}: {}", node.id, node.core.is_local(id)))
        .collect()
}

/// In a healed cluster, all who hold an agent's entry hold the same, and it is true; nobody holds anything else.
pub(super) fn complete(world: &World) -> Vec<String> {
    let ring = Ring::new(world.nodes.values().map(|node| Member::new(node.id.clone())));
    let mut wrong = Vec::new();
    for id in (0..NAMES).map(agent) {
        let host = world.nodes.values().find(|node| node.agents.contains(&id)).map(|node| node.id.clone());
        let holders: BTreeSet<_> =
            ring.preference_list(id, 1 + world.config.successors).into_iter().collect();
        let mut epochs = BTreeSet::new();
        for node in world.nodes.values() {
            let held = node.core.held(id);
            epochs.extend(held.as_ref().map(|claim| claim.epoch));
            let expected = host.clone().filter(|_| holders.contains(&node.id));
            if held.as_ref().map(|claim| &claim.node) != expected.as_ref() {
                wrong.push(format!("{} holds {held:?} of {id}, which lives at {host:?}", node.id));
            }
        }
        if epochs.len() > 1 {
            wrong.push(format!("{id} is held with epochs {epochs:?}"));
        }
    }
    wrong
}

/// In a healed, quiet cluster everybody finds every agent, and nothing else; asks.
pub(super) fn found(world: &mut World) -> Vec<String> {
    let names: Vec<NodeName> = world.nodes.keys().cloned().collect();
    for name in &names {
        world.nodes.get_mut(name).unwrap().answers.clear();
        (0..NAMES).for_each(|n| world.lookup(name, agent(n)));
    }
    world.run_for(world.config.timeout.as_millis() as u64 + 2 * TICK);
    let mut wrong = Vec::new();
    for id in (0..NAMES).map(agent) {
        let host = world.nodes.values().find(|node| node.agents.contains(&id)).map(|node| node.id.clone());
        let expected = host.map_or(Answer::Unknown, Answer::Found);
        for node in world.nodes.values().filter(|node| node.answers.get(&id) != Some(&expected)) {
            wrong.push(format!(
                "{} was told {:?} about {id}, not {expected:?}",
                node.id,
                node.answers.get(&id)
            ));
        }
    }
    wrong
}

/// What readers see without asking is true.
pub(super) fn views(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    for node in world.nodes.values() {
        for (id, at) in &node.view {
            let there = match at {
                Whereabouts::Here => &node.id,
                Whereabouts::There(there) => there,
            };
            let lives = world
                .nodes
                .get(&there.name)
                .is_some_and(|host| host.id == *there && host.agents.contains(id));
            if !lives {
                wrong.push(format!("{} shows readers {id} at {there}", node.id));
            }
        }
        for id in node.agents.iter().filter(|id| node.view.get(id) != Some(&Whereabouts::Here)) {
            wrong.push(format!("{} does not show readers its own {id}", node.id));
        }
    }
    wrong
}

/// Nothing is under way or kept for what is over.
pub(super) fn at_rest(world: &World) -> Vec<String> {
    let busy = world.nodes.values().map(|node| (node, node.core.overview(Millis::new(world.now))));
    let busy = busy.filter(|(_, overview)| overview.pending > 0 || overview.duels > 0 || !overview.settled);
    busy.map(|(node, overview)| format!("{} is not at rest: {overview:?}", node.id)).collect()
}
