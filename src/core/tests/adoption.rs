//! What becomes of calls whose edge dies, state by state; and of what the dead edge was still to say.

use super::world::{EDGE, World};
use crate::core::{
    Outcome, Reason,
    call::CallState,
    cdr::{AttemptResult, CallOutcome},
    command::{Command, HangUpCause, LegEvent, LegReport},
    effect::{Action, EventKind, Order},
    id::{Edge, LegId, NodeId},
    image::{CSEQ_JUMP, Image, Stage},
    party::{Dialog, Sdp},
    policy::Strategy,
};

const HEIR: Edge = Edge { node: NodeId(2), incarnation: 4 };
const NEXT: Edge = Edge { node: NodeId(3), incarnation: 1 };

fn dies(world: &mut World, edge: Edge, heirs: &[Edge]) {
    world.orders.clear();
    assert_eq!(world.apply(Command::EdgeLost { edge, heirs: heirs.to_vec() }), Outcome::Accepted);
}

fn caller(n: u64) -> LegId {
    LegId::caller(World::call(n))
}

/// The only order to a leg since the death.
fn order_to(world: &World, leg: LegId) -> Order {
    let orders: Vec<_> = world.orders.iter().filter(|order| order.leg == leg).collect();
    assert_eq!(orders.len(), 1, "{orders:?}");
    orders[0].clone()
}

fn image_of(order: &Order) -> &Image {
    order.image.as_deref().expect("a leg that changes hands is brought along")
}

fn dialog(tag: &str, local_cseq: u32) -> Dialog {
    Dialog { remote_tag: tag.to_owned(), local_cseq, ..Dialog::default() }
}

#[test]
fn a_waiting_call_keeps_its_place_and_its_caller_hears_from_the_heir() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    for n in 1..=4 {
        world.arrive(n);
    }
    let entered = |world: &World| world.state.domains()[&World::domain()].calls()[&World::call(3)].entered;
    let before = entered(&world);
    dies(&mut world, EDGE, &[HEIR]);
    let order = order_to(&world, caller(3));
    assert_eq!(order.edge, HEIR);
    assert!(matches!(order.action, Action::Queue { .. }));
    assert_eq!(image_of(&order).stage, Stage::Waiting);
    assert_eq!((entered(&world), world.closed.len()), (before, 0));
    assert!(world.events.contains(&EventKind::ContactAdopted));
}

#[test]
fn the_calls_of_a_dead_edge_are_spread_over_those_that_live() {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    for n in 1..=10 {
        world.arrive(n);
    }
    dies(&mut world, EDGE, &[HEIR, NEXT]);
    let on = |edge| world.state.domains()[&World::domain()].calls_on(edge).count();
    assert_eq!((on(HEIR), on(NEXT)), (5, 5));
}

#[test]
fn a_ringing_phone_is_let_go_and_the_call_offered_again_by_the_heir() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    let leg = world.leg_of("a");
    world.report(leg, LegEvent::Ringing { dialog: dialog("early", 1) });
    dies(&mut world, EDGE, &[HEIR]);
    let farewell = order_to(&world, leg);
    assert!(matches!(farewell.action, Action::HangUp { .. }) && farewell.edge == HEIR);
    let image = image_of(&farewell);
    assert!(matches!(image.stage, Stage::Ringing { ring: None, by: EDGE }), "{:?}", image.stage);
    assert_eq!((image.dialog.remote_tag.as_str(), image.dialog.local_cseq), ("early", 1), "a CANCEL repeats the INVITE's number");
    assert_eq!(world.rung(1), ["a"], "offered again in the same breath");
    assert_ne!(world.leg_of("a"), leg);
    assert_eq!((world.agent("a").offers.rescinded, world.agent("a").misses), (1, 0));
    world.answer("a");
    world.caller_leaves(1);
    let results: Vec<_> = world.closed[0].attempts.rows.iter().map(|attempt| attempt.result).collect();
    assert_eq!((results, world.closed[0].adoptions), (vec![AttemptResult::NodeLost, AttemptResult::Accepted], 1));
}

#[test]
fn a_phone_not_yet_heard_to_ring_is_let_go_by_what_it_was_called_with() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    let leg = world.leg_of("a");
    dies(&mut world, EDGE, &[HEIR]);
    let farewell = order_to(&world, leg);
    assert!(matches!(&image_of(&farewell).stage, Stage::Ringing { ring: Some(_), by: EDGE }));
}

#[test]
fn a_phone_busy_with_the_offer_of_a_dead_edge_is_asked_again_and_not_blamed() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.rules().misses.max = 1;
    world.publish();
    world.arrive(1);
    dies(&mut world, EDGE, &[HEIR]);
    world.refuse("a", 486);
    assert_eq!((world.agent("a").misses, world.agent("a").offers.busy, world.rung(1).len()), (0, 0, 0));
    world.pass(250);
    assert_eq!(world.rung(1), ["a"]);
    world.pass(3_000);
    world.refuse("a", 486);
    assert_eq!(world.agent("a").offers.busy, 1, "three seconds later it is busy for reasons of its own");
}

#[test]
fn a_talking_call_goes_on_with_both_parties_told() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    let leg = world.leg_of("a");
    let answered = LegEvent::Answered { dialog: dialog("phone", 7), sdp: Sdp::from(b"phone's".to_vec()) };
    assert_eq!(world.report(leg, answered), Outcome::Accepted);
    dies(&mut world, EDGE, &[HEIR]);
    let (to_caller, to_agent) = (order_to(&world, caller(1)), order_to(&world, leg));
    assert_eq!((&to_caller.action, &to_agent.action), (&Action::Resume, &Action::Resume));
    let (left, right) = (image_of(&to_caller), image_of(&to_agent));
    assert_eq!((left.peer, right.peer), (Some(leg), Some(caller(1))));
    assert_eq!((left.sdp.clone(), left.other.clone()), (right.other.clone(), right.sdp.clone()));
    assert_eq!(right.sdp, Some(Sdp::from(b"phone's".to_vec())));
    assert_eq!((left.dialog.local_cseq, right.dialog.local_cseq), (CSEQ_JUMP, 7 + CSEQ_JUMP));
    assert_eq!((&left.stage, &right.stage), (&Stage::Up { unconfirmed: true }, &Stage::Up { unconfirmed: false }));
    for party in [caller(1), leg] {
        assert_eq!(world.report(party, LegEvent::Adopted { dialog: dialog("now", 2_000) }), Outcome::Accepted);
    }
    assert!(world.state.open_orders().all(|order| order.image.is_none()), "what the heir has need not be brought again");
    world.agent_hangs_up("a");
    assert_eq!((world.closed[0].outcome, world.closed[0].end_reason.as_str()), (CallOutcome::Answered, "agent_hung_up"));
}

#[test]
fn after_half_a_minute_the_caller_is_known_to_have_our_answer() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.answer("a");
    world.pass(32_000);
    dies(&mut world, EDGE, &[HEIR]);
    assert_eq!(image_of(&order_to(&world, caller(1))).stage, Stage::Up { unconfirmed: false });
}

#[test]
fn a_held_call_stays_held() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.answer("a");
    let hold = LegEvent::Media { dialog: Dialog::default(), sdp: Sdp::from(b"a=sendonly".to_vec()), held: true };
    world.report(caller(1), hold);
    dies(&mut world, EDGE, &[HEIR]);
    let call = &world.state.domains()[&World::domain()].calls()[&World::call(1)];
    assert!(matches!(call.state, CallState::Connected { held: true, .. }));
    assert_eq!(image_of(&order_to(&world, caller(1))).sdp, Some(Sdp::from(b"a=sendonly".to_vec())));
}

#[test]
fn a_party_that_does_not_follow_ends_the_call_as_lost_with_the_node() {
    for by in ["caller", "agent"] {
        let mut world = World::new(Strategy::LongestIdle, &["a"]);
        world.arrive(1);
        world.answer("a");
        let leg = world.leg_of("a");
        dies(&mut world, EDGE, &[HEIR]);
        let leg = if by == "caller" { caller(1) } else { leg };
        world.report(leg, LegEvent::HungUp { cause: HangUpCause::NotAdopted });
        assert_eq!((world.closed[0].outcome, world.closed[0].end_reason.as_str()), (CallOutcome::NodeLost, "node_lost"));
        assert!(world.agent("a").contacts.is_empty());
    }
}

#[test]
fn an_heir_that_dies_before_it_had_the_legs_passes_them_on_whole() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.answer("a");
    let leg = world.leg_of("a");
    dies(&mut world, EDGE, &[HEIR]);
    dies(&mut world, HEIR, &[NEXT]);
    let (to_caller, to_agent) = (order_to(&world, caller(1)), order_to(&world, leg));
    assert_eq!((to_caller.edge, to_agent.edge), (NEXT, NEXT));
    assert_eq!(image_of(&to_caller).dialog.local_cseq, 2 * CSEQ_JUMP, "the second owner may have used numbers of the first jump");
    assert_eq!(image_of(&to_agent).adoptions, 2);
}

#[test]
fn what_a_dead_edge_was_still_to_say_is_said_by_the_heir() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.answer("a");
    let leg = world.leg_of("a");
    world.caller_leaves(1);
    dies(&mut world, EDGE, &[HEIR]);
    let farewell = order_to(&world, leg);
    assert!(matches!(farewell.action, Action::HangUp { .. }) && farewell.edge == HEIR);
    assert_eq!(image_of(&farewell).dialog.local_cseq, CSEQ_JUMP);
    assert_eq!(world.report(leg, LegEvent::Ended), Outcome::Accepted);
    assert_eq!(world.state.open_orders().count(), 0);
}

#[test]
fn an_unanswered_caller_refused_as_the_edge_died_is_refused_by_the_heir() {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    world.rules().max_wait_ms = 5_000;
    world.publish();
    world.arrive(1);
    world.pass(5_000);
    dies(&mut world, EDGE, &[HEIR]);
    let farewell = order_to(&world, caller(1));
    assert!(matches!(farewell.action, Action::Reject { status: 480, .. }));
    assert_eq!(image_of(&farewell).stage, Stage::Waiting);
}

#[test]
fn a_node_that_leaves_gives_its_calls_away_and_lets_go_of_them_but_not_those_that_ring() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    for n in 1..=3 {
        world.arrive(n);
    }
    world.answer("a");
    world.orders.clear();
    assert_eq!(world.apply(Command::HandOver { from: EDGE, heirs: vec![HEIR] }), Outcome::Accepted);
    let rows = &world.state.domains()[&World::domain()];
    let edges: Vec<_> = (1..=3).map(|n| rows.calls()[&World::call(n)].edge).collect();
    assert_eq!(edges, [HEIR, EDGE, HEIR], "call 2 rings");
    let released: Vec<_> =
        world.orders.iter().filter(|order| order.action == Action::Release).map(|order| (order.leg.call, order.edge)).collect();
    assert_eq!(released, [(World::call(1), EDGE), (World::call(1), EDGE), (World::call(3), EDGE)]);
    world.answer("b");
    assert_eq!(world.apply(Command::HandOver { from: EDGE, heirs: vec![EDGE, HEIR] }), Outcome::Accepted);
    assert_eq!(world.apply(Command::HandOver { from: EDGE, heirs: vec![HEIR] }), Outcome::Rejected(Reason::Stale), "nothing is left");
    assert_eq!(world.arrive(4), Outcome::Accepted, "it is not lost");
}

#[test]
fn the_dead_edge_is_not_heard_any_more() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    dies(&mut world, EDGE, &[HEIR]);
    let event = LegEvent::HungUp { cause: HangUpCause::Bye };
    let late = LegReport { domain: World::domain(), leg: caller(1), edge: EDGE, seq: 9, event };
    assert_eq!(world.apply(Command::Leg(Box::new(late))), Outcome::Rejected(Reason::Stale));
}

#[test]
fn an_heir_that_is_dead_itself_gets_nothing_and_the_call_waits_for_one_that_lives() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    dies(&mut world, HEIR, &[]);
    world.arrive(1);
    world.answer("a");
    let gone = world.leg_of("a");
    world.arrive(2);
    world.caller_leaves(1);
    world.orders.clear();
    let lost = |heirs: &[Edge]| Command::EdgeLost { edge: EDGE, heirs: heirs.to_vec() };
    assert!(matches!(world.apply(lost(&[HEIR])), Outcome::Rejected(Reason::NotReady(_))));
    assert_eq!((world.orders.len(), world.closed.len(), world.state.is_lost(EDGE)), (0, 1, false));
    // Its next life may be lost before that.
    dies(&mut world, Edge { incarnation: EDGE.incarnation + 1, ..EDGE }, &[HEIR, NEXT]);
    assert_eq!(world.closed.len(), 1, "the other call goes on");
    assert_eq!((order_to(&world, caller(2)).edge, order_to(&world, gone).edge), (NEXT, NEXT), "and the farewell is said");
}

#[test]
fn with_a_life_of_a_node_all_before_it_are_over_and_their_calls_and_farewells_change_hands() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    for n in 1..=3 {
        world.arrive(n);
    }
    world.answer("a");
    world.answer("b");
    let parted = world.leg_of("b");
    world.caller_leaves(2);
    dies(&mut world, Edge { incarnation: EDGE.incarnation + 1, ..EDGE }, &[HEIR]);
    let rows = &world.state.domains()[&World::domain()];
    assert_eq!((rows.calls_on(HEIR).count(), rows.calls_on(EDGE).count()), (2, 0));
    assert_eq!(order_to(&world, parted).edge, HEIR);
    assert_eq!(world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![HEIR] }), Outcome::Rejected(Reason::Stale));
}
