//! Queue rules beyond the plain path: groups of requirements, affinity, hours, limits, slots, redirection.

use super::world::{EDGE, World, agent, queue};
use crate::core::{
    Outcome, Reason,
    cdr::{AttemptResult, CallOutcome},
    command::{Binding, Command, Intent, LegEvent},
    effect::{Action, EventKind},
    id::LegId,
    party::{FlowRef, Target, Transport},
    policy::{Channel, Fallback, Hours, OnClose, Route, Step, Strategy},
    time::WallTime,
};

#[test]
fn however_many_calls_cannot_be_served_the_next_that_can_is() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    for n in 2..=200 {
        world.arrive_as(n, |arrive| arrive.skills = vec![("support".into(), 9)]);
    }
    world.arrive(201);
    world.answer("a");
    world.agent_hangs_up("a");
    assert_eq!(world.rung(201), ["a"]);
}

#[test]
fn skills_asked_for_by_the_call_add_to_those_of_the_queue() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.policy.agents.insert("b".into(), agent(&[("support", 5), ("french", 3)]));
    world.publish();
    world.arrive_as(1, |arrive| arrive.skills = vec![("french".into(), 3)]);
    assert_eq!(world.rung(1), ["b"]);
    world.arrive_as(2, |arrive| arrive.skills = vec![("french".into(), 1)]);
    assert!(world.rung(2).is_empty(), "who speaks no French gets no French caller");
}

#[test]
fn an_agent_of_several_queues_takes_by_priority_and_age_over_all_of_them() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.policy.queues.insert("sales".into(), queue(Strategy::RoundRobin));
    world.policy.routes.insert("sales".into(), Route { queue: "sales".into(), priority: None, emergency: false });
    world.policy.agents.get_mut("a").expect("made by new").skills.insert("sales".into(), 1);
    world.publish();
    world.arrive(1);
    world.pass(10);
    world.arrive_as(2, |arrive| arrive.to_user = "sales".into());
    world.pass(10);
    world.arrive(3);
    world.arrive_as(4, |arrive| (arrive.to_user, arrive.priority) = ("sales".into(), Some(1)));
    for expected in [1, 4, 2, 3] {
        assert_eq!(world.rung(expected), ["a"]);
        world.answer("a");
        world.agent_hangs_up("a");
    }
}

#[test]
fn a_call_does_not_wait_for_a_preferred_agent_who_is_not_at_work() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.rules().affinity_ms = 60_000;
    world.publish();
    world.intent("b", Intent::Break { reason: "lunch".into() });
    world.arrive_as(1, |arrive| arrive.prefer = Some("b".into()));
    assert_eq!(world.rung(1), ["a"]);
}

#[test]
fn who_waits_for_one_agent_holds_up_nobody_else() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.rules().affinity_ms = 60_000;
    world.publish();
    for n in 1..=3 {
        world.arrive_as(n, |arrive| arrive.prefer = Some("b".into()));
    }
    world.arrive(4);
    assert_eq!((world.rung(1), world.rung(4)), (vec!["b".to_owned()], vec!["a".to_owned()]));
    world.answer("b");
    world.agent_hangs_up("b");
    assert_eq!(world.rung(2), ["b"], "the preferred agent takes them in order");
}

#[test]
fn a_preferred_agent_who_declines_is_no_longer_waited_for() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b"]);
    world.rules().affinity_ms = 60_000;
    world.publish();
    world.arrive_as(1, |arrive| arrive.prefer = Some("b".into()));
    world.refuse("b", 603);
    assert_eq!(world.rung(1), ["a"]);
}

#[test]
fn the_longest_wait_does_not_start_anew_with_a_routing_step() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    let step = |for_ms, level| Step { for_ms, require: [("support".into(), level)].into() };
    world.rules().steps = vec![step(8_000, 9), step(0, 8)];
    world.rules().max_wait_ms = 10_000;
    world.publish();
    world.arrive(1);
    world.pass(10_000);
    assert_eq!((world.closed[0].end_reason.as_str(), world.closed[0].waited_ms()), ("max_wait", 10_000));
}

#[test]
fn an_unanswered_call_is_given_up_by_its_time_since_it_called() {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    world.policy.queues.insert("second".into(), queue(Strategy::LongestIdle));
    world.rules().max_wait_ms = 10_000;
    world.rules().on_max_wait = Fallback::Queue("second".into());
    world.policy.queues.get_mut("second").expect("just made").max_unanswered_ms = 15_000;
    world.publish();
    world.arrive(1);
    world.pass(15_000);
    assert_eq!(world.closed[0].waited_ms(), 15_000);
}

#[test]
fn a_queue_that_overflows_asks_the_rules_of_the_next() {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    let mut second = queue(Strategy::LongestIdle);
    second.waiting_max = 1;
    second.on_full = Fallback::Queue("third".into());
    world.policy.queues.insert("second".into(), second);
    world.policy.queues.insert("third".into(), queue(Strategy::LongestIdle));
    world.rules().max_wait_ms = 10_000;
    world.rules().on_max_wait = Fallback::Queue("second".into());
    world.publish();
    world.arrive(1);
    world.arrive(2);
    world.pass(10_000);
    let rows = world.state.domains()[&World::domain()].calls();
    let queues: Vec<_> = rows.values().map(|call| call.queue.as_str().to_owned()).collect();
    assert_eq!(queues, ["second", "third"]);
    assert_eq!(rows[&World::call(2)].entered, rows[&World::call(1)].entered, "age goes with the call");
}

#[test]
fn queues_that_send_calls_in_a_circle_end_them() {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    world.rules().max_wait_ms = 1_000;
    world.rules().on_max_wait = Fallback::Queue("support".into());
    world.publish();
    world.arrive(1);
    world.pass(20_000);
    assert_eq!(world.closed[0].outcome, CallOutcome::Rejected);
}

/// Hours that are open every day until a minute after the world begins.
fn closing_in_a_minute() -> Hours {
    let minute = (1_795_000_000_000_i64.div_euclid(60_000) % 1_440) as u16;
    Hours { utc_offsets: vec![(WallTime(0), 0)], week: std::array::from_fn(|_| vec![(0, minute + 1)]), exceptions: Default::default() }
}

#[test]
fn when_a_queue_closes_those_who_wait_are_sent_on_or_finished_as_it_says() {
    for (rule, still_waiting) in [(OnClose::Finish, 1), (OnClose::Fallback, 0)] {
        let mut world = World::new(Strategy::LongestIdle, &[]);
        world.policy.hours.insert("day".into(), closing_in_a_minute());
        world.rules().hours = Some("day".into());
        world.rules().waiting_on_close = rule;
        world.publish();
        assert_eq!(world.arrive(1), Outcome::Accepted);
        world.pass(60_000);
        assert!(matches!(world.arrive(2), Outcome::Refused { status: 480, reason: Reason::OutsideHours { opens_at: Some(_) } }));
        assert_eq!(world.state.domains()[&World::domain()].calls().len(), still_waiting);
        assert!(world.events.contains(&EventKind::QueueOpened) && world.events.contains(&EventKind::QueueClosed));
    }
}

#[test]
fn a_queue_nobody_works_in_says_so_at_the_door() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.rules().require_agents = true;
    world.publish();
    world.intent("a", Intent::Break { reason: "lunch".into() });
    assert_eq!(world.arrive(1), Outcome::Accepted, "an agent on break is staff");
    world.intent("a", Intent::Offline);
    assert_eq!(world.arrive(2), Outcome::Refused { status: 480, reason: Reason::NoAgentsForQueue });
}

#[test]
fn two_slots_carry_two_calls_and_no_third() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.policy.agents.get_mut("a").expect("made by new").capacity.insert(Channel::Voice, 2);
    world.publish();
    for n in 1..=3 {
        world.arrive(n);
    }
    assert_eq!([1, 2, 3].map(|n| world.rung(n).len()), [1, 1, 0]);
    world.caller_leaves(1);
    assert_eq!(world.rung(3), ["a"]);
}

#[test]
fn voice_blocks_chat_or_not_as_the_profile_says() {
    let mut profile = agent(&[]);
    profile.capacity.insert(Channel::Chat, 2);
    let talking = [(Channel::Voice, 1)];
    let chatting = [(Channel::Chat, 1)];
    assert!(profile.has_room(&talking, Channel::Chat) && profile.has_room(&chatting, Channel::Chat));
    assert!(!profile.has_room(&talking, Channel::Voice), "one call at a time");
    profile.exclusive.push(Channel::Voice);
    assert!(!profile.has_room(&talking, Channel::Chat) && !profile.has_room(&chatting, Channel::Voice));
    assert!(profile.has_room(&chatting, Channel::Chat));
}

#[test]
fn a_phone_that_redirects_is_rung_where_it_says_for_the_rest_of_the_offer() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.pass(5_000);
    let leg = world.leg_of("a");
    let moved = LegEvent::Refused { status: 302, reason: String::new(), contacts: vec!["sip:elsewhere@10.0.0.2".into()] };
    assert_eq!(world.report(leg, moved), Outcome::Accepted);
    let next = world.leg_of("a");
    assert!(next != leg);
    assert!(world.ordered(next, |action| {
        matches!(action, Action::Ring(ring) if ring.target == Target::Contact { uri: "sip:elsewhere@10.0.0.2".into() })
    }));
    world.pass(10_000);
    assert!(world.rung(1).is_empty(), "the offer's time did not start anew");
}

#[test]
fn a_phone_behind_a_dead_node_is_not_rung_until_it_registers_again() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.policy.agents.get_mut("a").expect("made by new").contact = None;
    world.publish();
    let bind = |incarnation| Command::Bind {
        domain: World::domain(),
        agent: "a".into(),
        binding: Binding {
            instance: "i1".into(),
            contact: "sip:a@10.0.0.9".into(),
            path: vec![],
            transport: Transport::Tcp,
            received: "10.0.0.9:5061".into(),
            flow: Some(FlowRef { node: EDGE.node, incarnation, flow: 1 }),
            expires_s: 3_600,
        },
    };
    world.apply(bind(EDGE.incarnation));
    world.apply(Command::EdgeLost { edge: EDGE, heirs: Vec::new() });
    let next = crate::core::id::Edge { incarnation: EDGE.incarnation + 1, ..EDGE };
    world.arrive_as(1, |arrive| arrive.edge = next);
    assert!(world.rung(1).is_empty());
    world.apply(bind(next.incarnation));
    assert_eq!(world.rung(1), ["a"]);
}

#[test]
fn each_kind_of_miss_has_its_own_counter() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    for status in [603, 486, 503] {
        world.refuse("a", status);
        world.pass(10_000);
    }
    world.pass(15_000 + 5_000);
    world.caller_leaves(1);
    let offers = world.agent("a").offers;
    assert_eq!(
        (offers.made, offers.rejected, offers.busy, offers.unreachable, offers.timeout, offers.rescinded, offers.accepted),
        (5, 1, 1, 1, 1, 1, 0)
    );
    let results: Vec<_> = world.closed[0].attempts.rows.iter().map(|attempt| attempt.result).collect();
    assert_eq!(results[0], AttemptResult::Rejected { status: 603 });
}

#[test]
fn a_queue_counts_answers_and_abandons_once() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.arrive(2);
    world.pass(10_000);
    world.answer("a");
    world.caller_leaves(2);
    world.caller_leaves(1);
    let row = &world.state.domains()[&World::domain()].queues()["support"];
    assert_eq!((row.answered, row.answered_within_level, row.abandoned, row.served_now), (1, 1, 1, 0));
}

#[test]
fn a_decision_names_its_candidates_and_cites_the_policy_version() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b", "c"]);
    world.intent("c", Intent::Break { reason: "lunch".into() });
    world.publish();
    world.arrive(1);
    world.caller_leaves(1);
    let decision = &world.closed[0].decisions.rows[0];
    assert_eq!((decision.policy_version, decision.ties, decision.candidates.len()), (2, 2, 2));
    assert_eq!(decision.others.values().sum::<u32>(), 1);
    assert_eq!(world.closed[0].attempts.rows[0].leg, LegId::caller(World::call(1)).n + 1);
}

#[test]
fn a_policy_change_applies_to_the_next_decision_only() {
    let mut world = World::new(Strategy::LongestIdle, &["a"]);
    world.arrive(1);
    world.rules().offer_timeout_ms = 60_000;
    world.publish();
    world.pass(15_000);
    assert!(world.rung(1).is_empty(), "the offer keeps the time it was made with");
    world.pass(5_000);
    world.pass(59_999);
    assert_eq!(world.rung(1), ["a"]);
}
