//! Event time: the records' own clock, read from dates, wall clock readings and delays.
//!
//! Pure. Times have no zone: they order the records of one source among each other, and `replay = { speed = … }` uses their
//! differences.

use jiff::civil::{Date, Time};
use jiff::tz::Offset;

/// Milliseconds since 1970-01-01T00:00 on the records' own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(i64);

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

impl EventTime {
    /// `ms` milliseconds after 1970-01-01T00:00.
    #[must_use]
    pub const fn new(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01T00:00.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The midnight this day began with.
    #[must_use]
    pub const fn midnight(self) -> Self {
        Self(self.0 - self.0.rem_euclid(DAY_MS))
    }

    /// This time, `ms` later.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The first moment at or after this one when a wall clock shows `minutes` since midnight. The end of a day, 1440, is
    /// the next day's midnight.
    #[must_use]
    pub const fn next_reading(self, minutes: u16) -> Self {
        let ahead = (minutes as i64 * MINUTE_MS - self.0.rem_euclid(DAY_MS)).rem_euclid(DAY_MS);
        Self(self.0.saturating_add(ahead))
    }

    /// This day at `minutes` since its midnight; 1440 is the next midnight.
    #[must_use]
    pub const fn at_reading(self, minutes: u16) -> Self {
        Self(self.midnight().0.saturating_add(minutes as i64 * MINUTE_MS))
    }
}

/// Minutes since midnight of a reading written as hours × 100 + minutes: 517 is 05:17, 2400 the end of the day.
///
/// `None` if no clock shows it: minutes past 59, or past 2400.
#[must_use]
pub(crate) fn clock_minutes(reading: i64) -> Option<u16> {
    let (hours, minutes) = (reading.div_euclid(100), reading.rem_euclid(100));
    if !(0..=2400).contains(&reading) || minutes > 59 {
        return None;
    }
    u16::try_from(hours * 60 + minutes).ok()
}

/// Reads `2013-1-7`, `2013-01-07T05:15`, `2013-01-07 05:15:00.250` or any of these with a final `Z`.
///
/// The year has four digits; a fraction is cut to milliseconds. `None` for anything else, so also for offsets: a source with
/// mixed offsets has no single clock.
#[must_use]
pub(crate) fn parse_date(text: &str) -> Option<EventTime> {
    let mut cursor = Cursor(text.as_bytes());
    let year = cursor.number(4, 4)?;
    cursor.expect(b'-')?;
    let month = cursor.number(1, 2)?;
    cursor.expect(b'-')?;
    let day = cursor.number(1, 2)?;
    let date =
        Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let midnight = Offset::UTC.to_timestamp(date.to_datetime(Time::midnight())).ok()?;
    let of_day = cursor.time_of_day()?;
    Some(EventTime(midnight.as_millisecond() + of_day))
}

/// Reads a text from the left.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        (first == byte).then_some(())
    }

    fn number(&mut self, digits_min: usize, digits_max: usize) -> Option<i64> {
        let digits = self.0.iter().take(digits_max).take_while(|byte| byte.is_ascii_digit()).count();
        if digits < digits_min {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        Some(number.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
    }

    /// The rest: nothing, or `T` or a space, a time and perhaps `Z`; in milliseconds since midnight.
    fn time_of_day(&mut self) -> Option<i64> {
        match self.0.first() {
            None => return Some(0),
            Some(b'T' | b't' | b' ') => self.0 = &self.0[1..],
            Some(_) => return None,
        }
        let hours = self.number(2, 2)?;
        self.expect(b':')?;
        let minutes = self.number(2, 2)?;
        let mut seconds = 0;
        let mut ms = 0;
        if self.0.first() == Some(&b':') {
            self.0 = &self.0[1..];
            seconds = self.number(2, 2)?;
            if self.0.first() == Some(&b'.') {
                self.0 = &self.0[1..];
                ms = self.fraction_ms()?;
            }
        }
        if let Some(b'Z' | b'z') = self.0.first() {
            self.0 = &self.0[1..];
        }
        let valid = self.0.is_empty() && hours < 24 && minutes < 60 && seconds < 60;
        valid.then_some(((hours * 60 + minutes) * 60 + seconds) * 1000 + ms)
    }

    fn fraction_ms(&mut self) -> Option<i64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        let mut place = 100;
        let mut ms = 0;
        for digit in &self.0[..digits] {
            ms += i64::from(digit - b'0') * place;
            place /= 10;
        }
        self.0 = &self.0[digits..];
        Some(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(time: EventTime) -> String {
        jiff::Timestamp::from_millisecond(time.get()).unwrap().to_string()
    }

    /// Goal: the accepted forms give the moments jiff prints, everything near them is refused. Method: a table.
    #[test]
    fn dates_are_read_in_the_documented_forms_only() {
        for (text, expected) in [
            ("2013-1-7", "2013-01-07T00:00:00Z"),
            ("2013-01-07", "2013-01-07T00:00:00Z"),
            ("2013-01-07T05:15:00", "2013-01-07T05:15:00Z"),
            ("2013-01-07T05:15:00Z", "2013-01-07T05:15:00Z"),
            ("2013-01-07 05:15", "2013-01-07T05:15:00Z"),
            ("2012-2-29T23:59:59.98765Z", "2012-02-29T23:59:59.987Z"),
            ("1969-12-31T23:00", "1969-12-31T23:00:00Z"),
        ] {
            assert_eq!(parse_date(text).map(shown).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "2013",
            "2013-1",
            "2013-2-29",
            "2013-13-1",
            "2013-0-1",
            "13-1-7",
            "2013-001-07",
            "2013-1-7 ",
            "2013-1-7T5:15",
            "2013-1-7T24:00",
            "2013-1-7T05:60",
            "2013-1-7T05:15:60",
            "2013-1-7T05:15:00.",
            "2013-1-7T05:15:00+01:00",
            "2013-1-7T05:15:00ZZ",
            "2013/1/7",
            "NA-1-7",
            " 2013-1-7",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    /// Goal: the clock form of the flight records, with both ends of the day.
    #[test]
    fn clock_readings_are_hours_times_100_plus_minutes() {
        for (reading, minutes) in [(0, 0), (5, 5), (517, 317), (2359, 1439), (2400, 1440)] {
            assert_eq!(clock_minutes(reading), Some(minutes), "{reading}");
        }
        for reading in [-1, 60, 599, 1275, 2401, 2460, 99_999, i64::MIN, i64::MAX] {
            assert_eq!(clock_minutes(reading), None, "{reading}");
        }
    }

    /// Goal: the three midnight rules: a delay carries past midnight, 2400 is the next day's first moment, and an arrival
    /// whose clock shows less than the departure's is on the next day.
    #[test]
    fn midnight_is_passed_in_three_ways() {
        let day = parse_date("2013-1-31").unwrap();
        let reading = |clock| clock_minutes(clock).unwrap();
        assert_eq!(shown(day.at_reading(reading(2359)).plus_ms(16 * 60_000)), "2013-02-01T00:15:00Z");
        assert_eq!(shown(day.at_reading(reading(2400))), "2013-02-01T00:00:00Z");
        let departure = day.at_reading(reading(2215));
        assert_eq!(shown(departure.next_reading(reading(140))), "2013-02-01T01:40:00Z");
        assert_eq!(shown(departure.next_reading(reading(2350))), "2013-01-31T23:50:00Z");
        assert_eq!(shown(departure.next_reading(reading(2400))), "2013-02-01T00:00:00Z");
        assert_eq!(departure.next_reading(reading(2215)), departure, "an equal reading is the same moment");
        assert_eq!(shown(EventTime::new(-1).midnight()), "1969-12-31T00:00:00Z");
    }
}
