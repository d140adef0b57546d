//! Hold, mute and recording: who hears whom by the plan, what is told, and what survives the edge.

use std::sync::Arc;

use super::world::{EDGE, World};
use crate::core::{
    Outcome, Reason,
    command::{Actor, Command, LegEvent, Record, Saved, Side, Wish},
    effect::{Action, EventKind, Order},
    id::{Edge, LegId, NodeId},
    matrix::{Hears, Plan, Taping},
    party::{Dialog, Sdp},
    policy::{Recording, Strategy},
    tape::TapeState,
};

const HEIR: Edge = Edge { node: NodeId(2), incarnation: 4 };

/// A caller that talks with agent `a`, through its edge.
fn talking() -> World {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.rules().treatment.music = Some("waltz".into());
    world.publish();
    world.arrive_as(1, |arrive| arrive.anchored = true);
    world.answer("a");
    world.orders.clear();
    world
}

fn by() -> Actor {
    Actor::User("ops".into())
}

fn wish(world: &mut World, wish: Wish, by: Actor) -> Outcome {
    world.apply(Command::Control { domain: World::domain(), call: World::call(1), wish, by })
}

fn plans(world: &World) -> Vec<(Edge, Arc<Plan>)> {
    let plan = |order: &Order| match &order.action {
        Action::Media(plan) => Some((order.edge, Arc::clone(plan))),
        _ => None,
    };
    world.orders.iter().filter_map(plan).collect()
}

fn last(world: &World) -> Arc<Plan> {
    plans(world).pop().expect("a plan was ordered").1
}

#[test]
fn two_parties_that_just_talk_cost_no_order() {
    let world = talking();
    assert_eq!(plans(&world), []);
}

#[test]
fn a_caller_on_hold_hears_the_queues_music_and_its_agent_hears_nobody_until_it_is_resumed() {
    let mut world = talking();
    world.now_ms += 1_000;
    assert_eq!(wish(&mut world, Wish::Hold(true), Actor::Agent("a".into())), Outcome::Accepted);
    let plan = last(&world);
    assert_eq!(plan.legs, [(0, Hears::Music(Some("waltz".into()))), (1, Hears::Legs(vec![]))].into());
    assert!(world.events.contains(&EventKind::ContactHeld));
    assert_eq!(wish(&mut world, Wish::Hold(true), by()), Outcome::Duplicate);
    world.now_ms += 2_500;
    assert_eq!(wish(&mut world, Wish::Hold(false), by()), Outcome::Accepted);
    assert!(last(&world).is_plain() && last(&world).version > plan.version);
    assert!(world.events.contains(&EventKind::ContactResumed));
    assert_eq!(plans(&world).len(), 2);
    world.caller_leaves(1);
    assert_eq!(world.closed[0].held_ms, 2_500);
}

#[test]
fn a_muted_party_is_heard_by_nobody_and_hears_as_before() {
    let mut world = talking();
    assert_eq!(wish(&mut world, Wish::Mute { party: Side::Agent, muted: true }, by()), Outcome::Accepted);
    assert_eq!(last(&world).legs, [(0, Hears::Legs(vec![])), (1, Hears::Legs(vec![0]))].into());
    assert_eq!(wish(&mut world, Wish::Mute { party: Side::Caller, muted: true }, by()), Outcome::Accepted);
    assert_eq!(last(&world).legs, [(0, Hears::Legs(vec![])), (1, Hears::Legs(vec![]))].into());
}

#[test]
fn what_a_phone_holds_only_that_phone_lets_go_and_both_kinds_of_hold_add_up() {
    let mut world = talking();
    let leg = world.leg_of("a");
    let media = |held| LegEvent::Media { dialog: Dialog::default(), sdp: Sdp::default(), held };
    world.report(leg, media(true));
    assert_eq!(wish(&mut world, Wish::Hold(false), by()), Outcome::Rejected(Reason::WrongState("held by a phone".into())));
    assert_eq!(plans(&world), [], "the phones said it to each other");
    wish(&mut world, Wish::Hold(true), by());
    world.report(leg, media(false));
    let state = |world: &World| world.state.domains()[&World::domain()].calls()[&World::call(1)].state.name();
    assert_eq!(state(&world), "held");
    wish(&mut world, Wish::Hold(false), by());
    assert_eq!(state(&world), "connected");
}

#[test]
fn another_agent_may_not_and_a_waiting_or_direct_call_cannot() {
    let mut world = talking();
    assert_eq!(wish(&mut world, Wish::Hold(true), Actor::Agent("b".into())), Outcome::Rejected(Reason::NotYours));
    world.arrive(2);
    world.answer("b");
    let direct = Command::Control { domain: World::domain(), call: World::call(2), wish: Wish::Hold(true), by: by() };
    assert_eq!(world.apply(direct), Outcome::Rejected(Reason::NotAnchored));
    world.arrive_as(3, |arrive| arrive.anchored = true);
    let waits = Command::Control { domain: World::domain(), call: World::call(3), wish: Wish::Hold(true), by: by() };
    assert_eq!(world.apply(waits), Outcome::Rejected(Reason::WrongState("queued".into())));
}

#[test]
fn a_new_edge_is_told_the_plan_after_the_legs_and_no_plan_where_there_is_none() {
    let mut world = talking();
    wish(&mut world, Wish::Hold(true), by());
    world.orders.clear();
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![HEIR] });
    let to_heir: Vec<_> = world.orders.iter().filter(|order| order.edge == HEIR).collect();
    assert!(matches!(to_heir.last().expect("orders").action, Action::Media(_)) && to_heir.len() == 3, "{to_heir:?}");
    assert_eq!(last(&world).legs[&0], Hears::Music(Some("waltz".into())));
    wish(&mut world, Wish::Hold(false), by());
    world.orders.clear();
    let next = Edge { node: NodeId(3), incarnation: 1 };
    world.apply(Command::EdgeLost { edge: HEIR, heirs: vec![next] });
    assert_eq!(plans(&world), [], "what is plain needs no word");
    assert!(world.ordered(LegId::caller(World::call(1)), |action| *action == Action::Resume));
}

fn tapes(world: &World) -> Vec<(u16, u32, u64, TapeState)> {
    let rows = &world.state.domains()[&World::domain()].calls()[&World::call(1)].tapes();
    rows.iter().map(|tape| (tape.leg, tape.part, tape.node.0, tape.state)).collect()
}

fn record(world: &mut World, record: Record) -> Outcome {
    wish(world, Wish::Record(record), by())
}

#[test]
fn a_recording_is_begun_masked_and_ended_and_its_files_are_in_the_record() {
    let mut world = talking();
    assert_eq!(record(&mut world, Record::Pause), Outcome::Rejected(Reason::WrongState("not recorded".into())));
    assert_eq!(record(&mut world, Record::Start), Outcome::Accepted);
    assert_eq!((last(&world).taping, &last(&world).taped[..]), (Taping::On { part: 1, masked: false }, &[0, 1][..]));
    world.now_ms += 1_000;
    record(&mut world, Record::Pause);
    world.now_ms += 500;
    assert_eq!(record(&mut world, Record::Pause), Outcome::Duplicate);
    record(&mut world, Record::Resume);
    world.now_ms += 500;
    record(&mut world, Record::Stop);
    assert!(last(&world).is_plain());
    let said = Command::Recorded {
        domain: World::domain(),
        leg: LegId::caller(World::call(1)),
        edge: EDGE,
        part: 1,
        saved: Some(Saved { ms: 1_990, masked: vec![(1_001, 1_499)] }),
    };
    assert_eq!(world.apply(said.clone()), Outcome::Accepted);
    assert_eq!(world.apply(said), Outcome::Rejected(Reason::Stale));
    world.caller_leaves(1);
    let rows: Vec<_> = world.closed[0].tapes.rows.iter().map(|tape| (tape.leg, tape.ms, tape.masked.clone(), tape.state)).collect();
    assert_eq!(rows, [(0, 1_990, vec![(1_001, 1_499)], TapeState::Saved), (1, 2_000, vec![(1_000, 1_500)], TapeState::Ended)]);
}

#[test]
fn a_queue_that_records_all_does_so_from_the_answer_on_and_no_agent_stops_it() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.rules().record = Recording::All;
    world.publish();
    world.arrive_as(1, |arrive| arrive.anchored = true);
    world.answer("a");
    assert_eq!(tapes(&world), [(0, 1, 1, TapeState::Open), (1, 1, 1, TapeState::Open)]);
    let agent = || Actor::Agent("a".into());
    assert!(matches!(wish(&mut world, Wish::Record(Record::Stop), agent()), Outcome::Rejected(Reason::WrongState(_))));
    assert_eq!(wish(&mut world, Wish::Record(Record::Pause), agent()), Outcome::Accepted);
    assert_eq!(record(&mut world, Record::Stop), Outcome::Accepted);
}

#[test]
fn a_direct_call_is_not_recorded_and_somebody_hears_so() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.rules().record = Recording::All;
    world.publish();
    world.arrive(1);
    world.answer("a");
    assert!(world.events.contains(&EventKind::ContactRecordFailed) && tapes(&world).is_empty());
}

#[test]
fn a_new_edge_records_on_in_the_next_part_masked_as_before() {
    let mut world = talking();
    record(&mut world, Record::Start);
    record(&mut world, Record::Pause);
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![HEIR] });
    assert_eq!(last(&world).taping, Taping::On { part: 2, masked: true });
    let (ended, open) = (TapeState::Ended, TapeState::Open);
    assert_eq!(tapes(&world), [(0, 1, 1, ended), (1, 1, 1, ended), (0, 2, 2, open), (1, 2, 2, open)]);
}

#[test]
fn a_file_that_cannot_be_written_is_an_event_and_not_the_end_of_the_call() {
    let mut world = talking();
    record(&mut world, Record::Start);
    let failed =
        |call| Command::Recorded { domain: World::domain(), leg: LegId::caller(World::call(call)), edge: EDGE, part: 1, saved: None };
    assert_eq!(world.apply(failed(1)), Outcome::Accepted);
    assert!(world.events.contains(&EventKind::ContactRecordFailed));
    assert_eq!(tapes(&world)[0].3, TapeState::Failed);
    world.caller_leaves(1);
    assert_eq!(world.apply(failed(1)), Outcome::Accepted, "what comes after the end is told, too");
    assert_eq!(world.apply(failed(2)), Outcome::Rejected(Reason::NoCall));
}
