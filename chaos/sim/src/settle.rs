//! The beginning and the end of a run: a cluster with a tenant, and what must be true when everything has healed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tandem::core::{
    Command,
    command::Envelope,
    policy::{
        Agent, AgentKind, Assistant, Channel, Fallback, InitialState, Misses, OnClose, Policy, Queue, Recording, Route, ServiceLevel,
        Sharing, Strategy, Treatment, Unanswered,
    },
};
use tokio::time::{Instant, sleep};

use super::{
    GROUP, World, domain,
    stage::{NODES, Running},
};

/// How long the founding may take.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// T_heal: after this long without faults all that was begun must have ended.
const SETTLE_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const AGENTS: u32 = 14;
const AI_SLOTS: u8 = 4;

/// Starts all nodes and publishes a tenant of one queue.
pub(super) async fn found(world: &World) -> Result<(), String> {
    let starts = NODES.map(|node| {
        let stage = std::sync::Arc::clone(&world.stage);
        tokio::spawn(async move { stage.start(node).await })
    });
    for start in starts {
        start.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    }
    let running = world.stage.running(NODES[0]).ok_or("the first node does not run")?;
    let give_up = Instant::now() + FOUND_WITHIN;
    while running.handle.cluster().leader(GROUP).is_none() && Instant::now() < give_up {
        sleep(LOOK_EVERY).await;
    }
    running.handle.cluster().assign_domain(domain().as_str(), FOUND_WITHIN).await.map_err(|error| error.to_string())?;
    let policy = Command::PublishPolicy { domain: domain(), expect: None, policy: Box::new(policy()), entropy: [7; 32] };
    let envelope = Envelope { request: None, command: policy };
    let outcome = running.handle.command(&domain(), envelope, FOUND_WITHIN).await.map_err(|error| error.to_string())?;
    if outcome.is_accepted() { Ok(()) } else { Err(format!("the policy was refused: {outcome:?}")) }
}

fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.queues.insert("support".into(), queue());
    policy.routes.insert("support".into(), Route { queue: "support".into(), priority: None, emergency: false });
    for n in 0..AGENTS {
        let name = format!("agent{n:02}");
        let agent = Agent {
            kind: AgentKind::Human,
            contact: Some(format!("sip:{name}@phones")),
            ha1: None,
            skills: BTreeMap::from([("support".into(), 5)]),
            queues: Vec::new(),
            capacity: BTreeMap::from([(Channel::Voice, 1)]),
            exclusive: Vec::new(),
            initial: InitialState::Available,
            assistant: None,
        };
        policy.agents.insert(name.as_str().into(), agent);
    }
    // Few enough that people are asked directly, too.
    let robot = Agent {
        kind: AgentKind::Ai,
        contact: None,
        ha1: None,
        skills: BTreeMap::from([("support".into(), 5)]),
        queues: Vec::new(),
        capacity: BTreeMap::from([(Channel::Voice, AI_SLOTS)]),
        exclusive: Vec::new(),
        initial: InitialState::Available,
        assistant: Some(Arc::new(Assistant::default())),
    };
    policy.agents.insert("robot".into(), robot);
    policy
}

fn queue() -> Queue {
    Queue {
        strategy: Strategy::LongestIdle,
        service_level: Some(ServiceLevel { answer_within_ms: 20_000, target_percent: 80 }),
        offer_timeout_ms: 4_000,
        max_wait_ms: 25_000,
        on_max_wait: Fallback::Reject { status: 480 },
        wrap_up_ms: 700,
        waiting_max: 0,
        on_full: Fallback::Reject { status: 486 },
        require_agents: false,
        on_no_agents: Fallback::Reject { status: 480 },
        hours: None,
        on_closed: Fallback::Reject { status: 480 },
        waiting_on_close: OnClose::Finish,
        priority: 5,
        promote_after_ms: 0,
        steps: Vec::new(),
        affinity_ms: 0,
        misses: Misses {
            max: 0,
            break_reason: "missed".into(),
            timeout_delay_ms: 800,
            reject_delay_ms: 500,
            busy_delay_ms: 500,
            unreachable_delay_ms: 1_000,
        },
        max_unanswered_ms: 0,
        treatment: Treatment::default(),
        record: Recording::Off,
        callback: Default::default(),
        sharing: Sharing { within_ms: 4_000, unanswered: Unanswered::Rollback, ..Sharing::default() },
        aid: None,
    }
}

/// Waits until nothing is left to be done, or says what is.
pub(super) async fn settles(world: &World) {
    let give_up = Instant::now() + SETTLE_WITHIN;
    loop {
        let open = open(world).await;
        if open.is_empty() {
            return;
        }
        if Instant::now() >= give_up {
            open.into_iter().for_each(|what| world.judge.violated(format!("L1: {SETTLE_WITHIN:?} after healing {what}")));
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// True if a replica is what the log made.
async fn is_golden(world: &World, running: &Running) -> bool {
    let within = Duration::from_secs(1);
    let same = running.handle.read(GROUP, true, within, |state| world.judge.look(GROUP, |golden| state == golden)).await;
    same.ok().flatten().unwrap_or(false)
}

/// What is still open.
async fn open(world: &World) -> Vec<String> {
    let mut open = Vec::new();
    let say = |open: &mut Vec<String>, holds: bool, what: &dyn Fn() -> String| {
        if holds {
            open.push(what());
        }
    };
    world.judge.look(GROUP, |state| {
        let calls: Vec<_> = state.domains().values().flat_map(|domain| domain.calls().values()).collect();
        say(&mut open, !calls.is_empty(), &|| {
            let first = &calls[0];
            format!("{} calls live (C1), the first {:?}, {}, on {:?}", calls.len(), first.id, first.state.name(), first.edge)
        });
        let held = state.domains().values().flat_map(|domain| domain.agents()).filter(|(_, agent)| !agent.contacts.is_empty()).count();
        say(&mut open, held > 0, &|| format!("{held} agents have a contact (A3)"));
        let orders: Vec<_> = state.open_orders().collect();
        say(&mut open, !orders.is_empty(), &|| format!("{} orders are in the outbox (E2), the first {:?}", orders.len(), orders[0].action));
    });
    let (callers, phones) = world.town.busy();
    say(&mut open, callers + phones > 0, &|| format!("{callers} callers and {phones} phones hold a line"));
    for node in NODES {
        match world.stage.running(node) {
            Some(running) => {
                let golden = is_golden(world, &running).await;
                say(&mut open, !golden, &|| format!("the replica of node {node} is not what the log made (S1)"));
            }
            None => open.push(format!("node {node} does not run")),
        }
    }
    let leaders: Vec<_> = world.stage.all().iter().map(|(_, running)| running.handle.cluster().leader(GROUP)).collect();
    say(&mut open, leaders.windows(2).any(|two| two[0] != two[1] || two[0].is_none()), &|| {
        format!("the nodes name the leaders {leaders:?}")
    });
    open
}

/// Every call that was accepted left one record, no other that was said not to be; every archive holds what the log made.
pub(super) async fn books_agree(world: &World) {
    let judge = &world.judge;
    for call in world.books.accepted.lock().iter() {
        let records = judge.records(GROUP, *call);
        if records != 1 {
            judge.violated(format!("C1/D1: {call:?} was accepted and left {records} records"));
        }
    }
    for call in world.books.unavailable.lock().iter() {
        if judge.has_arrived(*call) {
            judge.violated(format!("C1: {call:?} was said to be certainly not done, and is in the log"));
        }
    }
    let golden = judge.archived(GROUP);
    for (node, running) in world.stage.all() {
        let mut found = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            match running.handle.cdrs(GROUP, from, 1_000).await {
                Ok(page) => {
                    found.extend(page.items.into_iter().map(|(_, bytes)| bytes));
                    next = page.next;
                }
                Err(error) => {
                    judge.violated(format!("D1: the archive of node {node} cannot be read: {error}"));
                    break;
                }
            }
        }
        if found != golden {
            judge.violated(format!("D1: the archive of node {node} holds {} records, the log made {}", found.len(), golden.len()));
        }
    }
}
