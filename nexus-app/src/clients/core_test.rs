//! The connection's core, step by step, with the clock in hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nexus_actors::AgentError;
use nexus_actors::agent::Payload as AgentPayload;
use nexus_actors::clock::Millis;
use nexus_client::protocol::{CloseReason, Encoding, Operation, Payload, ServerMessage, decode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::core::{Core, Effect, Input, Order, Rules, Ticket};
use super::protocol::{Allow, Frame};

fn rules() -> Rules {
    Rules {
        allow: Allow::new(&[
            "kv/*".to_owned(),
            "tower".to_owned(),
            "group:all".to_owned(),
            "group:few".to_owned(),
        ]),
        rate: 10,
        burst: 5,
        asks: 2,
        ask_timeout: Duration::from_secs(5),
        payload_bytes: 32,
        subscriptions: 1,
        queue_messages: 3,
        queue_bytes: 1000,
        write_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        ping_interval: Duration::from_secs(20),
        pong_timeout: Duration::from_secs(5),
    }
}

fn core() -> Core {
    Core::new(Arc::new(rules()), Millis::ZERO)
}

fn json_input(message: &Value) -> Input {
    Input::Message(Encoding::Json, Bytes::from(message.to_string()))
}

fn at(ms: u64) -> Millis {
    Millis::new(ms)
}

/// The only effect, a message to the client, as JSON.
fn said(effects: &[Effect]) -> Value {
    match effects {
        [Effect::Send(frame)] => serde_json::from_slice(&frame.bytes).unwrap(),
        other => panic!("not one message: {other:?}"),
    }
}

fn code(effects: &[Effect]) -> String {
    said(effects)["code"].as_str().unwrap_or_else(|| panic!("no error: {effects:?}")).to_owned()
}

fn ask(id: u64, to: &str) -> Value {
    json!({ "type": "ask", "id": id, "to": to, "operation": "query", "key": "k" })
}

fn order(to: &str) -> Order {
    let (to, key) = (to.to_owned(), "k".to_owned());
    Order { to, operation: Operation::Query, key, payload: Payload::EMPTY, at_least_once: false }
}

fn ticket(id: u64) -> Ticket {
    Ticket { id: Some(id), encoding: Encoding::Json }
}

/// Tells the core that the head of its queue went out.
fn written(core: &mut Core, now: Millis, effects: &[Effect]) {
    for effect in effects {
        if let Effect::Send(frame) = effect {
            assert_eq!(core.step(now, Input::Written(frame.bytes.len())), []);
        }
    }
}

/// Goal: an ask reaches the shell with its default time-out, and its answer the client in the question's encoding.
#[test]
fn an_ask_and_its_answer() {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let mut core = core();
        let bytes = match encoding {
            Encoding::Json => Bytes::from(ask(7, "kv/a").to_string()),
            Encoding::MessagePack => rmp_serde::to_vec_named(&ask(7, "kv/a")).unwrap().into(),
        };
        let ticket = Ticket { id: Some(7), encoding };
        assert_eq!(
            core.step(at(1), Input::Message(encoding, bytes)),
            [Effect::Ask(ticket, order("kv/a"), Duration::from_secs(5))]
        );
        assert_eq!(core.overview(), (1, 0));
        let effects = core.step(at(2), Input::Answered(ticket, Ok(AgentPayload::encode(&[1, 2]).unwrap())));
        let [Effect::Send(Frame { encoding: with, bytes })] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(*with, encoding);
        let value = Payload::from_value(&[1, 2]).unwrap();
        assert_eq!(decode::<ServerMessage>(encoding, bytes).unwrap(), ServerMessage::Answer { id: 7, value });
        assert_eq!(core.overview(), (0, 0));
    }
}

/// Goal: the mark of an ask that may be tried again reaches the shell; a tell has none.
#[test]
fn an_ask_may_be_tried_again() {
    let mut message = ask(7, "kv/a");
    message["at_least_once"] = true.into();
    let order = Order { at_least_once: true, ..order("kv/a") };
    assert_eq!(
        core().step(at(1), json_input(&message)),
        [Effect::Ask(ticket(7), order, Duration::from_secs(5))]
    );
    message["type"] = "tell".into();
    assert_eq!(code(&core().step(at(1), json_input(&message))), "malformed_message");
}

/// Goal: everything a client may not do is answered with its own code and starts nothing.
#[test]
fn refusals_name_their_reason() {
    let long_key = "k".repeat(1025);
    let table = [
        (ask(1, "secret"), "not_allowed"),
        (json!({ "type": "tell", "to": "secret", "operation": "query", "key": "k" }), "not_allowed"),
        (json!({ "type": "subscribe", "id": 1, "group": "other" }), "not_allowed"),
        (json!({ "type": "unsubscribe", "id": 1, "group": "all" }), "not_subscribed"),
        (
            json!({ "type": "ask", "id": 1, "to": "tower", "operation": "query", "key": long_key }),
            "bad_field",
        ),
        (
            json!({ "type": "ask", "id": 1, "to": "tower", "operation": "query", "key": "k", "timeout_ms": 0 }),
            "bad_field",
        ),
        (
            json!({ "type": "ask", "id": 1, "to": "tower", "operation": "query", "key": "k", "timeout_ms": 5001 }),
            "bad_field",
        ),
        (
            json!({ "type": "ask", "id": 1, "to": "tower", "operation": "update", "key": "k", "payload": "x".repeat(40) }),
            "payload_too_large",
        ),
        (json!({ "type": "sing" }), "malformed_message"),
        (json!([1, 2]), "malformed_message"),
    ];
    for (message, expected) in table {
        assert_eq!(code(&core().step(at(0), json_input(&message))), expected, "{message}");
    }
}

/// Goal: asks in flight and subscriptions are bounded, and make room when they end.
#[test]
fn asks_and_subscriptions_are_bounded() {
    let mut core = core();
    for id in [1, 2] {
        assert!(matches!(core.step(at(0), json_input(&ask(id, "tower")))[..], [Effect::Ask(..)]));
    }
    let effects = core.step(at(0), json_input(&ask(3, "tower")));
    assert_eq!(code(&effects), "too_many_asks");
    written(&mut core, at(0), &effects);
    let effects = core.step(at(1), Input::Answered(ticket(1), Err(AgentError::NoReply)));
    assert_eq!(code(&effects), "no_reply");
    written(&mut core, at(1), &effects);
    assert!(matches!(core.step(at(1), json_input(&ask(4, "tower")))[..], [Effect::Ask(..)]));

    let mut core = self::core();
    let subscribe = |group: &str| json_input(&json!({ "type": "subscribe", "id": 1, "group": group }));
    assert_eq!(core.step(at(0), subscribe("all")), [Effect::Listen(ticket(1), "all".into())]);
    let effects = core.step(at(0), Input::Listening(ticket(1), "all".into(), Ok(())));
    assert_eq!(said(&effects), json!({ "type": "done", "id": 1 }));
    assert_eq!(code(&core.step(at(0), subscribe("all"))), "already_subscribed");
    assert_eq!(code(&core.step(at(0), subscribe("few"))), "too_many_subscriptions");
    written(&mut core, at(0), &effects);
    let effects = core.step(at(0), json_input(&json!({ "type": "unsubscribe", "id": 2, "group": "all" })));
    assert!(
        matches!(&effects[..], [Effect::Leave(group), Effect::Send(_)] if &**group == "all"),
        "{effects:?}"
    );
    assert_eq!(core.step(at(200), subscribe("few")), [Effect::Listen(ticket(1), "few".into())]);
    // A group that there is not leaves no trace.
    let unknown = AgentError::UnknownGroup { name: "few".into() };
    assert_eq!(core.step(at(200), Input::Listening(ticket(1), "few".into(), Err(unknown))).len(), 1);
    assert_eq!(core.overview(), (0, 0));
}

/// Goal: a tell is silent when it works and has no id, and never silent when it fails.
#[test]
fn tells_answer_when_asked_or_when_they_fail() {
    let mut core = core();
    let tell = json!({ "type": "tell", "to": "tower", "operation": "query", "key": "k" });
    let nobody = Ticket { id: None, encoding: Encoding::Json };
    assert_eq!(core.step(at(0), json_input(&tell)), [Effect::Tell(nobody, order("tower"))]);
    assert_eq!(core.step(at(0), Input::Told(nobody, Ok(()))), []);
    assert_eq!(said(&core.step(at(0), Input::Told(ticket(9), Ok(())))), json!({ "type": "done", "id": 9 }));
    let full = AgentError::Overloaded { queued: 4, limit: 4, shed_below_percent: None };
    let refused = said(&core.step(at(0), Input::Told(nobody, Err(full))));
    assert_eq!((refused["code"].as_str(), refused.get("id")), (Some("overloaded"), None));
}

/// Goal: beyond burst and rate, messages are refused with the time to wait; whoever goes on is disconnected; whoever waits is
/// served again.
#[test]
fn too_many_messages() {
    let mut core = core();
    let listen_less = json!({ "type": "tell", "to": "tower", "operation": "query", "key": "k" });
    for _ in 0..5 {
        assert!(matches!(core.step(at(0), json_input(&listen_less))[..], [Effect::Tell(..)]));
    }
    let effects = core.step(at(0), json_input(&ask(6, "tower")));
    let [Effect::CountRateLimited, Effect::Send(frame)] = &effects[..] else { panic!("{effects:?}") };
    let refused: Value = serde_json::from_slice(&frame.bytes).unwrap();
    assert_eq!((&refused["id"], &refused["code"]), (&json!(6), &json!("rate_limited")));
    assert_eq!(refused["retry_after_ms"], 100);
    written(&mut core, at(0), &effects);
    assert!(matches!(core.step(at(100), json_input(&listen_less))[..], [Effect::Tell(..)]), "it waited");
    for _ in 0..99 {
        let effects = core.step(at(100), json_input(&listen_less));
        assert!(matches!(effects[..], [Effect::CountRateLimited, Effect::Send(_)]), "{effects:?}");
        written(&mut core, at(100), &effects);
    }
    let effects = core.step(at(100), json_input(&listen_less));
    assert!(matches!(effects[..], [_, _, Effect::Close(CloseReason::RateLimited)]), "{effects:?}");
    assert_eq!(core.step(at(100_000), json_input(&listen_less)), [], "it is over");
}

/// Goal: pings and garbage count as messages.
#[test]
fn floods_of_other_kinds_end_too() {
    for input in [|| Input::Control, || Input::Message(Encoding::MessagePack, Bytes::from_static(&[0xc1]))] {
        let mut core = core();
        let mut steps = 0;
        let reason = loop {
            let effects = core.step(at(0), input());
            written(&mut core, at(0), &effects);
            steps += 1;
            assert!(steps < 200, "it never ends");
            if let Some(Effect::Close(reason)) = effects.last() {
                break *reason;
            }
        };
        assert_eq!((reason, steps), (CloseReason::RateLimited, 105));
    }
}

/// Goal: a queue too long in messages or bytes cuts the client off; one long message alone does not.
#[test]
fn slow_clients_are_cut_off() {
    let frame = |bytes: usize| Frame { encoding: Encoding::Json, bytes: vec![b'x'; bytes].into() };
    let published = |bytes| Input::Published(frame(bytes));
    let mut core = core();
    for _ in 0..3 {
        assert_eq!(core.step(at(0), published(1)), [Effect::Send(frame(1))]);
    }
    assert_eq!(core.step(at(0), published(1)), [Effect::Close(CloseReason::Slow)]);

    let mut core = self::core();
    assert_eq!(core.step(at(0), published(5000)), [Effect::Send(frame(5000))], "alone it may be long");
    assert_eq!(core.step(at(0), published(1)), [Effect::Close(CloseReason::Slow)]);
    let mut core = self::core();
    assert_eq!(core.step(at(0), published(999)), [Effect::Send(frame(999))]);
    assert_eq!(core.step(at(0), published(1)), [Effect::Send(frame(1))]);
    assert_eq!(core.step(at(0), Input::Written(999)), []);
    assert_eq!(core.step(at(0), published(999)), [Effect::Send(frame(999))], "what is written makes room");
}

/// Goal: a message that is not written in time cuts the client off; progress starts the time anew.
#[test]
fn a_stuck_message_ends_the_connection() {
    let mut core = core();
    let frame = Frame { encoding: Encoding::Json, bytes: Bytes::from_static(b"x") };
    for _ in 0..2 {
        assert_eq!(core.step(at(1000), Input::Published(frame.clone())).len(), 1);
    }
    assert_eq!(core.deadline(), at(11_000));
    assert_eq!(core.step(at(10_999), Input::Written(1)), []);
    assert_eq!(core.deadline(), at(20_999), "what was read is a sign of life, too");
    assert_eq!(core.step(at(20_998), Input::Tick), []);
    assert_eq!(core.step(at(20_999), Input::Tick), [Effect::Close(CloseReason::Slow)]);
}

/// Goal: who says nothing is pinged; who answers stays until the idle time-out; who does not is gone after the pong time-out.
/// Method: ticks at the core's own deadlines only.
#[test]
fn idle_and_ping_timeouts() {
    let mut core = core();
    for ping in [20_000, 40_000] {
        assert_eq!(core.deadline(), at(ping));
        assert_eq!(core.step(core.deadline(), Input::Tick), [Effect::Ping]);
        assert_eq!(core.step(at(ping), Input::Tick), [], "one ping at a time");
        assert_eq!(core.step(at(ping), Input::Control), []);
    }
    assert_eq!(core.deadline(), at(60_000));
    assert_eq!(core.step(at(60_000), Input::Tick), [Effect::Close(CloseReason::Idle)]);

    let mut core = self::core();
    assert_eq!(core.step(at(20_000), Input::Tick), [Effect::Ping]);
    assert_eq!(core.deadline(), at(25_000));
    assert_eq!(core.step(at(25_000), Input::Tick), [Effect::Close(CloseReason::Unresponsive)]);
}

/// Goal: whoever waits for an answer or listens to a group is not idle.
#[test]
fn waiting_and_listening_are_not_idle() {
    let subscribe = json!({ "type": "subscribe", "id": 1, "group": "all" });
    for message in [ask(1, "tower"), subscribe] {
        let mut core = core();
        assert_eq!(core.step(at(0), json_input(&message)).len(), 1);
        for _ in 0..10 {
            let due = core.deadline();
            assert_eq!(core.step(due, Input::Tick), [Effect::Ping], "{message}");
            assert_eq!(core.step(due, Input::Control), []);
        }
        assert!(core.deadline() > at(200_000));
    }
}

/// Goal: nothing follows a close, whatever happens.
#[test]
fn nothing_follows_a_close() {
    let mut core = core();
    assert_eq!(core.step(at(0), Input::Ended(CloseReason::Stopping)), [Effect::Close(CloseReason::Stopping)]);
    for input in [
        json_input(&ask(1, "tower")),
        Input::Tick,
        Input::Control,
        Input::Answered(ticket(1), Err(AgentError::NoReply)),
        Input::Ended(CloseReason::Client),
    ] {
        assert_eq!(core.step(at(1_000_000), input), []);
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Bytes(bool, Vec<u8>),
    Ask,
    Published(usize),
    Written,
    Tick(u64),
    Control,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (any::<bool>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(text, bytes)| Happening::Bytes(text, bytes)),
        Just(Happening::Ask),
        (0_usize..600).prop_map(Happening::Published),
        Just(Happening::Written),
        (0_u64..30_000).prop_map(Happening::Tick),
        Just(Happening::Control),
    ]
}

proptest! {
    /// Whatever happens in whatever order: no panic, the queue and the asks stay within their limits, the deadline is never
    /// missed by more than the step, and nothing follows a close.
    #[test]
    fn limits_hold_whatever_happens(happenings in prop::collection::vec(happening(), 0..200)) {
        let mut core = core();
        let mut now = Millis::ZERO;
        let mut queue: Vec<usize> = Vec::new();
        let mut asks = 0_u32;
        let mut over = false;
        for happening in happenings {
            let input = match happening {
                Happening::Bytes(text, bytes) => {
                    let encoding = if text { Encoding::Json } else { Encoding::MessagePack };
                    Input::Message(encoding, bytes.into())
                }
                Happening::Ask => json_input(&ask(1, "tower")),
                Happening::Published(bytes) => {
                    Input::Published(Frame { encoding: Encoding::Json, bytes: vec![0; bytes].into() })
                }
                Happening::Written if queue.is_empty() => continue,
                Happening::Written => Input::Written(queue.remove(0)),
                Happening::Tick(by) => {
                    now = now + Duration::from_millis(by);
                    Input::Tick
                }
                Happening::Control => Input::Control,
            };
            for effect in core.step(now, input) {
                prop_assert!(!over, "{effect:?} after the end");
                match effect {
                    Effect::Send(frame) => queue.push(frame.bytes.len()),
                    Effect::Ask(..) => asks += 1,
                    Effect::Close(_) => over = true,
                    _ => {}
                }
            }
            if !over {
                prop_assert!(queue.len() <= 3 && (queue.len() < 2 || queue.iter().sum::<usize>() <= 1000));
                prop_assert!(asks <= 2);
                prop_assert_eq!(core.queued(), queue.len());
            }
        }
    }
}
