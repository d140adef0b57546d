//! A domain with agents and callers, driven command by command; every step checks what must always hold.

use std::collections::BTreeMap;

use crate::core::{
    Effects, Outcome, State,
    agent::Presence,
    cdr::ClosedCall,
    command::{Actor, Arrive, Command, Envelope, HangUpCause, Intent, LegEvent, LegReport},
    effect::{Action, EventKind, Order},
    id::{CallId, DomainId, Edge, LegId, NodeId},
    invariant::{step::Step, violations},
    party::{Dialog, Party, Sdp},
    policy::*,
    time::{At, LogTime, WallTime},
};

pub(crate) const EDGE: Edge = Edge { node: NodeId(1), incarnation: 1 };

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) policy: Policy,
    pub(crate) now_ms: u64,
    pub(crate) index: u64,
    pub(crate) closed: Vec<ClosedCall>,
    pub(crate) orders: Vec<Order>,
    pub(crate) events: Vec<EventKind>,
    seqs: BTreeMap<LegId, u32>,
}

pub(crate) fn queue(strategy: Strategy) -> Queue {
    Queue {
        strategy,
        service_level: Some(ServiceLevel { answer_within_ms: 20_000, target_percent: 80 }),
        offer_timeout_ms: 15_000,
        max_wait_ms: 600_000,
        on_max_wait: Fallback::Reject { status: 480 },
        wrap_up_ms: 0,
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
            timeout_delay_ms: 5_000,
            reject_delay_ms: 2_000,
            busy_delay_ms: 3_000,
            unreachable_delay_ms: 10_000,
        },
        max_unanswered_ms: 0,
        treatment: Treatment::default(),
        record: Recording::Off,
        callback: Callbacks::default(),
        sharing: Sharing::default(),
        aid: None,
    }
}

pub(crate) fn agent(skills: &[(&str, u8)]) -> Agent {
    Agent {
        kind: AgentKind::Human,
        contact: Some("sip:phone@127.0.0.1:6001".into()),
        ha1: None,
        skills: skills.iter().map(|(skill, level)| ((*skill).into(), *level)).collect(),
        queues: Vec::new(),
        capacity: BTreeMap::from([(Channel::Voice, 1)]),
        exclusive: Vec::new(),
        initial: InitialState::Available,
        assistant: None,
    }
}

/// A trunk that takes calls to numbers with these beginnings; none is every number.
pub(crate) fn trunk_out(prefixes: &[&str]) -> Trunk {
    Trunk {
        sources: Vec::new(),
        ha1: None,
        username: None,
        contacts: vec!["sip:gw@192.0.2.7".into()],
        prefixes: prefixes.iter().map(ToString::to_string).collect(),
        outbound_auth: None,
        caller_id: None,
        calls_per_s_max: 0,
        calls_max: 0,
        trust_priority: false,
    }
}

impl World {
    /// One queue `support`, routed from `support`, and agents `a`, `b`, … with its skill at level 5.
    pub(crate) fn new(strategy: Strategy, agents: &[&str]) -> Self {
        let mut policy = Policy::default();
        policy.queues.insert("support".into(), queue(strategy));
        policy.routes.insert("support".into(), Route { queue: "support".into(), priority: None, emergency: false });
        for name in agents {
            policy.agents.insert((*name).into(), agent(&[("support", 5)]));
        }
        let mut world = Self {
            state: State::default(),
            policy,
            now_ms: 0,
            index: 0,
            closed: Vec::new(),
            orders: Vec::new(),
            events: Vec::new(),
            seqs: BTreeMap::new(),
        };
        world.publish();
        world
    }

    pub(crate) fn domain() -> DomainId {
        "demo".into()
    }

    pub(crate) fn rules(&mut self) -> &mut Queue {
        self.policy.queues.get_mut("support").expect("made by new")
    }

    pub(crate) fn publish(&mut self) -> Outcome {
        self.apply(Command::PublishPolicy { domain: Self::domain(), expect: None, policy: Box::new(self.policy.clone()), entropy: [7; 32] })
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        self.index += 1;
        let at = At {
            group: 1,
            index: self.index,
            time: LogTime(self.now_ms * 1_000_000),
            wall: WallTime(1_795_000_000_000 + self.now_ms as i64),
        };
        let mut out = Effects::default();
        let before = self.state.clone();
        let envelope = Envelope { request: None, command };
        let outcome = self.state.apply(at, &envelope, &mut out);
        self.check(&Step { before: &before, at, command: &envelope.command, outcome: &outcome, effects: &out, after: &self.state });
        self.orders.extend(out.orders);
        self.events.extend(out.events.iter().map(|event| event.kind));
        self.closed.extend(out.records.iter().map(|record| ClosedCall::decode(&record.bytes).expect("records read back")));
        outcome
    }

    /// What holds after and of every step, whatever happened.
    fn check(&self, step: &Step<'_>) {
        let mut violations = violations(&self.state);
        violations.extend(step.violations());
        assert!(violations.is_empty(), "{}", violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    }

    /// Lets time pass, firing every timer at its own moment.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(next) = self.state.next_deadline().filter(|next| next.0 <= until * 1_000_000) {
            self.now_ms = self.now_ms.max(next.0.div_ceil(1_000_000));
            let timers = self.state.due(LogTime(self.now_ms * 1_000_000), 16);
            assert_eq!(self.apply(Command::FireTimers { timers }), Outcome::Accepted);
        }
        self.now_ms = until;
    }

    /// What a caller's INVITE becomes.
    pub(crate) fn arrival(n: u64) -> Arrive {
        Arrive {
            domain: Self::domain(),
            call: Self::call(n),
            edge: EDGE,
            trunk: None,
            to_user: "support".into(),
            from: Party { user: "5551000".into(), display: String::new(), uri: "sip:5551000@x".into() },
            dialog: Dialog::default(),
            sdp: Some(Sdp::from(b"v=0".to_vec())),
            headers: Vec::new(),
            priority: None,
            skills: Vec::new(),
            prefer: None,
            anchored: false,
        }
    }

    pub(crate) fn arrive_as(&mut self, n: u64, change: impl FnOnce(&mut Arrive)) -> Outcome {
        let mut arrive = Self::arrival(n);
        change(&mut arrive);
        self.apply(Command::Arrive(Box::new(arrive)))
    }

    pub(crate) fn arrive(&mut self, n: u64) -> Outcome {
        self.arrive_as(n, |_| {})
    }

    pub(crate) fn call(n: u64) -> CallId {
        CallId::compose(1, NodeId(1), n)
    }

    pub(crate) fn report(&mut self, leg: LegId, event: LegEvent) -> Outcome {
        let seq = self.seqs.entry(leg).or_insert(0);
        *seq += 1;
        let seq = *seq;
        // A leg that left its call is still the edge's that was to end it.
        let rows = &self.state.domains()[&Self::domain()];
        let edge = rows.calls().get(&leg.call).map(|call| call.edge);
        let edge = edge.or_else(|| rows.parting().find(|order| order.leg == leg).map(|order| order.edge)).unwrap_or(EDGE);
        let report = LegReport { domain: Self::domain(), leg, edge, seq, event };
        self.apply(Command::Leg(Box::new(report)))
    }

    /// The newest leg that rings `agent`.
    pub(crate) fn leg_of(&self, agent: &str) -> LegId {
        let (call, n) = *self.agent(agent).contacts.first().expect("the agent has a contact");
        LegId { call, n }
    }

    pub(crate) fn answer(&mut self, agent: &str) -> Outcome {
        let leg = self.leg_of(agent);
        self.report(leg, LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::default() })
    }

    pub(crate) fn refuse(&mut self, agent: &str, status: u16) -> Outcome {
        let leg = self.leg_of(agent);
        self.report(leg, LegEvent::Refused { status, reason: String::new(), contacts: Vec::new() })
    }

    pub(crate) fn caller_leaves(&mut self, n: u64) -> Outcome {
        self.report(LegId::caller(Self::call(n)), LegEvent::HungUp { cause: HangUpCause::Bye })
    }

    pub(crate) fn agent_hangs_up(&mut self, agent: &str) -> Outcome {
        let leg = self.leg_of(agent);
        self.report(leg, LegEvent::HungUp { cause: HangUpCause::Bye })
    }

    pub(crate) fn intent(&mut self, agent: &str, intent: Intent) -> Outcome {
        self.apply(Command::AgentIntent { domain: Self::domain(), agent: agent.into(), intent, by: Actor::System })
    }

    pub(crate) fn agent(&self, name: &str) -> &crate::core::agent::Agent {
        &self.state.domains()[&Self::domain()].agents()[name]
    }

    pub(crate) fn presence(&self, name: &str) -> &Presence {
        &self.agent(name).presence
    }

    /// Who is rung for a call now, by agent id.
    pub(crate) fn rung(&self, n: u64) -> Vec<String> {
        let domain = &self.state.domains()[&Self::domain()];
        domain.calls().get(&Self::call(n)).map_or_else(Vec::new, |call| call.legs.values().map(|leg| leg.agent.to_string()).collect())
    }

    pub(crate) fn ordered(&self, leg: LegId, matches: impl Fn(&Action) -> bool) -> bool {
        self.orders.iter().any(|order| order.leg == leg && matches(&order.action))
    }
}
