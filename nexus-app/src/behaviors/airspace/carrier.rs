//! `carrier`: the flights of one carrier, named by the last part of the agent's name (`carrier/UA`).
//!
//! Takes no arguments. A restart begins again with no flights.

use nexus_actors::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::delay::{DelaySummary, Delays};
use super::record::{Flight, FlightEvent};
use super::summary;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carrier;

impl Actor for Carrier {
    type Msg = AgentMessage;
    type State = CarrierState;
    type Arguments = AgentSpec;

    async fn pre_start(
        &self,
        _: ActorRef<AgentMessage>,
        spec: AgentSpec,
    ) -> Result<CarrierState, ActorProcessingErr> {
        Ok(CarrierState::new(spec.key()))
    }

    async fn handle(
        &self,
        _: ActorRef<AgentMessage>,
        message: AgentMessage,
        state: &mut CarrierState,
    ) -> Result<(), ActorProcessingErr> {
        serve(state, message);
        Ok(())
    }
}

impl Durable for Carrier {}

/// What a carrier knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarrierState {
    carrier: String,
    departed: u64,
    arrived: u64,
    diverted: u64,
    cancelled: u64,
    dep_delay: Delays,
    arr_delay: Delays,
}

/// A carrier's flights: `flights = departed + cancelled` and `departed = arrived + not_arrived`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CarrierSummary {
    /// The carrier's code.
    pub carrier: String,
    /// Scheduled flights, as far as they have come up.
    pub flights: u64,
    /// Flights that left.
    pub departed: u64,
    /// Flights that did not leave.
    pub cancelled: u64,
    /// Flights that reached their destination.
    pub arrived: u64,
    /// Those of `arrived` that were diverted on the way: the records give them no delay.
    pub diverted: u64,
    /// Flights that left and have not reached their destination: in the air, or ended elsewhere.
    pub not_arrived: u64,
    /// Delays on departure.
    pub dep_delay: DelaySummary,
    /// Delays on arrival.
    pub arr_delay: DelaySummary,
}

impl CarrierState {
    /// A carrier without flights.
    #[must_use]
    pub fn new(carrier: &str) -> Self {
        Self {
            carrier: carrier.to_owned(),
            departed: 0,
            arrived: 0,
            diverted: 0,
            cancelled: 0,
            dep_delay: Delays::default(),
            arr_delay: Delays::default(),
        }
    }

    /// The answer to `summary`.
    #[must_use]
    pub fn summary(&self) -> CarrierSummary {
        CarrierSummary {
            carrier: self.carrier.clone(),
            flights: self.departed + self.cancelled,
            departed: self.departed,
            cancelled: self.cancelled,
            arrived: self.arrived,
            diverted: self.diverted,
            // Arrivals of flights that left before a restart have no departure here.
            not_arrived: self.departed.saturating_sub(self.arrived),
            dep_delay: self.dep_delay.summary(),
            arr_delay: self.arr_delay.summary(),
        }
    }

    fn on_departure(&mut self, flight: &Flight) {
        self.departed += 1;
        flight.dep_delay.into_iter().for_each(|minutes| self.dep_delay.add(minutes));
    }

    fn on_arrival(&mut self, flight: &Flight) {
        self.arrived += 1;
        match flight.arr_delay {
            Some(minutes) => self.arr_delay.add(minutes),
            None => self.diverted += 1,
        }
    }
}

impl Reactive for CarrierState {
    fn query(&self, key: &str) -> Reply {
        summary::query(&self.summary(), key, &[])
    }

    fn act(&mut self, name: &str, arguments: &Payload) -> Reply {
        let (event, flight) = Flight::of_action(name, arguments)?;
        Flight::expect_own(event, "carrier", Some(&flight.carrier), &self.carrier)?;
        match event {
            FlightEvent::Departure => self.on_departure(&flight),
            FlightEvent::Arrival => self.on_arrival(&flight),
            FlightEvent::Cancelled => self.cancelled += 1,
        }
        Ok(Payload::EMPTY)
    }

    fn inspect(&self) -> Reply {
        let mut shown = summary::to_value(&self.summary())?;
        shown["flights_by_dep_delay"] = json!(self.dep_delay.counts());
        shown["flights_by_arr_delay"] = json!(self.arr_delay.counts());
        Payload::encode(&shown)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{asked, encoded, flight, flight_with, refused};
    use super::*;

    /// Goal: each kind of record counts where it should. Method: one flight of each kind, by hand.
    #[test]
    fn counts_every_kind_of_flight() {
        let mut carrier = CarrierState::new("UA");
        let mut act =
            |action: &str, changes| carrier.act(action, &encoded(flight_with(changes))).map(|_| ()).unwrap();
        act("departure", json!({}));
        act("arrival", json!({}));
        act("departure", json!({ "flight": 2, "dep_delay": -4, "tailnum": null }));
        act("arrival", json!({ "flight": 2, "arr_delay": null, "air_time": null }));
        act("departure", json!({ "flight": 3, "dep_delay": 100, "arr_time": null }));
        act("cancelled", json!({ "flight": 4, "dep_time": null, "arr_time": null, "dep_delay": null }));
        assert_eq!(
            asked(&carrier, "summary"),
            json!({
                "carrier": "UA", "flights": 4, "departed": 3, "cancelled": 1,
                "arrived": 2, "diverted": 1, "not_arrived": 1,
                "dep_delay": { "count": 3, "mean": 98.0 / 3.0, "p50": 2, "p90": 100, "p99": 100 },
                "arr_delay": { "count": 1, "mean": 11.0, "p50": 11, "p90": 11, "p99": 11 },
            })
        );
        assert_eq!(asked(&carrier, "dep_delay.p50"), json!(2));
        let shown = carrier.inspect().unwrap().to_json().unwrap();
        assert_eq!(shown["flights_by_dep_delay"], json!({ "-4": 1, "2": 1, "100": 1 }));
        assert_eq!(shown["flights"], json!(4));
    }

    /// Goal: what is not this carrier's, or no record, or no action, leaves no mark; no flights means no mean.
    #[test]
    fn refuses_what_is_not_its_own() {
        let mut carrier = CarrierState::new("UA");
        let foreign = encoded(flight_with(json!({ "carrier": "B6" })));
        assert!(
            refused(&mut carrier, "departure", &foreign).contains("departure with carrier B6 was sent to UA")
        );
        assert!(refused(&mut carrier, "landing", &encoded(flight())).contains("known are departure"));
        assert!(refused(&mut carrier, "arrival", &encoded(json!([1, 2]))).contains("malformed"));
        assert!(
            carrier.query("profit").unwrap_err().to_string().contains("known are summary, carrier, flights")
        );
        assert_eq!(
            carrier.query("dep_delay.mean"),
            Err(AgentError::NotFound { key: "dep_delay.mean".into() })
        );
        let update = carrier.validate("flights", &encoded(json!(1)));
        assert!(matches!(update, Err(AgentError::Unsupported { .. })));
    }

    /// Goal: a snapshot gives the same carrier back.
    #[test]
    fn reads_back() {
        let mut carrier = CarrierState::new("UA");
        carrier.act("departure", &encoded(flight())).unwrap();
        let stored = Payload::encode(&carrier).unwrap();
        assert_eq!(stored.decode::<CarrierState>().unwrap(), carrier);
    }
}
