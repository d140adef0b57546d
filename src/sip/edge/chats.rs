//! What AI agents of this edge write in chats: found by the node's brain beside the worker, and reported under the number of its order.
//!
//! Nothing is remembered of a chat: what was written before comes with the order, and whether an answer is still wanted is the core's.

use std::{collections::BTreeMap, sync::Arc};

use super::{inbox::Finding, worker::Worker};
use crate::{
    core::{
        assist::{Assisted, Line, Speaker, Turn},
        chat::{DISCLOSURE, Write},
        command::{HangUpCause, LegEvent, LegReport},
        effect::Order,
        id::LegId,
        time::WallTime,
    },
    sip::{
        brain::{Answer, Said},
        limits::{ANSWER_WITHIN, ASSISTANTS_MAX},
    },
};

/// Answers under way, by leg: the numbers of their reports. An order that comes again is not thought about twice at a time.
pub(super) type Writing = BTreeMap<LegId, u32>;

impl Worker {
    /// Has what an AI agent is to write found.
    pub(super) fn compose(&mut self, order: &Order, write: &Arc<Write>) {
        let (leg, seq) = (order.leg, write.seq());
        if self.writing.get(&leg).is_some_and(|under_way| *under_way >= seq) {
            return;
        }
        let mut report = LegReport { domain: order.domain.clone(), leg, edge: self.me, seq, event: LegEvent::Ended };
        let Some(brain) = self.brain.clone().filter(|_| self.writing.len() < ASSISTANTS_MAX) else {
            report.event = LegEvent::Refused { status: 486, reason: "no room".to_owned(), contacts: Vec::new() };
            return self.report(report);
        };
        let at = WallTime(self.wall_ms());
        if write.upto == 0 {
            report.event = LegEvent::Assisted(Assisted::Opened(Box::new(Line {
                at,
                who: Speaker::Assistant,
                text: brain.disclosure(&write.engage.assistant).text,
                judged: None,
                sources: vec![DISCLOSURE.to_owned()],
            })));
            return self.report(report);
        }
        self.writing.insert(leg, seq);
        let said = Said {
            domain: order.domain.clone(),
            call: leg.call,
            agent: write.engage.agent.clone(),
            assistant: write.engage.assistant.clone(),
            history: write.engage.transcript.clone(),
            text: write.text.clone(),
        };
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let answer = tokio::time::timeout(ANSWER_WITHIN, brain.answer(said)).await;
            // One that comes too late is a failure of the agent, and the customer gets another.
            let lost = LegEvent::HungUp { cause: HangUpCause::EdgeFault };
            report.event = answer.map_or(lost, |answer| wrote(at, answer));
            shared.inbox.found(Finding::Wrote(Box::new(report)));
        });
    }

    /// An answer, or that there is none.
    pub(super) fn written(&mut self, report: LegReport) {
        if self.writing.get(&report.leg) == Some(&report.seq) {
            self.writing.remove(&report.leg);
        }
        self.report(report);
    }
}

fn wrote(at: WallTime, answer: Answer) -> LegEvent {
    let Answer { say, judged, sources, wants, helped, done, .. } = answer;
    let line = Line { at, who: Speaker::Assistant, text: say.text, judged, sources };
    LegEvent::Assisted(Assisted::Wrote(Box::new(Turn { line, wants, helped }), done))
}
