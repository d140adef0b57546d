//! Consultation: the agent who has a call asks another one while the caller waits with music, and then hands the call over,
//! goes back to it, or brings all three together.
//!
//! The one who is asked is booked like for an offer. The call stays connected all the time; who hears whom is the plan's.

use crate::core::{
    Outcome, Reason,
    call::{Call, CallState, Consult},
    cdr::{AttemptResult, Transfer},
    command::{Actor, ConsultStep, HangUpCause, LegEvent, TimerKind, TransferTo},
    effect::{Action, EventKind, TRANSFERRED},
    id::{AgentId, CallId},
    limits::LEGS_PER_CALL_MAX,
    matrix::Role,
    party::{Dialog, Sdp},
    policy::AgentKind,
    state::Ctx,
};

use super::Domain;

impl Domain {
    /// The leg that owns a connected call, if `by` may say what becomes of it.
    pub(super) fn owned_by(&self, id: CallId, by: &Actor) -> Result<u16, Reason> {
        let call = self.calls.get(&id).ok_or(Reason::NoCall)?;
        let CallState::Connected { leg, .. } = call.state else { return Err(Reason::WrongState(call.state.name().to_owned())) };
        match by {
            Actor::Agent(agent) if *agent != call.legs[&leg].agent => Err(Reason::NotYours),
            _ => Ok(leg),
        }
    }

    pub(in crate::core) fn consult(&mut self, ctx: &mut Ctx<'_>, id: CallId, to: &TransferTo, by: &Actor) -> Outcome {
        let agent = match self.owned_by(id, by).and_then(|leg| self.consulted(id, leg, to)) {
            Ok(agent) => agent,
            Err(reason) => return Outcome::Rejected(reason),
        };
        let n = self.ring_as(ctx, id, &agent, Role::Consult);
        let call = self.calls.get_mut(&id).expect("looked up above");
        call.consult = Some(Box::new(Consult { leg: n, by: by.clone(), joined: false }));
        let queue = call.queue.clone();
        ctx.event(EventKind::ContactConsulted, Some(id), Some(&agent), Some(&queue), &[("by", by.to_string()), ("to", to.to_string())]);
        self.note_hold(ctx, id, None);
        self.replan(ctx, id);
        Outcome::Accepted
    }

    /// Whom a consultation would ring now.
    fn consulted(&self, id: CallId, leg: u16, to: &TransferTo) -> Result<AgentId, Reason> {
        let call = &self.calls[&id];
        if call.consult.is_some() {
            return Err(Reason::WrongState("in consultation".to_owned()));
        }
        if call.assisted_on().is_some() {
            return Err(Reason::WrongState("with an AI agent".to_owned()));
        }
        if !call.anchored {
            return Err(Reason::NotAnchored);
        }
        if call.next_leg >= LEGS_PER_CALL_MAX {
            return Err(Reason::NotReady("the call has had too many legs".to_owned()));
        }
        let owner = &call.legs[&leg].agent;
        match to {
            TransferTo::Number(_) => Err(Reason::Invalid("a number cannot be asked".to_owned())),
            TransferTo::Agent(agent) if self.is_ai(agent) => Err(Reason::NotReady(format!("{agent} is an AI agent"))),
            TransferTo::Agent(agent) => self.takes_transfer(owner, agent, call.channel()).map(|()| agent.clone()),
            TransferTo::Queue(queue) => {
                if !self.queues.contains_key(queue) {
                    return Err(Reason::NoQueue(queue.to_string()));
                }
                // Whoever would get a call that has just arrived there.
                let asked = Call { queue: queue.clone(), step: 0, skills: Vec::new(), ..(**call).clone() };
                let people = Some(AgentKind::Human);
                let free = self.best_of(&asked, 2, people).into_iter().map(|(_, (.., agent))| agent).find(|agent| agent != owner);
                free.ok_or_else(|| Reason::NotReady(format!("nobody of queue {queue} is free")))
            }
        }
    }

    pub(in crate::core) fn consult_step(&mut self, ctx: &mut Ctx<'_>, id: CallId, step: ConsultStep, by: &Actor) -> Outcome {
        if let Err(reason) = self.owned_by(id, by) {
            return Outcome::Rejected(reason);
        }
        let call = &self.calls[&id];
        let Some(consult) = &call.consult else { return Outcome::Rejected(Reason::WrongState("not in consultation".to_owned())) };
        let (up, joined, n) = (call.legs[&consult.leg].answered.is_some(), consult.joined, consult.leg);
        match step {
            ConsultStep::Cancel => {
                let result = if up { AttemptResult::Consulted } else { AttemptResult::Rescinded };
                self.end_consult(ctx, id, result, true);
            }
            _ if !up => {
                return Outcome::Rejected(Reason::WrongState(format!("consultation: agent {} has not answered", call.legs[&n].agent)));
            }
            ConsultStep::Join if joined => return Outcome::Rejected(Reason::WrongState("joined already".to_owned())),
            ConsultStep::Join => self.join(ctx, id, by),
            ConsultStep::Complete => self.complete(ctx, id, by, true),
        }
        Outcome::Accepted
    }

    fn join(&mut self, ctx: &mut Ctx<'_>, id: CallId, by: &Actor) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let consult = call.consult.as_mut().expect("the caller looked it up");
        consult.joined = true;
        let (agent, queue) = (call.legs[&consult.leg].agent.clone(), call.queue.clone());
        // Whoever held the caller did so to consult.
        call.caller.held = false;
        ctx.event(EventKind::ContactJoined, Some(id), Some(&agent), Some(&queue), &[("by", by.to_string())]);
        self.note_hold(ctx, id, None);
        self.replan(ctx, id);
    }

    /// The one who was asked is let go, and the caller goes on with its agent.
    pub(super) fn end_consult(&mut self, ctx: &mut Ctx<'_>, id: CallId, result: AttemptResult, hang_up: bool) -> AgentId {
        let consult = self.calls.get_mut(&id).and_then(|call| call.consult.take()).expect("the caller looked it up");
        let agent = self.drop_leg(ctx, id, consult.leg, result, hang_up);
        let queue = self.calls[&id].queue.clone();
        ctx.event(EventKind::ContactConsultEnded, Some(id), Some(&agent), Some(&queue), &[("result", result.name().to_owned())]);
        self.note_hold(ctx, id, None);
        self.replan(ctx, id);
        agent
    }

    /// The one who was asked has the call from now on. `hang_up`: the first agent has not hung up by itself.
    pub(super) fn complete(&mut self, ctx: &mut Ctx<'_>, id: CallId, by: &Actor, hang_up: bool) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let (CallState::Connected { leg: first, held }, Some(consult)) = (call.state, call.consult.take()) else {
            unreachable!("only a connected call is in consultation")
        };
        let n = consult.leg;
        let leg = call.legs.get_mut(&n).expect("a consultation has its leg");
        leg.role = Role::Agent;
        let (agent, sdp) = (leg.agent.clone(), leg.sdp.clone().unwrap_or_default());
        (call.state, call.caller.held, call.caller.muted) = (CallState::Connected { leg: n, held }, false, false);
        call.served_by = Some(agent.clone());
        let from = self.part_with(ctx, id, first, AttemptResult::Accepted, hang_up.then_some(TRANSFERRED));
        let call = self.calls.get_mut(&id).expect("looked up above");
        let to = TransferTo::Agent(agent.clone());
        let data = [("by", by.to_string()), ("to", to.to_string()), ("attended", true.to_string())];
        let sent = Transfer { at: ctx.at.stamp(), by: by.clone(), from: from.clone(), leg: first, to, attended: true, outside: None };
        call.talk().transfers.push(sent);
        let (peer, queue) = (call.leg_id(n), call.queue.clone());
        self.order_caller(ctx, id, Action::Answer { peer, sdp });
        ctx.event(EventKind::ContactTransferred, Some(id), Some(&from), Some(&queue), &data);
        ctx.event(EventKind::ContactConnected, Some(id), Some(&agent), Some(&queue), &[]);
        self.note_hold(ctx, id, None);
        self.replan(ctx, id);
    }

    /// The first agent is gone by itself while a consultation was open: who was asked has the call; if that phone still rings,
    /// the caller waits again, at its own age.
    pub(super) fn owner_left(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16) {
        let consult = self.calls[&id].consult.as_ref().expect("the caller looked it up");
        let up = self.calls[&id].legs[&consult.leg].answered.is_some();
        let by = Actor::Agent(self.calls[&id].legs[&n].agent.clone());
        if up {
            return self.complete(ctx, id, &by, false);
        }
        self.end_consult(ctx, id, AttemptResult::Rescinded, true);
        let queue = TransferTo::Queue(self.calls[&id].queue.clone());
        self.send_on(ctx, id, n, &queue, &by, false);
    }

    /// The phone of the one who is asked says something.
    pub(super) fn consult_report(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, event: &LegEvent) -> Outcome {
        let leg = self.calls.get_mut(&id).and_then(|call| call.legs.get_mut(&n)).expect("looked up by leg_report");
        let up = leg.answered.is_some();
        match event {
            LegEvent::Ringing { dialog } if !up => {
                leg.rang.get_or_insert(ctx.at.stamp());
                leg.dialog = Some(dialog.clone());
            }
            LegEvent::Answered { dialog, sdp } if !up => self.consult_answered(ctx, id, n, dialog, sdp),
            LegEvent::Refused { status, .. } if !up => self.miss(ctx, id, n, AttemptResult::of_refusal(*status)),
            LegEvent::Unreachable { status } if !up => self.miss(ctx, id, n, AttemptResult::Unreachable { status: *status }),
            LegEvent::HungUp { .. } | LegEvent::Ended if !up => self.miss(ctx, id, n, AttemptResult::Unreachable { status: 0 }),
            LegEvent::HungUp { cause: HangUpCause::NotAdopted } => drop(self.end_consult(ctx, id, AttemptResult::NodeLost, false)),
            LegEvent::HungUp { .. } | LegEvent::Ended | LegEvent::Unreachable { .. } | LegEvent::Refused { .. } => {
                self.end_consult(ctx, id, AttemptResult::Consulted, false);
            }
            LegEvent::Media { dialog, sdp, held } => {
                (leg.dialog, leg.sdp, leg.holds) = (Some(dialog.clone()), Some(sdp.clone()), *held);
            }
            LegEvent::Ringing { .. }
            | LegEvent::Answered { .. }
            | LegEvent::Confirmed { .. }
            | LegEvent::Adopted { .. }
            | LegEvent::Assisted(_) => return Outcome::Rejected(Reason::Stale),
        }
        Outcome::Accepted
    }

    fn consult_answered(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, dialog: &Dialog, sdp: &Sdp) {
        let leg = self.calls.get_mut(&id).and_then(|call| call.legs.get_mut(&n)).expect("the caller looked it up");
        (leg.dialog, leg.sdp, leg.answered) = (Some(dialog.clone()), Some(sdp.clone()), Some(ctx.at.stamp()));
        let agent = leg.agent.clone();
        let deadline = leg.deadline.take().expect("an unanswered leg has its deadline");
        ctx.cancel_timer(deadline, TimerKind::Offer { call: id, leg: n });
        let row = self.agents.get_mut(&agent).expect("agents with contacts are never forgotten");
        (row.misses, row.calls) = (0, row.calls + 1);
        self.index_agent(ctx, &agent);
        let queue = self.calls[&id].queue.clone();
        ctx.event(EventKind::ContactAccepted, Some(id), Some(&agent), Some(&queue), &[("for", "consult".to_owned())]);
        self.replan(ctx, id);
    }
}
