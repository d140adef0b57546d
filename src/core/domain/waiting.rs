//! Waiting: the place in a queue, routing steps, the longest wait, overflow and an operator's move. Age is never reset.

use crate::core::{
    Outcome, Reason,
    call::{Call, CallState},
    cdr::CallOutcome,
    command::{Actor, TimerKind},
    effect::EventKind,
    explain::Trigger,
    id::{CallId, QueueId},
    policy::{Fallback, OnClose},
    state::Ctx,
    time::LogTime,
};

use super::Domain;

impl Domain {
    /// Puts a call into its queue at its own age, and tries to match it.
    pub(super) fn wait_in_queue(&mut self, ctx: &mut Ctx<'_>, id: CallId, trigger: &Trigger) {
        let call = self.calls.get_mut(&id).expect("the call is live");
        call.state = CallState::Queued;
        let classes = &mut self.queues.get_mut(&call.queue).expect("calls are in known queues").classes;
        call.step = call.step.min(classes.len() as u16 - 1);
        classes[usize::from(call.step)].enter(call.priority, call.entered, id);
        self.set_wait_timer(ctx, id);
        self.match_call(ctx, id, trigger);
    }

    fn leave_queue(&mut self, id: CallId) {
        let call = &self.calls[&id];
        if call.state == CallState::Queued {
            let class = &mut self.queues.get_mut(&call.queue).expect("calls are in known queues").classes[usize::from(call.step)];
            class.leave(call.priority, call.entered, id);
        }
    }

    /// Takes a call that is about to end out of the index.
    pub(super) fn unqueue(&mut self, id: CallId) {
        self.leave_queue(id);
    }

    /// The soonest of: the step ends, the preferred agent's time is over, the wait is at its longest.
    fn set_wait_timer(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = &self.calls[&id];
        let rules = &self.policy.queues[&call.queue];
        let step = rules.steps.get(usize::from(call.step)).filter(|step| step.for_ms > 0 && usize::from(call.step) + 1 < rules.steps.len());
        let step_ends = step.map(|step| call.step_from.plus_ms(step.for_ms));
        let affinity_ends = call.prefer.is_some().then(|| call.entered.plus_ms(rules.affinity_ms)).filter(|end| *end > ctx.at.time);
        let next =
            [step_ends, affinity_ends, Some(self.gives_up_at(call))].into_iter().flatten().min().expect("the longest wait is always set");
        self.set_call_timer(ctx, id, next, TimerKind::Wait { call: id });
    }

    /// When the queue gives the caller up: the longest wait, or the longest time without an answer.
    fn gives_up_at(&self, call: &Call) -> LogTime {
        let rules = &self.policy.queues[&call.queue];
        let longest = if rules.max_unanswered_ms == 0 { rules.max_wait_ms } else { rules.max_wait_ms.min(rules.max_unanswered_ms) };
        call.step_from.plus_ms(longest)
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
        if call.state == CallState::Offering {
            // A phone rings: the ring decides first, and the wait is looked at again when it ends without an answer.
            return;
        }
        if ctx.at.time >= self.gives_up_at(call) {
            let fallback = self.policy.queues[&call.queue].on_max_wait.clone();
            self.fall_back(ctx, id, &fallback, "max_wait");
            return;
        }
        let rules = &self.policy.queues[&call.queue];
        let step = rules.steps.get(usize::from(call.step));
        let relax = step.is_some_and(|step| step.for_ms > 0 && ctx.at.time >= call.step_from.plus_ms(step.for_ms))
            && usize::from(call.step) + 1 < rules.steps.len();
        let trigger = if relax { Trigger::Relaxed } else { Trigger::AffinityOver };
        self.leave_queue(id);
        let call = self.calls.get_mut(&id).expect("looked up above");
        if relax {
            call.step += 1;
            call.step_from = ctx.at.time;
        }
        self.wait_in_queue(ctx, id, &trigger);
    }

    /// Sends a waiting call where the rule says: another queue, with its age, or the end.
    pub(super) fn fall_back(&mut self, ctx: &mut Ctx<'_>, id: CallId, fallback: &Fallback, reason: &str) {
        let call = &self.calls[&id];
        match fallback {
            Fallback::Queue(next) if call.hops < super::arrive::HOPS_MAX && self.queues.contains_key(next) => {
                ctx.event(
                    EventKind::QueueOverflowed,
                    Some(id),
                    None,
                    Some(&call.queue),
                    &[("to", next.to_string()), ("reason", reason.to_owned())],
                );
                self.move_to(ctx, id, next.clone());
            }
            Fallback::Queue(_) => self.end_call(ctx, id, CallOutcome::Rejected, reason, 480, None),
            Fallback::Reject { status } => self.end_call(ctx, id, CallOutcome::Rejected, reason, *status, None),
        }
    }

    fn move_to(&mut self, ctx: &mut Ctx<'_>, id: CallId, queue: QueueId) {
        self.leave_queue(id);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        call.queue = queue;
        call.hops += 1;
        call.step = 0;
        call.step_from = ctx.at.time;
        self.wait_in_queue(ctx, id, &Trigger::CallWaiting);
    }

    /// An operator moves a waiting call or changes its priority.
    pub(in crate::core) fn requeue(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: CallId,
        queue: Option<&QueueId>,
        priority: Option<u8>,
        by: &Actor,
    ) -> Outcome {
        let Some(call) = self.calls.get(&id) else { return Outcome::Rejected(Reason::NoCall) };
        if call.state != CallState::Queued {
            return Outcome::Rejected(Reason::WrongState(call.state.name().to_owned()));
        }
        let to = queue.unwrap_or(&call.queue).clone();
        if !self.queues.contains_key(&to) {
            return Outcome::Rejected(Reason::NoQueue(to.to_string()));
        }
        self.leave_queue(id);
        let call = self.calls.get_mut(&id).expect("looked up above");
        call.priority = priority.unwrap_or(call.priority);
        if call.queue != to {
            (call.queue, call.step, call.step_from) = (to.clone(), 0, ctx.at.time);
        }
        ctx.event(EventKind::ContactTransferred, Some(id), None, Some(&to), &[("by", format!("{by:?}"))]);
        self.wait_in_queue(ctx, id, &Trigger::Changed);
        Outcome::Accepted
    }

    /// A queue closed: those who wait are served or sent on, as its rule says.
    pub(super) fn queue_due(&mut self, ctx: &mut Ctx<'_>, id: &QueueId) {
        let Some(rules) = self.policy.queues.get(id).cloned() else { return };
        if rules.waiting_on_close == OnClose::Finish {
            return;
        }
        let waiting: Vec<_> = self.queues[id].waiting().collect();
        for call in waiting {
            self.fall_back(ctx, call, &rules.on_closed, "closed");
        }
    }
}
