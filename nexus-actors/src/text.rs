//! Text of unknown length, where it is kept.

use std::any::Any;
use std::borrow::Cow;

/// Bytes kept of a reason: errors may quote whatever they were given.
pub(crate) const REASON_BYTES_MAX: usize = 1024;

/// `text`, or its beginning and an ellipsis, in at most `bytes_max` bytes and the ellipsis.
pub(crate) fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Cow::Owned(format!("{}…", &text[..end]))
}

/// What a panic has said; the word `panic` where that is no text.
pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: nothing is cut within a character, and short text stays as it is.
    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc…");
        assert_eq!(cut("aé", 2), "a…");
        assert_eq!(cut("é", 1), "…");
    }
}
