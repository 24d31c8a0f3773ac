//! When a feed goes back, and when it is done.

use super::*;

/// A feed at a time.
struct Bench {
    redelivery: Redelivery,
    now: u64,
}

fn audit(behind: u64, covered: u64, reached: u64, queued: u64) -> Input {
    Input::Audited(Some(Audit { behind, covered, reached, queued }))
}

fn lost(node: &str) -> Input {
    Input::NodeLost(node.into())
}

impl Bench {
    fn new() -> Self {
        Self { redelivery: Redelivery::new(7), now: 1000 }
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        self.redelivery.step(Millis::new(self.now), input)
    }

    /// Waits as long as was asked for.
    fn tick(&mut self, effects: &[Effect]) -> Vec<Effect> {
        let Some(Effect::Wake(span)) = effects.iter().find(|effect| matches!(effect, Effect::Wake(_))) else {
            panic!("nothing to wait for: {effects:?}");
        };
        self.now += u64::try_from(span.as_millis()).unwrap();
        self.step(Input::Tick)
    }

    /// All nodes say the same until the feed has decided.
    fn at_rest(&mut self, behind: u64, covered: u64, reached: u64) -> Vec<Effect> {
        let first = self.step(audit(behind, covered, reached, 0));
        if !matches!(first[..], [Effect::Wake(_)]) {
            return first;
        }
        assert_eq!(self.tick(&first), [Effect::Audit]);
        self.step(audit(behind, covered, reached, 0))
    }
}

/// Goal: a feed is done once everybody has handled everything, not when everything is given.
#[test]
fn done_is_what_is_handled() {
    let mut bench = Bench::new();
    assert_eq!(bench.step(Input::Given), [Effect::Audit]);
    let mut told = Vec::new();
    for (behind, reached) in [(3, 10), (2, 20), (1, 25)] {
        told = bench.step(audit(behind, 5, reached, behind));
        assert_eq!(bench.tick(&told), [Effect::Audit]);
    }
    told.clear();
    assert_eq!(bench.step(Input::Audited(None)), [Effect::Wake(RETRY)], "somebody does not answer");
    bench.now += 250;
    assert_eq!(bench.step(Input::Tick), [Effect::Audit]);
    assert!(!bench.redelivery.is_done());
    assert_eq!(bench.step(audit(0, 40, 40, 9)), [Effect::Complete { behind: 0 }]);
    assert!(bench.redelivery.is_done());
}

/// Goal: after the loss of a node the feed goes back to what all have, as soon as it is known: once, also after several losses. What was
/// only on its way is waited for.
#[test]
fn losses_send_it_back_once() {
    let mut bench = Bench::new();
    let told = bench.step(lost("n2"));
    assert_eq!(told, [Effect::Hold, Effect::Wake(SETTLE)]);
    bench.now += 200;
    let told = bench.step(lost("n3"));
    bench.now += 100;
    assert_eq!(bench.step(Input::Tick), [Effect::Wake(Duration::from_millis(200))], "it began anew");
    assert_eq!(bench.tick(&told), [Effect::Audit]);
    let told = bench.step(audit(40, 0, 700, 12));
    assert_eq!(bench.tick(&told), [Effect::Audit]);
    let told = bench.step(audit(30, 0, 800, 0));
    assert_eq!(told, [Effect::Wake(AGAIN)], "something may have been between two nodes");
    assert_eq!(bench.step(Input::Lost { pass: 7, after: 5 }), [], "the audit shows it");
    assert_eq!(bench.tick(&told), [Effect::Audit]);
    let back = Effect::Rewind { to: 0, pass: 8, cause: "the loss of n2".into() };
    assert_eq!(bench.step(audit(30, 0, 800, 0)), [back]);
    assert!(!bench.redelivery.is_held());
    // What is left of the delivery before this one is no news.
    assert_eq!(bench.step(Input::Lost { pass: 7, after: 5 }), []);
    let told = bench.step(Input::Lost { pass: 8, after: 5 });
    assert_eq!(told, [Effect::Hold, Effect::Wake(SETTLE)]);
    assert_eq!(bench.tick(&told), [Effect::Audit]);
    assert_eq!(bench.at_rest(0, 900, 900), [Effect::Go], "it was handled after all");
}

/// Goal: a loss during the way back, and one after the feed was done, send it back again; and whoever comes back is looked at.
#[test]
fn a_loss_may_come_at_any_time() {
    let mut bench = Bench::new();
    let told = bench.step(lost("n2"));
    bench.tick(&told);
    assert!(matches!(bench.at_rest(9, 50, 800)[..], [Effect::Rewind { to: 50, pass: 8, .. }]));
    let told = bench.step(lost("n3"));
    bench.tick(&told);
    let back = Effect::Rewind { to: 0, pass: 9, cause: "the loss of n3".into() };
    assert_eq!(bench.at_rest(20, 0, 600), [back]);
    assert_eq!(bench.step(Input::Given), [Effect::Audit]);
    // The audit is under way while another node is lost: what it says is old.
    let told = bench.step(lost("n4"));
    assert_eq!(bench.step(audit(0, 900, 900, 0)), []);
    bench.tick(&told);
    assert_eq!(bench.step(audit(0, 900, 900, 0)), [Effect::Complete { behind: 0 }]);
    let told = bench.step(lost("n2"));
    assert_eq!(bench.tick(&told), [Effect::Audit]);
    assert!(matches!(bench.at_rest(5, 0, 500)[..], [Effect::Rewind { to: 0, pass: 10, .. }]));
    assert_eq!(bench.step(Input::NodeJoined("n2".into())), [], "its end will show");
    bench.step(Input::Given);
    bench.step(audit(0, 900, 900, 0));
    let told = bench.step(Input::NodeJoined("n2".into()));
    assert_eq!(told, [Effect::Hold, Effect::Wake(SETTLE_JOINED)]);
    assert_eq!(bench.tick(&told), [Effect::Audit]);
    assert_eq!(bench.step(audit(0, 900, 900, 3)), [Effect::Complete { behind: 0 }]);
}

/// Goal: what is left of an earlier delivery is news only if this one began after it.
#[test]
fn old_losses_count_where_they_are_not_covered() {
    let mut bench = Bench::new();
    let told = bench.step(lost("n2"));
    bench.tick(&told);
    assert!(matches!(bench.at_rest(9, 500, 800)[..], [Effect::Rewind { to: 500, .. }]));
    assert_eq!(bench.step(Input::Lost { pass: 7, after: 500 }), []);
    assert_eq!(bench.step(Input::Lost { pass: 7, after: 499 }), [Effect::Hold, Effect::Wake(SETTLE)]);
}

/// Goal: what cannot be delivered is given up after some attempts, as on one node; a node that is lost begins the count anew.
#[test]
fn it_does_not_go_back_for_ever() {
    let mut bench = Bench::new();
    for round in 0..2 {
        let mut rewinds = 0;
        if round > 0 {
            let told = bench.step(lost("n2"));
            assert_eq!(bench.tick(&told), [Effect::Audit]);
            assert!(matches!(bench.at_rest(1, 0, 900)[..], [Effect::Rewind { .. }]));
            rewinds += 1;
        }
        loop {
            assert_eq!(bench.step(Input::Given), [Effect::Audit]);
            match &bench.at_rest(1, 0, 900)[..] {
                [Effect::Rewind { to: 0, .. }] => rewinds += 1,
                [Effect::Complete { behind: 1 }] => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(rewinds, FRUITLESS_MAX);
        let pass = bench.redelivery.pass;
        assert_eq!(bench.step(Input::Lost { pass, after: 3 }), [], "known");
    }
}

/// Goal: nodes that never rest do not keep a feed from its end: what nobody has come on with for long enough is lost.
#[test]
fn others_do_not_hold_it_up() {
    let mut bench = Bench::new();
    bench.step(Input::Given);
    let begun = bench.now;
    loop {
        match &bench.step(audit(1, 3, 900, 1000))[..] {
            told @ [Effect::Wake(_)] => assert_eq!(bench.tick(told), [Effect::Audit]),
            [Effect::Rewind { to: 3, .. }] => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(u128::from(bench.now - begun), STUCK.as_millis());
}
