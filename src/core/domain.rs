//! A routing domain's rows and its policy: what one match decides over is all in here.
//!
//! The families of commands are in the files below it; this one publishes policies and keeps the indexes.

mod agents;
mod arrive;
mod end;
mod leg;
mod matching;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Outcome, Reason,
    agent::Agent,
    call::{Call, CallState},
    command::TimerKind,
    effect::{EventKind, Order},
    explain::Trigger,
    id::{AgentId, CallId, Edge, EffectId, QueueId},
    policy::{Policy, Requirement, Step},
    privacy::Keys,
    queue::{Class, Queue},
    state::Ctx,
    time::LogTime,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    version: u64,
    policy: Policy,
    keys: Keys,
    calls: BTreeMap<CallId, Call>,
    agents: BTreeMap<AgentId, Agent>,
    queues: BTreeMap<QueueId, Queue>,
    on_edge: BTreeMap<Edge, BTreeSet<CallId>>,
    /// Orders of calls that are over: hang-ups and refusals on their way.
    parting: BTreeMap<EffectId, Order>,
    /// Round-robin turns given so far.
    turns: u64,
}

impl Domain {
    pub(super) fn new(entropy: &[u8; 32]) -> Self {
        Self {
            version: 0,
            policy: Policy::default(),
            keys: Keys::new(entropy),
            calls: BTreeMap::new(),
            agents: BTreeMap::new(),
            queues: BTreeMap::new(),
            on_edge: BTreeMap::new(),
            parting: BTreeMap::new(),
            turns: 0,
        }
    }

    pub(super) fn publish(&mut self, ctx: &mut Ctx<'_>, expect: Option<u64>, policy: &Policy) -> Outcome {
        if let Some(expected) = expect.filter(|expected| *expected != self.version) {
            return Outcome::Rejected(Reason::VersionConflict { expected, current: self.version });
        }
        let lost_queue = self.calls.values().map(|call| &call.queue).find(|queue| !policy.queues.contains_key(*queue));
        if let Some(queue) = lost_queue {
            return Outcome::Rejected(Reason::InUse(format!("queue {queue}")));
        }
        let lost_agent = self.agents.iter().find(|(id, agent)| !agent.contacts.is_empty() && !policy.agents.contains_key(*id));
        if let Some((agent, _)) = lost_agent {
            return Outcome::Rejected(Reason::InUse(format!("agent {agent}")));
        }
        self.version += 1;
        self.policy = policy.clone();
        self.rebuild(ctx);
        ctx.event(EventKind::PolicyPublished, None, None, None, &[("version", self.version.to_string())]);
        self.match_everything(ctx);
        Outcome::Published { version: self.version }
    }

    /// Makes the rows and indexes fit the policy; ages, places and states of what stays are kept.
    fn rebuild(&mut self, ctx: &mut Ctx<'_>) {
        let gone: Vec<_> = self.agents.keys().filter(|id| !self.policy.agents.contains_key(*id)).cloned().collect();
        for id in gone {
            self.forget_agent_timers(ctx, &id);
            self.agents.remove(&id);
        }
        for (id, agent) in &self.policy.agents {
            self.agents.entry(id.clone()).or_insert_with(|| Agent::new(&agent.initial, ctx.at.time));
        }
        self.queues.retain(|id, _| self.policy.queues.contains_key(id));
        for (id, queue) in &self.policy.queues {
            let steps =
                if queue.steps.is_empty() { vec![Step { for_ms: 0, require: self.default_requirement(id) }] } else { queue.steps.clone() };
            let row = self.queues.entry(id.clone()).or_default();
            row.classes = steps.into_iter().map(|step| Class { require: step.require, ..Class::default() }).collect();
        }
        for call in self.calls.values_mut().filter(|call| call.state == CallState::Queued) {
            let classes = &mut self.queues.get_mut(&call.queue).expect("publish refuses to drop a queue in use").classes;
            call.step = call.step.min(classes.len() as u16 - 1);
            classes[usize::from(call.step)].enter(call.priority, call.entered, call.id);
        }
        let ids: Vec<_> = self.agents.keys().cloned().collect();
        for id in ids {
            let serves = self.serves(&id);
            let agent = self.agents.get_mut(&id).expect("listed above");
            agent.serves = serves;
            agent.indexed.clear();
            self.index_agent(&id);
        }
    }

    /// The skill named like the queue, if any agent has it.
    fn default_requirement(&self, queue: &QueueId) -> Requirement {
        let known = self.policy.agents.values().any(|agent| agent.skills.contains_key(queue.as_str()));
        if known { Requirement::from([(queue.as_str().into(), 1)]) } else { Requirement::new() }
    }

    fn serves(&self, id: &AgentId) -> Vec<(QueueId, u16)> {
        let agent = &self.policy.agents[id];
        let mut serves = Vec::new();
        for (queue, row) in &self.queues {
            if !agent.queues.is_empty() && !agent.queues.contains(queue) {
                continue;
            }
            for (class, n) in row.classes.iter().zip(0..) {
                let fits = class.require.iter().all(|(skill, level)| agent.skills.get(skill).is_some_and(|has| has >= level));
                if fits {
                    serves.push((queue.clone(), n));
                }
            }
        }
        serves
    }

    /// Puts the agent where it belongs among the idle, or takes it out.
    fn index_agent(&mut self, id: &AgentId) {
        let agent = self.agents.get_mut(id).expect("only known agents are indexed");
        for (queue, class, (figure, since)) in std::mem::take(&mut agent.indexed) {
            if let Some(class) = self.queues.get_mut(&queue).and_then(|row| row.classes.get_mut(usize::from(class))) {
                class.idle.remove(&(figure, since, id.clone()));
            }
        }
        let policy = &self.policy.agents[id];
        if !agent.is_free(policy) {
            return;
        }
        for (queue, class) in agent.serves.clone() {
            let rules = &self.policy.queues[&queue];
            let rank = agent.rank(policy, rules.strategy, rules, &queue);
            let row = &mut self.queues.get_mut(&queue).expect("serves names known queues").classes[usize::from(class)];
            let fresh = row.idle.insert((rank.0, rank.1, id.clone()));
            assert!(fresh, "an agent stands once among the idle of a class");
            agent.indexed.push((queue, class, rank));
        }
    }

    fn match_everything(&mut self, ctx: &mut Ctx<'_>) {
        let free: Vec<_> = self.agents.keys().filter(|id| self.agents[*id].is_free(&self.policy.agents[*id])).cloned().collect();
        for agent in free {
            self.match_agent(ctx, &agent, &Trigger::Changed);
        }
    }

    pub(super) fn timer_fired(&mut self, ctx: &mut Ctx<'_>, what: &TimerKind) -> Outcome {
        match what {
            TimerKind::Offer { call, leg } => self.offer_timeout(ctx, *call, *leg),
            TimerKind::Wait { call } => self.wait_step(ctx, *call),
            TimerKind::Call { call } => self.call_too_long(ctx, *call),
            TimerKind::Agent { agent } => self.agent_due(ctx, agent),
            TimerKind::Queue { queue } => self.queue_due(ctx, queue),
        }
        Outcome::Accepted
    }

    /// Keeps the row of a timer that a new leader's grace has moved.
    pub(super) fn timer_moved(&mut self, what: &TimerKind, to: LogTime) {
        match what {
            TimerKind::Offer { call, leg } => {
                if let Some(leg) = self.calls.get_mut(call).and_then(|call| call.legs.get_mut(leg)) {
                    leg.deadline = Some(to);
                }
            }
            TimerKind::Agent { agent } => self.agent_timer_moved(agent, to),
            TimerKind::Wait { .. } | TimerKind::Call { .. } | TimerKind::Queue { .. } => {}
        }
    }

    pub(super) fn effects_done(&mut self, effects: &[EffectId]) -> Outcome {
        let before = self.parting.len();
        for effect in effects {
            self.parting.remove(effect);
        }
        if self.parting.len() < before { Outcome::Accepted } else { Outcome::Rejected(Reason::Stale) }
    }

    pub(super) fn erase(&mut self, ctx: &mut Ctx<'_>, subject: &str) -> Outcome {
        if self.keys.erase(subject).is_err() {
            return Outcome::Rejected(Reason::Invalid("too many erasures".to_owned()));
        }
        ctx.event(EventKind::PrivacyErased, None, None, None, &[]);
        Outcome::Accepted
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    pub const fn version(&self) -> u64 {
        self.version
    }

    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    pub const fn calls(&self) -> &BTreeMap<CallId, Call> {
        &self.calls
    }

    pub const fn agents(&self) -> &BTreeMap<AgentId, Agent> {
        &self.agents
    }

    pub const fn queues(&self) -> &BTreeMap<QueueId, Queue> {
        &self.queues
    }

    /// True if the agent talks with a caller now.
    pub fn is_talking(&self, agent: &Agent) -> bool {
        agent.contacts.iter().any(|(call, leg)| {
            matches!(self.calls.get(call).map(|call| call.state), Some(CallState::Connected { leg: talking, .. }) if talking == *leg)
        })
    }

    pub fn open_orders(&self) -> impl Iterator<Item = &Order> {
        self.calls.values().flat_map(Call::open_orders).chain(self.parting.values())
    }

    pub fn parting(&self) -> impl Iterator<Item = &Order> {
        self.parting.values()
    }

    pub fn edges(&self) -> BTreeSet<Edge> {
        self.on_edge.keys().copied().chain(self.parting.values().map(|order| order.edge)).collect()
    }

    pub fn calls_on(&self, edge: Edge) -> impl Iterator<Item = CallId> {
        self.on_edge.get(&edge).into_iter().flatten().copied()
    }
}
