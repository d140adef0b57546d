//! Random commands that know the model: most are sensible for the state they meet, some are stale, early or absurd.

use std::collections::BTreeMap;

use super::policy::{IDLE, policy};
use crate::core::{
    Command, State,
    call::{Call, CallState},
    command::{Actor, Arrive, Binding, ConsultStep, Envelope, HangUpCause, Intent, LegEvent, LegReport, NewCallback, TransferTo},
    domain::Domain,
    id::{AgentId, CallId, DomainId, Edge, LegId, NodeId, RequestId},
    matrix::Role,
    party::{Dialog, FlowRef, Party, Sdp, Transport},
    policy::Strategy,
    time::{LogTime, WallTime},
};

const AGENTS: [&str; 6] = ["a", "b", "c", "d", "e", "nobody"];
const STRATEGIES: [Strategy; 6] = [
    Strategy::LongestIdle,
    Strategy::RoundRobin,
    Strategy::LeastOccupied,
    Strategy::FewestCalls,
    Strategy::HighestSkill,
    Strategy::RingAll,
];
/// Arrivals give way to other commands above this, so that a run stays quick.
pub(super) const LIVE_MAX: usize = 12;
/// Earlier requests that may come again.
const REQUESTS_KEPT: usize = 8;

/// SplitMix64: small, good enough, and the same everywhere.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<T>(&mut self, from: impl ExactSizeIterator<Item = T>) -> Option<T> {
        let mut from = from;
        let len = from.len() as u64;
        if len == 0 { None } else { from.nth(self.below(len) as usize) }
    }
}

pub(super) struct Generator {
    pub(super) rng: Rng,
    seed: u64,
    pub(super) calls: u64,
    seqs: BTreeMap<LegId, u32>,
    /// Current life of each node.
    lives: [u64; 3],
    requests: Vec<Envelope>,
}

/// The domain all happens in, and one that comes and goes.
pub(super) fn main_domain() -> DomainId {
    "main".into()
}

fn side_domain() -> DomainId {
    "side".into()
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng(seed), seed, calls: 0, seqs: BTreeMap::new(), lives: [1; 3], requests: Vec::new() }
    }

    /// The command that creates the main domain.
    pub(super) fn first(&mut self) -> Envelope {
        Envelope { request: None, command: self.publish(main_domain(), false) }
    }

    /// What comes next, with an idempotency key now and then, and now and then an earlier one again.
    pub(super) fn next(&mut self, state: &State) -> Envelope {
        if self.rng.one_in(50)
            && let Some(again) = self.rng.pick(self.requests.iter()).cloned()
        {
            return again;
        }
        let request = self.rng.one_in(20).then(|| RequestId(u128::from(self.rng.below(u64::MAX))));
        let envelope = Envelope { request, command: self.command(state) };
        if request.is_some() {
            self.requests.push(envelope.clone());
            if self.requests.len() > REQUESTS_KEPT {
                self.requests.remove(0);
            }
        }
        envelope
    }

    fn command(&mut self, state: &State) -> Command {
        let domain = main_domain();
        let rows = &state.domains()[&domain];
        let arriving = if rows.calls().len() < LIVE_MAX { 260 } else { 20 };
        // A consultation is soon over, by itself or with its call.
        if self.rng.one_in(2) && rows.calls().values().any(|call| call.consult.is_some()) {
            return self.consult(rows);
        }
        if self.rng.one_in(8) {
            return self.chat(rows);
        }
        // What AI agents say comes often while they have calls.
        let with_ai = rows.calls().values().any(|call| call.legs.values().any(|leg| leg.assistant));
        if self.rng.one_in(if with_ai { 4 } else { 60 }) {
            return self.assisted(rows);
        }
        match self.rng.below(1_000) {
            n if n < arriving => self.arrive(),
            0..435 => self.report(rows),
            435..450 => self.recorded(rows),
            450..464 => self.note(rows),
            464..550 | 976..982 => self.control(rows),
            550..590 => self.consult(rows),
            590..640 => self.transfer(rows),
            640..740 => {
                let intent = self.intent();
                let wrapping: Vec<_> = rows.agents().iter().filter(|(_, agent)| agent.wrap_up_until.is_some()).map(|(id, _)| id).collect();
                let of_wrap_up = matches!(intent, Intent::FinishWrapUp | Intent::ExtendWrapUp { .. });
                let agent = self.rng.pick(wrapping.into_iter()).filter(|_| of_wrap_up).cloned().unwrap_or_else(|| self.agent());
                Command::AgentIntent { domain, agent, intent, by: self.actor() }
            }
            740..840 => self.timers(state),
            840..852 => self.callback(state, rows),
            852..870 => self.bind(),
            870..885 => Command::Unbind { domain, agent: self.agent(), instance: self.instance() },
            885..897 => self.publish(domain, true),
            897..912 => {
                let domain = side_domain();
                if self.rng.one_in(2) { self.publish(domain, false) } else { Command::RemoveDomain { domain } }
            }
            912..937 => {
                let known: Vec<_> = rows.parting().map(|order| order.id).collect();
                let effects = (0..3).filter_map(|_| self.rng.pick(known.iter().copied())).collect();
                Command::EffectsDone { domain, effects }
            }
            937..950 => Command::HangUp { domain, call: self.call(rows), by: self.actor() },
            950..970 => {
                let queue = (!self.rng.one_in(3)).then(|| ["support", "second", "ring", "none"][self.rng.below(4) as usize].into());
                let priority = self.rng.one_in(2).then(|| self.rng.below(4) as u8);
                Command::Requeue { domain, call: self.call(rows), queue, priority, by: self.actor() }
            }
            970..976 => Command::Lead { grace_ms: self.rng.below(3_000) },
            982..986 => self.edge_lost(),
            986..990 => self.hand_over(),
            990..993 => Command::RaiseLevel { level: self.rng.below(3) as u32 },
            993..998 => Command::DropOld,
            _ => Command::Erase { domain, subject: format!("+49 30 {}", self.rng.below(9)) },
        }
    }

    pub(super) fn edge(&mut self) -> Edge {
        let node = self.rng.below(3);
        Edge { node: NodeId(1 + node), incarnation: self.lives[node as usize] }
    }

    fn edge_lost(&mut self) -> Command {
        let mut edge = self.edge();
        let life = &mut self.lives[edge.node.0 as usize - 1];
        if self.rng.one_in(6) {
            // A life nothing came from: the node fell twice before the first was noticed.
            edge.incarnation += 1;
            *life += 1;
        }
        if !self.rng.one_in(8) {
            *life += 1;
        }
        let heirs = (0..self.rng.below(3)).map(|_| self.edge()).filter(|heir| heir.node != edge.node).collect();
        Command::EdgeLost { edge, heirs }
    }

    fn hand_over(&mut self) -> Command {
        let from = self.edge();
        Command::HandOver { from, heirs: (0..2).map(|_| self.edge()).collect() }
    }

    pub(super) fn agent(&mut self) -> AgentId {
        AGENTS[self.rng.below(AGENTS.len() as u64) as usize].into()
    }

    pub(super) fn actor(&mut self) -> Actor {
        match self.rng.below(3) {
            0 => Actor::System,
            1 => Actor::Agent(self.agent()),
            _ => Actor::User("ops".into()),
        }
    }

    fn instance(&mut self) -> String {
        format!("phone{}", self.rng.below(2))
    }

    pub(super) fn call(&mut self, rows: &Domain) -> CallId {
        self.rng.pick(rows.calls().keys().copied()).unwrap_or(CallId(7))
    }

    /// Of a connected call mostly, to anybody, by whoever has it or by somebody else, by command or by REFER.
    fn transfer(&mut self, rows: &Domain) -> Command {
        let to = match self.rng.below(5) {
            0 => TransferTo::Queue(["support", "second", "ring", "none"][self.rng.below(4) as usize].into()),
            1 => TransferTo::Agent(self.agent()),
            2 => TransferTo::Agent(IDLE[self.rng.below(3) as usize].into()),
            _ if self.rng.one_in(5) => TransferTo::Number(["+4420123456", "49"][self.rng.below(2) as usize].into()),
            _ => TransferTo::Number(["+4930123456", "+49301", "+4930*1"][self.rng.below(3) as usize].into()),
        };
        let strict = matches!(to, TransferTo::Number(_)) && !self.rng.one_in(8);
        let fits = |call: &&Call| {
            matches!(call.state, CallState::Connected { .. }) && (!strict || call.anchored && call.sdp.is_some() && call.consult.is_none())
        };
        let connected: Vec<_> = rows.calls().values().map(|call| &**call).filter(fits).collect();
        let call = self.rng.pick(connected.into_iter());
        let domain = main_domain();
        let Some(call) = call else { return Command::Transfer { domain, call: self.call(rows), to, by: self.actor() } };
        let (n, leg) = call.legs.first_key_value().expect("a connected call has its leg");
        if self.rng.one_in(2) {
            let user = match to {
                TransferTo::Queue(queue) => queue.to_string(),
                TransferTo::Agent(agent) => agent.to_string(),
                TransferTo::Number(number) => number,
            };
            return Command::Refer { domain, leg: call.leg_id(*n), edge: call.edge, user };
        }
        let by = if self.rng.one_in(4) { self.actor() } else { Actor::Agent(leg.agent.clone()) };
        Command::Transfer { domain, call: call.id, to, by }
    }

    /// A step of an open consultation, or a new one.
    fn consult(&mut self, rows: &Domain) -> Command {
        let domain = main_domain();
        let open: Vec<_> = rows.calls().values().map(|call| &**call).filter(|call| call.consult.is_some()).collect();
        if !self.rng.one_in(3)
            && let Some(call) = self.rng.pick(open.iter())
            && let Some(leg) = call.consult.as_ref().map(|consult| consult.leg)
            && call.legs[&leg].answered.is_none()
        {
            let event = LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::from(b"v=0".to_vec()) };
            return self.numbered(call.leg_id(leg), call.edge, event);
        }
        let strict = !self.rng.one_in(8);
        let fits = |call: &&Call| matches!(call.state, CallState::Connected { .. }) && (call.anchored || !strict);
        let connected: Vec<_> = rows.calls().values().map(|call| &**call).filter(fits).collect();
        let stepped = !open.is_empty() && !self.rng.one_in(3);
        let among = if stepped { open } else { connected };
        let call = self.rng.pick(among.into_iter()).map_or_else(|| self.call(rows), |call| call.id);
        let owner = rows.calls().get(&call).and_then(|call| call.legs.values().find(|leg| leg.role == Role::Agent));
        let by = owner.map(|leg| Actor::Agent(leg.agent.clone())).filter(|_| !self.rng.one_in(4)).unwrap_or_else(|| self.actor());
        if stepped {
            let joined = rows.calls().get(&call).and_then(|call| call.consult.as_ref()).is_some_and(|consult| consult.joined);
            let join = if joined { self.rng.one_in(10) } else { !self.rng.one_in(3) };
            let step = match self.rng.below(2) {
                _ if join => ConsultStep::Join,
                0 => ConsultStep::Complete,
                _ => ConsultStep::Cancel,
            };
            return Command::ConsultStep { domain, call, step, by };
        }
        let to = if self.rng.one_in(3) {
            TransferTo::Queue(["support", "second", "ring", "none"][self.rng.below(4) as usize].into())
        } else if self.rng.one_in(3) {
            TransferTo::Agent(self.agent())
        } else {
            TransferTo::Agent(IDLE[self.rng.below(3) as usize].into())
        };
        Command::Consult { domain, call, to, by }
    }

    fn arrive(&mut self) -> Command {
        // Now and then one that arrived before.
        let n = if self.calls > 0 && self.rng.one_in(40) { 1 + self.rng.below(self.calls) } else { self.calls + 1 };
        self.calls = self.calls.max(n);
        let user = format!("+4930{}", self.rng.below(9));
        Command::Arrive(Box::new(Arrive {
            domain: if self.rng.one_in(50) { side_domain() } else { main_domain() },
            call: CallId::compose(1, NodeId(1), n),
            edge: self.edge(),
            trunk: None,
            to_user: ["support", "support", "second", "ring", "112", "unknown"][self.rng.below(6) as usize].into(),
            from: Party { uri: format!("sip:{user}@x"), user, display: String::new() },
            dialog: Dialog::default(),
            sdp: self.rng.one_in(2).then(|| Sdp::from(b"v=0".to_vec())),
            headers: Vec::new(),
            priority: self.rng.one_in(2).then(|| self.rng.below(4) as u8),
            skills: if self.rng.one_in(6) { vec![("support".into(), 1 + self.rng.below(9) as u8)] } else { Vec::new() },
            prefer: self.rng.one_in(4).then(|| self.agent()),
            anchored: !self.rng.one_in(4),
        }))
    }

    /// A caller who waits wants to be called, somebody wants a number called, or callbacks move.
    fn callback(&mut self, state: &State, rows: &Domain) -> Command {
        let domain = main_domain();
        let number = format!("+4930{}", 100 + self.rng.below(40));
        let waits = |call: &&Call| call.state == CallState::Queued && call.callback.is_none() && call.answered.is_none();
        match self.rng.below(4) {
            0 if rows.calls().len() < LIVE_MAX => {
                self.calls += 1;
                let wall = 1_795_000_000_000 + (state.now().0 / 1_000_000) as i64;
                let at = self.rng.one_in(3).then(|| WallTime(wall + self.rng.below(20_000) as i64));
                let queue = ["support", "second", "ring", "none"][self.rng.below(4) as usize].into();
                let (call, edge) = (CallId::compose(1, NodeId(1), self.calls), self.edge());
                Command::Schedule(Box::new(NewCallback { domain, call, edge, queue, number, at, priority: None, by: self.actor() }))
            }
            1 => {
                let edges: Vec<_> = rows.calls().values().filter(|call| call.is_to_be_called_back()).map(|call| call.edge).collect();
                let there = self.rng.pick(edges.into_iter());
                let from = there.unwrap_or_else(|| self.edge());
                Command::KeepCallbacks { from, heirs: (0..2).map(|_| self.edge()).collect() }
            }
            _ => {
                let waiting: Vec<_> = rows.calls().values().map(|call| &**call).filter(waits).map(|call| call.id).collect();
                let call = self.rng.pick(waiting.into_iter()).unwrap_or_else(|| self.call(rows));
                Command::Callback { domain, call, number: (!self.rng.one_in(4)).then_some(number), by: self.actor() }
            }
        }
    }

    fn report(&mut self, rows: &Domain) -> Command {
        let gone = rows.parting().map(|order| (order.leg, order.edge)).collect::<Vec<_>>();
        if self.rng.one_in(4)
            && let Some((leg, edge)) = self.rng.pick(gone.iter().copied())
        {
            return self.numbered(leg, edge, LegEvent::Ended);
        }
        let Some(call) = self.rng.pick(rows.calls().values()) else {
            return self.numbered(LegId::caller(CallId(7)), Edge { node: NodeId(1), incarnation: 1 }, LegEvent::Ended);
        };
        let own = call.caller_leg().unwrap_or(0);
        let dials = matches!(call.state, CallState::Dialling { .. });
        let line = call.line().map_or(own, |line| line.n);
        let n = if self.rng.one_in(if dials { 2 } else { 4 }) { own } else { self.rng.pick(call.legs.keys().copied()).unwrap_or(line) };
        let edge = if self.rng.one_in(30) { self.edge() } else { call.edge };
        let event = if n == own && !dials { self.caller_event(call) } else { self.agent_event() };
        self.numbered(call.leg_id(n), edge, event)
    }

    pub(super) fn numbered(&mut self, leg: LegId, edge: Edge, event: LegEvent) -> Command {
        let seq = self.seqs.entry(leg).or_insert(0);
        // Sometimes the last report again.
        *seq += u32::from(*seq == 0 || !self.rng.one_in(20));
        Command::Leg(Box::new(LegReport { domain: main_domain(), leg, edge, seq: *seq, event }))
    }

    fn agent_event(&mut self) -> LegEvent {
        let dialog = Dialog { call_id: "x".into(), ..Dialog::default() };
        let sdp = Sdp::from(b"v=0".to_vec());
        match self.rng.below(24) {
            0..4 => LegEvent::Ringing { dialog },
            4..13 => LegEvent::Answered { dialog, sdp },
            13 => LegEvent::Confirmed { dialog },
            14..17 => {
                let status = [486, 603, 503, 302, 404][self.rng.below(5) as usize];
                let contacts = if status == 302 { vec!["sip:elsewhere@192.0.2.9".into()] } else { Vec::new() };
                LegEvent::Refused { status, reason: String::new(), contacts }
            }
            17 => LegEvent::Unreachable { status: 408 },
            18..20 => LegEvent::Media { dialog, sdp, held: self.rng.one_in(2) },
            20 if self.rng.one_in(2) => LegEvent::Adopted { dialog },
            20 => LegEvent::Ended,
            _ => LegEvent::HungUp { cause: self.cause() },
        }
    }

    fn caller_event(&mut self, call: &Call) -> LegEvent {
        let dialog = call.caller.dialog.clone();
        match self.rng.below(8) {
            0 | 1 | 4 => LegEvent::Media { dialog, sdp: Sdp::default(), held: self.rng.one_in(2) },
            2 if self.rng.one_in(2) => LegEvent::Adopted { dialog },
            2 => LegEvent::Confirmed { dialog },
            3 => LegEvent::Ended,
            _ => LegEvent::HungUp { cause: self.cause() },
        }
    }

    fn cause(&mut self) -> HangUpCause {
        let causes = [
            HangUpCause::Bye,
            HangUpCause::Bye,
            HangUpCause::Cancel,
            HangUpCause::SessionExpired,
            HangUpCause::NoAck,
            HangUpCause::EdgeFault,
            HangUpCause::NotAdopted,
        ];
        causes[self.rng.below(7) as usize]
    }

    fn intent(&mut self) -> Intent {
        match self.rng.below(12) {
            0 => Intent::Break { reason: "tea".into() },
            1 => Intent::Offline,
            2 | 3 => Intent::FinishWrapUp,
            4 | 5 => Intent::ExtendWrapUp { by_ms: self.rng.below(2_000) },
            6 => Intent::ForceRelease,
            _ => Intent::Available,
        }
    }

    /// Mostly what is due, sometimes what is not yet or no longer.
    fn timers(&mut self, state: &State) -> Command {
        let until = if self.rng.one_in(5) { LogTime(u64::MAX) } else { state.now() };
        let mut timers = state.due(until, 1 + self.rng.below(8) as usize);
        if self.rng.one_in(10)
            && let Some(timer) = timers.first_mut()
        {
            timer.deadline = LogTime(timer.deadline.0 / 2);
        }
        Command::FireTimers { timers }
    }

    fn bind(&mut self) -> Command {
        let node = self.edge();
        let flow = self.rng.one_in(2).then_some(FlowRef { node: node.node, incarnation: node.incarnation, flow: 1 });
        let binding = Binding {
            instance: self.instance(),
            contact: "sip:d@192.0.2.4".into(),
            path: Vec::new(),
            transport: Transport::Tcp,
            received: "192.0.2.4:5060".into(),
            flow,
            expires_s: 5 + self.rng.below(60) as u32,
        };
        Command::Bind { domain: main_domain(), agent: self.agent(), binding }
    }

    /// The policy of this seed, sometimes with an agent less, a rule changed, or a mistake.
    fn publish(&mut self, domain: DomainId, vary: bool) -> Command {
        let mut policy = policy(STRATEGIES[(self.seed % 6) as usize]);
        let mut expect = None;
        if vary {
            match self.rng.below(8) {
                0 => drop(policy.agents.remove("b")),
                1 => drop(policy.queues.remove("second")),
                2 => expect = Some(1),
                3 => policy.queues.get_mut("support").expect("made by policy").strategy = STRATEGIES[self.rng.below(6) as usize],
                4 => policy.queues.get_mut("support").expect("made by policy").steps.clear(),
                _ => {}
            }
        }
        let mut entropy = [0; 32];
        entropy[0] = self.seed as u8;
        Command::PublishPolicy { domain, expect, policy: Box::new(policy), entropy }
    }
}
