//! A connected call is sent on to a number outside, over a trunk. Whoever had it is free at once; the caller hears music while
//! the number rings, and talks with whoever answers there.
//!
//! A number that does not answer in time, refuses or cannot be reached gives the call back to the queue it came from, at its
//! own age. When the node that calls the number dies, the number is called again in a moment, by another one.

use std::sync::Arc;

use crate::core::{
    Outcome, Reason,
    call::{Call, CallState},
    callback::is_number,
    cdr::AttemptResult,
    command::{LegEvent, TimerKind},
    effect::{Action, EventKind, Ring, Treat},
    explain::Trigger,
    forward::{Forward, Line, shown_outside},
    id::{CallId, TrunkId},
    limits::{CALL_MS_MAX, CALLBACK_AGAIN_MS, LEGS_PER_CALL_MAX, OFFER_TIMEOUT_MS_MIN},
    parting::Farewell,
    party::{Dialog, Party, Sdp, Target},
    state::Ctx,
};

use super::{Domain, leg::over_by, offer::MAX_FORWARDS, treat::can_be_treated};

impl Domain {
    /// The trunk that a number would be called over.
    pub(super) fn way_to(&self, number: &str) -> Result<TrunkId, Reason> {
        if !is_number(number) {
            return Err(Reason::Invalid(format!("{number:?} is no number that can be dialled")));
        }
        self.policy.trunk_for(number).cloned().ok_or_else(|| Reason::NoRoute(number.to_owned()))
    }

    /// The trunk that a call would be sent to a number over. Only what the tenant names may be called: whoever got hold of an
    /// agent's phone could call anybody else at its cost.
    pub(super) fn way_out(&self, call: &Call, number: &str) -> Result<TrunkId, Reason> {
        let trunk = self.way_to(number)?;
        if !self.policy.outside.allows(number) {
            return Err(Reason::NumberBarred);
        }
        if !can_be_treated(call) {
            return Err(Reason::NotAnchored);
        }
        if call.next_leg >= LEGS_PER_CALL_MAX {
            return Err(Reason::NotReady("the call has had too many legs".to_owned()));
        }
        Ok(trunk)
    }

    /// A call that nobody has any more goes to a number.
    pub(super) fn go_out(&mut self, ctx: &mut Ctx<'_>, id: CallId, number: &str) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        call.state = CallState::Forwarding;
        call.forward = Some(Box::new(Forward { number: number.to_owned(), line: None }));
        self.entertain(ctx, id);
        self.replan(ctx, id);
        self.dial_out(ctx, id);
    }

    /// The caller hears music, and nothing of a queue: it is in none.
    pub(super) fn entertain(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let music = self.policy.queues[&self.calls[&id].queue].treatment.music.clone();
        self.order_caller(ctx, id, Action::Treat(Arc::new(Treat { greeting: None, position: None, music })));
    }

    fn dial_out(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = &self.calls[&id];
        let number = call.forward.as_ref().map(|forward| forward.number.clone()).expect("the caller looked it up");
        // What was allowed when the call was sent on may not be when the number is called again.
        let Ok(trunk) = self.way_out(call, &number) else {
            return self.not_forwarded(ctx, id, AttemptResult::Unreachable { status: 0 }, false);
        };
        let ring_ms = self.policy.outside.ring_ms.max(OFFER_TIMEOUT_MS_MIN);
        let call = self.calls.get_mut(&id).expect("looked up above");
        let n = call.next_leg;
        call.next_leg += 1;
        let (caller, headers) = shown_outside(&call.from, &call.headers);
        let ring = Ring { sdp: call.offered(), aside: call.callback.is_some(), headers, ..outbound(trunk, number, caller) };
        let order = ctx.order(call.leg_id(n), call.edge, Action::ring(ring), None);
        let line = Line { n, dialog: Dialog::default(), sdp: None, seq: 0, order: Some(order), adopting: false };
        call.forward.as_mut().expect("looked up above").line = Some(line);
        self.set_call_timer(ctx, id, ctx.at.time.plus_ms(ring_ms), TimerKind::Call { call: id });
    }

    /// The number rang for as long as it may, or the time has come to call it again.
    pub(super) fn forward_due(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        if self.calls[&id].line().is_some() {
            self.not_forwarded(ctx, id, AttemptResult::Timeout, true);
        } else {
            self.dial_out(ctx, id);
        }
    }

    /// The leg of the number says something.
    pub(super) fn line_report(&mut self, ctx: &mut Ctx<'_>, id: CallId, event: &LegEvent) -> Outcome {
        let call = self.calls.get_mut(&id).expect("looked up by leg_report");
        let talks = call.state == CallState::Forwarded;
        let line = call.line_mut().expect("looked up by leg_report");
        match event {
            LegEvent::Ringing { dialog } if !talks => line.dialog = dialog.clone(),
            LegEvent::Answered { dialog, sdp } if !talks => self.forwarded(ctx, id, dialog, sdp),
            LegEvent::Media { dialog, sdp, .. } if talks => (line.dialog, line.sdp) = (dialog.clone(), Some(sdp.clone())),
            LegEvent::HungUp { .. } | LegEvent::Ended | LegEvent::Unreachable { .. } | LegEvent::Refused { .. } if talks => {
                let own = line.n;
                let (outcome, reason) = over_by(event, ["number_hung_up", "number_leg_lost"]);
                self.end_call(ctx, id, outcome, reason, 480, Some(own));
            }
            LegEvent::Refused { status, .. } => self.not_forwarded(ctx, id, AttemptResult::of_refusal(*status), false),
            LegEvent::Unreachable { status } => self.not_forwarded(ctx, id, AttemptResult::Unreachable { status: *status }, false),
            LegEvent::HungUp { .. } | LegEvent::Ended => self.not_forwarded(ctx, id, AttemptResult::Unreachable { status: 0 }, false),
            LegEvent::Ringing { .. }
            | LegEvent::Answered { .. }
            | LegEvent::Media { .. }
            | LegEvent::Confirmed { .. }
            | LegEvent::Adopted { .. }
            | LegEvent::Assisted(_) => return Outcome::Rejected(Reason::Stale),
        }
        Outcome::Accepted
    }

    /// The number answered: the two talk, and nobody of the tenant has to do with it until one hangs up.
    fn forwarded(&mut self, ctx: &mut Ctx<'_>, id: CallId, dialog: &Dialog, sdp: &Sdp) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        call.state = CallState::Forwarded;
        let line = call.line_mut().expect("the caller looked it up");
        (line.dialog, line.sdp) = (dialog.clone(), Some(sdp.clone()));
        let n = line.n;
        call.dialled().expect("a call that is sent on has its row").answered = Some(ctx.at.stamp());
        let (peer, queue) = (call.leg_id(n), call.queue.clone());
        self.order_caller(ctx, id, Action::Answer { peer, sdp: sdp.clone() });
        ctx.event(EventKind::ContactForwarded, Some(id), None, Some(&queue), &[]);
        self.set_call_timer(ctx, id, ctx.at.time.plus_ms(CALL_MS_MAX), TimerKind::Call { call: id });
    }

    /// The call to the number came to nothing: the caller waits again, at its own age. `hang_up`: it still rings there.
    fn not_forwarded(&mut self, ctx: &mut Ctx<'_>, id: CallId, result: AttemptResult, hang_up: bool) {
        self.note_dialled(ctx, id, result);
        self.drop_line(ctx, id, hang_up.then_some(result.name()));
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        call.forward = None;
        // It has the time of one that has just come to the queue.
        (call.step, call.joined, call.step_from) = (0, ctx.at.time, ctx.at.time);
        let queue = call.queue.clone();
        ctx.event(EventKind::ContactForwardFailed, Some(id), None, Some(&queue), &[("result", result.name().to_owned())]);
        self.wait_in_queue(ctx, id, Trigger::CallWaiting);
        self.treat(ctx, id, true);
    }

    /// What becomes of the number's leg when its call ends; `by` is the leg that is gone already, if one is.
    pub(super) fn end_line(&mut self, ctx: &mut Ctx<'_>, id: CallId, by: Option<u16>) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let result = if call.state == CallState::Forwarded { AttemptResult::Accepted } else { AttemptResult::Rescinded };
        let gone = by.is_some() && by == call.line().map(|line| line.n);
        if call.forward.is_some() {
            self.note_dialled(ctx, id, result);
            self.drop_line(ctx, id, (!gone).then_some("ended"));
        }
    }

    /// The edge is lost that called the number: whoever rings there is let go, and called again when that has been told.
    pub(super) fn lose_ringing_line(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        if self.calls[&id].state == CallState::Forwarding {
            self.drop_line(ctx, id, Some(AttemptResult::NodeLost.name()));
            self.set_call_timer(ctx, id, ctx.at.time.plus_ms(CALLBACK_AGAIN_MS), TimerKind::Call { call: id });
        }
    }

    /// The record says what the call to the number came to.
    fn note_dialled(&mut self, ctx: &Ctx<'_>, id: CallId, result: AttemptResult) {
        let dialled = self.calls.get_mut(&id).and_then(|call| call.dialled()).expect("a call that is sent on has its row");
        (dialled.result, dialled.ended) = (Some(result), Some(ctx.at.stamp()));
    }

    /// Takes the leg of the number off its call, with a hang-up if there is a cause for one.
    fn drop_line(&mut self, ctx: &mut Ctx<'_>, id: CallId, hang_up: Option<&str>) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        if let (Some(cause), Some(line)) = (hang_up, call.line()) {
            let image = Box::new(call.line_image(line));
            let brought = line.adopting.then(|| image.clone());
            let order = ctx.order(call.leg_id(line.n), call.edge, Action::HangUp { cause: cause.to_owned() }, brought);
            self.parting.insert(Farewell { order, image, agent: None }, ctx.at.time);
        }
        call.forward.as_mut().expect("the caller looked it up").line = None;
    }
}

/// An INVITE to a number over a trunk. What the trunk shows in the caller's place is the trunk's.
pub(super) fn outbound(trunk: TrunkId, number: String, caller: Party) -> Ring {
    Ring {
        target: Target::Trunk { trunk, number },
        caller,
        queue: None,
        trunk: None,
        sdp: None,
        headers: Vec::new(),
        max_forwards: MAX_FORWARDS,
        anchored: true,
        aside: true,
    }
}
