//! Chats: who gets one, what its lines become, how an AI agent and a person have it, and how it goes on by phone.

use std::sync::Arc;

use super::world::{EDGE, World, agent, trunk_out};
use crate::core::{
    Outcome, Reason,
    assist::{Assisted, Cause, Judged, Line, Speaker, Turn},
    call::{Call, CallState},
    cdr::{AttemptResult, CallOutcome},
    chat::{ChatStep, NewChat, Writer},
    command::{Actor, Command, HangUpCause, LegEvent},
    effect::{Action, EventKind},
    id::{CallId, Edge, LegId, NodeId},
    limits::{CHAT_BURST_LINES, CHAT_IDLE_MS, CHAT_LINE_CHARS_MAX, CHAT_TURN_MS},
    policy::{Agent, AgentKind, Assistant, Channel, Strategy},
    time::WallTime,
};

const SECRET: [u8; 32] = [9; 32];
const CUSTOMER: Writer = Writer::Customer(SECRET);

/// `a` for two chats and a call at once, `b` for calls only.
fn people() -> World {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.policy.chats_max = 4;
    world.policy.agents.get_mut("a").expect("made by new").capacity.insert(Channel::Chat, 2);
    world.publish();
    world
}

/// The same, and the AI agent `ai` for one chat.
fn world() -> World {
    let mut world = people();
    let capacity = [(Channel::Voice, 0), (Channel::Chat, 1)].into();
    let assistant = Some(Arc::new(Assistant::default()));
    let robot = Agent { kind: AgentKind::Ai, contact: None, capacity, assistant, ..agent(&[("support", 5)]) };
    world.policy.agents.insert("ai".into(), robot);
    world.publish();
    world
}

fn open(world: &mut World, n: u64, text: &str) -> Outcome {
    open_as(world, n, "", text)
}

fn open_as(world: &mut World, n: u64, customer: &str, text: &str) -> Outcome {
    world.apply(Command::OpenChat(Box::new(NewChat {
        domain: World::domain(),
        call: World::call(n),
        edge: EDGE,
        to: "support".into(),
        customer: customer.to_owned(),
        secret: SECRET,
        text: Some(text.to_owned()),
    })))
}

fn step(world: &mut World, n: u64, step: ChatStep) -> Outcome {
    world.apply(Command::Chat { domain: World::domain(), call: World::call(n), step })
}

fn say(world: &mut World, n: u64, by: Writer, text: &str) -> Outcome {
    step(world, n, ChatStep::Say { by, text: text.to_owned() })
}

fn accept(world: &mut World, n: u64, agent: &str) -> Outcome {
    step(world, n, ChatStep::Reply { agent: agent.into(), accept: true })
}

fn row(world: &World, n: u64) -> &Call {
    &world.state.domains()[&World::domain()].calls()[&World::call(n)]
}

fn texts(world: &World, n: u64) -> Vec<String> {
    row(world, n).transcript().iter().map(|line| format!("{}: {}", line.who.name(), line.text)).collect()
}

fn leg(world: &World, n: u64) -> LegId {
    LegId { call: World::call(n), n: *row(world, n).legs.keys().next_back().expect("somebody is offered it") }
}

fn line(text: &str) -> Line {
    Line { at: WallTime(0), who: Speaker::Assistant, text: text.into(), judged: None, sources: Vec::new() }
}

/// What the AI agent was last asked to answer.
fn asked(world: &World) -> Option<(u32, String)> {
    world.orders.iter().rev().find_map(|order| match &order.action {
        Action::Write(write) => Some((write.upto, write.text.clone())),
        _ => None,
    })
}

/// The AI agent of chat `n` says that it is none.
fn discloses(world: &mut World, n: u64) -> Outcome {
    let leg = leg(world, n);
    world.report(leg, LegEvent::Assisted(Assisted::Opened(Box::new(line("no person writes")))))
}

fn writes(world: &mut World, leg: LegId, text: &str, wants: Option<Cause>) -> Outcome {
    let turn = Turn { line: line(text), wants, helped: Some(true) };
    world.report(leg, LegEvent::Assisted(Assisted::Wrote(Box::new(turn), None)))
}

#[test]
fn a_person_is_offered_a_chat_answers_it_and_both_write() {
    let mut world = people();
    assert_eq!(open(&mut world, 1, "hello"), Outcome::Scheduled { call: World::call(1) });
    assert_eq!(world.rung(1), ["a"], "b takes no chats");
    assert!(world.orders.is_empty(), "no edge has anything to do");
    assert_eq!(accept(&mut world, 1, "b"), Outcome::Rejected(Reason::NotYours));
    assert_eq!(accept(&mut world, 1, "a"), Outcome::Accepted);
    assert_eq!(accept(&mut world, 1, "a"), Outcome::Duplicate);
    assert_eq!(say(&mut world, 1, Writer::Agent("a".into()), "good day"), Outcome::Said { seq: 2 });
    assert_eq!(say(&mut world, 1, CUSTOMER, "my card"), Outcome::Said { seq: 3 });
    assert_eq!(texts(&world, 1), ["customer: hello", "person: good day", "customer: my card"]);
    assert_eq!(step(&mut world, 1, ChatStep::End { by: Writer::Agent("a".into()) }), Outcome::Accepted);
    let record = world.closed.last().expect("it is over");
    let chat = record.chat.as_ref().expect("it was one");
    assert_eq!((record.outcome, record.agent.clone(), chat.lines), (CallOutcome::Answered, Some("a".into()), 3));
    let keys = world.state.domains()[&World::domain()].keys();
    let read = keys.open_transcript(&record.caller, record.call_id, &chat.transcript).expect("nobody erased it");
    assert_eq!(read.rows[2].text, "my card");
}

#[test]
fn who_does_not_know_the_secret_or_have_the_chat_does_nothing_in_it() {
    let mut world = people();
    open(&mut world, 1, "hello");
    let stranger = Writer::Customer([8; 32]);
    assert_eq!(say(&mut world, 1, stranger.clone(), "me"), Outcome::Rejected(Reason::NotYours));
    assert_eq!(step(&mut world, 1, ChatStep::End { by: stranger }), Outcome::Rejected(Reason::NotYours));
    assert!(matches!(say(&mut world, 1, Writer::Agent("a".into()), "early"), Outcome::Rejected(Reason::WrongState(_))));
    accept(&mut world, 1, "a");
    assert_eq!(say(&mut world, 1, Writer::Agent("b".into()), "mine"), Outcome::Rejected(Reason::NotYours));
    assert_eq!(texts(&world, 1), ["customer: hello"]);
}

#[test]
fn chats_and_calls_have_slots_of_their_own_and_an_exclusive_channel_keeps_the_other_away() {
    let mut world = people();
    for n in 1..=3 {
        open(&mut world, n, "hello");
    }
    assert_eq!((world.rung(1), world.rung(2), world.rung(3)), (vec!["a".into()], vec!["a".into()], Vec::<String>::new()));
    world.arrive(4);
    assert_eq!(world.rung(4), ["a"], "its slot for calls is free, and it was idle as long as b");
    step(&mut world, 1, ChatStep::End { by: CUSTOMER });
    assert_eq!(world.rung(3), ["a"], "the next chat has the free slot");
    let mut world = people();
    world.policy.agents.get_mut("a").expect("made by new").exclusive = vec![Channel::Voice];
    world.publish();
    world.arrive(1);
    assert_eq!(world.rung(1), ["a"]);
    open(&mut world, 2, "hello");
    assert!(world.rung(2).is_empty(), "who is rung for a call writes to nobody");
    world.caller_leaves(1);
    assert_eq!(world.rung(2), ["a"]);
}

#[test]
fn an_offer_that_is_declined_or_not_answered_leaves_the_chat_in_its_place() {
    let mut world = people();
    open(&mut world, 1, "hello");
    assert_eq!(step(&mut world, 1, ChatStep::Reply { agent: "a".into(), accept: false }), Outcome::Accepted);
    assert_eq!((row(&world, 1).state, world.agent("a").misses), (CallState::Queued, 1));
    world.pass(2_000);
    assert_eq!(world.rung(1), ["a"], "it has rested");
    world.pass(15_000);
    assert_eq!(row(&world, 1).attempts.rows.last().map(|row| row.result), Some(AttemptResult::Timeout));
}

#[test]
fn an_ai_agent_writes_what_it_is_before_anything_else_and_answers_what_was_written_meanwhile() {
    let mut world = world();
    open(&mut world, 1, "hello");
    assert_eq!((world.rung(1), asked(&world)), (vec!["ai".into()], Some((0, String::new()))));
    let ai = leg(&world, 1);
    assert!(matches!(writes(&mut world, ai, "hi", None), Outcome::Rejected(Reason::NotYours)), "not before the disclosure");
    say(&mut world, 1, CUSTOMER, "my card is lost");
    assert_eq!(discloses(&mut world, 1), Outcome::Accepted);
    assert!(world.events.contains(&EventKind::AiDisclosed));
    assert_eq!(asked(&world), Some((2, "hello\nmy card is lost".into())));
    say(&mut world, 1, CUSTOMER, "quick!");
    assert_eq!(asked(&world), Some((2, "hello\nmy card is lost".into())), "one answer at a time");
    assert_eq!(writes(&mut world, ai, "block it in the app", None), Outcome::Accepted);
    assert_eq!(asked(&world), Some((4, "quick!".into())));
    assert_eq!(texts(&world, 1)[2..], ["assistant: no person writes", "customer: quick!", "assistant: block it in the app"]);
}

#[test]
fn what_an_ai_agent_writes_after_a_takeover_is_not_taken_and_a_person_sees_all_that_was_written() {
    let mut world = world();
    open(&mut world, 1, "hello");
    discloses(&mut world, 1);
    let fenced = leg(&world, 1);
    let (domain, call, by) = (World::domain(), World::call(1), Actor::User("sup".into()));
    assert_eq!(world.apply(Command::TakeOver { domain, call, to: None, cause: Cause::Supervisor, by }), Outcome::Accepted);
    assert_eq!(writes(&mut world, fenced, "but", None), Outcome::Rejected(Reason::NoLeg));
    assert_eq!(world.rung(1), ["a"]);
    accept(&mut world, 1, "a");
    assert_eq!(texts(&world, 1), ["customer: hello", "assistant: no person writes"]);
    let mut world = self::world();
    open(&mut world, 1, "a person, please");
    discloses(&mut world, 1);
    let ai = leg(&world, 1);
    assert_eq!(writes(&mut world, ai, "I get somebody", Some(Cause::Asked)), Outcome::Accepted);
    assert_eq!(world.rung(1), ["a"], "who asks for a person gets one");
}

#[test]
fn an_ai_agent_that_does_not_answer_or_breaks_is_lost_and_after_two_a_person_has_the_chat() {
    let mut world = world();
    open(&mut world, 1, "hello");
    discloses(&mut world, 1);
    world.pass(CHAT_TURN_MS);
    assert!(world.events.contains(&EventKind::AiLost));
    discloses(&mut world, 1);
    let ai = leg(&world, 1);
    world.report(ai, LegEvent::HungUp { cause: HangUpCause::EdgeFault });
    assert_eq!(world.rung(1), ["a"]);
}

#[test]
fn another_node_goes_on_with_a_chat_and_is_asked_what_the_dead_one_did_not_answer() {
    let mut world = world();
    open(&mut world, 1, "hello");
    discloses(&mut world, 1);
    let heir = Edge { node: NodeId(2), incarnation: 1 };
    let before = (leg(&world, 1), texts(&world, 1));
    assert_eq!(world.apply(Command::EdgeLost { edge: EDGE, heirs: vec![heir] }), Outcome::Accepted);
    assert_eq!((leg(&world, 1), texts(&world, 1)), before, "agent and lines stay");
    let order = world.orders.last().expect("it is ordered again");
    assert!(order.edge == heir && matches!(&order.action, Action::Write(write) if write.upto == 1));
    assert_eq!(writes(&mut world, before.0, "good day", None), Outcome::Accepted);
    // Nobody knows for how long that node has been silent, and nobody lost a phone by it.
    let next = Edge { node: NodeId(3), incarnation: 1 };
    assert_eq!(world.apply(Command::KeepCallbacks { from: heir, heirs: vec![next] }), Outcome::Accepted);
    assert_eq!(row(&world, 1).edge, next);
}

#[test]
fn a_chat_in_which_nobody_writes_ends_whoever_has_it() {
    for answered in [false, true] {
        let mut world = people();
        world.rules().max_wait_ms = 0;
        world.publish();
        open(&mut world, 1, "hello");
        if answered {
            accept(&mut world, 1, "a");
        } else {
            world.intent("a", crate::core::command::Intent::Offline);
        }
        world.pass(CHAT_IDLE_MS / 2);
        say(&mut world, 1, CUSTOMER, "still here");
        world.pass(CHAT_IDLE_MS - 1);
        assert!(world.closed.is_empty());
        world.pass(1);
        let record = world.closed.last().expect("it is over");
        let outcome = if answered { CallOutcome::Answered } else { CallOutcome::Abandoned };
        assert_eq!((record.outcome, record.end_reason.as_str()), (outcome, "chat_idle"));
    }
}

#[test]
fn a_tenant_has_as_many_chats_as_it_says_and_a_line_is_bounded() {
    let mut world = people();
    for n in 1..=4 {
        open(&mut world, n, "hello");
    }
    assert_eq!(open(&mut world, 5, "hello"), Outcome::Rejected(Reason::TooManyCalls(4)));
    let long = "好".repeat(CHAT_LINE_CHARS_MAX + 1);
    for bad in ["", " \n", "a\0b", &long] {
        assert!(matches!(say(&mut world, 1, CUSTOMER, bad), Outcome::Rejected(Reason::Invalid(_))));
    }
    let taken = (0..20).filter(|_| matches!(say(&mut world, 1, CUSTOMER, "spam"), Outcome::Said { .. })).count();
    assert_eq!(taken as u64, CHAT_BURST_LINES - 1, "the first line was the chat's own");
    assert_eq!(say(&mut world, 1, CUSTOMER, "spam"), Outcome::Rejected(Reason::TooFast));
    world.policy.chats_max = 0;
    world.publish();
    assert!(matches!(open(&mut world, 6, "hello"), Outcome::Rejected(Reason::NotReady(_))), "nobody asked for chats");
}

#[test]
fn a_chat_goes_on_by_phone_at_its_own_age_with_all_that_was_written_and_the_records_name_each_other() {
    let mut world = world();
    world.policy.trunks.insert("out".into(), trunk_out(&[]));
    world.policy.outside.numbers = vec!["+4930".to_owned()];
    world.publish();
    open(&mut world, 1, "hello");
    discloses(&mut world, 1);
    let entered = row(&world, 1).entered;
    world.pass(5_000);
    let (new, edge) = (World::call(2), EDGE);
    let phone = |call: CallId, number: &str| ChatStep::Phone { by: CUSTOMER, call, edge, number: number.to_owned() };
    assert!(matches!(step(&mut world, 1, phone(new, "anna")), Outcome::Rejected(_)), "nothing is lost by a bad number");
    assert_eq!(step(&mut world, 1, phone(new, "+49900123456")), Outcome::Rejected(Reason::NumberBarred), "at the tenant's cost");
    assert_eq!(step(&mut world, 1, phone(new, "+4930123456")), Outcome::Scheduled { call: new });
    let chat = world.closed.last().expect("the chat is over");
    assert_eq!((chat.end_reason.as_str(), chat.chat.as_ref().and_then(|chat| chat.continued_as)), ("continued_by_phone", Some(new)));
    let call = row(&world, 2);
    assert_eq!((call.entered, call.channel()), (entered, Channel::Voice));
    assert_eq!(texts(&world, 2), ["customer: hello", "assistant: no person writes"]);
    assert_eq!(world.rung(2), ["a"], "a person calls");
    world.apply(Command::HangUp { domain: World::domain(), call: new, by: Actor::System });
    let record = world.closed.last().expect("it is over");
    assert_eq!(record.callback.as_ref().and_then(|callback| callback.continues), Some(World::call(1)));
}

/// Chat `n` of a customer, answered by the AI agent, who understood this of it; the contact that it reopens.
fn asks(world: &mut World, n: u64, customer: &str, intent: &str) -> Option<CallId> {
    open_as(world, n, customer, "hello");
    discloses(world, n);
    let judged = Some(Judged { intent: Some(intent.to_owned()), ..Judged::default() });
    let turn = Turn { line: Line { judged, ..line("so it is") }, wants: None, helped: Some(true) };
    let leg = leg(world, n);
    world.report(leg, LegEvent::Assisted(Assisted::Wrote(Box::new(turn), None)));
    step(world, n, ChatStep::End { by: CUSTOMER });
    world.closed.pop().expect("a record").reopens
}

#[test]
fn who_writes_again_about_the_same_comes_back_to_it_and_who_does_not_say_who_it_is_to_nothing() {
    let mut world = world();
    world.policy.reopen_within_ms = 3_600_000;
    world.publish();
    assert_eq!(asks(&mut world, 1, "anna", "loan"), None);
    assert_eq!(asks(&mut world, 2, "anna", "card"), None, "about something else in the same queue");
    assert_eq!(asks(&mut world, 3, "anna", "loan"), Some(World::call(1)));
    assert_eq!(asks(&mut world, 4, "", "loan"), None);
    assert!(asks(&mut world, 5, &World::call(4).to_string(), "loan").is_none(), "an id is nobody's name");
}
