//! Calls that change hands: the node that carried their legs died, and others go on with them from what is replicated.
//!
//! A waiting call keeps its place, a ringing phone is let go and the call offered anew, a talking one keeps its agent. How
//! the parties are told is the new edge's: it finds each leg's image in its orders.

use std::sync::Arc;

use crate::core::{
    Outcome,
    call::{Call, CallState, Leg},
    cdr::{AttemptResult, CallOutcome},
    effect::{Action, EventKind, Order, Ring},
    forward::Line,
    id::{CallId, Edge, LegId},
    image::{Image, Stage},
    limits::CONFIRMED_AFTER_MS,
    matrix::Role,
    parting::Farewell,
    party::{Dialog, Sdp},
    state::Ctx,
    time::LogTime,
};

use super::Domain;

/// Which of the heirs gets a call: spread by the random part of its id, the same for all of its legs.
pub(super) fn heir_of(heirs: &[Edge], call: CallId) -> Edge {
    heirs[(call.0 % heirs.len() as u128) as usize]
}

impl Domain {
    /// A node died with the legs it carried. Whoever became free is matched when all is done.
    pub(in crate::core) fn edge_lost(&mut self, ctx: &mut Ctx<'_>, edge: Edge, heirs: &[Edge]) {
        let calls: Vec<_> = self.calls_on(edge).collect();
        for id in &calls {
            if heirs.is_empty() {
                self.end_call(ctx, *id, CallOutcome::NodeLost, "node_lost", 503, None);
            } else {
                self.adopt(ctx, *id, heir_of(heirs, *id));
            }
        }
        // What the dead edge was to say is void; in its place the heir speaks.
        for Farewell { order, image, agent } in self.parting.take_edge(edge) {
            if !heirs.is_empty() {
                let image = Box::new(image.passed_on(edge));
                let order = ctx.order(order.leg, heir_of(heirs, order.leg.call), order.action, Some(image.clone()));
                self.parting.insert(Farewell { order, image, agent }, ctx.at.time);
            }
        }
        ctx.out.orders.retain(|order| order.edge != edge);
        self.unbind_flows(ctx, edge);
        if !calls.is_empty() {
            let data = [("node", edge.node.to_string()), ("calls", calls.len().to_string())];
            ctx.event(EventKind::NodeFenced, None, None, None, &data);
        }
        assert!(self.calls_on(edge).next().is_none(), "no call outlives its edge");
    }

    /// A node gives its calls away. Returns how many went; those that ring stay.
    pub(in crate::core) fn hand_over(&mut self, ctx: &mut Ctx<'_>, from: Edge, heirs: &[Edge]) -> usize {
        let rings = |call: &Call| {
            let number = matches!(call.state, CallState::Dialling { .. }) || call.rings_outside();
            number || (call.chat.is_none() && call.legs.values().any(|leg| leg.answered.is_none()))
        };
        let calls: Vec<_> = self.calls_on(from).filter(|id| !rings(&self.calls[id])).collect();
        for id in &calls {
            let call = &self.calls[id];
            let own = call.caller_leg().into_iter().chain(call.line().map(|line| line.n));
            // No edge has a leg of a chat.
            let legs: Vec<_> = own.chain(call.legs.keys().copied()).filter(|_| call.chat.is_none()).collect();
            self.adopt(ctx, *id, heir_of(heirs, *id));
            for n in legs {
                ctx.order(LegId { call: *id, n }, from, Action::Release, None);
            }
        }
        calls.len()
    }

    pub(super) fn adopt(&mut self, ctx: &mut Ctx<'_>, id: CallId, heir: Edge) {
        if self.calls[&id].is_to_be_called_back() {
            return self.move_callback(ctx, id, heir);
        }
        if self.calls[&id].chat.is_some() {
            return self.move_chat(ctx, id, heir);
        }
        let ringing = self.calls[&id].legs.iter().filter(|(_, leg)| leg.answered.is_none()).map(|(n, _)| *n);
        for n in ringing.collect::<Vec<_>>() {
            if self.calls[&id].legs[&n].role == Role::Consult {
                self.end_consult(ctx, id, AttemptResult::NodeLost, true);
            } else {
                let has_phone = !self.calls[&id].legs[&n].assistant;
                self.drop_leg(ctx, id, n, AttemptResult::NodeLost, has_phone);
            }
        }
        if let Some(n) = self.calls[&id].assisted_on() {
            // It was there that the AI agent spoke: another one goes on from the transcript.
            self.lose_assistant(ctx, id, n);
        }
        self.lose_ringing_line(ctx, id);
        let former = self.change_edge(id, heir);
        let call = &self.calls[&id];
        let (queue, data) = (call.queue.clone(), [("from", former.node.to_string()), ("to", heir.node.to_string())]);
        ctx.event(EventKind::ContactAdopted, Some(id), None, Some(&queue), &data);
        match call.state {
            CallState::Queued => {
                self.treat_anew(ctx, id);
                self.lost_often(ctx, id);
            }
            CallState::Offering => {
                self.back_to_queue(ctx, id);
                if self.calls.contains_key(&id) {
                    self.treat_anew(ctx, id);
                }
            }
            CallState::Dialling { .. } | CallState::Deferred => unreachable!("only callbacks are in these, and are moved above"),
            CallState::Forwarding => self.entertain(ctx, id),
            CallState::Forwarded => {
                self.order_caller(ctx, id, Action::Resume);
                let call = self.calls.get_mut(&id).expect("looked up above");
                let line = call.line().expect("who talks with a number has its leg");
                let (leg, image) = (call.leg_id(line.n), Some(Box::new(call.line_image(line))));
                let order = ctx.order(leg, heir, Action::Resume, image);
                call.line_mut().expect("looked up above").order = Some(order);
            }
            CallState::Connected { .. } => {
                self.order_caller(ctx, id, Action::Resume);
                for n in self.calls[&id].legs.keys().copied().collect::<Vec<_>>() {
                    let image = Some(Box::new(self.calls[&id].agent_image(n)));
                    let order = ctx.order(self.calls[&id].leg_id(n), heir, Action::Resume, image);
                    self.calls.get_mut(&id).and_then(|call| call.legs.get_mut(&n)).expect("listed above").order = Some(order);
                }
            }
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.next_part();
            self.plan_anew(ctx, id);
        }
    }

    /// Hands the legs over. Returns who had them.
    pub(super) fn change_edge(&mut self, id: CallId, heir: Edge) -> Edge {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let former = std::mem::replace(&mut call.edge, heir);
        call.adoptions = call.adoptions.saturating_add(1);
        (call.caller.seq, call.caller.adopting, call.caller.ringing) = (0, true, false);
        call.caller.dialog.change_hands(former, call.caller.up.is_some());
        for leg in call.legs.values_mut() {
            (leg.seq, leg.adopting) = (0, true);
            if let Some(dialog) = &mut leg.dialog {
                dialog.change_hands(former, true);
            }
        }
        if let Some(line) = call.line_mut() {
            (line.seq, line.adopting) = (0, true);
            line.dialog.change_hands(former, true);
        }
        if let Some(calls) = self.on_edge.get_mut(&former) {
            calls.remove(&id);
            if calls.is_empty() {
                self.on_edge.remove(&former);
            }
        }
        self.on_edge.entry(heir).or_default().insert(id);
        former
    }

    /// Orders something on the caller's leg: an outbox row until the next one, or the call's end.
    pub(super) fn order_caller(&mut self, ctx: &mut Ctx<'_>, id: CallId, action: Action) {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let image = call.caller.adopting.then(|| Box::new(call.caller_image(ctx.at.time)));
        let n = call.caller_leg().expect("whoever is told something is on the phone");
        call.caller.order = Some(ctx.order(call.leg_id(n), call.edge, action, image));
    }

    /// An edge has a leg that was another's. What it was brought for that need not be brought again.
    pub(super) fn adopted(&mut self, id: CallId, n: u16, dialog: &Dialog) -> Outcome {
        let call = self.calls.get_mut(&id).expect("looked up by leg_report");
        if let Some(line) = call.line_mut().filter(|line| line.n == n) {
            (line.dialog, line.adopting) = (dialog.clone(), false);
            return Outcome::Accepted;
        }
        match call.legs.get_mut(&n) {
            Some(leg) => (leg.dialog, leg.adopting) = (Some(dialog.clone()), false),
            None => {
                (call.caller.dialog, call.caller.adopting) = (dialog.clone(), false);
                if let Some(order) = &mut call.caller.order {
                    order.image = None;
                }
            }
        }
        Outcome::Accepted
    }
}

/// What a phone was called with, if nothing was heard of it yet.
fn rung(order: Option<&Order>) -> Option<Arc<Ring>> {
    match order.map(|order| &order.action) {
        Some(Action::Ring(ring)) => Some(Arc::clone(ring)),
        _ => None,
    }
}

impl Call {
    /// The leg the caller talks with, and how that one last described itself.
    fn talking(&self) -> Option<(u16, Option<Sdp>)> {
        match self.state {
            CallState::Connected { leg, .. } => Some((leg, self.legs.get(&leg).and_then(|leg| leg.sdp.clone()))),
            CallState::Forwarded => self.line().map(|line| (line.n, line.sdp.clone())),
            CallState::Queued | CallState::Offering | CallState::Dialling { .. } | CallState::Deferred | CallState::Forwarding => None,
        }
    }

    pub(super) fn caller_image(&self, now: LogTime) -> Image {
        let late = |answered: LogTime| self.caller.confirmed || now.ms_since(answered) >= CONFIRMED_AFTER_MS;
        let unconfirmed = |answered: LogTime| Stage::Up { unconfirmed: !late(answered) };
        let talking = self.talking();
        let called = self.is_to_be_called_back() && self.caller_leg().is_some();
        let unanswered = if called { Stage::Ringing { ring: rung(self.caller.order.as_ref()), by: self.edge } } else { Stage::Waiting };
        Image {
            stage: self.caller.up.map_or(unanswered, unconfirmed),
            dialog: self.caller.dialog.clone(),
            adoptions: self.adoptions,
            trunk: self.trunk.clone(),
            anchored: self.anchored,
            peer: talking.as_ref().map(|(n, _)| self.leg_id(*n)),
            sdp: self.sdp.clone(),
            other: talking.and_then(|(_, sdp)| sdp),
        }
    }

    /// The image of the leg of a number outside.
    pub(super) fn line_image(&self, line: &Line) -> Image {
        let talks = self.state == CallState::Forwarded;
        let ringing = || Stage::Ringing { ring: rung(line.order.as_ref()), by: self.edge };
        Image {
            stage: if talks { Stage::Up { unconfirmed: false } } else { ringing() },
            dialog: line.dialog.clone(),
            adoptions: self.adoptions,
            trunk: self.trunk.clone(),
            anchored: self.anchored,
            peer: self.caller_leg().filter(|_| talks).map(|n| self.leg_id(n)),
            sdp: line.sdp.clone(),
            other: self.sdp.clone(),
        }
    }

    fn agent_image(&self, n: u16) -> Image {
        self.image_of(&self.legs[&n])
    }

    /// The image of an agent's leg, which may have left the call already.
    pub(super) fn image_of(&self, leg: &Leg) -> Image {
        let ringing = Stage::Ringing { ring: rung(leg.order.as_ref()), by: self.edge };
        Image {
            stage: leg.answered.map_or(ringing, |_| Stage::Up { unconfirmed: false }),
            dialog: leg.dialog.clone().unwrap_or_default(),
            adoptions: self.adoptions,
            trunk: self.trunk.clone(),
            anchored: self.anchored,
            // Whom a leg at the side hears is the plan's alone.
            peer: leg.answered.filter(|_| leg.role == Role::Agent).and(self.caller_leg()).map(|n| self.leg_id(n)),
            sdp: leg.sdp.clone(),
            other: self.sdp.clone(),
        }
    }
}
