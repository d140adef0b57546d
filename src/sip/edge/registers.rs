//! REGISTER: who asks, what is committed for it, what is answered; and phones whose connection closes.

use std::time::Instant;

use super::{inbox::Finding, metrics as names, worker::Worker};
use crate::{
    core::command::{Binding, Envelope},
    sip::{
        auth,
        limits::{BIND_TIMEOUT, EXPIRES_MIN_S, REGISTERS_IN_FLIGHT_MAX},
        message::{Message, Name, angle_uri, host_port, user_of},
        registrar::{Owner, Plan, Refusal, Replicated, Wish},
        stack::{Flow, TxId},
        trunk::Who,
    },
};

/// What the registrar answers, with header fields.
type Answer = (u16, &'static str, Vec<(&'static str, String)>);

impl Worker {
    pub(super) fn register(&mut self, now: Instant, tx: TxId, flow: &Flow, message: &Message) {
        match self.prepare(now, flow, message) {
            Ok(plan) if plan.commands.is_empty() => self.registered(now, tx, &plan, Ok(())),
            Ok(plan) => {
                self.registers_in_flight += 1;
                let (backend, shared) = (self.backend.clone(), self.shared.clone());
                tokio::spawn(async move {
                    let mut done = Ok(());
                    for command in plan.commands.clone() {
                        let envelope = Envelope { request: None, command };
                        // An Unbind of what is no longer there is as good as done.
                        if let Err(error) = backend.command(plan.owner.0.clone(), envelope, BIND_TIMEOUT).await {
                            tracing::info!(agent = %plan.owner.1, %error, "registration not committed");
                            done = Err(503);
                            break;
                        }
                    }
                    shared.inbox.found(Finding::Registered { tx, plan: Box::new(plan), done });
                });
            }
            Err((status, reason, headers)) => {
                metrics::counter!(names::REGISTERS_TOTAL, "result" => if status == 401 { "challenged" } else { "refused" }).increment(1);
                self.answer(now, tx, status, reason, &headers);
            }
        }
    }

    /// Everything before the commit.
    fn prepare(&mut self, now: Instant, flow: &Flow, message: &Message) -> Result<Plan, Answer> {
        let retry = || vec![("Retry-After", self.retry_after_s().to_string())];
        if !self.caught_up()
            || self.registers_in_flight >= REGISTERS_IN_FLIGHT_MAX
            || self.shared.draining.load(std::sync::atomic::Ordering::Relaxed)
        {
            return Err((503, "Service Unavailable", retry()));
        }
        let to = message.text(Name::To);
        let user = user_of(angle_uri(&to)).to_owned();
        let (host, _) = host_port(message.uri());
        let owner = match self.authenticate(message) {
            None => return Err((401, "Unauthorized", self.challenges(&user, &host, false))),
            Some((_, auth::Verdict::Stale)) => return Err((401, "Unauthorized", self.challenges(&user, &host, true))),
            Some((account, auth::Verdict::Genuine)) => match account.who {
                Who::Agent(agent) if agent.as_str() == user => (account.domain, agent),
                _ => return Err((403, "Forbidden", Vec::new())),
            },
            Some((_, auth::Verdict::Wrong)) => {
                tracing::info!(source = %flow.remote.ip(), "a phone brought wrong credentials");
                return Err((403, "Forbidden", Vec::new()));
            }
        };
        let refused = |refusal: Refusal| -> Answer {
            let headers = if refusal == Refusal::TooBrief { vec![("Min-Expires", EXPIRES_MIN_S.to_string())] } else { Vec::new() };
            (refusal.status(), refusal.phrase(), headers)
        };
        let wish = Wish::read(message).map_err(refused)?;
        let replicated = self.backend.bindings(&owner).unwrap_or_default();
        self.registrar.plan(now, self.me, owner, flow, &wish, &replicated).map_err(refused)
    }

    /// The commands of a registration are committed, or not.
    pub(super) fn registered(&mut self, now: Instant, tx: TxId, plan: &Plan, done: Result<(), u16>) {
        if !plan.commands.is_empty() {
            self.registers_in_flight = self.registers_in_flight.saturating_sub(1);
        }
        if let Err(status) = done {
            metrics::counter!(names::REGISTERS_TOTAL, "result" => "failed").increment(1);
            let headers = [("Retry-After", self.retry_after_s().to_string())];
            return self.answer(now, tx, status, "Service Unavailable", &headers);
        }
        metrics::counter!(names::REGISTERS_TOTAL, "result" => "done").increment(1);
        self.registrar.settle(now, plan);
        let headers = self.bindings(now, plan);
        self.answer(now, tx, 200, "OK", &headers);
    }

    fn bindings(&self, now: Instant, plan: &Plan) -> Vec<(&'static str, String)> {
        let replicated = self.backend.bindings(&plan.owner);
        let contacts = self.registrar.contacts(now, plan, replicated.as_deref());
        let mut headers: Vec<_> = contacts.into_iter().map(|contact| ("Contact", contact)).collect();
        if self.registrar.is_outbound(&plan.owner) {
            headers.push(("Require", "outbound".to_owned()));
            headers.push(("Supported", "outbound, path".to_owned()));
        }
        headers
    }

    /// A connection closed: the phones on it are gone until they register again.
    pub(super) fn closed(&mut self, flow: &Flow) {
        let backend = self.backend.clone();
        let is_ours = |owner: &Owner, held: &Binding| {
            let moved = |(binding, _): &Replicated| binding.instance == held.instance && binding.flow != held.flow;
            !backend.bindings(owner).unwrap_or_default().iter().any(moved)
        };
        for (domain, command) in flow.conn.map(|conn| self.registrar.closed(conn, is_ours)).unwrap_or_default() {
            let backend = self.backend.clone();
            tokio::spawn(async move {
                if let Err(error) = backend.command(domain, Envelope { request: None, command }, BIND_TIMEOUT).await {
                    // The binding then ends with its replicated time.
                    tracing::info!(%error, "unregistration not committed");
                }
            });
        }
    }
}
