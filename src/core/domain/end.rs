//! A call ends: every reference to it goes in one step, its record is archived, what must still be said becomes parting.

use crate::core::{
    Outcome, Reason,
    assist::{Assist, Assistance, Resolved, TakeoverResult},
    call::{Call, CallState},
    callback::{Callback, CalledBack},
    cdr::{Attempt, AttemptResult, CallOutcome, ClosedCall},
    chat::ClosedChat,
    command::Actor,
    effect::{Action, EventKind},
    explain::Trigger,
    id::{AgentId, CallId},
    matrix::Taping,
    parting::Farewell,
    state::Ctx,
};

use super::Domain;

impl Domain {
    /// Ends a call. `by` is the leg that is already gone, if one is; an unanswered caller is refused with `status`.
    pub(super) fn end_call(&mut self, ctx: &mut Ctx<'_>, id: CallId, outcome: CallOutcome, reason: &str, status: u16, by: Option<u16>) {
        self.takeover_ends(ctx, id, TakeoverResult::Ended);
        self.leave_index(id);
        let talking = self.calls[&id].state.connected();
        let waits_for_customer = self.calls[&id].owner().filter(|_| talking.is_none());
        let call = &self.calls[&id];
        let owner = talking.map(|leg| call.legs[&leg].agent.clone()).or_else(|| call.served_by.clone());
        // Who was sent on had been served by the queue.
        let gave_up = outcome == CallOutcome::Abandoned && call.forward.is_none();
        // What an agent has answered was answered, whatever came of it in the next queue.
        let outcome = match outcome {
            CallOutcome::Abandoned | CallOutcome::Rejected if call.answered.is_some() => CallOutcome::Answered,
            other => other,
        };
        if let Some(call) = self.calls.get_mut(&id) {
            call.consult = None;
        }
        let legs: Vec<_> = self.calls[&id].legs.keys().copied().collect();
        for n in legs {
            let asked = self.calls[&id].legs[&n].answered.is_some();
            let result = match talking {
                Some(owner) if owner == n => AttemptResult::Accepted,
                Some(_) if asked => AttemptResult::Consulted,
                None if waits_for_customer == Some(n) => AttemptResult::NotReached { status: 0 },
                _ => AttemptResult::Rescinded,
            };
            self.drop_leg(ctx, id, n, result, by != Some(n));
        }
        self.end_line(ctx, id, by);
        if by.is_none() || by != self.calls[&id].caller_leg() {
            self.dismiss_caller(ctx, id, reason, status);
        }
        self.close(ctx, id, outcome, reason, owner.as_ref(), gave_up);
    }

    /// Lets whoever called, or is called, go: a refusal before an answer of ours, a hang-up otherwise. Nothing if nobody is on
    /// the phone.
    pub(super) fn dismiss_caller(&mut self, ctx: &mut Ctx<'_>, id: CallId, reason: &str, status: u16) {
        let call = &self.calls[&id];
        let Some(n) = call.caller_leg() else { return };
        let action = if call.caller.up.is_some() || call.callback.is_some() {
            Action::HangUp { cause: reason.to_owned() }
        } else {
            Action::Reject { status, reason: reason.to_owned(), retry_after_s: None }
        };
        let image = Box::new(call.caller_image(ctx.at.time));
        let brought = call.caller.adopting.then(|| image.clone());
        let order = ctx.order(call.leg_id(n), call.edge, action, brought);
        self.parting.insert(Farewell { order, image, agent: None }, ctx.at.time);
    }

    /// Removes the row and archives the record: the only way a call leaves the state.
    fn close(&mut self, ctx: &mut Ctx<'_>, id: CallId, outcome: CallOutcome, reason: &str, owner: Option<&AgentId>, gave_up: bool) {
        let mut call = self.calls.remove(&id).expect("the caller looked it up");
        assert!(call.legs.is_empty(), "a closed call holds no agent");
        if let Some((deadline, what)) = call.timer.clone() {
            ctx.cancel_timer(deadline, what);
        }
        if let Some(calls) = self.on_edge.get_mut(&call.edge) {
            calls.remove(&id);
            if calls.is_empty() {
                self.on_edge.remove(&call.edge);
            }
        }
        self.chats -= u32::from(call.chat.is_some());
        if let Some(callback) = &call.callback {
            self.callbacks.remove(&callback.number);
        }
        if gave_up {
            self.queues.get_mut(&call.queue).expect("calls are in known queues").abandoned += 1;
            ctx.event(EventKind::ContactAbandoned, Some(id), None, Some(&call.queue), &[]);
        }
        let mut data = vec![("outcome", outcome.name().to_owned()), ("reason", reason.to_owned())];
        if let Some(answered) = call.answered {
            data.push(("talked_ms", ctx.at.time.ms_since(answered.time).to_string()));
            data.push(("held_ms", call.held_ms(ctx.at.time).to_string()));
        }
        let queue = call.queue.clone();
        self.note_matter(ctx, &mut call);
        self.record(ctx, call, outcome, reason, owner, true);
        self.closed.insert(id, Outcome::Duplicate, ctx.at.time);
        ctx.event(EventKind::ContactEnded, Some(id), owner, Some(&queue), &data);
    }

    /// Links a call that ends with the contact before it that was about the same, and remembers it as that if it was answered.
    fn note_matter(&mut self, ctx: &mut Ctx<'_>, call: &mut Call) {
        if self.policy.reopen_within_ms == 0 || !call.is_known() {
            return;
        }
        let (subject, topic) = (self.keys.subject(&call.from.user), call.topic());
        if let Some(before) = self.matters.find(subject, &topic) {
            call.talk().reopens = Some(before.call);
            let resolved = before.resolved.map_or("none", Resolved::name);
            let data = [("reopens", before.call.to_string()), ("topic", topic.to_string()), ("resolved", resolved.to_owned())];
            ctx.event(EventKind::ContactReopened, Some(call.id), None, Some(&call.queue), &data);
        }
        if call.answered.is_some() {
            let resolved = call.assist.as_ref().and_then(|assist| assist.resolution.as_ref()).map(|resolution| resolution.resolved);
            self.matters.insert(subject, topic, call.id, ctx.at.time, resolved);
        }
    }

    /// Archives what is kept of a call.
    pub(super) fn record(
        &self,
        ctx: &mut Ctx<'_>,
        call: Box<Call>,
        outcome: CallOutcome,
        reason: &str,
        owner: Option<&AgentId>,
        routed: bool,
    ) {
        let held_ms = call.held_ms(ctx.at.time);
        let mut call = *call;
        let mut talk = call.talk.take().unwrap_or_default();
        talk.tapes.keep_up(Taping::Off, &[], call.edge.node, ctx.at.stamp());
        let person = |attempt: &Attempt| attempt.answered.is_some() && !self.is_ai(&attempt.agent);
        let contained = call.answered.is_some() && !call.attempts.rows.iter().any(person);
        let assistance = call.assist.take().map(|assist| {
            // What was written is sealed once, with the chat.
            let spoken = call.chat.is_none().then_some(&assist.transcript);
            let transcript = spoken.map(|lines| self.keys.seal_transcript(&call.from, call.id, lines)).unwrap_or_default();
            let Assist { turns, takeovers, resolution, .. } = *assist;
            Box::new(Assistance { contained, turns, takeovers, resolution, transcript })
        });
        let notes = talk.notes.take().map(|notes| self.keys.seal_notes(&call.from, call.id, &notes.rows)).unwrap_or_default();
        let chat = call.chat.take().map(|chat| {
            let transcript = self.keys.seal_transcript(&call.from, call.id, &chat.lines);
            Box::new(ClosedChat { lines: chat.last(), transcript, continued_as: chat.continued_as })
        });
        let closed = ClosedCall {
            call_id: call.id,
            tenant: ctx.domain.clone(),
            queue: routed.then_some(call.queue),
            agent: owner.cloned(),
            outcome,
            end_reason: reason.to_owned(),
            node: call.edge.node,
            trunk: call.trunk,
            to_user: call.to_user,
            caller: self.keys.seal(&call.from, call.id),
            priority: call.priority,
            policy_version: call.policy_version,
            arrived: call.arrived,
            queued: call.queued,
            offered: call.offered,
            answered: call.answered,
            ended: ctx.at.stamp(),
            held_ms,
            adoptions: call.adoptions,
            attempts: call.attempts,
            tapes: talk.tapes,
            decisions: call.decisions,
            transfers: talk.transfers,
            assistance,
            notes,
            reopens: talk.reopens,
            callback: call.callback.map(|callback| {
                let Callback { scheduled, dials, continues, .. } = *callback;
                CalledBack { scheduled, dials, continues }
            }),
            chat,
        };
        if ctx.shared.retention.closing(ctx.at.wall, &ctx.shared.archive) {
            ctx.out.day_begins = Some(ctx.shared.archive.next_seq);
        }
        let record = ctx.shared.archive.append(&closed);
        ctx.out.records.push(record);
    }

    pub(in crate::core) fn operator_hang_up(&mut self, ctx: &mut Ctx<'_>, id: CallId, by: &Actor) -> Outcome {
        let Some(call) = self.calls.get(&id) else { return Outcome::Rejected(Reason::NoCall) };
        let outcome = if call.answered.is_some() { CallOutcome::Answered } else { CallOutcome::Rejected };
        let reason = match by {
            _ if call.is_to_be_called_back() => "callback_cancelled",
            Actor::System => "system_hung_up",
            Actor::Agent(_) | Actor::User(_) => "operator_hung_up",
        };
        self.end_call(ctx, id, outcome, reason, 480, None);
        Outcome::Accepted
    }

    pub(super) fn call_too_long(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.timer = None;
        if call.chat.is_some() && matches!(call.state, CallState::Connected { .. }) {
            return self.chat_due(ctx, id);
        }
        match call.state {
            CallState::Deferred => self.await_turn(ctx, id, Trigger::CallWaiting),
            CallState::Dialling { .. } => self.not_reached(ctx, id, 408, true),
            CallState::Forwarding => self.forward_due(ctx, id),
            CallState::Queued | CallState::Offering | CallState::Connected { .. } | CallState::Forwarded => {
                self.end_call(ctx, id, CallOutcome::Answered, "too_long", 480, None);
            }
        }
    }
}
