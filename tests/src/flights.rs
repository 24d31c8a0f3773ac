//! What the airspace must say about a file of flight records: an independent, straightforward computation.
//!
//! It shares no code with the behaviors: it holds all rows in memory, sorts vectors and indexes them, and writes the JSON of
//! each agent's `summary` by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Movements with a known delay that an hour needs to be an airport's worst: the `airport` behavior's default.
const WORST_HOUR_MIN: usize = 10;

/// The week of flights in `config/data`.
#[must_use]
pub fn week() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/data/flights-2013-01-week1.csv")
}

/// One record, as far as it matters. Clock readings are minutes since local midnight, 24:00 is 1440.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// `2013-1-7`.
    pub date: String,
    /// Minutes from an arbitrary origin to the begin of `date`.
    pub day_start: i64,
    /// Flight number.
    pub flight: i64,
    /// Carrier code.
    pub carrier: String,
    /// Tail number.
    pub tailnum: Option<String>,
    /// Airport of departure.
    pub origin: String,
    /// Airport of destination.
    pub dest: String,
    /// Actual departure; none if cancelled.
    pub dep_time: Option<i64>,
    /// Actual arrival.
    pub arr_time: Option<i64>,
    /// Scheduled departure.
    pub sched_dep_time: i64,
    /// Scheduled arrival.
    pub sched_arr_time: i64,
    /// Minutes late on departure.
    pub dep_delay: Option<i64>,
    /// Minutes late on arrival; none if diverted.
    pub arr_delay: Option<i64>,
    /// Minutes in the air; none if diverted.
    pub air_time: Option<i64>,
    /// Miles.
    pub distance: i64,
}

impl Row {
    /// When it left, or should have left, in minutes from the same origin as `day_start`.
    #[must_use]
    pub fn departs_at(&self) -> i64 {
        self.day_start + self.sched_dep_time + self.dep_delay.unwrap_or(0)
    }

    /// When it arrived: the first reading of the arrival's clock after the departure.
    #[must_use]
    pub fn arrives_at(&self) -> Option<i64> {
        let departs_at = self.departs_at();
        let mut at = departs_at - departs_at.rem_euclid(1440) + self.arr_time?;
        while at <= departs_at {
            at += 1440;
        }
        Some(at)
    }
}

/// The full year: `NEXUS_FLIGHTS`, or the archive beside the workspace; `None` if there is neither.
#[must_use]
pub fn year() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/flights/flights.csv.zip");
    let path = std::env::var_os("NEXUS_FLIGHTS").map_or(beside, PathBuf::from);
    path.canonicalize().ok()
}

/// Reads a CSV file of records, or the only one of a zip archive.
///
/// # Panics
/// If there is no such file, or it is not one of records.
#[must_use]
pub fn read(path: &Path) -> Vec<Row> {
    let text = text(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!text.contains('"'), "this reader knows no quoted cells");
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    lines.map(|line| row(&header, line)).collect()
}

fn text(path: &Path) -> std::io::Result<String> {
    if path.extension().is_none_or(|extension| extension != "zip") {
        return std::fs::read_to_string(path);
    }
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path)?)?;
    assert_eq!(archive.len(), 1, "{}", path.display());
    let mut text = String::new();
    archive.by_index(0)?.read_to_string(&mut text)?;
    Ok(text)
}

fn row(header: &[&str], line: &str) -> Row {
    let cells: Vec<&str> = line.split(',').collect();
    assert_eq!(cells.len(), header.len(), "{line}");
    let cell = |name: &str| {
        let column = header.iter().position(|column| *column == name).expect("all columns are there");
        Some(cells[column]).filter(|cell| *cell != "NA")
    };
    let text = |name| cell(name).expect("never NA").to_owned();
    let number = |name| cell(name).map(|cell| cell.parse::<i64>().expect("a whole number"));
    let clock = |name| number(name).map(|reading| reading / 100 * 60 + reading % 100);
    let [year, month, day] = ["year", "month", "day"].map(|name| number(name).expect("never NA"));
    Row {
        date: format!("{year}-{month}-{day}"),
        day_start: 1440 * day_number(year, month, day),
        flight: number("flight").expect("never NA"),
        carrier: text("carrier"),
        tailnum: cell("tailnum").map(str::to_owned),
        origin: text("origin"),
        dest: text("dest"),
        dep_time: clock("dep_time"),
        arr_time: clock("arr_time"),
        sched_dep_time: clock("sched_dep_time").expect("never NA"),
        sched_arr_time: clock("sched_arr_time").expect("never NA"),
        dep_delay: number("dep_delay"),
        arr_delay: number("arr_delay"),
        air_time: number("air_time"),
        distance: number("distance").expect("never NA"),
    }
}

/// Days since the first of March of year 0. Source: Zeller's trick of years that begin in March, so that the leap day is last.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1
}

/// Requests an airspace's feed makes of `rows`: each departure, arrival and cancelled flight is told to a carrier, to an airport
/// and, if it is known, to the aircraft.
#[must_use]
pub fn requests(rows: &[Row]) -> u64 {
    let of = |row: &Row| (1 + u64::from(row.arr_time.is_some())) * (2 + u64::from(row.tailnum.is_some()));
    rows.iter().map(of).sum()
}

/// The summaries every agent must give, and how many of each kind of record there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// Rows in the file: departures and cancelled flights.
    pub records: usize,
    /// Flights that left.
    pub departures: usize,
    /// Flights that arrived.
    pub arrivals: usize,
    /// Flights that did not leave.
    pub cancelled: usize,
    /// By carrier.
    pub carriers: BTreeMap<String, Value>,
    /// By airport.
    pub airports: BTreeMap<String, Value>,
    /// By tail number.
    pub aircraft: BTreeMap<String, Value>,
}

/// Computes what is expected of `rows`.
#[must_use]
pub fn expected(rows: &[Row]) -> Expected {
    let departures = rows.iter().filter(|row| row.dep_time.is_some()).count();
    let carriers: BTreeSet<&str> = rows.iter().map(|row| row.carrier.as_str()).collect();
    let origins = rows.iter().map(|row| row.origin.as_str());
    // An airport nobody ever reached is told of nothing.
    let reached = rows.iter().filter(|row| row.arr_time.is_some()).map(|row| row.dest.as_str());
    let airports: BTreeSet<&str> = origins.chain(reached).collect();
    let mut by_tail: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        if let Some(tailnum) = &row.tailnum {
            by_tail.entry(tailnum).or_default().push(row);
        }
    }
    Expected {
        records: rows.len(),
        departures,
        arrivals: rows.iter().filter(|row| row.arr_time.is_some()).count(),
        cancelled: rows.len() - departures,
        carriers: carriers.into_iter().map(|code| (code.to_owned(), carrier(code, rows))).collect(),
        airports: airports.into_iter().map(|code| (code.to_owned(), airport(code, rows))).collect(),
        aircraft: by_tail.into_iter().map(|(tail, rows)| (tail.to_owned(), aircraft(tail, &rows))).collect(),
    }
}

fn carrier(code: &str, rows: &[Row]) -> Value {
    let own: Vec<&Row> = rows.iter().filter(|row| row.carrier == code).collect();
    let left: Vec<&&Row> = own.iter().filter(|row| row.dep_time.is_some()).collect();
    let arrived: Vec<&&&Row> = left.iter().filter(|row| row.arr_time.is_some()).collect();
    json!({
        "carrier": code,
        "flights": own.len(),
        "departed": left.len(),
        "cancelled": own.len() - left.len(),
        "arrived": arrived.len(),
        "diverted": arrived.iter().filter(|row| row.arr_delay.is_none()).count(),
        "not_arrived": left.len() - arrived.len(),
        "dep_delay": delays(left.iter().filter_map(|row| row.dep_delay).collect()),
        "arr_delay": delays(arrived.iter().filter_map(|row| row.arr_delay).collect()),
    })
}

fn airport(code: &str, rows: &[Row]) -> Value {
    let out: Vec<&Row> = rows.iter().filter(|row| row.origin == code && row.dep_time.is_some()).collect();
    let into: Vec<&Row> = rows.iter().filter(|row| row.dest == code && row.arr_time.is_some()).collect();
    let in_hour = |time: Option<i64>, hour: i64| time.expect("filtered") / 60 % 24 == hour;
    let mut hours = Vec::new();
    let mut worst = Value::Null;
    let mut worst_mean = f64::NEG_INFINITY;
    for hour in 0..24 {
        let out: Vec<_> = out.iter().filter(|row| in_hour(row.dep_time, hour)).collect();
        let into: Vec<_> = into.iter().filter(|row| in_hour(row.arr_time, hour)).collect();
        let mut known: Vec<i64> = out.iter().filter_map(|row| row.dep_delay).collect();
        known.extend(into.iter().filter_map(|row| row.arr_delay));
        let mean = mean(&known);
        if !out.is_empty() || !into.is_empty() {
            let (departures, arrivals) = (out.len(), into.len());
            hours.push(json!({
                "hour": hour, "departures": departures, "arrivals": arrivals, "mean_delay": mean,
            }));
        }
        if let Some(mean) = mean.filter(|mean| known.len() >= WORST_HOUR_MIN && *mean > worst_mean) {
            worst_mean = mean;
            worst = json!({ "hour": hour, "movements": known.len(), "mean_delay": mean });
        }
    }
    let from: BTreeSet<&str> = into.iter().map(|row| row.origin.as_str()).collect();
    let origins: BTreeMap<&str, Value> = from
        .into_iter()
        .map(|origin| {
            let rows: Vec<_> = into.iter().filter(|row| row.origin == origin).collect();
            let known: Vec<i64> = rows.iter().filter_map(|row| row.arr_delay).collect();
            (origin, json!({ "arrivals": rows.len(), "mean_arr_delay": mean(&known) }))
        })
        .collect();
    json!({
        "airport": code,
        "departures": out.len(),
        "arrivals": into.len(),
        "cancelled": rows.iter().filter(|row| row.origin == code && row.dep_time.is_none()).count(),
        "dep_delay": delays(out.iter().filter_map(|row| row.dep_delay).collect()),
        "arr_delay": delays(into.iter().filter_map(|row| row.arr_delay).collect()),
        "worst_hour": worst,
        "hours": hours,
        "origins": origins,
    })
}

fn aircraft(tail: &str, rows: &[&Row]) -> Value {
    let left: Vec<_> = rows.iter().filter(|row| row.dep_time.is_some()).collect();
    let arrived: Vec<_> = rows.iter().filter(|row| row.arr_time.is_some()).collect();
    let minutes: i64 = arrived.iter().filter_map(|row| row.air_time).sum();
    let departures = left.iter().map(|row| (row.departs_at(), format!("en route to {}", row.dest)));
    let arrivals = arrived.iter().filter_map(|row| Some((row.arrives_at()?, row.dest.clone())));
    let position = departures.chain(arrivals).max_by_key(|(at, _)| *at).map(|(_, position)| position);
    json!({
        "tailnum": tail,
        "legs": left.len(),
        "arrived": arrived.len(),
        "cancelled": rows.len() - left.len(),
        "position": position,
        "hours": minutes as f64 / 60.0,
        "air_minutes": minutes,
        "miles": arrived.iter().map(|row| row.distance).sum::<i64>(),
    })
}

fn delays(mut minutes: Vec<i64>) -> Value {
    minutes.sort_unstable();
    let nearest_rank = |percent: f64| {
        let rank = (percent * minutes.len() as f64 / 100.0).ceil() as usize;
        minutes.get(rank.wrapping_sub(1)).copied()
    };
    json!({
        "count": minutes.len(),
        "mean": mean(&minutes),
        "p50": nearest_rank(50.0),
        "p90": nearest_rank(90.0),
        "p99": nearest_rank(99.0),
    })
}

fn mean(minutes: &[i64]) -> Option<f64> {
    let sum: f64 = minutes.iter().map(|&minutes| minutes as f64).sum();
    (!minutes.is_empty()).then(|| sum / minutes.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the oracle itself is right where that can be seen by eye. Method: totals counted with other tools, and one day
    /// number per side of a leap day.
    #[test]
    fn known_totals() {
        let expected = expected(&read(&week()));
        assert_eq!((expected.records, expected.departures, expected.cancelled), (6099, 6064, 35));
        assert_eq!(expected.arrivals, 6061);
        assert_eq!((expected.carriers.len(), expected.aircraft.len()), (15, 2048));
        assert_eq!(day_number(2012, 3, 1) - day_number(2012, 2, 28), 2);
        assert_eq!(day_number(2013, 3, 1) - day_number(2013, 2, 28), 1);
        assert_eq!(day_number(2014, 1, 1) - day_number(2013, 1, 1), 365);
    }

    /// Goal: an arrival past midnight belongs to the next day.
    #[test]
    fn arrivals_follow_departures() {
        let late = Row { sched_dep_time: 1400, dep_delay: Some(20), arr_time: Some(10), ..Row::default() };
        assert_eq!((late.departs_at(), late.arrives_at()), (1420, Some(1450)));
        let delayed =
            Row { sched_dep_time: 1400, dep_delay: Some(100), arr_time: Some(200), ..Row::default() };
        assert_eq!((delayed.departs_at(), delayed.arrives_at()), (1500, Some(1640)));
        let midnight = Row { sched_dep_time: 1300, arr_time: Some(1440), ..Row::default() };
        assert_eq!(midnight.arrives_at(), Some(1440));
        assert_eq!(Row::default().arrives_at(), None);
    }
}
