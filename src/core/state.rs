//! The state of one partition and the only way to change it.
//!
//! It dispatches commands to their families, remembers idempotency keys and holds what all domains share: timers, the
//! archive's head and the effect numbering. What a command does is in the file of its family.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    Effects, Outcome, Reason,
    assist::Off,
    cdr::Archive,
    chat::ChatStep,
    command::{Actor, Command, Envelope, Scope, Timer, TimerKind},
    domain::Domain,
    effect::{Action, Event, EventKind, Order},
    explain::Trigger,
    id::{AgentId, CallId, DomainId, Edge, EffectId, LegId, NodeId, QueueId, RequestId},
    image::Image,
    limits::{GRACE_MS_MAX, HEIRS_MAX, REASON_CHARS_MAX, REQUEST_IDS_MAX, TIMERS_PER_COMMAND_MAX},
    queue::Place,
    retention::Retention,
    time::{At, LogTime, WallTime},
};

/// The level of what this code's `apply` does.
pub const FEATURE_LEVEL: u32 = 1;

/// All that one partition knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    level: u32,
    /// Log time of the last application.
    now: LogTime,
    pub(super) domains: BTreeMap<DomainId, Domain>,
    pub(super) shared: Shared,
    /// The latest life of each node that is known to be over: nothing is taken from it any more.
    lost: BTreeMap<NodeId, u64>,
    requests: BTreeMap<RequestId, Outcome>,
    request_order: VecDeque<RequestId>,
}

/// What the domains of a partition share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shared {
    pub(super) timers: BTreeSet<(LogTime, DomainId, TimerKind)>,
    pub(super) archive: Archive,
    pub(super) retention: Retention,
    pub(super) offers: u64,
    /// AI is off in every domain.
    pub(super) ai_off: Option<Off>,
    /// Index of the entry being applied and the effects it has named so far.
    numbering: (u64, u32),
}

/// What every command family works with: the place, the outputs, the shared rows, and the work left for the end.
pub(super) struct Ctx<'a> {
    pub(super) at: At,
    pub(super) domain: &'a DomainId,
    pub(super) shared: &'a mut Shared,
    pub(super) out: &'a mut Effects,
    /// Agents that became ready, longest idle first: they look for a call when the command is done.
    pub(super) freed: BTreeSet<(LogTime, AgentId)>,
    /// Calls that began to wait, most urgent first, and why: they look for an agent when the command is done.
    pub(super) unmatched: BTreeMap<Place, Trigger>,
    /// The command changed the rules, so that is why agents and calls look anew.
    pub(super) changed: bool,
}

impl Ctx<'_> {
    fn effect_id(&mut self) -> EffectId {
        let (index, n) = &mut self.shared.numbering;
        assert!(self.at.index >= *index, "entries are applied in order");
        if *index != self.at.index {
            (*index, *n) = (self.at.index, 0);
        }
        let id = EffectId { group: self.at.group, index: *index, n: *n };
        *n += 1;
        id
    }

    pub(super) fn order(&mut self, leg: LegId, edge: Edge, action: Action, image: Option<Box<Image>>) -> Order {
        let order = Order { id: self.effect_id(), domain: self.domain.clone(), leg, edge, action, image };
        self.out.orders.push(order.clone());
        order
    }

    pub(super) fn event(
        &mut self,
        kind: EventKind,
        call: Option<CallId>,
        agent: Option<&AgentId>,
        queue: Option<&QueueId>,
        data: &[(&'static str, String)],
    ) {
        let id = self.effect_id();
        let data = data.iter().map(|(key, value)| ((*key).into(), value.clone())).collect();
        let (agent, queue) = (agent.cloned(), queue.cloned());
        self.out.events.push(Event { id, wall: self.at.wall, domain: self.domain.clone(), kind, call, agent, queue, data });
    }

    pub(super) fn set_timer(&mut self, deadline: LogTime, what: TimerKind) {
        self.out.timers.push(Timer { domain: self.domain.clone(), deadline, what: what.clone() });
        self.shared.timers.insert((deadline, self.domain.clone(), what));
    }

    pub(super) fn cancel_timer(&mut self, deadline: LogTime, what: TimerKind) {
        self.shared.timers.remove(&(deadline, self.domain.clone(), what));
    }
}

impl State {
    /// Applies a committed command. Pure: the same state, place and command give the same state, outcome and effects.
    pub fn apply(&mut self, at: At, envelope: &Envelope, out: &mut Effects) -> Outcome {
        assert!(at.time >= self.now, "log time never goes back");
        self.now = at.time;
        if let Some(first) = envelope.request.and_then(|request| self.requests.get(&request)) {
            return first.clone();
        }
        let outcome = self.dispatch(at, &envelope.command, out);
        // What came too fast may come again.
        if let Some(request) = envelope.request.filter(|_| outcome != Outcome::Rejected(Reason::TooFast)) {
            self.remember(request, outcome.clone());
        }
        outcome
    }

    fn remember(&mut self, request: RequestId, outcome: Outcome) {
        self.requests.insert(request, outcome);
        self.request_order.push_back(request);
        if self.request_order.len() > REQUEST_IDS_MAX
            && let Some(oldest) = self.request_order.pop_front()
        {
            self.requests.remove(&oldest);
        }
        assert!(self.requests.len() == self.request_order.len(), "every key is remembered once");
    }

    fn dispatch(&mut self, at: At, command: &Command, out: &mut Effects) -> Outcome {
        match command {
            _ if self.is_of_lost(command) => Outcome::Rejected(Reason::Stale),
            Command::PublishPolicy { domain, expect, policy, entropy } => {
                let fresh = !self.domains.contains_key(domain);
                self.domains.entry(domain.clone()).or_insert_with(|| Domain::new(entropy));
                let outcome = self.within(at, domain, out, |domain, ctx| domain.publish(ctx, *expect, policy));
                if fresh && !outcome.is_accepted() {
                    self.domains.remove(domain);
                }
                outcome
            }
            Command::RemoveDomain { domain } => self.remove(domain),
            Command::Arrive(arrive) => self.within(at, &arrive.domain, out, |domain, ctx| domain.arrive(ctx, arrive)),
            Command::Leg(report) => self.within(at, &report.domain, out, |domain, ctx| domain.leg_report(ctx, report)),
            Command::AgentIntent { domain, agent, intent, by } => {
                self.within(at, domain, out, |domain, ctx| domain.agent_intent(ctx, agent, intent, by))
            }
            Command::Bind { domain, agent, binding } => self.within(at, domain, out, |domain, ctx| domain.bind(ctx, agent, binding)),
            Command::Unbind { domain, agent, instance } => self.within(at, domain, out, |domain, ctx| domain.unbind(ctx, agent, instance)),
            Command::FireTimers { timers } => self.fire(at, timers, out),
            Command::Lead { grace_ms } => {
                self.everywhere(at, out, |domain, ctx| domain.lead(ctx, (*grace_ms).min(GRACE_MS_MAX)));
                Outcome::Accepted
            }
            Command::EdgeLost { edge, heirs } => self.lose(at, *edge, heirs, out),
            Command::HandOver { from, heirs } => self.move_calls(at, out, (*from, heirs), Domain::hand_over),
            Command::EffectsDone { domain, effects } => self.within(at, domain, out, |domain, _| domain.effects_done(effects)),
            Command::HangUp { domain, call, by } => self.within(at, domain, out, |domain, ctx| domain.operator_hang_up(ctx, *call, by)),
            Command::Requeue { domain, call, queue, priority, by } => {
                self.within(at, domain, out, |domain, ctx| domain.requeue(ctx, *call, queue.as_ref(), *priority, by))
            }
            Command::Control { domain, call, wish, by } => self.within(at, domain, out, |domain, ctx| domain.control(ctx, *call, wish, by)),
            Command::Transfer { domain, call, to, by } => self.within(at, domain, out, |domain, ctx| domain.transfer(ctx, *call, to, by)),
            Command::Refer { domain, leg, edge, user } => self.within(at, domain, out, |domain, ctx| domain.refer(ctx, *leg, *edge, user)),
            Command::Consult { domain, call, to, by } => self.within(at, domain, out, |domain, ctx| domain.consult(ctx, *call, to, by)),
            Command::ConsultStep { domain, call, step, by } => {
                self.within(at, domain, out, |domain, ctx| domain.consult_step(ctx, *call, *step, by))
            }
            Command::Callback { domain, call, number, by } => {
                self.within(at, domain, out, |domain, ctx| domain.call_back(ctx, *call, number.as_deref(), by))
            }
            Command::Schedule(new) => self.within(at, &new.domain, out, |domain, ctx| domain.schedule(ctx, new)),
            Command::OpenChat(new) => self.within(at, &new.domain, out, |domain, ctx| domain.open_chat(ctx, new)),
            Command::Chat { domain, call, step } => self.within(at, domain, out, |domain, ctx| domain.chat_step(ctx, *call, step)),
            Command::KeepCallbacks { from, heirs } => self.move_calls(at, out, (*from, heirs), Domain::keep_callbacks),
            Command::Note(new) => self.within(at, &new.domain, out, |domain, ctx| domain.note(ctx, new)),
            Command::Recorded { domain, leg, edge, part, saved } => {
                self.within(at, domain, out, |domain, ctx| domain.recorded(ctx, *leg, *edge, *part, saved.as_ref()))
            }
            Command::TakeOver { domain, call, to, cause, by } => {
                self.within(at, domain, out, |domain, ctx| domain.take_over(ctx, *call, to.as_ref(), *cause, by))
            }
            Command::SwitchAi { scope: Scope::Queue(domain, queue), off, reason, by } => {
                self.within(at, domain, out, |domain, ctx| domain.switch_ai(ctx, Some(queue), *off, reason, by))
            }
            Command::SwitchAi { scope: Scope::Domain(domain), off, reason, by } => {
                self.within(at, domain, out, |domain, ctx| domain.switch_ai(ctx, None, *off, reason, by))
            }
            Command::SwitchAi { scope: Scope::Everywhere, off, reason, by } => self.switch_ai(at, *off, reason, by, out),
            Command::RaiseLevel { level } if *level > FEATURE_LEVEL => Outcome::Rejected(Reason::Level(*level)),
            Command::RaiseLevel { level } => {
                self.level = self.level.max(*level);
                Outcome::Accepted
            }
            Command::DropOld => self.drop_old(at, out),
            Command::Erase { domain, subject } => self.within(at, domain, out, |domain, ctx| domain.erase(ctx, subject)),
        }
    }

    /// Whether a command names a life of a node that is over as the one that is to have a new call, or to be declared lost.
    fn is_of_lost(&self, command: &Command) -> bool {
        match command {
            Command::Arrive(arrive) => self.is_lost(arrive.edge),
            Command::Schedule(new) => self.is_lost(new.edge),
            Command::OpenChat(new) => self.is_lost(new.edge),
            Command::Chat { step: ChatStep::Phone { edge, .. }, .. } | Command::EdgeLost { edge, .. } => self.is_lost(*edge),
            _ => false,
        }
    }

    /// Switches AI for all domains at once.
    fn switch_ai(&mut self, at: At, off: bool, reason: &str, by: &Actor, out: &mut Effects) -> Outcome {
        let row = off.then(|| Off { by: by.clone(), at: at.stamp(), reason: reason.chars().take(REASON_CHARS_MAX).collect() });
        if std::mem::replace(&mut self.shared.ai_off, row).is_some() == off {
            return Outcome::Duplicate;
        }
        self.everywhere(at, out, |domain, ctx| domain.ai_switched(ctx, None, off, by));
        Outcome::Accepted
    }

    /// Whether AI is off in every domain of the partition, and by whom.
    pub const fn ai_off(&self) -> Option<&Off> {
        self.shared.ai_off.as_ref()
    }

    /// Gives calls of an edge that is not lost to those of the heirs that are not.
    fn move_calls(
        &mut self,
        at: At,
        out: &mut Effects,
        (from, heirs): (Edge, &[Edge]),
        give: fn(&mut Domain, &mut Ctx<'_>, Edge, &[Edge]) -> usize,
    ) -> Outcome {
        let heirs: Vec<_> = heirs.iter().copied().take(HEIRS_MAX).filter(|heir| *heir != from && !self.is_lost(*heir)).collect();
        let mut moved = 0;
        if !heirs.is_empty() && !self.is_lost(from) {
            self.everywhere(at, out, |domain, ctx| moved += give(domain, ctx, from, &heirs));
        }
        if moved > 0 { Outcome::Accepted } else { Outcome::Rejected(Reason::Stale) }
    }

    /// A life of a node is over, and those named go on with its calls.
    fn lose(&mut self, at: At, edge: Edge, named: &[Edge], out: &mut Effects) -> Outcome {
        // An heir may have died since it was named. If all have, others are to be named: ended calls come back for nobody.
        let heirs: Vec<_> = named.iter().copied().take(HEIRS_MAX).filter(|heir| !self.is_lost(*heir)).collect();
        if heirs.is_empty() && !named.is_empty() {
            return Outcome::Rejected(Reason::NotReady("no heir lives any more".to_owned()));
        }
        self.lost.insert(edge.node, edge.incarnation);
        // With a life the ones before it are over, also one whose loss was not taken when it was declared.
        let over = |life: &Edge| life.node == edge.node && life.incarnation <= edge.incarnation;
        let lives: BTreeSet<_> = self.domains.values().flat_map(Domain::edges).filter(over).chain([edge]).collect();
        for life in lives {
            self.everywhere(at, out, |domain, ctx| domain.edge_lost(ctx, life, &heirs));
        }
        Outcome::Accepted
    }

    fn within(&mut self, at: At, id: &DomainId, out: &mut Effects, run: impl FnOnce(&mut Domain, &mut Ctx<'_>) -> Outcome) -> Outcome {
        let Some(domain) = self.domains.get_mut(id) else { return Outcome::Rejected(Reason::NoDomain) };
        let (freed, unmatched) = Default::default();
        let mut ctx = Ctx { at, domain: id, shared: &mut self.shared, out, freed, unmatched, changed: false };
        domain.forget_old(at.time);
        let outcome = run(domain, &mut ctx);
        domain.settle(&mut ctx);
        outcome
    }

    fn everywhere(&mut self, at: At, out: &mut Effects, mut run: impl FnMut(&mut Domain, &mut Ctx<'_>)) {
        let domains: Vec<_> = self.domains.keys().cloned().collect();
        for domain in &domains {
            self.within(at, domain, out, |domain, ctx| {
                run(domain, ctx);
                Outcome::Accepted
            });
        }
    }

    /// Whether this life of a node is over, as far as was committed.
    pub fn is_lost(&self, edge: Edge) -> bool {
        self.lost.get(&edge.node).is_some_and(|incarnation| edge.incarnation <= *incarnation)
    }

    fn remove(&mut self, id: &DomainId) -> Outcome {
        match self.domains.get(id) {
            None => Outcome::Rejected(Reason::NoDomain),
            Some(domain) if !domain.is_idle() => Outcome::Rejected(Reason::InUse(id.to_string())),
            Some(_) => {
                self.domains.remove(id);
                self.shared.timers.retain(|(_, domain, _)| domain != id);
                Outcome::Accepted
            }
        }
    }

    /// Fires what is due; a timer that was cancelled, fired before or is early changes nothing.
    fn fire(&mut self, at: At, timers: &[Timer], out: &mut Effects) -> Outcome {
        let mut fired = false;
        for timer in timers.iter().take(TIMERS_PER_COMMAND_MAX) {
            let row = (timer.deadline, timer.domain.clone(), timer.what.clone());
            if timer.deadline <= at.time && self.shared.timers.remove(&row) {
                fired = true;
                self.within(at, &timer.domain, out, |domain, ctx| domain.timer_fired(ctx, &timer.what));
            }
        }
        if fired { Outcome::Accepted } else { Outcome::Rejected(Reason::Stale) }
    }

    /// How many days the records of this partition are kept; none while a tenant wants them for good, or there is none.
    fn retention_days(&self) -> Option<u32> {
        let days = self.domains.values().map(|domain| domain.policy().retention_days);
        days.reduce(|longest, days| if longest == 0 || days == 0 { 0 } else { longest.max(days) }).filter(|days| *days > 0)
    }

    fn drop_old(&mut self, at: At, out: &mut Effects) -> Outcome {
        let dropped = self.retention_days().is_some_and(|days| self.shared.retention.drop_old(days, at.wall, &self.shared.archive));
        if !dropped {
            return Outcome::Rejected(Reason::Stale);
        }
        out.kept = Some(self.shared.retention.kept().clone());
        Outcome::Accepted
    }

    /// True if `Command::DropOld` would drop something now.
    pub fn retention_is_due(&self, wall: WallTime) -> bool {
        self.retention_days().is_some_and(|days| self.shared.retention.is_due(days, wall))
    }

    pub const fn retention(&self) -> &Retention {
        &self.shared.retention
    }

    /// Deadlines at or before `until`, soonest first, at most `max`.
    pub fn due(&self, until: LogTime, max: usize) -> Vec<Timer> {
        let due = self.shared.timers.iter().take_while(|(deadline, ..)| *deadline <= until).take(max);
        due.map(|(deadline, domain, what)| Timer { domain: domain.clone(), deadline: *deadline, what: what.clone() }).collect()
    }

    pub fn next_deadline(&self) -> Option<LogTime> {
        self.shared.timers.first().map(|(deadline, ..)| *deadline)
    }

    pub const fn now(&self) -> LogTime {
        self.now
    }

    pub const fn archive(&self) -> &Archive {
        &self.shared.archive
    }

    /// Up to which level `apply` may do what older programs do not know.
    pub const fn level(&self) -> u32 {
        self.level
    }

    pub const fn domains(&self) -> &BTreeMap<DomainId, Domain> {
        &self.domains
    }

    /// Every outbox row of the partition: what a new leader performs again.
    pub fn open_orders(&self) -> impl Iterator<Item = &Order> {
        self.domains.values().flat_map(Domain::open_orders)
    }

    /// Every life of a node that some leg depends on.
    pub fn edges(&self) -> BTreeSet<Edge> {
        self.domains.values().flat_map(Domain::edges).collect()
    }

    pub fn find_call(&self, call: CallId) -> Option<&DomainId> {
        self.domains.iter().find(|(_, domain)| domain.calls().contains_key(&call)).map(|(id, _)| id)
    }
}
