//! The agent's side: misses, intents, wrap-up, registration.

use super::world::World;
use crate::core::{
    Outcome, Reason,
    agent::Presence,
    command::{Binding, Command, Intent},
    effect::Action,
    party::{Target, Transport},
    policy::Strategy,
};

#[test]
fn no_answer_returns_the_call_to_its_old_place_and_rests_the_agent() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.rules().misses.max = 2;
    world.publish();
    world.arrive(1);
    world.arrive(2);
    world.pass(15_000);
    assert!(world.rung(1).is_empty(), "the agent rests");
    world.pass(5_000);
    assert_eq!(world.rung(1), ["a"], "the first call is still first");
    world.pass(15_000);
    assert_eq!(*world.presence("a"), Presence::Break("missed".into()));
}

#[test]
fn reject_timeout_busy_and_unreachable_rest_for_their_own_times() {
    for (status, rest_ms) in [(603, 2_000), (486, 3_000), (503, 10_000)] {
        let mut world = World::new(Strategy::LongestIdle, &["a"]);
        world.arrive(1);
        world.refuse("a", status);
        world.pass(rest_ms - 1);
        assert!(world.rung(1).is_empty(), "{status} rests {rest_ms} ms");
        world.pass(1);
        assert_eq!(world.rung(1), ["a"], "{status} rests {rest_ms} ms");
    }
}

#[test]
fn an_agent_who_declines_makes_room_for_the_next() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.arrive(1);
    assert_eq!(world.rung(1), ["a"]);
    world.refuse("a", 486);
    assert_eq!(world.rung(1), ["b"]);
}

#[test]
fn a_break_while_reserved_rescinds_the_offer_first() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.arrive(1);
    let leg = world.leg_of("a");
    world.intent("a", Intent::Break { reason: "lunch".into() });
    assert!(world.ordered(leg, |action| matches!(action, Action::HangUp { .. })));
    assert_eq!((world.presence("a"), world.rung(1)), (&Presence::Break("lunch".into()), vec!["b".to_owned()]));
}

#[test]
fn a_break_asked_for_during_a_contact_takes_effect_at_its_end() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.answer("a");
    world.intent("a", Intent::Break { reason: "lunch".into() });
    world.arrive(2);
    assert_eq!(*world.presence("a"), Presence::Available);
    world.agent_hangs_up("a");
    assert_eq!((world.presence("a"), world.rung(2).len()), (&Presence::Break("lunch".into()), 0));
}

#[test]
fn wrap_up_gets_nothing_and_can_be_extended_finished_or_run_out() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.rules().wrap_up_ms = 10_000;
    world.publish();
    world.arrive(1);
    world.answer("a");
    world.agent_hangs_up("a");
    world.arrive(2);
    assert_eq!(world.intent("a", Intent::ExtendWrapUp { by_ms: 5_000 }), Outcome::Accepted);
    world.pass(14_999);
    assert!(world.rung(2).is_empty());
    world.pass(1);
    assert_eq!(world.rung(2), ["a"]);
    assert!(matches!(world.intent("a", Intent::FinishWrapUp), Outcome::Rejected(Reason::WrongState(_))));
}

#[test]
fn an_answer_after_the_call_moved_on_is_taken() {
    let mut world = World::new(Strategy::RingAll, &["a", "b"]);
    world.arrive(1);
    assert_eq!(world.rung(1), ["a", "b"]);
    let loser = world.leg_of("b");
    world.answer("a");
    assert!(world.ordered(loser, |action| matches!(action, Action::HangUp { .. })));
    let late = crate::core::command::LegEvent::Answered { dialog: Default::default(), sdp: Default::default() };
    assert_eq!(world.report(loser, late), Outcome::Rejected(Reason::Taken));
}

#[test]
fn a_stuck_agent_can_be_released_by_force() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.answer("a");
    assert_eq!(world.intent("a", Intent::ForceRelease), Outcome::Accepted);
    assert_eq!((world.agent("a").contacts.len(), world.closed[0].end_reason.as_str()), (0, "force_released"));
}

#[test]
fn a_registered_phone_is_rung_until_its_registration_runs_out() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.policy.agents.get_mut("a").expect("made by new").contact = None;
    world.publish();
    world.arrive(1);
    assert!(world.rung(1).is_empty(), "nobody can be reached");
    let binding = Binding {
        instance: "i1".into(),
        contact: "sip:a@10.0.0.9".into(),
        path: vec![],
        transport: Transport::Tcp,
        received: "10.0.0.9:5061".into(),
        flow: None,
        expires_s: 60,
    };
    world.apply(Command::Bind { domain: World::domain(), agent: "a".into(), binding });
    assert_eq!(world.rung(1), ["a"]);
    assert!(
        world.ordered(world.leg_of("a"), |action| matches!(action, Action::Ring(ring) if matches!(ring.target, Target::Binding { .. })))
    );
    world.caller_leaves(1);
    world.pass(60_000);
    world.arrive(2);
    assert!(world.rung(2).is_empty());
}
