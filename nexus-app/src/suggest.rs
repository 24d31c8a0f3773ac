//! The nearest right spelling.

/// The candidate most like `text`, if any is like enough to be what was meant.
///
/// Likeness is the optimal string alignment distance without regard to case, where a swap of two neighbours counts once; at most
/// a third of the letters, and two in short words, may differ. Of equals, the first in order wins.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let limit = (text.chars().count() / 3).clamp(1, 5).max(usize::from(text.chars().count() > 3) * 2);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&text, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?`, or else the list of what is known, shortened if long.
pub(crate) fn did_you_mean<'a>(
    text: &str,
    what: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    const LISTED_MAX: usize = 24;
    let list: Vec<&str> = known.clone().into_iter().collect();
    let mut listed = list
        .iter()
        .take(LISTED_MAX)
        .map(|name| format!("`{}`", name.escape_debug()))
        .collect::<Vec<_>>()
        .join(", ");
    if list.len() > LISTED_MAX {
        listed.push_str(&format!(" and {} more", list.len() - LISTED_MAX));
    }
    match nearest(text, known) {
        Some(nearest) => format!("did you mean `{}`? {what}: {listed}", nearest.escape_debug()),
        None if list.is_empty() => format!("{what}: none"),
        None => format!("{what}: {listed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: slips of the finger are recognized, other words are not.
    #[test]
    fn slips_are_recognized() {
        let known = ["aircraft", "airport", "carrier", "inbox", "to"];
        for (text, expected) in [
            ("aircrft", Some("aircraft")),
            ("Airprot", Some("airport")),
            ("inbx", Some("inbox")),
            ("inobx", Some("inbox")),
            ("ot", Some("to")),
            ("tower", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, known), expected, "{text}");
        }
        assert_eq!(did_you_mean("zzzzzz", "known", ["a", "b"]), "known: `a`, `b`");
    }
}
