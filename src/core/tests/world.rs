//! A domain with agents and callers, driven command by command; every step checks what must always hold.

use std::collections::BTreeMap;

use crate::core::{
    Effects, Outcome, State,
    agent::Presence,
    cdr::ClosedCall,
    codec,
    command::{Actor, Arrive, Command, Envelope, HangUpCause, Intent, LegEvent, LegReport},
    effect::{Action, EventKind, Order},
    id::{CallId, DomainId, Edge, LegId, NodeId},
    party::{Dialog, Party, Sdp},
    policy::*,
    time::{At, LogTime, WallTime},
};

pub(super) const EDGE: Edge = Edge { node: NodeId(1), incarnation: 1 };

pub(super) struct World {
    pub(super) state: State,
    pub(super) policy: Policy,
    pub(super) now_ms: u64,
    pub(super) index: u64,
    pub(super) closed: Vec<ClosedCall>,
    pub(super) orders: Vec<Order>,
    pub(super) events: Vec<EventKind>,
    /// Calls one agent may have at once.
    pub(super) slots: usize,
    seqs: BTreeMap<LegId, u32>,
}

pub(super) fn queue(strategy: Strategy) -> Queue {
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
    }
}

pub(super) fn agent(skills: &[(&str, u8)]) -> Agent {
    Agent {
        kind: AgentKind::Human,
        contact: Some("sip:phone@127.0.0.1:6001".into()),
        ha1: None,
        skills: skills.iter().map(|(skill, level)| ((*skill).into(), *level)).collect(),
        queues: Vec::new(),
        capacity: BTreeMap::from([(Channel::Voice, 1)]),
        exclusive: Vec::new(),
        initial: InitialState::Available,
    }
}

impl World {
    /// One queue `support`, routed from `support`, and agents `a`, `b`, … with its skill at level 5.
    pub(super) fn new(strategy: Strategy, agents: &[&str]) -> Self {
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
            slots: 1,
            seqs: BTreeMap::new(),
        };
        world.publish();
        world
    }

    pub(super) fn domain() -> DomainId {
        "demo".into()
    }

    pub(super) fn rules(&mut self) -> &mut Queue {
        self.policy.queues.get_mut("support").expect("made by new")
    }

    pub(super) fn publish(&mut self) -> Outcome {
        self.apply(Command::PublishPolicy { domain: Self::domain(), expect: None, policy: Box::new(self.policy.clone()), entropy: [7; 32] })
    }

    pub(super) fn apply(&mut self, command: Command) -> Outcome {
        self.index += 1;
        let at = At {
            group: 1,
            index: self.index,
            time: LogTime(self.now_ms * 1_000_000),
            wall: WallTime(1_795_000_000_000 + self.now_ms as i64),
        };
        let mut out = Effects::default();
        let outcome = self.state.apply(at, &Envelope { request: None, command }, &mut out);
        self.orders.extend(out.orders);
        self.events.extend(out.events.iter().map(|event| event.kind));
        self.closed.extend(out.records.iter().map(|record| ClosedCall::decode(&record.bytes).expect("records read back")));
        self.check();
        outcome
    }

    /// What holds after every step, whatever happened.
    fn check(&self) {
        for domain in self.state.domains().values() {
            domain.assert_indexes();
            domain.assert_matched();
            for (id, agent) in domain.agents() {
                assert!(agent.contacts.len() <= self.slots, "A1: {id} is booked twice");
                for (call, leg) in &agent.contacts {
                    let leg = domain.calls().get(call).and_then(|call| call.legs.get(leg));
                    assert_eq!(leg.map(|leg| &leg.agent), Some(id), "A3: {id} is held by nothing");
                }
            }
            for call in domain.calls().values() {
                assert!(call.timer.is_some() || !call.legs.is_empty(), "every live call has a deadline");
                for (n, leg) in &call.legs {
                    assert!(domain.agents()[&leg.agent].contacts.contains(&(call.id, *n)), "a leg holds its agent");
                }
            }
        }
    }

    /// Lets time pass, firing every timer at its own moment.
    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(next) = self.state.next_deadline().filter(|next| next.0 <= until * 1_000_000) {
            self.now_ms = self.now_ms.max(next.0.div_ceil(1_000_000));
            let timers = self.state.due(LogTime(self.now_ms * 1_000_000), 16);
            assert_eq!(self.apply(Command::FireTimers { timers }), Outcome::Accepted);
        }
        self.now_ms = until;
    }

    pub(super) fn arrive_as(&mut self, n: u64, change: impl FnOnce(&mut Arrive)) -> Outcome {
        let mut arrive = Arrive {
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
        };
        change(&mut arrive);
        self.apply(Command::Arrive(Box::new(arrive)))
    }

    pub(super) fn arrive(&mut self, n: u64) -> Outcome {
        self.arrive_as(n, |_| {})
    }

    pub(super) fn call(n: u64) -> CallId {
        CallId::compose(1, NodeId(1), n)
    }

    pub(super) fn report(&mut self, leg: LegId, event: LegEvent) -> Outcome {
        let seq = self.seqs.entry(leg).or_insert(0);
        *seq += 1;
        let report = LegReport { domain: Self::domain(), leg, edge: EDGE, seq: *seq, event };
        self.apply(Command::Leg(Box::new(report)))
    }

    /// The newest leg that rings `agent`.
    pub(super) fn leg_of(&self, agent: &str) -> LegId {
        let (call, n) = *self.agent(agent).contacts.first().expect("the agent has a contact");
        LegId { call, n }
    }

    pub(super) fn answer(&mut self, agent: &str) -> Outcome {
        let leg = self.leg_of(agent);
        self.report(leg, LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::default() })
    }

    pub(super) fn refuse(&mut self, agent: &str, status: u16) -> Outcome {
        let leg = self.leg_of(agent);
        self.report(leg, LegEvent::Refused { status, reason: String::new(), contacts: Vec::new() })
    }

    pub(super) fn caller_leaves(&mut self, n: u64) -> Outcome {
        self.report(LegId::caller(Self::call(n)), LegEvent::HungUp { cause: HangUpCause::Bye })
    }

    pub(super) fn agent_hangs_up(&mut self, agent: &str) -> Outcome {
        let leg = self.leg_of(agent);
        self.report(leg, LegEvent::HungUp { cause: HangUpCause::Bye })
    }

    pub(super) fn intent(&mut self, agent: &str, intent: Intent) -> Outcome {
        self.apply(Command::AgentIntent { domain: Self::domain(), agent: agent.into(), intent, by: Actor::System })
    }

    pub(super) fn agent(&self, name: &str) -> &crate::core::agent::Agent {
        &self.state.domains()[&Self::domain()].agents()[name]
    }

    pub(super) fn presence(&self, name: &str) -> &Presence {
        &self.agent(name).presence
    }

    /// Who is rung for a call now, by agent id.
    pub(super) fn rung(&self, n: u64) -> Vec<String> {
        let domain = &self.state.domains()[&Self::domain()];
        domain.calls().get(&Self::call(n)).map_or_else(Vec::new, |call| call.legs.values().map(|leg| leg.agent.to_string()).collect())
    }

    pub(super) fn ordered(&self, leg: LegId, matches: impl Fn(&Action) -> bool) -> bool {
        self.orders.iter().any(|order| order.leg == leg && matches(&order.action))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        codec::encode(&self.state)
    }
}
