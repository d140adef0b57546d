//! A customer who comes back about the same: the record says so, and a matter that AI called settled was not.

use std::sync::Arc;

use super::world::{World, agent};
use crate::core::{
    Command,
    assist::{Assisted, Judged, Line, Resolution, Resolved, Speaker, Turn},
    cdr::ClosedCall,
    command::LegEvent,
    effect::EventKind,
    id::CallId,
    policy::{Agent, AgentKind, Strategy},
    time::WallTime,
};

const WITHIN_MS: u64 = 72 * 3_600_000;

/// One person of `support`, and matters that may come back for three days.
fn world() -> World {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.policy.reopen_within_ms = WITHIN_MS;
    world.publish();
    world
}

/// Call `n` of a customer, had by the person and over; its record.
fn talk(world: &mut World, n: u64, from: &str) -> ClosedCall {
    world.arrive_as(n, |arrive| arrive.from.user = from.to_owned());
    world.answer("a");
    world.caller_leaves(n);
    world.closed.pop().expect("a record")
}

fn reopens(n: u64) -> Option<CallId> {
    Some(World::call(n))
}

#[test]
fn a_customer_who_comes_back_in_time_is_linked_to_the_last_contact_however_the_number_is_written() {
    let mut world = world();
    assert_eq!(talk(&mut world, 1, "+4930123456").reopens, None);
    assert_eq!(talk(&mut world, 2, "+4930999999").reopens, None, "somebody else");
    world.pass(WITHIN_MS - 1);
    assert_eq!(talk(&mut world, 3, "+49 (30) 123456").reopens, reopens(1));
    world.pass(WITHIN_MS - 1);
    assert_eq!(talk(&mut world, 4, "+4930123456").reopens, reopens(3), "the time counts from the latest");
    world.pass(WITHIN_MS);
    assert_eq!(talk(&mut world, 5, "+4930123456").reopens, None);
}

#[test]
fn who_was_not_answered_is_nothing_to_come_back_to_and_who_says_nothing_of_himself_is_nobody() {
    let mut world = world();
    world.arrive(1);
    world.caller_leaves(1);
    world.closed.clear();
    assert_eq!(talk(&mut world, 2, "5551000").reopens, None);
    world.arrive(3);
    world.caller_leaves(3);
    assert_eq!(world.closed.pop().and_then(|record| record.reopens), reopens(2), "a caller who gave up came back all the same");
    for n in [4, 5] {
        assert_eq!(talk(&mut world, n, "Anonymous").reopens, None);
    }
}

#[test]
fn an_erased_customer_begins_anew_and_a_tenant_may_not_want_any_of_it() {
    let mut world = world();
    talk(&mut world, 1, "100");
    world.apply(Command::Erase { domain: World::domain(), subject: "100".into() });
    assert_eq!(talk(&mut world, 2, "100").reopens, None);
    world.policy.reopen_within_ms = 0;
    world.publish();
    assert_eq!(talk(&mut world, 3, "100").reopens, None);
}

#[test]
fn what_ai_called_settled_counts_as_reopened_when_its_customer_asks_about_the_same_again() {
    let mut world = world();
    let robot = Agent { kind: AgentKind::Ai, contact: None, assistant: Some(Arc::default()), ..agent(&[("support", 5)]) };
    world.policy.agents.insert("ai".into(), robot);
    world.publish();
    let ask = |world: &mut World, n: u64, intent: &str| {
        world.arrive_as(n, |arrive| arrive.anchored = true);
        let leg = world.leg_of("ai");
        let judged = Some(Judged { intent: Some(intent.to_owned()), ..Judged::default() });
        let line = Line { at: WallTime(0), who: Speaker::Customer, text: "words".into(), judged, sources: Vec::new() };
        let resolution = Resolution { resolved: Resolved::Yes, confidence: 700, reason: "goodbye".into() };
        let turn = Turn { line, wants: None, helped: None };
        for event in [Assisted::Engaged, Assisted::Disclosed, Assisted::Turn(Box::new(turn)), Assisted::Resolved(resolution)] {
            world.report(leg, LegEvent::Assisted(event));
        }
        world.caller_leaves(n);
        world.closed.pop().expect("a record").reopens
    };
    assert_eq!(ask(&mut world, 1, "card_lost"), None);
    assert_eq!(ask(&mut world, 2, "new_card"), None, "about something else");
    assert!(!world.events.contains(&EventKind::ContactReopened));
    assert_eq!(ask(&mut world, 3, "card_lost"), reopens(1));
    assert!(world.events.contains(&EventKind::ContactReopened));
}
