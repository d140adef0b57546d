//! A call ends: every reference to it goes in one step, its record is archived, what must still be said becomes parting.

use crate::core::{
    Outcome, Reason,
    call::{Call, CallState},
    cdr::{AttemptResult, CallOutcome, ClosedCall},
    command::Actor,
    effect::{Action, EventKind},
    id::{AgentId, CallId, Edge, LegId},
    party::Dialog,
    state::Ctx,
};

use super::Domain;

impl Domain {
    /// Ends a call. `by` is the leg that is already gone, if one is; an unanswered caller is refused with `status`.
    pub(super) fn end_call(&mut self, ctx: &mut Ctx<'_>, id: CallId, outcome: CallOutcome, reason: &str, status: u16, by: Option<u16>) {
        self.leave_index(id);
        let talking = match self.calls[&id].state {
            CallState::Connected { leg, .. } => Some(leg),
            CallState::Queued | CallState::Offering => None,
        };
        let owner = talking.map(|leg| self.calls[&id].legs[&leg].agent.clone());
        let legs: Vec<_> = self.calls[&id].legs.keys().copied().collect();
        for n in legs {
            let result = if talking == Some(n) { AttemptResult::Accepted } else { AttemptResult::Rescinded };
            self.drop_leg(ctx, id, n, result, by != Some(n));
        }
        if by != Some(0) {
            let call = &self.calls[&id];
            let action = if call.answered.is_some() {
                Action::HangUp { cause: reason.to_owned(), dialog: None }
            } else {
                Action::Reject { status, reason: reason.to_owned(), retry_after_s: None }
            };
            let order = ctx.order(LegId::caller(id), call.edge, action);
            self.parting.insert(order, ctx.at.time);
        }
        self.close(ctx, id, outcome, reason, owner.as_ref());
    }

    /// Removes the row and archives the record: the only way a call leaves the state.
    fn close(&mut self, ctx: &mut Ctx<'_>, id: CallId, outcome: CallOutcome, reason: &str, owner: Option<&AgentId>) {
        let call = self.calls.remove(&id).expect("the caller looked it up");
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
        if outcome == CallOutcome::Abandoned {
            self.queues.get_mut(&call.queue).expect("calls are in known queues").abandoned += 1;
            ctx.event(EventKind::ContactAbandoned, Some(id), None, Some(&call.queue), &[]);
        }
        let mut data = vec![("outcome", outcome.name().to_owned()), ("reason", reason.to_owned())];
        if let Some(answered) = call.answered {
            data.push(("talked_ms", ctx.at.time.ms_since(answered.time).to_string()));
            data.push(("held_ms", call.held_ms(ctx.at.time).to_string()));
        }
        let queue = call.queue.clone();
        self.record(ctx, call, outcome, reason, owner, true);
        self.closed.insert(id, Outcome::Duplicate, ctx.at.time);
        ctx.event(EventKind::ContactEnded, Some(id), owner, Some(&queue), &data);
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
        let call = *call;
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
            attempts: call.attempts,
            decisions: call.decisions,
        };
        let record = ctx.shared.archive.append(&closed);
        ctx.out.records.push(record);
    }

    pub(in crate::core) fn operator_hang_up(&mut self, ctx: &mut Ctx<'_>, id: CallId, by: &Actor) -> Outcome {
        let Some(call) = self.calls.get(&id) else { return Outcome::Rejected(Reason::NoCall) };
        let outcome = if call.answered.is_some() { CallOutcome::Answered } else { CallOutcome::Rejected };
        let reason = match by {
            Actor::System => "system_hung_up",
            Actor::Agent(_) | Actor::User(_) => "operator_hung_up",
        };
        self.end_call(ctx, id, outcome, reason, 480, None);
        Outcome::Accepted
    }

    pub(super) fn call_too_long(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.timer = None;
            self.end_call(ctx, id, CallOutcome::Answered, "too_long", 480, None);
        }
    }

    /// A node died with the legs it carried: its calls end, its agents are free, and the heir tells the phones. Whoever
    /// became free is matched when all is done, so that nobody is offered a call that is about to end.
    pub(in crate::core) fn edge_lost(&mut self, ctx: &mut Ctx<'_>, edge: Edge, heir: Option<Edge>) {
        let calls: Vec<_> = self.calls_on(edge).collect();
        for id in &calls {
            let dialogs = self.dialogs(*id);
            let answered = self.calls[id].answered.is_some();
            self.end_call(ctx, *id, CallOutcome::NodeLost, "node_lost", 503, None);
            let Some(heir) = heir else { continue };
            // A caller without an answer has no dialog to end; its INVITE runs out by itself.
            for (n, dialog) in dialogs.into_iter().filter(|(n, _)| *n > 0 || answered) {
                let action = Action::HangUp { cause: "node_lost".to_owned(), dialog: Some(Box::new(dialog)) };
                let order = ctx.order(LegId { call: *id, n }, heir, action);
                self.parting.insert(order, ctx.at.time);
            }
        }
        // What the dead edge was to say is void; in its place the heir speaks where a dialog is known.
        self.parting.drop_edge(edge);
        ctx.out.orders.retain(|order| order.edge != edge);
        self.unbind_flows(ctx, edge);
        if !calls.is_empty() {
            let data = [("node", edge.node.to_string()), ("calls", calls.len().to_string())];
            ctx.event(EventKind::NodeFenced, None, None, None, &data);
        }
        assert!(self.calls_on(edge).next().is_none(), "no call outlives its edge");
    }

    fn dialogs(&self, id: CallId) -> Vec<(u16, Dialog)> {
        let call = &self.calls[&id];
        let agents = call.legs.iter().filter_map(|(n, leg)| leg.dialog.clone().map(|dialog| (*n, dialog)));
        std::iter::once((0, call.caller.dialog.clone())).chain(agents).collect()
    }
}
