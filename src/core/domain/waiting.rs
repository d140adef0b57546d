//! Waiting: the place in a queue, routing steps, the longest wait, overflow and an operator's move. Age is never reset.

use crate::core::{
    Outcome, Reason,
    call::{Call, CallState},
    cdr::{AttemptResult, CallOutcome},
    command::{Actor, TimerKind},
    effect::EventKind,
    explain::Trigger,
    id::{CallId, QueueId},
    limits::{HOPS_MAX, WAIT_MS_MAX},
    policy::Fallback,
    state::Ctx,
    time::LogTime,
};

use super::Domain;

impl Domain {
    /// Puts a call that is in no index into its queue at its own age. It is matched when the command is done.
    pub(super) fn wait_in_queue(&mut self, ctx: &mut Ctx<'_>, id: CallId, trigger: Trigger) {
        let call = self.calls.get_mut(&id).expect("the call is live");
        call.state = CallState::Queued;
        if call.waits_until.is_none_or(|until| until < ctx.at.time) {
            (call.waits_for, call.waits_until) = (None, None);
        }
        self.enter_index(ctx, id, trigger);
        self.set_wait_timer(ctx, id);
    }

    /// The soonest of: the step ends, the preferred agent's time is over, the wait is at its longest, the place is said.
    pub(super) fn set_wait_timer(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = &self.calls[&id];
        let waits_until = call.waits_until.filter(|_| call.waits_for.is_some());
        let taken = call.assist.as_ref().and_then(|assist| assist.takeover.as_ref()).map(|open| open.until);
        let idle = call.chat.as_ref().map(|chat| chat.idle_until);
        let ends = [Some(self.gives_up_at(call)), self.unanswered_until(call), call.announce_at, taken, idle];
        let next = self.step_ends(call).into_iter().chain(waits_until).chain(ends.into_iter().flatten());
        let next = next.fold(LogTime(u64::MAX), LogTime::min);
        // What is over already is due now, and not before.
        self.set_call_timer(ctx, id, next.max(ctx.at.time), TimerKind::Wait { call: id });
    }

    /// When the call's routing step gives way to the next; never for the last.
    fn step_ends(&self, call: &Call) -> Option<LogTime> {
        let steps = &self.queues[&call.queue].steps;
        let step = &steps[usize::from(call.step)];
        let last = usize::from(call.step) + 1 == steps.len();
        (!last && step.for_ms > 0).then(|| call.step_from.plus_ms(step.for_ms))
    }

    /// When the queue gives the caller up.
    fn gives_up_at(&self, call: &Call) -> LogTime {
        if let Some(callback) = call.callback.as_ref().filter(|_| call.is_to_be_called_back()) {
            return callback.until;
        }
        let ms = self.policy.queues[&call.queue].max_wait_ms;
        call.joined.plus_ms(if ms == 0 { WAIT_MS_MAX } else { ms })
    }

    /// When a caller has been without an answer for too long: proxies on its way would give up.
    fn unanswered_until(&self, call: &Call) -> Option<LogTime> {
        let ms = self.policy.queues[&call.queue].max_unanswered_ms;
        (call.caller.up.is_none() && ms > 0 && !call.is_to_be_called_back()).then(|| call.arrived.time.plus_ms(ms))
    }

    pub(super) fn set_call_timer(&mut self, ctx: &mut Ctx<'_>, id: CallId, deadline: LogTime, what: TimerKind) {
        let call = self.calls.get_mut(&id).expect("the call is live");
        if let Some((old, kind)) = call.timer.replace((deadline, what.clone())) {
            ctx.cancel_timer(old, kind);
        }
        ctx.set_timer(deadline, what);
    }

    /// A waiting call's timer fired.
    pub(super) fn wait_step(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.timer = None;
        let call = &self.calls[&id];
        if call.state != CallState::Queued {
            // A phone rings: the ring decides first, and the wait is looked at again when it ends without an answer.
            assert!(!call.legs.is_empty(), "a call that does not wait has a leg with a deadline of its own");
            return;
        }
        let now = ctx.at.time;
        if call.is_to_be_called_back() && now >= self.gives_up_at(call) {
            return self.end_call(ctx, id, CallOutcome::Failed, "callback_expired", 480, None);
        }
        if call.chat.as_ref().is_some_and(|chat| now >= chat.idle_until) {
            return self.end_call(ctx, id, CallOutcome::Abandoned, "chat_idle", 480, None);
        }
        let overdue = self.unanswered_until(call).is_some_and(|until| now >= until);
        let silent = overdue && !self.answer_for_long_wait(ctx, id);
        let call = &self.calls[&id];
        if silent || now >= self.gives_up_at(call) {
            let fallback = self.policy.queues[&call.queue].on_max_wait.clone();
            self.fall_back(ctx, id, &fallback, "max_wait");
            return;
        }
        self.announce(ctx, id, now);
        let call = &self.calls[&id];
        if self.takeover_is_late(id, now) {
            self.leave_index(id);
            self.takeover_unanswered(ctx, id);
            return self.wait_in_queue(ctx, id, Trigger::Changed);
        }
        let relax = self.step_ends(call).is_some_and(|end| now >= end);
        let alone = call.waits_for.is_some() && call.waits_until.is_some_and(|until| now >= until);
        if !relax && !alone {
            return self.set_wait_timer(ctx, id);
        }
        self.leave_index(id);
        let call = self.calls.get_mut(&id).expect("looked up above");
        if relax {
            call.step += 1;
            call.step_from = now;
        }
        if alone {
            (call.waits_for, call.waits_until) = (None, None);
        }
        let trigger = if relax { Trigger::Relaxed } else { Trigger::AffinityOver };
        self.wait_in_queue(ctx, id, trigger);
    }

    /// Sends a waiting call where the rule says: another queue that takes it, with its age, or the end.
    pub(super) fn fall_back(&mut self, ctx: &mut Ctx<'_>, id: CallId, fallback: &Fallback, reason: &str) {
        let call = &self.calls[&id];
        assert!(call.state == CallState::Queued, "only a waiting call is sent on");
        let from = call.queue.clone();
        let to = match fallback {
            Fallback::Queue(next) if call.hops < HOPS_MAX => {
                let taken = self.admitting_queue(ctx, next, call.emergency);
                taken.map(|(queue, hops)| (queue, hops + 1)).map_err(|refusal| refusal.status.unwrap_or(480))
            }
            Fallback::Queue(_) => Err(480),
            Fallback::Reject { status } => Err(*status),
        };
        self.queues.get_mut(&from).expect("calls are in known queues").overflowed += 1;
        match to {
            Ok((next, hops)) => {
                let data = [("to", next.to_string()), ("reason", reason.to_owned())];
                ctx.event(EventKind::QueueOverflowed, Some(id), None, Some(&from), &data);
                let call = self.calls.get_mut(&id).expect("looked up above");
                call.hops = call.hops.saturating_add(hops);
                self.leave_index(id);
                self.move_to(ctx, id, next, Trigger::CallWaiting);
            }
            Err(status) => self.end_call(ctx, id, CallOutcome::Rejected, reason, status, None),
        }
    }

    /// Moves a call that is in no index.
    fn move_to(&mut self, ctx: &mut Ctx<'_>, id: CallId, queue: QueueId, trigger: Trigger) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        call.queue = queue;
        call.step = 0;
        (call.joined, call.step_from) = (ctx.at.time, ctx.at.time);
        (call.waits_for, call.waits_until) = (None, None);
        self.wait_in_queue(ctx, id, trigger);
    }

    /// An operator moves a waiting call or changes its priority. A phone that rings for it is let go.
    pub(in crate::core) fn requeue(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: CallId,
        queue: Option<&QueueId>,
        priority: Option<u8>,
        by: &Actor,
    ) -> Outcome {
        let Some(call) = self.calls.get(&id) else { return Outcome::Rejected(Reason::NoCall) };
        if !matches!(call.state, CallState::Queued | CallState::Offering) {
            return Outcome::Rejected(Reason::WrongState(call.state.name().to_owned()));
        }
        let to = queue.unwrap_or(&call.queue).clone();
        if !self.queues.contains_key(&to) {
            return Outcome::Rejected(Reason::NoQueue(to.to_string()));
        }
        let ringing: Vec<_> = call.legs.keys().copied().collect();
        for n in ringing {
            self.drop_leg(ctx, id, n, AttemptResult::Rescinded, true);
        }
        self.leave_index(id);
        let call = self.calls.get_mut(&id).expect("looked up above");
        call.priority = priority.unwrap_or(call.priority);
        ctx.event(EventKind::ContactTransferred, Some(id), None, Some(&to), &[("by", by.to_string())]);
        if call.is_to_be_called_back() {
            // Its queue's hours are those of its callbacks.
            (call.queue, call.step, call.state) = (to, 0, CallState::Deferred);
            (call.waits_for, call.waits_until) = (None, None);
            self.await_turn(ctx, id, Trigger::Changed);
        } else if call.queue == to {
            self.wait_in_queue(ctx, id, Trigger::Changed);
        } else {
            self.move_to(ctx, id, to, Trigger::Changed);
        }
        Outcome::Accepted
    }
}
