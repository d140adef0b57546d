//! REFER of an agent's phone (RFC 3515, RFC 5589): a blind transfer of the call it has. The core decides; the phone is
//! answered when it has, and told the same by NOTIFY unless it wants none (RFC 4488).
//!
//! Once the core took the call back, the transfer is a success: where the call goes from there is its queue's business.

use std::time::Instant;

use super::{
    Output, Stack, TxId,
    client::Purpose,
    leg::{Phase, contact},
    server::ServerKey,
};
use crate::{
    core::id::LegId,
    sip::message::{Message, Name, angle_uri, param, request_uri, user_of},
};

/// Seconds a subscription may last that ends at once.
const SUBSCRIBED_S: u32 = 60;

/// A REFER that is not answered yet.
pub(super) struct Referral {
    key: ServerKey,
    cseq: u32,
    /// No NOTIFY is wanted.
    silent: bool,
}

/// Whom a REFER names, or why it cannot be followed.
fn target(message: &Message) -> Result<String, (u16, &'static str)> {
    let [refer_to] = &message.all(Name::ReferTo)[..] else { return Err((400, "One Refer-To Is Needed")) };
    let uri = angle_uri(refer_to);
    if !uri.to_ascii_lowercase().starts_with("sip") {
        return Err((416, "Unsupported URI Scheme"));
    }
    // Two dialogs of a phone joined by itself (RFC 3891) would take the call out of the queue's hands.
    if uri.to_ascii_lowercase().contains("replaces=") {
        return Err((603, "Decline"));
    }
    if param(uri, "method").is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
        return Err((403, "Forbidden"));
    }
    match user_of(request_uri(uri)) {
        "" => Err((404, "Not Found")),
        user => Ok(user.to_owned()),
    }
}

impl Stack {
    pub(super) fn refer(&mut self, now: Instant, id: LegId, key: &ServerKey, message: &Message) {
        let leg = &self.legs[&id];
        // A caller who sends itself elsewhere would take the call out of the queue's hands.
        if id.n == 0 {
            return self.answer(now, key, 603, "Decline", &[], b"");
        }
        if leg.phase != Phase::Confirmed || leg.peer.is_none() || leg.referral.is_some() {
            return self.answer(now, key, 491, "Request Pending", &[], b"");
        }
        let user = match target(message) {
            Ok(user) => user,
            Err((status, reason)) => return self.answer(now, key, status, reason, &[], b""),
        };
        let silent = message.fields.iter().any(|field| {
            field.spelt.eq_ignore_ascii_case(b"Refer-Sub") && String::from_utf8_lossy(&field.value).trim().eq_ignore_ascii_case("false")
        });
        let tx = self.pend(now, key);
        let leg = self.legs.get_mut(&id).expect("looked up above");
        leg.referral = Some(Referral { key: key.clone(), cseq: message.cseq().map_or(0, |(number, _)| number), silent });
        let domain = leg.domain.clone();
        self.out.push_back(Output::Refer { tx, leg: id, domain, user });
    }

    /// What became of a REFER, as [`Output::Refer`] asked.
    pub fn referred(&mut self, now: Instant, tx: TxId, leg: LegId, verdict: Result<(), (u16, &'static str)>) {
        if self.legs.get(&leg).is_some_and(|leg| leg.referral.is_some()) {
            return self.refer_decided(now, leg, verdict);
        }
        // Answered already, or the phone hung up meanwhile.
        let (status, reason) = verdict.err().unwrap_or((202, "Accepted"));
        self.respond(now, tx, status, reason, &[], b"");
    }

    /// Answers the open REFER of a leg, if it has one.
    pub(super) fn refer_decided(&mut self, now: Instant, id: LegId, verdict: Result<(), (u16, &'static str)>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(referral) = leg.referral.take() else { return };
        let mut headers = vec![("Contact", contact(self.address(&self.legs[&id].to), self.legs[&id].to.transport()))];
        if let Err((status, reason)) = verdict {
            return self.answer(now, &referral.key, status, reason, &headers, b"");
        }
        if referral.silent {
            headers.push(("Refer-Sub", "false".to_owned()));
        }
        self.answer(now, &referral.key, 202, "Accepted", &headers, b"");
        if !referral.silent {
            self.notify(now, id, referral.cseq, &format!("active;expires={SUBSCRIBED_S}"), "SIP/2.0 100 Trying\r\n");
            self.notify(now, id, referral.cseq, "terminated;reason=noresource", "SIP/2.0 200 OK\r\n");
        }
    }

    fn notify(&mut self, now: Instant, id: LegId, refer: u32, state: &str, fragment: &str) {
        let Some(leg) = self.legs.get(&id) else { return };
        let us = self.address(&leg.to);
        let leg = self.legs.get_mut(&id).expect("looked up above");
        let request = leg.request("NOTIFY", None, &self.options, us).field(Name::Event, format!("refer;id={refer}"));
        let bytes = request.named("Subscription-State", state).body("message/sipfrag;version=2.0", fragment.as_bytes());
        let to = leg.to.clone();
        self.send(now, id, Purpose::Aside, to, bytes);
    }
}
