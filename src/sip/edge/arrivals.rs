//! From an admitted INVITE to a committed call, and the books on calls whose caller leg is here.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{asked::Asked, fresh::Caller, inbox::Finding, metrics as names, worker::Worker};
use crate::{
    actor::Error,
    core::{
        Outcome, Reason,
        command::{Arrive, LegEvent, LegReport},
        effect::{Action, Order},
        id::{CallId, EffectId, LegId, TrunkId},
        limits::{HEADER_BYTES_MAX, HEADERS_MAX},
        party::{Headers, Party},
        policy::Media,
    },
    sip::{
        admission::Account,
        limits::{ARRIVAL_TIMEOUT, REPORTS_HELD_MAX},
        message::{Message, Method, Name, angle_uri, parse, user_of},
        stack::{Carried, Flow, TakenCall, TxId},
    },
};

/// Header fields every call passes on (DESIGN §6); a domain may name more.
const PASSED: [Name; 6] = [Name::Identity, Name::AssertedIdentity, Name::Privacy, Name::Diversion, Name::HistoryInfo, Name::UserToUser];

/// How far a call has come.
#[derive(Debug)]
enum Stage {
    /// Its arrival is being committed; what its leg reports meanwhile waits.
    Arriving(Vec<LegReport>),
    Live,
}

/// A call whose caller leg is here.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) account: Account,
    stage: Stage,
    pub(super) admitted_at: Instant,
    /// Contact of the phone that answered it.
    pub(super) phone: Option<String>,
}

impl Live {
    pub(super) const fn is_arriving(&self) -> bool {
        matches!(self.stage, Stage::Arriving(_))
    }
}

impl Worker {
    /// A request outside every dialog that the stack found no fault with.
    pub(super) fn request(&mut self, now: Instant, tx: TxId, flow: Flow, request: &Bytes) {
        let Ok(message) = parse(request) else { return };
        match message.method() {
            Method::Invite => match self.admitted.take() {
                Some(caller) => self.arrive(now, tx, &message, caller),
                // Only a retransmission that outlived its transaction gets here without a caller.
                None => self.answer(now, tx, 503, "Service Unavailable", &[("Retry-After", self.retry_after_s().to_string())]),
            },
            Method::Register => self.register(now, tx, &flow, &message),
            Method::Options => self.options(now, tx),
            _ => self.answer(now, tx, 405, "Method Not Allowed", &[]),
        }
    }

    /// Tells whether this node takes calls.
    fn options(&mut self, now: Instant, tx: TxId) {
        match self.admission.health(self.lease) {
            Ok(()) if self.caught_up() => {
                let headers = [
                    ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, UPDATE, INFO, PRACK".to_owned()),
                    ("Accept", "application/sdp".to_owned()),
                    ("Supported", "100rel, timer, path, outbound".to_owned()),
                ];
                self.answer(now, tx, 200, "OK", &headers);
            }
            _ => self.answer(now, tx, 503, "Service Unavailable", &[("Retry-After", self.retry_after_s().to_string())]),
        }
    }

    fn arrive(&mut self, now: Instant, tx: TxId, message: &Message, caller: Caller) {
        let unix_ms = u64::try_from(self.wall_ms()).unwrap_or_default();
        let call = CallId::compose(unix_ms, self.me.node, self.random());
        let view = self.directory.domains.get(&caller.account.0);
        let carried = match view.map(|view| view.media) {
            Some(Media::Anchored) if self.media.own.anchors() => Some(Carried::Here),
            Some(Media::Rtpengine) => self.media.engine.as_ref().and_then(|engine| engine.carrier()).map(Carried::By),
            Some(Media::Anchored | Media::Direct) | None => Some(Carried::Past),
        };
        let anchored = carried == Some(Carried::Here);
        let taken = match carried {
            Some(carried) => self.stack.take_call(now, tx, &caller.account.0, call, carried),
            None => {
                self.uncarried(now, tx);
                None
            }
        };
        let Some(taken) = taken else {
            self.admission.committed(now, Duration::ZERO);
            return self.admission.gone(&caller.account);
        };
        let arrive = self.arrival(call, message, &caller, taken, anchored);
        let live = Live { account: caller.account, stage: Stage::Arriving(Vec::new()), admitted_at: caller.received, phone: None };
        self.calls.insert(call, live);
        let (backend, shared) = (self.backend.clone(), self.shared.clone());
        tokio::spawn(async move {
            // The backend keeps to the deadline by itself; the second one is for a backend that does not.
            let committing = tokio::time::timeout(ARRIVAL_TIMEOUT + Duration::from_millis(500), backend.arrive(arrive, ARRIVAL_TIMEOUT));
            let outcome = committing.await.unwrap_or_else(|_| Err(Error::Indefinite("no answer in time".to_owned())));
            shared.inbox.found(Finding::Arrived { call, outcome });
        });
    }

    /// Refuses a call for which no rtpengine answers: better at once than a call in which nobody hears anything.
    fn uncarried(&mut self, now: Instant, tx: TxId) {
        metrics::counter!(names::ADMISSION_REFUSED_TOTAL, "reason" => "no_rtpengine").increment(1);
        self.answer(now, tx, 503, "No Media Relay", &[("Retry-After", self.retry_after_s().to_string())]);
    }

    fn arrival(&self, call: CallId, message: &Message, caller: &Caller, taken: TakenCall, anchored: bool) -> Arrive {
        let (domain, trunk) = caller.account.clone();
        let from = message.text(Name::From);
        let uri = angle_uri(&from).to_owned();
        let view = self.directory.domains.get(&domain);
        let believed = trunk.as_ref().and_then(|trunk| view?.trunks.get(trunk)).is_some_and(|trunk| trunk.trust_priority);
        let asked = if believed { Asked::read(message) } else { Asked::default() };
        Arrive {
            call,
            edge: self.me,
            to_user: user_of(message.uri()).to_owned(),
            from: Party { user: user_of(&uri).to_owned(), display: display_of(&from), uri },
            dialog: taken.dialog,
            sdp: taken.sdp,
            headers: self.passed_on(&domain.clone(), message),
            priority: asked.priority,
            skills: asked.skills,
            prefer: asked.prefer,
            anchored,
            domain,
            trunk,
        }
    }

    fn passed_on(&self, domain: &crate::core::id::DomainId, message: &Message) -> Headers {
        let own = self.directory.domains.get(domain).map_or(&[][..], |view| &view.pass_headers);
        let wanted = |name: Name, spelt: &str| PASSED.contains(&name) || own.iter().any(|own| own.eq_ignore_ascii_case(spelt));
        let mut out = Headers::new();
        for field in message.fields.iter().filter(|field| field.value.len() <= HEADER_BYTES_MAX) {
            let spelt = if field.name == Name::Other { String::from_utf8_lossy(&field.spelt) } else { field.name.text().into() };
            if wanted(field.name, &spelt) && out.len() < HEADERS_MAX {
                out.push((spelt.into_owned(), String::from_utf8_lossy(&field.value).into_owned()));
            }
        }
        out
    }

    /// A commit came to its end.
    pub(super) fn arrived(&mut self, now: Instant, call: CallId, outcome: Result<Outcome, Error>) {
        let Some(live) = self.calls.get_mut(&call) else { return };
        let took = now.saturating_duration_since(live.admitted_at);
        metrics::histogram!(names::ARRIVAL_COMMIT_SECONDS).record(took.as_secs_f64());
        self.admission.committed(now, took);
        let held = match std::mem::replace(&mut live.stage, Stage::Live) {
            Stage::Arriving(held) => held,
            Stage::Live => return,
        };
        let retry_after_s = Some(self.retry_after_s());
        match outcome {
            Ok(Outcome::Rejected(reason)) => {
                tracing::debug!(%call, %reason, "arrival rejected");
                let (status, soon) = status_of(&reason);
                self.refuse_call(now, call, status, &reason.to_string(), retry_after_s.filter(|_| soon));
            }
            Ok(Outcome::Refused { status, reason }) => {
                tracing::debug!(%call, status, %reason, "arrival refused by a rule");
                self.refuse_call(now, call, status, &reason.to_string(), retry_after_s.filter(|_| status == 503));
            }
            Err(error @ Error::Indefinite(_)) => {
                tracing::info!(%call, %error, "arrival not committed in time");
                held.into_iter().for_each(|report| self.note_call(report));
                self.end_unknown_call(now, call, retry_after_s);
            }
            Err(error) => {
                tracing::info!(%call, %error, "arrival not committed");
                self.refuse_call(now, call, 503, "not available", retry_after_s);
            }
            Ok(_) => held.into_iter().for_each(|report| self.note_call(report)),
        }
    }

    /// Refuses a caller whose call nobody knows of: no lease is needed for that, and no report follows.
    fn refuse_call(&mut self, now: Instant, call: CallId, status: u16, reason: &str, retry_after_s: Option<u32>) {
        if let Some(live) = self.calls.remove(&call) {
            self.admission.gone(&live.account);
        }
        self.plain_answer = true;
        self.stack.refuse_call(now, call, status, reason, retry_after_s);
        self.drain(now);
        self.plain_answer = false;
    }

    /// Refuses a caller whose call may exist: its end is reported, so that it ends there too.
    fn end_unknown_call(&mut self, now: Instant, call: CallId, retry_after_s: Option<u32>) {
        let Some(live) = self.calls.get(&call) else { return };
        // It comes before every order of the log; should one follow, it finds the leg gone and is answered so.
        let id = EffectId { group: 0, index: 0, n: 0 };
        let action = Action::Reject { status: 503, reason: "no commit in time".to_owned(), retry_after_s };
        let order = Order { id, domain: live.account.0.clone(), leg: LegId::caller(call), edge: self.me, action, image: None };
        self.stack.order(now, &order);
        self.drain(now);
    }

    /// A call whose caller leg comes here from another edge.
    pub(super) fn adopt_call(&mut self, now: Instant, order: &Order, trunk: Option<TrunkId>) {
        let account = (order.domain.clone(), trunk);
        if order.leg.n > 0 || self.calls.contains_key(&order.leg.call) {
            return;
        }
        metrics::counter!(names::ADOPTED_TOTAL).increment(1);
        self.admission.take(&account);
        self.calls.insert(order.leg.call, Live { account, stage: Stage::Live, admitted_at: now, phone: None });
    }

    /// Keeps the books on a report's call and passes it on, or holds it until the arrival is committed.
    pub(super) fn note_call(&mut self, report: LegReport) {
        let call = report.leg.call;
        let over = report.leg.n == 0 && matches!(report.event, LegEvent::HungUp { .. } | LegEvent::Ended);
        let Some(live) = self.calls.get_mut(&call) else { return self.backend.report(report) };
        match &mut live.stage {
            // The row stays until the commit's end is known, for only then is it known who must hear of this.
            Stage::Arriving(held) => {
                if held.len() < REPORTS_HELD_MAX {
                    held.push(report);
                }
                return;
            }
            Stage::Live => self.backend.report(report),
        }
        if over && let Some(live) = self.calls.remove(&call) {
            self.admission.gone(&live.account);
        }
    }

    /// Answers a request that belongs to no leg.
    pub(super) fn answer(&mut self, now: Instant, tx: TxId, status: u16, reason: &str, headers: &[(&str, String)]) {
        let outer = std::mem::replace(&mut self.plain_answer, true);
        self.stack.respond(now, tx, status, reason, headers, b"");
        self.drain(now);
        self.plain_answer = outer;
    }
}

/// Display name of a From value.
fn display_of(from: &str) -> String {
    let name = from.split('<').next().filter(|name| name.len() < from.len()).unwrap_or_default().trim();
    name.trim_matches('"').replace("\\\"", "\"").replace("\\\\", "\\")
}

/// The SIP status of a rejected arrival, and whether it is worth trying again soon.
const fn status_of(reason: &Reason) -> (u16, bool) {
    match reason {
        Reason::NoDomain | Reason::NoRoute(_) | Reason::NoQueue(_) | Reason::NoAgent(_) => (404, false),
        Reason::QueueClosed | Reason::OutsideHours { .. } | Reason::NoAgentsForQueue => (480, false),
        Reason::QueueFull => (486, false),
        Reason::Invalid(_) => (400, false),
        _ => (503, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_has_its_status() {
        assert_eq!(status_of(&Reason::NoRoute("1".into())), (404, false));
        assert_eq!(status_of(&Reason::OutsideHours { opens_at: None }), (480, false));
        assert_eq!(status_of(&Reason::QueueFull), (486, false));
        assert_eq!(status_of(&Reason::TooManyCalls(1)), (503, true));
    }

    #[test]
    fn a_display_name_is_read_with_and_without_quotes() {
        assert_eq!(display_of("\"A \\\"B\\\" C\" <sip:a@b>;tag=1"), "A \"B\" C");
        assert_eq!(display_of("Anna <sip:a@b>"), "Anna");
        assert_eq!(display_of("sip:a@b;tag=1"), "");
    }
}
