//! The shell around a strategy: a group's members beside their readings, and how a letter finds one of them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rand::RngCore;
use serde::Serialize;

use super::{Gauge, Members, Meter, Strategy};
use crate::agent::{AgentCell, Letter, Pushed};
use crate::clock::Clock;
use crate::rng::Rng;

/// Members a letter is offered to before its sender hears `Overloaded`: the one chosen and the next best two. More would make a
/// refusal dear exactly when everybody is busy.
pub(crate) const OFFERS_MAX: usize = 3;

/// Members whose readings each decision brings up to date, in turn. A group of up to this many is always read as a whole; of a
/// group of 1,000 no reading is older than 63 decisions.
const READ_AHEAD: usize = 16;

/// Agents in the order they came; one that goes leaves its place to the last. Growing and shrinking cost O(log N), so that a
/// million agents may come one by one.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: Vec<Member>,
    /// The members' readings, side by side: what a strategy that looks at everybody goes through.
    gauges: Vec<Gauge>,
    places: BTreeMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Member {
    cell: Arc<AgentCell>,
    meter: Arc<Meter>,
}

/// A group's strategy and what it needs beside the members.
#[derive(Debug)]
pub(crate) struct Balancer {
    pub(crate) strategy: &'static dyn Strategy,
    clock: Clock,
    /// The next decision's number.
    turn: AtomicU64,
    /// Letters that a member took, and letters that nobody had room for.
    taken: AtomicU64,
    refused: AtomicU64,
    /// The member whose readings are the oldest.
    oldest: AtomicUsize,
    /// Who refused last: where the rejection of a letter that nobody took is counted.
    refused_at: AtomicUsize,
    chance: Mutex<Rng>,
}

/// What became of a letter that was offered to a group.
#[derive(Debug)]
pub(crate) enum Offered {
    /// A member has it.
    Taken,
    /// The member that was chosen sleeps: a message to its name wakes it.
    Asleep(Letter, Arc<str>),
    /// All that were asked are full.
    Full(Letter),
    /// The group has no member, or none that has not stopped for good.
    Nobody(Letter),
}

/// What is known of one member of a balanced group.
#[derive(Clone, Debug, Serialize)]
pub struct MemberOverview {
    /// The agent's name.
    pub name: Arc<str>,
    /// Messages the group's strategy gave it.
    pub decisions: u64,
    /// The same as a share of all that its present members were given, 0 to 1.
    pub share: f64,
    /// Messages in its inbox, whoever sent them.
    pub queued: u32,
    /// The inbox's limit.
    pub inbox_limit: u32,
    /// Mean time of its answers to asks through the group, in milliseconds; `None` until there was one.
    pub response_ms: Option<f64>,
    /// Share of time it is busy with messages, 0 to 1; `None` until that was measured.
    pub cpu: Option<f32>,
    /// Share of memory it uses of what it may, 0 to 1; `None` where nobody measures it.
    pub memory: Option<f32>,
    /// Whether it has stopped for good and is given nothing.
    pub stopped: bool,
}

impl Roster {
    /// The agent is a member from now on; it replaces an earlier one of its name.
    pub(crate) fn put(&mut self, cell: Arc<AgentCell>) {
        match self.places.get(&cell.name) {
            Some(at) if Arc::ptr_eq(&self.members[*at].cell, &cell) => {}
            Some(at) => {
                self.gauges[*at] = Gauge::default();
                self.members[*at] = Member { cell, meter: Arc::default() };
            }
            None => {
                self.places.insert(cell.name.clone(), self.members.len());
                self.gauges.push(Gauge::new(0, cell.inbox_limit));
                self.members.push(Member { cell, meter: Arc::default() });
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let Some(at) = self.places.remove(name) else { return };
        self.gauges.swap_remove(at);
        self.members.swap_remove(at);
        if let Some(moved) = self.members.get(at) {
            self.places.insert(moved.cell.name.clone(), at);
        }
    }

    fn read(&self, at: usize, now_ns: u64) -> &Gauge {
        let (Member { cell, meter }, gauge) = (&self.members[at], &self.gauges[at]);
        let tally = cell.tally();
        gauge.set_queue(u32::try_from(tally.queued).unwrap_or(u32::MAX), cell.inbox_limit);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "readings are rough"
        )]
        {
            gauge.set_response(meter.response_ns(now_ns).map(|ns| (ns as f64 / 1e9) as f32));
            // The utilization law: throughput times service time.
            let service_s = f64::from(cell.service_ns()) / 1e9;
            gauge.set_cpu(meter.rate(tally.processed, now_ns).map(|rate| (rate * service_s) as f32));
        }
        gauge
    }
}

impl Balancer {
    pub(crate) fn new(strategy: &'static dyn Strategy, clock: Clock, chance: Rng) -> Self {
        Self {
            strategy,
            clock,
            turn: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            oldest: AtomicUsize::new(0),
            refused_at: AtomicUsize::new(0),
            chance: Mutex::new(chance),
        }
    }

    /// Gives the letter to the member the strategy chooses; if that one is full or has just stopped, to the next best, at most
    /// [`OFFERS_MAX`] in all. Counts no rejection.
    ///
    /// The caller holds the roster's lock: a member that goes is emptied and counted only after it has left the roster, so no
    /// letter can come after that.
    pub(crate) fn offer(&self, roster: &Roster, mut letter: Letter) -> Offered {
        let mut view = View::new(self, roster);
        let mut full = false;
        for _ in 0..OFFERS_MAX {
            let Some(at) = self.choose(&view) else { break };
            let Member { cell, meter } = &roster.members[at];
            letter.answer = letter.answer.timed(meter, self.clock);
            match cell.offer(letter) {
                Pushed::Queued | Pushed::Wake => {
                    meter.decisions.fetch_add(1, Ordering::Relaxed);
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    roster.gauges[at].add_queued();
                    return Offered::Taken;
                }
                Pushed::Full(back) => {
                    full = true;
                    self.refused_at.store(at, Ordering::Relaxed);
                    roster.read(at, view.now_ns());
                    letter = back;
                }
                // Closed and not retired: it was laid down.
                Pushed::Closed(back) if !cell.is_retired() => {
                    meter.decisions.fetch_add(1, Ordering::Relaxed);
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    return Offered::Asleep(back, cell.name.clone());
                }
                Pushed::Closed(back) => letter = back,
            }
            letter.answer = letter.answer.untimed();
            view.refused(at);
        }
        if full { Offered::Full(letter) } else { Offered::Nobody(letter) }
    }

    fn choose(&self, view: &View<'_>) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.strategy.choose(view, turn, &mut Shared(&self.chance))
    }

    /// A decision without a letter: what `nexus bench balance` measures.
    pub(crate) fn decide(&self, roster: &Roster) -> Option<Arc<str>> {
        let at = self.choose(&View::new(self, roster))?;
        roster.gauges[at].add_queued();
        Some(roster.members[at].cell.name.clone())
    }

    /// Messages that a member took.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Messages that nobody who was asked had room for.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts one of those.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The member that refused last, or another one if that has gone.
    pub(crate) fn refuser<'a>(&self, roster: &'a Roster) -> Option<&'a Arc<AgentCell>> {
        let at = self.refused_at.load(Ordering::Relaxed);
        roster.members.get(at).or(roster.members.last()).map(|member| &member.cell)
    }

    /// The members in order of their names, read now.
    pub(crate) fn overview(&self, roster: &Roster) -> Vec<MemberOverview> {
        let now_ns = self.clock.nanos();
        let decided = |member: &Member| member.meter.decisions.load(Ordering::Relaxed);
        let total: u64 = roster.members.iter().map(decided).sum();
        let look = |at: usize| {
            let (member, gauge) = (&roster.members[at], roster.read(at, now_ns));
            let decisions = decided(member);
            #[expect(clippy::cast_precision_loss, reason = "figures for people")]
            MemberOverview {
                name: member.cell.name.clone(),
                decisions,
                share: decisions as f64 / total.max(1) as f64,
                queued: gauge.queued(),
                inbox_limit: gauge.limit(),
                response_ms: member.meter.response_ns(now_ns).map(|ns| ns as f64 / 1e6),
                cpu: gauge.cpu(),
                memory: gauge.memory(),
                stopped: member.cell.is_retired(),
            }
        };
        roster.places.values().copied().map(look).collect()
    }
}

/// The members during one decision and the attempts that follow it.
struct View<'a> {
    balancer: &'a Balancer,
    roster: &'a Roster,
    refused: [usize; OFFERS_MAX],
    refusals: usize,
    /// Read when it is needed first.
    now_ns: OnceCell<u64>,
}

impl<'a> View<'a> {
    fn new(balancer: &'a Balancer, roster: &'a Roster) -> Self {
        Self { balancer, roster, refused: [0; OFFERS_MAX], refusals: 0, now_ns: OnceCell::new() }
    }

    fn now_ns(&self) -> u64 {
        *self.now_ns.get_or_init(|| self.balancer.clock.nanos())
    }

    fn refused(&mut self, at: usize) {
        self.refused[self.refusals] = at;
        self.refusals += 1;
    }
}

impl Members for View<'_> {
    fn len(&self) -> usize {
        self.roster.members.len()
    }

    fn takes(&self, at: usize) -> bool {
        !self.refused[..self.refusals].contains(&at) && !self.roster.members[at].cell.is_retired()
    }

    fn read(&self, at: usize) -> &Gauge {
        self.roster.read(at, self.now_ns())
    }

    fn all(&self) -> &[Gauge] {
        let len = self.len();
        let count = READ_AHEAD.min(len);
        let from = self.balancer.oldest.fetch_add(count, Ordering::Relaxed);
        for at in (from..from.saturating_add(count)).filter_map(|at| at.checked_rem(len)) {
            self.roster.read(at, self.now_ns());
        }
        &self.roster.gauges
    }
}

/// One generator for all senders of a group.
struct Shared<'a>(&'a Mutex<Rng>);

impl RngCore for Shared<'_> {
    fn next_u32(&mut self) -> u32 {
        self.0.lock().next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.lock().next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }
}
