//! Airspace: behaviors that keep a live twin of air traffic from its records.
//!
//! `aircraft`, `airport` and `carrier` agents are told of a flight by the actions `departure`, `arrival` and `cancelled`, each
//! with a whole [`Flight`] as arguments, in the order in which they happen. A carrier gets all three of its flights; an
//! airport gets `departure` and `cancelled` of the flights that start there and `arrival` of those that end there; an
//! aircraft gets all three where its tail number is known. An agent takes the last part of its name as its code
//! (`airport/EWR` is EWR) and refuses records of others, so a mistake in a feed's templates is an error, not a wrong number.
//!
//! Every agent answers the query `summary`, and each part of it by its own key, such as `departed` or `dep_delay.p90`.
//! A flight that departs and has no arrival counts as departed and not arrived for good.

mod aircraft;
mod airport;
mod carrier;
mod delay;
mod record;
mod summary;

pub use aircraft::{Aircraft, AircraftArgs, AircraftState, AircraftSummary, Leg, LegStatus};
pub use airport::{
    Airport, AirportArgs, AirportState, AirportSummary, HourSummary, OriginSummary, WorstHour,
};
pub use carrier::{Carrier, CarrierState, CarrierSummary};
pub use delay::{DelaySummary, Delays};
pub use record::{Flight, FlightEvent};

#[cfg(test)]
mod fixture;
