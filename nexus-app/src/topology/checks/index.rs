//! Finds declared agents by name pattern without comparing each with each.

use std::collections::BTreeMap;
use std::ops::Bound;

use nexus_actors::agent::NamePattern;

/// Name patterns, each with an id, that overlaps are looked up in.
#[derive(Default)]
pub(super) struct PatternIndex<'a> {
    exact: BTreeMap<&'a str, usize>,
    /// By prefix, the final slash included.
    family: BTreeMap<&'a str, usize>,
    /// By prefix: first, last, id.
    range: BTreeMap<&'a str, Vec<(u64, u64, usize)>>,
}

impl<'a> PatternIndex<'a> {
    /// Adds a pattern; of equal ones, the first stays.
    pub(super) fn insert(&mut self, pattern: &'a NamePattern, id: usize) {
        match pattern {
            NamePattern::Exact(name) => {
                self.exact.entry(name).or_insert(id);
            }
            NamePattern::Family(prefix) => {
                self.family.entry(prefix).or_insert(id);
            }
            NamePattern::Range { prefix, first, last } => {
                self.range.entry(prefix).or_default().push((*first, *last, id));
            }
        }
    }

    /// The id of a pattern that shares a name with `pattern`.
    pub(super) fn overlap(&self, pattern: &NamePattern) -> Option<usize> {
        let parent = |prefix: &str| self.family.get(&prefix[..=prefix.rfind('/')?]).copied();
        match pattern {
            NamePattern::Exact(name) => {
                self.exact.get(name.as_str()).copied().or_else(|| parent(name)).or_else(|| {
                    let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
                    let range = |(first, last): (u64, u64)| NamePattern::Range {
                        prefix: prefix.to_owned(),
                        first,
                        last,
                    };
                    let ranges = self.range.get(prefix)?;
                    let found =
                        ranges.iter().find(|(first, last, _)| range((*first, *last)).matches(name))?;
                    Some(found.2)
                })
            }
            NamePattern::Family(prefix) => self
                .family
                .get(prefix.as_str())
                .copied()
                .or_else(|| {
                    under(&self.exact, prefix).find(|(name, _)| pattern.matches(name)).map(|(_, id)| *id)
                })
                .or_else(|| {
                    let inside = |range: &&str| range.rfind('/').is_some_and(|at| at + 1 == prefix.len());
                    let (_, ranges) = under(&self.range, prefix).find(|(range, _)| inside(range))?;
                    Some(ranges.first()?.2)
                }),
            NamePattern::Range { prefix, first, last } => {
                let same = self.range.get(prefix.as_str()).into_iter().flatten();
                let mut same =
                    same.filter(|(other_first, other_last, _)| first <= other_last && other_first <= last);
                same.next().map(|(_, _, id)| *id).or_else(|| parent(prefix)).or_else(|| {
                    under(&self.exact, prefix).find(|(name, _)| pattern.matches(name)).map(|(_, id)| *id)
                })
            }
        }
    }
}

/// The entries whose key begins with `prefix`.
fn under<'m, V>(map: &'m BTreeMap<&str, V>, prefix: &'m str) -> impl Iterator<Item = (&'m str, &'m V)> {
    map.range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
        .map(|(key, value)| (*key, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Goal: the index finds an overlap exactly when comparing each with each does.
        #[test]
        fn index_agrees_with_pairwise_comparison(
            texts in prop::collection::vec("[ab](/[ab])?(/[0-9]|/\\*|/\\{0\\.\\.5\\}|-\\{3\\.\\.9\\}|/x)?", 1..8),
            probe in "[ab](/[ab])?(/[0-9]|/\\*|/\\{4\\.\\.8\\}|-\\{0\\.\\.3\\}|-[0-9])?",
        ) {
            let patterns: Vec<NamePattern> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let mut index = PatternIndex::default();
            for (id, pattern) in patterns.iter().enumerate() {
                index.insert(pattern, id);
            }
            let probe: NamePattern = probe.parse().unwrap();
            match index.overlap(&probe) {
                Some(id) => prop_assert!(patterns[id].overlaps(&probe)),
                None => prop_assert!(!patterns.iter().any(|pattern| pattern.overlaps(&probe))),
            }
        }
    }
}
