//! Supervisors: booked as they ring, in the plan as they answer, and nothing of them is the call's end.

use std::sync::Arc;

use super::world::{EDGE, World};
use crate::core::{
    Outcome, Reason,
    command::{Actor, Command, HangUpCause, Intent, LegEvent, TransferTo, Wish},
    effect::Action,
    id::{Edge, LegId, NodeId},
    image::Stage,
    matrix::{Hears, Mode, Plan},
    party::{Dialog, Sdp},
    policy::Strategy,
};

const HEIR: Edge = Edge { node: NodeId(2), incarnation: 4 };

/// Call 1 talks with `a`; `boss` is the only other agent.
fn talking() -> World {
    let mut world = World::new(Strategy::LongestIdle, &["a", "boss"]);
    world.intent("boss", Intent::Offline);
    world.arrive_as(1, |arrive| arrive.anchored = true);
    world.answer("a");
    world.orders.clear();
    world
}

fn supervise(world: &mut World, agent: &str, mode: Mode) -> Outcome {
    let wish = Wish::Supervise { agent: agent.into(), mode };
    world.apply(Command::Control { domain: World::domain(), call: World::call(1), wish, by: Actor::User("ops".into()) })
}

/// What is heard, by leg, in the last plan.
fn heard(world: &World) -> Vec<Vec<u16>> {
    let plans: Vec<Arc<Plan>> =
        world.orders.iter().filter_map(|order| if let Action::Media(plan) = &order.action { Some(plan.clone()) } else { None }).collect();
    let legs = |hears: &Hears| match hears {
        Hears::Legs(legs) => legs.clone(),
        Hears::Music(_) => panic!("nobody is held"),
    };
    plans.last().expect("a plan was ordered").legs.values().map(legs).collect()
}

#[test]
fn a_supervisor_is_rung_and_in_the_plan_when_it_answers_and_its_mode_changes_while_it_is_there() {
    let mut world = talking();
    assert_eq!(supervise(&mut world, "boss", Mode::Monitor), Outcome::Accepted);
    let leg = world.leg_of("boss");
    assert!(world.ordered(leg, |action| matches!(action, Action::Ring(ring) if ring.aside)));
    assert!(!world.orders.iter().any(|order| matches!(order.action, Action::Media(_))), "while it rings nothing changes");
    world.answer("boss");
    assert_eq!(heard(&world), [vec![1], vec![0], vec![0, 1]]);
    assert_eq!(supervise(&mut world, "boss", Mode::Monitor), Outcome::Duplicate);
    assert_eq!(supervise(&mut world, "boss", Mode::Whisper), Outcome::Accepted);
    assert_eq!(heard(&world), [vec![1], vec![0, 2], vec![0, 1]]);
    assert_eq!(supervise(&mut world, "boss", Mode::Barge), Outcome::Accepted);
    assert_eq!(heard(&world), [vec![1, 2], vec![0, 2], vec![0, 1]]);
}

#[test]
fn a_supervisor_who_leaves_touches_nothing_and_one_whose_call_ends_is_let_go() {
    let mut world = talking();
    supervise(&mut world, "boss", Mode::Barge);
    world.answer("boss");
    world.agent_hangs_up("boss");
    assert_eq!((heard(&world), world.closed.len()), (vec![vec![1], vec![0]], 0));
    assert!(world.agent("boss").contacts.is_empty() && world.agent("boss").wrap_up_until.is_none());
    supervise(&mut world, "boss", Mode::Monitor);
    world.answer("boss");
    let leg = world.leg_of("boss");
    world.caller_leaves(1);
    assert!(world.ordered(leg, |action| matches!(action, Action::HangUp { .. })));
    assert!(world.agent("boss").contacts.is_empty());
    assert_eq!((world.closed[0].attempts.rows.len(), world.agent("boss").offers.made), (1, 0), "it was no offer");
}

#[test]
fn a_supervisor_who_rings_is_booked_and_who_is_in_a_call_is_not_rung() {
    let mut world = talking();
    world.intent("boss", Intent::Available);
    supervise(&mut world, "boss", Mode::Monitor);
    world.arrive(2);
    assert!(world.rung(2).is_empty(), "the only agent who is left is booked");
    assert_eq!(supervise(&mut world, "a", Mode::Monitor), Outcome::Rejected(Reason::NotReady("a is a party of the call".into())));
    let leg = world.leg_of("boss");
    world.report(leg, LegEvent::Refused { status: 486, reason: String::new(), contacts: Vec::new() });
    assert_eq!(world.rung(2), ["boss"], "who is free again gets what waits");
    assert_eq!(supervise(&mut world, "boss", Mode::Monitor), Outcome::Rejected(Reason::NotReady("boss is in another call".into())));
    assert_eq!(supervise(&mut world, "nobody", Mode::Monitor), Outcome::Rejected(Reason::NoAgent("nobody".into())));
}

#[test]
fn a_phone_that_is_not_answered_is_let_go_without_a_penalty_and_a_break_leaves_it_ringing() {
    let mut world = talking();
    supervise(&mut world, "boss", Mode::Monitor);
    let leg = world.leg_of("boss");
    world.intent("boss", Intent::Break { reason: "tea".into() });
    assert!(!world.agent("boss").contacts.is_empty());
    world.pass(15_000);
    assert!(world.ordered(leg, |action| matches!(action, Action::HangUp { .. })));
    assert_eq!((world.agent("boss").contacts.len(), world.agent("boss").misses), (0, 0));
    supervise(&mut world, "boss", Mode::Monitor);
    world.intent("boss", Intent::ForceRelease);
    assert_eq!((world.agent("boss").contacts.len(), world.closed.len()), (0, 0));
}

#[test]
fn an_agent_supervises_nobody_and_a_waiting_call_has_nothing_to_hear() {
    let mut world = talking();
    let wish = || Wish::Supervise { agent: "boss".into(), mode: Mode::Monitor };
    let ask = |call, by| Command::Control { domain: World::domain(), call: World::call(call), wish: wish(), by };
    assert_eq!(world.apply(ask(1, Actor::Agent("a".into()))), Outcome::Rejected(Reason::NotYours));
    world.arrive_as(2, |arrive| arrive.anchored = true);
    assert_eq!(world.apply(ask(2, Actor::User("ops".into()))), Outcome::Rejected(Reason::WrongState("queued".into())));
}

#[test]
fn a_supervisor_who_listens_is_taken_over_with_the_call_and_one_who_rings_is_let_go() {
    let mut world = talking();
    supervise(&mut world, "boss", Mode::Whisper);
    let leg = world.leg_of("boss");
    world.report(leg, LegEvent::Answered { dialog: Dialog { remote_tag: "b".into(), ..Dialog::default() }, sdp: Sdp::default() });
    world.orders.clear();
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![HEIR] });
    let order = world.orders.iter().find(|order| order.leg == leg).expect("it is taken over");
    let image = order.image.as_ref().expect("brought along");
    assert_eq!((&order.action, &image.stage, image.peer), (&Action::Resume, &Stage::Up { unconfirmed: false }, None));
    assert_eq!(heard(&world), [vec![1], vec![0, 2], vec![0, 1]]);
    world.report(leg, LegEvent::HungUp { cause: HangUpCause::NotAdopted });
    assert_eq!(world.closed.len(), 0, "a supervisor who did not follow is no end of the call");
    supervise(&mut world, "boss", Mode::Monitor);
    let leg = world.leg_of("boss");
    world.orders.clear();
    let next = Edge { node: NodeId(3), incarnation: 1 };
    world.apply(Command::EdgeLost { edge: HEIR, heirs: vec![next] });
    let order = world.orders.iter().find(|order| order.leg == leg).expect("it is let go");
    assert!(matches!(order.action, Action::HangUp { .. }) && world.agent("boss").contacts.is_empty());
    assert!(world.ordered(LegId::caller(World::call(1)), |action| *action == Action::Resume));
}

#[test]
fn a_supervisor_freed_by_a_transfer_takes_the_call_that_is_first_in_order() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "boss"]);
    world.arrive_as(1, |arrive| (arrive.anchored, arrive.priority) = (true, Some(9)));
    world.answer("a");
    assert_eq!(supervise(&mut world, "boss", Mode::Monitor), Outcome::Accepted);
    world.answer("boss");
    world.arrive_as(2, |arrive| arrive.priority = Some(1));
    world.intent("a", Intent::Offline);
    let to = TransferTo::Queue("support".into());
    let by = Actor::User("ops".into());
    assert_eq!(world.apply(Command::Transfer { domain: World::domain(), call: World::call(1), to, by }), Outcome::Accepted);
    assert_eq!(world.leg_of("boss").call, World::call(2));
}
