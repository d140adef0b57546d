//! Agent assist: notes are taken for the person who has the call, end with the commit that ends that, and are erased with the caller.

use std::sync::Arc;

use super::world::{EDGE, World};
use crate::core::{
    Outcome, Reason,
    aid::{Aid, Hearing, NewNote, Note, NoteKind},
    call::Call,
    command::{Actor, Command, ConsultStep, LegEvent, Record, Side, TransferTo, Wish},
    effect::{Action, EventKind},
    id::{Edge, NodeId},
    party::{Dialog, Sdp},
    policy::Strategy,
    time::WallTime,
};

const NOBODY: [u16; 0] = [];

/// Agents `a` and `b` of `support`, assisted with all there is; `a` talks with call 1.
fn world() -> World {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    let aid = Aid { suggest: true, agents: true, language: "en".into(), knowledge: "shop".into() };
    world.rules().aid = Some(Arc::new(aid));
    world.publish();
    world.arrive_as(1, |arrive| arrive.anchored = true);
    world.answer("a");
    world
}

fn row(world: &World) -> &Call {
    &world.state.domains()[&World::domain()].calls()[&World::call(1)]
}

/// What the edge was last told to write down.
fn hearing(world: &World) -> Option<Hearing> {
    let plans = world.orders.iter().rev().filter_map(|order| match &order.action {
        Action::Media(plan) => Some(plan),
        _ => None,
    });
    plans.take(1).find_map(|plan| plan.hearing.as_deref().cloned())
}

fn new(owner: u16, seq: u64, kind: NoteKind) -> NewNote {
    let note = Note { n: 0, owner, kind, at: WallTime(5), text: "my parcel is late".into(), source: String::new() };
    NewNote { domain: World::domain(), call: World::call(1), edge: EDGE, seq, note }
}

fn note(world: &mut World, owner: u16, seq: u64, kind: NoteKind) -> Outcome {
    world.apply(Command::Note(Box::new(new(owner, seq, kind))))
}

fn control(world: &mut World, wish: Wish) {
    let by = Actor::Agent("a".into());
    assert_eq!(world.apply(Command::Control { domain: World::domain(), call: World::call(1), wish, by }), Outcome::Accepted);
}

fn noted(world: &World, owner: u16) -> usize {
    row(world).notes().map_or(0, |notes| notes.of(owner, 0).count())
}

#[test]
fn the_edge_of_an_answered_call_is_told_whose_words_to_write_down_and_for_whom() {
    let mut world = world();
    let told = hearing(&world).expect("a plan");
    assert_eq!((told.owner, &told.legs[..], told.aid.knowledge.as_str()), (1, &[0, 1][..], "shop"));
    Arc::make_mut(world.rules().aid.as_mut().expect("set above")).agents = false;
    world.publish();
    control(&mut world, Wish::Mute { party: Side::Agent, muted: true });
    assert_eq!(hearing(&world).map(|told| told.legs), Some(vec![0]), "agents only where their queue says so");
}

#[test]
fn without_a_word_in_its_rules_nothing_is_written_down() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive_as(1, |arrive| arrive.anchored = true);
    world.answer("a");
    assert_eq!(hearing(&world), None);
    assert!(matches!(note(&mut world, 1, 1, NoteKind::Customer), Outcome::Rejected(Reason::WrongState(_))));
}

#[test]
fn nobody_is_listened_to_on_hold_muted_or_while_a_recording_is_paused() {
    let mut world = world();
    let legs = |world: &World| hearing(world).expect("a plan").legs;
    control(&mut world, Wish::Hold(true));
    assert_eq!(legs(&world), NOBODY);
    control(&mut world, Wish::Hold(false));
    for (holds, heard) in [(true, &NOBODY[..]), (false, &[0, 1])] {
        // The agent's own phone.
        let leg = world.leg_of("a");
        world.report(leg, LegEvent::Media { dialog: Dialog::default(), sdp: Sdp::default(), held: holds });
        assert_eq!(legs(&world), heard);
    }
    control(&mut world, Wish::Mute { party: Side::Caller, muted: true });
    assert_eq!(legs(&world), [1]);
    control(&mut world, Wish::Mute { party: Side::Caller, muted: false });
    control(&mut world, Wish::Record(Record::Start));
    assert_eq!(legs(&world), [0, 1]);
    control(&mut world, Wish::Record(Record::Pause));
    assert_eq!(legs(&world), NOBODY, "such as a card number");
    control(&mut world, Wish::Record(Record::Resume));
    assert_eq!(legs(&world), [0, 1]);
}

#[test]
fn a_note_is_taken_once_and_numbered_and_events_do_not_tell_what_it_says() {
    let mut world = world();
    assert_eq!(note(&mut world, 1, 2, NoteKind::Customer), Outcome::Accepted);
    assert_eq!(note(&mut world, 1, 2, NoteKind::Customer), Outcome::Duplicate);
    assert_eq!(note(&mut world, 1, 3, NoteKind::Suggestion), Outcome::Accepted);
    assert_eq!(note(&mut world, 1, 4, NoteKind::Agent), Outcome::Accepted);
    let numbers: Vec<_> = row(&world).notes().expect("notes").of(1, 0).map(|note| (note.n, note.kind)).collect();
    assert_eq!(numbers, [(1, NoteKind::Customer), (2, NoteKind::Suggestion), (3, NoteKind::Agent)]);
    assert_eq!(world.events.iter().filter(|kind| **kind == EventKind::ContactNoted).count(), 3);
}

#[test]
fn what_its_rules_do_not_want_any_more_is_refused() {
    let mut world = world();
    world.rules().aid = Some(Arc::default());
    world.publish();
    assert_eq!(note(&mut world, 1, 1, NoteKind::Customer), Outcome::Accepted);
    for kind in [NoteKind::Agent, NoteKind::Suggestion] {
        assert!(matches!(note(&mut world, 1, 2, kind), Outcome::Rejected(Reason::WrongState(_))), "{kind:?}");
    }
}

#[test]
fn a_transfer_fences_whoever_had_the_call_and_the_next_owner_gets_its_own() {
    let mut world = world();
    note(&mut world, 1, 1, NoteKind::Customer);
    let to = TransferTo::Agent("b".into());
    world.apply(Command::Transfer { domain: World::domain(), call: World::call(1), to, by: Actor::Agent("a".into()) });
    assert_eq!(note(&mut world, 1, 2, NoteKind::Customer), Outcome::Rejected(Reason::NotYours), "it waits, and nobody has it");
    assert_eq!(note(&mut world, 2, 3, NoteKind::Customer), Outcome::Rejected(Reason::NotYours), "`b` is only rung");
    world.answer("b");
    assert_eq!(note(&mut world, 1, 4, NoteKind::Customer), Outcome::Rejected(Reason::NotYours));
    assert_eq!(hearing(&world).map(|told| told.owner), Some(2));
    assert_eq!(note(&mut world, 2, 5, NoteKind::Customer), Outcome::Accepted);
    assert_eq!((noted(&world, 1), noted(&world, 2)), (1, 1));
    // Who has it again has it on another leg.
    world.apply(Command::Transfer {
        domain: World::domain(),
        call: World::call(1),
        to: TransferTo::Agent("a".into()),
        by: Actor::Agent("b".into()),
    });
    world.answer("a");
    assert_eq!(note(&mut world, 1, 6, NoteKind::Customer), Outcome::Rejected(Reason::NotYours));
    assert_eq!(note(&mut world, 3, 7, NoteKind::Customer), Outcome::Accepted);
}

#[test]
fn a_consultation_is_not_written_down_and_its_end_may_change_the_owner() {
    let mut world = world();
    let step = |world: &mut World, step| {
        world.apply(Command::ConsultStep { domain: World::domain(), call: World::call(1), step, by: Actor::Agent("a".into()) })
    };
    let to = TransferTo::Agent("b".into());
    world.apply(Command::Consult { domain: World::domain(), call: World::call(1), to, by: Actor::Agent("a".into()) });
    world.answer("b");
    assert_eq!(hearing(&world).map(|told| (told.owner, told.legs)), Some((1, vec![])));
    step(&mut world, ConsultStep::Complete);
    assert_eq!(hearing(&world).map(|told| (told.owner, told.legs)), Some((2, vec![0, 2])));
    assert_eq!(note(&mut world, 1, 1, NoteKind::Customer), Outcome::Rejected(Reason::NotYours));
}

#[test]
fn another_edge_goes_on_and_the_dead_one_is_not_believed() {
    let mut world = world();
    note(&mut world, 1, 8, NoteKind::Customer);
    let heir = Edge { node: NodeId(2), incarnation: 1 };
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![heir] });
    assert_eq!(note(&mut world, 1, 9, NoteKind::Customer), Outcome::Rejected(Reason::Stale));
    assert!(world.orders.iter().any(|order| order.edge == heir && matches!(&order.action, Action::Media(plan) if plan.hearing.is_some())));
    let first = NewNote { edge: heir, ..new(1, 1, NoteKind::Customer) };
    assert_eq!(world.apply(Command::Note(Box::new(first))), Outcome::Accepted, "it counts from its own beginning");
}

#[test]
fn the_record_keeps_notes_until_the_caller_is_erased() {
    let mut world = world();
    note(&mut world, 1, 1, NoteKind::Customer);
    world.caller_leaves(1);
    assert_eq!(note(&mut world, 1, 2, NoteKind::Customer), Outcome::Rejected(Reason::NoCall));
    let record = world.closed.pop().expect("a record");
    let notes = |world: &World| {
        let keys = world.state.domains()[&World::domain()].keys();
        keys.open_notes(&record.caller, record.call_id, &record.notes).map(|notes| notes.rows.len())
    };
    assert_eq!(notes(&world), Some(1));
    assert!(!record.notes.windows(6).any(|bytes| bytes == b"parcel"));
    world.apply(Command::Erase { domain: World::domain(), subject: "5551000".into() });
    assert_eq!(notes(&world), None);
    world.arrive(2);
    world.answer("a");
    world.caller_leaves(2);
    assert_eq!(world.closed.pop().map(|record| record.notes), Some(Vec::new()), "nothing was said, nothing is kept");
}
