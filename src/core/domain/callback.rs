//! Callbacks: a customer waits without a phone in its hand, at its own place in the queue, or for a time that was asked for.
//!
//! Such a call waits, is offered and is answered like any other. The agent who answers has it (`Dialling`) while the customer
//! is called over a trunk; when that comes to nothing the agent is free again, and the call stands aside (`Deferred`) for a
//! pause and then waits at its old age, as often as its queue allows. One number is called back once at a time, and has one
//! dial in flight.

use crate::core::{
    Outcome, Reason,
    assist::TakeoverResult,
    call::{CallState, CallerLeg},
    callback::Callback,
    cdr::{AttemptResult, CallOutcome},
    command::{Actor, Arrive, LegEvent, NewCallback, TimerKind},
    effect::{Action, EventKind},
    explain::Trigger,
    hours,
    id::{CallId, DomainId, Edge, QueueId},
    limits::{CALLBACK_AGAIN_MS, CALLBACK_AHEAD_MS_MAX, CALLBACKS_MAX, CALLS_PER_DOMAIN_MAX, HOURS_CHECK_MS},
    party::{Dialog, Party, Sdp},
    policy::Media,
    state::Ctx,
    time::WallTime,
};

use super::{Domain, forward::outbound};

impl Domain {
    /// A waiting caller hangs up and keeps its place.
    pub(in crate::core) fn call_back(&mut self, ctx: &mut Ctx<'_>, id: CallId, number: Option<&str>, by: &Actor) -> Outcome {
        let Some(call) = self.calls.get(&id) else { return Outcome::Rejected(Reason::NoCall) };
        let number = number.unwrap_or(&call.from.user).to_owned();
        // Whoever talked to an agent already, or is about to, is better served on the line.
        if call.state != CallState::Queued || call.callback.is_some() || call.answered.is_some() || call.emergency || call.chat.is_some() {
            let state = if call.state == CallState::Queued { "not for a callback" } else { call.state.name() };
            return Outcome::Rejected(Reason::WrongState(state.to_owned()));
        }
        if let Err(reason) = self.may_be_dialled(&number) {
            return Outcome::Rejected(reason);
        }
        self.dismiss_caller(ctx, id, "callback", 480);
        self.leave_index(id);
        let until = ctx.at.time.plus_ms(self.policy.queues[&self.calls[&id].queue].callback.max_age_ms);
        let call = self.calls.get_mut(&id).expect("looked up above");
        if call.from.user != number {
            call.from = Party { user: number.clone(), ..Party::default() };
        }
        // Its new legs go through whoever makes them.
        (call.caller, call.sdp, call.media, call.announce_at, call.anchored) = (CallerLeg::new(Dialog::default()), None, None, None, true);
        self.enrol(ctx, id, number, None, until, by);
        Outcome::Accepted
    }

    /// Somebody wants a number to be called, now or at a time.
    pub(in crate::core) fn schedule(&mut self, ctx: &mut Ctx<'_>, new: &NewCallback) -> Outcome {
        if self.calls.contains_key(&new.call) {
            return Outcome::Duplicate;
        }
        if let Some(outcome) = self.closed.outcome_of(new.call) {
            return outcome.clone();
        }
        let Some(rules) = self.policy.queues.get(&new.queue) else { return Outcome::Rejected(Reason::NoQueue(new.queue.to_string())) };
        let ahead_ms = new.at.map_or(0, |at| ahead_ms(ctx.at.wall, at));
        if ahead_ms > CALLBACK_AHEAD_MS_MAX {
            return Outcome::Rejected(Reason::Invalid("too far ahead".to_owned()));
        }
        let calls_max = if self.policy.calls_max == 0 { CALLS_PER_DOMAIN_MAX } else { self.policy.calls_max };
        if self.calls.len() >= calls_max as usize {
            return Outcome::Rejected(Reason::TooManyCalls(calls_max));
        }
        if let Err(reason) = self.may_be_dialled(&new.number) {
            return Outcome::Rejected(reason);
        }
        let from = ctx.at.time.plus_ms(ahead_ms);
        let (until, priority) = (from.plus_ms(rules.callback.max_age_ms), new.priority.unwrap_or(rules.priority));
        let party = Party { user: new.number.clone(), ..Party::default() };
        let arrive = Arrive { from: party, priority: new.priority, ..arrival_of(&new.domain, new.call, new.edge, new.queue.as_str()) };
        let mut call = self.new_call(ctx, &arrive, new.queue.clone(), priority, false, 0);
        // Who asked for a later time has no older claim than who calls then.
        (call.entered, call.joined, call.step_from, call.queued) = (from, from, from, None);
        self.on_edge.entry(new.edge).or_default().insert(new.call);
        call.state = CallState::Deferred;
        self.calls.insert(new.call, Box::new(call));
        self.enrol(ctx, new.call, new.number.clone(), new.at, until, &new.by);
        Outcome::Scheduled { call: new.call }
    }

    pub(super) fn may_be_dialled(&self, number: &str) -> Result<(), Reason> {
        self.way_to(number)?;
        if self.policy.media == Media::Direct {
            return Err(Reason::NotAnchored);
        }
        if self.callbacks.contains_key(number) {
            return Err(Reason::NotReady("the number waits for a callback already".to_owned()));
        }
        if self.callbacks.len() >= CALLBACKS_MAX {
            return Err(Reason::NotReady("there are as many callbacks as may be".to_owned()));
        }
        Ok(())
    }

    /// Makes a call that is in no index one to be called back.
    pub(super) fn enrol(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: CallId,
        number: String,
        at: Option<WallTime>,
        until: crate::core::time::LogTime,
        by: &Actor,
    ) {
        // Whoever calls back is a person.
        self.takeover_ends(ctx, id, TakeoverResult::Ended);
        self.callbacks.insert(number.clone(), id);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let (scheduled, due) = (ctx.at.stamp(), ctx.at.time);
        call.callback = Some(Box::new(Callback {
            number,
            by: by.clone(),
            scheduled,
            at,
            due,
            until,
            dials: 0,
            leg: None,
            reached: false,
            continues: None,
        }));
        call.state = CallState::Deferred;
        let queue = call.queue.clone();
        ctx.event(EventKind::CallbackScheduled, Some(id), None, Some(&queue), &[("by", by.to_string())]);
        self.await_turn(ctx, id, Trigger::CallWaiting);
    }

    /// Puts a deferred callback where it belongs now: into its queue at its own age, or aside until its time has come and its
    /// queue is open.
    pub(super) fn await_turn(&mut self, ctx: &mut Ctx<'_>, id: CallId, trigger: Trigger) {
        let call = &self.calls[&id];
        assert!(call.state == CallState::Deferred, "what waits or is served already is not put aside");
        let callback = call.callback.as_ref().expect("only a callback is deferred");
        let left_ms = callback.until.ms_since(ctx.at.time);
        if left_ms == 0 {
            return self.end_call(ctx, id, CallOutcome::Failed, "callback_expired", 480, None);
        }
        let asked_ms = callback.at.map_or(0, |at| ahead_ms(ctx.at.wall, at));
        let wait_ms = callback.due.ms_since(ctx.at.time).max(asked_ms).max(self.opens_in_ms(ctx, &call.queue));
        if wait_ms > 0 {
            let look = ctx.at.time.plus_ms(wait_ms.min(HOURS_CHECK_MS).min(left_ms));
            return self.set_call_timer(ctx, id, look, TimerKind::Call { call: id });
        }
        let call = self.calls.get_mut(&id).expect("looked up above");
        call.queued.get_or_insert(ctx.at.stamp());
        (call.joined, call.step_from) = (ctx.at.time, ctx.at.time);
        let (queue, priority) = (call.queue.clone(), call.priority.to_string());
        self.wait_in_queue(ctx, id, trigger);
        ctx.event(EventKind::ContactQueued, Some(id), None, Some(&queue), &[("priority", priority)]);
    }

    /// How long a queue stays closed; zero if it is open.
    fn opens_in_ms(&self, ctx: &Ctx<'_>, queue: &QueueId) -> u64 {
        let hours = self.policy.queues[queue].hours.as_ref().and_then(|name| self.policy.hours.get(name));
        let Some(hours) = hours.filter(|hours| !hours::open_at(hours, ctx.at.wall)) else { return 0 };
        hours::next_change(hours, ctx.at.wall).map_or(HOURS_CHECK_MS, |at| ahead_ms(ctx.at.wall, at)).max(1)
    }

    /// A queue opened or closed: its callbacks come back into it, or stand aside.
    pub(super) fn callbacks_by_hours(&mut self, ctx: &mut Ctx<'_>, queue: &QueueId, open: bool) {
        let moves = if open { CallState::Deferred } else { CallState::Queued };
        let ids: Vec<_> =
            self.callbacks.values().copied().filter(|id| self.calls[id].queue == *queue && self.calls[id].state == moves).collect();
        for id in ids.into_iter().filter(|id| self.calls[id].is_to_be_called_back()).collect::<Vec<_>>() {
            self.put_aside(id);
            self.await_turn(ctx, id, Trigger::CallWaiting);
        }
    }

    /// Takes a callback out of whatever it is in. Its legs are gone.
    pub(super) fn put_aside(&mut self, id: CallId) {
        self.leave_index(id);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        (call.state, call.media, call.caller) = (CallState::Deferred, None, CallerLeg::new(Dialog::default()));
        call.callback.as_mut().expect("the caller looked it up").leg = None;
    }

    /// The agent answered: the customer is called.
    pub(super) fn dial(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = &self.calls[&id];
        let number = call.callback.as_ref().map(|callback| callback.number.clone()).expect("the caller looked it up");
        let ring_ms = self.policy.queues[&call.queue].callback.ring_ms;
        let Some(trunk) = self.policy.trunk_for(&number).cloned() else { return self.not_reached(ctx, id, 404, false) };
        let call = self.calls.get_mut(&id).expect("looked up above");
        let n = call.next_leg;
        call.next_leg += 1;
        let ring = outbound(trunk, number, Party { user: call.to_user.clone(), ..Party::default() });
        let order = ctx.order(call.leg_id(n), call.edge, Action::ring(ring), None);
        call.caller = CallerLeg { order: Some(order), ..CallerLeg::new(Dialog::default()) };
        let callback = call.callback.as_mut().expect("looked up above");
        (callback.leg, callback.dials) = (Some(n), callback.dials.saturating_add(1));
        let data = [("dial", callback.dials.to_string())];
        let (agent, queue) = (call.owner().map(|leg| call.legs[&leg].agent.clone()), call.queue.clone());
        ctx.event(EventKind::CallbackAttempted, Some(id), agent.as_ref(), Some(&queue), &data);
        self.set_call_timer(ctx, id, ctx.at.time.plus_ms(ring_ms), TimerKind::Call { call: id });
        self.replan(ctx, id);
    }

    /// The customer's leg says something while it is called.
    pub(super) fn dial_report(&mut self, ctx: &mut Ctx<'_>, id: CallId, event: &LegEvent) -> Outcome {
        let call = self.calls.get_mut(&id).expect("looked up by leg_report");
        match event {
            LegEvent::Ringing { dialog } => (call.caller.dialog, call.caller.order) = (dialog.clone(), None),
            LegEvent::Answered { dialog, sdp } => self.reached(ctx, id, dialog, sdp),
            LegEvent::Refused { status, .. } | LegEvent::Unreachable { status } => self.not_reached(ctx, id, *status, false),
            LegEvent::HungUp { .. } | LegEvent::Ended => self.not_reached(ctx, id, 0, false),
            LegEvent::Media { .. } | LegEvent::Confirmed { .. } | LegEvent::Adopted { .. } | LegEvent::Assisted(_) => {
                return Outcome::Rejected(Reason::Stale);
            }
        }
        Outcome::Accepted
    }

    /// The customer answered: the two talk.
    fn reached(&mut self, ctx: &mut Ctx<'_>, id: CallId, dialog: &Dialog, sdp: &Sdp) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let leg = call.owner().expect("a callback that is dialled has its agent");
        call.state = CallState::Connected { leg, held: false };
        (call.caller.dialog, call.caller.up, call.caller.confirmed) = (dialog.clone(), Some(ctx.at.time), true);
        (call.sdp, call.answered) = (Some(sdp.clone()), Some(ctx.at.stamp()));
        call.callback.as_mut().expect("the caller looked it up").reached = true;
        let (agent, theirs) = (call.legs[&leg].agent.clone(), call.legs[&leg].sdp.clone().unwrap_or_default());
        call.served_by = Some(agent.clone());
        let (peer, queue) = (call.leg_id(leg), call.queue.clone());
        self.order_caller(ctx, id, Action::Answer { peer, sdp: theirs });
        self.queues.get_mut(&queue).expect("calls are in known queues").answered += 1;
        ctx.event(EventKind::ContactConnected, Some(id), Some(&agent), Some(&queue), &[]);
        ctx.event(EventKind::CallbackCompleted, Some(id), Some(&agent), Some(&queue), &[("result", "answered".to_owned())]);
        self.set_call_timer(ctx, id, ctx.at.time.plus_ms(crate::core::limits::CALL_MS_MAX), TimerKind::Call { call: id });
        self.note_hold(ctx, id, None);
        self.tape_if_ruled(ctx, id);
        self.replan(ctx, id);
    }

    /// A dial came to nothing; `hang_up`: the customer's phone is still to be let go. The agent is free, and the customer is
    /// called again after a pause, or given up.
    pub(super) fn not_reached(&mut self, ctx: &mut Ctx<'_>, id: CallId, status: u16, hang_up: bool) {
        if hang_up {
            self.dismiss_caller(ctx, id, "callback", 480);
        }
        for n in self.calls[&id].legs.keys().copied().collect::<Vec<_>>() {
            self.drop_leg(ctx, id, n, AttemptResult::NotReached { status }, true);
        }
        self.put_aside(id);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let rules = &self.policy.queues[&call.queue].callback;
        let callback = call.callback.as_mut().expect("the caller looked it up");
        callback.due = ctx.at.time.plus_ms(rules.pause_ms);
        if callback.dials >= rules.dials_max || self.policy.trunk_for(&callback.number).is_none() {
            let reason = match status {
                486 | 600 => "callback_busy",
                0 | 408 | 480 => "callback_no_answer",
                _ => "callback_refused",
            };
            let queue = call.queue.clone();
            ctx.event(EventKind::CallbackCompleted, Some(id), None, Some(&queue), &[("result", reason.to_owned())]);
            return self.end_call(ctx, id, CallOutcome::Failed, reason, 480, None);
        }
        self.await_turn(ctx, id, Trigger::CallWaiting);
    }

    /// The phone of the agent who has it says something while the customer is called.
    pub(super) fn dialling_report(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, event: &LegEvent) -> Outcome {
        match event {
            LegEvent::HungUp { .. } | LegEvent::Ended | LegEvent::Unreachable { .. } | LegEvent::Refused { .. } => {
                self.drop_leg(ctx, id, n, AttemptResult::NotReached { status: 0 }, false);
                self.not_reached(ctx, id, 0, true);
            }
            LegEvent::Media { dialog, sdp, held } => {
                let leg = self.calls.get_mut(&id).and_then(|call| call.legs.get_mut(&n)).expect("looked up by leg_report");
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

    /// The edge of a callback is lost or leaves. Whoever rings for it is let go; a customer who was being called is called
    /// again in a moment, when its phone has been told that nobody is there, and that dial does not count.
    pub(super) fn move_callback(&mut self, ctx: &mut Ctx<'_>, id: CallId, heir: Edge) {
        let was_dialled = matches!(self.calls[&id].state, CallState::Dialling { .. });
        if was_dialled {
            self.dismiss_caller(ctx, id, "callback", 480);
        }
        for n in self.calls[&id].legs.keys().copied().collect::<Vec<_>>() {
            self.drop_leg(ctx, id, n, AttemptResult::NodeLost, true);
        }
        let former = self.change_edge(id, heir);
        let queue = self.calls[&id].queue.clone();
        let data = [("from", former.node.to_string()), ("to", heir.node.to_string())];
        ctx.event(EventKind::ContactAdopted, Some(id), None, Some(&queue), &data);
        if matches!(self.calls[&id].state, CallState::Queued | CallState::Deferred) {
            return;
        }
        self.put_aside(id);
        if was_dialled {
            let call = self.calls.get_mut(&id).expect("looked up above");
            let callback = call.callback.as_mut().expect("the caller looked it up");
            (callback.due, callback.dials) = (ctx.at.time.plus_ms(CALLBACK_AGAIN_MS), callback.dials.saturating_sub(1));
        }
        self.await_turn(ctx, id, Trigger::CallWaiting);
    }

    /// Callbacks and chats go on at `heirs` though nobody knows how long the edge they were at has been silent: their customers hold no
    /// phone in their hands. Returns how many there were.
    pub(in crate::core) fn keep_callbacks(&mut self, ctx: &mut Ctx<'_>, from: Edge, heirs: &[Edge]) -> usize {
        let ids: Vec<_> = self.calls_on(from).filter(|id| self.calls[id].is_without_phone()).collect();
        for id in &ids {
            self.adopt(ctx, *id, super::adopt::heir_of(heirs, *id));
        }
        // What was to be said from there is nobody's to say: the phones it was for have long been silent.
        self.parting.take_edge(from);
        ctx.out.orders.retain(|order| order.edge != from);
        ids.len()
    }

    /// True if callbacks or chats depend on an edge.
    pub fn has_callbacks_on(&self, edge: Edge) -> bool {
        self.calls_on(edge).any(|id| self.calls[&id].is_without_phone())
    }
}

/// Milliseconds until a moment of the wall clock; zero if it is past.
const fn ahead_ms(now: WallTime, at: WallTime) -> u64 {
    let ms = at.0.saturating_sub(now.0);
    if ms > 0 { ms as u64 } else { 0 }
}

/// What a call that nobody made looks like as one.
pub(super) fn arrival_of(domain: &DomainId, call: CallId, edge: Edge, to: &str) -> Arrive {
    Arrive {
        domain: domain.clone(),
        call,
        edge,
        trunk: None,
        to_user: to.to_owned(),
        from: Party::default(),
        dialog: Dialog::default(),
        sdp: None,
        headers: Vec::new(),
        priority: None,
        skills: Vec::new(),
        prefer: None,
        anchored: true,
    }
}
