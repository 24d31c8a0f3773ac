//! `aircraft`: one aircraft, named by the last part of the agent's name (`aircraft/N14228`).
//!
//! Arguments: [`AircraftArgs`]. A restart begins again with no legs and no position.

use std::collections::VecDeque;

use nexus_actors::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::record::{Flight, FlightEvent, clock_text};
use super::summary;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aircraft;

impl Actor for Aircraft {
    type Msg = AgentMessage;
    type State = AircraftState;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        spec: AgentSpec,
    ) -> Result<AircraftState, ActorProcessingErr> {
        Ok(AircraftState::new(spec.key(), spec.args::<Option<AircraftArgs>>()?.unwrap_or_default()))
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut AircraftState,
    ) -> Result<(), ActorProcessingErr> {
        serve(state, message);
        Ok(())
    }
}

impl Durable for Aircraft {}

/// Arguments of an aircraft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AircraftArgs {
    /// Legs kept for looking at, 0 to 255; the oldest goes first. Default 4. All are counted in any case; each takes some
    /// 200 bytes of every aircraft.
    pub legs_kept: u8,
}

impl Default for AircraftArgs {
    fn default() -> Self {
        Self { legs_kept: 4 }
    }
}

/// What an aircraft knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AircraftState {
    tailnum: String,
    args: AircraftArgs,
    legs: u64,
    arrived: u64,
    cancelled: u64,
    position: Option<Position>,
    air_minutes: u64,
    miles: u64,
    recent: VecDeque<Leg>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Position {
    At(String),
    EnRouteTo(String),
}

/// Where a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegStatus {
    /// It has left and not arrived.
    Departed,
    /// It has arrived.
    Arrived,
    /// It did not leave.
    Cancelled,
}

/// One leg: a flight of this aircraft, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The flight's record as last received, with what was known of its departure.
    pub flight: Flight,
    /// Where it stands.
    pub status: LegStatus,
}

/// An aircraft's life so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AircraftSummary {
    /// Its tail number.
    pub tailnum: String,
    /// Legs that left.
    pub legs: u64,
    /// Legs that arrived.
    pub arrived: u64,
    /// Legs that were cancelled.
    pub cancelled: u64,
    /// An airport's code, or `en route to` one; nil before the first departure or arrival.
    pub position: Option<String>,
    /// Hours in the air: `air_minutes` / 60.
    pub hours: f64,
    /// Minutes in the air on legs that arrived and whose time is known.
    pub air_minutes: u64,
    /// Distance flown: the miles of legs that arrived.
    pub miles: u64,
}

impl AircraftState {
    /// An aircraft that has not flown.
    #[must_use]
    pub fn new(tailnum: &str, args: AircraftArgs) -> Self {
        Self {
            tailnum: tailnum.to_owned(),
            args,
            legs: 0,
            arrived: 0,
            cancelled: 0,
            position: None,
            air_minutes: 0,
            miles: 0,
            recent: VecDeque::new(),
        }
    }

    /// The answer to `summary`.
    #[must_use]
    pub fn summary(&self) -> AircraftSummary {
        AircraftSummary {
            tailnum: self.tailnum.clone(),
            legs: self.legs,
            arrived: self.arrived,
            cancelled: self.cancelled,
            position: self.position.as_ref().map(Position::text),
            hours: self.air_minutes as f64 / 60.0,
            air_minutes: self.air_minutes,
            miles: self.miles,
        }
    }

    /// The last legs, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &Leg> {
        self.recent.iter()
    }

    fn on_departure(&mut self, flight: Flight) {
        self.legs += 1;
        self.position = Some(Position::EnRouteTo(flight.dest.clone()));
        self.keep(flight, LegStatus::Departed);
    }

    fn on_arrival(&mut self, mut flight: Flight) {
        self.arrived += 1;
        self.air_minutes += u64::from(flight.air_time.unwrap_or(0));
        self.miles += u64::from(flight.distance);
        self.position = Some(Position::At(flight.dest.clone()));
        match self.recent.iter_mut().rfind(|leg| leg.is_of(&flight)) {
            Some(leg) => {
                // Who sends word of an arrival need not know how it left.
                flight.dep_time = flight.dep_time.or(leg.flight.dep_time);
                flight.dep_delay = flight.dep_delay.or(leg.flight.dep_delay);
                *leg = Leg { flight, status: LegStatus::Arrived };
            }
            // It left before a restart, or too many legs ago.
            None => self.keep(flight, LegStatus::Arrived),
        }
    }

    fn on_cancelled(&mut self, flight: Flight) {
        self.cancelled += 1;
        self.keep(flight, LegStatus::Cancelled);
    }

    fn keep(&mut self, flight: Flight, status: LegStatus) {
        self.recent.push_back(Leg { flight, status });
        while self.recent.len() > usize::from(self.args.legs_kept) {
            self.recent.pop_front();
        }
    }

    /// The summary and the last legs.
    fn shown(&self) -> Result<Value, AgentError> {
        let mut shown = summary::to_value(&self.summary())?;
        shown["recent"] = self.recent.iter().map(Leg::shown).collect();
        Ok(shown)
    }
}

impl Position {
    fn text(&self) -> String {
        match self {
            Self::At(airport) => airport.clone(),
            Self::EnRouteTo(airport) => format!("en route to {airport}"),
        }
    }
}

impl Leg {
    fn is_of(&self, flight: &Flight) -> bool {
        let key = |flight: &Flight| {
            (flight.date.clone(), flight.carrier.clone(), flight.flight, flight.origin.clone())
        };
        self.status == LegStatus::Departed && key(&self.flight) == key(flight)
    }

    /// For people: clock readings instead of minutes, and only what has happened.
    fn shown(&self) -> Value {
        let flight = &self.flight;
        let mut shown = json!({
            "date": flight.date,
            "flight": format!("{}{}", flight.carrier, flight.flight),
            "from": flight.origin,
            "to": flight.dest,
            "status": self.status,
        });
        if self.status != LegStatus::Cancelled {
            shown["departed"] = json!(flight.dep_time.map(clock_text));
            shown["dep_delay"] = json!(flight.dep_delay);
        }
        if self.status == LegStatus::Arrived {
            shown["arrived"] = json!(flight.arr_time.map(clock_text));
            shown["arr_delay"] = json!(flight.arr_delay);
        }
        shown
    }
}

impl Reactive for AircraftState {
    fn query(&self, key: &str) -> Reply {
        match key {
            "summary" => Payload::encode(&self.summary()),
            _ => summary::query(&self.shown()?, key, &[]),
        }
    }

    fn act(&mut self, name: &str, arguments: &Payload) -> Reply {
        let (event, flight) = Flight::of_action(name, arguments)?;
        Flight::expect_own(event, "tailnum", flight.tailnum.as_deref(), &self.tailnum)?;
        match event {
            FlightEvent::Departure => self.on_departure(flight),
            FlightEvent::Arrival => self.on_arrival(flight),
            FlightEvent::Cancelled => self.on_cancelled(flight),
        }
        Ok(Payload::EMPTY)
    }

    fn inspect(&self) -> Reply {
        Payload::encode(&self.shown()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{asked, encoded, flight, flight_with, refused};
    use super::*;

    fn aircraft(legs_kept: u8) -> AircraftState {
        AircraftState::new("N14228", AircraftArgs { legs_kept })
    }

    fn act(aircraft: &mut AircraftState, action: &str, changes: Value) {
        aircraft.act(action, &encoded(flight_with(changes))).unwrap();
    }

    /// Goal: a leg's life moves the position; only arrivals add hours and miles. Method: leave, arrive past midnight, be
    /// cancelled, leave and never arrive.
    #[test]
    fn follows_its_legs() {
        let mut n14228 = aircraft(4);
        assert_eq!(n14228.query("position"), Err(AgentError::NotFound { key: "position".into() }));
        act(&mut n14228, "departure", json!({ "dep_time": 1430 }));
        assert_eq!(asked(&n14228, "position"), json!("en route to IAH"));
        assert_eq!(asked(&n14228, "miles"), json!(0));
        act(&mut n14228, "arrival", json!({ "dep_time": null, "dep_delay": null, "arr_time": 1440 }));
        assert_eq!(asked(&n14228, "position"), json!("IAH"));
        act(&mut n14228, "cancelled", json!({ "date": "2013-1-8", "dep_time": null, "arr_time": null }));
        assert_eq!(asked(&n14228, "position"), json!("IAH"), "a cancelled flight moves nothing");
        act(&mut n14228, "departure", json!({ "date": "2013-1-9", "dest": "ORD", "arr_time": null }));
        assert_eq!(
            asked(&n14228, "summary"),
            json!({
                "tailnum": "N14228", "legs": 2, "arrived": 1, "cancelled": 1, "position": "en route to ORD",
                "hours": 227.0 / 60.0, "air_minutes": 227, "miles": 1400,
            })
        );
        assert_eq!(
            n14228.inspect().unwrap().to_json().unwrap()["recent"],
            json!([
                { "date": "2013-01-07", "flight": "UA1545", "from": "EWR", "to": "IAH", "status": "arrived",
                  "departed": "23:50", "dep_delay": 2, "arrived": "24:00", "arr_delay": 11 },
                { "date": "2013-01-08", "flight": "UA1545", "from": "EWR", "to": "IAH", "status": "cancelled" },
                { "date": "2013-01-09", "flight": "UA1545", "from": "EWR", "to": "ORD", "status": "departed",
                  "departed": "05:17", "dep_delay": 2 },
            ])
        );
    }

    /// Goal: a diverted flight adds its miles but no minutes; an arrival whose departure was lost is kept too.
    #[test]
    fn diverted_and_lost_departures() {
        let mut n14228 = aircraft(4);
        act(&mut n14228, "arrival", json!({ "arr_delay": null, "air_time": null }));
        assert_eq!(asked(&n14228, "air_minutes"), json!(0));
        assert_eq!(asked(&n14228, "miles"), json!(1400));
        assert_eq!(asked(&n14228, "legs"), json!(0));
        assert_eq!(n14228.recent().map(|leg| leg.status).collect::<Vec<_>>(), [LegStatus::Arrived]);
    }

    /// Goal: only the last legs are kept, and an arrival finds its own leg among them.
    #[test]
    fn recent_legs_are_bounded() {
        let mut n14228 = aircraft(2);
        for number in 1..=5 {
            act(&mut n14228, "departure", json!({ "flight": number }));
        }
        act(&mut n14228, "arrival", json!({ "flight": 4 }));
        let kept: Vec<_> = n14228.recent().map(|leg| (leg.flight.flight, leg.status)).collect();
        assert_eq!(kept, [(4, LegStatus::Arrived), (5, LegStatus::Departed)]);
        let mut forgetful = aircraft(0);
        act(&mut forgetful, "departure", json!({}));
        assert_eq!((forgetful.recent().count(), asked(&forgetful, "recent")), (0, json!([])));
    }

    /// Goal: other aircraft's records, and those of unknown tail, leave no mark.
    #[test]
    fn refuses_other_tails() {
        let mut n14228 = aircraft(4);
        let other = encoded(flight_with(json!({ "tailnum": "N619AA" })));
        assert!(refused(&mut n14228, "arrival", &other).contains("tailnum N619AA was sent to N14228"));
        let unknown = encoded(flight_with(json!({ "tailnum": null })));
        assert!(refused(&mut n14228, "departure", &unknown).contains("tailnum not known was sent to N14228"));
        assert!(refused(&mut n14228, "taxi", &encoded(flight())).contains("known are departure"));
        assert!(n14228.query("fuel").unwrap_err().to_string().contains("air_minutes, miles, recent"));
    }

    /// Goal: a snapshot gives the same aircraft back.
    #[test]
    fn reads_back() {
        let mut n14228 = aircraft(4);
        act(&mut n14228, "departure", json!({}));
        assert_eq!(Payload::encode(&n14228).unwrap().decode::<AircraftState>().unwrap(), n14228);
    }
}
