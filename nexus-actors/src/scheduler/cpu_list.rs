//! A set of CPUs, read and written in the kernel's list format: `0-3,8,10-11`. Pure.

use std::fmt;
use std::str::FromStr;

/// The highest CPU number that a list may hold, far above any machine's: a malformed range must not fill the memory.
pub const CPU_MAX: u32 = 65_535;

/// CPU numbers, ascending, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(Vec<u32>);

impl CpuList {
    /// The CPUs in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `cpu` is one of them.
    #[must_use]
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.binary_search(&cpu).is_ok()
    }

    /// Those that are in `other` too.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.iter().filter(|cpu| other.contains(*cpu)).collect()
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.iter().filter(|cpu| !other.contains(*cpu)).collect()
    }

    /// Those of both.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }
}

impl FromIterator<u32> for CpuList {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        let mut cpus: Vec<u32> = cpus.into_iter().collect();
        cpus.sort_unstable();
        cpus.dedup();
        Self(cpus)
    }
}

/// A text that is no list of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` is no CPU and no range of CPUs from 0 to {CPU_MAX}")]
pub struct MalformedCpuList {
    /// The part that does not fit, at most 40 characters of it.
    pub part: String,
}

impl FromStr for CpuList {
    type Err = MalformedCpuList;

    /// The kernel's list format; an empty text is an empty list.
    fn from_str(text: &str) -> Result<Self, MalformedCpuList> {
        let mut cpus = Vec::new();
        for part in text.trim().split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let malformed = || MalformedCpuList { part: part.chars().take(40).collect() };
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u32 = first.parse().map_err(|_| malformed())?;
            let last: u32 = last.parse().map_err(|_| malformed())?;
            // A list never has more parts than CPUs: whoever repeats himself is malformed too.
            if first > last || last > CPU_MAX || cpus.len() > CPU_MAX as usize {
                return Err(malformed());
            }
            cpus.extend(first..=last);
        }
        Ok(cpus.into_iter().collect())
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &*self.0;
        while let Some(&first) = rest.first() {
            let run = rest.iter().zip(first..).take_while(|(cpu, expected)| *cpu == expected).count();
            if rest.len() < self.0.len() {
                f.write_str(",")?;
            }
            match run {
                1 => write!(f, "{first}")?,
                _ => write!(f, "{first}-{}", rest[run - 1])?,
            }
            rest = &rest[run..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    /// Goal: the kernel's format is read and written back in its shortest form.
    #[test]
    fn lists_read_back() {
        for (text, shown) in [
            ("", ""),
            ("0\n", "0"),
            ("0-3,8,10-11", "0-3,8,10-11"),
            ("3,2,1,1-2", "1-3"),
            ("0,2,4", "0,2,4"),
            (" 5-5 , 7 ", "5,7"),
        ] {
            assert_eq!(list(text).to_string(), shown);
        }
        for text in ["x", "-1", "3-1", "1-", "0-65536", "0-4294967295", "0-3:1/2", "1;2"] {
            assert!(text.parse::<CpuList>().is_err(), "{text}");
        }
        let repeated = ["0-65535"; 3].join(",");
        assert!(repeated.parse::<CpuList>().is_err(), "bounded, however long the text");
    }

    /// Goal: the set operations.
    #[test]
    fn lists_are_sets() {
        let (a, b) = (list("0-3"), list("2-5"));
        assert_eq!((a.and(&b), a.without(&b), a.or(&b)), (list("2-3"), list("0-1"), list("0-5")));
        assert!(a.contains(3) && !a.contains(4) && a.len() == 4 && !a.is_empty());
    }
}
