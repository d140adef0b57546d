//! A party that talks is told anew what we say of ourselves, by a re-INVITE of ours: when its call was sent on and it waits
//! again, and when who it talks with then describes itself otherwise. A party that waits may describe itself anew, too.

use std::time::Instant;

use bytes::Bytes;

use super::{
    Due, Flow, Stack, T1,
    carry::held_by,
    client::{ClientKey, Purpose},
    leg::{Phase, contact},
    server::ServerKey,
};
use crate::{
    core::id::LegId,
    sip::{
        limits::GLARE_RETRIES_MAX,
        message::{Message, Method, Name, sdp_of},
    },
};

impl Stack {
    /// A caller who talked waits again: from now on it hears us, and whoever held it does so no more.
    pub(super) fn take_back(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.peer.take().is_none() || !leg.anchored {
            return;
        }
        let own = unheld(&leg.media.1);
        self.no_plan(id);
        self.options.media.hear(id, &[]);
        match self.options.media.answer(id, &own) {
            Ok(told) => self.describe(now, id, told),
            Err(error) => tracing::info!(leg = %id, %error, "a caller who waits again cannot be told so"),
        }
    }

    /// Makes this the description that the party has of the other side.
    pub(super) fn describe(&mut self, now: Instant, id: LegId, told: Bytes) {
        if let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.described != told) {
            leg.described = told;
            self.retell(now, id);
        }
    }

    /// Sends the re-INVITE as soon as nothing else is under way in the dialog.
    fn retell(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| matches!(leg.phase, Phase::Answered | Phase::Confirmed)) else { return };
        if leg.phase == Phase::Answered || leg.busy || leg.unacked.is_some() || leg.ack_owed.is_some() {
            leg.retell = true;
            return self.at(now + T1, Due::Retell(id));
        }
        let us = self.address(&self.legs[&id].to);
        let leg = self.legs.get_mut(&id).expect("looked up above");
        leg.busy = true;
        let mut request = leg.request("INVITE", None, &self.options, us).field(Name::Allow, super::ALLOW);
        for (name, value) in leg.session.ask() {
            request = request.named(name, value);
        }
        let bytes = request.body("application/sdp", &held_by(&leg.media.1, &leg.described));
        let to = leg.to.clone();
        self.send(now, id, Purpose::Retell, to, bytes);
    }

    pub(super) fn retell_due(&mut self, now: Instant, id: LegId) {
        if self.legs.get_mut(&id).is_some_and(|leg| std::mem::take(&mut leg.retell)) {
            self.retell(now, id);
        }
    }

    /// The party answered. A refusal for a reason of its own leaves the dialog as it was (§14.1).
    pub(super) fn retold(&mut self, now: Instant, id: LegId, key: &ClientKey, flow: Flow, response: &Message) {
        let status = response.status();
        if status < 300 {
            self.ack_phone(id, key, b"");
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.busy = false;
        match status {
            200..=299 => {
                leg.dialog.remote_addr = flow.remote.to_string();
                if let Some(contact) = response.contact() {
                    leg.dialog.remote_target = contact;
                }
                leg.session.taken(response);
                self.session_renewed(now, id);
                if let Some(sdp) = sdp_of(response).ok().flatten() {
                    self.note_description(id, &sdp);
                    self.media_changed(id, &sdp);
                }
            }
            491 if leg.session.retries < GLARE_RETRIES_MAX => {
                leg.session.retries += 1;
                leg.retell = true;
                let wait = leg.glare_wait();
                self.at(now + wait, Due::Retell(id));
            }
            _ => self.dialog_lost(now, id, status),
        }
    }

    /// Lets the audio of a party follow what it says of itself. What the other side is told stays as it is.
    fn note_description(&self, id: LegId, sdp: &Bytes) {
        match self.legs.get(&id).map(|leg| (leg.anchored || !leg.dialog.carrier.is_empty(), leg.peer)) {
            Some((true, Some(peer))) => drop(self.carry(id, peer, sdp)),
            Some((true, None)) if self.legs[&id].anchored => drop(self.options.media.answer(id, sdp)),
            _ => {}
        }
    }

    /// True if the leg talks with nobody, and could be answered by us.
    pub(super) fn is_alone(&self, id: LegId) -> bool {
        self.legs.get(&id).is_some_and(|leg| {
            let settled = leg.phase == Phase::Confirmed && !leg.busy && leg.unacked.is_none();
            settled && leg.anchored && leg.peer.is_none_or(|peer| !self.legs.contains_key(&peer))
        })
    }

    /// Answers a party that describes itself anew while it waits: hold, another address, a refresh of its session.
    pub(super) fn answer_alone(&mut self, now: Instant, id: LegId, key: &ServerKey, message: &Message, offer: &Bytes) {
        let Ok(told) = self.options.media.answer(id, offer) else { return self.answer(now, key, 488, "Not Acceptable Here", &[], b"") };
        let us = contact(self.address(&self.legs[&id].to), self.legs[&id].to.transport());
        let leg = self.legs.get_mut(&id).expect("the caller looked it up");
        let mut headers = vec![("Contact", us)];
        headers.extend(leg.session.agree(message));
        leg.described = told.clone();
        self.answer(now, key, 200, "OK", &headers, &told);
        self.session_renewed(now, id);
        if let Some((number, _)) = message.cseq().filter(|_| message.method() == Method::Invite) {
            self.await_ack(now, id, key, number);
        }
        self.media_changed(id, offer);
    }
}

/// A party's description without the answer it gave to a hold.
fn unheld(sdp: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(sdp);
    text.lines().filter(|line| *line != "a=recvonly").flat_map(|line| [line, "\r\n"]).collect::<String>().into_bytes()
}
