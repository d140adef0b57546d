//! The caller's side: place, priority, waiting, overflow, ends.

use super::world::{World, queue};
use crate::core::{
    Outcome, Reason,
    cdr::CallOutcome,
    command::{Actor, Command, Intent},
    effect::Action,
    id::LegId,
    policy::{Fallback, Hours, Route, Step, Strategy},
};

#[test]
fn a_call_is_answered_bridged_and_recorded_once() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    assert_eq!(world.arrive(1), Outcome::Accepted);
    assert_eq!(world.arrive(1), Outcome::Duplicate);
    world.pass(2_000);
    assert_eq!(world.answer("a"), Outcome::Accepted);
    assert!(world.ordered(LegId::caller(World::call(1)), |action| matches!(action, Action::Answer { .. })));
    world.pass(3_000);
    let agent_leg = world.leg_of("a");
    world.caller_leaves(1);
    assert!(world.ordered(agent_leg, |action| matches!(action, Action::HangUp { .. })));
    assert_eq!(world.closed.len(), 1);
    assert_eq!((world.closed[0].outcome, world.closed[0].waited_ms(), world.closed[0].talked_ms()), (CallOutcome::Answered, 2_000, 3_000));
}

#[test]
fn priority_orders_first_then_age() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    for n in 1..=3 {
        world.arrive(n);
    }
    world.arrive_as(4, |arrive| arrive.priority = Some(1));
    for expected in [1, 4, 2, 3] {
        assert_eq!(world.rung(expected), ["a"]);
        world.answer("a");
        world.agent_hangs_up("a");
    }
}

#[test]
fn a_starving_call_is_promoted() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.rules().promote_after_ms = 30_000;
    world.publish();
    world.arrive(1);
    world.answer("a");
    world.arrive(2);
    world.pass(31_000);
    world.arrive_as(3, |arrive| arrive.priority = Some(0));
    world.agent_hangs_up("a");
    assert_eq!(world.rung(2), ["a"]);
}

#[test]
fn a_call_nobody_can_serve_blocks_nobody_behind_it() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive_as(1, |arrive| arrive.skills = vec![("klingon".into(), 1)]);
    world.arrive(2);
    assert_eq!((world.rung(1).len(), world.rung(2)), (0, vec!["a".to_owned()]));
}

#[test]
fn relaxing_a_requirement_widens_and_keeps_the_age() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    let step = |for_ms, level| Step { for_ms, require: [("support".into(), level)].into() };
    world.rules().steps = vec![step(10_000, 9), step(0, 1)];
    world.publish();
    world.arrive(1);
    assert!(world.rung(1).is_empty());
    world.pass(10_000);
    assert_eq!(world.rung(1), ["a"]);
    world.answer("a");
    world.caller_leaves(1);
    assert_eq!(world.closed[0].waited_ms(), 10_000);
}

#[test]
fn a_full_closed_or_unknown_queue_answers_with_its_reason_before_treatment() {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    world.rules().waiting_max = 1;
    world.policy.routes.insert("911".into(), Route { queue: "support".into(), priority: Some(0), emergency: true });
    world.publish();
    world.arrive(1);
    assert_eq!(world.arrive(2), Outcome::Refused { status: 486, reason: Reason::QueueFull });
    assert_eq!(world.arrive_as(3, |arrive| arrive.to_user = "nowhere".into()), Outcome::Rejected(Reason::NoRoute("nowhere".into())));
    assert_eq!(world.arrive_as(4, |arrive| arrive.to_user = "911".into()), Outcome::Accepted, "emergency calls bypass the caps");
    world.policy.hours.insert("never".into(), Hours::default());
    world.rules().hours = Some("never".into());
    world.publish();
    assert!(matches!(world.arrive(5), Outcome::Refused { status: 480, reason: Reason::OutsideHours { .. } }));
    assert_eq!(world.closed.iter().filter(|call| call.outcome == CallOutcome::Rejected).count(), 3);
}

#[test]
fn a_rule_that_refuses_says_with_which_status_at_the_door_and_behind_an_overflow() {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    world.policy.queues.insert("second".into(), queue(Strategy::LongestIdle));
    world.rules().waiting_max = 1;
    world.rules().max_wait_ms = 10_000;
    world.rules().on_max_wait = Fallback::Queue("second".into());
    world.rules().on_full = Fallback::Queue("second".into());
    let second = world.policy.queues.get_mut("second").expect("just made");
    (second.require_agents, second.on_no_agents) = (true, Fallback::Reject { status: 603 });
    world.publish();
    world.arrive(1);
    assert_eq!(world.arrive(2), Outcome::Refused { status: 603, reason: Reason::NoAgentsForQueue });
    assert_eq!(world.arrive(2), Outcome::Refused { status: 603, reason: Reason::NoAgentsForQueue }, "a repeat gets the same");
    world.pass(10_000);
    assert!(world.ordered(LegId::caller(World::call(1)), |action| matches!(action, Action::Reject { status: 603, .. })));
}

#[test]
fn the_longest_wait_overflows_with_its_age_and_then_ends() {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    world.policy.queues.insert("second".into(), queue(Strategy::LongestIdle));
    world.rules().max_wait_ms = 10_000;
    world.rules().on_max_wait = Fallback::Queue("second".into());
    world.policy.queues.get_mut("second").expect("just made").max_wait_ms = 5_000;
    world.publish();
    world.arrive(1);
    world.pass(15_000);
    let closed = world.closed.pop().expect("the call ended");
    assert_eq!((closed.outcome, closed.end_reason.as_str(), closed.waited_ms()), (CallOutcome::Rejected, "max_wait", 15_000));
    assert!(world.ordered(LegId::caller(World::call(1)), |action| matches!(action, Action::Reject { status: 480, .. })));
}

#[test]
fn an_abandoned_call_leaves_no_ringing_phone_and_the_idle_clock_alone() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    let idle_since = world.agent("a").idle_since;
    world.pass(1_000);
    world.arrive(1);
    let leg = world.leg_of("a");
    world.caller_leaves(1);
    assert!(world.ordered(leg, |action| matches!(action, Action::HangUp { .. })));
    assert_eq!((world.closed[0].outcome, world.agent("a").idle_since), (CallOutcome::Abandoned, idle_since));
}

#[test]
fn affinity_waits_for_the_preferred_agent_then_for_anybody() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.rules().affinity_ms = 5_000;
    world.publish();
    world.arrive_as(1, |arrive| arrive.prefer = Some("b".into()));
    assert_eq!(world.rung(1), ["b"]);
    world.arrive_as(2, |arrive| arrive.prefer = Some("b".into()));
    assert!(world.rung(2).is_empty());
    world.pass(5_000);
    assert_eq!(world.rung(2), ["a"]);
}

#[test]
fn removing_a_queue_or_agent_in_use_is_refused() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    let before = world.policy.clone();
    world.policy.agents.clear();
    assert_eq!(world.publish(), Outcome::Rejected(Reason::InUse("agent a".into())));
    world.policy = before;
    world.policy.queues.clear();
    assert_eq!(world.publish(), Outcome::Rejected(Reason::InUse("queue support".into())));
}

#[test]
fn without_an_heir_a_dead_edge_ends_its_calls_and_frees_the_agents() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.answer("a");
    let lost = || Command::EdgeLost { edge: super::world::EDGE, heirs: Vec::new() };
    assert_eq!(world.apply(lost()), Outcome::Accepted);
    assert_eq!((world.closed[0].outcome, world.agent("a").contacts.len()), (CallOutcome::NodeLost, 0));
    assert_eq!(world.state.open_orders().count(), 0, "nobody is left to say anything");
    assert_eq!(world.apply(lost()), Outcome::Rejected(Reason::Stale));
}

#[test]
fn an_operator_moves_a_waiting_call_and_its_age_goes_with_it() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    for n in 1..=3 {
        world.arrive(n);
    }
    let requeue = Command::Requeue { domain: World::domain(), call: World::call(3), queue: None, priority: Some(1), by: Actor::System };
    assert_eq!(world.apply(requeue), Outcome::Accepted);
    world.answer("a");
    world.agent_hangs_up("a");
    assert_eq!(world.rung(3), ["a"]);
    world.intent("a", Intent::Offline);
    assert!(world.rung(3).is_empty());
}
