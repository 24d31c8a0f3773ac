//! Records for the tests of the airspace behaviors.

use nexus_actors::prelude::*;
use serde_json::{Value, json};

/// A flight from Newark to Houston that left at 05:17 and came in at 08:30.
pub(crate) fn flight() -> Value {
    json!({
        "date": "2013-1-7", "flight": 1545, "carrier": "UA", "tailnum": "N14228", "origin": "EWR", "dest": "IAH",
        "dep_time": 317, "arr_time": 510, "sched_dep_time": 315, "sched_arr_time": 499,
        "dep_delay": 2, "arr_delay": 11, "air_time": 227, "distance": 1400,
    })
}

/// [`flight`] with other values for some fields.
pub(crate) fn flight_with(changes: Value) -> Value {
    let mut record = flight();
    for (field, value) in changes.as_object().unwrap() {
        record[field] = value.clone();
    }
    record
}

/// The payload of a JSON value.
pub(crate) fn encoded(value: Value) -> Payload {
    Payload::encode(&value).unwrap()
}

/// The answer to a query, as JSON.
pub(crate) fn asked<S: Reactive>(state: &S, key: &str) -> Value {
    state.query(key).unwrap().to_json().unwrap()
}

/// Requires that `state` refuses `action` and stays as it is; gives the reason.
pub(crate) fn refused<S: Reactive + Clone + PartialEq + std::fmt::Debug>(
    state: &mut S,
    action: &str,
    arguments: &Payload,
) -> String {
    let before = state.clone();
    let error = state.act(action, arguments).unwrap_err();
    assert_eq!(*state, before, "a refused action changes nothing");
    error.to_string()
}
