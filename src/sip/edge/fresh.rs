//! Requests that want to start something, before the stack keeps anything for them: who sends it, and may it.

use std::time::Instant;

use super::{
    inbox::Fresh,
    metrics as names, stateless,
    verdicts::Verdict,
    worker::{Worker, method_of},
};
use crate::{
    core::id::AgentId,
    sip::{
        admission::Account,
        auth::{self, Algorithm, Credentials},
        limits::{OUT_OF_DIALOG_PER_S, STRANGER_ANSWERS_PER_S},
        message::{Message, Method, Name, angle_uri, host_port, user_of},
        stack::Destination,
        trunk::{self, Who},
    },
};

/// Whose call an INVITE is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) account: Account,
    /// The agent whose phone calls in.
    pub(super) agent: Option<AgentId>,
    pub(super) received: Instant,
}

/// Why an INVITE has no caller we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stranger {
    /// To be asked for credentials.
    Ask { stale: bool },
    /// Credentials that are wrong, or nobody could have any.
    Forbidden,
}

impl Worker {
    pub(super) fn fresh(&mut self, now: Instant, fresh: Fresh) {
        self.read_at = fresh.received;
        if let Some(method) = method_of(&fresh.bytes) {
            metrics::counter!(names::REQUESTS_TOTAL, "method" => method).increment(1);
        }
        if fresh.message.method() == Method::Invite {
            return self.invite(now, fresh);
        }
        let known = self.index.by_source(fresh.flow.remote.ip(), "").is_some() || fresh.message.method() == Method::Register;
        let room = if known { self.out_of_dialog.take(now, OUT_OF_DIALOG_PER_S) } else { self.strangers.take(now, STRANGER_ANSWERS_PER_S) };
        if !room {
            metrics::counter!(names::ADMISSION_REFUSED_TOTAL, "reason" => "out_of_dialog_rate").increment(1);
            return;
        }
        self.stack.receive(now, fresh.flow, fresh.bytes);
        self.drain(now);
    }

    fn invite(&mut self, now: Instant, fresh: Fresh) {
        let key = self.verdicts.key(&fresh.message, fresh.flow.remote);
        match self.verdicts.get(key) {
            Some(Verdict::Refused { retry_after_s }) => return self.refuse(&fresh, retry_after_s),
            Some(Verdict::Admitted) => {
                self.stack.receive(now, fresh.flow, fresh.bytes);
                return self.drain(now);
            }
            None => {}
        }
        if !self.caught_up() {
            // It cannot be told yet from a stranger, so it costs what a stranger may cost.
            metrics::counter!(names::ADMISSION_REFUSED_TOTAL, "reason" => "starting").increment(1);
            let retry_after_s = self.retry_after_s();
            return if self.strangers.take(now, STRANGER_ANSWERS_PER_S) {
                self.refuse(&fresh, retry_after_s)
            };
        }
        let caller = match self.identify(&fresh) {
            Ok(caller) => caller,
            Err(stranger) => return self.turn_away(now, &fresh, stranger),
        };
        let view = self.directory.domains.get(&caller.account.0);
        let trunk = caller.account.1.as_ref().and_then(|id| view?.trunks.get(id));
        let calls_max = view.map_or(0, |view| view.calls_max);
        if let Err(refusal) = self.admission.admit(now, fresh.received, self.lease, &caller.account, trunk, calls_max) {
            metrics::counter!(names::ADMISSION_REFUSED_TOTAL, "reason" => refusal.label()).increment(1);
            let retry_after_s = self.retry_after_s();
            self.verdicts.set(now, key, Verdict::Refused { retry_after_s });
            return self.refuse(&fresh, retry_after_s);
        }
        self.verdicts.set(now, key, Verdict::Admitted);
        self.admitted = Some(caller);
        self.stack.receive(now, fresh.flow, fresh.bytes);
        self.drain(now);
        if let Some(caller) = self.admitted.take() {
            // The stack answered it by itself (a loop, an extension we lack): it never became a call.
            self.admission.committed(now, std::time::Duration::ZERO);
            self.admission.gone(&caller.account);
        }
    }

    fn refuse(&mut self, fresh: &Fresh, retry_after_s: u32) {
        let headers = [("Retry-After", retry_after_s.to_string())];
        if let Some(bytes) = stateless::answer(&fresh.message, fresh.flow.remote, 503, "Service Unavailable", &headers) {
            self.write(Destination::Flow(fresh.flow), bytes);
        }
    }

    /// The caller: a trunk by its address, or any account by its credentials.
    fn identify(&mut self, fresh: &Fresh) -> Result<Caller, Stranger> {
        let message = &fresh.message;
        let (host, _) = host_port(message.uri());
        if let Some((domain, trunk)) = self.index.by_source(fresh.flow.remote.ip(), &host) {
            let account = (domain.clone(), Some(trunk.clone()));
            return Ok(Caller { account, agent: None, received: fresh.received });
        }
        if !self.index.has_accounts() {
            return Err(Stranger::Forbidden);
        }
        let (account, verdict) = self.authenticate(message).ok_or(Stranger::Ask { stale: false })?;
        match (verdict, account.who) {
            (auth::Verdict::Genuine, Who::Trunk(trunk)) => {
                Ok(Caller { account: (account.domain, Some(trunk)), agent: None, received: fresh.received })
            }
            (auth::Verdict::Genuine, Who::Agent(agent)) => {
                Ok(Caller { account: (account.domain, None), agent: Some(agent), received: fresh.received })
            }
            (auth::Verdict::Stale, _) => Err(Stranger::Ask { stale: true }),
            (auth::Verdict::Wrong, _) => Err(Stranger::Forbidden),
        }
    }

    /// Judges the credentials of a request. `None` if it brings none that name an account's realm.
    pub(super) fn authenticate(&mut self, message: &Message) -> Option<(trunk::Account, auth::Verdict)> {
        let Message { start: crate::sip::message::Start::Request { text, .. }, fields, .. } = message else { return None };
        let values = fields.iter().filter(|field| matches!(field.name, Name::Authorization | Name::ProxyAuthorization));
        let mut wrong_realm = None;
        for field in values {
            let Some(credentials) = Credentials::parse(&String::from_utf8_lossy(&field.value)) else { continue };
            match self.index.by_name(&credentials.username, &credentials.realm) {
                Some(account) => {
                    let now_ms = self.wall_ms();
                    let verdict = self.auth.check(now_ms, &credentials, text, &account.ha1);
                    return Some((account.clone(), verdict));
                }
                None => wrong_realm = Some(credentials),
            }
        }
        // A user nobody has is refused like a wrong password, not challenged for ever.
        let ha1 = crate::core::policy::Ha1 { realm: String::new(), md5: String::new(), sha256: String::new() };
        wrong_realm.map(|c| {
            let who = Who::Agent(AgentId::new(c.username));
            (trunk::Account { domain: crate::core::id::DomainId::new(""), who, ha1 }, auth::Verdict::Wrong)
        })
    }

    /// The challenges for a user, strongest first.
    pub(super) fn challenges(&self, user: &str, host: &str, stale: bool) -> Vec<(&'static str, String)> {
        let realm = self.index.realm(user, host);
        let algorithms = if self.options.challenge_sha256 { &[Algorithm::Sha256, Algorithm::Md5][..] } else { &[Algorithm::Md5] };
        let challenge = |a: &Algorithm| ("WWW-Authenticate", self.auth.challenge(self.wall_ms(), self.random(), realm, *a, stale));
        algorithms.iter().map(challenge).collect()
    }

    fn turn_away(&mut self, now: Instant, fresh: &Fresh, stranger: Stranger) {
        if !self.strangers.take(now, STRANGER_ANSWERS_PER_S) {
            metrics::counter!(names::STRANGERS_TOTAL, "answer" => "silence").increment(1);
            return;
        }
        let remote = fresh.flow.remote;
        let bytes = match stranger {
            Stranger::Forbidden => {
                metrics::counter!(names::STRANGERS_TOTAL, "answer" => "forbidden").increment(1);
                // The bucket above bounds the log as well.
                tracing::info!(source = %remote.ip(), "refused a call: no trunk and no account");
                stateless::answer(&fresh.message, remote, 403, "Forbidden", &[])
            }
            Stranger::Ask { stale } => {
                metrics::counter!(names::STRANGERS_TOTAL, "answer" => "challenge").increment(1);
                let from = fresh.message.text(Name::From);
                let (host, _) = host_port(fresh.message.uri());
                let challenges = self.challenges(user_of(angle_uri(&from)), &host, stale);
                stateless::answer(&fresh.message, remote, 401, "Unauthorized", &challenges)
            }
        };
        if let Some(bytes) = bytes {
            self.write(Destination::Flow(fresh.flow), bytes);
        }
    }
}
