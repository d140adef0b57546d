//! Random chats: opened, written in, offered, ended, and gone on with by phone.

use super::generator::{Generator, LIVE_MAX, main_domain};
use crate::core::{
    Command,
    assist::{Assisted, Cause, Judged, Line, Resolution, Resolved, Speaker, Turn},
    call::Call,
    chat::{ChatStep, NewChat, Writer},
    command::{HangUpCause, LegEvent},
    domain::Domain,
    effect::Action,
    id::{CallId, NodeId},
    time::WallTime,
};

const SECRET: [u8; 32] = [1; 32];

impl Generator {
    pub(super) fn chat(&mut self, rows: &Domain) -> Command {
        let chats: Vec<_> = rows.calls().values().map(|call| &**call).filter(|call| call.chat.is_some()).collect();
        if chats.is_empty() || (chats.len() < 5 && rows.calls().len() < LIVE_MAX + 2 && self.rng.one_in(4)) {
            return self.open_chat();
        }
        // An AI agent that is asked for something is soon given up.
        let asked = |call: &&&Call| call.legs.values().any(|leg| leg.assistant && leg.order.is_some());
        let at_work: Vec<_> = chats.iter().filter(asked).copied().collect();
        let among = if at_work.is_empty() { chats } else { at_work };
        let call = among[self.rng.below(among.len() as u64) as usize];
        let asked = call.legs.iter().find(|(_, leg)| leg.assistant).map(|(n, _)| *n);
        if let Some(n) = asked.filter(|_| !self.rng.one_in(8)) {
            return self.written(call, n);
        }
        let offered = call.legs.values().find(|leg| leg.answered.is_none() && !leg.assistant).map(|leg| leg.agent.clone());
        let step = match (self.rng.below(10), offered) {
            (0..7, Some(agent)) => ChatStep::Reply { agent, accept: !self.rng.one_in(3) },
            (7, _) => ChatStep::Reply { agent: self.agent(), accept: true },
            (8, _) if self.rng.one_in(2) => ChatStep::End { by: self.writer(call) },
            (9, _) if self.rng.one_in(2) => {
                self.calls += 1;
                let (new, edge) = (CallId::compose(1, NodeId(1), self.calls), self.edge());
                let number = format!("+4930{}", 100 + self.rng.below(40));
                ChatStep::Phone { by: self.writer(call), call: new, edge, number }
            }
            _ => {
                let text = if self.rng.one_in(20) { String::new() } else { "words ".repeat(1 + self.rng.below(600) as usize) };
                ChatStep::Say { by: self.writer(call), text }
            }
        };
        Command::Chat { domain: main_domain(), call: call.id, step }
    }

    fn open_chat(&mut self) -> Command {
        self.calls += 1;
        Command::OpenChat(Box::new(NewChat {
            domain: main_domain(),
            call: CallId::compose(1, NodeId(1), self.calls),
            edge: self.edge(),
            to: ["support", "second", "ring", "112", "unknown"][self.rng.below(5) as usize].into(),
            customer: if self.rng.one_in(2) { "anna".to_owned() } else { String::new() },
            secret: SECRET,
            text: (!self.rng.one_in(6)).then(|| "hello".to_owned()),
        }))
    }

    /// The customer mostly, else whoever has the chat, and now and then somebody who has no business there.
    fn writer(&mut self, call: &Call) -> Writer {
        let owner = call.owner().map(|leg| call.legs[&leg].agent.clone());
        match (self.rng.below(8), owner) {
            (0, _) => Writer::Customer([2; 32]),
            (1, _) => Writer::Agent(self.agent()),
            (2..5, Some(agent)) => Writer::Agent(agent),
            _ => Writer::Customer(SECRET),
        }
    }

    /// What the node of an AI agent reports: what it was asked for, mostly.
    fn written(&mut self, call: &Call, n: u16) -> Command {
        let line = |text: &str| Line { at: WallTime(0), who: Speaker::Assistant, text: text.into(), judged: None, sources: Vec::new() };
        let order = call.legs[&n].order.as_ref().map(|order| &order.action);
        let open = match order {
            Some(Action::Write(write)) => write.upto == 0,
            _ => return self.say_more(call),
        };
        let event = match self.rng.below(16) {
            0 => LegEvent::HungUp { cause: HangUpCause::EdgeFault },
            1 => LegEvent::Assisted(Assisted::Disclosed),
            _ if open => LegEvent::Assisted(Assisted::Opened(Box::new(line("no person writes")))),
            at => {
                let wants = (at == 2).then_some(Cause::Asked);
                let mut line = line("an answer");
                line.judged = Some(Judged::default());
                let done = Resolution { resolved: Resolved::Yes, confidence: 900, reason: "bye".into() };
                LegEvent::Assisted(Assisted::Wrote(Box::new(Turn { line, wants, helped: Some(at > 4) }), (at == 3).then_some(done)))
            }
        };
        self.numbered(call.leg_id(n), call.edge, event)
    }

    fn say_more(&mut self, call: &Call) -> Command {
        let step = ChatStep::Say { by: Writer::Customer(SECRET), text: "and".to_owned() };
        Command::Chat { domain: main_domain(), call: call.id, step }
    }
}
