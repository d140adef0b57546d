//! Callbacks: the place is kept, one dial is in flight, and each ends with one record, whatever dies on the way.

use super::world::{EDGE, World, trunk_out};
use crate::core::{
    Outcome, Reason,
    call::{Call, CallState},
    cdr::{AttemptResult, CallOutcome},
    command::{Actor, Command, HangUpCause, Intent, LegEvent, NewCallback, TransferTo},
    effect::{Action, EventKind},
    id::{Edge, LegId, NodeId},
    party::{Dialog, Sdp, Target},
    policy::{Callbacks, Hours, Strategy, Trunk},
    time::WallTime,
};

const OTHER: Edge = Edge { node: NodeId(2), incarnation: 1 };

/// Agent `a`, and a trunk that leads out.
fn world() -> World {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.policy.trunks.insert("out".into(), trunk_out(&[]));
    world.rules().callback = Callbacks { dials_max: 2, pause_ms: 60_000, ring_ms: 30_000, max_age_ms: 3_600_000 };
    world.publish();
    world
}

/// The same, `a` busy with call 9 and calls 1, 2 and 3 waiting, a second apart.
fn busy() -> World {
    let mut world = world();
    arrive(&mut world, 9);
    world.answer("a");
    for n in 1..=3 {
        world.pass(1_000);
        arrive(&mut world, n);
    }
    world.orders.clear();
    world
}

fn arrive(world: &mut World, n: u64) {
    world.arrive_as(n, |arrive| {
        arrive.anchored = true;
        arrive.from.user = format!("555100{n}");
    });
}

fn call_back(world: &mut World, n: u64) -> Outcome {
    world.apply(Command::Callback { domain: World::domain(), call: World::call(n), number: None, by: Actor::User("ivr".into()) })
}

fn schedule(world: &mut World, n: u64, number: &str, in_ms: Option<i64>) -> Outcome {
    let at = in_ms.map(|ms| WallTime(1_795_000_000_000 + world.now_ms as i64 + ms));
    let (domain, call, by) = (World::domain(), World::call(n), Actor::User("crm".into()));
    world.apply(Command::Schedule(Box::new(NewCallback {
        domain,
        call,
        edge: EDGE,
        queue: "support".into(),
        number: number.into(),
        at,
        priority: None,
        by,
    })))
}

fn row(world: &World, n: u64) -> &Call {
    &world.state.domains()[&World::domain()].calls()[&World::call(n)]
}

fn state(world: &World, n: u64) -> &'static str {
    row(world, n).state.name()
}

/// The leg on which the customer of call `n` is called, or talks.
fn customer(world: &World, n: u64) -> LegId {
    let call = row(world, n);
    call.leg_id(call.caller_leg().expect("the customer is on the phone"))
}

fn customer_says(world: &mut World, n: u64, event: LegEvent) -> Outcome {
    let leg = customer(world, n);
    world.report(leg, event)
}

fn answered() -> LegEvent {
    LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::from(b"v=0".to_vec()) }
}

fn refused(status: u16) -> LegEvent {
    LegEvent::Refused { status, reason: String::new(), contacts: Vec::new() }
}

fn dials(world: &World) -> usize {
    world.orders.iter().filter(|order| matches!(&order.action, Action::Ring(ring) if matches!(ring.target, Target::Trunk { .. }))).count()
}

#[test]
fn a_caller_who_hangs_up_for_a_callback_is_served_in_its_turn() {
    let mut world = busy();
    assert_eq!(call_back(&mut world, 2), Outcome::Accepted);
    assert!(world.ordered(LegId::caller(World::call(2)), |action| matches!(action, Action::Reject { .. })));
    world.report(LegId::caller(World::call(2)), LegEvent::Ended);
    assert_eq!(state(&world, 2), "queued");
    world.pass(20_000);
    world.caller_leaves(9);
    assert_eq!(world.rung(1), ["a"], "older than the callback");
    world.answer("a");
    world.caller_leaves(1);
    assert_eq!(world.rung(2), ["a"], "before the younger one on the line");
    assert_eq!(dials(&world), 0, "nobody is called before the agent is there");
    world.answer("a");
    assert_eq!((state(&world, 2), dials(&world)), ("dialling", 1));
    customer_says(&mut world, 2, LegEvent::Ringing { dialog: Dialog::default() });
    customer_says(&mut world, 2, answered());
    assert_eq!(state(&world, 2), "connected");
    let peer = row(&world, 2).leg_id(row(&world, 2).owner().unwrap());
    let joined = |action: &Action| matches!(action, Action::Answer { peer: with, .. } if *with == peer);
    assert!(world.ordered(customer(&world, 2), joined));
    customer_says(&mut world, 2, LegEvent::HungUp { cause: HangUpCause::Bye });
    let record = world.closed.last().unwrap();
    assert_eq!((record.outcome, record.end_reason.as_str()), (CallOutcome::Answered, "caller_hung_up"));
    assert_eq!(record.callback.as_ref().map(|callback| callback.dials), Some(1));
    assert_eq!(world.events.iter().filter(|kind| **kind == EventKind::CallbackCompleted).count(), 1);
    assert_eq!(world.rung(3), ["a"]);
}

#[test]
fn a_customer_who_is_busy_is_called_again_after_a_pause_and_then_given_up() {
    let mut world = world();
    assert_eq!(schedule(&mut world, 1, "+4930123", None), Outcome::Scheduled { call: World::call(1) });
    world.answer("a");
    customer_says(&mut world, 1, refused(486));
    assert_eq!(state(&world, 1), "deferred");
    assert!(world.agent("a").contacts.is_empty() && world.agent("a").wrap_up_until.is_none(), "nobody was talked to");
    world.pass(59_000);
    assert_eq!(state(&world, 1), "deferred");
    world.pass(1_000);
    assert_eq!(world.rung(1), ["a"]);
    world.answer("a");
    // The second dial rings out.
    let leg = customer(&world, 1);
    world.pass(30_000);
    assert!(world.ordered(leg, |action| matches!(action, Action::HangUp { .. })), "its phone is let go");
    let record = world.closed.last().unwrap();
    assert_eq!((record.outcome, record.end_reason.as_str()), (CallOutcome::Failed, "callback_no_answer"));
    let results: Vec<_> = record.attempts.rows.iter().map(|attempt| attempt.result).collect();
    assert_eq!(results, [AttemptResult::NotReached { status: 486 }, AttemptResult::NotReached { status: 408 }]);
    assert_eq!(dials(&world), 2);
}

#[test]
fn an_agent_who_hangs_up_while_the_customer_is_called_lets_the_customer_go() {
    let mut world = world();
    schedule(&mut world, 1, "+4930123", None);
    world.answer("a");
    let leg = customer(&world, 1);
    world.agent_hangs_up("a");
    assert!(world.ordered(leg, |action| matches!(action, Action::HangUp { .. })));
    assert_eq!(state(&world, 1), "deferred");
    // What that phone still says concerns nobody.
    assert_eq!(world.report(leg, answered()), Outcome::Rejected(Reason::NoLeg));
    assert_eq!(state(&world, 1), "deferred");
    world.pass(60_000);
    world.answer("a");
    assert_eq!(world.intent("a", Intent::ForceRelease), Outcome::Accepted);
    assert_eq!(world.closed.last().unwrap().end_reason, "callback_no_answer");
}

#[test]
fn a_callback_is_cancelled_in_every_state_and_a_number_is_called_once_at_a_time() {
    for steps in 0..4 {
        let mut world = world();
        schedule(&mut world, 1, "+4930123", (steps == 0).then_some(600_000));
        assert_eq!(
            schedule(&mut world, 2, "+4930123", None),
            Outcome::Rejected(Reason::NotReady("the number waits for a callback already".into()))
        );
        if steps >= 2 {
            world.answer("a");
        }
        if steps == 3 {
            customer_says(&mut world, 1, LegEvent::Ringing { dialog: Dialog::default() });
        }
        let state = state(&world, 1);
        assert_eq!(state, ["deferred", "offering", "dialling", "dialling"][steps]);
        let cancel = Command::HangUp { domain: World::domain(), call: World::call(1), by: Actor::User("crm".into()) };
        assert_eq!(world.apply(cancel), Outcome::Accepted);
        let record = world.closed.last().unwrap();
        assert_eq!((record.outcome, record.end_reason.as_str()), (CallOutcome::Rejected, "callback_cancelled"), "{state}");
        assert!(world.agent("a").contacts.is_empty());
        assert_eq!(schedule(&mut world, 3, "+4930123", None), Outcome::Scheduled { call: World::call(3) });
    }
}

#[test]
fn what_cannot_be_called_back_says_why() {
    let mut world = busy();
    assert!(matches!(schedule(&mut world, 4, "anna", None), Outcome::Rejected(Reason::Invalid(_))));
    assert!(matches!(schedule(&mut world, 4, "+4930", Some(32 * 86_400_000)), Outcome::Rejected(Reason::Invalid(_))));
    assert_eq!(call_back(&mut world, 9), Outcome::Rejected(Reason::WrongState("connected".into())));
    assert_eq!(call_back(&mut world, 7), Outcome::Rejected(Reason::NoCall));
    assert_eq!(call_back(&mut world, 1), Outcome::Accepted);
    assert_eq!(call_back(&mut world, 1), Outcome::Rejected(Reason::WrongState("not for a callback".into())));
    world.policy.trunks.get_mut("out").unwrap().prefixes = vec!["+49".into()];
    world.publish();
    assert_eq!(call_back(&mut world, 2), Outcome::Rejected(Reason::NoRoute("5551002".into())));
}

#[test]
fn a_number_is_called_over_the_trunk_that_names_the_most_of_it() {
    let mut world = world();
    let trunk = |prefixes: &[&str], out: bool| {
        let contacts = if out { vec!["sip:gw@192.0.2.8".to_owned()] } else { Vec::new() };
        let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        Trunk { contacts, prefixes, ..world.policy.trunks["out"].clone() }
    };
    let trunks = [("berlin", trunk(&["+49", "+4930"], true)), ("germany", trunk(&["+49"], true)), ("inbound", trunk(&["+4930123"], false))];
    world.policy.trunks.extend(trunks.map(|(id, trunk)| (id.into(), trunk)));
    let found = |number: &str| world.policy.trunk_for(number).map(ToString::to_string);
    assert_eq!(found("+4930123").as_deref(), Some("berlin"));
    assert_eq!(found("+4989").as_deref(), Some("berlin"), "of two that name as much the first by name");
    assert_eq!(found("+1").as_deref(), Some("out"), "the one for every number");
}

#[test]
fn a_callback_comes_at_its_time_and_not_outside_opening_hours() {
    let mut world = world();
    schedule(&mut world, 1, "+4930123", Some(7_200_000));
    arrive(&mut world, 2);
    assert_eq!(world.rung(2), ["a"]);
    world.answer("a");
    world.pass(7_100_000);
    world.caller_leaves(2);
    assert_eq!(state(&world, 1), "deferred");
    world.pass(100_000);
    assert_eq!(world.rung(1), ["a"]);
    // Closed all week: it stands aside when its agent does not answer, and expires in the end.
    world.policy.hours.insert("never".into(), Hours::default());
    world.rules().hours = Some("never".into());
    world.publish();
    world.pass(15_000);
    assert_eq!(state(&world, 1), "deferred");
    world.pass(3_600_000);
    assert_eq!(
        (world.closed.last().unwrap().outcome, world.closed.last().unwrap().end_reason.as_str()),
        (CallOutcome::Failed, "callback_expired")
    );
}

#[test]
fn callbacks_stand_aside_while_their_queue_is_closed_and_come_back_in_order() {
    let mut world = busy();
    call_back(&mut world, 1);
    world.policy.hours.insert("never".into(), Hours::default());
    world.rules().hours = Some("never".into());
    world.publish();
    assert_eq!((state(&world, 1), state(&world, 2)), ("deferred", "queued"));
    world.caller_leaves(9);
    assert_eq!(world.rung(2), ["a"], "who is on the line is served to the end");
    world.rules().hours = None;
    world.publish();
    assert_eq!(state(&world, 1), "queued");
    world.answer("a");
    world.caller_leaves(2);
    assert_eq!(world.rung(1), ["a"]);
}

#[test]
fn a_callback_survives_the_death_of_its_node_in_every_state() {
    for dying in ["deferred", "queued", "offering", "dialling", "connected"] {
        let mut world = busy();
        call_back(&mut world, 1);
        if dying != "queued" {
            world.caller_leaves(9);
        }
        if dying == "deferred" || dying == "dialling" || dying == "connected" {
            world.answer("a");
        }
        match dying {
            "deferred" => drop(customer_says(&mut world, 1, refused(480))),
            "connected" => drop(customer_says(&mut world, 1, answered())),
            _ => {}
        }
        assert_eq!(state(&world, 1), dying);
        let before = (row(&world, 1).entered, dials(&world));
        world.orders.clear();
        world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![OTHER] });
        assert_eq!((row(&world, 1).edge, row(&world, 1).entered), (OTHER, before.0), "{dying}");
        if dying == "connected" {
            assert!(world.ordered(customer(&world, 1), |action| matches!(action, Action::Resume)));
            continue;
        }
        assert_eq!(dials(&world), 0, "{dying}: nobody is called in the moment of the death");
        // Whatever else the agent is given first, the customer is called in the end, once.
        for n in [9, 2, 3] {
            world.apply(Command::HangUp { domain: World::domain(), call: World::call(n), by: Actor::System });
        }
        world.pass(70_000);
        world.answer("a");
        assert_eq!((state(&world, 1), dials(&world)), ("dialling", 1), "{dying}");
        customer_says(&mut world, 1, answered());
        assert_eq!(state(&world, 1), "connected", "{dying}");
    }
}

#[test]
fn a_customer_whose_phone_rang_as_the_node_died_is_let_go_before_it_is_called_again() {
    let mut world = world();
    schedule(&mut world, 1, "+4930123", None);
    world.answer("a");
    let leg = customer(&world, 1);
    world.orders.clear();
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![OTHER] });
    let farewell = world.orders.iter().find(|order| order.leg == leg).expect("its phone is told");
    assert!(matches!(farewell.action, Action::HangUp { .. }) && farewell.edge == OTHER && farewell.image.is_some());
    world.pass(4_000);
    assert!(world.rung(1).is_empty());
    world.pass(1_000);
    world.answer("a");
    assert_ne!(customer(&world, 1), leg);
    assert_eq!(row(&world, 1).callback.as_ref().unwrap().dials, 1, "a dial that a death ended does not count");
}

#[test]
fn callbacks_outlive_a_silence_of_any_length_and_calls_on_the_line_do_not() {
    let mut world = busy();
    call_back(&mut world, 1);
    assert_eq!(world.apply(Command::KeepCallbacks { from: EDGE, heirs: vec![OTHER] }), Outcome::Accepted);
    assert_eq!(world.apply(Command::KeepCallbacks { from: EDGE, heirs: vec![OTHER] }), Outcome::Rejected(Reason::Stale));
    world.apply(Command::EdgeLost { edge: EDGE, heirs: Vec::new() });
    assert_eq!(world.closed.iter().filter(|record| record.outcome == CallOutcome::NodeLost).count(), 3);
    assert_eq!(world.rung(1), ["a"]);
}

#[test]
fn a_customer_that_was_reached_is_a_caller_like_any_other() {
    let mut world = world();
    world.policy.agents.insert("b".into(), super::world::agent(&[("support", 5)]));
    world.publish();
    schedule(&mut world, 1, "+4930123", None);
    world.answer("a");
    let control = |world: &mut World, held| {
        let wish = crate::core::command::Wish::Hold(held);
        world.apply(Command::Control { domain: World::domain(), call: World::call(1), wish, by: Actor::Agent("a".into()) })
    };
    assert_eq!(control(&mut world, true), Outcome::Rejected(Reason::WrongState("dialling".into())));
    customer_says(&mut world, 1, answered());
    assert_eq!(control(&mut world, true), Outcome::Accepted);
    let transfer =
        Command::Transfer { domain: World::domain(), call: World::call(1), to: TransferTo::Agent("b".into()), by: Actor::System };
    assert_eq!(world.apply(transfer), Outcome::Accepted);
    let own = |action: &Action| matches!(action, Action::Ring(ring) if ring.aside && ring.sdp.is_none());
    assert!(world.ordered(world.leg_of("b"), own), "what the customer says of itself is an answer, and offered to nobody");
    world.answer("b");
    assert_eq!((row(&world, 1).state, dials(&world)), (CallState::Connected { leg: row(&world, 1).owner().unwrap(), held: false }, 1));
    customer_says(&mut world, 1, LegEvent::HungUp { cause: HangUpCause::Bye });
    assert_eq!(world.closed.last().unwrap().outcome, CallOutcome::Answered);
}
