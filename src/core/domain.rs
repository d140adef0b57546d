//! A routing domain's rows and its policy: what one match decides over is all in here.
//!
//! The families of commands are in the files below it; this one publishes policies and hands timers to their owners.

mod adopt;
mod agents;
mod aid;
mod arrive;
mod assist;
mod bindings;
mod callback;
mod chat;
mod consult;
mod control;
mod end;
mod forward;
mod hours;
mod index;
mod leg;
mod matching;
mod offer;
mod supervise;
mod takeover;
mod transfer;
mod treat;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Outcome, Reason,
    agent::Agent,
    assist::Switches,
    call::Call,
    command::TimerKind,
    effect::{EventKind, Order},
    id::{AgentId, CallId, Edge, EffectId, QueueId},
    parting::{Closed, Parting},
    policy::Policy,
    pool::Pool,
    privacy::Keys,
    queue::Queue,
    reopen::Matters,
    state::Ctx,
    time::LogTime,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    version: u64,
    policy: Policy,
    keys: Keys,
    /// Boxed, since the map moves its rows about.
    pub(super) calls: BTreeMap<CallId, Box<Call>>,
    pub(super) agents: BTreeMap<AgentId, Agent>,
    queues: BTreeMap<QueueId, Queue>,
    pub(super) on_edge: BTreeMap<Edge, BTreeSet<CallId>>,
    pub(super) pool: Pool,
    /// The agents that take chats, as they stand to them.
    pub(super) chat_pool: Pool,
    /// How many of the calls are chats.
    pub(super) chats: u32,
    /// Hang-ups and refusals on their way to legs that left their calls.
    parting: Parting,
    pub(super) closed: Closed,
    /// Calls that are callbacks, by the number that is called.
    pub(super) callbacks: BTreeMap<String, CallId>,
    switches: Switches,
    /// What answered contacts were lately about.
    matters: Matters,
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
            pool: Pool::default(),
            chat_pool: Pool::default(),
            chats: 0,
            parting: Parting::default(),
            closed: Closed::default(),
            callbacks: BTreeMap::new(),
            switches: Switches::default(),
            matters: Matters::default(),
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
        if let Err(error) = policy.check() {
            return Outcome::Rejected(Reason::Invalid(error.to_string()));
        }
        self.version += 1;
        self.policy = policy.clone();
        self.switches.queues.retain(|queue, _| policy.queues.contains_key(queue));
        ctx.changed = true;
        self.rebuild(ctx);
        self.look_at_all_hours(ctx);
        ctx.event(EventKind::PolicyPublished, None, None, None, &[("version", self.version.to_string())]);
        Outcome::Published { version: self.version }
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

    /// Gives ringing and wrap-up the time nobody led.
    pub(super) fn lead(&mut self, ctx: &mut Ctx<'_>, grace_ms: u64) {
        let ids: Vec<_> = self.agents.keys().cloned().collect();
        for id in ids {
            for (call, n) in self.agents[&id].contacts.clone() {
                let leg = self.calls.get_mut(&call).and_then(|call| call.legs.get_mut(&n)).expect("a contact is a live leg");
                if let Some(old) = leg.deadline {
                    let (what, later) = (TimerKind::Offer { call, leg: n }, old.plus_ms(grace_ms));
                    leg.deadline = Some(later);
                    ctx.cancel_timer(old, what.clone());
                    ctx.set_timer(later, what);
                }
            }
            if let Some(until) = self.agents[&id].wrap_up_until {
                let rest = self.agents[&id].rest_until;
                self.set_agent_timers(ctx, &id, Some(until.plus_ms(grace_ms)), rest);
            }
        }
    }

    pub(super) fn effects_done(&mut self, effects: &[EffectId]) -> Outcome {
        let mut done = false;
        for effect in effects {
            done |= self.parting.done(*effect);
        }
        if done { Outcome::Accepted } else { Outcome::Rejected(Reason::Stale) }
    }

    /// Drops what is remembered of calls long over.
    pub(super) fn forget_old(&mut self, now: LogTime) {
        self.parting.forget_old(now);
        self.closed.forget_old(now);
        self.matters.forget_old(now, self.policy.reopen_within_ms);
    }

    pub(super) fn erase(&mut self, ctx: &mut Ctx<'_>, subject: &str) -> Outcome {
        let was = self.keys.subject(subject);
        if self.keys.erase(subject).is_err() {
            return Outcome::Rejected(Reason::Invalid("too many erasures".to_owned()));
        }
        self.matters.erase(was);
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

    /// Where AI is switched off in it.
    pub const fn switches(&self) -> &Switches {
        &self.switches
    }

    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    pub const fn calls(&self) -> &BTreeMap<CallId, Box<Call>> {
        &self.calls
    }

    pub const fn agents(&self) -> &BTreeMap<AgentId, Agent> {
        &self.agents
    }

    pub const fn queues(&self) -> &BTreeMap<QueueId, Queue> {
        &self.queues
    }

    /// True if the agent is in a call now: it has it, or hears it.
    pub fn is_talking(&self, agent: &Agent) -> bool {
        let answered = |(call, leg): &(CallId, u16)| self.calls.get(call)?.legs.get(leg)?.answered;
        agent.contacts.iter().any(|contact| answered(contact).is_some())
    }

    pub fn open_orders(&self) -> impl Iterator<Item = &Order> {
        self.calls.values().flat_map(|call| call.open_orders()).chain(self.parting.iter())
    }

    pub fn parting(&self) -> impl Iterator<Item = &Order> {
        self.parting.iter()
    }

    /// What is still to be said to the phone that an order rings: until an edge has it, the phone is in another call.
    pub fn farewells_before<'a>(&'a self, ring: &Order) -> impl Iterator<Item = &'a Order> {
        let leg = self.calls.get(&ring.leg.call).and_then(|call| call.legs.get(&ring.leg.n));
        leg.into_iter().flat_map(|leg| self.parting.to_agent(&leg.agent))
    }

    /// True while a farewell is a row of the outbox.
    pub fn is_parting(&self, id: EffectId) -> bool {
        self.parting.is_open(id)
    }

    pub fn edges(&self) -> BTreeSet<Edge> {
        self.on_edge.keys().copied().chain(self.parting.iter().map(|order| order.edge)).collect()
    }

    pub fn calls_on(&self, edge: Edge) -> impl Iterator<Item = CallId> {
        self.on_edge.get(&edge).into_iter().flatten().copied()
    }
}
