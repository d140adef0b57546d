//! Session timers (RFC 4028), one per leg: who refreshes, when, and what becomes of a leg that is not refreshed.
//!
//! A peer that knows no session timers is refreshed by us: it costs a request every quarter of an hour, and a peer that
//! died without a BYE is found out.

use std::time::{Duration, Instant};

use super::{
    Due, Stack,
    client::{ClientKey, Purpose},
    intake::Refusal,
    leg::Phase,
};
use crate::{
    core::{
        command::{HangUpCause, LegEvent},
        id::LegId,
    },
    sip::{
        limits::{GLARE_RETRIES_MAX, SESSION_DEFAULT_S, SESSION_MIN_S},
        message::{Message, Method, Name, param},
    },
};

/// A refresh that cannot be sent now, or was refused for a reason that passes, is tried again after this.
const AGAIN: Duration = Duration::from_secs(10);

/// The session timer of a leg.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Seconds; 0 until agreed.
    pub(super) interval_s: u32,
    pub(super) we_refresh: bool,
    /// The least that a hop on the way takes, from its 422.
    least_s: u32,
    /// The peer knows UPDATE, which disturbs no media.
    updates: bool,
    /// When the session is over unless refreshed, and when to look next.
    expires: Option<Instant>,
    look: Option<Instant>,
    pub(super) retries: u8,
}

/// Seconds of the session timer a message names.
fn interval_of(message: &Message) -> Option<u32> {
    let text = message.get(Name::SessionExpires)?;
    text.split(';').next()?.trim().parse().ok()
}

/// The least interval that a 422 asks for.
pub(super) fn least_of(response: &Message) -> u32 {
    response.text(Name::MinSe).trim().parse().unwrap_or(SESSION_MIN_S).max(SESSION_MIN_S)
}

/// True if the client of the request the message belongs to refreshes.
fn refresher_of(message: &Message) -> Option<bool> {
    let text = message.get(Name::SessionExpires)?;
    param(&text, "refresher").map(|role| role.eq_ignore_ascii_case("uac"))
}

fn knows_timers(message: &Message) -> bool {
    message.wants(Name::Supported, "timer") || message.wants(Name::Require, "timer")
}

/// The refusal of a session interval below our least, when the sender would understand it (§9).
pub(super) fn refuses(message: &Message) -> Option<Refusal> {
    let small = interval_of(message).is_some_and(|interval| interval < SESSION_MIN_S);
    (small && knows_timers(message)).then(|| (422, "Session Interval Too Small", vec![("Min-SE", SESSION_MIN_S.to_string())]))
}

impl Session {
    /// A timer yet to be agreed; `least_s` as a hop demanded it.
    pub(super) fn asking(least_s: Option<u32>) -> Self {
        Self { interval_s: least_s.unwrap_or(0), we_refresh: true, least_s: least_s.unwrap_or(0), ..Self::default() }
    }

    /// The timer of a leg that another edge had.
    pub(super) fn resumed(interval_s: u32, we_refresh: bool) -> Self {
        Self { interval_s, we_refresh, ..Self::default() }
    }

    /// Takes the least interval that a hop demands.
    pub(super) fn demand(&mut self, least_s: u32) {
        self.least_s = least_s;
        self.interval_s = self.interval_s.max(least_s);
    }

    fn hear(&mut self, message: &Message) {
        self.updates |= message.wants(Name::Allow, "UPDATE") || (message.is_request() && message.method() == Method::Update);
    }

    /// Agrees to a request as its server; returns the header fields of the 2xx.
    pub(super) fn agree(&mut self, request: &Message) -> Vec<(&'static str, String)> {
        self.hear(request);
        let least = least_of(request);
        let kept = if self.interval_s > 0 { self.interval_s } else { SESSION_DEFAULT_S };
        self.interval_s = interval_of(request).unwrap_or(kept).max(least);
        let timers = knows_timers(request);
        self.we_refresh = !timers || refresher_of(request).is_some_and(|uac| !uac);
        let refresher = if self.we_refresh { "uas" } else { "uac" };
        let mut fields = vec![("Session-Expires", format!("{};refresher={refresher}", self.interval_s)), ("Supported", "timer".to_owned())];
        if timers && !self.we_refresh {
            fields.push(("Require", "timer".to_owned()));
        }
        fields
    }

    /// What a request of ours says about the timer.
    pub(super) fn ask(&self) -> Vec<(&'static str, String)> {
        let refresher = if self.we_refresh { "uac" } else { "uas" };
        let expires = match self.interval_s {
            0 => SESSION_DEFAULT_S.to_string(),
            interval => format!("{interval};refresher={refresher}"),
        };
        vec![("Supported", "timer".to_owned()), ("Session-Expires", expires), ("Min-SE", self.least_s.max(SESSION_MIN_S).to_string())]
    }

    /// Takes what the peer's 2xx to a request of ours says.
    pub(super) fn taken(&mut self, response: &Message) {
        self.hear(response);
        match interval_of(response) {
            Some(interval) => {
                self.interval_s = interval.max(SESSION_MIN_S);
                self.we_refresh = refresher_of(response).unwrap_or(true);
            }
            None => {
                self.interval_s = if self.interval_s > 0 { self.interval_s } else { SESSION_DEFAULT_S };
                self.we_refresh = true;
            }
        }
    }
}

impl Stack {
    /// The session is as good as new: the timer starts again.
    pub(super) fn session_renewed(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.session.interval_s > 0) else { return };
        (leg.dialog.session_expires_s, leg.dialog.we_refresh) = (leg.session.interval_s, leg.session.we_refresh);
        let interval = Duration::from_secs(u64::from(leg.session.interval_s));
        leg.session.retries = 0;
        leg.session.expires = Some(now + interval);
        // Who does not refresh ends the session a little before it is over (§10).
        let look = if leg.session.we_refresh { interval / 2 } else { interval - (interval / 3).min(Duration::from_secs(32)) };
        self.look_again(now + look, id);
    }

    fn look_again(&mut self, when: Instant, id: LegId) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.session.look = Some(when);
            self.at(when, Due::Session(id));
        }
    }

    pub(super) fn session_due(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get(&id).filter(|leg| leg.phase == Phase::Confirmed) else { return };
        if leg.session.look.is_none_or(|look| now < look) {
            return;
        }
        let over = leg.session.expires.is_some_and(|expires| now >= expires);
        if over || !leg.session.we_refresh {
            self.dialog_lost(now, id, 408);
        } else if leg.busy {
            self.look_again(now + AGAIN, id);
        } else {
            self.refresh(now, id);
        }
    }

    /// Refreshes by UPDATE, or by a re-INVITE with the description the peer already has.
    fn refresh(&mut self, now: Instant, id: LegId) {
        let us = self.address(&self.legs[&id].to);
        let leg = self.legs.get_mut(&id).expect("looked up by the caller");
        leg.busy = true;
        let method = if leg.session.updates { "UPDATE" } else { "INVITE" };
        let mut request = leg.request(method, None, &self.options, us);
        for (name, value) in leg.session.ask() {
            request = request.named(name, value);
        }
        let bytes = if leg.session.updates { request.empty() } else { request.body("application/sdp", &leg.described) };
        let to = leg.to.clone();
        self.send(now, id, Purpose::Refresh, to, bytes);
    }

    /// The peer answered our refresh.
    pub(super) fn refreshed(&mut self, now: Instant, id: LegId, key: &ClientKey, response: &Message) {
        let status = response.status();
        if status < 300 && response.method() == Method::Invite {
            self.ack_phone(id, key, b"");
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.busy = false;
        match status {
            200..=299 => {
                leg.session.taken(response);
                self.session_renewed(now, id);
            }
            408 | 481 => self.dialog_lost(now, id, status),
            405 | 501 if leg.session.updates => {
                leg.session.updates = false;
                self.look_again(now, id);
            }
            422 => {
                leg.session.demand(least_of(response));
                self.look_again(now + AGAIN, id);
            }
            491 if leg.session.retries < GLARE_RETRIES_MAX => {
                leg.session.retries += 1;
                let wait = leg.glare_wait();
                self.look_again(now + wait, id);
            }
            // Refused for a reason of its own: the session lives on until it expires.
            _ => self.look_again(now + AGAIN, id),
        }
    }

    /// A request in the dialog was answered 408 or 481, or never: the peer is not there any more (RFC 5057).
    pub(super) fn dialog_lost(&mut self, now: Instant, id: LegId, status: u16) {
        let talking = self.legs.get(&id).is_some_and(|leg| matches!(leg.phase, Phase::Answered | Phase::Confirmed));
        if talking && matches!(status, 408 | 481 | 503) {
            self.report(id, LegEvent::HungUp { cause: HangUpCause::SessionExpired });
            self.hang_up(now, id);
        }
    }
}
