//! Tests of `kv`.

use bytes::Bytes;
use nexus_actors::prelude::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{DEPTH_MAX, KvArgs, KvState};

fn encoded(value: &Value) -> Payload {
    Payload::encode(value).unwrap()
}

fn kv(args: Value) -> KvState {
    KvState::new(encoded(&args).decode::<KvArgs>().unwrap()).unwrap()
}

fn set(kv: &mut KvState, key: &str, value: &Payload) -> Result<(), AgentError> {
    kv.validate(key, value)?;
    kv.update(key, value.clone()).map(|_| ())
}

fn get(kv: &KvState, key: &str) -> Value {
    kv.query(key).unwrap().to_json().unwrap()
}

fn act(kv: &mut KvState, action: &str, arguments: Value) -> Result<Value, AgentError> {
    kv.act(action, &encoded(&arguments)).and_then(|answer| answer.to_json())
}

/// Sum of all keys and values, counted anew.
fn counted(kv: &KvState) -> usize {
    kv.values.iter().map(|(key, value)| key.len() + value.bytes().len()).sum()
}

/// Goal: what was set is answered, byte for byte; what was not has no value.
#[test]
fn sets_and_answers() {
    let mut kv = kv(json!({}));
    assert_eq!(kv.query("a"), Err(AgentError::NotFound { key: "a".into() }));
    let value = encoded(&json!({ "x": [1, 2.5, null] }));
    set(&mut kv, "a", &value).unwrap();
    assert_eq!(kv.query("a"), Ok(value));
    set(&mut kv, "a", &encoded(&json!(true))).unwrap();
    assert_eq!(get(&kv, "a"), json!(true));
    assert_eq!(kv.bytes, counted(&kv));
}

/// Goal: a rule refuses a value by update and by action alike, and the value before stays.
#[test]
fn rules_hold_on_every_way_in() {
    let mut kv = kv(json!({
        "keys": {
            "target": { "type": "int", "min": 5, "max": 30 },
            "log": { "type": "text", "max_length": 5 },
            "mode": { "allowed": ["day", "night"] },
        },
        "closed": true,
        "values": { "target": 29, "mode": "day" },
    }));
    let before = kv.clone();
    let refused = [
        set(&mut kv, "target", &encoded(&json!(31))),
        set(&mut kv, "target", &encoded(&json!(null))),
        set(&mut kv, "target", &Payload::EMPTY),
        set(&mut kv, "mode", &encoded(&json!("dusk"))),
        set(&mut kv, "tarket", &encoded(&json!(20))),
        act(&mut kv, "increment", json!({ "key": "target", "by": 2 })).map(|_| ()),
        act(&mut kv, "increment", json!({ "key": "target", "by": 0.5 })).map(|_| ()),
        act(&mut kv, "append", json!({ "key": "log", "value": "abcdef" })).map(|_| ()),
        act(&mut kv, "append", json!({ "key": "tarket", "value": 1 })).map(|_| ()),
    ];
    for (number, outcome) in refused.into_iter().enumerate() {
        assert!(outcome.is_err(), "{number}");
    }
    assert_eq!(kv, before);
    assert_eq!(act(&mut kv, "increment", json!({ "key": "target" })), Ok(json!(30)));
    let unknown = kv.query("tarket").unwrap_err().to_string();
    assert!(unknown.contains("key `tarket`; known are log, mode, target"), "{unknown}");
}

/// Goal: numbers add up exactly, whole ones stay whole, and no sum wraps around.
#[test]
fn increment() {
    let mut kv =
        kv(json!({ "values": { "big": u64::MAX, "small": i64::MIN, "text": "1", "huge": f64::MAX } }));
    let mut by = |key: &str, by: Value| act(&mut kv, "increment", json!({ "key": key, "by": by }));
    assert_eq!(by("n", json!(2)), Ok(json!(2)));
    assert_eq!(by("n", json!(-5)), Ok(json!(-3)));
    assert_eq!(by("n", json!(0.5)), Ok(json!(-2.5)));
    assert_eq!(by("big", json!(-1)), Ok(json!(u64::MAX - 1)));
    assert!(by("big", json!(2)).unwrap_err().to_string().contains("more than a number can hold"));
    assert!(by("small", json!(-1)).is_err());
    assert!(by("huge", json!(f64::MAX)).is_err());
    assert!(by("text", json!(1)).unwrap_err().to_string().contains("only numbers are incremented"));
    assert!(by("n", json!("1")).is_err());
}

/// Goal: texts grow by texts, lists by anything, nothing else grows.
#[test]
fn append() {
    let mut kv = kv(json!({ "values": { "n": 1, "empty": [] } }));
    let mut append = |key: &str, value: Value| act(&mut kv, "append", json!({ "key": key, "value": value }));
    assert_eq!(append("text", json!("ab")), Ok(json!("ab")));
    assert_eq!(append("text", json!("c")), Ok(json!("abc")));
    assert_eq!(append("list", json!(1)), Ok(json!([1])));
    assert_eq!(append("list", json!("x")), Ok(json!([1, "x"])));
    assert_eq!(append("empty", json!("x")), Ok(json!(["x"])));
    assert!(append("text", json!(1)).unwrap_err().to_string().contains("1 cannot be appended"));
    assert!(append("n", json!(1)).unwrap_err().to_string().contains("`n` is 1"));
}

/// Goal: removing gives room back; the other actions say what they did; unknown ones name the known.
#[test]
fn remove_clear_keys() {
    let mut kv = kv(json!({ "values": { "b": 1, "a": "x" } }));
    assert_eq!(act(&mut kv, "keys", json!(null)), Ok(json!(["a", "b"])));
    assert_eq!(act(&mut kv, "remove", json!({ "key": "a" })), Ok(json!("x")));
    assert_eq!(kv.bytes, counted(&kv));
    let gone = act(&mut kv, "remove", json!({ "key": "a" }));
    assert_eq!(gone, Err(AgentError::NotFound { key: "a".into() }));
    assert_eq!(act(&mut kv, "clear", json!({})), Ok(json!(1)));
    assert_eq!((kv.bytes, act(&mut kv, "keys", json!({}))), (0, Ok(json!([]))));
    let unknown = act(&mut kv, "reset", json!({})).unwrap_err().to_string();
    assert!(
        unknown.contains("action `reset`; known are increment, append, remove, clear, keys"),
        "{unknown}"
    );
    assert!(act(&mut kv, "remove", json!({ "keys": "a" })).is_err());
}

/// Goal: it never holds more than it may. Method: fill it to each limit and go one further.
#[test]
fn keys_and_bytes_are_bounded() {
    let mut few = kv(json!({ "max_keys": 2 }));
    for key in ["a", "b"] {
        set(&mut few, key, &encoded(&json!(1))).unwrap();
    }
    let one_more = set(&mut few, "c", &encoded(&json!(1))).unwrap_err().to_string();
    assert!(one_more.contains("`c` is one key more than 2 (max_keys)"), "{one_more}");
    set(&mut few, "b", &encoded(&json!(2))).unwrap();

    // "k" and the 9 bytes of an 8-letter text.
    let mut small = kv(json!({ "max_bytes": 10 }));
    set(&mut small, "k", &encoded(&json!("12345678"))).unwrap();
    let larger = set(&mut small, "k", &encoded(&json!("123456789"))).unwrap_err().to_string();
    assert!(larger.contains("it would hold 11 bytes; at most 10 (max_bytes)"), "{larger}");
    set(&mut small, "k", &encoded(&json!("abcdefgh"))).unwrap();
    assert!(set(&mut small, "", &encoded(&json!(1))).is_err());
    assert!(
        set(&mut small, &"k".repeat(257), &encoded(&json!(1))).unwrap_err().to_string().contains("257 bytes")
    );
}

/// Goal: a stored value is no window into a larger buffer.
#[test]
fn values_are_stored_apart() {
    let mut kv = kv(json!({}));
    let buffer = Bytes::from(vec![0x07; 4096]);
    let slice = Payload::from_msgpack(buffer.slice(0..1));
    set(&mut kv, "a", &slice).unwrap();
    assert!(!buffer.as_ptr_range().contains(&kv.query("a").unwrap().bytes().as_ptr()));
}

/// Goal: wrong arguments stop the agent from starting, with the reason.
#[test]
fn wrong_arguments_are_refused() {
    let cases = [
        (json!({ "closed": true }), "`closed` without any `keys`"),
        (json!({ "keys": { "a": { "min": 2, "max": 1 } } }), "the rule for `a`"),
        (json!({ "keys": { "": {} } }), "must not be empty"),
        (json!({ "keys": { "a": { "type": "bool" } }, "values": { "a": 1 } }), "`a` must be bool, not 1"),
        (json!({ "max_keys": 1, "values": { "a": 1, "b": 1 } }), "max_keys"),
    ];
    for (args, expected) in cases {
        let error = KvState::new(encoded(&args).decode().unwrap()).unwrap_err().to_string();
        assert!(error.contains(expected), "{args}: {error}");
    }
    assert!(encoded(&json!({ "rules": {} })).decode::<KvArgs>().is_err(), "misspelled");
}

/// Goal: an operator sees values, rules and limits; a snapshot gives the same map back.
#[test]
fn shows_and_reads_back() {
    let kv = kv(json!({ "keys": { "n": { "type": "int" } }, "values": { "n": 1, "t": "x" } }));
    assert_eq!(
        kv.inspect().unwrap().to_json().unwrap(),
        json!({
            "values": { "n": 1, "t": "x" }, "rules": { "n": { "type": "int" } }, "closed": false,
            "keys": 2, "max_keys": 1024, "bytes": 5, "max_bytes": 1_048_576,
        })
    );
    assert_eq!(Payload::encode(&kv).unwrap().decode::<KvState>().unwrap(), kv);
}

/// Goal: of two that were one, what either has is there; where both differ, this one stands; rules and limits hold.
#[test]
fn two_become_one() {
    let mut here = kv(json!({ "max_keys": 3, "values": { "both": 1, "here": "a" } }));
    let there = kv(json!({ "values": { "both": 2, "there": [1] } }));
    assert_eq!(here.unite(there.clone()), 0);
    assert_eq!(
        (get(&here, "both"), get(&here, "here"), get(&here, "there")),
        (json!(1), json!("a"), json!([1]))
    );
    assert_eq!(here.bytes, counted(&here));
    let before = here.clone();
    assert_eq!((here.unite(there), &here), (0, &before), "a second time changes nothing");
    assert_eq!(here.unite(kv(json!({ "values": { "x": 1, "y": 2 } }))), 2);
    assert_eq!(here, before);
}

/// Goal: nesting ends in an error before it ends the stack. Method: 100,000 lists within each other, as value and argument.
#[test]
fn deep_values_are_refused() {
    let mut kv = kv(json!({}));
    let deep = Payload::from_msgpack(vec![0x91; 100_000].into());
    assert!(set(&mut kv, "a", &deep).unwrap_err().to_string().contains("depth limit exceeded"));
    assert!(kv.act("append", &deep).is_err());
    let mut trailing = encoded(&json!(1)).bytes().to_vec();
    trailing.push(0x02);
    let trailing = set(&mut kv, "a", &Payload::from_msgpack(trailing.into())).unwrap_err().to_string();
    assert!(trailing.contains("1 of 2 bytes read"), "{trailing}");
}

/// Goal: what an action stores is no deeper than what an update may, so everything stored can be read again. Method: the
/// deepest list an update takes, then one more level by `append`.
#[test]
fn what_is_stored_can_be_read() {
    let mut kv = kv(json!({}));
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let deepest = DEPTH_MAX - 1;
    set(&mut kv, "a", &encoded(&nested(deepest))).unwrap();
    assert_eq!(get(&kv, "a"), nested(deepest));
    assert!(set(&mut kv, "a", &encoded(&nested(DEPTH_MAX))).is_err());

    let mut append = |levels| act(&mut kv, "append", json!({ "key": "b", "value": nested(levels) }));
    assert!(append(deepest).is_err(), "the arguments' own map takes a level");
    assert_eq!(append(deepest - 1), Ok(nested(deepest)));
    assert_eq!(get(&kv, "b"), nested(deepest));
    assert!(kv.inspect().is_ok());
}

proptest! {
    /// Goal: whatever arrives, it answers, keeps its books and stays within its limits; a refusal changes nothing.
    #[test]
    fn any_bytes_end_in_an_answer(
        requests in proptest::collection::vec(
            (0..6_usize, 0..3_usize, proptest::collection::vec(any::<u8>(), 0..40)), 0..40
        ),
    ) {
        let mut kv = kv(json!({ "max_keys": 2, "max_bytes": 60 }));
        for (form, key, bytes) in requests {
            let payload = Payload::from_msgpack(bytes.into());
            let before = kv.clone();
            let key = ["a", "b", "c"][key];
            let outcome = match ["update", "increment", "append", "remove", "clear", "keys"][form] {
                "update" => set(&mut kv, key, &payload),
                action => kv.act(action, &payload).map(|_| ()),
            };
            if outcome.is_err() {
                prop_assert_eq!(&kv, &before);
            }
            prop_assert_eq!(kv.bytes, counted(&kv));
            prop_assert!(kv.bytes <= 60 && kv.values.len() <= 2);
            prop_assert!(kv.inspect().is_ok());
        }
    }
}
