//! From the REFER of an agent's phone to the core's decision about it, and back.

use std::time::Instant;

use super::{inbox::Finding, worker::Worker};
use crate::{
    actor::Error,
    core::{
        Outcome, Reason,
        command::{Command, Envelope},
        id::{DomainId, LegId, RequestId},
    },
    sip::{limits::REFER_TIMEOUT, stack::TxId},
};

impl Worker {
    /// Asks the core for the transfer that a phone wants.
    pub(super) fn refer(&self, tx: TxId, leg: LegId, domain: DomainId, user: String) {
        let command = Command::Refer { domain: domain.clone(), leg, edge: self.me, user };
        // With a key of its own it may be sent again until its outcome is known.
        let request = Some(RequestId(u128::from(self.random()) << 64 | u128::from(self.random())));
        let (backend, shared) = (self.backend.clone(), self.shared.clone());
        tokio::spawn(async move {
            let outcome = backend.command(domain, Envelope { request, command }, REFER_TIMEOUT).await;
            shared.inbox.found(Finding::Referred { tx, leg, outcome });
        });
    }

    pub(super) fn referred(&mut self, now: Instant, tx: TxId, leg: LegId, outcome: Result<Outcome, Error>) {
        let verdict = match outcome {
            Ok(Outcome::Rejected(reason)) => {
                // Its text may tell the number that was dialled.
                let status = status_of(&reason);
                tracing::info!(%leg, status = status.0, "a phone's REFER is not followed");
                Err(status)
            }
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::info!(%leg, %error, "a phone's REFER was not decided");
                Err((503, "Service Unavailable"))
            }
        };
        self.stack.referred(now, tx, leg, verdict);
        self.drain(now);
    }
}

/// The SIP status of a transfer that is not done.
const fn status_of(reason: &Reason) -> (u16, &'static str) {
    match reason {
        Reason::NoRoute(_) | Reason::NoQueue(_) | Reason::NoAgent(_) => (404, "Not Found"),
        Reason::NotYours | Reason::NumberBarred => (403, "Forbidden"),
        Reason::QueueFull => (486, "Busy Here"),
        Reason::NotReady(_) | Reason::QueueClosed | Reason::OutsideHours { .. } | Reason::NoAgentsForQueue => {
            (480, "Temporarily Unavailable")
        }
        _ => (603, "Decline"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_that_is_not_done_has_its_status() {
        assert_eq!(status_of(&Reason::NoRoute("1".into())).0, 404);
        assert_eq!(status_of(&Reason::NumberBarred).0, 403);
        assert_eq!(status_of(&Reason::NotReady("agent b: on break".into())).0, 480);
        assert_eq!(status_of(&Reason::WrongState("queued".into())).0, 603);
    }
}
