//! A call arrives: route, admission by the queue's own rules, a place in the queue.

use crate::core::{
    Outcome, Reason,
    call::{Call, CallState, CallerLeg},
    cdr::{CallOutcome, Kept},
    command::Arrive,
    effect::{Action, EventKind},
    explain::Trigger,
    hours,
    id::{CallId, QueueId},
    limits::{CALLS_PER_DOMAIN_MAX, HEADER_BYTES_MAX, HEADERS_MAX, HOPS_MAX, SDP_BYTES_MAX},
    matrix::Taping,
    policy::Fallback,
    state::Ctx,
};

use super::Domain;

/// Why a call is not taken, and the SIP status its queue's rule has for that.
pub(super) struct Refusal {
    reason: Reason,
    pub(super) status: Option<u16>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, status: None }
    }
}

impl Refusal {
    /// The same where no SIP status is asked for.
    pub(super) fn why(self) -> Reason {
        self.reason
    }

    fn outcome(self) -> Outcome {
        match self {
            Self { reason, status: Some(status) } => Outcome::Refused { status, reason },
            Self { reason, status: None } => Outcome::Rejected(reason),
        }
    }
}

impl Domain {
    pub(in crate::core) fn arrive(&mut self, ctx: &mut Ctx<'_>, arrive: &Arrive) -> Outcome {
        if self.calls.contains_key(&arrive.call) {
            return Outcome::Duplicate;
        }
        if let Some(outcome) = self.closed.outcome_of(arrive.call) {
            return outcome.clone();
        }
        let Some(route) = self.policy.routes.get(&arrive.to_user).cloned() else {
            return self.refuse(ctx, arrive, Reason::NoRoute(arrive.to_user.clone()).into());
        };
        if let Some(reason) = self.refuses(arrive, route.emergency) {
            return self.refuse(ctx, arrive, reason.into());
        }
        let (queue, hops) = match self.admitting_queue(ctx, &route.queue, route.emergency) {
            Ok(found) => found,
            Err(refusal) => return self.refuse(ctx, arrive, refusal),
        };
        let priority = route.priority.or(arrive.priority).unwrap_or(self.policy.queues[&queue].priority);
        let call = self.new_call(ctx, arrive, queue.clone(), priority, route.emergency, hops);
        self.on_edge.entry(arrive.edge).or_default().insert(arrive.call);
        self.calls.insert(arrive.call, Box::new(call));
        ctx.event(EventKind::ContactArrived, Some(arrive.call), None, Some(&queue), &[]);
        self.prefer(ctx, arrive.call);
        self.wait_in_queue(ctx, arrive.call, Trigger::CallWaiting);
        Outcome::Accepted
    }

    /// Limits that hold in every queue; only what no state could carry is refused to an emergency call.
    fn refuses(&self, arrive: &Arrive, emergency: bool) -> Option<Reason> {
        let calls_max = if self.policy.calls_max == 0 { CALLS_PER_DOMAIN_MAX } else { self.policy.calls_max };
        let headers_fit =
            arrive.headers.len() <= HEADERS_MAX && arrive.headers.iter().all(|(name, value)| name.len() + value.len() <= HEADER_BYTES_MAX);
        if self.calls.len() >= calls_max as usize && !emergency {
            Some(Reason::TooManyCalls(calls_max))
        } else if !headers_fit || arrive.sdp.as_ref().is_some_and(|sdp| sdp.len() > SDP_BYTES_MAX) {
            Some(Reason::Invalid("headers or session description too large".to_owned()))
        } else {
            None
        }
    }

    pub(super) fn new_call(&self, ctx: &Ctx<'_>, arrive: &Arrive, queue: QueueId, priority: u8, emergency: bool, hops: u8) -> Call {
        Call {
            id: arrive.call,
            edge: arrive.edge,
            trunk: arrive.trunk.clone(),
            to_user: arrive.to_user.clone(),
            from: arrive.from.clone(),
            headers: arrive.headers.clone(),
            sdp: arrive.sdp.clone(),
            state: CallState::Queued,
            queue,
            priority,
            emergency,
            entered: ctx.at.time,
            joined: ctx.at.time,
            step_from: ctx.at.time,
            step: 0,
            skills: arrive.skills.clone(),
            prefer: arrive.prefer.clone(),
            waits_for: None,
            waits_until: None,
            policy_version: self.version,
            arrived: ctx.at.stamp(),
            queued: Some(ctx.at.stamp()),
            offered: None,
            answered: None,
            hops,
            caller: CallerLeg::new(arrive.dialog.clone()),
            anchored: arrive.anchored,
            media: None,
            plans: 0,
            taping: Taping::Off,
            parts: 0,
            announce_at: None,
            adoptions: 0,
            legs: Default::default(),
            next_leg: 1,
            timer: None,
            attempts: Kept::default(),
            decisions: Kept::default(),
            talk: None,
            served_by: None,
            consult: None,
            callback: None,
            assist: None,
            forward: None,
            chat: None,
        }
    }

    /// A refused call is over at once: it leaves a record and no row.
    fn refuse(&mut self, ctx: &mut Ctx<'_>, arrive: &Arrive, refusal: Refusal) -> Outcome {
        let queue = self.policy.routes.get(&arrive.to_user).map(|route| route.queue.clone());
        let mut call = Box::new(self.new_call(ctx, arrive, queue.clone().unwrap_or_else(|| "-".into()), 0, false, 0));
        call.queued = None;
        let words = match &refusal.reason {
            Reason::NoRoute(_) => "no_route",
            Reason::QueueClosed | Reason::OutsideHours { .. } => "closed",
            Reason::QueueFull => "queue_full",
            Reason::NoAgentsForQueue => "no_agents",
            Reason::TooManyCalls(_) => "too_many_calls",
            _ => "invalid",
        };
        self.record(ctx, call, CallOutcome::Rejected, words, None, queue.is_some());
        ctx.event(
            EventKind::ContactEnded,
            Some(arrive.call),
            None,
            queue.as_ref(),
            &[("outcome", "rejected".to_owned()), ("reason", words.to_owned())],
        );
        let outcome = refusal.outcome();
        self.closed.insert(arrive.call, outcome.clone(), ctx.at.time);
        outcome
    }

    /// The queue that takes a call which asks for `first`, following fallbacks, with the hops it took.
    pub(super) fn admitting_queue(&self, ctx: &Ctx<'_>, first: &QueueId, emergency: bool) -> Result<(QueueId, u8), Refusal> {
        let mut queue = first.clone();
        for hops in 0..HOPS_MAX {
            let Some((reason, fallback)) = self.turns_away(ctx, &queue, emergency)? else { return Ok((queue, hops)) };
            match fallback {
                Fallback::Queue(next) => queue = next,
                Fallback::Reject { status } => return Err(Refusal { reason, status: Some(status) }),
            }
        }
        Err(Reason::QueueFull.into())
    }

    /// Why a queue takes no new call now, and where its rule sends it.
    pub(super) fn turns_away(&self, ctx: &Ctx<'_>, id: &QueueId, emergency: bool) -> Result<Option<(Reason, Fallback)>, Reason> {
        let rules = self.policy.queues.get(id).ok_or_else(|| Reason::NoQueue(id.to_string()))?;
        if emergency {
            return Ok(None);
        }
        let hours = rules.hours.as_ref().and_then(|name| self.policy.hours.get(name));
        if let Some(hours) = hours.filter(|hours| !hours::open_at(hours, ctx.at.wall)) {
            let opens_at = hours::next_change(hours, ctx.at.wall);
            return Ok(Some((Reason::OutsideHours { opens_at }, rules.on_closed.clone())));
        }
        let row = &self.queues[id];
        if rules.waiting_max > 0 && row.depth() >= rules.waiting_max as usize {
            return Ok(Some((Reason::QueueFull, rules.on_full.clone())));
        }
        if rules.require_agents && !self.is_staffed(id) {
            return Ok(Some((Reason::NoAgentsForQueue, rules.on_no_agents.clone())));
        }
        Ok(None)
    }

    /// Lets a call wait for its preferred agent alone, if that agent is at work and serves the queue.
    fn prefer(&mut self, ctx: &Ctx<'_>, id: CallId) {
        let call = &self.calls[&id];
        let affinity_ms = self.policy.queues[&call.queue].affinity_ms;
        let Some(agent) = call.prefer.clone().filter(|agent| self.agents.get(agent).is_some_and(|agent| agent.is_at_work())) else {
            return;
        };
        let serves = self.pool.profile(self.agents[&agent].profile).serves.contains(&call.queue);
        let barred = self.is_ai(&agent) && (self.is_ai_off(ctx, &call.queue) || Self::needs_person(call));
        if serves && !barred && (affinity_ms > 0 || self.is_ready(&agent, call.channel())) {
            let call = self.calls.get_mut(&id).expect("looked up above");
            call.waits_for = Some(agent);
            call.waits_until = Some(ctx.at.time.plus_ms(affinity_ms));
        }
    }

    /// 182 for a caller who was not offered at once; nothing for one who was, or who was told already.
    pub(super) fn tell_queued(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let untold = |call: &Call| call.state == CallState::Queued && !call.is_to_be_called_back() && !is_told(call);
        let Some(call) = self.calls.get(&id).filter(|call| untold(call)) else { return };
        let (queue, priority) = (call.queue.clone(), call.priority);
        let position = self.queues[&queue].rows_of(call.channel()).position(priority);
        self.treat(ctx, id, false);
        if let Some(chat) = self.calls.get_mut(&id).and_then(|call| call.chat.as_mut()) {
            chat.told = true;
        }
        let data = [("position", position.to_string()), ("priority", priority.to_string())];
        ctx.event(EventKind::ContactQueued, Some(id), None, Some(&queue), &data);
    }
}

/// True if the caller's edge was last told that the call waits, or whoever reads a chat was.
fn is_told(call: &Call) -> bool {
    if let Some(chat) = &call.chat {
        return chat.told;
    }
    call.caller.order.as_ref().is_some_and(|order| matches!(order.action, Action::Queue { .. } | Action::Treat(_)))
}
