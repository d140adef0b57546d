//! Random commands, many of them: invariants after every step, the same bytes twice, snapshot and tail as full replay.

use std::collections::BTreeMap;

use super::world::World;
use crate::core::{
    Outcome, State, codec,
    command::{Actor, Binding, Command, Envelope, HangUpCause, Intent, LegEvent, LegReport},
    effect::Effects,
    id::{CallId, Edge, LegId, NodeId},
    party::{Dialog, Sdp, Transport},
    policy::{Fallback, Step, Strategy},
    time::{At, LogTime, WallTime},
};

const SEEDS: u64 = 10;
const COMMANDS_PER_SEED: u64 = 10_500;

/// SplitMix64: small, good enough, and the same everywhere.
struct Rng(u64);

impl Rng {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.next(from.len() as u64) as usize].clone()) }
    }
}

struct Generator {
    rng: Rng,
    calls: u64,
    seqs: BTreeMap<LegId, u32>,
    /// Current life of each node.
    lives: [u64; 3],
}

impl Generator {
    fn edge(&mut self) -> Edge {
        let node = self.rng.next(3);
        Edge { node: NodeId(1 + node), incarnation: self.lives[node as usize] }
    }

    fn leg_event(&mut self, agent_leg: bool) -> LegEvent {
        let dialog = Dialog::default();
        match (agent_leg, self.rng.next(10)) {
            (true, 0..=2) => LegEvent::Ringing { dialog },
            (true, 3..=6) => LegEvent::Answered { dialog, sdp: Sdp::default() },
            (true, 7) => LegEvent::Refused { status: [486, 603, 503][self.rng.next(3) as usize], reason: String::new(), contacts: vec![] },
            (true, 8) => LegEvent::Unreachable { status: 408 },
            (_, 9) => LegEvent::Media { dialog, sdp: Sdp::default(), held: self.rng.next(2) == 0 },
            _ => LegEvent::HungUp { cause: HangUpCause::Bye },
        }
    }

    fn command(&mut self, world: &World) -> Command {
        let domain = World::domain();
        let rows = &world.state.domains()[&domain];
        let live: Vec<_> = rows.calls().values().cloned().collect();
        let agent = self.rng.pick(&["a", "b", "c", "d", "zoe"]).expect("not empty").into();
        match self.rng.next(100) {
            0..=29 => {
                self.calls += 1;
                let mut arrive = None;
                let mut scratch = World::new(Strategy::LongestIdle, &[]);
                scratch.arrive_as(self.calls, |made| arrive = Some(made.clone()));
                let mut arrive = arrive.expect("made above");
                arrive.edge = self.edge();
                arrive.priority = Some(self.rng.next(4) as u8);
                if self.rng.next(4) == 0 {
                    arrive.skills = vec![("support".into(), 1 + self.rng.next(8) as u8)];
                }
                if self.rng.next(4) == 0 {
                    arrive.prefer = Some(agent);
                }
                Command::Arrive(Box::new(arrive))
            }
            30..=64 => {
                let Some(call) = self.rng.pick(&live) else { return Command::Lead { grace_ms: self.rng.next(3_000) } };
                let legs: Vec<_> = call.legs.keys().copied().collect();
                let n = if self.rng.next(6) == 0 { 0 } else { self.rng.pick(&legs).unwrap_or(0) };
                let leg = LegId { call: call.id, n };
                let seq = self.seqs.entry(leg).or_insert(0);
                *seq += 1;
                let seq = *seq;
                Command::Leg(Box::new(LegReport { domain, leg, edge: call.edge, seq, event: self.leg_event(n > 0) }))
            }
            65..=74 => {
                let intent = match self.rng.next(8) {
                    0 => Intent::Break { reason: "tea".into() },
                    1 => Intent::Offline,
                    2 => Intent::FinishWrapUp,
                    3 => Intent::ExtendWrapUp { by_ms: 500 },
                    4 => Intent::ForceRelease,
                    _ => Intent::Available,
                };
                Command::AgentIntent { domain, agent, intent, by: Actor::System }
            }
            75..=84 => Command::FireTimers { timers: world.state.due(LogTime((world.now_ms) * 1_000_000), 8) },
            85..=86 => {
                let binding = Binding {
                    instance: "i".into(),
                    contact: "sip:x@y".into(),
                    path: vec![],
                    transport: Transport::Udp,
                    received: "1.2.3.4:5".into(),
                    flow: None,
                    expires_s: 30,
                };
                Command::Bind { domain, agent, binding }
            }
            87..=88 => Command::Unbind { domain, agent, instance: "i".into() },
            89 => Command::PublishPolicy { domain, expect: None, policy: Box::new(world.policy.clone()), entropy: [7; 32] },
            90..=92 => Command::EffectsDone { domain, effects: rows.parting().take(5).map(|order| order.id).collect() },
            93..=94 => Command::HangUp { domain, call: self.rng.pick(&live).map_or(CallId(0), |call| call.id), by: Actor::System },
            95..=96 => Command::Requeue {
                domain,
                call: self.rng.pick(&live).map_or(CallId(0), |call| call.id),
                queue: Some("second".into()),
                priority: Some(2),
                by: Actor::System,
            },
            97 => {
                let edge = self.edge();
                self.lives[edge.node.0 as usize - 1] += 1;
                Command::EdgeLost { edge, heir: Some(Edge { node: NodeId(9), incarnation: 1 }) }
            }
            98 => Command::RaiseLevel { level: 1 },
            _ => Command::Erase { domain, subject: format!("{}", self.rng.next(3)) },
        }
    }
}

fn name(command: &Command) -> String {
    let text = format!("{command:?}");
    text.chars().take_while(|c| c.is_alphanumeric()).collect()
}

fn small_world(seed: u64) -> World {
    let strategies = [
        Strategy::LongestIdle,
        Strategy::RoundRobin,
        Strategy::LeastOccupied,
        Strategy::FewestCalls,
        Strategy::HighestSkill,
        Strategy::RingAll,
    ];
    let mut world = World::new(strategies[(seed % 6) as usize], &["a", "b", "c", "d"]);
    let mut second = super::world::queue(Strategy::LongestIdle);
    second.max_wait_ms = 20_000;
    world.policy.queues.insert("second".into(), second);
    world.rules().max_wait_ms = 30_000;
    world.rules().wrap_up_ms = 1_000;
    world.rules().promote_after_ms = 10_000;
    world.rules().affinity_ms = 3_000;
    let step = |for_ms, level| Step { for_ms, require: [("support".into(), level)].into() };
    world.rules().steps = vec![step(5_000, 6), step(0, 1)];
    let expert = world.policy.agents.get_mut("d").expect("made by new");
    (expert.skills, expert.contact) = ([("support".into(), 9)].into(), None);
    world.rules().on_max_wait = Fallback::Queue("second".into());
    world.publish();
    world
}

#[test]
fn random_commands_keep_every_invariant_and_replay_to_the_same_bytes() {
    let mut accepted: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut world = small_world(seed);
        let mut generator = Generator { rng: Rng(seed), calls: 0, seqs: BTreeMap::new(), lives: [1; 3] };
        let mut log: Vec<(At, Envelope)> = Vec::new();
        let start = codec::encode(&world.state);
        let mut middle = None;
        for step in 0..COMMANDS_PER_SEED {
            world.now_ms += generator.rng.next(400);
            let command = generator.command(&world);
            let at = At {
                group: 1,
                index: world.index + 1,
                time: LogTime(world.now_ms * 1_000_000),
                wall: WallTime(1_795_000_000_000 + world.now_ms as i64),
            };
            log.push((at, Envelope { request: None, command: command.clone() }));
            let outcome = world.apply(command.clone());
            let row = accepted.entry(name(&command)).or_default();
            row.1 += 1;
            row.0 += u64::from(matches!(outcome, Outcome::Accepted | Outcome::Published { .. }));
            if step == COMMANDS_PER_SEED / 2 {
                middle = Some((world.bytes(), log.len()));
            }
        }
        let (snapshot, tail) = middle.expect("every run passes its middle");
        for (bytes, from) in [(&start, 0), (&snapshot, tail)] {
            let mut replica: State = codec::decode_snapshot(bytes).expect("a snapshot reads back");
            for (at, envelope) in &log[from..] {
                replica.apply(*at, envelope, &mut Effects::default());
            }
            assert!(codec::encode(&replica) == world.bytes(), "seed {seed}: a replay from entry {from} differs");
        }
    }
    let (done, all) = accepted.values().fold((0, 0), |(done, all), row| (done + row.0, all + row.1));
    println!("{:<16} accepted / proposed", "command");
    for (name, (done, all)) in &accepted {
        println!("{name:<16} {done} / {all}");
        assert!(*done >= 100, "{name} is hardly ever accepted");
    }
    println!("all              {done} / {all}");
    assert!(all >= 100_000 && done * 10 >= all * 3);
}
