//! Counts, rates, durations and times for people.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate per second in at most five characters: `0`, `0.3`, `42`, `1.2k`, `340k`, `6.4M`.
pub(crate) fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second <= 0.0 {
        return "0".to_owned();
    }
    let mut scaled = per_second;
    let mut suffix = "";
    for next in ["k", "M", "G"] {
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        suffix = next;
    }
    let small = scaled < 9.95 && (!suffix.is_empty() || scaled < 0.95);
    if small { format!("{scaled:.1}{suffix}") } else { format!("{scaled:.0}{suffix}") }
}

/// A duration by its two largest units: `850ms`, `4.2s`, `3m 07s`, `5h 12m`, `2d 03h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{}.{}s", seconds, duration.subsec_millis() / 100),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Milliseconds since 1970 as UTC, `2013-01-01T05:17:00.000Z`.
pub(crate) fn clock_time(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{unix_ms} ms"), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each unit at its borders.
    #[test]
    fn numbers_for_people() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (336_776, "336,776"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(number), text);
        }
        for (per_second, text) in [
            (0.0, "0"),
            (f64::NAN, "0"),
            (-1.0, "0"),
            (0.31, "0.3"),
            (0.96, "1"),
            (42.4, "42"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (1234.0, "1.2k"),
            (340_000.0, "340k"),
            (6_400_000.0, "6.4M"),
        ] {
            assert_eq!(rate(per_second), text);
        }
        for (ms, text) in [
            (0, "0ms"),
            (850, "850ms"),
            (4290, "4.2s"),
            (60_000, "1m 00s"),
            (187_000, "3m 07s"),
            (18_720_000, "5h 12m"),
            (183_600_000, "2d 03h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }

    /// Goal: times are UTC with milliseconds; what is no time is shown as the number it is.
    #[test]
    fn times_for_people() {
        assert_eq!(clock_time(1_357_017_420_000), "2013-01-01T05:17:00.000Z");
        assert_eq!(clock_time(u64::MAX), "18446744073709551615 ms");
    }
}
