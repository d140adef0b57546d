//! AI agents answer first, people take over: what the commit fences, who gets the contact, and how a takeover ends.

use std::sync::Arc;

use super::world::{EDGE, World, agent};
use crate::core::{
    Outcome, Reason,
    assist::{Assist, Assisted, Cause, Judged, Line, Resolution, Resolved, Speaker, TakeoverResult, Turn},
    call::{Call, CallState},
    cdr::{AttemptResult, CallOutcome},
    command::{Actor, Command, HangUpCause, LegEvent, Scope, TransferTo},
    effect::{Action, EventKind},
    id::{Edge, LegId, NodeId},
    party::Target,
    policy::{Agent, AgentKind, Assistant, Channel, Strategy, Unanswered},
    time::WallTime,
};

fn robot(slots: u8) -> Agent {
    Agent {
        kind: AgentKind::Ai,
        contact: None,
        capacity: [(Channel::Voice, slots)].into(),
        assistant: Some(Arc::new(Assistant { language: "en".into(), ..Assistant::default() })),
        ..agent(&[("support", 5)])
    }
}

/// People `a` and `b` of `support`, and the AI agent `ai` for two contacts at once.
fn world() -> World {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.policy.agents.insert("ai".into(), robot(2));
    world.publish();
    world
}

fn arrive(world: &mut World, n: u64) {
    assert_eq!(world.arrive_as(n, |arrive| arrive.anchored = true), Outcome::Accepted);
}

fn row(world: &World, n: u64) -> &Call {
    &world.state.domains()[&World::domain()].calls()[&World::call(n)]
}

fn assist(world: &World, n: u64) -> &Assist {
    row(world, n).assist.as_deref().expect("AI has to do with it")
}

/// The newest leg of a call.
fn leg(world: &World, n: u64) -> LegId {
    LegId { call: World::call(n), n: *row(world, n).legs.keys().next_back().expect("somebody is offered it") }
}

fn says(world: &mut World, n: u64, event: Assisted) -> Outcome {
    let leg = leg(world, n);
    world.report(leg, LegEvent::Assisted(event))
}

/// Call `n` arrives and talks with the AI agent.
fn with_ai(world: &mut World, n: u64) {
    arrive(world, n);
    assert_eq!(world.rung(n), ["ai"]);
    assert_eq!(says(world, n, Assisted::Engaged), Outcome::Accepted);
    assert_eq!(says(world, n, Assisted::Disclosed), Outcome::Accepted);
}

fn line(who: Speaker, text: &str) -> Line {
    let judged = Judged { language: "en".into(), intent: Some("card_lost".into()), confidence: 900, ..Judged::default() };
    Line { at: WallTime(0), who, text: text.into(), judged: (who == Speaker::Customer).then_some(judged), sources: Vec::new() }
}

fn turn(who: Speaker, text: &str, wants: Option<Cause>, helped: Option<bool>) -> Assisted {
    Assisted::Turn(Box::new(Turn { line: line(who, text), wants, helped }))
}

fn take_over(world: &mut World, n: u64, cause: Cause) -> Outcome {
    let by = Actor::User("sup".into());
    world.apply(Command::TakeOver { domain: World::domain(), call: World::call(n), to: None, cause, by })
}

fn switch(world: &mut World, scope: Scope, off: bool) -> Outcome {
    world.apply(Command::SwitchAi { scope, off, reason: "drill".into(), by: Actor::User("sup".into()) })
}

fn result(world: &World, n: u64) -> Option<TakeoverResult> {
    assist(world, n).takeovers.rows.last().map(|row| row.result.clone())
}

#[test]
fn an_ai_agent_answers_first_and_says_nothing_before_it_has_said_what_it_is() {
    let mut world = world();
    arrive(&mut world, 1);
    let offered = leg(&world, 1);
    assert!(world.ordered(offered, |action| matches!(action, Action::Ring(ring) if matches!(ring.target, Target::Assistant(_)))));
    assert_eq!(says(&mut world, 1, Assisted::Engaged), Outcome::Accepted);
    assert!(world.ordered(LegId::caller(World::call(1)), |action| *action == Action::Converse { peer: offered }));
    assert!(!assist(&world, 1).is_active());
    let early = says(&mut world, 1, turn(Speaker::Assistant, "hello", None, None));
    assert_eq!(early, Outcome::Rejected(Reason::WrongState("not disclosed".into())));
    assert!(!world.ordered(offered, |action| *action == Action::Speak));
    assert_eq!(says(&mut world, 1, Assisted::Disclosed), Outcome::Accepted);
    assert!(world.ordered(offered, |action| *action == Action::Speak));
    assert_eq!(says(&mut world, 1, turn(Speaker::Assistant, "hello", None, None)), Outcome::Accepted);
    assert_eq!(says(&mut world, 1, Assisted::Disclosed), Outcome::Duplicate);
}

#[test]
fn people_are_offered_what_no_ai_agent_has_room_for_and_what_it_could_not_hear() {
    let mut world = world();
    with_ai(&mut world, 1);
    with_ai(&mut world, 2);
    arrive(&mut world, 3);
    assert_eq!(world.rung(3), ["a"], "both slots are taken");
    world.caller_leaves(1);
    world.arrive(4);
    assert_eq!(world.rung(4), ["b"], "its media does not come here");
    arrive(&mut world, 5);
    assert_eq!(world.rung(5), ["ai"]);
}

#[test]
fn a_queue_may_want_people_first() {
    let mut world = world();
    world.rules().sharing.ai_first = false;
    world.publish();
    for (n, who) in [(1, "a"), (2, "b"), (3, "ai")] {
        arrive(&mut world, n);
        assert_eq!(world.rung(n), [who]);
    }
}

#[test]
fn who_asks_for_a_person_gets_one_and_never_an_ai_agent_again() {
    let mut world = world();
    with_ai(&mut world, 1);
    let fenced = leg(&world, 1);
    assert_eq!(says(&mut world, 1, turn(Speaker::Customer, "a person, please", Some(Cause::Asked), None)), Outcome::Accepted);
    assert!(world.ordered(fenced, |action| *action == Action::HangUp { cause: "taken_over".into() }));
    assert!(world.ordered(LegId::caller(World::call(1)), |action| matches!(action, Action::Treat(_))), "it hears that it waits");
    assert_eq!(world.rung(1), ["a"]);
    let headers =
        |action: &Action| matches!(action, Action::Ring(ring) if ring.headers.contains(&("X-Tandem-Takeover".into(), "asked".into())));
    assert!(world.ordered(leg(&world, 1), headers), "the phone shows why before it is answered");
    let late = world.report(fenced, LegEvent::Assisted(turn(Speaker::Assistant, "but", None, None)));
    assert_eq!(late, Outcome::Rejected(Reason::NoLeg), "what the fenced leg says is not taken");
    world.answer("a");
    assert_eq!(result(&world, 1), Some(TakeoverResult::Accepted("a".into())));
    let back = Command::Transfer {
        domain: World::domain(),
        call: World::call(1),
        to: TransferTo::Agent("ai".into()),
        by: Actor::Agent("a".into()),
    };
    assert!(matches!(world.apply(back), Outcome::Rejected(Reason::NotReady(_))));
    world.agent_hangs_up("a");
    let record = world.closed.last().expect("the call is over");
    let assistance = record.assistance.as_ref().expect("AI had to do with it");
    assert_eq!((record.outcome, assistance.contained, assistance.turns), (CallOutcome::Answered, false, 1));
    assert_eq!(record.attempts.rows[0].result, AttemptResult::TakenOver);
    let domain = &world.state.domains()[&World::domain()];
    let transcript = domain.keys().open_transcript(&record.caller, record.call_id, &assistance.transcript);
    assert_eq!(transcript.map(|lines| lines.rows[0].text.clone()), Some("a person, please".into()));
}

#[test]
fn a_person_may_give_a_contact_back_whose_customer_did_not_ask_for_one() {
    let mut world = world();
    with_ai(&mut world, 1);
    assert_eq!(take_over(&mut world, 1, Cause::Supervisor), Outcome::Accepted);
    world.answer("a");
    let (domain, call, by) = (World::domain(), World::call(1), Actor::Agent("a".into()));
    let back = Command::Transfer { domain, call, to: TransferTo::Agent("ai".into()), by };
    assert_eq!(world.apply(back), Outcome::Accepted);
    assert_eq!(world.rung(1), ["ai"]);
}

#[test]
fn turns_that_do_not_help_bring_a_person() {
    let mut world = world();
    with_ai(&mut world, 1);
    for helped in [Some(false), Some(false), Some(true), Some(false), Some(false), None] {
        says(&mut world, 1, turn(Speaker::Assistant, "hm", None, helped));
        assert_eq!(world.rung(1), ["ai"]);
    }
    says(&mut world, 1, turn(Speaker::Assistant, "hm", None, Some(false)));
    assert_eq!(
        (world.rung(1), assist(&world, 1).takeover.as_ref().map(|open| open.cause)),
        (vec!["a".into()], Some(Cause::RepeatedFailure))
    );
}

#[test]
fn a_takeover_nobody_accepts_goes_to_the_head_of_the_queue_or_back() {
    for (rule, asked, expected) in [
        (Unanswered::Head, false, TakeoverResult::QueueHead),
        (Unanswered::Rollback, false, TakeoverResult::RolledBack),
        (Unanswered::Rollback, true, TakeoverResult::QueueHead),
    ] {
        let mut world = world();
        world.rules().sharing.unanswered = rule;
        world.publish();
        with_ai(&mut world, 1);
        for name in ["a", "b"] {
            world.intent(name, crate::core::command::Intent::Offline);
        }
        take_over(&mut world, 1, if asked { Cause::Asked } else { Cause::LowConfidence });
        world.pass(59_999);
        assert_eq!((row(&world, 1).state, result(&world, 1)), (CallState::Queued, None));
        world.pass(1);
        assert_eq!(result(&world, 1), Some(expected.clone()));
        if expected == TakeoverResult::RolledBack {
            assert_eq!(world.rung(1), ["ai"]);
        } else {
            assert_eq!((row(&world, 1).state, row(&world, 1).priority), (CallState::Queued, 0));
        }
    }
}

#[test]
fn a_takeover_whose_time_passes_while_a_phone_rings_is_late_when_that_phone_is_not_answered() {
    let mut world = world();
    world.rules().sharing.within_ms = 2_000;
    world.publish();
    with_ai(&mut world, 1);
    world.pass(1_000);
    take_over(&mut world, 1, Cause::Supervisor);
    assert_eq!(world.rung(1), ["a"]);
    world.pass(10_000);
    assert_eq!(result(&world, 1), None, "the ring decides first");
    world.refuse("a", 486);
    assert_eq!((result(&world, 1), row(&world, 1).priority), (Some(TakeoverResult::QueueHead), 0));
    let deadline = row(&world, 1).timer.as_ref().map(|(deadline, _)| deadline.0 / 1_000_000);
    assert!(deadline >= Some(world.now_ms), "nothing is set in the past: {deadline:?}");
}

#[test]
fn a_customer_who_leaves_ends_the_takeover() {
    let mut world = world();
    with_ai(&mut world, 1);
    take_over(&mut world, 1, Cause::Anger);
    world.caller_leaves(1);
    let assistance = world.closed[0].assistance.as_ref().expect("AI had it");
    assert_eq!(assistance.takeovers.rows[0].result, TakeoverResult::Ended);
}

#[test]
fn a_second_takeover_is_the_first_one_but_that_the_customer_asked_is_kept() {
    let mut world = world();
    with_ai(&mut world, 1);
    take_over(&mut world, 1, Cause::Supervisor);
    assert_eq!(take_over(&mut world, 1, Cause::Asked), Outcome::Duplicate);
    assert!(assist(&world, 1).asked);
    world.answer("a");
    assert!(matches!(take_over(&mut world, 1, Cause::Supervisor), Outcome::Rejected(Reason::WrongState(_))), "a person has it");
}

#[test]
fn a_waiting_call_that_is_taken_over_waits_for_a_person() {
    let mut world = world();
    arrive(&mut world, 1);
    assert_eq!(world.rung(1), ["ai"]);
    assert_eq!(take_over(&mut world, 1, Cause::Supervisor), Outcome::Accepted);
    assert_eq!(world.rung(1), ["a"]);
}

#[test]
fn ai_switched_off_gives_every_contact_to_people_most_urgent_first_and_offers_no_more() {
    let mut world = world();
    world.policy.agents.insert("ai".into(), robot(5));
    world.publish();
    for n in 1..=3 {
        with_ai(&mut world, n);
    }
    world.apply(Command::TakeOver { domain: "nowhere".into(), call: World::call(1), to: None, cause: Cause::Asked, by: Actor::System });
    arrive(&mut world, 4);
    assert_eq!(switch(&mut world, Scope::Queue(World::domain(), "support".into()), true), Outcome::Accepted);
    assert_eq!((world.rung(1), world.rung(2)), (vec!["a".to_owned()], vec!["b".to_owned()]), "the oldest first");
    assert_eq!((row(&world, 3).state, row(&world, 4).state), (CallState::Queued, CallState::Queued));
    assert_eq!(switch(&mut world, Scope::Queue(World::domain(), "support".into()), true), Outcome::Duplicate);
    arrive(&mut world, 5);
    assert_eq!(row(&world, 5).state, CallState::Queued);
    assert_eq!(switch(&mut world, Scope::Queue(World::domain(), "support".into()), false), Outcome::Accepted);
    assert_eq!(world.rung(5), ["ai"], "what never had to do with it goes to AI again");
    assert_eq!(row(&world, 3).state, CallState::Queued, "what was taken over waits for a person");
}

#[test]
fn ai_off_in_the_cluster_holds_in_every_domain_and_for_policies_to_come() {
    let mut world = world();
    with_ai(&mut world, 1);
    assert_eq!(switch(&mut world, Scope::Everywhere, true), Outcome::Accepted);
    assert_eq!(world.rung(1), ["a"]);
    world.publish();
    arrive(&mut world, 2);
    assert_eq!(world.rung(2), ["b"]);
    assert_eq!(switch(&mut world, Scope::Domain(World::domain()), true), Outcome::Accepted);
    assert_eq!(switch(&mut world, Scope::Everywhere, false), Outcome::Accepted);
    arrive(&mut world, 3);
    assert_eq!(row(&world, 3).state, CallState::Queued, "its own switch is off still");
}

#[test]
fn an_ai_agent_that_settled_the_matter_ends_the_call_and_one_that_is_lost_does_not() {
    let mut world = world();
    with_ai(&mut world, 1);
    let resolution = Resolution { resolved: Resolved::Yes, confidence: 800, reason: "answered".into() };
    says(&mut world, 1, Assisted::Resolved(resolution.clone()));
    world.report(leg(&world, 1), LegEvent::HungUp { cause: HangUpCause::Bye });
    let record = world.closed.last().expect("it is over");
    let assistance = record.assistance.as_ref().expect("AI had it");
    assert_eq!((record.outcome, assistance.contained, &assistance.resolution), (CallOutcome::Answered, true, &Some(resolution)));

    with_ai(&mut world, 2);
    world.report(leg(&world, 2), LegEvent::HungUp { cause: HangUpCause::EdgeFault });
    assert_eq!(world.rung(2), ["ai"], "another one, or the same anew");
    says(&mut world, 2, Assisted::Engaged);
    world.report(leg(&world, 2), LegEvent::HungUp { cause: HangUpCause::EdgeFault });
    assert_eq!((world.rung(2), assist(&world, 2).takeover.as_ref().map(|open| open.cause)), (vec!["a".into()], Some(Cause::AssistantLost)));
}

#[test]
fn a_node_that_dies_takes_its_ai_agents_with_it_and_its_customers_go_on_with_their_transcript() {
    let mut world = world();
    with_ai(&mut world, 1);
    says(&mut world, 1, turn(Speaker::Customer, "my card is lost", None, None));
    let heir = Edge { node: NodeId(2), incarnation: 1 };
    world.orders.clear();
    world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![heir] });
    assert_eq!((world.rung(1), row(&world, 1).edge), (vec!["ai".to_owned()], heir));
    let engage = world.orders.iter().find_map(|order| match &order.action {
        Action::Ring(ring) => Some((order.edge, ring.target.clone())),
        _ => None,
    });
    let Some((edge, Target::Assistant(engage))) = engage else { panic!("an AI agent is offered it: {engage:?}") };
    assert_eq!((edge, engage.transcript[0].text.as_str()), (heir, "my card is lost"));
    assert!(world.events.contains(&EventKind::AiLost));
}

#[test]
fn a_line_that_is_too_long_is_cut_at_a_character() {
    let mut world = world();
    with_ai(&mut world, 1);
    says(&mut world, 1, turn(Speaker::Customer, &"好".repeat(5_000), None, None));
    assert_eq!(assist(&world, 1).transcript.rows[0].text.len(), 999);
}

#[test]
fn ring_all_rings_one_ai_agent_and_all_people() {
    let mut world = World::new(Strategy::RingAll, &["a", "b"]);
    for name in ["ai", "ay"] {
        world.policy.agents.insert(name.into(), robot(1));
    }
    world.publish();
    arrive(&mut world, 1);
    assert_eq!(world.rung(1).len(), 1);
    says(&mut world, 1, Assisted::Engaged);
    take_over(&mut world, 1, Cause::Supervisor);
    assert_eq!(world.rung(1), ["a", "b"]);
}

#[test]
fn no_name_leads_to_an_ai_agent_where_ai_is_off() {
    let mut world = world();
    with_ai(&mut world, 1);
    switch(&mut world, Scope::Domain(World::domain()), true);
    world.answer("a");
    let (domain, call, by) = (World::domain(), World::call(1), Actor::Agent("a".into()));
    let back = Command::Transfer { domain, call, to: TransferTo::Agent("ai".into()), by };
    assert!(matches!(world.apply(back), Outcome::Rejected(Reason::NotReady(_))));
    world.rules().affinity_ms = 10_000;
    world.publish();
    world.arrive_as(2, |arrive| (arrive.anchored, arrive.prefer) = (true, Some("ai".into())));
    assert_eq!(world.rung(2), ["b"]);
}

#[test]
fn an_earlier_settlement_does_not_end_what_the_next_ai_agent_loses() {
    let mut world = world();
    with_ai(&mut world, 1);
    says(&mut world, 1, Assisted::Resolved(Resolution { resolved: Resolved::Yes, confidence: 800, reason: "so it seemed".into() }));
    take_over(&mut world, 1, Cause::Supervisor);
    world.answer("a");
    let (domain, call, by) = (World::domain(), World::call(1), Actor::Agent("a".into()));
    world.apply(Command::Transfer { domain, call, to: TransferTo::Agent("ai".into()), by });
    says(&mut world, 1, Assisted::Engaged);
    world.report(leg(&world, 1), LegEvent::HungUp { cause: HangUpCause::EdgeFault });
    assert!(world.closed.is_empty(), "its customer is on the phone still");
}
