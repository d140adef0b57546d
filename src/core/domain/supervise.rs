//! Supervisors in a call that talks: their phone is rung, they hear and are heard as their mode says, and nothing that becomes
//! of them touches the call.
//!
//! A supervisor is booked like any agent, from the ringing on, so that nobody is in two calls at once. It owns nothing of the
//! call: no offer is counted, no attempt recorded, and there is no wrap-up.

use crate::core::{
    Outcome, Reason,
    command::{Actor, LegEvent, TimerKind},
    effect::{Action, EventKind},
    id::{AgentId, CallId, LegId},
    limits::{LEGS_PER_CALL_MAX, OFFER_TIMEOUT_MS_MIN, SUPERVISORS_MAX},
    matrix::{Mode, Role},
    parting::Farewell,
    state::Ctx,
};

use super::Domain;

impl Domain {
    /// Rings a supervisor for a call, or changes the mode of one who is in it.
    pub(super) fn supervise(&mut self, ctx: &mut Ctx<'_>, id: CallId, agent: &AgentId, mode: Mode, by: &Actor) -> Outcome {
        if matches!(by, Actor::Agent(_)) {
            return Outcome::Rejected(Reason::NotYours);
        }
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let there = call.legs.iter_mut().find(|(_, leg)| leg.agent == *agent);
        match there.map(|(n, leg)| (*n, &mut leg.role)) {
            Some((_, Role::Supervisor(known))) if *known == mode => return Outcome::Duplicate,
            Some((n, role @ Role::Supervisor(_))) => {
                *role = Role::Supervisor(mode);
                self.tell_supervised(ctx, id, n, "changed");
                self.replan(ctx, id);
                return Outcome::Accepted;
            }
            Some(_) => return Outcome::Rejected(Reason::NotReady(format!("{agent} is a party of the call"))),
            None => {}
        }
        let supervisors = call.legs.values().filter(|leg| matches!(leg.role, Role::Supervisor(_))).count();
        if supervisors >= SUPERVISORS_MAX || call.next_leg >= LEGS_PER_CALL_MAX {
            return Outcome::Rejected(Reason::NotReady("the call has as many supervisors as may be".to_owned()));
        }
        let (Some(row), Some(policy)) = (self.agents.get(agent), self.policy.agents.get(agent)) else {
            return Outcome::Rejected(Reason::NoAgent(agent.to_string()));
        };
        if !row.has_slot(policy) {
            return Outcome::Rejected(Reason::NotReady(format!("{agent} is in another call")));
        }
        let target @ Some(_) = row.target(policy).filter(|_| policy.assistant.is_none()) else {
            return Outcome::Rejected(Reason::NotReady(format!("{agent} has no phone")));
        };
        let timeout_ms = self.policy.queues[&self.calls[&id].queue].offer_timeout_ms.max(OFFER_TIMEOUT_MS_MIN);
        let n = self.call_out(ctx, id, (agent, Role::Supervisor(mode)), target, ctx.at.time.plus_ms(timeout_ms), 0);
        self.index_agent(ctx, agent);
        self.tell_supervised(ctx, id, n, "ringing");
        Outcome::Accepted
    }

    /// Something happened on a supervisor's leg.
    pub(super) fn supervisor_report(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, event: &LegEvent) -> Outcome {
        let leg = self.calls.get_mut(&id).and_then(|call| call.legs.get_mut(&n)).expect("looked up by leg_report");
        match event {
            LegEvent::Ringing { dialog } if leg.answered.is_none() => {
                leg.rang.get_or_insert(ctx.at.stamp());
                leg.dialog = Some(dialog.clone());
            }
            LegEvent::Answered { dialog, sdp } if leg.answered.is_none() => {
                (leg.dialog, leg.sdp, leg.answered) = (Some(dialog.clone()), Some(sdp.clone()), Some(ctx.at.stamp()));
                let deadline = leg.deadline.take().expect("an unanswered leg has its deadline");
                ctx.cancel_timer(deadline, TimerKind::Offer { call: id, leg: n });
                self.tell_supervised(ctx, id, n, "up");
                self.replan(ctx, id);
            }
            LegEvent::Media { dialog, sdp, held } if leg.answered.is_some() => {
                (leg.dialog, leg.sdp, leg.holds) = (Some(dialog.clone()), Some(sdp.clone()), *held);
            }
            LegEvent::HungUp { .. } | LegEvent::Ended | LegEvent::Unreachable { .. } | LegEvent::Refused { .. } => {
                self.drop_supervisor(ctx, id, n, false);
                self.replan(ctx, id);
            }
            LegEvent::Ringing { .. }
            | LegEvent::Answered { .. }
            | LegEvent::Media { .. }
            | LegEvent::Confirmed { .. }
            | LegEvent::Adopted { .. }
            | LegEvent::Assisted(_) => return Outcome::Rejected(Reason::Stale),
        }
        Outcome::Accepted
    }

    /// Takes a supervisor's leg off a call and frees who was booked for it. Returns who that was.
    pub(super) fn drop_supervisor(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, hang_up: bool) -> AgentId {
        self.tell_supervised(ctx, id, n, "left");
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let leg = call.legs.remove(&n).expect("the caller looked it up");
        if let Some(deadline) = leg.deadline {
            ctx.cancel_timer(deadline, TimerKind::Offer { call: id, leg: n });
        }
        let (edge, queue) = (call.edge, call.queue.clone());
        if hang_up {
            let image = Box::new(call.image_of(&leg));
            let brought = leg.adopting.then(|| image.clone());
            let order = ctx.order(LegId { call: id, n }, edge, Action::HangUp { cause: "ended".to_owned() }, brought);
            self.parting.insert(Farewell { order, image, agent: Some(leg.agent.clone()) }, ctx.at.time);
        }
        self.release(ctx, &leg.agent, (id, n), None, &queue);
        leg.agent
    }

    /// True for a leg that owns nothing of its call.
    pub(super) fn is_supervisor(&self, id: CallId, n: u16) -> bool {
        self.calls[&id].legs.get(&n).is_some_and(|leg| matches!(leg.role, Role::Supervisor(_)))
    }

    fn tell_supervised(&self, ctx: &mut Ctx<'_>, id: CallId, n: u16, state: &'static str) {
        let call = &self.calls[&id];
        let leg = &call.legs[&n];
        let Role::Supervisor(mode) = leg.role else { return };
        let data = [("mode", mode.name().to_owned()), ("state", state.to_owned())];
        ctx.event(EventKind::ContactSupervised, Some(id), Some(&leg.agent), Some(&call.queue), &data);
    }
}
