//! A call is sent on to a number outside: only where its tenant lets it, and it comes back when nobody answers there.

use super::world::{EDGE, World, trunk_out};
use crate::core::{
    Outcome, Reason,
    call::Call,
    cdr::{AttemptResult, CallOutcome, Dialled},
    command::{Actor, Command, HangUpCause, Intent, LegEvent, TransferTo},
    effect::{Action, EventKind},
    id::{Edge, LegId, NodeId},
    image::Stage,
    party::{Dialog, Sdp, Target},
    policy::{Outside, Strategy},
    privacy::Keys,
};

const NUMBER: &str = "+4930123456";
const HEIR: Edge = Edge { node: NodeId(2), incarnation: 4 };

/// Agents `a` and `b`, a trunk that leads out, and numbers in Berlin that calls may be sent to for 20 s; `a` talks with call 1,
/// answered at 3 s.
fn world() -> World {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.policy.trunks.insert("out".into(), trunk_out(&[]));
    world.policy.outside = Outside { numbers: vec!["+4930".into()], ring_ms: 20_000 };
    world.rules().wrap_up_ms = 10_000;
    world.publish();
    world.arrive_as(1, |arrive| arrive.anchored = true);
    world.pass(3_000);
    world.answer("a");
    world.orders.clear();
    world
}

/// The same, sent on to the number.
fn forwarding() -> World {
    let mut world = world();
    assert_eq!(send(&mut world, NUMBER, Actor::Agent("a".into())), Outcome::Accepted);
    world
}

/// The same, and the number has answered.
fn forwarded() -> World {
    let mut world = forwarding();
    world.pass(5_000);
    assert_eq!(line_says(&mut world, answered()), Outcome::Accepted);
    world
}

fn send(world: &mut World, number: &str, by: Actor) -> Outcome {
    world.apply(Command::Transfer { domain: World::domain(), call: World::call(1), to: TransferTo::Number(number.into()), by })
}

fn caller() -> LegId {
    LegId::caller(World::call(1))
}

fn row(world: &World) -> &Call {
    &world.state.domains()[&World::domain()].calls()[&World::call(1)]
}

fn state(world: &World) -> &'static str {
    row(world).state.name()
}

/// The leg of the number.
fn line(world: &World) -> LegId {
    row(world).leg_id(row(world).line().expect("the number is called").n)
}

fn line_says(world: &mut World, event: LegEvent) -> Outcome {
    let leg = line(world);
    world.report(leg, event)
}

fn answered() -> LegEvent {
    LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::from(b"v=0 number".to_vec()) }
}

fn refused(status: u16) -> LegEvent {
    LegEvent::Refused { status, reason: String::new(), contacts: Vec::new() }
}

fn hung_up() -> LegEvent {
    LegEvent::HungUp { cause: HangUpCause::Bye }
}

fn dials(world: &World) -> usize {
    world.orders.iter().filter(|order| matches!(&order.action, Action::Ring(ring) if matches!(ring.target, Target::Trunk { .. }))).count()
}

fn dialled(world: &World) -> &Dialled {
    world.closed[0].transfers.rows[0].outside.as_deref().expect("it went outside")
}

fn lose(world: &mut World, edge: Edge, heirs: &[Edge]) {
    assert_eq!(world.apply(Command::EdgeLost { edge, heirs: heirs.to_vec() }), Outcome::Accepted);
}

#[test]
fn the_agent_is_free_at_once_and_the_caller_hears_music_while_the_number_rings() {
    let mut world = world();
    let leg = world.leg_of("a");
    send(&mut world, NUMBER, Actor::Agent("a".into()));
    assert_eq!(state(&world), "forwarding");
    assert!(world.agent("a").contacts.is_empty() && world.agent("a").wrap_up_until.is_some());
    assert!(world.ordered(leg, |action| *action == Action::HangUp { cause: "transferred".into() }));
    assert!(world.ordered(caller(), |action| matches!(action, Action::Treat(_))));
    let number = line(&world);
    let rings = |action: &Action| {
        let Action::Ring(ring) = action else { return false };
        let out = Target::Trunk { trunk: "out".into(), number: NUMBER.into() };
        ring.target == out && ring.caller.user == "5551000" && ring.sdp.is_some() && !ring.aside
    };
    assert!(world.ordered(number, rings));
    assert!(world.events.contains(&EventKind::ContactTransferred));
}

#[test]
fn who_answers_there_talks_with_the_caller_until_one_of_them_hangs_up() {
    for (by, reason) in [(false, "caller_hung_up"), (true, "number_hung_up")] {
        let mut world = forwarded();
        let number = line(&world);
        assert_eq!(state(&world), "forwarded");
        assert!(world.ordered(caller(), |action| matches!(action, Action::Answer { peer, .. } if *peer == number)));
        world.pass(60_000);
        let leg = if by { number } else { caller() };
        world.report(leg, hung_up());
        let closed = &world.closed[0];
        assert_eq!((closed.outcome, closed.end_reason.as_str()), (CallOutcome::Answered, reason));
        assert_eq!(closed.agent.as_ref().map(|agent| agent.as_str()), Some("a"), "the last who answered of the tenant's");
        let other = if by { caller() } else { number };
        assert!(world.ordered(other, |action| matches!(action, Action::HangUp { .. })));
        let dialled = dialled(&world);
        assert_eq!((dialled.result, dialled.answered.unwrap().time.0), (Some(AttemptResult::Accepted), 8_000_000_000));
        assert_eq!(dialled.ended, Some(closed.ended));
    }
}

#[test]
fn a_number_that_does_not_answer_gives_the_call_back_to_its_queue_at_its_own_age() {
    let mut world = world();
    let entered = row(&world).entered;
    world.intent("b", Intent::Break { reason: "lunch".into() });
    send(&mut world, NUMBER, Actor::Agent("a".into()));
    world.intent("a", Intent::Break { reason: "lunch".into() });
    let number = line(&world);
    line_says(&mut world, LegEvent::Ringing { dialog: Dialog::default() });
    world.pass(19_999);
    assert_eq!(state(&world), "forwarding");
    world.pass(1);
    assert!(world.ordered(number, |action| *action == Action::HangUp { cause: "timeout".into() }));
    let call = row(&world);
    assert_eq!((state(&world), call.queue.as_str(), call.entered), ("queued", "support", entered));
    assert!(world.events.contains(&EventKind::ContactForwardFailed));
    world.arrive(2);
    world.intent("b", Intent::Available);
    assert_eq!((world.rung(1), world.rung(2).len()), (vec!["b".to_owned()], 0), "before those who came later");
    world.answer("b");
    world.caller_leaves(1);
    assert_eq!((dialled(&world).result, dialled(&world).answered), (Some(AttemptResult::Timeout), None));
    assert_eq!(world.closed[0].agent.as_ref().map(|agent| agent.as_str()), Some("b"));
}

#[test]
fn a_number_that_refuses_or_cannot_be_reached_gives_the_call_back_at_once() {
    for (event, result) in [
        (refused(486), AttemptResult::Busy),
        (refused(603), AttemptResult::Rejected { status: 603 }),
        (refused(404), AttemptResult::Unreachable { status: 404 }),
        (LegEvent::Unreachable { status: 503 }, AttemptResult::Unreachable { status: 503 }),
        (hung_up(), AttemptResult::Unreachable { status: 0 }),
    ] {
        let mut world = forwarding();
        let number = line(&world);
        line_says(&mut world, event);
        assert_eq!(world.rung(1), ["b"], "{result:?}");
        assert!(!world.ordered(number, |action| matches!(action, Action::HangUp { .. })), "there is nobody to hang up");
        world.caller_leaves(1);
        assert_eq!(dialled(&world).result, Some(result));
    }
}

#[test]
fn a_caller_who_gives_up_takes_the_number_along() {
    let mut world = forwarding();
    let number = line(&world);
    world.caller_leaves(1);
    assert!(world.ordered(number, |action| matches!(action, Action::HangUp { .. })));
    let closed = &world.closed[0];
    assert_eq!((closed.outcome, closed.end_reason.as_str()), (CallOutcome::Answered, "caller_left"));
    assert_eq!(dialled(&world).result, Some(AttemptResult::Rescinded));
    assert_eq!(world.state.domains()[&World::domain()].queues()["support"].abandoned, 0, "its queue had answered it");
}

#[test]
fn no_number_is_called_that_the_tenant_does_not_name() {
    let mut world = world();
    let by = || Actor::User("sup".into());
    assert_eq!(send(&mut world, "+49900123456", by()), Outcome::Rejected(Reason::NumberBarred));
    assert!(matches!(send(&mut world, "sip:x@y", by()), Outcome::Rejected(Reason::Invalid(_))));
    assert_eq!(send(&mut world, NUMBER, Actor::Agent("b".into())), Outcome::Rejected(Reason::NotYours));
    world.policy.outside = Outside::default();
    world.publish();
    assert_eq!(send(&mut world, NUMBER, by()), Outcome::Rejected(Reason::NumberBarred), "none by default");
    world.policy.outside.numbers = vec!["+".into()];
    world.policy.trunks.clear();
    world.publish();
    assert_eq!(send(&mut world, NUMBER, by()), Outcome::Rejected(Reason::NoRoute(NUMBER.into())));
    assert!(state(&world) == "connected" && world.orders.is_empty());
}

#[test]
fn a_call_whose_audio_passes_by_is_not_sent_outside() {
    let mut world = world();
    world.caller_leaves(1);
    world.pass(10_000);
    world.arrive(2);
    world.answer("b");
    let to = TransferTo::Number(NUMBER.into());
    let sent = Command::Transfer { domain: World::domain(), call: World::call(2), to, by: Actor::System };
    assert_eq!(world.apply(sent), Outcome::Rejected(Reason::NotAnchored));
}

#[test]
fn a_phone_refers_to_a_number_as_it_would_dial_it() {
    let mut world = world();
    let leg = world.leg_of("a");
    let refer = |user: &str| Command::Refer { domain: World::domain(), leg, edge: EDGE, user: user.into() };
    assert_eq!(world.apply(refer("+4420123456")), Outcome::Rejected(Reason::NumberBarred));
    assert_eq!(world.apply(refer(NUMBER)), Outcome::Accepted);
    assert_eq!((state(&world), dials(&world)), ("forwarding", 1));
}

#[test]
fn nobody_does_anything_with_a_call_that_is_outside_but_end_it() {
    for mut world in [forwarding(), forwarded()] {
        let name = Reason::WrongState(state(&world).to_owned());
        assert_eq!(send(&mut world, NUMBER, Actor::User("sup".into())), Outcome::Rejected(name));
        world.apply(Command::HangUp { domain: World::domain(), call: World::call(1), by: Actor::User("sup".into()) });
        assert_eq!(world.closed[0].end_reason, "operator_hung_up");
    }
}

#[test]
fn a_call_outside_ends_at_the_latest_when_any_call_does() {
    let mut world = forwarded();
    world.pass(crate::core::limits::CALL_MS_MAX);
    assert_eq!(world.closed[0].end_reason, "too_long");
}

#[test]
fn a_number_that_rings_as_its_node_dies_is_let_go_and_called_again() {
    let mut world = forwarding();
    let first = line(&world);
    world.orders.clear();
    lose(&mut world, EDGE, &[HEIR]);
    let told = world.orders.iter().find(|order| order.leg == first).expect("somebody may still be rung");
    let stage = &told.image.as_ref().expect("the heir does not know the leg").stage;
    assert!(told.edge == HEIR && matches!(stage, Stage::Ringing { ring: Some(_), by } if *by == EDGE));
    let heard = world.orders.iter().find(|order| order.leg == caller()).expect("the caller hears music from the heir");
    assert!(heard.edge == HEIR && matches!(heard.action, Action::Treat(_)) && heard.image.is_some());
    assert_eq!((state(&world), dials(&world)), ("forwarding", 0));
    world.pass(5_000);
    assert_eq!(dials(&world), 1);
    assert_ne!(line(&world), first);
    line_says(&mut world, answered());
    world.caller_leaves(1);
    assert_eq!(dialled(&world).result, Some(AttemptResult::Accepted));
}

#[test]
fn a_number_that_is_barred_meanwhile_is_not_called_again() {
    let mut world = forwarding();
    lose(&mut world, EDGE, &[HEIR]);
    world.policy.outside = Outside::default();
    world.publish();
    world.pass(5_000);
    assert_eq!((state(&world), world.rung(1)), ("offering", vec!["b".to_owned()]));
}

#[test]
fn both_legs_of_a_call_outside_survive_the_death_of_their_node() {
    let mut world = forwarded();
    let number = line(&world);
    world.orders.clear();
    lose(&mut world, EDGE, &[HEIR]);
    for (leg, peer, sdp, other) in [(caller(), number, "v=0", "v=0 number"), (number, caller(), "v=0 number", "v=0")] {
        let order = world.orders.iter().find(|order| order.leg == leg).expect("each leg is adopted");
        let image = order.image.as_ref().expect("as it was");
        assert!(order.edge == HEIR && order.action == Action::Resume && image.stage != Stage::Waiting);
        assert_eq!(image.peer, Some(peer));
        let texts = [&image.sdp, &image.other].map(|sdp| sdp.as_ref().map(|sdp| String::from_utf8_lossy(sdp).into_owned()));
        assert_eq!(texts, [Some(sdp.to_owned()), Some(other.to_owned())]);
    }
    assert_eq!(line_says(&mut world, LegEvent::Adopted { dialog: Dialog::default() }), Outcome::Accepted);
    line_says(&mut world, hung_up());
    assert_eq!((world.closed[0].end_reason.as_str(), world.closed[0].adoptions), ("number_hung_up", 1));
}

#[test]
fn a_node_that_leaves_keeps_a_call_whose_number_rings_and_gives_away_one_that_talks() {
    let hand_over = || Command::HandOver { from: EDGE, heirs: vec![HEIR] };
    assert_eq!(forwarding().apply(hand_over()), Outcome::Rejected(Reason::Stale));
    let mut world = forwarded();
    let number = line(&world);
    world.orders.clear();
    assert_eq!(world.apply(hand_over()), Outcome::Accepted);
    for leg in [caller(), number] {
        assert!(world.ordered(leg, |action| *action == Action::Release) && world.ordered(leg, |action| *action == Action::Resume));
    }
}

#[test]
fn the_record_tells_the_number_to_whoever_may_read_it_and_forgets_it_with_its_owner() {
    let mut world = forwarded();
    world.caller_leaves(1);
    let sent = &world.closed[0].transfers.rows[0];
    assert_eq!((sent.to.to_string().as_str(), sent.from.as_str()), ("number", "a"));
    let open = |world: &World| {
        let keys: &Keys = world.state.domains()[&World::domain()].keys();
        keys.open_number(&dialled(world).number, World::call(1))
    };
    assert_eq!(open(&world).as_deref(), Some(NUMBER));
    world.apply(Command::Erase { domain: World::domain(), subject: NUMBER.into() });
    assert_eq!(open(&world), None);
}
