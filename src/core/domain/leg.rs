//! Reports from edges: a phone rings, answers, refuses; somebody hangs up. Accepting here is the linearization point.

use crate::core::{
    Outcome, Reason,
    call::CallState,
    cdr::{Attempt, AttemptResult, CallOutcome},
    command::{HangUpCause, LegEvent, LegReport, TimerKind},
    effect::{Action, EventKind},
    explain::Trigger,
    id::{AgentId, CallId, LegId},
    party::{Dialog, Sdp},
    state::Ctx,
};

use super::Domain;

/// A call that has talked this long is ended: no state lasts for ever.
const CALL_MS_MAX: u64 = 24 * 3_600_000;

impl Domain {
    pub(in crate::core) fn leg_report(&mut self, ctx: &mut Ctx<'_>, report: &LegReport) -> Outcome {
        let LegId { call: id, n } = report.leg;
        let Some(call) = self.calls.get_mut(&id) else { return self.parted(report) };
        if call.edge != report.edge {
            return Outcome::Rejected(Reason::Stale);
        }
        let seq = if n == 0 { Some(&mut call.caller.seq) } else { call.legs.get_mut(&n).map(|leg| &mut leg.seq) };
        let Some(seq) = seq else {
            self.parted(report);
            return Outcome::Rejected(if matches!(report.event, LegEvent::Answered { .. }) { Reason::Taken } else { Reason::NoLeg });
        };
        if report.seq <= *seq {
            return Outcome::Duplicate;
        }
        *seq = report.seq;
        if n == 0 { self.caller_report(ctx, id, &report.event) } else { self.agent_report(ctx, id, n, &report.event) }
    }

    /// A report on a leg that is no longer part of a call: its parting orders are done.
    fn parted(&mut self, report: &LegReport) -> Outcome {
        let before = self.parting.len();
        if matches!(report.event, LegEvent::Ended | LegEvent::Refused { .. } | LegEvent::Unreachable { .. } | LegEvent::HungUp { .. }) {
            self.parting.retain(|_, order| order.leg != report.leg);
        }
        if self.parting.len() < before { Outcome::Accepted } else { Outcome::Rejected(Reason::NoCall) }
    }

    fn caller_report(&mut self, ctx: &mut Ctx<'_>, id: CallId, event: &LegEvent) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        match event {
            LegEvent::HungUp { .. } | LegEvent::Ended | LegEvent::Unreachable { .. } | LegEvent::Refused { .. } => {
                let answered = call.answered.is_some();
                let (outcome, reason) = match event {
                    LegEvent::HungUp { cause: HangUpCause::Bye | HangUpCause::Cancel } if answered => {
                        (CallOutcome::Answered, "caller_hung_up")
                    }
                    LegEvent::HungUp { cause: HangUpCause::Bye | HangUpCause::Cancel } => (CallOutcome::Abandoned, "caller_left"),
                    LegEvent::HungUp { cause: HangUpCause::SessionExpired } if answered => (CallOutcome::Answered, "session_expired"),
                    LegEvent::HungUp { cause: HangUpCause::NoAck } => (CallOutcome::Failed, "no_ack"),
                    _ if answered => (CallOutcome::Answered, "caller_leg_lost"),
                    _ => (CallOutcome::Failed, "caller_leg_lost"),
                };
                self.end_call(ctx, id, outcome, reason, 487, Some(0));
                Outcome::Accepted
            }
            LegEvent::Confirmed { dialog } => {
                call.caller.dialog = dialog.clone();
                Outcome::Accepted
            }
            LegEvent::Media { dialog, held, .. } => {
                call.caller.dialog = dialog.clone();
                self.hold(ctx, id, *held)
            }
            LegEvent::Ringing { .. } | LegEvent::Answered { .. } => {
                Outcome::Rejected(Reason::Invalid("not an event of a caller's leg".to_owned()))
            }
        }
    }

    fn agent_report(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, event: &LegEvent) -> Outcome {
        let talking = matches!(self.calls[&id].state, CallState::Connected { leg, .. } if leg == n);
        match event {
            LegEvent::Ringing { dialog } if !talking => self.ringing(ctx, id, n, dialog),
            LegEvent::Answered { dialog, sdp } if !talking => self.accept(ctx, id, n, dialog, sdp),
            LegEvent::Refused { status, .. } if !talking => {
                let result = match status {
                    486 | 600 => AttemptResult::Busy,
                    480 | 408 | 404 | 410 | 502 | 503 => AttemptResult::Unreachable { status: *status },
                    status => AttemptResult::Rejected { status: *status },
                };
                self.miss(ctx, id, n, result);
                Outcome::Accepted
            }
            LegEvent::Unreachable { status } if !talking => {
                self.miss(ctx, id, n, AttemptResult::Unreachable { status: *status });
                Outcome::Accepted
            }
            LegEvent::HungUp { .. } | LegEvent::Ended if !talking => {
                self.miss(ctx, id, n, AttemptResult::Unreachable { status: 0 });
                Outcome::Accepted
            }
            LegEvent::HungUp { .. } | LegEvent::Ended | LegEvent::Unreachable { .. } | LegEvent::Refused { .. } => {
                let reason = match event {
                    LegEvent::HungUp { cause: HangUpCause::Bye } => "agent_hung_up",
                    LegEvent::HungUp { cause: HangUpCause::SessionExpired } => "session_expired",
                    _ => "agent_leg_lost",
                };
                self.end_call(ctx, id, CallOutcome::Answered, reason, 480, Some(n));
                Outcome::Accepted
            }
            LegEvent::Media { dialog, held, .. } => {
                self.calls.get_mut(&id).and_then(|call| call.legs.get_mut(&n)).expect("looked up by leg_report").dialog =
                    Some(dialog.clone());
                self.hold(ctx, id, *held)
            }
            LegEvent::Ringing { .. } | LegEvent::Answered { .. } | LegEvent::Confirmed { .. } => Outcome::Rejected(Reason::Stale),
        }
    }

    fn ringing(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, dialog: &Dialog) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let leg = call.legs.get_mut(&n).expect("looked up by leg_report");
        leg.rang.get_or_insert(ctx.at.stamp());
        leg.dialog = Some(dialog.clone());
        if !call.caller.ringing {
            call.caller.ringing = true;
            call.caller.order = Some(ctx.order(call.leg_id(0), call.edge, Action::Ringing));
        }
        Outcome::Accepted
    }

    /// One agent has the call: the caller is answered, every other ringing phone is let go.
    fn accept(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, dialog: &Dialog, sdp: &Sdp) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        assert!(call.state == CallState::Offering, "a live unanswered leg belongs to an offered call");
        call.state = CallState::Connected { leg: n, held: false };
        call.answered = Some(ctx.at.stamp());
        let leg = call.legs.get_mut(&n).expect("looked up by leg_report");
        leg.dialog = Some(dialog.clone());
        leg.answered = Some(ctx.at.stamp());
        leg.order = None;
        let deadline = leg.deadline.take();
        let agent = leg.agent.clone();
        let others: Vec<_> = call.legs.keys().copied().filter(|other| *other != n).collect();
        call.caller.order = Some(ctx.order(LegId::caller(id), call.edge, Action::Answer { peer: call.leg_id(n), sdp: sdp.clone() }));
        let (queue, waited_ms) = (call.queue.clone(), ctx.at.time.ms_since(call.entered));
        if let Some(deadline) = deadline {
            ctx.cancel_timer(deadline, TimerKind::Offer { call: id, leg: n });
        }
        for other in others {
            self.drop_leg(ctx, id, other, AttemptResult::Rescinded, true);
        }
        let row = self.agents.get_mut(&agent).expect("agents with contacts are never forgotten");
        row.misses = 0;
        row.calls += 1;
        let level = self.policy.queues[&queue].service_level;
        let counters = self.queues.get_mut(&queue).expect("calls are in known queues");
        counters.answered += 1;
        counters.answered_within_level += u64::from(level.is_some_and(|level| waited_ms <= level.answer_within_ms));
        ctx.event(EventKind::ContactAccepted, Some(id), Some(&agent), Some(&queue), &[("waited_ms", waited_ms.to_string())]);
        ctx.event(EventKind::ContactConnected, Some(id), Some(&agent), Some(&queue), &[]);
        self.set_call_timer(ctx, id, ctx.at.time.plus_ms(CALL_MS_MAX), TimerKind::Call { call: id });
        Outcome::Accepted
    }

    fn hold(&mut self, ctx: &mut Ctx<'_>, id: CallId, hold: bool) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let CallState::Connected { leg, held } = call.state else {
            return Outcome::Rejected(Reason::WrongState(call.state.name().to_owned()));
        };
        call.state = CallState::Connected { leg, held: hold };
        if held != hold {
            let kind = if hold { EventKind::ContactHeld } else { EventKind::ContactResumed };
            let (agent, queue) = (call.legs[&leg].agent.clone(), call.queue.clone());
            ctx.event(kind, Some(id), Some(&agent), Some(&queue), &[]);
        }
        Outcome::Accepted
    }

    pub(super) fn offer_timeout(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16) {
        if self.calls.get(&id).is_some_and(|call| call.legs.get(&n).is_some_and(|leg| leg.deadline.is_some())) {
            self.miss(ctx, id, n, AttemptResult::Timeout);
        }
    }

    /// An offer ended without an answer: the agent rests, the call goes back to its old place.
    pub(super) fn miss(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, result: AttemptResult) {
        let agent = self.drop_leg(ctx, id, n, result, result == AttemptResult::Timeout);
        self.punish(ctx, &agent, id, result);
        if self.calls[&id].legs.is_empty() {
            self.wait_in_queue(ctx, id, &Trigger::CallWaiting);
            self.tell_queued(ctx, id);
        }
        self.match_agent(ctx, &agent, &Trigger::AgentFree(agent.clone()));
    }

    /// Takes a leg off a live call, with a hang-up where its phone still rings, and frees its agent. Returns the agent.
    pub(super) fn drop_leg(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, result: AttemptResult, hang_up: bool) -> AgentId {
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
        if hang_up {
            let order = ctx.order(LegId { call: id, n }, edge, Action::HangUp { cause: result.name().to_owned(), dialog: None });
            self.parting.insert(order.id, order);
        }
        let kind = match result {
            AttemptResult::Timeout => Some(EventKind::ContactOfferTimeout),
            AttemptResult::Rescinded => Some(EventKind::ContactRescinded),
            AttemptResult::Accepted | AttemptResult::NodeLost => None,
            AttemptResult::Rejected { .. } | AttemptResult::Busy | AttemptResult::Unreachable { .. } => Some(EventKind::ContactRejected),
        };
        if let Some(kind) = kind {
            ctx.event(kind, Some(id), Some(&agent), Some(&queue), &[("result", result.name().to_owned())]);
        }
        let talked_ms = leg.answered.map(|answered| ctx.at.time.ms_since(answered.time));
        self.release(ctx, &agent, (id, n), talked_ms, &queue);
        agent
    }
}
