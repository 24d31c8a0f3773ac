//! Agent names and the patterns that declare whole families of them. Pure.
//!
//! A name is one or more segments divided by `/`: `tower`, `aircraft/N14228`. Three forms of pattern exist:
//!
//! ```text
//! tower            exactly this agent
//! aircraft/*       every name made of `aircraft/` and one more segment
//! sensor/{0..99}   the hundred agents sensor/0 … sensor/99, both ends included
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest agent name in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// The most agents one range pattern may declare.
pub const RANGE_MEMBERS_MAX: u64 = 100_000_000;

/// The prefix by which a group's member list refers to another group, and a message to a group that has a strategy; no agent's
/// name may begin with it.
pub const GROUP_PREFIX: &str = "group:";

/// Why a text is no agent name or no name pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all, or nothing between two slashes.
    #[error("has an empty segment; segments are divided by single `/`")]
    EmptySegment,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("is {0} bytes long; at most {NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A character that names may not have.
    #[error("contains {found:?} at byte {offset}; allowed are letters, digits, `_ - . : @ + ~ =` and `/`")]
    Character {
        /// The character.
        found: char,
        /// Its position in the text, in bytes.
        offset: usize,
    },
    /// `group:` is how a member list refers to a group.
    #[error("begins with `group:`, which refers to a group")]
    GroupPrefix,
    /// A `*` that is not the whole last segment after a prefix.
    #[error("has a `*` where none may stand; a family is written `prefix/*`")]
    Glob,
    /// A `{…}` that is not `{first..last}` at the end.
    #[error("has a malformed range; a range is written `prefix{{first..last}}` with plain decimal numbers")]
    Range,
    /// The range's prefix ends in a digit, so that two ranges could write one name in two ways.
    #[error("has a digit just before the range; end the prefix with another character, such as `/`")]
    RangeAfterDigit,
    /// The range runs backwards.
    #[error("has an empty range: {first} is greater than {last}")]
    RangeEmpty {
        /// The number before the dots.
        first: u64,
        /// The number after the dots.
        last: u64,
    },
    /// The range declares more than [`RANGE_MEMBERS_MAX`] agents.
    #[error("declares {0} agents; a range may have at most {RANGE_MEMBERS_MAX}")]
    RangeTooLarge(u128),
}

/// The agents a declaration speaks of.
///
/// Written and parsed as text, also by serde. The order is that of the variants, then of the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamePattern {
    /// One agent.
    Exact(String),
    /// All names made of this prefix, which ends in `/`, and one more segment: `aircraft/*`. The members are not known
    /// beforehand: each comes into being with its first message.
    Family(String),
    /// The names made of a prefix and a number: `sensor/{0..99}`.
    Range {
        /// What stands before the number; does not end in a digit.
        prefix: String,
        /// The first number.
        first: u64,
        /// The last number, included.
        last: u64,
    },
}

impl NamePattern {
    /// Whether `name` is a member. Texts that are no agent names never are.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Family(prefix) => {
                name.strip_prefix(prefix.as_str()).is_some_and(|key| !key.contains('/'))
                    && check_name(name).is_ok()
            }
            Self::Range { prefix, first, last } => name
                .strip_prefix(prefix.as_str())
                .and_then(decimal)
                .is_some_and(|number| (*first..=*last).contains(&number)),
        }
    }

    /// What tells a member from the others: its name without the prefix.
    pub(crate) fn key<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(self.prefix()).unwrap_or(name)
    }

    /// Whether some name is a member of both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), pattern) | (pattern, Self::Exact(name)) => pattern.matches(name),
            (Self::Family(one), Self::Family(two)) => one == two,
            // All names of a range share everything but digits, so the first decides for all of them, unless the later
            // ones grow past the length limit, which the parser excludes.
            (family @ Self::Family(_), Self::Range { prefix, first, .. })
            | (Self::Range { prefix, first, .. }, family @ Self::Family(_)) => {
                family.matches(&format!("{prefix}{first}"))
            }
            (
                Self::Range { prefix, first, last },
                Self::Range { prefix: prefix2, first: first2, last: last2 },
            ) => prefix == prefix2 && first <= last2 && first2 <= last,
        }
    }

    /// Whether every member of `other` is a member of this pattern.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (pattern, Self::Exact(name)) => pattern.matches(name),
            (Self::Family(_), _) => self.overlaps(other),
            (
                Self::Range { prefix, first, last },
                Self::Range { prefix: prefix2, first: first2, last: last2 },
            ) => prefix == prefix2 && first <= first2 && last2 <= last,
            (Self::Exact(name), Self::Range { prefix, first, last }) => {
                first == last && *name == format!("{prefix}{first}")
            }
            (Self::Exact(_) | Self::Range { .. }, Self::Family(_)) => false,
        }
    }

    /// The names it declares, in numeric order: one, the range's, or none for a family, whose members are not known
    /// beforehand. A range may have 100 million: do not collect without need.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        let (prefix, numbers, exact) = match self {
            Self::Exact(name) => ("", None, Some(name.clone())),
            Self::Family(_) => ("", None, None),
            Self::Range { prefix, first, last } => (prefix.as_str(), Some(*first..=*last), None),
        };
        exact.into_iter().chain(numbers.into_iter().flatten().map(move |number| format!("{prefix}{number}")))
    }

    /// How many agents it declares. `None` for a family, whose size only time tells.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Exact(_) => Some(1),
            Self::Family(_) => None,
            Self::Range { first, last, .. } => Some(last - first + 1),
        }
    }

    /// Always false: a pattern declares at least one possible name.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether it is a single agent's name.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }

    /// Whether it is a family such as `aircraft/*`, whose members come into being with their first message.
    #[must_use]
    pub const fn is_family(&self) -> bool {
        matches!(self, Self::Family(_))
    }

    /// What all its names begin with: the whole name, `aircraft/`, `sensor/`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self {
            Self::Exact(prefix) | Self::Family(prefix) | Self::Range { prefix, .. } => prefix,
        }
    }
}

/// Whether `name` may be an agent's name: 1 to [`NAME_BYTES_MAX`] bytes, segments of letters, digits and `_-.:@+~=` divided by
/// single `/`, not beginning with `group:`.
///
/// # Errors
///
/// The first rule broken.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    if name.starts_with(GROUP_PREFIX) {
        return Err(NameError::GroupPrefix);
    }
    check_characters(name)?;
    if name.split('/').any(str::is_empty) {
        return Err(NameError::EmptySegment);
    }
    Ok(())
}

/// Whether `name` may be what a message is sent to: an agent's name, or `group:` and a group's.
///
/// # Errors
///
/// The first rule broken.
pub fn check_target(name: &str) -> Result<(), NameError> {
    check_name(name.strip_prefix(GROUP_PREFIX).unwrap_or(name))
}

fn check_characters(text: &str) -> Result<(), NameError> {
    let allowed = |c: char| c.is_alphanumeric() || "_-.:@+~=/".contains(c);
    match text.char_indices().find(|(_, c)| !allowed(*c)) {
        Some((offset, found)) => Err(NameError::Character { found, offset }),
        None => Ok(()),
    }
}

/// A number as a range writes it: decimal digits without leading zeros, so that each number has one name.
fn decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if plain { text.parse().ok() } else { None }
}

fn parse_range(prefix: &str, body: &str) -> Result<NamePattern, NameError> {
    let body = body.strip_suffix('}').ok_or(NameError::Range)?;
    let (first, last) = body.split_once("..").ok_or(NameError::Range)?;
    let first = decimal(first).ok_or(NameError::Range)?;
    let last = decimal(last).ok_or(NameError::Range)?;
    if prefix.ends_with(|c: char| c.is_ascii_digit()) {
        return Err(NameError::RangeAfterDigit);
    }
    // The last name is the longest one; if it is a name, all are.
    check_name(&format!("{prefix}{last}"))?;
    if first > last {
        return Err(NameError::RangeEmpty { first, last });
    }
    let members = u128::from(last - first) + 1;
    if members > u128::from(RANGE_MEMBERS_MAX) {
        return Err(NameError::RangeTooLarge(members));
    }
    Ok(NamePattern::Range { prefix: prefix.to_owned(), first, last })
}

impl FromStr for NamePattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some((prefix, body)) = text.split_once('{') {
            return parse_range(prefix, body);
        }
        if let Some(at) = text.find('*') {
            let prefix = &text[..at];
            if at + 1 != text.len() || !prefix.ends_with('/') {
                return Err(NameError::Glob);
            }
            check_name(&format!("{prefix}0"))?;
            return Ok(Self::Family(prefix.to_owned()));
        }
        check_name(text)?;
        Ok(Self::Exact(text.to_owned()))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Family(prefix) => write!(f, "{prefix}*"),
            Self::Range { prefix, first, last } => write!(f, "{prefix}{{{first}..{last}}}"),
        }
    }
}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| serde::de::Error::custom(format!("`{text}` {error}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> NamePattern {
        text.parse().unwrap()
    }

    /// Goal: each form reads back as it was written and matches what its documentation says.
    #[test]
    fn forms_match_their_members_only() {
        let cases: [(&str, &[&str], &[&str]); 4] = [
            ("tower", &["tower"], &["tower/1", "towe", "", "Tower"]),
            (
                "aircraft/*",
                &["aircraft/N1", "aircraft/9E.x"],
                &["aircraft/", "aircraft/N1/x", "aircrafts/N1", "aircraft/N 1"],
            ),
            (
                "sensor/{0..99}",
                &["sensor/0", "sensor/99"],
                &["sensor/100", "sensor/07", "sensor/", "sensor/+1"],
            ),
            ("s-{5..5}", &["s-5"], &["s-4", "s-6", "s-5/x"]),
        ];
        for (text, members, others) in cases {
            let pattern = pattern(text);
            assert_eq!(pattern.to_string(), text);
            for name in members {
                assert!(pattern.matches(name), "{text} should match {name}");
            }
            for name in others {
                assert!(!pattern.matches(name), "{text} should not match {name}");
            }
        }
    }

    /// Goal: every kind of malformed pattern is refused with its own reason.
    #[test]
    fn malformed_patterns_are_refused() {
        let long = "x".repeat(256);
        let cases: [(&str, NameError); 18] = [
            ("", NameError::EmptySegment),
            ("a//b", NameError::EmptySegment),
            ("/a", NameError::EmptySegment),
            ("a/", NameError::EmptySegment),
            ("a b", NameError::Character { found: ' ', offset: 1 }),
            ("a}", NameError::Character { found: '}', offset: 1 }),
            (&long, NameError::TooLong(256)),
            ("group:a", NameError::GroupPrefix),
            ("*", NameError::Glob),
            ("a*", NameError::Glob),
            ("a/*/b", NameError::Glob),
            ("s/{0..}", NameError::Range),
            ("s/{0-9}", NameError::Range),
            ("s/{00..10}", NameError::Range),
            ("s/{0..9}x", NameError::Range),
            ("s1{0..9}", NameError::RangeAfterDigit),
            ("s/{9..0}", NameError::RangeEmpty { first: 9, last: 0 }),
            ("s/{0..100000000}", NameError::RangeTooLarge(100_000_001)),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<NamePattern>(), Err(error), "{text}");
        }
        assert!("s/{0..18446744073709551615}".parse::<NamePattern>().is_err());
        assert_eq!("s/{0..18446744073709551616}".parse::<NamePattern>(), Err(NameError::Range));
    }

    /// Goal: messages go to agents and to groups, one level deep.
    #[test]
    fn targets_are_agents_and_groups() {
        for (name, is_target) in [
            ("tower", true),
            ("group:desks", true),
            ("group:", false),
            ("group:group:a", false),
            ("group:a b", false),
        ] {
            assert_eq!(check_target(name).is_ok(), is_target, "{name}");
        }
    }

    /// Goal: overlap and cover are right for every pair of forms, in both directions where they are symmetric.
    #[test]
    fn overlap_and_cover() {
        let cases = [
            ("a/1", "a/1", true, true),
            ("a/*", "a/1", true, true),
            ("a/{0..9}", "a/5", true, true),
            ("a/{0..9}", "a/10", false, false),
            ("a/*", "a/{0..9}", true, true),
            ("a/{0..9}", "a/*", true, false),
            ("a/*", "b/*", false, false),
            ("a/*", "a/b/*", false, false),
            ("a/{0..9}", "a/{5..12}", true, false),
            ("a/{0..9}", "a/{2..3}", true, true),
            ("a/{0..9}", "a/{10..12}", false, false),
            ("a/*", "a-{0..9}", false, false),
            ("a/5", "a/{5..5}", true, true),
        ];
        for (one, two, overlaps, covers) in cases {
            assert_eq!(pattern(one).overlaps(&pattern(two)), overlaps, "{one} overlaps {two}");
            assert_eq!(pattern(two).overlaps(&pattern(one)), overlaps, "{two} overlaps {one}");
            assert_eq!(pattern(one).covers(&pattern(two)), covers, "{one} covers {two}");
        }
    }

    /// Goal: enumeration gives exactly the declared names, in order, and the length agrees.
    #[test]
    fn names_are_enumerated_in_order() {
        assert_eq!(pattern("s/{8..11}").names().collect::<Vec<_>>(), ["s/8", "s/9", "s/10", "s/11"]);
        assert_eq!(pattern("tower").names().collect::<Vec<_>>(), ["tower"]);
        assert_eq!(pattern("a/*").names().count(), 0);
        assert_eq!(pattern("s/{0..99999999}").len(), Some(RANGE_MEMBERS_MAX));
        assert_eq!(pattern("a/*").len(), None);
    }

    proptest! {
        /// Any text is read or refused without a panic, and what is read is written back the same.
        #[test]
        fn any_text_reads_back_or_is_refused(text in "[a-c1/*{}. ]{0,12}|.{0,20}") {
            if let Ok(pattern) = text.parse::<NamePattern>() {
                prop_assert_eq!(pattern.to_string(), text);
                prop_assert!(pattern.names().take(3).all(|name| pattern.matches(&name)));
            }
        }

        /// Overlap means what it says: two ranges overlap exactly if some name is in both.
        #[test]
        fn overlap_agrees_with_enumeration(
            (a, n, b, m) in (0_u64..120, 0_u64..30, 0_u64..120, 0_u64..30),
            (p, q) in ("[a-b]/|[a-b]-", "[a-b]/|[a-b]-"),
        ) {
            let one = pattern(&format!("{p}{{{a}..{}}}", a + n));
            let two = pattern(&format!("{q}{{{b}..{}}}", b + m));
            prop_assert_eq!(one.overlaps(&two), one.names().any(|name| two.matches(&name)));
            prop_assert_eq!(one.covers(&two), two.names().all(|name| one.matches(&name)));
        }
    }
}
