//! Legs taken over from another edge: made again from their images, their parties told where we are by re-INVITE, a
//! bounded number at once.
//!
//! A caller without an answer is answered from its INVITE's Via; one whose 200 may have been lost with its edge gets the 200
//! again first. What became of the call, and who takes over what, is the core's.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;

use super::{
    Destination, Due, Flow, Options, Stack, T1,
    carry::held_by,
    client::{ClientKey, Purpose},
    leg::{Leg, Phase, by_uri, contact, holds},
    phone::Attempt,
    server::ServerKey,
    session::{Session, least_of},
};
use crate::{
    core::{
        command::{HangUpCause, LegEvent},
        effect::{Action, Order, Ring},
        id::{DomainId, Edge, LegId},
        image::{CSEQ_JUMP, Image, Stage},
        party::{Dialog, Sdp, Transport},
    },
    sip::{
        limits::{GLARE_RETRIES_MAX, LINGER, RESUME_MAX, RESUME_SLOT, RESUMING_MAX},
        message::{Builder, Message, Name, angle_uri, host_port, param, read_own, sdp_of, sent_by},
    },
};

/// Legs whose parties are still to be told, longest silent first, and those that were told and have not answered.
#[derive(Debug, Default)]
pub(super) struct Resuming {
    waiting: VecDeque<LegId>,
    told: std::collections::BTreeSet<LegId>,
}

impl Stack {
    /// Makes a leg of this edge from its image. What is to be done on it is the order's, and comes next.
    pub(super) fn take_over(&mut self, now: Instant, order: &Order, image: &Image) {
        let id = order.leg;
        let (leg, invite) = match &image.stage {
            Stage::Ringing { ring: Some(ring), by } if image.dialog.call_id.is_empty() => {
                (self.rung_by(*by, id, &order.domain, ring), None)
            }
            Stage::Ringing { .. } => (self.imaged(order, image), None),
            Stage::Waiting | Stage::Up { unconfirmed: true } => (self.imaged(order, image), invite_of(&image.dialog)),
            Stage::Up { unconfirmed: false } => (self.imaged(order, image), None),
        };
        let Some(mut leg) = leg else { return };
        leg.phase = match image.stage {
            Stage::Waiting => Phase::Waiting,
            Stage::Ringing { .. } | Stage::Up { .. } => Phase::Confirmed,
        };
        leg.ringing_elsewhere = matches!(image.stage, Stage::Ringing { .. });
        leg.rseq = u32::from(image.adoptions) * CSEQ_JUMP;
        if let Some(invite) = invite {
            leg.invite = self.reopen(now, id, &image.dialog, invite);
        }
        if leg.invite.is_none() && image.stage == Stage::Waiting {
            // Nobody to answer: the order finds no leg, and the core hears so.
            return;
        }
        self.legs.insert(id, leg);
        if matches!(image.stage, Stage::Up { .. }) && !matches!(order.action, Action::HangUp { .. }) {
            self.restore_media(id, image);
        }
        if image.stage == Stage::Waiting {
            let dialog = self.legs[&id].dialog.clone();
            self.report(id, LegEvent::Adopted { dialog });
        }
    }

    /// A leg as its image has it. `None` if there is no way to its party.
    fn imaged(&self, order: &Order, image: &Image) -> Option<Leg> {
        let to = self.way_to(&image.dialog)?;
        let mut leg = Leg::empty(order.leg, order.domain.clone(), image.dialog.clone(), to);
        let bytes = |sdp: &Option<Sdp>| sdp.as_ref().map_or_else(Bytes::new, |sdp| Bytes::copy_from_slice(sdp));
        let own = bytes(&image.sdp);
        (leg.peer, leg.described, leg.media) = (image.peer, bytes(&image.other), (holds(&own), own));
        (leg.anchored, leg.wants_reliable) = (image.anchored, image.dialog.reliable);
        leg.session = Session::resumed(image.dialog.session_expires_s, image.dialog.we_refresh);
        Some(leg)
    }

    /// The leg of a phone that another edge called and had not heard of: the same identifiers follow from the same order.
    fn rung_by(&self, by: Edge, id: LegId, domain: &DomainId, ring: &Ring) -> Option<Leg> {
        let addresses = self.nodes.get(&by.node).cloned().unwrap_or_default();
        let options = Options { edge: by, addresses, ..self.options.clone() };
        let attempt = Attempt { cseq: 1, least_s: None, offer: Bytes::new() };
        let address = |to: &Destination| options.addresses.get(&to.transport()).copied();
        let unknown = SocketAddr::from(([127, 0, 0, 1], 5060));
        let (mut leg, _) = Leg::phone(id, domain.clone(), ring, attempt, &options, |to| address(to).unwrap_or(unknown))?;
        leg.anchored = false;
        leg.dialog.flow = leg.dialog.flow.filter(|flow| flow.node != by.node);
        if let Destination::Flow(flow) = leg.to {
            leg.dialog.remote_addr = flow.remote.to_string();
            leg.dialog.symmetric = flow.conn.is_none();
        }
        leg.to = self.way_to(&leg.dialog)?;
        Some(leg)
    }

    /// Opens the server transaction of a caller's INVITE that another edge had, so that it can be answered from here.
    fn reopen(&mut self, now: Instant, id: LegId, dialog: &Dialog, invite: Message) -> Option<(ServerKey, Arc<Message>)> {
        let transport = dialog.transport.unwrap_or(Transport::Udp);
        let remote = source_of(dialog, transport)?;
        let local = self.options.addresses.get(&transport).copied().unwrap_or(remote);
        let (conn, via) = match dialog.flow {
            Some(flow) => (Some(flow.flow), Some(flow.node).filter(|node| *node != self.options.edge.node)),
            None => (None, None),
        };
        let (key, invite) = (ServerKey::of(&invite)?, Arc::new(invite));
        if !self.servers.contains_key(&key) && !self.open_server(now, &key, Flow { transport, local, remote, conn, via }, &invite) {
            return None;
        }
        self.owned(&key, id);
        Some((key, invite))
    }

    /// The way to the peer of a replicated dialog: the connection if a node holds it, where it came from if only that way is
    /// open, else by URI.
    fn way_to(&self, dialog: &Dialog) -> Option<Destination> {
        let hop = dialog.route_set.first().map_or(dialog.remote_target.as_str(), |route| angle_uri(route));
        let (own, transport) = (self.options.edge, dialog.transport.unwrap_or(Transport::Udp));
        let known = |node| node == own.node || self.nodes.contains_key(&node);
        let held = dialog.flow.filter(|flow| known(flow.node) && (flow.node != own.node || flow.incarnation == own.incarnation));
        let behind = dialog.symmetric && transport == Transport::Udp && dialog.route_set.is_empty();
        let Some(remote) = dialog.remote_addr.parse().ok().filter(|_| held.is_some() || behind) else { return by_uri(hop) };
        let local = self.options.addresses.get(&transport).copied().unwrap_or(remote);
        let via = held.map(|flow| flow.node).filter(|node| *node != own.node);
        Some(Destination::Flow(Flow { transport, local, remote, conn: held.map(|flow| flow.flow), via }))
    }

    /// Goes on with a leg that talks: its party is to be told as soon as there is a place among those who are.
    pub(super) fn resume(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.phase == Phase::Confirmed && !leg.busy) else { return };
        leg.busy = true;
        if let Some((key, invite)) = leg.invite.take() {
            self.answer_again(now, id, &key, &invite);
        }
        self.resuming.waiting.push_back(id);
        self.resume_next(now);
    }

    /// Repeats the 200 of the edge before: a caller that has it takes this for one more repeat.
    fn answer_again(&mut self, now: Instant, id: LegId, key: &ServerKey, invite: &Message) {
        let us = contact(self.address(&self.legs[&id].to), self.legs[&id].to.transport());
        let leg = self.legs.get_mut(&id).expect("the caller looked it up");
        let (mut headers, sdp) = (vec![("Contact", us), ("Allow", super::ALLOW.to_owned())], leg.described.clone());
        headers.extend(leg.session.agree(invite));
        self.answer(now, key, 200, "OK", &headers, &sdp);
        self.await_ack(now, id, key, invite.cseq().map_or(0, |(number, _)| number));
    }

    fn resume_next(&mut self, now: Instant) {
        while self.resuming.told.len() < RESUMING_MAX
            && let Some(id) = self.resuming.waiting.pop_front()
        {
            self.tell_party(now, id);
        }
    }

    /// Sends the re-INVITE that says where we are.
    fn tell_party(&mut self, now: Instant, id: LegId) {
        if !self.legs.get(&id).is_some_and(|leg| leg.phase == Phase::Confirmed) {
            return;
        }
        self.acknowledge_for_former(id);
        let us = self.address(&self.legs[&id].to);
        let leg = self.legs.get_mut(&id).expect("looked up above");
        let mut request = leg.request("INVITE", None, &self.options, us).field(Name::Allow, super::ALLOW);
        for (name, value) in leg.session.ask() {
            request = request.named(name, value);
        }
        let bytes = request.body("application/sdp", &held_by(&leg.media.1, &leg.described));
        let to = leg.to.clone();
        let key = self.send(now, id, Purpose::Resume, to, bytes);
        self.until(&key, now + RESUME_MAX);
        self.resuming.told.insert(id);
        self.at(now + RESUME_SLOT, Due::ResumeSlot(id));
    }

    /// A party that does not answer holds up the others no longer. Its transaction goes on.
    pub(super) fn resume_slot(&mut self, now: Instant, id: LegId) {
        if self.resuming.told.remove(&id) {
            self.resume_next(now);
        }
    }

    pub(super) fn resume_again(&mut self, now: Instant, id: LegId) {
        if self.legs.get(&id).is_some_and(|leg| leg.phase == Phase::Confirmed && leg.busy) {
            self.resuming.waiting.push_back(id);
            self.resume_next(now);
        }
    }

    /// The party answered the re-INVITE that said where we are.
    pub(super) fn resumed(&mut self, now: Instant, id: LegId, key: &ClientKey, flow: Flow, response: &Message) {
        let status = response.status();
        self.resume_slot(now, id);
        if status < 300 {
            self.ack_phone(id, key, b"");
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match status {
            200..=299 => {
                leg.dialog.remote_addr = flow.remote.to_string();
                if let Some(contact) = response.contact() {
                    leg.dialog.remote_target = contact;
                }
                leg.session.taken(response);
                (leg.busy, leg.unacked) = (false, None);
                self.session_renewed(now, id);
                self.has_resumed(id, sdp_of(response).ok().flatten());
            }
            491 if leg.session.retries < GLARE_RETRIES_MAX => {
                leg.session.retries += 1;
                let wait = leg.glare_wait();
                self.at(now + wait, Due::Resume(id));
            }
            // It had seen a higher number than was known here (§12.2.2).
            500 if leg.session.retries < GLARE_RETRIES_MAX => {
                leg.session.retries += 1;
                leg.dialog.local_cseq += CSEQ_JUMP;
                self.at(now, Due::Resume(id));
            }
            422 if leg.session.retries < GLARE_RETRIES_MAX => {
                leg.session.retries += 1;
                leg.session.demand(least_of(response));
                self.at(now, Due::Resume(id));
            }
            // It hung up and nobody was there to hear it.
            481 => self.finish(id, LegEvent::HungUp { cause: HangUpCause::Bye }),
            408 => self.resume_failed(now, id),
            // Refused for a reason of its own; the dialog stands (§14.1), and with it the call.
            _ => {
                leg.busy = false;
                self.has_resumed(id, None);
            }
        }
    }

    fn has_resumed(&mut self, id: LegId, described: Option<Bytes>) {
        let dialog = self.legs[&id].dialog.clone();
        self.report(id, LegEvent::Adopted { dialog });
        // A description that only counts on from the last one says nothing new to our own relay.
        let leg = &self.legs[&id];
        if let Some(sdp) = described.filter(|sdp| !(leg.anchored && same_but_origin(sdp, &leg.media.1))) {
            if let Some(peer) = self.legs.get(&id).and_then(|leg| leg.peer) {
                // The other party's side is not touched by this: its ports are its own.
                self.carry(id, peer, &sdp).ok();
            }
            self.media_changed(id, &sdp);
        }
    }

    /// The party is not there any more, or never answered.
    pub(super) fn resume_failed(&mut self, now: Instant, id: LegId) {
        self.resume_slot(now, id);
        if self.legs.get(&id).is_some_and(|leg| leg.phase == Phase::Confirmed) {
            self.report(id, LegEvent::HungUp { cause: HangUpCause::NotAdopted });
            self.hang_up(now, id);
        }
    }

    /// Another edge has the leg now. It is forgotten without a word; its audio goes on until its party has followed.
    pub(super) fn release(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.remove(&id) else { return };
        self.unplan(id);
        if let Some((key, _)) = leg.invite {
            self.servers.remove(&key);
        }
        if leg.anchored {
            self.lingering += 1;
            self.at(now + LINGER, Due::Linger(id));
        } else if let Some(engine) = self.options.engine.as_ref().filter(|_| !leg.dialog.carrier.is_empty()) {
            // Its audio goes on where it is.
            engine.leave(id);
        }
    }

    pub(super) fn linger_over(&mut self, id: LegId) {
        self.lingering = self.lingering.saturating_sub(1);
        if !self.legs.contains_key(&id) {
            self.options.media.close(id);
        }
    }

    /// Lets a phone go that another edge had ringing: CANCEL with that edge's Via, and BYE in case it has answered since.
    pub(super) fn cancel_elsewhere(&mut self, now: Instant, id: LegId) {
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        leg.phase = Phase::Leaving;
        let (dialog, to) = (leg.dialog.clone(), leg.to.clone());
        let cancel = Builder::request("CANCEL", &dialog.remote_target)
            .field(Name::Via, &dialog.invite_via)
            .field(Name::MaxForwards, "70")
            .field(Name::From, &dialog.local)
            .field(Name::To, super::super::message::without_tag(&dialog.remote))
            .field(Name::CallId, &dialog.call_id)
            .field(Name::CSeq, format!("{} CANCEL", dialog.local_cseq));
        self.send(now, id, Purpose::Cancel, to, cancel.empty());
        self.at(now + T1, Due::CancelOver(id));
    }

    /// The CANCEL was answered. Whoever takes it answers with the tag of the dialog (RFC 3261 §9.2), which is how a phone that
    /// was never heard here can be sent a BYE.
    pub(super) fn cancelled_elsewhere(&mut self, now: Instant, id: LegId, response: &Message) {
        let unknown = |leg: &&mut Leg| leg.ringing_elsewhere && leg.dialog.remote_tag.is_empty() && response.status() < 300;
        if let Some(leg) = self.legs.get_mut(&id).filter(unknown) {
            (leg.dialog.remote_tag, leg.dialog.remote) = (response.to_tag().unwrap_or_default(), response.text(Name::To));
        }
        self.cancel_over(now, id);
    }

    /// The CANCEL was answered or has had its time.
    pub(super) fn cancel_over(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.ringing_elsewhere) else { return };
        leg.ringing_elsewhere = false;
        if leg.dialog.remote_tag.is_empty() {
            return self.parted(id);
        }
        leg.dialog.local_cseq += CSEQ_JUMP;
        self.bye(now, id);
    }
}

/// Whether two descriptions differ in their `o=` line at most, which counts versions (RFC 4566 §5.2).
fn same_but_origin(one: &[u8], other: &[u8]) -> bool {
    let lines = |text| <[u8]>::split(text, |byte| *byte == b'\n').filter(|line| !line.starts_with(b"o="));
    lines(one).eq(lines(other))
}

/// Where a caller's answers go: the source of its INVITE; over a connection that is gone, the port it listens on
/// (RFC 3261 §18.2.2).
fn source_of(dialog: &Dialog, transport: Transport) -> Option<SocketAddr> {
    let source: SocketAddr = dialog.remote_addr.parse().ok()?;
    if transport == Transport::Udp || dialog.flow.is_some() {
        return Some(source);
    }
    let default = if transport == Transport::Tls { 5061 } else { 5060 };
    let (_, port) = host_port(sent_by(dialog.vias.first()?));
    Some(SocketAddr::new(source.ip(), port.unwrap_or(default)))
}

/// A caller's INVITE as far as its answers need it.
fn invite_of(dialog: &Dialog) -> Option<Message> {
    let mut invite = Builder::request("INVITE", "sip:adopted.invalid");
    for via in &dialog.vias {
        invite = invite.field(Name::Via, via);
    }
    for route in &dialog.route_set {
        invite = invite.field(Name::RecordRoute, route);
    }
    invite = invite
        .field(Name::From, &dialog.remote)
        .field(Name::To, &dialog.local)
        .field(Name::CallId, &dialog.call_id)
        .field(Name::CSeq, format!("{} INVITE", dialog.remote_cseq));
    if dialog.session_expires_s > 0 && !dialog.we_refresh {
        invite = invite.field(Name::Supported, "timer").field(Name::SessionExpires, format!("{};refresher=uac", dialog.session_expires_s));
    }
    read_own(&invite.empty()).filter(|invite| invite.top_via().is_some() && param(&invite.text(Name::From), "tag").is_some())
}

#[cfg(test)]
mod tests {
    use super::same_but_origin;

    #[test]
    fn a_description_that_only_counts_on_is_the_same() {
        let (one, two) = (b"v=0\r\no=- 7 1 IN IP4 10.0.0.1\r\ns=-\r\n", b"v=0\r\no=- 7 2 IN IP4 10.0.0.1\r\ns=-\r\n");
        assert!(same_but_origin(one, two));
        assert!(!same_but_origin(one, b"v=0\r\no=- 7 1 IN IP4 10.0.0.1\r\ns=-\r\na=inactive\r\n"));
    }
}
