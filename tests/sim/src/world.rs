//! The course of a simulation: nodes start, faults come and go as planned, invariants look every 100 ms, and at the end.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use nexus_actors::agent::AgentId;
use nexus_actors::rng::{Rng, Seed};
use nexus_cluster::NodeName;
use nexus_cluster::transport::Lane;
use nexus_cluster::transport::sim::{Faults, Network, Traffic};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::chronicle::{self, Chronicle, note};
use crate::disk::SimDisk;
use crate::invariants::{End, Judge, Look, SETTLED, Survey, Violation};
use crate::load::messages_in;
use crate::plan::{Fault, Place, Plan};
use crate::site::{Ground, Site, address, agents};
use crate::trace::Trace;

/// How often invariants look.
const LOOK: Duration = Duration::from_millis(100);
/// What a commit takes on a disk that is not slow.
const SYNC: Duration = Duration::from_millis(20);
/// The workload ends so long before the end, so that what is under way has time to arrive.
const HUSH: Duration = Duration::from_secs(9);

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// From which all follows.
    pub seed: u64,
    /// How many nodes; without it, as the seed says.
    pub nodes: Option<usize>,
    /// How long, in simulated time.
    pub length: Duration,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// How many nodes there were.
    pub nodes: usize,
    /// The hash of the trace.
    pub hash: u64,
    /// Its lines.
    pub lines: u64,
    /// Messages that were sent.
    pub messages: usize,
    /// Lives of nodes.
    pub lives: usize,
    /// What did not hold, the first of each invariant.
    pub violations: Vec<Violation>,
}

/// Simulates, in this thread. The trace is also written to `copy`.
///
/// # Errors
/// The copy could not be written, or there is no runtime to be had.
pub fn run(config: Config, copy: Option<Box<dyn Write>>) -> std::io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let (nodes, violations) = runtime.block_on(async {
        chronicle::open(Trace::new(copy));
        World::new(config).run().await
    });
    let Chronicle { trace, lives, messages, .. } = chronicle::close().expect("it was opened");
    // What still runs is dropped; nothing of that is part of the simulation.
    drop(runtime);
    let (hash, lines) = (trace.hash(), trace.lines());
    trace.finish()?;
    Ok(Outcome { nodes, hash, lines, messages: messages.len(), lives: lives.len(), violations })
}

struct World {
    plan: Plan,
    network: Network,
    grounds: Vec<Ground>,
    /// Running nodes by their place.
    sites: Vec<Option<Site>>,
    /// The faults that hold now, by their place in the plan.
    active: BTreeSet<usize>,
    rng: Rng,
    began: Instant,
    /// When a fault began or ended last, slow disks not counted.
    disturbed: Duration,
    /// A survey that is under way.
    survey: Option<JoinHandle<Survey>>,
    judge: Judge,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Ends(usize),
    Begins(usize),
    Hush,
    Look,
}

impl World {
    fn new(config: Config) -> Self {
        let seed = Seed::new(config.seed);
        let plan = Plan::new(seed, config.nodes, config.length);
        let network = Network::new(seed, Faults::default());
        network.watch(Arc::new(trace_traffic));
        let grounds = (0..plan.nodes).map(|place| ground(place, &plan, seed)).collect();
        let sites = (0..plan.nodes).map(|_| None).collect();
        let (rng, began) = (seed.stream("world"), Instant::now());
        let judge = Judge::default();
        Self {
            plan,
            network,
            grounds,
            sites,
            active: BTreeSet::new(),
            rng,
            began,
            disturbed: Duration::ZERO,
            survey: None,
            judge,
        }
    }

    async fn run(mut self) -> (usize, Vec<Violation>) {
        note(format_args!("{:?}", self.plan));
        self.apply();
        for place in 0..self.plan.nodes {
            self.start(place).await;
        }
        for (at, turn) in self.turns() {
            tokio::time::sleep_until(self.began + at).await;
            self.take(turn).await;
        }
        self.end().await;
        (self.plan.nodes, self.judge.into_violations())
    }

    /// All that is planned, in order.
    fn turns(&self) -> Vec<(Duration, Turn)> {
        let mut turns = vec![(self.plan.length.saturating_sub(HUSH), Turn::Hush)];
        for (number, episode) in self.plan.episodes.iter().enumerate() {
            turns.push((episode.from, Turn::Begins(number)));
            if episode.until > episode.from {
                turns.push((episode.until, Turn::Ends(number)));
            }
        }
        let mut at = Duration::ZERO;
        while at < self.plan.length {
            turns.push((at, Turn::Look));
            at += LOOK;
        }
        turns.sort();
        turns
    }

    async fn take(&mut self, turn: Turn) {
        match turn {
            Turn::Begins(number) => self.begins(number),
            Turn::Ends(number) => self.ends(number).await,
            Turn::Hush => {
                note(format_args!("hush"));
                self.sites.iter().flatten().for_each(Site::hush);
            }
            Turn::Look => self.on_look().await,
        }
    }

    async fn start(&mut self, place: Place) {
        let site = self.grounds[place].start(&self.network, self.began).await;
        self.sites[place] = Some(site);
    }

    fn begins(&mut self, number: usize) {
        let fault = self.plan.episodes[number].fault.clone();
        note(format_args!("fault {number} begins: {fault:?}"));
        match fault {
            Fault::Crash(place) => {
                if let Some(site) = self.sites[place].take() {
                    site.crash(&self.network, &self.grounds[place].disk, &mut self.rng);
                }
            }
            Fault::Cut(a, b) => {
                self.network.cut(&self.grounds[a].name, &self.grounds[b].name);
            }
            _ => {}
        }
        self.disturbs(&fault);
        if !matches!(fault, Fault::Cut(..)) {
            self.active.insert(number);
        }
        self.apply();
    }

    async fn ends(&mut self, number: usize) {
        let fault = self.plan.episodes[number].fault.clone();
        note(format_args!("fault {number} ends"));
        self.active.remove(&number);
        self.apply();
        if let Fault::Crash(place) = fault {
            self.start(place).await;
        }
        self.disturbs(&fault);
    }

    /// The fault begins or ends. A slow disk does not keep nodes from each other.
    fn disturbs(&mut self, fault: &Fault) {
        if !matches!(fault, Fault::SlowDisk(..)) {
            self.disturbed = self.began.elapsed();
        }
    }

    /// Makes network and disks what the faults that hold now want them to be.
    fn apply(&mut self) {
        let mut faults = Faults::default();
        let mut latency = vec![SYNC; self.plan.nodes];
        self.network.heal();
        for (from, to) in self.blocked() {
            self.network.block(&self.grounds[from].name, &self.grounds[to].name);
        }
        for from in 0..self.plan.nodes {
            for to in 0..self.plan.nodes {
                self.network.set_faults_between(self.name(from), self.name(to), None);
            }
        }
        for number in &self.active {
            match self.plan.episodes[*number].fault {
                Fault::Delay(shortest, longest) => {
                    (faults.delay_min, faults.delay_max) = (shortest, longest.max(faults.delay_max));
                }
                Fault::Loss(loss) => faults.loss = faults.loss.max(loss),
                Fault::SlowDisk(place, slow) => latency[place] = slow.max(latency[place]),
                _ => {}
            }
        }
        self.network.set_faults(faults);
        for number in &self.active {
            if let Fault::DelayOneWay(from, to, delay) = self.plan.episodes[*number].fault {
                let slow = Faults { delay_min: delay, delay_max: delay * 2, ..faults };
                self.network.set_faults_between(self.name(from), self.name(to), Some(slow));
            }
        }
        for (ground, latency) in self.grounds.iter().zip(latency) {
            ground.disk.set_latency(latency);
        }
    }

    fn name(&self, place: Place) -> &NodeName {
        &self.grounds[place].name
    }

    /// The directions in which nothing gets through.
    fn blocked(&self) -> BTreeSet<(Place, Place)> {
        let mut blocked = BTreeSet::new();
        for number in &self.active {
            let (Fault::Partition(from, to) | Fault::OneWay(from, to)) = &self.plan.episodes[*number].fault
            else {
                continue;
            };
            let both = matches!(self.plan.episodes[*number].fault, Fault::Partition(..));
            for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))) {
                blocked.insert((from, to));
                if both {
                    blocked.insert((to, from));
                }
            }
        }
        blocked
    }

    async fn on_look(&mut self) {
        let mut look = self.look();
        if self.survey.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(survey) = self.survey.take()
        {
            look.survey = survey.await.ok();
        }
        let look = chronicle::with(|chronicle| self.judge.look(look, chronicle)).expect("it is open");
        if self.survey.is_none() && look.is_one_for(SETTLED) {
            let clusters = self.sites.iter().enumerate();
            let clusters = clusters.filter_map(|(place, site)| Some((place, site.as_ref()?.cluster.clone())));
            self.survey = Some(tokio::spawn(Survey::new(look.steady_since, clusters.collect())));
        }
    }

    fn look(&self) -> Look {
        let noise = |number: &usize| {
            let fault = &self.plan.episodes[*number].fault;
            matches!(fault, Fault::OneWay(..) | Fault::Delay(..) | Fault::DelayOneWay(..) | Fault::Loss(_))
        };
        let steady_since = (!self.active.iter().any(noise)).then_some(self.disturbed);
        Look::new(self.began.elapsed(), &self.sites, self.blocked(), steady_since)
    }

    async fn end(&mut self) {
        let look = self.look();
        for site in self.sites.iter().flatten() {
            let books = site.books();
            chronicle::with(|chronicle| chronicle.lives[site.life].books = books);
            note(format_args!("{} has under way {}", site.id, site.cluster.migration().describe()));
            for (agent, what) in site.node.between_places() {
                let name = agents().iter().find(|name| AgentId::of(name) == agent).cloned();
                note(format_args!("{} holds letters for {name:?}: {what}", site.id));
            }
        }
        let end = End::new(look, &self.sites).await;
        chronicle::with(|chronicle| self.judge.end(end, chronicle));
    }
}

fn ground(place: Place, plan: &Plan, seed: Seed) -> Ground {
    let name: NodeName = format!("n{place}").parse().expect("a name");
    let seeds = (0..plan.nodes.min(3)).filter(|seed| *seed != place).map(address).collect();
    Ground {
        place,
        disk: SimDisk::new(name.as_str()),
        name,
        skew_ms: plan.skew_ms[place],
        nodes: plan.nodes,
        seeds,
        seed,
        lives: 0,
    }
}

fn trace_traffic(traffic: Traffic<'_>) {
    match traffic {
        Traffic::Opened { ends: [a, b], epoch } => note(format_args!("{a} and {b} connected as {epoch}")),
        Traffic::Closed { ends: [a, b], epoch, reason } => {
            note(format_args!("{a} and {b} disconnected as {epoch}: {reason}"));
        }
        Traffic::Arrives { from, to, lane, bytes } => {
            note(format_args!("{from} to {to} {lane:?} {} bytes {:016x}", bytes.len(), xxh3_64(bytes)));
            if lane == Lane::Data {
                chronicle::with(|chronicle| chronicle.crosses(from, to, messages_in(bytes)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Episode;

    /// Goal: a fault that begins or ends is known though it falls between two looks; slow disks disturb nobody, and noise does while
    /// it lasts.
    #[tokio::test(start_paused = true)]
    async fn disturbances_are_known() {
        let second = Duration::from_secs(1);
        let mut world = World::new(Config { seed: 1, nodes: Some(2), length: 60 * second });
        let faults = [
            (Fault::Partition(vec![0], vec![1]), Some(1), Some(2)),
            (Fault::Cut(0, 1), Some(3), Some(3)),
            (Fault::SlowDisk(0, second), Some(3), Some(3)),
            (Fault::Delay(second, second), None, Some(8)),
        ];
        let episodes =
            faults.iter().map(|(fault, ..)| Episode { from: second, until: second, fault: fault.clone() });
        world.plan.episodes = episodes.collect();
        let seconds = |number: Option<u32>| number.map(|number| number * second);
        for (number, (fault, begun, ended)) in faults.iter().enumerate() {
            tokio::time::advance(second).await;
            world.begins(number);
            assert_eq!(world.look().steady_since, seconds(*begun), "{fault:?}");
            tokio::time::advance(second).await;
            if !matches!(fault, Fault::Cut(..)) {
                world.ends(number).await;
            }
            assert_eq!(world.look().steady_since, seconds(*ended), "{fault:?}");
        }
    }
}
