//! What a waiting caller is told and hears: when it is answered, greeted, told its place, and what that changes.

use super::world::{EDGE, World};
use crate::core::{
    Outcome,
    cdr::CallOutcome,
    command::{Command, HangUpCause, LegEvent},
    effect::{Action, Treat},
    id::{Edge, LegId, NodeId},
    image::Stage,
    policy::{AdoptUnanswered, Fallback, Strategy, Treatment},
};

const HEIR: Edge = Edge { node: NodeId(2), incarnation: 4 };

fn caller(n: u64) -> LegId {
    LegId::caller(World::call(n))
}

/// A queue that answers those who wait, without agents.
fn answering(change: impl FnOnce(&mut Treatment)) -> World {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    let mut treatment = Treatment { answer_waiting: true, ..Treatment::default() };
    change(&mut treatment);
    world.rules().treatment = treatment;
    world.publish();
    world
}

fn anchored(world: &mut World, n: u64) {
    assert_eq!(world.arrive_as(n, |arrive| arrive.anchored = true), Outcome::Accepted);
}

/// What a caller was told to hear, in order.
fn heard(world: &World, n: u64) -> Vec<Treat> {
    let treat = |action: &Action| match action {
        Action::Treat(treat) => Some((**treat).clone()),
        _ => None,
    };
    world.orders.iter().filter(|order| order.leg == caller(n)).filter_map(|order| treat(&order.action)).collect()
}

#[test]
fn a_queue_answers_those_who_wait_only_if_it_is_told_to_and_carries_their_media() {
    let mut world = answering(|_| {});
    anchored(&mut world, 1);
    world.arrive(2);
    world.arrive_as(3, |arrive| (arrive.anchored, arrive.sdp) = (true, None));
    assert_eq!(heard(&world, 1), [Treat { greeting: None, position: None, music: None }]);
    for n in [2, 3] {
        assert!(heard(&world, n).is_empty() && world.ordered(caller(n), |action| matches!(action, Action::Queue { .. })), "call {n}");
    }
    let mut silent = answering(|treatment| treatment.answer_waiting = false);
    anchored(&mut silent, 1);
    assert!(heard(&silent, 1).is_empty());
}

#[test]
fn a_caller_is_greeted_once_and_told_its_place_as_it_moves_up() {
    let mut world = answering(|treatment| {
        (treatment.greeting, treatment.music) = (Some("welcome".into()), Some("waltz".into()));
        treatment.announce_every_ms = 20_000;
    });
    anchored(&mut world, 1);
    anchored(&mut world, 2);
    world.pass(10_000);
    world.report(caller(1), LegEvent::HungUp { cause: HangUpCause::Bye });
    world.pass(10_000);
    let rows: Vec<_> = heard(&world, 2).into_iter().map(|treat| (treat.greeting, treat.position, treat.music)).collect();
    let music = || Some("waltz".to_owned());
    assert_eq!(rows, [(Some("welcome".into()), Some(2), music()), (None, Some(1), music())]);
    assert_eq!((world.closed[0].outcome, world.closed[0].answered), (CallOutcome::Abandoned, None), "treatment is no answer");
}

#[test]
fn a_treated_caller_hears_no_ringing_and_is_ended_by_a_bye() {
    let mut world = answering(|_| {});
    anchored(&mut world, 1);
    world.policy.agents.insert("a".into(), super::world::agent(&[("support", 5)]));
    world.publish();
    let leg = world.leg_of("a");
    world.report(leg, LegEvent::Ringing { dialog: Default::default() });
    assert!(!world.ordered(caller(1), |action| matches!(action, Action::Ringing)));
    world.refuse("a", 603);
    assert_eq!(heard(&world, 1).len(), 1, "the music goes on");
    world.apply(Command::HangUp { domain: World::domain(), call: World::call(1), by: crate::core::command::Actor::System });
    assert!(world.ordered(caller(1), |action| matches!(action, Action::HangUp { .. })));
}

#[test]
fn a_caller_without_an_answer_for_too_long_is_answered_or_sent_on() {
    let mut world = answering(|treatment| treatment.answer_waiting = false);
    (world.rules().max_unanswered_ms, world.rules().max_wait_ms) = (150_000, 600_000);
    world.rules().on_max_wait = Fallback::Reject { status: 480 };
    world.publish();
    anchored(&mut world, 1);
    world.arrive(2);
    world.pass(150_000);
    assert_eq!((heard(&world, 1).len(), world.closed.len()), (1, 1), "what cannot be answered cannot wait on");
    world.pass(449_999);
    assert_eq!(world.closed.len(), 1);
    world.pass(1);
    assert_eq!(world.closed.len(), 2, "the longest wait holds for both");
}

#[test]
fn a_waiting_caller_whose_edge_died_is_answered_by_the_heir_unless_the_domain_keeps_it() {
    for (rule, answers) in [(AdoptUnanswered::Answer, true), (AdoptUnanswered::Keep, false)] {
        let mut world = answering(|treatment| treatment.answer_waiting = false);
        world.policy.adopt_unanswered = rule;
        world.publish();
        anchored(&mut world, 1);
        world.orders.clear();
        world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![HEIR] });
        assert_eq!(heard(&world, 1).len(), usize::from(answers));
        let order = world.orders.iter().find(|order| order.leg == caller(1)).expect("the heir says something");
        assert_eq!(order.image.as_ref().expect("brought along").stage, Stage::Waiting);
    }
}

#[test]
fn a_treated_caller_whose_edge_died_goes_on_hearing_treatment() {
    let mut world = answering(|treatment| treatment.greeting = Some("welcome".into()));
    anchored(&mut world, 1);
    world.pass(40_000);
    world.orders.clear();
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![HEIR] });
    let order = world.orders.iter().find(|order| order.leg == caller(1)).expect("the heir says something");
    assert!(matches!(&order.action, Action::Treat(treat) if treat.greeting.is_none()), "it was greeted before");
    assert_eq!(order.image.as_ref().expect("brought along").stage, Stage::Up { unconfirmed: false });
}
