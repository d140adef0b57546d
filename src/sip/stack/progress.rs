//! Provisional answers to a waiting caller: 182 and 180, repeated every minute, reliable if the caller requires it (RFC 3262).

use std::time::Instant;

use super::{
    Destination, Due, Stack, T1, T64,
    leg::{Progress, Repeat, contact},
    server::ServerKey,
};
use crate::{
    core::{
        command::{HangUpCause, LegEvent},
        id::LegId,
    },
    sip::{
        limits::PROGRESS_EVERY,
        message::{Message, Name},
    },
};

impl Stack {
    /// Tells the caller how it stands, now and every minute until something else is said.
    pub(super) fn progress(&mut self, now: Instant, id: LegId, status: u16, reason: &'static str) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.is_waiting() && leg.invite.is_some()) else { return };
        let again = now + PROGRESS_EVERY;
        // One reliable answer at a time (RFC 3262 §3): the next goes out with the PRACK of the last.
        let sent = leg.unpracked.is_none();
        leg.progress = Some(Progress { status, reason, again, sent });
        self.at(again, Due::Progress(id));
        if sent {
            self.provisional(now, id, status, reason);
        }
    }

    pub(super) fn progress_again(&mut self, now: Instant, id: LegId) {
        let due = self.legs.get(&id).filter(|leg| leg.is_waiting()).and_then(|leg| leg.progress);
        if let Some(due) = due.filter(|due| now >= due.again) {
            self.progress(now, id, due.status, due.reason);
        }
    }

    fn provisional(&mut self, now: Instant, id: LegId, status: u16, reason: &str) {
        let Some(leg) = self.legs.get(&id) else { return };
        let Some((key, invite)) = leg.invite.clone() else { return };
        let mut headers = vec![("Contact", contact(self.address(&leg.to), leg.to.transport()))];
        let leg = self.legs.get_mut(&id).expect("looked up above");
        if !leg.wants_reliable {
            return self.answer(now, &key, status, reason, &headers, b"");
        }
        leg.rseq += 1;
        headers.extend([("Require", "100rel".to_owned()), ("RSeq", leg.rseq.to_string())]);
        self.answer(now, &key, status, reason, &headers, b"");
        let Some(server) = self.servers.get(&key) else { return };
        let (Some(bytes), to) = (server.last.clone(), Destination::Flow(server.back)) else { return };
        let cseq = invite.cseq().map_or(0, |(number, _)| number);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.unpracked = Some(Repeat { bytes, to, cseq, interval: T1, next: now + T1, until: now + T64 });
            self.at(now + T1, Due::Reliable(id));
        }
    }

    pub(super) fn reliable_resend(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.is_waiting()) else { return };
        let Some(repeat) = leg.unpracked.as_mut().filter(|repeat| now >= repeat.next) else { return };
        if now >= repeat.until {
            let Some((key, _)) = leg.invite.clone() else { return };
            self.answer(now, &key, 504, "Server Time-out", &[], b"");
            return self.finish(id, LegEvent::HungUp { cause: HangUpCause::NoAck });
        }
        repeat.interval *= 2;
        repeat.next = (now + repeat.interval).min(repeat.until);
        let (to, bytes, next) = (repeat.to.clone(), repeat.bytes.clone(), repeat.next);
        self.at(next, Due::Reliable(id));
        self.transmit(to, bytes);
    }

    pub(super) fn prack(&mut self, now: Instant, id: LegId, key: &ServerKey, message: &Message) {
        let text = message.text(Name::RAck);
        let mut named = text.split_whitespace();
        let (rseq, cseq) = (named.next().and_then(|n| n.parse().ok()), named.next().and_then(|n| n.parse().ok()));
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let fits = rseq == Some(leg.rseq) && leg.unpracked.as_ref().is_some_and(|repeat| Some(repeat.cseq) == cseq);
        if !fits || named.next() != Some("INVITE") {
            return self.answer(now, key, 481, "No Such Response", &[], b"");
        }
        leg.unpracked = None;
        let next = if leg.is_waiting() { leg.progress.as_mut().filter(|next| !next.sent) } else { None };
        let next = next.map(|next| {
            next.sent = true;
            (next.status, next.reason)
        });
        self.answer(now, key, 200, "OK", &[], b"");
        if let Some((status, reason)) = next {
            self.provisional(now, id, status, reason);
        }
    }
}
