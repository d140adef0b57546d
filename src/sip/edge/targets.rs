//! Where a Ring goes: the contacts of a trunk in order, the servers of a name, the contacts of a redirection, once more with credentials.
//!
//! The stack sends one INVITE at a time and says what it came to; this file says whether there is another to try.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use bytes::Bytes;

use super::{freed, worker::Worker};
use crate::{
    core::{
        command::{HangUpCause, LegEvent, LegReport},
        effect::{Order, Ring},
        id::TrunkId,
        image::{Image, Stage},
        party::Target,
    },
    sip::{
        auth,
        limits::TARGETS_MAX,
        message::{Name, angle_uri, host_port, parse, user_of},
    },
};

/// A leg that rings.
#[derive(Debug)]
pub(super) struct Phone {
    ring: Ring,
    /// Request-URIs still to be tried.
    rest: VecDeque<String>,
    tried: usize,
    /// What is called over a trunk.
    number: Option<String>,
    /// User and password for a challenge; taken when used, so that a wrong one is not tried twice.
    credentials: Option<(String, String)>,
}

/// Whether a redirection is followed. Whoever answers a call of ours must not have us call anybody else over a trunk, which knows us by
/// our address: a trunk may name another gateway for the same number, a phone any host but those of `trunks`, their contacts.
fn is_followed<'a>(contact: &str, number: Option<&str>, mut trunks: impl Iterator<Item = &'a String>) -> bool {
    let uri = angle_uri(contact);
    match number {
        Some(number) => user_of(uri) == number,
        None => {
            let (host, _) = host_port(uri);
            !trunks.any(|trunk| host_port(trunk).0.eq_ignore_ascii_case(&host))
        }
    }
}

/// What the phone is called in the books: its contact.
fn contact_of(target: &Target) -> Option<&str> {
    match target {
        Target::Contact { uri } | Target::Binding { uri, .. } => Some(uri),
        Target::Trunk { .. } | Target::Assistant(_) => None,
    }
}

/// True if another server may well do what this one did not.
const fn is_failure_of_server(event: &LegEvent) -> bool {
    matches!(event, LegEvent::Refused { status: 503, .. } | LegEvent::Unreachable { .. })
}

/// A trunk's contact with the number in its user part.
fn dialled(contact: &str, number: &str) -> String {
    let (scheme, rest) = contact.split_once(':').unwrap_or(("sip", contact));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}:{number}@{host}")
}

/// The image of a leg that called a number and had not been heard to ring, with the contact that is tried first in its place:
/// where the number was called must be known to let it go.
fn at_contact(image: &Image, contacts: impl FnOnce(&TrunkId) -> Option<String>) -> Option<Image> {
    let Stage::Ringing { ring: Some(ring), by } = &image.stage else { return None };
    let Target::Trunk { trunk, number } = &ring.target else { return None };
    let target = Target::Contact { uri: dialled(&contacts(trunk)?, number) };
    let ring = Some(Arc::new(Ring { target, ..(**ring).clone() }));
    Some(Image { stage: Stage::Ringing { ring, by: *by }, ..image.clone() })
}

impl Worker {
    /// An order whose image says where its leg was called; `None` if it does already.
    pub(super) fn told_where(&self, order: &Order) -> Option<Order> {
        let view = self.directory.domains.get(&order.domain)?;
        let first = |trunk: &TrunkId| view.trunks.get(trunk)?.contacts.first().cloned();
        let image = at_contact(order.image.as_deref()?, first)?;
        Some(Order { image: Some(Box::new(image)), ..order.clone() })
    }

    /// Rings a phone or a number.
    pub(super) fn ring(&mut self, now: Instant, order: &Order, ring: &Ring) {
        let mut phone = Phone { ring: ring.clone(), rest: VecDeque::new(), tried: 1, number: None, credentials: None };
        if let Target::Trunk { trunk, number } = &ring.target {
            phone.number = Some(number.clone());
            let view = self.directory.domains.get(&order.domain);
            if let Some(trunk) = view.and_then(|view| view.trunks.get(trunk)) {
                phone.rest = trunk.contacts.iter().take(TARGETS_MAX).map(|contact| dialled(contact, number)).collect();
                phone.credentials.clone_from(&trunk.outbound_auth);
                if let Some(caller_id) = &trunk.caller_id {
                    phone.ring.caller.user.clone_from(caller_id);
                    phone.ring.caller.display.clear();
                }
            }
            if let Some(uri) = phone.rest.pop_front() {
                phone.ring.target = Target::Contact { uri };
            }
        }
        let action = crate::core::effect::Action::ring(phone.ring.clone());
        let contact = contact_of(&ring.target).map(str::to_owned);
        // A repeated order finds its leg there already and must not reset what was tried.
        self.phones.entry(order.leg).or_insert(phone);
        self.stack.order(now, &Order { action, ..order.clone() });
        self.drain(now);
        let waited = contact.and_then(|contact| self.freed.offer(&contact, order.id));
        freed::count(waited);
    }

    /// An INVITE came to nothing: try the next target, or say so.
    pub(super) fn refused(&mut self, now: Instant, report: LegReport, response: &Bytes) {
        if let Some(ring) = self.next_try(&report, response)
            && self.stack.retry(now, report.leg, &ring)
        {
            return;
        }
        self.phones.remove(&report.leg);
        self.report(report);
    }

    fn next_try(&mut self, report: &LegReport, response: &Bytes) -> Option<Ring> {
        let cnonce = self.random();
        let elsewhere = is_failure_of_server(&report.event)
            && self.stack.hop(report.leg).is_some_and(|(to, call_id)| self.transport.has_another(to, call_id));
        let phone = self.phones.get_mut(&report.leg)?;
        if phone.tried >= TARGETS_MAX {
            return None;
        }
        phone.tried += 1;
        if elsewhere {
            return Some(phone.ring.clone());
        }
        match &report.event {
            LegEvent::Refused { status: 401 | 407, .. } => phone.with_credentials(response, cnonce),
            LegEvent::Refused { status: 300..=399, contacts, .. } => {
                let view = self.directory.domains.get(&report.domain);
                let trunks = || view.into_iter().flat_map(|view| view.trunks.values()).flat_map(|trunk| &trunk.contacts);
                for uri in contacts.iter().rev().filter(|uri| is_followed(uri, phone.number.as_deref(), trunks())) {
                    phone.rest.push_front(uri.clone());
                }
                // They are the trunk's, and for nobody it names.
                phone.credentials = None;
                phone.rest.truncate(TARGETS_MAX);
                phone.next_target()
            }
            event if is_failure_of_server(event) => phone.next_target(),
            _ => None,
        }
    }

    /// Follows which phone is on which call, and when one is free again.
    pub(super) fn note_phone(&mut self, report: &LegReport) {
        match &report.event {
            LegEvent::Answered { .. } => {
                let phone = self.phones.remove(&report.leg);
                let contact = phone.and_then(|phone| contact_of(&phone.ring.target).map(str::to_owned));
                if let Some(live) = self.calls.get_mut(&report.leg.call) {
                    live.phone = contact;
                }
            }
            LegEvent::HungUp { cause: HangUpCause::Bye } => {
                let phone = self.calls.get_mut(&report.leg.call).and_then(|live| live.phone.take());
                if let Some(contact) = phone {
                    self.freed.bye(report.leg.call, contact, self.read_at);
                }
            }
            LegEvent::Ended | LegEvent::HungUp { .. } | LegEvent::Unreachable { .. } | LegEvent::Refused { .. } => {
                self.phones.remove(&report.leg);
            }
            _ => {}
        }
    }
}

impl Phone {
    fn next_target(&mut self) -> Option<Ring> {
        let uri = self.rest.pop_front()?;
        self.ring.target = Target::Contact { uri };
        self.ring.headers.retain(|(name, _)| !is_authorization(name));
        Some(self.ring.clone())
    }

    /// The same target again with an answer to its challenge (RFC 3261 §22).
    fn with_credentials(&mut self, response: &Bytes, cnonce: u64) -> Option<Ring> {
        let (user, password) = self.credentials.take()?;
        let response = parse(response).ok()?;
        let proxy = response.status() == 407;
        let (asked, answered) =
            if proxy { (Name::ProxyAuthenticate, Name::ProxyAuthorization) } else { (Name::WwwAuthenticate, Name::Authorization) };
        let challenges: Vec<_> =
            response.fields.iter().filter(|f| f.name == asked).map(|f| String::from_utf8_lossy(&f.value).into_owned()).collect();
        let uri = contact_of(&self.ring.target)?.to_owned();
        let challenges = challenges.iter().map(String::as_str);
        let value = auth::answer(challenges, "INVITE", angle_uri(&uri), (&user, &password), cnonce)?;
        self.ring.headers.push((answered.text().to_owned(), value));
        Some(self.ring.clone())
    }
}

fn is_authorization(name: &str) -> bool {
    name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("proxy-authorization")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        id::{Edge, NodeId},
        party::{Dialog, Party},
    };

    #[test]
    fn a_number_is_dialled_at_each_contact_of_a_trunk() {
        assert_eq!(dialled("sip:gw.example:5070;transport=tcp", "+4930"), "sip:+4930@gw.example:5070;transport=tcp");
        assert_eq!(dialled("sip:old@10.0.0.1", "7"), "sip:7@10.0.0.1");
    }

    #[test]
    fn a_redirection_leads_to_no_trunk_and_from_one_to_the_same_number_alone() {
        let trunks = ["sip:gw.example:5070".to_owned(), "sip:192.0.2.9".to_owned()];
        let of_a_number = |contact| is_followed(contact, Some("+4930123"), trunks.iter());
        assert!(of_a_number("sip:+4930123@gw2.example") && of_a_number("sip:+4930123@gw.example"));
        assert!(!of_a_number("sip:+44900123@gw2.example") && !of_a_number("sip:gw2.example"));
        let of_a_phone = |contact| is_followed(contact, None, trunks.iter());
        assert!(of_a_phone("sip:bob@192.0.2.7:5062") && of_a_phone("<sip:bob@192.0.2.7>"));
        for contact in ["sip:+44900123@GW.example", "sip:+44900123@192.0.2.9:5060;transport=tcp", "<sip:+44900123@192.0.2.9>"] {
            assert!(!of_a_phone(contact), "{contact}");
        }
    }

    #[test]
    fn a_leg_that_called_a_number_is_let_go_where_it_was_called() {
        let (by, target) = (Edge { node: NodeId(1), incarnation: 1 }, Target::Trunk { trunk: "out".into(), number: "7".into() });
        let ring = Ring {
            target,
            caller: Party::default(),
            queue: None,
            trunk: None,
            sdp: None,
            headers: Vec::new(),
            max_forwards: 69,
            anchored: true,
            aside: true,
        };
        let stage = Stage::Ringing { ring: Some(Arc::new(ring)), by };
        let image =
            Image { stage, dialog: Dialog::default(), adoptions: 0, trunk: None, anchored: true, peer: None, sdp: None, other: None };
        let told = at_contact(&image, |_| Some("sip:10.0.0.1".to_owned())).expect("the trunk is known");
        let Stage::Ringing { ring: Some(ring), .. } = &told.stage else { panic!("it still rings") };
        assert_eq!(ring.target, Target::Contact { uri: "sip:7@10.0.0.1".to_owned() });
        assert_eq!(at_contact(&told, |_| None), None, "it says so already");
        assert_eq!(at_contact(&image, |_| None), None, "the trunk is gone");
    }
}
