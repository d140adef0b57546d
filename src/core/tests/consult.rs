//! An agent asks another one about its call: nobody is lost or booked twice, however it goes.

use super::{
    queue,
    world::{EDGE, World, agent},
};
use crate::core::{
    Outcome, Reason,
    call::{Call, CallState},
    cdr::{AttemptResult, CallOutcome},
    command::{Actor, Command, ConsultStep, HangUpCause, Intent, LegEvent, TransferTo},
    effect::{Action, EventKind},
    id::{Edge, LegId, NodeId},
    image::Stage,
    matrix::{Hears, Plan},
    party::{Dialog, Sdp},
    policy::Strategy,
};

const HEIR: Edge = Edge { node: NodeId(2), incarnation: 4 };

/// Agent `a` talks with call 1; `z` serves the queue `second` and is free.
fn world() -> World {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.rules().wrap_up_ms = 10_000;
    world.policy.queues.insert("second".into(), queue(Strategy::LongestIdle));
    world.policy.agents.insert("z".into(), agent(&[("second", 5)]));
    world.publish();
    world.arrive_as(1, |arrive| arrive.anchored = true);
    world.pass(1_000);
    world.answer("a");
    world.orders.clear();
    world
}

/// The same with `z` rung by `a`.
fn ringing() -> World {
    let mut world = world();
    assert_eq!(consult(&mut world, to_z()), Outcome::Accepted);
    world
}

/// The same with `a` and `z` talking.
fn asking() -> World {
    let mut world = ringing();
    world.pass(2_000);
    let leg = world.leg_of("z");
    let answered = LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::from(b"z's".to_vec()) };
    assert_eq!(world.report(leg, answered), Outcome::Accepted);
    world
}

fn to_z() -> TransferTo {
    TransferTo::Agent("z".into())
}

fn owner() -> Actor {
    Actor::Agent("a".into())
}

fn consult(world: &mut World, to: TransferTo) -> Outcome {
    world.apply(Command::Consult { domain: World::domain(), call: World::call(1), to, by: owner() })
}

fn step(world: &mut World, step: ConsultStep) -> Outcome {
    world.apply(Command::ConsultStep { domain: World::domain(), call: World::call(1), step, by: owner() })
}

fn row(world: &World) -> &Call {
    &world.state.domains()[&World::domain()].calls()[&World::call(1)]
}

fn caller() -> LegId {
    LegId::caller(World::call(1))
}

/// What the edge was last told of who hears whom.
fn plan(world: &World) -> Plan {
    let plans = world.orders.iter().rev().find_map(|order| match &order.action {
        Action::Media(plan) => Some(Plan::clone(plan)),
        _ => None,
    });
    plans.expect("a plan was ordered")
}

fn hears(world: &World, n: u16) -> Hears {
    plan(world).legs[&n].clone()
}

#[test]
fn while_another_agent_rings_the_caller_hears_music_and_the_agent_is_booked() {
    let mut world = ringing();
    assert_eq!(row(&world).state, CallState::Connected { leg: 1, held: true });
    assert_eq!((hears(&world, 0), hears(&world, 1)), (Hears::Music(None), Hears::Legs(vec![])));
    assert_eq!(world.agent("z").contacts.len(), 1);
    let leg = world.leg_of("z");
    assert!(world.ordered(leg, |action| matches!(action, Action::Ring(ring) if ring.aside)));
    world.policy.routes.insert("second".into(), crate::core::policy::Route { queue: "second".into(), priority: None, emergency: false });
    world.publish();
    world.arrive_as(2, |arrive| arrive.to_user = "second".into());
    assert!(world.rung(2).is_empty(), "nobody is booked twice");
}

#[test]
fn the_two_agents_talk_and_the_caller_still_waits() {
    let world = asking();
    assert_eq!((hears(&world, 0), hears(&world, 1), hears(&world, 2)), (Hears::Music(None), Hears::Legs(vec![2]), Hears::Legs(vec![1])));
    let domain = &world.state.domains()[&World::domain()];
    assert!(domain.is_talking(world.agent("z")) && domain.is_talking(world.agent("a")));
}

#[test]
fn completing_makes_the_other_agent_the_owner_and_releases_the_first() {
    let mut world = asking();
    let first = world.leg_of("a");
    assert_eq!(step(&mut world, ConsultStep::Complete), Outcome::Accepted);
    assert_eq!(row(&world).state, CallState::Connected { leg: 2, held: false });
    let joined = Action::Answer { peer: LegId { call: World::call(1), n: 2 }, sdp: Sdp::from(b"z's".to_vec()) };
    assert!(world.ordered(caller(), |action| *action == joined));
    assert!(world.ordered(first, |action| *action == Action::HangUp { cause: "transferred".into() }));
    assert!(plan(&world).is_plain());
    assert!(world.agent("a").wrap_up_until.is_some() && world.agent("a").contacts.is_empty());
    world.caller_leaves(1);
    let closed = &world.closed[0];
    let attempts: Vec<_> = closed.attempts.rows.iter().map(|row| (row.agent.as_str(), row.result)).collect();
    assert_eq!(attempts, [("a", AttemptResult::Accepted), ("z", AttemptResult::Accepted)]);
    let sent = &closed.transfers.rows[0];
    assert_eq!((sent.attended, sent.from.as_str(), &sent.to, closed.agent.as_ref().unwrap().as_str()), (true, "a", &to_z(), "z"));
}

#[test]
fn cancelling_brings_the_caller_back_to_its_agent() {
    for mut world in [ringing(), asking()] {
        let leg = world.leg_of("z");
        assert_eq!(step(&mut world, ConsultStep::Cancel), Outcome::Accepted);
        assert!(world.ordered(leg, |action| matches!(action, Action::HangUp { .. })));
        assert_eq!((row(&world).state, row(&world).consult.is_none()), (CallState::Connected { leg: 1, held: false }, true));
        assert!(plan(&world).is_plain() && world.agent("z").contacts.is_empty());
        assert_eq!(
            consult(&mut world, to_z()),
            if world.agent("z").wrap_up_until.is_some() {
                Outcome::Rejected(Reason::NotReady("agent z: in wrap-up".into()))
            } else {
                Outcome::Accepted
            }
        );
    }
}

#[test]
fn a_refusal_or_no_answer_brings_the_caller_back_and_rests_who_was_asked() {
    let mut world = ringing();
    world.refuse("z", 486);
    assert!(row(&world).consult.is_none() && world.agent("z").rest_until.is_some());
    assert_eq!(row(&world).attempts.rows[0].result, AttemptResult::Busy);
    let mut world = ringing();
    let leg = world.leg_of("z");
    world.pass(15_000);
    assert!(row(&world).consult.is_none() && plan(&world).is_plain());
    assert!(world.ordered(leg, |action| matches!(action, Action::HangUp { .. })));
    assert_eq!(world.agent("z").misses, 1);
}

#[test]
fn joining_lets_all_three_hear_each_other() {
    let mut world = asking();
    assert_eq!(step(&mut world, ConsultStep::Join), Outcome::Accepted);
    let all = [hears(&world, 0), hears(&world, 1), hears(&world, 2)];
    assert_eq!(all, [Hears::Legs(vec![1, 2]), Hears::Legs(vec![0, 2]), Hears::Legs(vec![0, 1])]);
    assert!(world.events.contains(&EventKind::ContactJoined));
    assert_eq!(step(&mut world, ConsultStep::Join), Outcome::Rejected(Reason::WrongState("joined already".into())));
    world.agent_hangs_up("z");
    assert!(plan(&world).is_plain(), "the two go on");
}

#[test]
fn the_caller_who_hangs_up_ends_it_all() {
    for mut world in [ringing(), asking()] {
        let legs = [world.leg_of("a"), world.leg_of("z")];
        world.caller_leaves(1);
        assert!(legs.iter().all(|leg| world.ordered(*leg, |action| matches!(action, Action::HangUp { .. }))));
        assert_eq!(world.closed[0].outcome, CallOutcome::Answered);
        assert!(world.agent("z").contacts.is_empty() && world.agent("a").contacts.is_empty());
    }
}

#[test]
fn the_first_agent_who_hangs_up_while_asking_hands_the_call_over() {
    let mut world = asking();
    world.agent_hangs_up("a");
    assert_eq!(row(&world).state, CallState::Connected { leg: 2, held: false });
    assert!(row(&world).talk.as_ref().expect("it talked").transfers.rows[0].attended);
}

#[test]
fn the_first_agent_who_hangs_up_while_it_rings_leaves_the_caller_at_the_head_of_the_queue() {
    let mut world = ringing();
    let (leg, entered) = (world.leg_of("z"), row(&world).entered);
    world.agent_hangs_up("a");
    assert!(world.ordered(leg, |action| matches!(action, Action::HangUp { .. })));
    assert_eq!((row(&world).state, row(&world).entered), (CallState::Queued, entered));
    assert!(world.ordered(caller(), |action| matches!(action, Action::Treat(_))));
}

#[test]
fn who_is_asked_may_hang_up_or_go_on_break() {
    let mut world = asking();
    world.agent_hangs_up("z");
    assert!(row(&world).consult.is_none());
    assert_eq!(row(&world).attempts.rows[0].result, AttemptResult::Consulted);
    let mut world = ringing();
    world.intent("z", Intent::Break { reason: "tea".into() });
    assert!(row(&world).consult.is_none() && world.agent("z").contacts.is_empty());
    let mut world = asking();
    world.intent("z", Intent::ForceRelease);
    assert!(row(&world).consult.is_none() && matches!(row(&world).state, CallState::Connected { .. }));
}

#[test]
fn a_queue_lends_whoever_is_free_in_it_and_says_when_nobody_is() {
    let mut world = world();
    assert_eq!(consult(&mut world, TransferTo::Queue("second".into())), Outcome::Accepted);
    assert_eq!(world.agent("z").contacts.len(), 1);
    let none = Reason::NotReady("nobody of queue support is free".into());
    step(&mut world, ConsultStep::Cancel);
    assert_eq!(consult(&mut world, TransferTo::Queue("support".into())), Outcome::Rejected(none));
}

#[test]
fn what_fits_no_consultation_is_refused_with_its_reason() {
    let mut world = world();
    let wrong = |words: &str| Outcome::Rejected(Reason::WrongState(words.into()));
    assert_eq!(step(&mut world, ConsultStep::Cancel), wrong("not in consultation"));
    consult(&mut world, to_z());
    assert_eq!(consult(&mut world, to_z()), wrong("in consultation"));
    assert_eq!(step(&mut world, ConsultStep::Complete), wrong("consultation: agent z has not answered"));
    let blind = Command::Transfer { domain: World::domain(), call: World::call(1), to: to_z(), by: owner() };
    assert_eq!(world.apply(blind), wrong("in consultation"));
    let by = Actor::Agent("z".into());
    let stranger = Command::ConsultStep { domain: World::domain(), call: World::call(1), step: ConsultStep::Cancel, by };
    assert_eq!(world.apply(stranger), Outcome::Rejected(Reason::NotYours));
    let mut direct = World::new(Strategy::LongestIdle, &["a", "z"]);
    direct.arrive(1);
    direct.answer("a");
    assert_eq!(consult(&mut direct, to_z()), Outcome::Rejected(Reason::NotAnchored));
}

#[test]
fn when_the_edge_dies_all_three_go_on_but_a_phone_that_rings_is_let_go() {
    let mut world = asking();
    world.orders.clear();
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![HEIR] });
    let resumed: Vec<_> = world.orders.iter().filter(|order| order.action == Action::Resume).collect();
    assert_eq!(resumed.iter().map(|order| (order.leg.n, order.edge)).collect::<Vec<_>>(), [(0, HEIR), (1, HEIR), (2, HEIR)]);
    let images: Vec<_> = resumed.iter().map(|order| order.image.as_ref().unwrap()).collect();
    assert_eq!((images[1].peer, images[2].peer, &images[2].stage), (Some(caller()), None, &Stage::Up { unconfirmed: false }));
    assert_eq!((hears(&world, 0), hears(&world, 1)), (Hears::Music(None), Hears::Legs(vec![2])));
    assert_eq!(step(&mut world, ConsultStep::Complete), Outcome::Accepted);
    let mut world = ringing();
    let leg = world.leg_of("z");
    world.orders.clear();
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![HEIR] });
    assert!(world.ordered(leg, |action| matches!(action, Action::HangUp { .. })));
    assert_eq!((row(&world).state, row(&world).consult.is_none()), (CallState::Connected { leg: 1, held: false }, true));
    assert_eq!((row(&world).attempts.rows[0].result, world.agent("z").misses), (AttemptResult::NodeLost, 0));
}

#[test]
fn a_node_that_leaves_keeps_a_call_whose_consultation_rings_until_it_does_not() {
    let mut world = ringing();
    let leaves = || Command::HandOver { from: EDGE, heirs: vec![HEIR] };
    assert_eq!(world.apply(leaves()), Outcome::Rejected(Reason::Stale));
    world.answer("z");
    assert_eq!(world.apply(leaves()), Outcome::Accepted);
    assert_eq!(row(&world).edge, HEIR);
}

#[test]
fn one_who_does_not_follow_to_the_heir_is_missing_and_the_others_go_on() {
    let gone = LegEvent::HungUp { cause: HangUpCause::NotAdopted };
    let mut world = asking();
    let (first, asked) = (world.leg_of("a"), world.leg_of("z"));
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![HEIR] });
    world.report(first, gone.clone());
    assert_eq!(row(&world).state, CallState::Connected { leg: 2, held: false });
    let mut world = asking();
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![HEIR] });
    world.report(asked, gone);
    assert_eq!(row(&world).state, CallState::Connected { leg: 1, held: false });
}
