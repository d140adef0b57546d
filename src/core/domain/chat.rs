//! Chats: a customer writes, and AI agents and people write back. They are offered, taken over, moved and recorded as calls are.
//!
//! Nobody is on a phone, so that no edge need say anything: a person hears of an offer by its event and answers by a command. What an AI
//! agent is to write is an order to the chat's node, done again by another when that node dies.

use std::sync::Arc;

use crate::core::{
    Outcome, Reason,
    assist::{Assist, Line, Resolution, Speaker, Turn},
    call::CallState,
    cdr::{AttemptResult, CallOutcome, Kept},
    chat::{Chat, ChatStep, NewChat, Write, Writer, is_line},
    command::{Actor, Arrive, TimerKind},
    effect::{Action, EventKind},
    explain::Trigger,
    id::{AgentId, CallId, Edge, LegId, QueueId},
    limits::{CALLS_PER_DOMAIN_MAX, CHAT_IDLE_MS, CHAT_TURN_MS},
    party::{Engage, Party},
    state::Ctx,
};

use super::{Domain, callback::arrival_of};

impl Domain {
    pub(in crate::core) fn open_chat(&mut self, ctx: &mut Ctx<'_>, new: &NewChat) -> Outcome {
        if self.calls.contains_key(&new.call) {
            return Outcome::Duplicate;
        }
        if let Some(outcome) = self.closed.outcome_of(new.call) {
            return outcome.clone();
        }
        let found = match self.admits_chat(ctx, new) {
            Ok(found) => found,
            Err(reason) => return Outcome::Rejected(reason),
        };
        let (queue, priority, hops) = found;
        // A name of its own for everybody: what is sealed under it is one customer's.
        let user = if new.customer.is_empty() { new.call.to_string() } else { new.customer.clone() };
        let from = Party { user, ..Party::default() };
        let arrive = Arrive { from, anchored: false, ..arrival_of(&new.domain, new.call, new.edge, &new.to) };
        let mut call = self.new_call(ctx, &arrive, queue.clone(), priority, false, hops);
        let mut chat = Chat::new(new.secret, ctx.at.time);
        if let Some(text) = &new.text {
            chat.keeps_pace(ctx.at.time);
            chat.write(line(ctx, Speaker::Customer, text));
        }
        (call.chat, call.caller.up) = (Some(Box::new(chat)), Some(ctx.at.time));
        self.chats += 1;
        self.on_edge.entry(new.edge).or_default().insert(new.call);
        self.calls.insert(new.call, Box::new(call));
        ctx.event(EventKind::ContactArrived, Some(new.call), None, Some(&queue), &[("channel", "chat".to_owned())]);
        self.wait_in_queue(ctx, new.call, Trigger::CallWaiting);
        Outcome::Scheduled { call: new.call }
    }

    /// The queue that takes a new chat, its priority there and the hops it took.
    fn admits_chat(&self, ctx: &Ctx<'_>, new: &NewChat) -> Result<(QueueId, u8, u8), Reason> {
        if self.policy.chats_max == 0 {
            return Err(Reason::NotReady("the tenant takes no chats".to_owned()));
        }
        if new.text.as_deref().is_some_and(|text| !is_line(text)) {
            return Err(Reason::Invalid("no line of a chat".to_owned()));
        }
        let route = self.policy.routes.get(&new.to).ok_or_else(|| Reason::NoRoute(new.to.clone()))?;
        let calls_max = if self.policy.calls_max == 0 { CALLS_PER_DOMAIN_MAX } else { self.policy.calls_max };
        if self.chats >= self.policy.chats_max {
            return Err(Reason::TooManyCalls(self.policy.chats_max));
        }
        if self.calls.len() >= calls_max as usize {
            return Err(Reason::TooManyCalls(calls_max));
        }
        // What an emergency number is for cannot be written.
        let (queue, hops) = self.admitting_queue(ctx, &route.queue, false).map_err(super::arrive::Refusal::why)?;
        let priority = route.priority.unwrap_or(self.policy.queues[&queue].priority);
        Ok((queue, priority, hops))
    }

    pub(in crate::core) fn chat_step(&mut self, ctx: &mut Ctx<'_>, id: CallId, step: &ChatStep) -> Outcome {
        let Some(call) = self.calls.get(&id) else { return Outcome::Rejected(Reason::NoCall) };
        let Some(chat) = &call.chat else { return Outcome::Rejected(Reason::NoCall) };
        let allowed = match step {
            ChatStep::Say { by, .. } | ChatStep::End { by } | ChatStep::Phone { by, .. } => match by {
                Writer::Customer(secret) if *secret == chat.secret => Ok(()),
                Writer::Customer(_) => Err(Reason::NotYours),
                Writer::Agent(_) => self.owned_by(id, &by.actor()).map(drop),
            },
            ChatStep::Reply { .. } => Ok(()),
        };
        if let Err(reason) = allowed {
            return Outcome::Rejected(reason);
        }
        match step {
            ChatStep::Say { by, text } => self.say(ctx, id, by, text),
            ChatStep::Reply { agent, accept } => self.reply(ctx, id, agent, *accept),
            ChatStep::End { by } => {
                let answered = self.calls[&id].answered.is_some();
                let (outcome, reason) = match by {
                    Writer::Agent(_) => (CallOutcome::Answered, "agent_ended"),
                    Writer::Customer(_) if answered => (CallOutcome::Answered, "customer_ended"),
                    Writer::Customer(_) => (CallOutcome::Abandoned, "customer_left"),
                };
                self.end_call(ctx, id, outcome, reason, 480, None);
                Outcome::Accepted
            }
            ChatStep::Phone { by, call, edge, number } => self.on_by_phone(ctx, id, by, (*call, *edge, number)),
        }
    }

    fn say(&mut self, ctx: &mut Ctx<'_>, id: CallId, by: &Writer, text: &str) -> Outcome {
        if !is_line(text) {
            return Outcome::Rejected(Reason::Invalid("no line of a chat".to_owned()));
        }
        let chat = self.calls.get_mut(&id).and_then(|call| call.chat.as_mut()).expect("looked up by chat_step");
        if matches!(by, Writer::Customer(_)) && !chat.keeps_pace(ctx.at.time) {
            return Outcome::Rejected(Reason::TooFast);
        }
        let who = if matches!(by, Writer::Customer(_)) { Speaker::Customer } else { Speaker::Person };
        let line = line(ctx, who, text);
        let seq = self.write_line(ctx, id, line);
        self.ask_assistant(ctx, id);
        Outcome::Said { seq }
    }

    /// Adds a line and tells of it. Returns its number.
    fn write_line(&mut self, ctx: &mut Ctx<'_>, id: CallId, line: Line) -> u32 {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let agent = call.owner().map(|leg| call.legs[&leg].agent.clone());
        let queue = call.queue.clone();
        let chat = call.chat.as_mut().expect("the caller looked it up");
        let who = line.who;
        let seq = chat.write(line);
        chat.idle_until = ctx.at.time.plus_ms(CHAT_IDLE_MS);
        if who == Speaker::Person {
            chat.answered = seq;
        }
        ctx.event(
            EventKind::ContactSaid,
            Some(id),
            agent.as_ref(),
            Some(&queue),
            &[("who", who.name().to_owned()), ("line", seq.to_string())],
        );
        seq
    }

    /// An agent answers an offer.
    fn reply(&mut self, ctx: &mut Ctx<'_>, id: CallId, agent: &AgentId, accept: bool) -> Outcome {
        let call = &self.calls[&id];
        let offer = call.legs.iter().find(|(_, leg)| leg.agent == *agent && !leg.assistant);
        let Some((n, leg)) = offer.map(|(n, leg)| (*n, leg)) else {
            let taken = matches!(call.state, CallState::Connected { .. });
            return Outcome::Rejected(if taken { Reason::Taken } else { Reason::NotYours });
        };
        if leg.answered.is_some() {
            return if accept { Outcome::Duplicate } else { Outcome::Rejected(Reason::WrongState(call.state.name().to_owned())) };
        }
        if accept {
            self.take(ctx, id, n);
            self.connected(ctx, id, n);
        } else {
            self.miss(ctx, id, n, AttemptResult::Rejected { status: 0 });
        }
        Outcome::Accepted
    }

    /// What an AI agent that is offered a chat, or has it, is to do for it.
    pub(super) fn write_order(&self, id: CallId, agent: &AgentId, upto: u32, text: String) -> Action {
        let chat = self.calls[&id].chat.as_ref().expect("the caller looked it up");
        let assistant = self.policy.agents[agent].assistant.clone().unwrap_or_default();
        let transcript = if upto == 0 { Vec::new() } else { chat.context() };
        Action::Write(Arc::new(Write { engage: Engage { agent: agent.clone(), assistant, transcript }, upto, text }))
    }

    /// Has the AI agent of a chat answer what was written, unless it is at it: then it is asked again when it is done.
    fn ask_assistant(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = &self.calls[&id];
        let Some(n) = call.assisted_on().filter(|n| call.legs[n].order.is_none()) else { return };
        let Some((upto, text)) = call.chat.as_ref().and_then(|chat| chat.unanswered()) else { return };
        let action = self.write_order(id, &call.legs[&n].agent, upto, text);
        let call = self.calls.get_mut(&id).expect("looked up above");
        let order = ctx.order(call.leg_id(n), call.edge, action, None);
        call.legs.get_mut(&n).expect("looked up above").order = Some(order);
        call.chat.as_mut().expect("looked up above").turn = Some((upto, ctx.at.time.plus_ms(CHAT_TURN_MS)));
        self.set_chat_timer(ctx, id);
    }

    /// An AI agent has the chat, and has written what it is.
    pub(super) fn opened(&mut self, ctx: &mut Ctx<'_>, id: CallId, n: u16, line: &Line) -> Outcome {
        self.take(ctx, id, n);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let assist = call.assist.get_or_insert_default();
        (assist.leg, assist.disclosed, assist.failures, assist.resolution) = (Some(n), Some(ctx.at.stamp()), 0, None);
        self.connected(ctx, id, n);
        let call = &self.calls[&id];
        let (agent, queue) = (call.legs[&n].agent.clone(), call.queue.clone());
        ctx.event(EventKind::AiDisclosed, Some(id), Some(&agent), Some(&queue), &[]);
        self.write_line(ctx, id, fitting(line));
        self.ask_assistant(ctx, id);
        Outcome::Accepted
    }

    /// An AI agent's answer becomes a line, and what it understood is noted with the line it answers.
    pub(super) fn wrote(&mut self, ctx: &mut Ctx<'_>, id: CallId, turn: &Turn, resolution: Option<&Resolution>) -> Outcome {
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        let chat = call.chat.as_mut().expect("the caller looked it up");
        let Some((upto, _)) = chat.turn.take().filter(|_| turn.line.who == Speaker::Assistant) else {
            return Outcome::Rejected(Reason::Stale);
        };
        let mut line = fitting(&turn.line);
        let asked = chat.after(0).position(|(number, _)| number == upto);
        if let (Some(judged), Some(asked)) = (line.judged.take(), asked) {
            chat.lines.rows[asked].judged = Some(judged);
        }
        chat.answered = chat.answered.max(upto);
        if let Some(assist) = &mut call.assist {
            assist.resolution = None;
        }
        self.write_line(ctx, id, line);
        if let Some(cause) = self.count_turn(id, turn) {
            let agent = self.calls[&id].owner().map(|leg| self.calls[&id].legs[&leg].agent.clone()).expect("an AI agent has it");
            return self.take_over(ctx, id, None, cause, &Actor::Agent(agent));
        }
        if let Some(resolution) = resolution {
            self.resolved(ctx, id, resolution);
        }
        self.ask_assistant(ctx, id);
        // Without a question more, it is the customer's silence that is waited for.
        self.set_chat_timer(ctx, id);
        Outcome::Accepted
    }

    /// The deadline of a chat that somebody has.
    pub(super) fn set_chat_timer(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let chat = self.calls[&id].chat.as_ref().expect("the caller looked it up");
        let until = chat.turn.map_or(chat.idle_until, |(_, until)| until.min(chat.idle_until)).max(ctx.at.time);
        self.set_call_timer(ctx, id, until, TimerKind::Call { call: id });
    }

    /// That deadline has passed: nobody writes any more, or an AI agent does not answer. Lines that were written since put it off.
    pub(super) fn chat_due(&mut self, ctx: &mut Ctx<'_>, id: CallId) {
        let call = &self.calls[&id];
        let chat = call.chat.as_ref().expect("the caller looked it up");
        if ctx.at.time >= chat.idle_until {
            return self.end_call(ctx, id, CallOutcome::Answered, "chat_idle", 480, None);
        }
        match call.assisted_on().filter(|_| chat.turn.is_some_and(|(_, until)| ctx.at.time >= until)) {
            Some(n) => {
                self.lose_assistant(ctx, id, n);
                self.lost_often(ctx, id);
            }
            None => self.set_chat_timer(ctx, id),
        }
    }

    /// The node of a chat is lost or leaves. Its lines are everywhere; what an AI agent was to write is ordered again.
    pub(super) fn move_chat(&mut self, ctx: &mut Ctx<'_>, id: CallId, heir: Edge) {
        let former = self.change_edge(id, heir);
        let call = self.calls.get_mut(&id).expect("the caller looked it up");
        call.caller.adopting = false;
        for (n, leg) in &mut call.legs {
            leg.adopting = false;
            if let Some(order) = leg.order.take() {
                leg.order = Some(ctx.order(LegId { call: id, n: *n }, heir, order.action, None));
            }
        }
        let (queue, data) = (call.queue.clone(), [("from", former.node.to_string()), ("to", heir.node.to_string())]);
        ctx.event(EventKind::ContactAdopted, Some(id), None, Some(&queue), &data);
    }

    /// The customer is to be called: its chat is over, and a callback stands at its place with all that was written.
    fn on_by_phone(&mut self, ctx: &mut Ctx<'_>, id: CallId, by: &Writer, (new, edge, number): (CallId, Edge, &str)) -> Outcome {
        if self.calls.contains_key(&new) || self.closed.outcome_of(new).is_some() {
            return Outcome::Rejected(Reason::Invalid("the id of the call is taken".to_owned()));
        }
        // Nobody vouches for the number: without this a stranger could have any called, at the tenant's cost.
        if !self.policy.outside.allows(number) {
            return Outcome::Rejected(Reason::NumberBarred);
        }
        if let Err(reason) = self.may_be_dialled(number) {
            return Outcome::Rejected(reason);
        }
        let chat = &self.calls[&id];
        let until = ctx.at.time.plus_ms(self.policy.queues[&chat.queue].callback.max_age_ms);
        let from = Party { user: number.to_owned(), ..Party::default() };
        let arrive = Arrive { from, skills: chat.skills.clone(), ..arrival_of(ctx.domain, new, edge, &chat.to_user) };
        let mut call = self.new_call(ctx, &arrive, chat.queue.clone(), chat.priority, false, chat.hops);
        (call.entered, call.queued, call.state) = (chat.entered, None, CallState::Deferred);
        let said = chat.chat.as_ref().expect("looked up by chat_step");
        let lines = said.lines.rows.iter().map(|line| line.clone().bounded()).collect();
        let transcript = Kept { rows: lines, dropped: said.lines.dropped };
        call.assist = Some(Box::new(Assist { person_only: true, transcript, ..Assist::default() }));
        let outcome = if chat.answered.is_some() { CallOutcome::Answered } else { CallOutcome::Overflowed };
        let (queue, data) = (chat.queue.clone(), [("by", by.actor().to_string()), ("to", format!("phone:{new}"))]);
        ctx.event(EventKind::ContactTransferred, Some(id), None, Some(&queue), &data);
        self.calls.get_mut(&id).and_then(|call| call.chat.as_mut()).expect("looked up above").continued_as = Some(new);
        self.end_call(ctx, id, outcome, "continued_by_phone", 480, None);
        self.on_edge.entry(edge).or_default().insert(new);
        self.calls.insert(new, Box::new(call));
        self.enrol(ctx, new, number.to_owned(), None, until, &by.actor());
        let callback = self.calls.get_mut(&new).and_then(|call| call.callback.as_mut());
        callback.expect("enrolled just now").continues = Some(id);
        Outcome::Scheduled { call: new }
    }
}

fn line(ctx: &Ctx<'_>, who: Speaker, text: &str) -> Line {
    Line { at: ctx.at.wall, who, text: text.to_owned(), judged: None, sources: Vec::new() }
}

/// What an AI agent wrote, within the bounds of a transcript.
fn fitting(line: &Line) -> Line {
    line.clone().bounded()
}
