//! One agent's view: what is handed on, and who hears what.

use std::time::Duration;

use bytes::Bytes;
use nexus_actors::agent::RequestId;
use nexus_actors::clock::Millis;
use nexus_actors::rng::Seed;
use rand::Rng as _;

use super::{Asked, Dedup, Limits, Try};

const LIMITS: Limits = Limits { asks: 4, answer_bytes: 100, kept_for: Duration::from_millis(1000) };

fn id(number: u64) -> RequestId {
    RequestId::new(1, number)
}

fn to(session: u64, number: u64) -> Try {
    Try { session, number }
}

fn bytes(length: usize) -> Bytes {
    vec![7; length].into()
}

/// The ask's serial is what is owned of it.
fn ask(dedup: &mut Dedup<u64>, now: u64, number: u64, to: Try) -> Asked<u64> {
    dedup.asked(Millis::new(now), id(number), to, |serial| serial)
}

fn answer(dedup: &mut Dedup<u64>, now: u64, number: u64, serial: u64, length: usize) -> Option<Try> {
    dedup.answered(Millis::new(now), id(number), serial, &bytes(length))
}

/// Goal: a second try joins the first while it runs, the answer goes to the last one, and later ones get what was kept.
#[test]
fn a_second_try_is_not_handed_on() {
    let mut dedup = Dedup::new(LIMITS);
    assert_eq!(ask(&mut dedup, 0, 1, to(1, 5)), Asked::New);
    assert_eq!(ask(&mut dedup, 1, 1, to(2, 1)), Asked::Joined(to(1, 5), 0));
    assert_eq!(ask(&mut dedup, 2, 1, to(3, 1)), Asked::Joined(to(2, 1), 0));
    assert_eq!(answer(&mut dedup, 3, 1, 0, 10), Some(to(3, 1)));
    assert_eq!(answer(&mut dedup, 3, 1, 0, 20), None, "it is answered once");
    assert_eq!(ask(&mut dedup, 4, 1, to(4, 1)), Asked::Answered(bytes(10)));
    assert_eq!(dedup.kept(), (1, 10));
}

/// Goal: what must not be remembered is not, and what ends late says nothing of another ask under the same id.
#[test]
fn what_is_forgotten_is_new() {
    let mut dedup = Dedup::new(LIMITS);
    assert_eq!(ask(&mut dedup, 0, 1, to(1, 1)), Asked::New);
    assert_eq!(dedup.forget(id(1), 0), Some(to(1, 1)));
    assert_eq!(ask(&mut dedup, 0, 1, to(1, 2)), Asked::New);
    assert_eq!((answer(&mut dedup, 0, 1, 0, 1), dedup.forget(id(1), 0)), (None, None));
    assert_eq!(ask(&mut dedup, 0, 2, to(1, 3)), Asked::New);
    assert_eq!(answer(&mut dedup, 0, 2, 2, 50), Some(to(1, 3)));
    assert_eq!((dedup.clear(), dedup.kept()), (vec![1], (0, 0)));
    assert_eq!(answer(&mut dedup, 0, 1, 1, 1), None);
    assert_eq!(ask(&mut dedup, 0, 2, to(1, 4)), Asked::New);
}

/// Goal: each limit holds: the oldest answer goes for a new ask, for more bytes and for its age; an answer too large for all is kept alone; and
/// where all run nothing is forgotten.
#[test]
fn limits_hold() {
    let mut dedup = Dedup::new(LIMITS);
    for number in 0..4 {
        assert_eq!(ask(&mut dedup, number, number, to(1, number)), Asked::New);
    }
    assert_eq!(ask(&mut dedup, 4, 4, to(1, 4)), Asked::Full);
    assert_eq!(ask(&mut dedup, 4, 3, to(1, 5)), Asked::Joined(to(1, 3), 3), "it needs no room");
    assert_eq!(answer(&mut dedup, 5, 2, 2, 40), Some(to(1, 2)));
    assert_eq!(ask(&mut dedup, 5, 4, to(1, 4)), Asked::New);
    assert_eq!(ask(&mut dedup, 5, 2, to(1, 6)), Asked::Full, "forgotten, and all run");
    for (now, number, length, kept) in
        [(6, 0, 60, (1, 60)), (7, 1, 40, (2, 100)), (8, 3, 1, (2, 41)), (9, 4, 1000, (1, 1000))]
    {
        let serial = if number == 4 { 4 } else { number };
        assert!(answer(&mut dedup, now, number, serial, length).is_some());
        assert_eq!(dedup.kept(), kept);
    }
    dedup.pass(Millis::new(1008));
    assert_eq!(ask(&mut dedup, 1008, 4, to(1, 7)), Asked::Answered(bytes(1000)));
    dedup.pass(Millis::new(1009));
    assert_eq!((dedup.kept(), ask(&mut dedup, 1009, 4, to(1, 8))), ((0, 0), Asked::New));
}

/// What there is to know of an ask, in the order of their answers, or of their coming while they run.
#[derive(Clone, Debug)]
struct Known {
    id: u64,
    serial: u64,
    to: Try,
    answered: Option<(u64, usize)>,
}

/// The same rules, written down without an index.
#[derive(Default)]
struct Model(Vec<Known>);

impl Model {
    fn kept(&self) -> Vec<(u64, usize)> {
        self.0.iter().filter_map(|known| known.answered).collect()
    }

    fn bytes(&self) -> usize {
        self.kept().iter().map(|(_, length)| length).sum()
    }

    fn drop_oldest(&mut self) -> bool {
        let oldest = self.0.iter().position(|known| known.answered.is_some());
        oldest.map(|at| self.0.remove(at)).is_some()
    }

    fn pass(&mut self, now: u64) {
        self.0.retain(|known| known.answered.is_none_or(|(at, _)| now - at < 1000));
    }

    fn ask(&mut self, now: u64, id: u64, to: Try, serial: u64) -> Asked<u64> {
        self.pass(now);
        match self.0.iter_mut().find(|known| known.id == id) {
            Some(Known { answered: Some((_, length)), .. }) => return Asked::Answered(bytes(*length)),
            Some(known) => return Asked::Joined(std::mem::replace(&mut known.to, to), known.serial),
            None => {}
        }
        if self.0.len() >= LIMITS.asks && !self.drop_oldest() {
            return Asked::Full;
        }
        self.0.push(Known { id, serial, to, answered: None });
        Asked::New
    }

    fn end(&mut self, id: u64, serial: u64, answered: Option<(u64, usize)>) -> Option<Try> {
        let at =
            self.0.iter().position(|known| (known.id, known.serial, known.answered) == (id, serial, None))?;
        let known = self.0.remove(at);
        if answered.is_some() {
            self.0.push(Known { answered, ..known.clone() });
            while self.bytes() > 100 && self.kept().len() > 1 {
                self.drop_oldest();
            }
        }
        Some(known.to)
    }
}

/// Goal: whatever comes in whatever order, the table is the model. Method: random tries, answers (late and repeated ones too), ends that are
/// not remembered, time and new lives; a seed from the environment replays them.
#[test]
fn seeded_a_table_is_its_model() {
    let seeds = match std::env::var("NEXUS_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("NEXUS_TEST_SEED is a number")],
        Err(_) => (0..200u64).collect(),
    };
    let mut met = [0u64; 4];
    for seed in &seeds {
        println!("seeded_a_table_is_its_model: replay with NEXUS_TEST_SEED={seed}");
        let mut rng = Seed::new(*seed).stream("dedup");
        let (mut dedup, mut model, mut now, mut serials) = (Dedup::new(LIMITS), Model::default(), 0, 0);
        for step in 0..400 {
            now += rng.random_range(0..100);
            let (number, serial) = (rng.random_range(0..8), rng.random_range(0..=serials));
            // Most ends are those of asks that run.
            let running = model.0.iter().filter(|known| known.answered.is_none());
            let running = running.map(|known| (known.id, known.serial)).next_back();
            let (ends, serial) = running.filter(|_| rng.random_bool(0.8)).unwrap_or((number, serial));
            match rng.random_range(0..100) {
                0..60 => {
                    let to = to(now, step);
                    let found = ask(&mut dedup, now, number, to);
                    assert_eq!(found, model.ask(now, number, to, serials), "seed {seed}, step {step}");
                    serials += u64::from(found == Asked::New);
                    let kind = match found {
                        Asked::New => 0,
                        Asked::Joined(..) => 1,
                        Asked::Answered(_) => 2,
                        Asked::Full => 3,
                    };
                    met[kind] += 1;
                }
                60..90 => {
                    let length = rng.random_range(0..60);
                    let found = answer(&mut dedup, now, ends, serial, length);
                    assert_eq!(
                        found,
                        model.end(ends, serial, Some((now, length))),
                        "seed {seed}, step {step}"
                    );
                }
                90..95 => {
                    let found = dedup.forget(id(ends), serial);
                    assert_eq!(found, model.end(ends, serial, None), "seed {seed}, step {step}");
                }
                95..99 => {
                    dedup.pass(Millis::new(now));
                    model.pass(now);
                }
                _ => {
                    let mut running: Vec<_> = dedup.clear();
                    running.sort_unstable();
                    let mut known = std::mem::take(&mut model.0);
                    known.retain(|known| known.answered.is_none());
                    let mut known: Vec<_> = known.iter().map(|known| known.serial).collect();
                    known.sort_unstable();
                    assert_eq!(running, known, "seed {seed}, step {step}");
                }
            }
            let kept = (model.kept().len(), model.bytes() as u64);
            assert_eq!(dedup.kept(), kept, "seed {seed}, step {step}");
            assert!(dedup.asks.len() <= LIMITS.asks && (kept.1 <= 100 || kept.0 == 1));
        }
    }
    assert!(seeds.len() == 1 || met.iter().all(|met| *met > 0), "each outcome is met: {met:?}");
}
