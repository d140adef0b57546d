//! Answers of phones that no transaction here waits for: of forks that lost, of legs that are gone, and to INVITEs of an edge
//! that is no more. Each is acknowledged, and ended unless a call has it.
//!
//! Who owns a leg that is not here is looked up by the edge ([`Output::Unasked`]).

use std::time::Instant;

use bytes::Bytes;

use super::{
    Destination, Flow, Output, Stack,
    client::{ClientKey, Purpose},
    leg::Phase,
    names,
};
use crate::{
    core::id::LegId,
    sip::message::{Builder, Message, Method, Name, angle_uri, param, parse, read_own},
};

impl Stack {
    /// A response without its transaction.
    pub(super) fn unasked(&mut self, now: Instant, flow: Flow, key: &ClientKey, message: &Message, bytes: Bytes) {
        let Some((leg, node)) = names::read_branch(&key.branch) else { return };
        let is_answer = key.method == Method::Invite && (200..300).contains(&message.status());
        if is_answer && self.legs.contains_key(&leg) {
            return self.answered_elsewhere(leg, message);
        }
        if node != self.options.edge.node && flow.via.is_none() {
            return self.out.push_back(Output::Foreign { node, flow, bytes });
        }
        if is_answer && self.ended.knows(leg) {
            self.send_away(now, leg, Destination::Flow(flow), message);
        } else if is_answer {
            self.out.push_back(Output::Unasked { leg, flow, response: bytes });
        }
    }

    /// A phone answers an INVITE that this edge did not send, of a leg that it has: the ACK of the edge before, if there was
    /// one, got lost. One that is being let go is known by its tag from now on, and can be sent a BYE.
    fn answered_elsewhere(&mut self, id: LegId, message: &Message) {
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        if leg.ringing_elsewhere && leg.dialog.remote_tag.is_empty() {
            (leg.dialog.remote_tag, leg.dialog.remote) = (message.to_tag().unwrap_or_default(), message.text(Name::To));
        } else if leg.phase == Phase::Confirmed && Some(&leg.dialog.remote_tag) == message.to_tag().as_ref() {
            self.acknowledge_for_former(id);
        }
    }

    /// Acknowledges the INVITE that a former edge sent to a phone: that one may have died between the commit of the phone's
    /// answer and its own ACK. A phone that has had the ACK passes over another.
    pub(super) fn acknowledge_for_former(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        let number = names::read_number(param(&leg.dialog.invite_via, "branch").unwrap_or_default());
        // The ACK of a late offer brings its answer: without a description there is nothing to acknowledge with.
        let Some(number) = number.filter(|_| id.n > 0 && !leg.described.is_empty()) else { return };
        let us = self.address(&leg.to);
        let leg = self.legs.get_mut(&id).expect("looked up above");
        let (ack, to) = (leg.request("ACK", Some(number), &self.options, us).empty(), leg.to.clone());
        self.transmit(to, ack);
    }

    /// A phone answered and no call has it, as the edge found out.
    pub fn unwanted(&mut self, now: Instant, leg: LegId, flow: Flow, response: &Bytes) {
        if let Ok(response) = parse(response) {
            self.send_away(now, leg, Destination::Flow(flow), &response);
        }
    }

    /// A 200 that nobody wants: of a fork that lost (§13.2.2.4), or of a leg that is no more. Acknowledged and ended.
    pub(super) fn send_away(&mut self, now: Instant, leg: LegId, to: Destination, response: &Message) {
        let (Some((number, _)), Some(via)) = (response.cseq(), response.all(Name::Via).into_iter().next()) else { return };
        let (tag, own) = (response.to_tag().unwrap_or_default(), param(&via, "branch").unwrap_or_default().to_owned());
        let target = response.contact().unwrap_or_else(|| angle_uri(&response.text(Name::To)).to_owned());
        let write = |method: &str, number: u32| {
            let branch = format!("{own}.{:x}{method}", crc32fast::hash(tag.as_bytes()));
            let mut request = Builder::request(method, &target)
                .field(Name::Via, via.replace(&own, &branch))
                .field(Name::MaxForwards, "70")
                .field(Name::From, response.text(Name::From))
                .field(Name::To, response.text(Name::To))
                .field(Name::CallId, response.call_id())
                .field(Name::CSeq, format!("{number} {method}"));
            for route in response.all(Name::RecordRoute).iter().rev() {
                request = request.field(Name::Route, route);
            }
            request.empty()
        };
        let (ack, bye) = (write("ACK", number), write("BYE", number + 1));
        self.transmit(to.clone(), ack);
        let again = read_own(&bye).and_then(|bye| ClientKey::of(&bye)).is_some_and(|key| self.clients.contains_key(&key));
        if !again {
            self.send(now, leg, Purpose::Aside, to, bye);
        }
    }
}
