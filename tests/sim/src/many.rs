//! Many simulations, each in a process of its own.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::ops::RangeInclusive;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Size;

/// How often progress is told where nobody sees it live.
const TOLD_EVERY: Duration = Duration::from_secs(20);

/// What a process said.
#[derive(Debug)]
struct Said {
    seed: u64,
    ok: bool,
    text: String,
}

impl Said {
    /// The trace's hash.
    fn hash(&self) -> Option<&str> {
        let rest = self.text.split_once("hash ")?.1;
        rest.split(',').next()
    }
}

/// One simulation in a process of its own.
fn simulate(seed: u64, size: Size, more: &[&str]) -> io::Result<Said> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["run", "--seed", &seed.to_string()]).args(size.arguments()).args(more);
    let output = command.output()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Said { seed, ok: output.status.success(), text })
}

/// The command that does it again.
fn replay(seed: u64, size: Size) -> String {
    format!("nexus-sim run --seed {seed} {}", size.arguments().join(" "))
}

/// Shows how far it is.
struct Progress {
    began: Instant,
    of: u64,
    done: AtomicU64,
    failed: AtomicU64,
    told: Mutex<Instant>,
}

impl Progress {
    fn new(seeds: &RangeInclusive<u64>) -> Self {
        let (began, of) = (Instant::now(), seeds.end() - seeds.start() + 1);
        Self { began, of, done: AtomicU64::new(0), failed: AtomicU64::new(0), told: Mutex::new(began) }
    }

    fn add(&self, ok: bool, failure: &str) {
        let failed = self.failed.fetch_add(u64::from(!ok), Ordering::SeqCst) + u64::from(!ok);
        let done = self.done.fetch_add(1, Ordering::SeqCst) + 1;
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut out = io::stdout().lock();
        let live = out.is_terminal();
        // What cannot be shown is nothing to stop for.
        if !ok {
            let _ = write!(out, "{}{failure}", if live { "\r\x1b[K" } else { "" });
        }
        if live || told.elapsed() >= TOLD_EVERY || done == self.of {
            let line = format!(
                "{done} of {} seeds, {failed} failed, {:.0} s",
                self.of,
                self.began.elapsed().as_secs_f64()
            );
            let _ = if live && done < self.of {
                write!(out, "\r\x1b[K{line}")
            } else {
                writeln!(out, "{}{line}", if live { "\r\x1b[K" } else { "" })
            };
            let _ = out.flush();
            *told = Instant::now();
        }
    }
}

/// Does `work` for each seed, `jobs` at a time. Whether all went well.
fn each(
    seeds: RangeInclusive<u64>,
    jobs: usize,
    work: impl Fn(u64) -> io::Result<(bool, String)> + Sync,
) -> io::Result<bool> {
    let progress = Progress::new(&seeds);
    let (next, error) = (AtomicU64::new(*seeds.start()), Mutex::new(None));
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed > *seeds.end() {
                        return;
                    }
                    match work(seed) {
                        Ok((ok, failure)) => progress.add(ok, &failure),
                        Err(found) => {
                            *error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(found);
                            return;
                        }
                    }
                }
            });
        }
    });
    match error.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(progress.failed.load(Ordering::SeqCst) == 0),
    }
}

/// A simulation for each seed.
pub(crate) fn seeds(seeds: RangeInclusive<u64>, size: Size, jobs: usize) -> io::Result<bool> {
    each(seeds, jobs, |seed| {
        let said = simulate(seed, size, &[])?;
        Ok((said.ok, format!("{}  replay: {}\n", said.text, replay(said.seed, size))))
    })
}

/// Two for each seed.
pub(crate) fn twice(seeds: RangeInclusive<u64>, size: Size, jobs: usize) -> io::Result<bool> {
    each(seeds, jobs, |seed| {
        let (one, other) = (simulate(seed, size, &[])?, simulate(seed, size, &[])?);
        let same = one.hash().is_some() && one.hash() == other.hash();
        let hashes = [one.hash(), other.hash()];
        let again = replay(seed, size);
        let how = format!(
            "seed {seed}: {hashes:?}\n  find where they part: {again} --trace a.txt; {again} --trace b.txt; nexus-sim diff a.txt b.txt\n"
        );
        Ok((same, how))
    })
}
