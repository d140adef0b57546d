//! Repeats, late and lost things: what retries, failovers and dead edges may not do.

use super::world::{EDGE, World};
use crate::core::{
    Effects, Outcome, Reason,
    command::{Command, Envelope, HangUpCause, Intent, LegEvent, LegReport, Timer, TimerKind},
    effect::Action,
    id::{Edge, LegId, NodeId, RequestId},
    policy::Strategy,
    time::{At, LogTime, WallTime},
};

const HEIR: Edge = Edge { node: NodeId(2), incarnation: 4 };

#[test]
fn a_repeated_arrival_neither_revives_nor_records_a_closed_call_again() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.caller_leaves(1);
    assert_eq!(world.arrive(1), Outcome::Duplicate);
    let refused = world.arrive_as(2, |arrive| arrive.to_user = "nowhere".into());
    assert_eq!(world.arrive_as(2, |arrive| arrive.to_user = "nowhere".into()), refused);
    assert_eq!((world.closed.len(), world.state.archive().next_seq), (2, 2));
}

#[test]
fn a_request_id_gets_the_first_outcome_again() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    let intent = Intent::Break { reason: "lunch".into() };
    let command = Command::AgentIntent { domain: World::domain(), agent: "a".into(), intent, by: crate::core::command::Actor::System };
    let envelope = Envelope { request: Some(RequestId(7)), command };
    let mut events = Vec::new();
    for index in 10..12 {
        let at = At { group: 1, index, time: LogTime(0), wall: WallTime(0) };
        let mut out = Effects::default();
        assert_eq!(world.state.apply(at, &envelope, &mut out), Outcome::Accepted);
        events.push(out.events.len());
    }
    assert_eq!(events, [1, 0], "the second time nothing happens");
}

#[test]
fn a_report_from_another_edge_or_with_an_old_number_changes_nothing() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    let leg = world.leg_of("a");
    let report = |edge, seq, event| Command::Leg(Box::new(LegReport { domain: World::domain(), leg, edge, seq, event }));
    let ringing = LegEvent::Ringing { dialog: Default::default() };
    assert_eq!(world.apply(report(HEIR, 1, ringing.clone())), Outcome::Rejected(Reason::Stale));
    assert_eq!(world.apply(report(EDGE, 1, ringing.clone())), Outcome::Accepted);
    assert_eq!(world.apply(report(EDGE, 1, ringing)), Outcome::Duplicate);
    let unknown = LegId { call: World::call(9), n: 0 };
    assert_eq!(world.report(unknown, LegEvent::HungUp { cause: HangUpCause::Bye }), Outcome::Rejected(Reason::NoCall));
}

#[test]
fn a_lost_edge_brings_in_no_call_until_it_lives_again() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![HEIR] });
    assert_eq!(world.arrive(1), Outcome::Rejected(Reason::Stale));
    let next = Edge { incarnation: EDGE.incarnation + 1, ..EDGE };
    assert_eq!(world.arrive_as(1, |arrive| arrive.edge = next), Outcome::Accepted);
}

#[test]
fn a_farewell_stays_until_the_leg_is_gone_or_half_a_minute_is_over() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.answer("a");
    let leg = world.leg_of("a");
    world.caller_leaves(1);
    assert_eq!(world.state.open_orders().count(), 1);
    assert_eq!(world.report(leg, LegEvent::Ended), Outcome::Accepted);
    assert_eq!(world.state.open_orders().count(), 0);
    world.arrive(2);
    world.answer("a");
    world.caller_leaves(2);
    world.pass(30_000);
    world.publish();
    assert_eq!(world.state.open_orders().count(), 0);
}

#[test]
fn orders_stay_open_until_the_leg_reports() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    let leg = world.leg_of("a");
    let open = |world: &World| world.state.open_orders().map(|order| order.leg).collect::<Vec<_>>();
    assert_eq!(open(&world), [leg]);
    world.report(leg, LegEvent::Ringing { dialog: Default::default() });
    assert_eq!(open(&world), [LegId::caller(leg.call)], "now the caller is to be told");
    world.refuse("a", 486);
    let told = world.state.open_orders().all(|order| matches!(order.action, Action::Queue { position: 1 }));
    assert!(told, "a caller whose offer failed waits again, and hears so");
}

#[test]
fn a_timer_fires_once_and_never_early() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    let leg = world.leg_of("a");
    let what = TimerKind::Offer { call: leg.call, leg: leg.n };
    let timer = Timer { domain: World::domain(), deadline: LogTime(15_000_000_000), what };
    let fire = || Command::FireTimers { timers: vec![timer.clone()] };
    world.now_ms = 14_999;
    assert_eq!(world.apply(fire()), Outcome::Rejected(Reason::Stale));
    world.now_ms = 15_000;
    assert_eq!(world.apply(fire()), Outcome::Accepted);
    assert_eq!(world.apply(fire()), Outcome::Rejected(Reason::Stale));
    assert_eq!(world.agent("a").offers.timeout, 1);
}

#[test]
fn a_new_leader_gives_ringing_and_wrap_up_the_time_nobody_led_but_two_seconds_at_most() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.rules().wrap_up_ms = 10_000;
    world.publish();
    world.arrive(1);
    world.answer("a");
    world.agent_hangs_up("a");
    world.arrive(2);
    world.apply(Command::Lead { grace_ms: 1_500 });
    world.apply(Command::Lead { grace_ms: 60_000 });
    world.pass(13_499);
    assert_eq!((world.agent("a").wrap_up_until.is_some(), world.rung(2)), (true, vec!["b".to_owned()]));
    world.pass(1);
    assert!(world.agent("a").wrap_up_until.is_none());
    world.pass(4_999);
    assert_eq!(world.agent("b").offers.timeout, 0);
    world.pass(1);
    assert_eq!(world.agent("b").offers.timeout, 1);
}

#[test]
fn a_refused_first_policy_leaves_no_domain() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    let publish = Command::PublishPolicy { domain: "new".into(), expect: Some(3), policy: Box::default(), entropy: [1; 32] };
    assert_eq!(world.apply(publish), Outcome::Rejected(Reason::VersionConflict { expected: 3, current: 0 }));
    assert!(!world.state.domains().contains_key("new"));
}
