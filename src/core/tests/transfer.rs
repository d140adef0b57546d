//! A connected call goes on with somebody else, and is never lost on its way.

use super::{
    queue,
    world::{EDGE, World, agent},
};
use crate::core::{
    Outcome, Reason,
    call::{Call, CallState},
    cdr::{AttemptResult, CallOutcome},
    command::{Actor, Command, Intent, TransferTo},
    effect::{Action, EventKind},
    id::{AgentId, Edge, LegId, NodeId},
    policy::{Channel, Strategy, Treatment},
};

/// Agents `a` and `b` of `support`, agent `z` of the queue `second` alone; `a` talks with call 1, answered at 3 s.
fn world() -> World {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.rules().wrap_up_ms = 10_000;
    let mut second = queue(Strategy::LongestIdle);
    second.treatment = Treatment { greeting: Some("welcome".into()), ..Treatment::default() };
    world.policy.queues.insert("second".into(), second);
    world.policy.agents.insert("z".into(), agent(&[("second", 5)]));
    world.publish();
    arrive(&mut world, 1);
    world.pass(3_000);
    world.answer("a");
    world.orders.clear();
    world
}

fn arrive(world: &mut World, n: u64) {
    world.arrive_as(n, |arrive| arrive.anchored = true);
}

fn caller() -> LegId {
    LegId::caller(World::call(1))
}

fn row(world: &World) -> &Call {
    &world.state.domains()[&World::domain()].calls()[&World::call(1)]
}

fn transfer(world: &mut World, to: TransferTo, by: Actor) -> Outcome {
    world.apply(Command::Transfer { domain: World::domain(), call: World::call(1), to, by })
}

fn to_queue(queue: &str) -> TransferTo {
    TransferTo::Queue(queue.into())
}

fn to_agent(agent: &str) -> TransferTo {
    TransferTo::Agent(agent.into())
}

fn supervisor() -> Actor {
    Actor::User("sup".into())
}

fn refer(world: &mut World, leg: LegId, user: &str) -> Outcome {
    world.apply(Command::Refer { domain: World::domain(), leg, edge: EDGE, user: user.into() })
}

fn hears_music(world: &World) -> bool {
    world.ordered(caller(), |action| matches!(action, Action::Treat(_)))
}

#[test]
fn a_call_sent_to_a_queue_waits_there_at_its_own_age_and_hears_so() {
    let mut world = world();
    world.intent("z", Intent::Offline);
    let (leg, entered) = (world.leg_of("a"), row(&world).entered);
    world.pass(5_000);
    assert_eq!(transfer(&mut world, to_queue("second"), Actor::Agent("a".into())), Outcome::Accepted);
    let call = row(&world);
    assert_eq!((call.state, call.queue.as_str(), call.entered, call.priority), (CallState::Queued, "second", entered, 5));
    assert!(hears_music(&world));
    assert!(world.ordered(leg, |action| *action == Action::HangUp { cause: "transferred".into() }));
    assert!(world.agent("a").contacts.is_empty() && world.agent("a").wrap_up_until.is_some());
    assert!(world.events.contains(&EventKind::ContactTransferred));
    world.intent("z", Intent::Available);
    assert_eq!(world.rung(1), ["z"]);
    world.pass(1_000);
    world.answer("z");
    world.caller_leaves(1);
    let closed = &world.closed[0];
    assert_eq!((closed.outcome, closed.agent.as_ref().unwrap().as_str()), (CallOutcome::Answered, "z"));
    let attempts: Vec<_> = closed.attempts.rows.iter().map(|row| (row.agent.as_str(), row.queue.as_ref().unwrap().as_str())).collect();
    assert_eq!(attempts, [("a", "support"), ("z", "second")]);
    let sent = &closed.transfers.rows[0];
    assert_eq!((&sent.by, sent.from.as_str(), &sent.to), (&Actor::Agent("a".into()), "a", &to_queue("second")));
    assert_eq!(closed.answered.unwrap().time.0, 3_000_000_000, "the first answer counts");
}

#[test]
fn it_comes_before_calls_that_arrived_later() {
    let mut world = world();
    world.intent("z", Intent::Offline);
    world.policy.routes.insert("second".into(), crate::core::policy::Route { queue: "second".into(), priority: None, emergency: false });
    world.publish();
    world.pass(1_000);
    world.arrive_as(2, |arrive| arrive.to_user = "second".into());
    transfer(&mut world, to_queue("second"), supervisor());
    world.intent("z", Intent::Available);
    assert_eq!((world.rung(1).len(), world.rung(2).len()), (1, 0));
}

#[test]
fn a_call_sent_back_to_its_own_queue_goes_to_somebody_else_first() {
    let mut world = world();
    world.rules().wrap_up_ms = 0;
    world.publish();
    transfer(&mut world, to_queue("support"), Actor::Agent("a".into()));
    assert_eq!(world.rung(1), ["b"]);
    world.answer("b");
    transfer(&mut world, to_queue("support"), Actor::Agent("b".into()));
    assert_eq!(world.rung(1), ["a"]);
}

#[test]
fn the_caller_hears_music_also_while_somebody_is_rung_at_once() {
    let mut world = world();
    transfer(&mut world, to_queue("second"), supervisor());
    assert_eq!(world.rung(1), ["z"]);
    assert!(hears_music(&world));
}

#[test]
fn an_agent_is_offered_it_alone_whatever_it_serves() {
    let mut world = world();
    assert_eq!(transfer(&mut world, to_agent("z"), Actor::Agent("a".into())), Outcome::Accepted);
    assert_eq!((world.rung(1), row(&world).queue.as_str()), (vec!["z".to_owned()], "support"));
    let decision = row(&world).decisions.rows.last().unwrap();
    let text = decision.to_string();
    assert!(text.contains("agent:a transferred the call") && text.contains("* z"), "{text}");
    world.answer("z");
    assert!(matches!(row(&world).state, CallState::Connected { .. }));
}

#[test]
fn an_agent_who_does_not_take_it_leaves_it_to_its_queue() {
    let mut world = world();
    transfer(&mut world, to_agent("z"), supervisor());
    world.pass(14_999);
    assert_eq!(world.rung(1), ["z"]);
    world.pass(1);
    assert_eq!(world.rung(1), ["b"], "at the head of the queue, and b is free");
    let results: Vec<_> = row(&world).attempts.rows.iter().map(|row| row.result).collect();
    assert_eq!(results, [AttemptResult::Accepted, AttemptResult::Timeout]);
}

#[test]
fn a_refusal_has_its_reason_and_changes_nothing() {
    let mut world = world();
    let refused = |world: &mut World, to, by| match transfer(world, to, by) {
        Outcome::Rejected(reason) => reason,
        other => panic!("{other:?}"),
    };
    world.intent("b", Intent::Break { reason: "lunch".into() });
    assert_eq!(refused(&mut world, to_agent("b"), supervisor()), Reason::NotReady("agent b: on break".into()));
    assert_eq!(refused(&mut world, to_agent("a"), supervisor()), Reason::NotReady("agent a has the call".into()));
    assert_eq!(refused(&mut world, to_agent("nobody"), supervisor()), Reason::NoAgent("nobody".into()));
    assert_eq!(refused(&mut world, to_queue("none"), supervisor()), Reason::NoQueue("none".into()));
    assert_eq!(refused(&mut world, to_queue("second"), Actor::Agent("b".into())), Reason::NotYours);
    assert!(matches!(row(&world).state, CallState::Connected { .. }) && world.orders.is_empty());
    transfer(&mut world, to_queue("second"), supervisor());
    assert_eq!(refused(&mut world, to_queue("support"), supervisor()), Reason::WrongState("offering".into()));
    world.caller_leaves(1);
    assert_eq!(refused(&mut world, to_queue("support"), supervisor()), Reason::NoCall);
}

#[test]
fn a_full_queue_refuses_and_the_call_stays_where_it_is() {
    let mut world = world();
    world.policy.queues.get_mut("second").expect("made by world").require_agents = true;
    world.intent("z", Intent::Offline);
    world.publish();
    assert_eq!(transfer(&mut world, to_queue("second"), supervisor()), Outcome::Rejected(Reason::NoAgentsForQueue));
    assert!(matches!(row(&world).state, CallState::Connected { .. }));
}

#[test]
fn a_caller_who_gives_up_after_a_transfer_was_answered_all_the_same() {
    let mut world = world();
    world.intent("z", Intent::Offline);
    transfer(&mut world, to_queue("second"), supervisor());
    world.pass(2_000);
    world.caller_leaves(1);
    let closed = &world.closed[0];
    assert_eq!(
        (closed.outcome, closed.end_reason.as_str(), closed.agent.as_ref().map(AgentId::as_str)),
        (CallOutcome::Answered, "caller_left", Some("a"))
    );
    assert_eq!(world.state.domains()[&World::domain()].queues()["second"].abandoned, 1);
}

#[test]
fn a_call_nobody_takes_in_the_next_queue_ends_by_its_rule() {
    let mut world = world();
    world.intent("z", Intent::Offline);
    transfer(&mut world, to_queue("second"), supervisor());
    world.pass(600_000);
    assert_eq!((world.closed[0].outcome, world.closed[0].end_reason.as_str()), (CallOutcome::Answered, "max_wait"));
    assert!(world.ordered(caller(), |action| matches!(action, Action::HangUp { .. })), "an answered caller is hung up, not refused");
}

#[test]
fn a_held_call_is_held_no_more() {
    let mut world = world();
    let hold = crate::core::command::LegEvent::Media {
        dialog: Default::default(),
        sdp: crate::core::party::Sdp::from(b"v=1".to_vec()),
        held: true,
    };
    let leg = world.leg_of("a");
    world.report(leg, hold);
    world.pass(4_000);
    transfer(&mut world, to_agent("b"), supervisor());
    world.answer("b");
    assert!(matches!(row(&world).state, CallState::Connected { held: false, .. }));
    assert_eq!(row(&world).held_ms(world.state.now()), 4_000);
}

#[test]
fn a_phone_refers_by_what_callers_dial_by_queue_and_by_agent() {
    for (user, rung) in [("second", "z"), ("z", "z"), ("support", "b")] {
        let mut world = world();
        let leg = world.leg_of("a");
        assert_eq!(refer(&mut world, leg, user), Outcome::Accepted, "{user}");
        assert_eq!(world.rung(1), [rung]);
        assert_eq!(row(&world).talk.as_ref().expect("it talked").transfers.rows[0].by, Actor::Agent("a".into()));
    }
}

#[test]
fn a_refer_to_nobody_or_for_a_call_it_has_no_more_is_refused() {
    let mut world = world();
    let leg = world.leg_of("a");
    assert_eq!(refer(&mut world, leg, "nobody"), Outcome::Rejected(Reason::NoRoute("nobody".into())));
    let elsewhere = Edge { node: NodeId(2), incarnation: 1 };
    let late = Command::Refer { domain: World::domain(), leg, edge: elsewhere, user: "second".into() };
    assert_eq!(world.apply(late), Outcome::Rejected(Reason::Stale));
    refer(&mut world, leg, "second");
    assert_eq!(refer(&mut world, leg, "second"), Outcome::Rejected(Reason::NoLeg));
    let ringing = world.leg_of("z");
    assert_eq!(refer(&mut world, ringing, "support"), Outcome::Rejected(Reason::WrongState("offering".into())));
}

#[test]
fn an_agent_with_two_slots_keeps_its_other_call() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.policy.agents.get_mut("a").expect("made by new").capacity.insert(Channel::Voice, 2);
    world.intent("b", Intent::Offline);
    world.publish();
    for n in [1, 2] {
        arrive(&mut world, n);
        let leg = LegId { call: World::call(n), n: 1 };
        world.report(leg, crate::core::command::LegEvent::Answered { dialog: Default::default(), sdp: Default::default() });
    }
    world.intent("b", Intent::Available);
    assert_eq!(transfer(&mut world, to_agent("b"), supervisor()), Outcome::Accepted);
    assert_eq!((world.rung(1), world.rung(2)), (vec!["b".to_owned()], vec!["a".to_owned()]));
}

#[test]
fn a_transferred_call_survives_the_death_of_its_edge_as_any_that_waits() {
    let mut world = world();
    world.intent("z", Intent::Offline);
    transfer(&mut world, to_queue("second"), supervisor());
    world.orders.clear();
    let heir = Edge { node: NodeId(2), incarnation: 4 };
    assert_eq!(world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![heir] }), Outcome::Accepted);
    let order = world.orders.iter().find(|order| order.leg == caller()).unwrap();
    assert!(matches!(order.action, Action::Treat(_)) && order.edge == heir);
    assert_eq!(order.image.as_ref().unwrap().peer, None);
}
