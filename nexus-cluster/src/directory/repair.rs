//! Anti-entropy (Demers et al., PODC 1987), which is hand-over as well: what two nodes should both know is compared by digests, first one
//! for all, then one for each of 4,096 ranges of keys, and what differs is sent (a Merkle tree of two levels; Dynamo §4.7). The digest
//! of a set is the exclusive or of its entries' hashes.
//!
//! ```text
//!   A                                    B
//!   │ Root(hash of what A knows that B should hold)
//!   ├────────────────────────────────────▶ the same: InSync
//!   │                             Differs │ else, when it is A's turn: B's digests by range
//!   ◀────────────────────────────────────┤
//!   │ Entries … Entries                   │ of the ranges that differ, a burst at a time
//!   ├────────────────────────────────────▶ B asks for the next burst
//! ```
//!
//! A pair shares the entries that both should hold, and those of A's own agents that B should hold. Of its own agents A is the
//! authority: an entry that names A and that A does not list is wrong. Everybody compares with all others when the ring has changed,
//! and with some in turn for ever. Nothing is remembered of a comparison but how far it came, so nothing can be lost but time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_actors::agent::AgentId;
use nexus_actors::clock::Millis;

use super::config::DirectoryConfig;
use super::core::Core;
use super::message::{CHUNK_RECORDS, Message, Records, Then};
use super::table::{BUCKETS, Stamp, bucket_of};
use crate::NodeName;

/// Chunks that are sent without being asked for the next.
const BURST: u32 = 32;
/// From how many others entries are fetched at a time: what one has sent need not come from the next.
const PULLS_MAX: usize = 4;
/// Entries whose digests are computed in one step after the ring has changed.
const PREPARE_ENTRIES: usize = 50_000;
/// For how many retries' time a fetch may stand still.
const PULL_RETRIES: u32 = 5;

/// How far comparing has come.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    peers: Vec<Peer>,
    /// Members that this node has not heard all from since the ring changed, and until when that matters.
    unheard: usize,
    settle_until: Millis,
    digests: Vec<Option<Digests>>,
    /// Buckets whose digests are known: all before this.
    ready: usize,
    pulls: BTreeMap<u16, Pull>,
    /// Members that have something for this node.
    waiting: BTreeSet<u16>,
    handoff_at: Millis,
    handoff_next: usize,
    repair_at: Millis,
    repair_next: usize,
}

/// A bucket's digests by place and direction, ascending; see [`out`] and [`inward`]. Nothing shared is zero, or not there.
type Digests = Vec<(u32, u64)>;

#[derive(Clone, Debug, Default)]
struct Peer {
    /// It holds all that it should hold of what this node knows.
    told: bool,
    /// This node holds all that it should hold of what the peer knows.
    heard: bool,
}

#[derive(Debug)]
struct Pull {
    until: Millis,
    /// The next chunk's number; `None` once one was lost.
    next: Option<u32>,
}

/// What this node knows that the member at `place` should hold.
const fn out(place: u16) -> u32 {
    (place as u32) << 1
}

/// What the member at `place` knows that this node should hold, as far as this node has it.
const fn inward(place: u16) -> u32 {
    out(place) | 1
}

impl Repair {
    pub(super) fn begin(&mut self, now: Millis, members: usize, me: Option<u16>, config: &DirectoryConfig) {
        self.peers = vec![Peer::default(); members];
        if let Some(peer) = me.and_then(|me| self.peers.get_mut(usize::from(me))) {
            *peer = Peer { told: true, heard: true };
        }
        self.unheard = self.peers.iter().filter(|peer| !peer.heard).count();
        self.settle_until = now + config.settle;
        self.digests = vec![None; BUCKETS];
        self.ready = 0;
        self.pulls.clear();
        self.waiting.clear();
        self.handoff_at = now;
        self.repair_at = now + config.repair;
        (self.handoff_next, self.repair_next) = (0, 0);
    }

    /// Takes a record into the digests of its bucket, or out of them, if they are known.
    fn toggle(&mut self, id: AgentId, share: u32, stamp: Stamp) {
        let Some(digests) = self.digests.get_mut(bucket_of(id)).and_then(Option::as_mut) else { return };
        add(digests, share, hash(id, stamp));
    }

    pub(super) fn bytes(&self) -> usize {
        let digests: usize = self.digests.iter().flatten().map(Vec::capacity).sum();
        digests * size_of::<(u32, u64)>() + self.digests.len() * size_of::<Option<Digests>>()
    }

    fn heard(&mut self, place: u16) {
        if let Some(peer) = self.peers.get_mut(usize::from(place)).filter(|peer| !peer.heard) {
            peer.heard = true;
            self.unheard -= 1;
        }
    }

    /// The next `n` members in turn that `wanted` says yes to.
    fn turn(peers: &[Peer], next: &mut usize, n: usize, wanted: impl Fn(&Peer) -> bool) -> Vec<u16> {
        let order = (0..peers.len()).map(|step| (*next + step) % peers.len());
        let chosen: Vec<usize> = order.filter(|place| wanted(&peers[*place])).take(n).collect();
        if let Some(last) = chosen.last() {
            *next = (last + 1) % peers.len();
        }
        chosen.into_iter().filter_map(|place| u16::try_from(place).ok()).collect()
    }
}

impl Core {
    /// Whether this node has heard from all members since the ring changed, or has waited long enough: a name that it does not know
    /// then is unknown.
    pub(super) fn is_settled(&self, now: Millis) -> bool {
        self.place.is_some() && (self.repair.unheard == 0 || now >= self.repair.settle_until)
    }

    pub(super) fn on_link(&mut self, name: &NodeName) {
        if let Some(peer) = self.ring.place(name).and_then(|place| self.repair.peers.get_mut(place)) {
            peer.told = Some(name) == Some(&self.me.name);
        }
    }

    pub(super) fn on_shared(&mut self, now: Millis, from: u16, message: Message) {
        match message {
            Message::Put { records, .. } => self.on_put(now, &records),
            Message::Root { root, .. } => self.on_root(now, from, root),
            Message::InSync { .. } => self.on_in_sync(from),
            Message::Differs { digests, .. } => self.on_differs(now, from, &digests),
            Message::Entries { buckets, records, as_of, sequence, then, .. } => {
                self.on_entries(from, &buckets, &records, as_of, now);
                self.on_chunk(now, from, sequence, then);
            }
            _ => {}
        }
    }

    /// Begins comparisons that are due.
    pub(super) fn compare(&mut self, now: Millis) {
        let Some(me) = self.place else { return };
        self.repair.pulls.retain(|_, pull| pull.until > now);
        self.pull(now);
        if !self.prepare() {
            return;
        }
        let mut places = Vec::new();
        let repair = &mut self.repair;
        if now >= repair.handoff_at {
            repair.handoff_at = now + self.config.retry;
            let n = self.config.handoff_peers;
            places = Repair::turn(&repair.peers, &mut repair.handoff_next, n, |peer| !peer.told);
        }
        if now >= repair.repair_at {
            repair.repair_at = now + self.config.repair;
            let n = self.config.repair_peers;
            places.extend(Repair::turn(&repair.peers, &mut repair.repair_next, n, |peer| peer.told));
        }
        places.retain(|place| *place != me);
        for place in places {
            self.send_root(place);
        }
    }

    /// Computes digests that are not known yet, so many at a time that nobody waits for long. Whether all are known.
    fn prepare(&mut self) -> bool {
        let mut entries = 0;
        while let bucket = self.repair.ready
            && bucket < BUCKETS
            && entries < PREPARE_ENTRIES
        {
            entries += self.held.bucket(bucket).count() + self.local.bucket(bucket).count();
            self.repair.digests[bucket] = Some(self.digest(bucket));
            self.repair.ready += 1;
        }
        self.is_prepared()
    }

    const fn is_prepared(&self) -> bool {
        self.repair.ready == BUCKETS
    }

    fn send_root(&mut self, place: u16) {
        let root = self.root(out(place));
        self.send_place(place, Message::Root { ring: self.ring.epoch(), root });
    }

    fn on_root(&mut self, now: Millis, from: u16, root: u64) {
        if !self.is_prepared() {
            return; // It will come again.
        }
        if self.root(inward(from)) == root {
            self.repair.waiting.remove(&from);
            self.repair.heard(from);
            self.send_place(from, Message::InSync { ring: self.ring.epoch() });
        } else if !self.repair.pulls.contains_key(&from) {
            self.repair.waiting.insert(from);
            self.pull(now);
        }
    }

    fn on_in_sync(&mut self, from: u16) {
        // What differs after a whole exchange is on its way or in dispute, and has its time until the next comparison.
        self.repair.peers[usize::from(from)].told = true;
    }

    /// Fetches from those whose turn it is.
    fn pull(&mut self, now: Millis) {
        while self.repair.pulls.len() < PULLS_MAX
            && let Some(place) = self.repair.waiting.pop_first()
        {
            self.ask(now, place);
        }
    }

    fn ask(&mut self, now: Millis, place: u16) {
        let until = now + self.pull_patience();
        self.repair.pulls.insert(place, Pull { until, next: Some(0) });
        let digests = self.digests(inward(place));
        self.send_place(place, Message::Differs { ring: self.ring.epoch(), digests });
    }

    fn pull_patience(&self) -> Duration {
        self.config.retry * PULL_RETRIES
    }

    fn on_differs(&mut self, now: Millis, to: u16, theirs: &[(u16, u64)]) {
        self.repair.peers[usize::from(to)].told = false;
        if !self.is_prepared() {
            return;
        }
        let mine: BTreeMap<u16, u64> = self.digests(out(to)).into_iter().collect();
        let theirs: BTreeMap<u16, u64> = theirs.iter().copied().collect();
        let all: BTreeSet<u16> = mine.keys().chain(theirs.keys()).copied().collect();
        let mut differ = all.into_iter().filter(|bucket| mine.get(bucket) != theirs.get(bucket)).peekable();
        let (ring, as_of) = (self.ring.epoch(), self.complete_up_to());
        for sequence in 0..BURST {
            let (mut buckets, mut records) = (Vec::new(), Vec::new());
            while records.len() < CHUNK_RECORDS
                && let Some(bucket) = differ.next()
            {
                for record in self.shared_out(usize::from(bucket), to) {
                    self.contest(now, record.0);
                    records.push(record);
                }
                buckets.push(bucket);
            }
            let then = match differ.peek() {
                None => Then::Done,
                Some(_) if sequence + 1 == BURST => Then::Ask,
                Some(_) => Then::Next,
            };
            let records = Records::pack(&records);
            self.send_place(to, Message::Entries { ring, buckets, records, as_of, sequence, then });
            if then == Then::Done {
                return;
            }
        }
    }

    fn on_entries(&mut self, from: u16, buckets: &[u16], records: &Records, as_of: u64, now: Millis) {
        let in_buckets =
            |id: AgentId| buckets.binary_search_by(|bucket| usize::from(*bucket).cmp(&bucket_of(id))).is_ok();
        let listed: BTreeMap<AgentId, Stamp> = records.iter().filter(|(id, _)| in_buckets(*id)).collect();
        for bucket in buckets {
            // Its own agents it knows best. What others have and it has not, it will hear of when it compares with them.
            let held = self.held.bucket(usize::from(*bucket));
            let denied = held.filter(|(id, held)| {
                held.place() == from && held.epoch() <= as_of && listed.get(id) != Some(held)
            });
            for (id, _) in denied.collect::<Vec<_>>() {
                self.release(id);
            }
        }
        for (id, stamp) in listed {
            self.absorb(now, id, stamp);
        }
    }

    fn on_chunk(&mut self, now: Millis, from: u16, sequence: u32, then: Then) {
        let patience = self.pull_patience();
        let Some(pull) = self.repair.pulls.get_mut(&from) else { return };
        pull.until = now + patience;
        pull.next = pull.next.filter(|next| *next == sequence).map(|next| next + 1);
        match then {
            Then::Next => {}
            Then::Ask => self.ask(now, from),
            Then::Done => {
                if self.repair.pulls.remove(&from).is_some_and(|pull| pull.next.is_some()) {
                    self.repair.heard(from);
                }
                self.send_place(from, Message::InSync { ring: self.ring.epoch() });
                self.pull(now);
            }
        }
    }

    fn root(&self, share: u32) -> u64 {
        self.digests(share)
            .into_iter()
            .fold(0, |root, (bucket, digest)| root ^ mix(digest ^ u64::from(bucket)))
    }

    /// The digests of a share, for each bucket that has some of it.
    fn digests(&self, share: u32) -> Vec<(u16, u64)> {
        let mut all = Vec::new();
        for bucket in 0..self.repair.digests.len() {
            let digests = self.repair.digests[bucket].as_deref().unwrap_or_default();
            if let Ok(at) = digests.binary_search_by_key(&share, |(share, _)| *share)
                && digests[at].1 != 0
            {
                all.push((bucket as u16, digests[at].1));
            }
        }
        all
    }

    fn digest(&self, bucket: usize) -> Digests {
        let mut digests = Digests::new();
        for id in self.known(bucket).into_keys() {
            self.each_share(id, |share, stamp| add(&mut digests, share, hash(id, stamp)));
        }
        digests
    }

    /// The shares that the entry of `id` belongs to, and by what record.
    fn each_share(&self, id: AgentId, mut each: impl FnMut(u32, Stamp)) {
        let (held, local) = (self.held.get(id), self.local.get(id));
        let own = self.place.and_then(|me| local.map(|stamp| Stamp::new(stamp.epoch(), me)));
        let Some(known) = own.or(held) else { return };
        let responsible = self.responsible(id);
        let host = held.map(Stamp::place).filter(|host| !responsible.contains(host));
        for place in &responsible {
            each(out(*place), known);
        }
        for place in responsible.iter().chain(&host) {
            held.into_iter().for_each(|held| each(inward(*place), held));
        }
    }

    /// The agent lives here by the claim of this epoch, or does not any more.
    pub(super) fn set_local(&mut self, id: AgentId, epoch: Option<u64>) {
        self.toggle(id);
        match epoch {
            Some(epoch) => self.local.insert(id, Stamp::new(epoch, 0)),
            None => drop(self.local.remove(id)),
        }
        self.toggle(id);
    }

    /// The entry held for `id` is this, or none.
    pub(super) fn set_held(&mut self, id: AgentId, stamp: Option<Stamp>) {
        self.toggle(id);
        match stamp {
            Some(stamp) => self.held.insert(id, stamp),
            None => drop(self.held.remove(id)),
        }
        self.toggle(id);
        // What was answered from the former does not hold any more.
        if self.cache.remove(id) {
            self.retract(id);
        }
    }

    /// Takes what is known of `id` into the digests, or out of them.
    fn toggle(&mut self, id: AgentId) {
        let mut shares = Vec::new();
        self.each_share(id, |share, stamp| shares.push((share, stamp)));
        shares.into_iter().for_each(|(share, stamp)| self.repair.toggle(id, share, stamp));
    }

    /// Entries of a bucket that this node knows, by key: what it holds, and its own agents, also where another claim to their name is
    /// higher: that is how the owner hears of them.
    fn known(&self, bucket: usize) -> BTreeMap<AgentId, Stamp> {
        let mut known: BTreeMap<AgentId, Stamp> = self.held.bucket(bucket).collect();
        if let Some(me) = self.place {
            known.extend(self.local.bucket(bucket).map(|(id, stamp)| (id, Stamp::new(stamp.epoch(), me))));
        }
        known
    }

    fn shared_out(&self, bucket: usize, place: u16) -> Vec<(AgentId, Stamp)> {
        self.known(bucket).into_iter().filter(|(id, _)| self.responsible(*id).contains(&place)).collect()
    }
}

fn add(digests: &mut Digests, share: u32, hash: u64) {
    match digests.binary_search_by_key(&share, |(share, _)| *share) {
        Ok(at) => digests[at].1 ^= hash,
        Err(at) => digests.insert(at, (share, hash)),
    }
}

fn hash(id: AgentId, stamp: Stamp) -> u64 {
    mix(id.get() as u64 ^ mix((id.get() >> 64) as u64 ^ mix(stamp.bits())))
}

/// The finalizer of SplitMix64: a bijection that spreads every bit.
const fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
