//! Offers: a phone is rung for a call, is let go again, and what an offer without an answer does to agent and call.
//!
//! An offer is a lease: it ends by accept, refusal, time-out or rescission, and ends any way but accept with the call in
//! its old place. Accepting is in `leg`.

use crate::core::{
    call::{CallState, Leg},
    cdr::{Attempt, AttemptResult},
    command::TimerKind,
    effect::{Action, EventKind, Ring},
    explain::Trigger,
    id::{AgentId, CallId, LegId},
    limits::{ENGAGE_MS_MAX, LEGS_PER_CALL_MAX, OFFER_TIMEOUT_MS_MIN, REDIRECTS_MAX, SPARED_MS, SPARED_REST_MS},
    matrix::Role,
    parting::Farewell,
    party::{Engage, Target},
    policy::Channel,
    state::Ctx,
};

use super::Domain;

/// Max-Forwards of an INVITE we send on: a fresh B2BUA leg that still ends a loop.
pub(super) const MAX_FORWARDS: u8 = 69;

impl Domain {
    /// Makes an offer of a call to an agent.
    pub(super) fn ring(&mut self, ctx: &mut Ctx<'_>, id: CallId, agent: &AgentId) {
        self.ring_as(ctx, id, agent, Role::Agent);
    }

    /// Rings an agent who is free, for what `role` says. Returns the leg's number.
    pub(super) fn ring_as(&mut self, ctx: &mut Ctx<'_>, id: CallId, agent: &AgentId, role: Role) -> u16 {
        let queue = self.calls[&id].queue.clone();
        let timeout_ms = self.policy.queues[&queue].offer_timeout_ms.max(OFFER_TIMEOUT_MS_MIN);
        let (target, timeout_ms) = match self.engage(id, agent) {
            Some(target) => (Some(target), timeout_ms.min(ENGAGE_MS_MAX)),
            None => (self.agents[agent].target(&self.policy.agents[agent]), timeout_ms),
        };
        let deadline = ctx.at.time.plus_ms(timeout_ms);
        let n = self.call_out(ctx, id, (agent, role), target, deadline, 0);
        ctx.shared.offers += 1;
        let turn = ctx.shared.offers;
        let row = self.agents.get_mut(agent).expect("chosen agents are known");
        row.last_turn = turn;
        row.offers.made += 1;
        self.index_agent(ctx, agent);
        let what = if role == Role::Consult { "consult" } else { "call" };
        ctx.event(EventKind::ContactOffered, Some(id), Some(agent), Some(&queue), &[("leg", n.to_string()), ("for", what.to_owned())]);
        n
    }

    /// What an AI agent is offered; none for a person.
    fn engage(&self, id: CallId, agent: &AgentId) -> Option<Target> {
        let assistant = self.policy.agents[agent].assistant.clone().filter(|_| self.is_ai(agent))?;
        let transcript = self.calls[&id].assist.as_ref().map(|assist| assist.transcript.rows.clone()).unwrap_or_default();
        Some(Target::Assistant(Box::new(Engage { agent: agent.clone(), assistant, transcript })))
    }

    /// Opens a leg to `target` for an agent and books the agent. Returns the leg's number. A person who is offered a chat hears of it
    /// by the event, and needs no target.
    pub(super) fn call_out(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: CallId,
        (agent, role): (&AgentId, Role),
        target: Option<Target>,
        deadline: crate::core::time::LogTime,
        redirects: u8,
    ) -> u16 {
        let channel = self.calls[&id].channel();
        let assistant = matches!(target, Some(Target::Assistant(_)));
        let writes = (assistant && channel == Channel::Chat).then(|| self.write_order(id, agent, 0, String::new()));
        let call = self.calls.get_mut(&id).expect("offered calls are live");
        let n = call.next_leg;
        call.next_leg += 1;
        let ring = |target| {
            Action::ring(Ring {
                target,
                caller: call.from.clone(),
                queue: Some(call.queue.clone()),
                trunk: call.trunk.clone(),
                sdp: call.offered(),
                headers: call.headers.iter().cloned().chain(call.takeover_headers()).collect(),
                max_forwards: MAX_FORWARDS,
                anchored: call.anchored,
                aside: role != Role::Agent || call.callback.is_some(),
            })
        };
        let action = if channel == Channel::Chat { writes } else { Some(ring(target.expect("a ready agent can be reached"))) };
        let order = action.map(|action| ctx.order(call.leg_id(n), call.edge, action, None));
        let leg = Leg {
            role,
            assistant,
            agent: agent.clone(),
            offered: ctx.at.stamp(),
            rang: None,
            answered: None,
            deadline: Some(deadline),
            dialog: None,
            seq: 0,
            order,
            redirects,
            sdp: None,
            adopting: false,
            held: false,
            muted: false,
            holds: false,
        };
        call.legs.insert(n, Box::new(leg));
        ctx.set_timer(deadline, TimerKind::Offer { call: id, leg: n });
        let row = self.agents.get_mut(agent).expect("chosen agents are known");
        let room = match role {
            Role::Supervisor(_) => row.has_slot(&self.policy.agents[agent]),
            Role::Agent | Role::Consult => row.kept_away_by(&self.policy.agents[agent], channel).is_none() || redirects > 0,
        };
        row.chats += u8::from(channel == Channel::Chat);
        assert!(room && row.contacts.insert((id, n)), "no agent is booked beyond its slots (A1)");
        n
    }

    /// The agent's phone named another place (3xx): it is rung there for the rest of the offer's time.
    pub(super) fn redirect(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, contact: &str) -> bool {
        let leg = &self.calls[&id].legs[&n];
        if leg.assistant {
            // It has no phone that could be elsewhere.
            return false;
        }
        let (agent, redirects) = (leg.agent.clone(), leg.redirects + 1);
        let Some(deadline) = leg.deadline.filter(|_| redirects <= REDIRECTS_MAX && self.calls[&id].next_leg < LEGS_PER_CALL_MAX) else {
            return false;
        };
        let target = Some(Target::Contact { uri: contact.to_owned() });
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        call.legs.remove(&n).expect("looked up above");
        ctx.cancel_timer(deadline, TimerKind::Offer { call: id, leg: n });
        self.agents.get_mut(&agent).expect("a leg holds its agent").contacts.remove(&(id, n));
        self.call_out(ctx, id, (&agent, Role::Agent), target, deadline, redirects);
        true
    }

    pub(super) fn offer_timeout(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16) {
        if self.calls.get(&id).is_some_and(|call| call.legs.get(&n).is_some_and(|leg| leg.deadline.is_some())) {
            self.miss(ctx, id, n, AttemptResult::Timeout);
        }
    }

    /// An offer ended without an answer: the agent rests, the call goes back to its old place.
    pub(super) fn miss(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, result: AttemptResult) {
        if self.is_supervisor(id, n) {
            self.drop_supervisor(ctx, id, n, true);
            return self.replan(ctx, id);
        }
        let ours = matches!(result, AttemptResult::Timeout | AttemptResult::Rescinded);
        if self.calls[&id].legs[&n].role == Role::Consult {
            let agent = self.end_consult(ctx, id, result, ours);
            return self.punish(ctx, &agent, id, result);
        }
        let agent = &self.agents[&self.calls[&id].legs[&n].agent];
        let spared = result == AttemptResult::Busy && agent.spared_until.is_some_and(|until| ctx.at.time < until);
        if spared {
            // Busy with what a dead edge rang it for: not the agent's fault, and over in a moment.
            let agent = self.drop_leg(ctx, id, n, AttemptResult::Rescinded, false);
            self.set_agent_timers(ctx, &agent, self.agents[&agent].wrap_up_until, Some(ctx.at.time.plus_ms(SPARED_REST_MS)));
            self.index_agent(ctx, &agent);
            return self.back_to_queue(ctx, id);
        }
        let agent = self.drop_leg(ctx, id, n, result, ours);
        self.punish(ctx, &agent, id, result);
        self.back_to_queue(ctx, id);
    }

    /// When the last offer of a call is gone, it waits again.
    pub(super) fn back_to_queue(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        if !call.legs.is_empty() {
            return;
        }
        assert!(call.state == CallState::Offering, "only an offered call comes back");
        if call.next_leg >= LEGS_PER_CALL_MAX {
            self.end_call(ctx, id, crate::core::cdr::CallOutcome::Failed, "too_many_offers", 480, None);
            return;
        }
        if call.is_to_be_called_back() {
            self.put_aside(id);
            return self.await_turn(ctx, id, Trigger::CallWaiting);
        }
        self.leave_index(id);
        if self.takeover_is_late(id, ctx.at.time) {
            // Its time passed while a phone rang.
            self.takeover_unanswered(ctx, id);
        }
        self.wait_in_queue(ctx, id, Trigger::CallWaiting);
    }

    /// Takes a leg off a live call, with a hang-up where its phone still rings, and frees its agent. Returns the agent.
    pub(super) fn drop_leg(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, result: AttemptResult, hang_up: bool) -> AgentId {
        if self.is_supervisor(id, n) {
            return self.drop_supervisor(ctx, id, n, hang_up);
        }
        let answered = self.calls[&id].legs[&n].answered.is_some();
        let cause = if answered { "ended" } else { result.name() };
        self.part_with(ctx, id, n, result, hang_up.then_some(cause))
    }

    /// The same, saying why to a phone that is to be hung up.
    pub(super) fn part_with(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, result: AttemptResult, cause: Option<&str>) -> AgentId {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let leg = call.legs.remove(&n).expect("the caller looked it up");
        let agent = leg.agent.clone();
        if let Some(deadline) = leg.deadline {
            ctx.cancel_timer(deadline, TimerKind::Offer { call: id, leg: n });
        }
        call.attempts.push(Attempt {
            leg: n,
            agent: agent.clone(),
            queue: Some(call.queue.clone()),
            node: call.edge.node,
            offered: leg.offered,
            rang: leg.rang,
            answered: leg.answered,
            ended: ctx.at.stamp(),
            result,
        });
        let (edge, queue) = (call.edge, call.queue.clone());
        if call.chat.is_some() {
            // No edge has anything to end: what it still reports of the leg is not taken.
        } else if let Some(cause) = cause.filter(|_| leg.assistant) {
            // Whatever its customer's leg is ordered next says the same, so that this need not be kept.
            ctx.order(LegId { call: id, n }, edge, Action::HangUp { cause: cause.to_owned() }, None);
        } else if let Some(cause) = cause {
            let image = Box::new(call.image_of(&leg));
            let brought = leg.adopting.then(|| image.clone());
            let order = ctx.order(LegId { call: id, n }, edge, Action::HangUp { cause: cause.to_owned() }, brought);
            // An AI agent talks with many at a time, and has no phone that must be let go first.
            let phone_of = (!leg.assistant).then(|| agent.clone());
            self.parting.insert(Farewell { order, image, agent: phone_of }, ctx.at.time);
        }
        let kind = match result {
            AttemptResult::Timeout => Some(EventKind::ContactOfferTimeout),
            AttemptResult::Rescinded => Some(EventKind::ContactRescinded),
            AttemptResult::Accepted
            | AttemptResult::Consulted
            | AttemptResult::TakenOver
            | AttemptResult::NodeLost
            | AttemptResult::NotReached { .. } => None,
            AttemptResult::Rejected { .. } | AttemptResult::Busy | AttemptResult::Unreachable { .. } => Some(EventKind::ContactRejected),
        };
        if let Some(kind) = kind {
            ctx.event(kind, Some(id), Some(&agent), Some(&queue), &[("result", result.name().to_owned())]);
        }
        // Whoever talked to nobody has nothing to wrap up.
        let talked = leg.answered.filter(|_| !matches!(result, AttemptResult::NotReached { .. }));
        let talked_ms = talked.map(|answered| ctx.at.time.ms_since(answered.time));
        let row = self.agents.get_mut(&agent).expect("agents with contacts are never forgotten");
        row.offers.ended(result);
        if result == AttemptResult::NodeLost {
            row.spared_until = Some(ctx.at.time.plus_ms(SPARED_MS));
        }
        self.release(ctx, &agent, (id, n), talked_ms, &queue);
        agent
    }
}
