//! What happened in a simulation, in order: one line each, hashed as it is written.
//!
//! A line is simulated time, what happened, and to whom, by names that are the same in every run: `12.034000000 handled counter/3 …`.
//! Nothing in it comes from the machine: no addresses, no actor ids, no wall time. Two runs of one seed have the same lines; the first
//! that differs is where they part.

use std::fmt;
use std::io::{self, BufRead, Write};

use xxhash_rust::xxh3::Xxh3Default;

/// See the module.
pub struct Trace {
    hash: Xxh3Default,
    lines: u64,
    line: String,
    copy: Option<Box<dyn Write>>,
    /// Why the copy is not complete, if it is not.
    failed: Option<io::Error>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("lines", &self.lines).finish_non_exhaustive()
    }
}

impl Trace {
    /// An empty trace, which is also written to `copy`.
    #[must_use]
    pub fn new(copy: Option<Box<dyn Write>>) -> Self {
        Self { hash: Xxh3Default::new(), lines: 0, line: String::new(), copy, failed: None }
    }

    /// Appends a line: `nanos` since the beginning, and what happened.
    pub fn add(&mut self, nanos: u128, what: fmt::Arguments<'_>) {
        use fmt::Write as _;

        self.line.clear();
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        writeln!(self.line, "{seconds}.{rest:09} {what}").expect("a string takes all");
        self.hash.update(self.line.as_bytes());
        self.lines += 1;
        if let Some(copy) = &mut self.copy
            && let Err(error) = copy.write_all(self.line.as_bytes())
        {
            self.failed = Some(error);
            self.copy = None;
        }
    }

    /// The hash of all lines so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash.digest()
    }

    /// How many lines there are.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// Completes the copy.
    ///
    /// # Errors
    /// It could not be written.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.copy.as_mut().map_or(Ok(()), |copy| copy.flush())
    }
}

/// Lines shown before two traces part.
const CONTEXT: usize = 8;

/// Where two traces part.
#[derive(Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The number of the first line that differs, from 1.
    pub line: u64,
    /// The last lines that are the same.
    pub before: Vec<String>,
    /// What comes then, in each; `None`: it ends there.
    pub then: [Option<String>; 2],
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the traces part at line {}:", self.line)?;
        for line in &self.before {
            writeln!(f, "    {line}")?;
        }
        for (mark, line) in ["a >", "b >"].into_iter().zip(&self.then) {
            writeln!(f, "{mark} {}", line.as_deref().unwrap_or("(the end)"))?;
        }
        Ok(())
    }
}

/// The first line in which two traces differ, if there is one.
///
/// # Errors
/// One of them cannot be read.
pub fn first_divergence(a: impl BufRead, b: impl BufRead) -> io::Result<Option<Divergence>> {
    let (mut a, mut b) = (a.lines(), b.lines());
    let mut before = Vec::new();
    for line in 1.. {
        match (a.next().transpose()?, b.next().transpose()?) {
            (None, None) => break,
            (Some(one), Some(other)) if one == other => {
                if before.len() == CONTEXT {
                    before.remove(0);
                }
                before.push(one);
            }
            (one, other) => return Ok(Some(Divergence { line, before, then: [one, other] })),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the hash is that of the lines, in their order, and the first difference is found with what came before it.
    #[test]
    fn traces_are_compared() {
        let hash_of = |events: &[(u128, &str)]| {
            let mut trace = Trace::new(None);
            for (nanos, what) in events {
                trace.add(*nanos, format_args!("{what}"));
            }
            (trace.lines(), trace.hash())
        };
        let (lines, hash) = hash_of(&[(1, "a"), (2_000_000_003, "b")]);
        assert_eq!((lines, hash), (2, xxhash_rust::xxh3::xxh3_64(b"0.000000001 a\n2.000000003 b\n")));
        assert_ne!(hash, hash_of(&[(2_000_000_003, "b"), (1, "a")]).1);

        let part = |a: &str, b: &str| first_divergence(a.as_bytes(), b.as_bytes()).unwrap();
        assert_eq!(part("x\ny\n", "x\ny\n"), None);
        let ends = part("x\ny\n", "x\n").unwrap();
        assert_eq!((ends.line, ends.before), (2, vec!["x".to_owned()]));
        assert_eq!(ends.then, [Some("y".to_owned()), None]);
        let long: String = (0..20).map(|line| format!("{line}\n")).collect();
        let differs = part(&format!("{long}a\n"), &format!("{long}b\n")).unwrap();
        assert_eq!((differs.line, differs.before.len(), &*differs.before[7]), (21, CONTEXT, "19"));
    }
}
