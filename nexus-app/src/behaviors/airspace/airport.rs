//! `airport`: the traffic of one airport, named by the last part of the agent's name (`airport/EWR`).
//!
//! Arguments: [`AirportArgs`]. A restart begins again with no traffic.

use std::collections::BTreeMap;

use nexus_actors::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::delay::{DelaySummary, Delays, Mean};
use super::record::{Flight, FlightEvent, hour_of};
use super::summary;

/// Origins an airport tells apart. The world has some 10,000 airports with scheduled flights, none with this many origins.
const ORIGINS_MAX: usize = 4096;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Airport;

impl Actor for Airport {
    type Msg = AgentMessage;
    type State = AirportState;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        spec: AgentSpec,
    ) -> Result<AirportState, ActorProcessingErr> {
        Ok(AirportState::new(spec.key(), spec.args::<Option<AirportArgs>>()?.unwrap_or_default()))
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut AirportState,
    ) -> Result<(), ActorProcessingErr> {
        serve(state, message);
        Ok(())
    }
}

impl Durable for Airport {}

/// Arguments of an airport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AirportArgs {
    /// Movements with a known delay that an hour needs to be called the worst. Default 10. Fewer let a single late flight in
    /// a quiet hour win; more leave small airports without a worst hour.
    pub worst_hour_min: u64,
}

impl Default for AirportArgs {
    fn default() -> Self {
        Self { worst_hour_min: 10 }
    }
}

/// What an airport knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AirportState {
    airport: String,
    args: AirportArgs,
    cancelled: u64,
    dep_delay: Delays,
    arr_delay: Delays,
    /// By hour of the local clock; always 24.
    hours: Vec<Hour>,
    origins: BTreeMap<String, Origin>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Hour {
    departures: u64,
    arrivals: u64,
    /// Of departures and arrivals together.
    delay: Mean,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    arrivals: u64,
    delay: Mean,
}

/// An airport's traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AirportSummary {
    /// The airport's code.
    pub airport: String,
    /// Flights that left here.
    pub departures: u64,
    /// Flights that reached here.
    pub arrivals: u64,
    /// Flights that were to leave here and did not.
    pub cancelled: u64,
    /// Delays on departure.
    pub dep_delay: DelaySummary,
    /// Delays on arrival.
    pub arr_delay: DelaySummary,
    /// The hour with the highest mean delay.
    pub worst_hour: Option<WorstHour>,
    /// Hours with movements, in order.
    pub hours: Vec<HourSummary>,
    /// Arrivals by where they came from.
    pub origins: BTreeMap<String, OriginSummary>,
}

/// The hour whose departures and arrivals together have the highest mean delay; of equals the earliest. Hours with fewer
/// than [`AirportArgs::worst_hour_min`] known delays are left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorstHour {
    /// 0 to 23, local clock.
    pub hour: usize,
    /// Departures and arrivals with a known delay in it.
    pub movements: u64,
    /// Minutes.
    pub mean_delay: f64,
}

/// One hour of the local clock, summed over all days.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HourSummary {
    /// 0 to 23; 24:00 counts as 0.
    pub hour: usize,
    /// Flights that left in it, by the actual time.
    pub departures: u64,
    /// Flights that arrived in it, by the actual time.
    pub arrivals: u64,
    /// Of both together, minutes; nil if none is known.
    pub mean_delay: Option<f64>,
}

/// Arrivals from one airport.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OriginSummary {
    /// Flights that reached here from there.
    pub arrivals: u64,
    /// Their mean delay on arrival, minutes; nil if none is known.
    pub mean_arr_delay: Option<f64>,
}

impl AirportState {
    /// An airport without traffic.
    #[must_use]
    pub fn new(airport: &str, args: AirportArgs) -> Self {
        Self {
            airport: airport.to_owned(),
            args,
            cancelled: 0,
            dep_delay: Delays::default(),
            arr_delay: Delays::default(),
            hours: vec![Hour::default(); 24],
            origins: BTreeMap::new(),
        }
    }

    /// The answer to `summary`.
    #[must_use]
    pub fn summary(&self) -> AirportSummary {
        AirportSummary {
            airport: self.airport.clone(),
            departures: self.hours.iter().map(|hour| hour.departures).sum(),
            arrivals: self.hours.iter().map(|hour| hour.arrivals).sum(),
            cancelled: self.cancelled,
            dep_delay: self.dep_delay.summary(),
            arr_delay: self.arr_delay.summary(),
            worst_hour: self.worst_hour(),
            hours: self.busy_hours(),
            origins: self.origins.iter().map(|(code, origin)| (code.clone(), origin.summary())).collect(),
        }
    }

    fn busy_hours(&self) -> Vec<HourSummary> {
        let busy = self.hours.iter().enumerate().filter(|(_, hour)| hour.departures + hour.arrivals > 0);
        busy.map(|(number, hour)| HourSummary {
            hour: number,
            departures: hour.departures,
            arrivals: hour.arrivals,
            mean_delay: hour.delay.value(),
        })
        .collect()
    }

    fn worst_hour(&self) -> Option<WorstHour> {
        let mut worst: Option<(usize, Mean)> = None;
        for (number, hour) in self.hours.iter().enumerate() {
            let counts = hour.delay.count() >= self.args.worst_hour_min;
            if counts && hour.delay.exceeds(worst.map_or_else(Mean::default, |(_, delay)| delay)) {
                worst = Some((number, hour.delay));
            }
        }
        let (hour, delay) = worst?;
        Some(WorstHour { hour, movements: delay.count(), mean_delay: delay.value()? })
    }

    /// Whether the record belongs here, and there is room for it.
    fn check(&self, event: FlightEvent, flight: &Flight) -> Result<(), AgentError> {
        match event {
            FlightEvent::Departure | FlightEvent::Cancelled => {
                Flight::expect_own(event, "origin", Some(&flight.origin), &self.airport)
            }
            FlightEvent::Arrival => {
                Flight::expect_own(event, "dest", Some(&flight.dest), &self.airport)?;
                if self.origins.len() >= ORIGINS_MAX && !self.origins.contains_key(&flight.origin) {
                    let reason = format!("origin {} is one more than {ORIGINS_MAX}", flight.origin);
                    return Err(AgentError::Invalid { reason });
                }
                Ok(())
            }
        }
    }

    fn on_departure(&mut self, flight: &Flight) {
        let at = flight.dep_time.expect("a departure is only read with its time");
        let hour = &mut self.hours[hour_of(at)];
        hour.departures += 1;
        if let Some(minutes) = flight.dep_delay {
            hour.delay.add(minutes);
            self.dep_delay.add(minutes);
        }
    }

    fn on_arrival(&mut self, flight: Flight) {
        let at = flight.arr_time.expect("an arrival is only read with its time");
        let hour = &mut self.hours[hour_of(at)];
        let origin = self.origins.entry(flight.origin).or_default();
        hour.arrivals += 1;
        origin.arrivals += 1;
        if let Some(minutes) = flight.arr_delay {
            hour.delay.add(minutes);
            origin.delay.add(minutes);
            self.arr_delay.add(minutes);
        }
    }
}

impl Origin {
    fn summary(self) -> OriginSummary {
        OriginSummary { arrivals: self.arrivals, mean_arr_delay: self.delay.value() }
    }
}

impl Reactive for AirportState {
    fn query(&self, key: &str) -> Reply {
        summary::query(&self.summary(), key, &["origins"])
    }

    fn act(&mut self, name: &str, arguments: &Payload) -> Reply {
        let (event, flight) = Flight::of_action(name, arguments)?;
        self.check(event, &flight)?;
        match event {
            FlightEvent::Departure => self.on_departure(&flight),
            FlightEvent::Arrival => self.on_arrival(flight),
            FlightEvent::Cancelled => self.cancelled += 1,
        }
        Ok(Payload::EMPTY)
    }

    fn inspect(&self) -> Reply {
        let mut shown = summary::to_value(&self.summary())?;
        shown["worst_hour_min"] = json!(self.args.worst_hour_min);
        shown["departures_by_delay"] = json!(self.dep_delay.counts());
        shown["arrivals_by_delay"] = json!(self.arr_delay.counts());
        Payload::encode(&shown)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{asked, encoded, flight, flight_with, refused};
    use super::*;

    fn airport(code: &str, worst_hour_min: u64) -> AirportState {
        AirportState::new(code, AirportArgs { worst_hour_min })
    }

    fn act(airport: &mut AirportState, action: &str, changes: serde_json::Value) {
        airport.act(action, &encoded(flight_with(changes))).unwrap();
    }

    /// Goal: movements fall into the hour of the actual local time, 24:00 and 00:30 both into hour 0.
    #[test]
    fn midnight_is_hour_zero() {
        let mut iah = airport("IAH", 1);
        act(&mut iah, "arrival", json!({ "arr_time": 1440, "arr_delay": 60 }));
        act(&mut iah, "arrival", json!({ "arr_time": 30, "arr_delay": 30, "origin": "LGA" }));
        act(&mut iah, "arrival", json!({ "arr_time": 1439, "arr_delay": null }));
        act(
            &mut iah,
            "departure",
            json!({ "origin": "IAH", "dest": "EWR", "dep_time": 1440, "dep_delay": 3 }),
        );
        assert_eq!(
            asked(&iah, "hours"),
            json!([
                { "hour": 0, "departures": 1, "arrivals": 2, "mean_delay": 31.0 },
                { "hour": 23, "departures": 0, "arrivals": 1, "mean_delay": null },
            ])
        );
        assert_eq!(
            asked(&iah, "origins"),
            json!({
                "EWR": { "arrivals": 2, "mean_arr_delay": 60.0 },
                "LGA": { "arrivals": 1, "mean_arr_delay": 30.0 },
            })
        );
        assert_eq!(asked(&iah, "origins.LGA.mean_arr_delay"), json!(30.0));
        assert_eq!(asked(&iah, "worst_hour"), json!({ "hour": 0, "movements": 3, "mean_delay": 31.0 }));
        assert_eq!(asked(&iah, "arr_delay.count"), json!(2));
        assert_eq!(
            iah.inspect().unwrap().to_json().unwrap()["arrivals_by_delay"],
            json!({ "30": 1, "60": 1 })
        );
    }

    /// Goal: the worst hour needs enough movements, may be early on average, and of equals is the earliest.
    #[test]
    fn worst_hour_has_enough_movements() {
        let mut ewr = airport("EWR", 2);
        assert!(ewr.query("worst_hour").is_err());
        act(&mut ewr, "departure", json!({ "dep_time": 600, "dep_delay": 900 }));
        assert_eq!(ewr.query("worst_hour"), Err(AgentError::NotFound { key: "worst_hour".into() }));
        for (at, delay) in [(400, -5), (415, -3), (301, -4), (359, -4)] {
            act(&mut ewr, "departure", json!({ "dep_time": at, "dep_delay": delay }));
        }
        assert_eq!(asked(&ewr, "worst_hour"), json!({ "hour": 5, "movements": 2, "mean_delay": -4.0 }));
        act(&mut ewr, "departure", json!({ "dep_time": 410, "dep_delay": -3 }));
        assert_eq!(asked(&ewr, "worst_hour.hour"), json!(6));
    }

    /// Goal: origin and destination are told apart; what belongs elsewhere leaves no mark.
    #[test]
    fn refuses_what_belongs_elsewhere() {
        let mut ewr = airport("EWR", 10);
        assert!(
            refused(&mut ewr, "arrival", &encoded(flight()))
                .contains("arrival with dest IAH was sent to EWR")
        );
        let mut iah = airport("IAH", 10);
        for action in ["departure", "cancelled"] {
            let reason = refused(&mut iah, action, &encoded(flight()));
            assert!(reason.contains(&format!("{action} with origin EWR was sent to IAH")), "{reason}");
        }
        act(&mut ewr, "cancelled", json!({ "dep_time": null, "arr_time": null }));
        assert_eq!(asked(&ewr, "cancelled"), json!(1));
        assert_eq!(asked(&ewr, "departures"), json!(0));
        assert!(
            ewr.query("runways").unwrap_err().to_string().contains("known are summary, airport, departures")
        );
    }

    /// Goal: no feed makes an airport grow without end.
    #[test]
    fn origins_are_bounded() {
        let mut iah = airport("IAH", 10);
        for number in 0..ORIGINS_MAX {
            act(&mut iah, "arrival", json!({ "origin": format!("X{number}") }));
        }
        let one_more = encoded(flight_with(json!({ "origin": "NEW" })));
        assert!(refused(&mut iah, "arrival", &one_more).contains("origin NEW is one more than 4096"));
        act(&mut iah, "arrival", json!({ "origin": "X7" }));
        assert_eq!(asked(&iah, "origins.X7.arrivals"), json!(2));
    }

    /// Goal: a snapshot gives the same airport back; arguments may be left out, and misspelled ones are refused.
    #[test]
    fn reads_back() {
        let mut iah = airport("IAH", 10);
        act(&mut iah, "arrival", json!({}));
        assert_eq!(Payload::encode(&iah).unwrap().decode::<AirportState>().unwrap(), iah);
        assert_eq!(encoded(json!({})).decode::<AirportArgs>(), Ok(AirportArgs::default()));
        assert!(encoded(json!({ "worst": 3 })).decode::<AirportArgs>().is_err());
    }
}
