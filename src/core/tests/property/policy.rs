//! The rules that random commands meet.

use std::sync::Arc;

use crate::core::{
    aid::Aid,
    policy::{
        Agent, AgentKind, Assistant, Callbacks, Channel, Fallback, Hours, OnClose, Outside, Policy, Recording, Route, Sharing, Step,
        Strategy, Topic, Treatment, Unanswered,
    },
    tests::world::{agent, queue, trunk_out},
};

/// They serve no call of any queue, and so are free to be asked.
pub(super) const IDLE: [&str; 3] = ["f", "g", "h"];

/// Three queues that differ in every rule, agents with one, two and no slots free for voice, one with a phone to register.
pub(super) fn policy(strategy: Strategy) -> Policy {
    let mut policy = Policy { chats_max: 6, calls_max: 40, retention_days: 2, reopen_within_ms: 20_000, ..Policy::default() };
    let mut support = queue(strategy);
    let step = |for_ms, level| Step { for_ms, require: [("support".into(), level)].into() };
    support.steps = vec![step(5_000, 6), step(5_000, 3), step(0, 1)];
    (support.max_wait_ms, support.offer_timeout_ms, support.wrap_up_ms) = (30_000, 4_000, 6_000);
    (support.promote_after_ms, support.affinity_ms, support.max_unanswered_ms) = (10_000, 3_000, 40_000);
    support.misses.max = 3;
    support.on_max_wait = Fallback::Queue("second".into());
    let mut second = queue(Strategy::LongestIdle);
    (second.max_wait_ms, second.waiting_max, second.hours) = (20_000, 6, Some("half".into()));
    (second.on_full, second.on_closed) = (Fallback::Queue("ring".into()), Fallback::Queue("ring".into()));
    second.waiting_on_close = OnClose::Fallback;
    second.treatment = Treatment { answer_waiting: true, announce_every_ms: 4_000, ..Treatment::default() };
    let mut ring = queue(Strategy::RingAll);
    (ring.max_wait_ms, ring.require_agents, ring.promote_after_ms) = (15_000, true, 5_000);
    ring.record = Recording::All;
    policy.queues = [("support".into(), support), ("second".into(), second), ("ring".into(), ring)].into();
    // Open three minutes of each five.
    let spans: Vec<_> = (0..288).map(|n| (n * 5, n * 5 + 3)).collect();
    policy.hours.insert("half".into(), Hours { week: std::array::from_fn(|_| spans.clone()), ..Hours::default() });
    for (name, level) in [("a", 9), ("b", 5), ("c", 5), ("d", 2), ("e", 7)] {
        policy.agents.insert(name.into(), agent(&[("support", level), ("second", 1)]));
    }
    let mut idle = agent(&[]);
    idle.queues = vec!["second".into()];
    policy.agents.extend(IDLE.map(|name| (name.into(), idle.clone())));
    let two = policy.agents.get_mut("e").expect("made above");
    two.capacity.insert(Channel::Voice, 2);
    two.queues = vec!["support".into(), "ring".into()];
    policy.agents.get_mut("d").expect("made above").contact = None;
    for name in ["b", "f"] {
        let chats = policy.agents.get_mut(name).expect("made above");
        chats.capacity.insert(Channel::Chat, 2);
    }
    // Whoever talks does not write.
    policy.agents.get_mut("b").expect("made above").exclusive = vec![Channel::Voice];
    let two = [(Channel::Voice, 2), (Channel::Chat, 2)].into();
    let topics = Arc::new(vec![Topic { name: "funds".into(), phrases: vec!["which fund".into()] }]);
    let assistant = Some(Arc::new(Assistant { topics, ..Assistant::default() }));
    let robot = Agent { kind: AgentKind::Ai, contact: None, capacity: two, assistant, ..agent(&[("support", 3), ("ring", 1)]) };
    policy.agents.insert("ai".into(), robot);
    let route = |queue: &str, priority, emergency| Route { queue: queue.into(), priority, emergency };
    policy.routes =
        [("support", None), ("second", Some(2)), ("ring", None)].map(|(to, priority)| (to.to_owned(), route(to, priority, false))).into();
    policy.routes.insert("112".into(), route("second", Some(0), true));
    policy.trunks.insert("out".into(), trunk_out(&["+49"]));
    policy.outside = Outside { numbers: vec!["+4930".into()], ring_ms: 6_000 };
    let support = policy.queues.get_mut("support").expect("made above");
    support.aid = Some(Arc::new(Aid { suggest: true, ..Aid::default() }));
    support.sharing = Sharing { within_ms: 3_000, unanswered: Unanswered::Rollback, people: Some("ring".into()), ..Sharing::default() };
    for queue in policy.queues.values_mut() {
        queue.callback = Callbacks { dials_max: 2, pause_ms: 4_000, ring_ms: 8_000, max_age_ms: 40_000 };
    }
    policy
}
