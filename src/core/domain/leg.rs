//! Reports from edges: a phone rings, answers, refuses; somebody hangs up. Accepting here is the linearization point.

use crate::core::{
    Outcome, Reason,
    assist::TakeoverResult,
    call::CallState,
    cdr::{AttemptResult, CallOutcome},
    command::{HangUpCause, LegEvent, LegReport, TimerKind},
    effect::{Action, EventKind},
    explain::Trigger,
    id::{CallId, LegId},
    limits::CALL_MS_MAX,
    matrix::Role,
    party::{Dialog, Sdp},
    state::Ctx,
};

use super::Domain;

impl Domain {
    pub(in crate::core) fn leg_report(&mut self, ctx: &mut Ctx<'_>, report: &LegReport) -> Outcome {
        let LegId { call: id, n } = report.leg;
        let Some(call) = self.calls.get_mut(&id) else { return self.parted(report) };
        if call.edge != report.edge {
            return Outcome::Rejected(Reason::Stale);
        }
        // Of a chat, only what an AI agent's node is ordered to do is somebody's to report.
        let of_edge = call.chat.is_none() || call.legs.get(&n).is_some_and(|leg| leg.assistant);
        if !of_edge || (call.chat.is_some() && matches!(report.event, LegEvent::Adopted { .. })) {
            return Outcome::Rejected(Reason::NoLeg);
        }
        let is_caller = call.caller_leg() == Some(n);
        let is_line = call.line().is_some_and(|line| line.n == n);
        let seq = match call.legs.get_mut(&n) {
            _ if is_caller => Some(&mut call.caller.seq),
            _ if is_line => call.line_mut().map(|line| &mut line.seq),
            leg => leg.map(|leg| &mut leg.seq),
        };
        let Some(seq) = seq else {
            // A leg that left the call: it lost against another, or its time was over.
            let taken = call.answered.is_some() && matches!(report.event, LegEvent::Answered { .. });
            return if taken { Outcome::Rejected(Reason::Taken) } else { self.parted(report) };
        };
        if report.seq <= *seq {
            return Outcome::Duplicate;
        }
        *seq = report.seq;
        if let Some(leg) = call.legs.get_mut(&n) {
            leg.order = None;
        }
        if let Some(line) = call.line_mut().filter(|_| is_line) {
            line.order = None;
        }
        match &report.event {
            LegEvent::Adopted { dialog } => self.adopted(id, n, dialog),
            event if is_line => self.line_report(ctx, id, event),
            LegEvent::Assisted(event) if !is_caller => self.assisted(ctx, id, n, event),
            event if is_caller => self.caller_report(ctx, id, event),
            // Nothing of SIP happens on the leg of an AI agent but its end.
            LegEvent::Ringing { .. } | LegEvent::Answered { .. } | LegEvent::Media { .. } | LegEvent::Confirmed { .. }
                if !is_caller && self.calls[&id].legs[&n].assistant =>
            {
                Outcome::Rejected(Reason::Invalid("not an event of an AI agent's leg".to_owned()))
            }
            event if self.is_supervisor(id, n) => self.supervisor_report(ctx, id, n, event),
            event => self.agent_report(ctx, id, n, event),
        }
    }

    /// A report on a leg that is no longer part of a call. When the leg is gone, so is what was to be said to it.
    fn parted(&mut self, report: &LegReport) -> Outcome {
        let gone =
            matches!(report.event, LegEvent::Ended | LegEvent::Refused { .. } | LegEvent::Unreachable { .. } | LegEvent::HungUp { .. });
        if gone && self.parting.gone(report.leg, report.edge) {
            Outcome::Accepted
        } else if self.calls.contains_key(&report.leg.call) {
            Outcome::Rejected(Reason::NoLeg)
        } else {
            Outcome::Rejected(Reason::NoCall)
        }
    }

    fn caller_report(&mut self, ctx: &mut Ctx<'_>, id: CallId, event: &LegEvent) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        if matches!(call.state, CallState::Dialling { .. }) {
            return self.dial_report(ctx, id, event);
        }
        match event {
            LegEvent::HungUp { .. } | LegEvent::Ended | LegEvent::Unreachable { .. } | LegEvent::Refused { .. } => {
                let answered = call.answered.is_some();
                let talking = matches!(call.state, CallState::Connected { .. } | CallState::Forwarded);
                let (outcome, reason) = match event {
                    LegEvent::HungUp { cause: HangUpCause::Bye | HangUpCause::Cancel } if talking => {
                        (CallOutcome::Answered, "caller_hung_up")
                    }
                    LegEvent::HungUp { cause: HangUpCause::Bye | HangUpCause::Cancel } => (CallOutcome::Abandoned, "caller_left"),
                    LegEvent::HungUp { cause: HangUpCause::SessionExpired } if answered => (CallOutcome::Answered, "session_expired"),
                    LegEvent::HungUp { cause: HangUpCause::NoAck } => (CallOutcome::Failed, "no_ack"),
                    LegEvent::HungUp { cause: HangUpCause::NotAdopted } => (CallOutcome::NodeLost, "node_lost"),
                    LegEvent::HungUp { cause: HangUpCause::MediaLost } if answered => (CallOutcome::Answered, "media_lost"),
                    LegEvent::HungUp { cause: HangUpCause::MediaLost } => (CallOutcome::Failed, "media_lost"),
                    _ if answered => (CallOutcome::Answered, "caller_leg_lost"),
                    _ => (CallOutcome::Failed, "caller_leg_lost"),
                };
                let own = call.caller_leg();
                self.end_call(ctx, id, outcome, reason, 487, own);
                Outcome::Accepted
            }
            LegEvent::Confirmed { dialog } => {
                (call.caller.dialog, call.caller.confirmed) = (dialog.clone(), true);
                Outcome::Accepted
            }
            LegEvent::Media { dialog, sdp, held } => {
                (call.caller.dialog, call.caller.confirmed) = (dialog.clone(), true);
                let first = call.sdp.is_none() && call.state == CallState::Queued;
                if first {
                    self.leave_index(id);
                }
                self.calls.get_mut(&id).expect("looked up above").sdp = Some(sdp.clone());
                if first {
                    // Who could not be heard before may be now.
                    self.wait_in_queue(ctx, id, Trigger::Changed);
                }
                self.hold(ctx, id, 0, *held)
            }
            LegEvent::Ringing { .. } | LegEvent::Answered { .. } | LegEvent::Adopted { .. } | LegEvent::Assisted(_) => {
                Outcome::Rejected(Reason::Invalid("not an event of a caller's leg".to_owned()))
            }
        }
    }

    fn agent_report(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, event: &LegEvent) -> Outcome {
        if self.calls[&id].legs[&n].role == Role::Consult {
            return self.consult_report(ctx, id, n, event);
        }
        if matches!(self.calls[&id].state, CallState::Dialling { leg } if leg == n) {
            return self.dialling_report(ctx, id, n, event);
        }
        let talking = matches!(self.calls[&id].state, CallState::Connected { leg, .. } if leg == n);
        match event {
            LegEvent::Ringing { dialog } if !talking => self.ringing(ctx, id, n, dialog),
            LegEvent::Answered { dialog, sdp } if !talking => self.accept(ctx, id, n, dialog, sdp),
            LegEvent::Refused { status: 300..=399, contacts, .. }
                if !talking && contacts.first().is_some_and(|contact| self.redirect(ctx, id, n, contact)) =>
            {
                Outcome::Accepted
            }
            LegEvent::Refused { status, .. } if !talking => {
                self.miss(ctx, id, n, AttemptResult::of_refusal(*status));
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
            LegEvent::HungUp { .. } | LegEvent::Ended | LegEvent::Unreachable { .. } | LegEvent::Refused { .. }
                if self.calls[&id].assisted_on() == Some(n) =>
            {
                self.assistant_left(ctx, id, n);
                Outcome::Accepted
            }
            LegEvent::HungUp { .. } | LegEvent::Ended | LegEvent::Unreachable { .. } | LegEvent::Refused { .. }
                if self.calls[&id].consult.is_some() =>
            {
                self.owner_left(ctx, id, n);
                Outcome::Accepted
            }
            LegEvent::HungUp { .. } | LegEvent::Ended | LegEvent::Unreachable { .. } | LegEvent::Refused { .. } => {
                let (outcome, reason) = over_by(event, ["agent_hung_up", "agent_leg_lost"]);
                self.end_call(ctx, id, outcome, reason, 480, Some(n));
                Outcome::Accepted
            }
            LegEvent::Media { dialog, sdp, held } => {
                let leg = self.calls.get_mut(&id).and_then(|call| call.legs.get_mut(&n)).expect("looked up by leg_report");
                (leg.dialog, leg.sdp) = (Some(dialog.clone()), Some(sdp.clone()));
                self.hold(ctx, id, n, *held)
            }
            LegEvent::Ringing { .. }
            | LegEvent::Answered { .. }
            | LegEvent::Confirmed { .. }
            | LegEvent::Adopted { .. }
            | LegEvent::Assisted(_) => Outcome::Rejected(Reason::Stale),
        }
    }

    fn ringing(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, dialog: &Dialog) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let leg = call.legs.get_mut(&n).expect("looked up by leg_report");
        leg.rang.get_or_insert(ctx.at.stamp());
        leg.dialog = Some(dialog.clone());
        // One that was answered already hears treatment, and no ringing.
        if !call.caller.ringing && call.caller.up.is_none() && !call.is_to_be_called_back() {
            call.caller.ringing = true;
            self.order_caller(ctx, id, Action::Ringing);
        }
        Outcome::Accepted
    }

    /// One agent has the call: the caller is answered, every other ringing phone is let go.
    fn accept(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, dialog: &Dialog, sdp: &Sdp) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let (peer, calls_back) = (call.leg_id(n), call.is_to_be_called_back());
        let leg = call.legs.get_mut(&n).expect("looked up by leg_report");
        (leg.dialog, leg.sdp) = (Some(dialog.clone()), Some(sdp.clone()));
        self.take(ctx, id, n);
        if calls_back {
            self.dial(ctx, id);
            return Outcome::Accepted;
        }
        self.order_caller(ctx, id, Action::Answer { peer, sdp: sdp.clone() });
        self.connected(ctx, id, n);
        Outcome::Accepted
    }

    /// The offer on a leg is accepted, and all others of the call are over.
    pub(super) fn take(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        assert!(call.state == CallState::Offering, "a live unanswered leg belongs to an offered call");
        let calls_back = call.is_to_be_called_back();
        call.state = if calls_back { CallState::Dialling { leg: n } } else { CallState::Connected { leg: n, held: false } };
        let waits_since = if call.answered.is_some() { call.joined } else { call.entered };
        if !calls_back {
            call.answered.get_or_insert(ctx.at.stamp());
        }
        call.announce_at = None;
        let leg = call.legs.get_mut(&n).expect("looked up by leg_report");
        leg.answered = Some(ctx.at.stamp());
        leg.order = None;
        let deadline = leg.deadline.take().expect("an unanswered leg has its deadline");
        let agent = leg.agent.clone();
        let rang_ms = ctx.at.time.ms_since(leg.offered.time);
        let others: Vec<_> = call.legs.keys().copied().filter(|other| *other != n).collect();
        let (queue, waited_ms) = (call.queue.clone(), ctx.at.time.ms_since(waits_since));
        ctx.cancel_timer(deadline, TimerKind::Offer { call: id, leg: n });
        for other in others {
            self.drop_leg(ctx, id, other, AttemptResult::Rescinded, true);
        }
        let row = self.agents.get_mut(&agent).expect("agents with contacts are never forgotten");
        (row.misses, row.calls) = (0, row.calls + 1);
        // One with a slot left stays ready, at its new count.
        self.index_agent(ctx, &agent);
        let data = [("waited_ms", waited_ms.to_string()), ("rang_ms", rang_ms.to_string())];
        ctx.event(EventKind::ContactAccepted, Some(id), Some(&agent), Some(&queue), &data);
        if calls_back {
            return;
        }
        let level = self.policy.queues[&queue].service_level;
        let counters = self.queues.get_mut(&queue).expect("calls are in known queues");
        counters.answered += 1;
        counters.answered_within_level += u64::from(level.is_some_and(|level| waited_ms <= level.answer_within_ms));
    }

    /// Caller and agent talk from here on.
    pub(super) fn connected(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let (agent, queue) = (call.legs[&n].agent.clone(), call.queue.clone());
        call.served_by = Some(agent.clone());
        call.caller.up.get_or_insert(ctx.at.time);
        if call.assisted_on() != Some(n) {
            self.takeover_ends(ctx, id, TakeoverResult::Accepted(agent.clone()));
        }
        ctx.event(EventKind::ContactConnected, Some(id), Some(&agent), Some(&queue), &[]);
        if self.calls[&id].chat.is_some() {
            self.set_chat_timer(ctx, id);
        } else {
            self.set_call_timer(ctx, id, ctx.at.time.plus_ms(CALL_MS_MAX), TimerKind::Call { call: id });
        }
        self.note_hold(ctx, id, None);
        self.tape_if_ruled(ctx, id);
        self.replan(ctx, id);
    }

    /// A party's phone holds the others, or no longer does. While the caller waits for the next agent nobody hears the
    /// difference.
    fn hold(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, holds: bool) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        match call.legs.get_mut(&n) {
            Some(leg) => leg.holds = holds,
            None => call.caller.holds = holds,
        }
        self.note_hold(ctx, id, None);
        if self.calls[&id].state.connected().is_some() {
            // Whoever is on hold is not listened to.
            self.replan(ctx, id);
        }
        Outcome::Accepted
    }
}

/// What a call comes to when whoever the caller talks with is gone; the words for a BYE and for the loss of that leg.
pub(super) const fn over_by(event: &LegEvent, [bye, lost]: [&'static str; 2]) -> (CallOutcome, &'static str) {
    match event {
        LegEvent::HungUp { cause: HangUpCause::Bye } => (CallOutcome::Answered, bye),
        LegEvent::HungUp { cause: HangUpCause::SessionExpired } => (CallOutcome::Answered, "session_expired"),
        LegEvent::HungUp { cause: HangUpCause::NotAdopted } => (CallOutcome::NodeLost, "node_lost"),
        LegEvent::HungUp { cause: HangUpCause::MediaLost } => (CallOutcome::Answered, "media_lost"),
        _ => (CallOutcome::Answered, lost),
    }
}
