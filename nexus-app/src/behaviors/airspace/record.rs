//! What the airspace agents are told: one flight's record, checked before any state changes.
//!
//! Fields and their meaning follow the US Bureau of Transportation Statistics' on-time performance records.

use std::fmt;
use std::ops::RangeInclusive;

use jiff::civil::Date;
use nexus_actors::prelude::*;
use serde::{Deserialize, Serialize};

/// Minutes since local midnight; the end of the day, written 2400 in the records, is 1440.
const CLOCK: RangeInclusive<i32> = 0..=1440;
/// Minutes late: up to a day early and two weeks late. It also bounds what a table of delays can hold.
const DELAY: RangeInclusive<i32> = -1440..=20_160;
/// Minutes in the air: the longest scheduled flights take 19 hours.
const AIR_TIME: RangeInclusive<u32> = 0..=2880;
/// Miles: half the way around the Earth is 12,451.
const DISTANCE: RangeInclusive<u32> = 0..=12_500;
/// Bytes of an airport's, a carrier's or an aircraft's code.
const CODE_BYTES_MAX: usize = 16;

/// What happened to a flight: the name of the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlightEvent {
    /// It left its origin.
    Departure,
    /// It reached its destination. Diverted flights that reached it late have no delay and no time in the air.
    Arrival,
    /// It was scheduled and did not leave.
    Cancelled,
}

impl FlightEvent {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Departure, Self::Arrival, Self::Cancelled];

    /// The action's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Departure => "departure",
            Self::Arrival => "arrival",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for FlightEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The record of one flight: the arguments of every airspace action. A field that is left out is as good as nil.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flight {
    /// Scheduled date of departure, `2013-1-7` or `2013-01-07`; after [`Flight::of_action`] always the latter.
    pub date: String,
    /// Flight number.
    pub flight: u32,
    /// Carrier code.
    pub carrier: String,
    /// Tail number; `None` if it is not known.
    pub tailnum: Option<String>,
    /// Airport of departure.
    pub origin: String,
    /// Airport of destination.
    pub dest: String,
    /// Actual departure, minutes since local midnight, 0 to 1440.
    pub dep_time: Option<i32>,
    /// Actual arrival, minutes since local midnight, 0 to 1440.
    pub arr_time: Option<i32>,
    /// Scheduled departure, minutes since local midnight, 0 to 1440.
    pub sched_dep_time: Option<i32>,
    /// Scheduled arrival, minutes since local midnight, 0 to 1440.
    pub sched_arr_time: Option<i32>,
    /// Minutes late on departure; negative is early.
    pub dep_delay: Option<i32>,
    /// Minutes late on arrival; negative is early.
    pub arr_delay: Option<i32>,
    /// Minutes in the air.
    pub air_time: Option<u32>,
    /// Distance between the airports in miles.
    pub distance: u32,
}

impl Flight {
    /// Reads an action: what happened, and to which flight.
    ///
    /// # Errors
    /// [`AgentError::Unsupported`] for an action that is none of [`FlightEvent::ALL`], [`AgentError::Malformed`] for
    /// arguments that are no record, [`AgentError::Invalid`] for a record that cannot be: each names field and value.
    pub fn of_action(name: &str, arguments: &Payload) -> Result<(FlightEvent, Self), AgentError> {
        let event = FlightEvent::ALL.into_iter().find(|event| event.name() == name).ok_or_else(|| {
            let known = FlightEvent::ALL.map(FlightEvent::name).join(", ");
            AgentError::Unsupported { what: format!("action `{name}`; known are {known}") }
        })?;
        let mut flight: Self = arguments.decode().map_err(|error| explain(arguments, error))?;
        flight.check(event).map_err(|reason| AgentError::Invalid { reason })?;
        Ok((event, flight))
    }

    fn check(&mut self, event: FlightEvent) -> Result<(), String> {
        self.date = date(&self.date)?.to_string();
        code("carrier", &self.carrier)?;
        code("origin", &self.origin)?;
        code("dest", &self.dest)?;
        self.tailnum.as_deref().map_or(Ok(()), |tailnum| code("tailnum", tailnum))?;
        within("dep_time", self.dep_time, &CLOCK)?;
        within("arr_time", self.arr_time, &CLOCK)?;
        within("sched_dep_time", self.sched_dep_time, &CLOCK)?;
        within("sched_arr_time", self.sched_arr_time, &CLOCK)?;
        within("dep_delay", self.dep_delay, &DELAY)?;
        within("arr_delay", self.arr_delay, &DELAY)?;
        within("air_time", self.air_time, &AIR_TIME)?;
        within("distance", Some(self.distance), &DISTANCE)?;
        match event {
            FlightEvent::Departure if self.dep_time.is_none() => Err("a departure needs dep_time".to_owned()),
            FlightEvent::Arrival if self.arr_time.is_none() => Err("an arrival needs arr_time".to_owned()),
            FlightEvent::Departure | FlightEvent::Arrival | FlightEvent::Cancelled => Ok(()),
        }
    }

    /// Refuses the record unless `field`, which has `value`, is the agent's own code.
    pub(super) fn expect_own(
        event: FlightEvent,
        field: &str,
        value: Option<&str>,
        own: &str,
    ) -> Result<(), AgentError> {
        if value == Some(own) {
            return Ok(());
        }
        let value = value.unwrap_or("not known");
        Err(AgentError::Invalid { reason: format!("{event} with {field} {value} was sent to {own}") })
    }
}

/// The hour of the clock, 0 to 23, that a reading falls into: 1440 is midnight.
pub(super) fn hour_of(minutes: i32) -> usize {
    usize::try_from(minutes.rem_euclid(1440) / 60).expect("a remainder is not negative")
}

/// A clock reading for people: 317 is `05:17`.
pub(super) fn clock_text(minutes: i32) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// The decoder's error again, with the field it met it in. Apart from decoding itself, because keeping track of the field
/// costs time that only a bad record should take.
fn explain(arguments: &Payload, plain: AgentError) -> AgentError {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(&arguments.bytes()[..]);
    match serde_path_to_error::deserialize::<_, Flight>(&mut decoder) {
        Err(error) if error.path().iter().next().is_some() => {
            AgentError::Malformed { reason: error.to_string() }
        }
        Ok(_) | Err(_) => plain,
    }
}

fn date(text: &str) -> Result<Date, String> {
    let parts: Option<Vec<i16>> = text.splitn(4, '-').map(|part| part.parse().ok()).collect();
    let [year, month, day] = parts.as_deref().unwrap_or_default() else {
        return Err(format!("date is `{}`; expected one such as 2013-1-7", shortened(text)));
    };
    let in_i8 = |part: i16| i8::try_from(part).map_err(|_| part);
    match (in_i8(*month), in_i8(*day)) {
        (Ok(month), Ok(day)) => Date::new(*year, month, day).ok(),
        _ => None,
    }
    .ok_or_else(|| format!("date is `{}`; there is no such day", shortened(text)))
}

fn code(field: &str, value: &str) -> Result<(), String> {
    if !value.is_empty() && value.len() <= CODE_BYTES_MAX && value.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Ok(());
    }
    let shown = shortened(value);
    Err(format!("{field} is `{shown}`; expected 1 to {CODE_BYTES_MAX} ASCII characters without spaces"))
}

fn within<N: PartialOrd + fmt::Display>(
    field: &str,
    value: Option<N>,
    range: &RangeInclusive<N>,
) -> Result<(), String> {
    match value {
        Some(value) if !range.contains(&value) => {
            Err(format!("{field} is {value}; allowed are {} to {}", range.start(), range.end()))
        }
        _ => Ok(()),
    }
}

/// Enough of a text to recognize it: an error's size must not depend on its cause's.
fn shortened(text: &str) -> String {
    text.chars().take(2 * CODE_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::fixture::{encoded, flight};
    use super::*;

    /// Goal: a record reads back; its date is normalized; fields left out are nil.
    #[test]
    fn reads_a_record() {
        let (event, read) = Flight::of_action("departure", &encoded(flight())).unwrap();
        assert_eq!(event, FlightEvent::Departure);
        assert_eq!(read.date, "2013-01-07");
        assert_eq!((read.carrier.as_str(), read.flight, read.dep_time), ("UA", 1545, Some(317)));

        let few = json!({ "date": "2013-12-31", "carrier": "9E", "origin": "JFK", "dest": "ORD" });
        let (_, few) = Flight::of_action("cancelled", &encoded(few)).unwrap();
        assert_eq!((few.tailnum, few.dep_time, few.dep_delay, few.distance), (None, None, None, 0));
    }

    /// Goal: every mistake is told apart, with field and value. Method: one wrong field at a time.
    #[test]
    fn refuses_wrong_records() {
        let cases = [
            ("departure", "date", json!("yesterday"), "date is `yesterday`; expected one such as 2013-1-7"),
            ("departure", "date", json!("2013-2-29"), "date is `2013-2-29`; there is no such day"),
            ("departure", "date", json!("2013-1-7-1"), "expected one such as"),
            ("departure", "date", json!("2013-1-700"), "there is no such day"),
            ("departure", "carrier", json!(""), "carrier is ``"),
            ("departure", "origin", json!("E WR"), "origin is `E WR`"),
            ("departure", "dest", json!("A".repeat(500)), "dest is `AAAA"),
            ("departure", "tailnum", json!(""), "tailnum is ``"),
            ("departure", "tailnum", json!(7), "tailnum: invalid type"),
            ("departure", "carrier", json!(null), "carrier: invalid type"),
            ("departure", "flight", json!(-1), "flight: invalid"),
            ("departure", "dep_time", json!(1441), "dep_time is 1441; allowed are 0 to 1440"),
            ("departure", "dep_time", json!(null), "a departure needs dep_time"),
            ("departure", "dep_delay", json!(2.5), "dep_delay: invalid type"),
            ("departure", "dep_delay", json!(i64::MAX), "dep_delay: invalid"),
            ("departure", "dep_delay", json!(-1441), "dep_delay is -1441"),
            ("departure", "dep_dealy", json!(3), "unknown field `dep_dealy`"),
            ("arrival", "arr_time", json!(-1), "arr_time is -1"),
            ("arrival", "arr_time", json!(null), "an arrival needs arr_time"),
            ("arrival", "arr_delay", json!(20_161), "arr_delay is 20161"),
            ("arrival", "air_time", json!(2881), "air_time is 2881"),
            ("arrival", "distance", json!(12_501), "distance is 12501"),
            ("landing", "distance", json!(1), "action `landing`; known are departure, arrival, cancelled"),
        ];
        for (action, field, value, expected) in cases {
            let mut record = flight();
            record[field] = value.clone();
            let error = Flight::of_action(action, &encoded(record)).unwrap_err().to_string();
            assert!(error.contains(expected), "{action} with {field} = {value}: {error}");
        }
        assert!(matches!(Flight::of_action("arrival", &Payload::EMPTY), Err(AgentError::Malformed { .. })));
    }

    /// Goal: 24:00 is midnight, not a 25th hour.
    #[test]
    fn clock_readings() {
        assert_eq!([0, 59, 60, 1439, 1440].map(hour_of), [0, 0, 1, 23, 0]);
        assert_eq!([0, 317, 1440].map(clock_text), ["00:00", "05:17", "24:00"]);
    }

    proptest! {
        /// Goal: whatever bytes arrive, reading them ends with a record or an error.
        #[test]
        fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for event in FlightEvent::ALL {
                let _ = Flight::of_action(event.name(), &Payload::from_msgpack(bytes.clone().into()));
            }
        }

        /// Goal: any date text ends in a date or an error.
        #[test]
        fn any_date_ends_in_an_answer(text in "[-0-9]{0,12}|.{0,8}") {
            if let Ok(read) = date(&text) {
                prop_assert_eq!(date(&read.to_string()), Ok(read));
            }
        }
    }
}
