//! What happens in a call: hold and resume, hanging up, and the requests of the other side, a new owner's among them.

use std::time::{Duration, Instant};

use tandem::sip::message::{Message, Method};

use super::{Ua, caller::with_timer, transaction::Purpose};
use crate::phone::{
    call::{By, Change, State},
    limits::GLARE_RETRIES_MAX,
    sdp::{self, Direction},
    text::Hop,
};

impl Ua {
    /// The number of the newest call that is not over.
    fn current(&self) -> Option<usize> {
        self.calls.iter().rposition(|call| !call.is_over())
    }

    /// Picks up.
    pub fn answer(&mut self, now: Instant) {
        if let Some(n) = self.current() {
            self.pick_up(now, n);
        }
    }

    /// Ends the newest call, whatever it is: BYE, CANCEL or a refusal.
    pub fn hang_up(&mut self, now: Instant) {
        let Some(n) = self.current() else { return };
        self.calls[n].hung_up_at.get_or_insert(now);
        match self.calls[n].state {
            State::Up => self.bye(now, n),
            State::Ringing => self.refuse(now, n, 486),
            // Without a provisional answer the CANCEL waits for one.
            State::Calling | State::Proceeding(_) => self.cancel(now, n),
            State::Over(_) => {}
        }
    }

    /// Holds the other side, or with `sendrecv` talks to it again.
    pub fn direct(&mut self, now: Instant, wish: Direction) {
        if let Some(n) = self.current().filter(|n| self.calls[*n].is_up()) {
            self.reinvite(now, n, wish, 0);
        }
    }

    pub(super) fn bye(&mut self, now: Instant, n: usize) {
        if self.calls[n].is_over() {
            return;
        }
        self.forget_requests(n);
        let (via, branch) = self.via();
        let contact = self.contact();
        let call = &mut self.calls[n];
        let bye = call.request("BYE", None, &via, &contact).end(None);
        let hop = call.hop();
        call.end(now, By::Us);
        self.ask(now, hop, branch, Method::Bye, bye, Purpose::Bye);
    }

    pub(super) fn reinvite(&mut self, now: Instant, n: usize, wish: Direction, tries: u8) {
        if !self.calls[n].is_up() || self.is_asking(n) {
            return;
        }
        // Our 200 of theirs has no ACK yet: theirs is not over (RFC 3261 §14.1).
        if self.calls[n].unacked.is_some() {
            let again = Some(now + Duration::from_millis(100));
            self.calls[n].change = Some(Change { wish, tries, again });
            return;
        }
        let (via, branch) = self.via();
        let (contact, session) = (self.contact(), self.options.session_s);
        self.calls[n].sdp_version += 1;
        let offer = self.describe(&self.calls[n], None, wish);
        let call = &mut self.calls[n];
        call.change = Some(Change { wish, tries, again: None });
        let invite = with_timer(call.request("INVITE", None, &via, &contact), session).end(Some(&offer));
        let hop = call.hop();
        self.ask(now, hop, branch, Method::Invite, invite, Purpose::Reinvite(n, wish));
    }

    /// Our re-INVITE was accepted.
    pub(super) fn changed(&mut self, now: Instant, n: usize, wish: Direction, message: &Message) {
        let call = &mut self.calls[n];
        call.follow(now, message);
        call.grant(now, message, true);
        (call.wish, call.change) = (wish, None);
        call.audio = sdp::read(&message.body).or(call.audio);
        self.ack(now, n, message);
    }

    pub(super) fn change_refused(&mut self, now: Instant, n: usize, wish: Direction, status: u16) {
        let tries = self.calls[n].change.map_or(0, |change| change.tries);
        match status {
            491 if tries < GLARE_RETRIES_MAX && self.calls[n].is_up() => {
                let owner = self.calls[n].role == crate::phone::call::Role::Caller;
                let again = Some(now + self.glare(owner));
                self.calls[n].change = Some(Change { wish, tries: tries + 1, again });
            }
            // The other side does not know the call any more (RFC 3261 §12.2.1.2).
            408 | 481 => self.bye(now, n),
            _ => self.calls[n].change = None,
        }
    }

    /// A request in a dialog.
    pub(super) fn inside(&mut self, now: Instant, message: &Message, source: Hop) {
        let Some(n) = self.find(message) else {
            self.faults.unknown_dialog += 1;
            return self.plain(now, message, source, 481);
        };
        let cseq = message.cseq().map_or(0, |(number, _)| number);
        let seen = self.calls[n].remote_cseq;
        if seen.is_some_and(|seen| cseq <= seen) {
            return self.out_of_order(now, message, source, cseq);
        }
        self.calls[n].remote_cseq = Some(cseq);
        match message.method() {
            Method::Invite | Method::Update => self.retargeted(now, n, message, source),
            Method::Bye => {
                self.plain(now, message, source, 200);
                self.forget_requests(n);
                self.abandon_ring(now, n);
                self.calls[n].end(now, By::Them);
            }
            Method::Info | Method::Options | Method::Notify => self.plain(now, message, source, 200),
            _ => self.plain(now, message, source, 405),
        }
    }

    /// A BYE ended a call that still rang: its INVITE is answered too (RFC 3261 §15.1.2).
    fn abandon_ring(&mut self, now: Instant, n: usize) {
        if self.calls[n].state == State::Ringing {
            self.refuse(now, n, 487);
        }
    }

    /// A CSeq that was seen: a retransmission by another way gets its answer again; anything else is an error of theirs.
    fn out_of_order(&mut self, now: Instant, message: &Message, source: Hop, cseq: u32) {
        let (call_id, method) = (message.call_id(), message.method());
        let same = |server: &super::Server| server.call_id == call_id && server.cseq == cseq && server.method == method;
        if let Some(at) = self.servers.iter().position(same) {
            return self.respond_again(now, at);
        }
        self.faults.stale_cseq += 1;
        self.plain(now, message, source, 500);
    }

    /// A re-INVITE or UPDATE: who sends it owns the other end from now on.
    fn retargeted(&mut self, now: Instant, n: usize, message: &Message, source: Hop) {
        if self.is_asking(n) && message.method() == Method::Invite {
            return self.plain(now, message, source, 491);
        }
        let theirs = sdp::read(&message.body);
        if !message.body.is_empty() && theirs.is_none() {
            return self.plain(now, message, source, 488);
        }
        let delay = self.options.reinvite_delay;
        let call = &mut self.calls[n];
        call.follow(now, message);
        if theirs.is_some() {
            call.sdp_version += u32::from(call.audio != theirs);
            call.audio = theirs;
        }
        let at = self.serve(now, message, source, Some(n));
        self.accept(now, at, n, delay);
    }
}
