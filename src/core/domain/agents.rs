//! Agents: intents, reservations' ends, wrap-up, rest after a miss. Registered phones are in `bindings`.
//!
//! A user's intent always wins over automation, and during a contact it waits for the contact's end.

use crate::core::{
    Outcome, Reason,
    agent::{Agent, Presence},
    call::CallState,
    cdr::{AttemptResult, CallOutcome},
    command::{Actor, Intent, TimerKind},
    effect::EventKind,
    id::{AgentId, CallId, QueueId},
    limits::{REFUSED_REST_MS_MIN, WRAP_UP_MS_MAX},
    matrix::Role,
    state::Ctx,
    time::LogTime,
};

use super::Domain;

impl Domain {
    pub(in crate::core) fn agent_intent(&mut self, ctx: &mut Ctx<'_>, id: &AgentId, intent: &Intent, by: &Actor) -> Outcome {
        let Some(agent) = self.agents.get(id) else { return Outcome::Rejected(Reason::NoAgent(id.to_string())) };
        match intent {
            Intent::FinishWrapUp if agent.wrap_up_until.is_none() => {
                return Outcome::Rejected(Reason::WrongState("not in wrap-up".to_owned()));
            }
            Intent::ExtendWrapUp { .. } if agent.wrap_up_until.is_none() => {
                return Outcome::Rejected(Reason::WrongState("not in wrap-up".to_owned()));
            }
            Intent::FinishWrapUp => self.end_wrap_up(ctx, id),
            Intent::ExtendWrapUp { by_ms } => {
                let latest = ctx.at.time.plus_ms(WRAP_UP_MS_MAX);
                let until = agent.wrap_up_until.map(|until| until.plus_ms(*by_ms).min(latest));
                self.set_agent_timers(ctx, id, until, agent.rest_until);
            }
            Intent::ForceRelease => self.force_release(ctx, id),
            Intent::Available | Intent::Break { .. } | Intent::Offline => self.change_presence(ctx, id, intent),
        }
        self.index_agent(ctx, id);
        let mut data = vec![("intent", intent.to_string()), ("by", by.to_string())];
        data.push(("state", self.state_name(id).to_owned()));
        ctx.event(EventKind::AgentStateChanged, None, Some(id), None, &data);
        Outcome::Accepted
    }

    /// While reserved the offer is rescinded first; while talking the intent waits for the end.
    fn change_presence(&mut self, ctx: &mut Ctx<'_>, id: &AgentId, intent: &Intent) {
        if *intent != Intent::Available {
            // From here on nothing may be offered, not even what the rescinded call would find.
            self.agents.get_mut(id).expect("looked up by the caller").pending = Some(intent.clone());
            self.index_agent(ctx, id);
            // Who is rung to supervise wanted so.
            let offered = |(call, leg): &(CallId, u16)| !self.talks(*call, *leg) && !self.is_supervisor(*call, *leg);
            let ringing: Vec<_> = self.agents[id].contacts.iter().copied().filter(offered).collect();
            for (call, leg) in ringing {
                if self.is_asked(call, leg) {
                    self.end_consult(ctx, call, AttemptResult::Rescinded, true);
                    continue;
                }
                self.drop_leg(ctx, call, leg, AttemptResult::Rescinded, true);
                self.back_to_queue(ctx, call);
            }
        }
        let now = ctx.at.time;
        let agent = self.agents.get_mut(id).expect("looked up by the caller");
        if agent.contacts.is_empty() {
            agent.pending = None;
            Self::set_presence(agent, intent, now);
        } else {
            agent.pending = (*intent != Intent::Available).then(|| intent.clone());
        }
    }

    fn set_presence(agent: &mut Agent, intent: &Intent, now: LogTime) {
        let presence = match intent {
            Intent::Break { reason } => Presence::Break(reason.clone()),
            Intent::Offline => Presence::Offline,
            Intent::Available | Intent::FinishWrapUp | Intent::ExtendWrapUp { .. } | Intent::ForceRelease => Presence::Available,
        };
        if presence != agent.presence {
            agent.since = now;
            if agent.presence == Presence::Offline {
                (agent.on_since, agent.calls, agent.talked_ms, agent.occupied_permille) = (now, 0, 0, 0);
            }
            if presence == Presence::Available {
                (agent.idle_since, agent.misses) = (now, 0);
            }
            agent.presence = presence;
        }
    }

    fn talks(&self, call: CallId, leg: u16) -> bool {
        self.calls[&call].legs[&leg].answered.is_some()
    }

    /// Whether the agent is only asked something about the call.
    fn is_asked(&self, call: CallId, leg: u16) -> bool {
        self.calls[&call].legs[&leg].role == Role::Consult
    }

    fn force_release(&mut self, ctx: &mut Ctx<'_>, id: &AgentId) {
        let contacts: Vec<_> = self.agents[id].contacts.iter().copied().collect();
        for (call, leg) in contacts {
            if matches!(self.calls[&call].state, CallState::Dialling { leg: owner } if owner == leg) {
                self.not_reached(ctx, call, 0, true);
            } else if self.talks(call, leg) && self.is_asked(call, leg) {
                self.end_consult(ctx, call, AttemptResult::Consulted, true);
            } else if self.talks(call, leg) {
                self.end_call(ctx, call, CallOutcome::Answered, "force_released", 480, None);
            } else {
                self.miss(ctx, call, leg, AttemptResult::Rescinded);
            }
        }
        self.end_wrap_up(ctx, id);
    }

    /// A contact of the agent is over. With talk behind it there is wrap-up; a rescinded offer leaves the idle clock alone.
    pub(super) fn release(&mut self, ctx: &mut Ctx<'_>, id: &AgentId, contact: (CallId, u16), talked_ms: Option<u64>, queue: &QueueId) {
        let wrap_up_ms = self.policy.queues[queue].wrap_up_ms;
        let now = ctx.at.time;
        // Of several chats at once, the end of one is no pause.
        let chat = self.calls[&contact.0].chat.is_some();
        let wraps = wrap_up_ms > 0 && !chat && !self.is_ai(id);
        let agent = self.agents.get_mut(id).expect("agents with contacts are never forgotten");
        assert!(agent.contacts.remove(&contact), "only a booked contact is released");
        agent.chats -= u8::from(chat);
        if let Some(talked_ms) = talked_ms {
            agent.talked(talked_ms, now);
        }
        if agent.contacts.is_empty()
            && let Some(intent) = agent.pending.take()
        {
            Self::set_presence(agent, &intent, now);
        }
        if talked_ms.is_some() {
            if wraps {
                agent.wraps.get_or_insert_with(|| (queue.clone(), now));
                let rest = agent.rest_until;
                self.set_agent_timers(ctx, id, Some(now.plus_ms(wrap_up_ms.min(WRAP_UP_MS_MAX))), rest);
            }
            self.tell_state(ctx, id);
        }
        self.index_agent(ctx, id);
    }

    /// An event for what an agent's state became by itself.
    fn tell_state(&self, ctx: &mut Ctx<'_>, id: &AgentId) {
        let state = self.state_name(id).to_owned();
        ctx.event(EventKind::AgentStateChanged, None, Some(id), None, &[("state", state), ("by", "system".to_owned())]);
    }

    fn state_name(&self, id: &AgentId) -> &'static str {
        let agent = &self.agents[id];
        agent.state_name(self.is_talking(agent))
    }

    /// The rest an agent gets after a miss, by its kind; too many in a row and it is set to break.
    pub(super) fn punish(&mut self, ctx: &mut Ctx<'_>, id: &AgentId, call: CallId, result: AttemptResult) {
        let rules = &self.policy.queues[&self.calls[&call].queue].misses;
        // A phone that refuses at once rests at least a moment, or the same offer would go to and fro without end.
        let delay_ms = match result {
            AttemptResult::Timeout => rules.timeout_delay_ms,
            AttemptResult::Rejected { .. } => rules.reject_delay_ms.max(REFUSED_REST_MS_MIN),
            AttemptResult::Busy => rules.busy_delay_ms.max(REFUSED_REST_MS_MIN),
            AttemptResult::Unreachable { .. } => rules.unreachable_delay_ms.max(REFUSED_REST_MS_MIN),
            AttemptResult::Accepted
            | AttemptResult::Consulted
            | AttemptResult::TakenOver
            | AttemptResult::Rescinded
            | AttemptResult::NodeLost
            | AttemptResult::NotReached { .. } => {
                return;
            }
        };
        // Who is no person takes no break: it is rested, and asked again.
        let (max, reason) = (if self.is_ai(id) { 0 } else { rules.max }, rules.break_reason.clone());
        let agent = self.agents.get_mut(id).expect("looked up by the caller");
        agent.misses = agent.misses.saturating_add(1);
        let rest = (delay_ms > 0).then(|| ctx.at.time.plus_ms(delay_ms));
        let wrap_up = agent.wrap_up_until;
        if max > 0 && agent.misses >= max && agent.presence == Presence::Available && agent.pending.is_none() {
            agent.misses = 0;
            if agent.contacts.is_empty() {
                Self::set_presence(agent, &Intent::Break { reason }, ctx.at.time);
                self.tell_state(ctx, id);
            } else {
                agent.pending = Some(Intent::Break { reason });
            }
        }
        self.set_agent_timers(ctx, id, wrap_up, rest);
        self.index_agent(ctx, id);
    }

    fn agent_deadline(&self, id: &AgentId) -> Option<LogTime> {
        let agent = &self.agents[id];
        let registrations = agent.expires.values().copied();
        registrations.chain(agent.wrap_up_until).chain(agent.rest_until).min()
    }

    pub(super) fn set_agent_timers(&mut self, ctx: &mut Ctx<'_>, id: &AgentId, wrap_up: Option<LogTime>, rest: Option<LogTime>) {
        self.change_agent_deadlines(ctx, id, |agent| (agent.wrap_up_until, agent.rest_until) = (wrap_up, rest));
    }

    pub(super) fn change_agent_deadlines(&mut self, ctx: &mut Ctx<'_>, id: &AgentId, change: impl FnOnce(&mut Agent)) {
        let what = TimerKind::Agent { agent: id.clone() };
        if let Some(old) = self.agent_deadline(id) {
            ctx.cancel_timer(old, what.clone());
        }
        change(self.agents.get_mut(id).expect("looked up by the caller"));
        if let Some(next) = self.agent_deadline(id) {
            ctx.set_timer(next, what);
        }
    }

    pub(super) fn forget_agent_timers(&self, ctx: &mut Ctx<'_>, id: &AgentId) {
        if let Some(deadline) = self.agent_deadline(id) {
            ctx.cancel_timer(deadline, TimerKind::Agent { agent: id.clone() });
        }
    }

    fn end_wrap_up(&mut self, ctx: &mut Ctx<'_>, id: &AgentId) {
        if self.agents[id].wrap_up_until.is_some() {
            self.set_agent_timers(ctx, id, None, self.agents[id].rest_until);
            let agent = self.agents.get_mut(id).expect("looked up by the caller");
            agent.idle_since = ctx.at.time;
            let (queue, since) = agent.wraps.take().expect("wrap-up follows a contact");
            let wrapped_ms = ctx.at.time.ms_since(since).to_string();
            ctx.event(EventKind::ContactWrapped, None, Some(id), Some(&queue), &[("wrapped_ms", wrapped_ms)]);
            self.tell_state(ctx, id);
        }
    }

    /// One of the agent's deadlines has passed.
    pub(super) fn agent_due(&mut self, ctx: &mut Ctx<'_>, id: &AgentId) {
        if !self.agents.contains_key(id) {
            return;
        }
        let now = ctx.at.time;
        if self.agents[id].wrap_up_until.is_some_and(|until| until <= now) {
            self.end_wrap_up(ctx, id);
        }
        self.change_agent_deadlines(ctx, id, |agent| {
            agent.rest_until = agent.rest_until.filter(|until| *until > now);
            agent.expires.retain(|_, until| *until > now);
            agent.bindings.retain(|instance, _| agent.expires.contains_key(instance));
        });
        self.index_agent(ctx, id);
    }
}
