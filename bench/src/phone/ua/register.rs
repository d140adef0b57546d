//! Registration of an agent's phone: digest, refresh, and another registrar when the one it had is gone.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tandem::sip::message::{Message, Method, Name, parse};

use super::{
    Ua,
    transaction::{Client, Purpose},
};
use crate::phone::{
    limits::{REGISTER_REFRESH_PERCENT, REGISTER_RETRY},
    text::{Draft, Hop, uri},
};

/// Where and how a phone registers.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Tried in turn.
    pub registrars: Vec<Hop>,
    pub expires_s: u32,
    /// Registered since then.
    pub since: Option<Instant>,
    pub failures: u64,
    current: usize,
    cseq: u32,
    call_id: String,
    tag: String,
    pub(super) due: Option<Instant>,
}

impl Ua {
    /// Registers, and stays registered.
    pub fn register(&mut self, now: Instant, registrars: Vec<Hop>, expires_s: u32) {
        let (call_id, tag) = (self.token(), self.token());
        self.registration =
            Some(Registration { registrars, expires_s, since: None, failures: 0, current: 0, cseq: 0, call_id, tag, due: None });
        self.send_register(now, None);
    }

    fn send_register(&mut self, now: Instant, authorization: Option<(&str, String)>) {
        let (via, branch) = self.via();
        let (contact, user, transport) = (self.contact(), self.options.user.clone(), self.options.transport);
        let Some(registration) = self.registration.as_mut() else { return };
        let Some(hop) = registration.registrars.get(registration.current).copied() else { return };
        registration.cseq += 1;
        registration.due = None;
        let aor = uri(&user, hop.addr, transport);
        let draft = Draft::request("REGISTER", &format!("sip:{}", hop.addr))
            .field("Via", via)
            .field("Max-Forwards", "70")
            .field("From", format!("<{aor}>;tag={}", registration.tag))
            .field("To", format!("<{aor}>"))
            .field("Call-ID", &registration.call_id)
            .field("CSeq", format!("{} REGISTER", registration.cseq))
            .field("Contact", contact)
            .field("Expires", registration.expires_s.to_string())
            .field("User-Agent", crate::phone::PRODUCT);
        let draft = authorization.map_or(draft.clone(), |(name, value)| draft.field(name, value));
        self.ask(now, hop, branch, Method::Register, draft.end(None), Purpose::Register);
    }

    pub(super) fn register_answered(&mut self, now: Instant, message: &Message, client: &Client) {
        let request = parse(&client.request).ok();
        let answered = request.is_some_and(|request| request.get(Name::Authorization).is_some());
        let status = message.status();
        // One answer per challenge; a second challenge is accepted only as stale.
        if status == 401 && (!answered || message.text(Name::WwwAuthenticate).contains("stale=true")) {
            let uri = self.registration.as_ref().and_then(|r| r.registrars.get(r.current)).map(|hop| format!("sip:{}", hop.addr));
            if let Some(authorization) = uri.and_then(|uri| self.authorization(message, "REGISTER", &uri)) {
                return self.send_register(now, Some(authorization));
            }
        }
        if !(200..300).contains(&status) {
            return self.register_failed(now);
        }
        let Some(registration) = self.registration.as_mut() else { return };
        let granted = message.get(Name::Expires).and_then(|text| text.trim().parse().ok()).unwrap_or(registration.expires_s);
        registration.since = Some(now);
        registration.due = Some(now + Duration::from_secs(u64::from(granted)) * REGISTER_REFRESH_PERCENT / 100);
    }

    /// This registrar does not do: the next one, after a moment once all were tried.
    pub(super) fn register_failed(&mut self, now: Instant) {
        let Some(registration) = self.registration.as_mut() else { return };
        registration.failures += 1;
        registration.since = None;
        registration.current = (registration.current + 1) % registration.registrars.len().max(1);
        registration.due = Some(if registration.current == 0 { now + REGISTER_RETRY } else { now });
    }

    /// The connection a registration went by is gone, and with it the way to this phone.
    pub(super) fn flow_lost(&mut self, now: Instant, peer: SocketAddr) {
        let of_registrar = |r: &Registration| r.registrars.get(r.current).is_some_and(|hop| hop.addr == peer);
        if self.registration.as_ref().is_some_and(of_registrar) {
            self.clients.retain(|client| client.purpose != Purpose::Register);
            self.register_failed(now);
        }
    }

    pub(super) fn tick_registration(&mut self, now: Instant) {
        if self.registration.as_ref().and_then(|registration| registration.due).is_some_and(|due| due <= now) {
            self.send_register(now, None);
        }
    }
}
