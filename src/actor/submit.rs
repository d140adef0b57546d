//! Bringing a command to the leader of its partition, from any node, until it is committed or time is up.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_bytes::ByteBuf;
use tandem_cluster::GroupId;
use tokio::time::Instant;

use super::{
    Error, lane,
    limits::RETRY_PAUSE,
    machine::encode,
    shared::Shared,
    wire::{Address, Answer, Question},
};
use crate::core::{Outcome, command::Envelope, id::DomainId};

/// A command ready to travel.
#[derive(Clone)]
pub(super) struct Parcel {
    place: Place,
    to: Address,
    command: Bytes,
    /// The same command twice is the same as once: its fate need not be known to send it again.
    idempotent: bool,
}

impl Parcel {
    pub(super) fn new(domain: &DomainId, envelope: &Envelope, idempotent: bool) -> Self {
        let idempotent = idempotent || envelope.request.is_some();
        Self { place: Place::Domain(domain.clone()), to: Address::of(&envelope.command), command: encode(envelope), idempotent }
    }

    /// What concerns a partition and no single domain, and is the same twice as once.
    pub(super) fn to_group(group: GroupId, envelope: &Envelope) -> Self {
        Self { place: Place::Group(group), to: Address::of(&envelope.command), command: encode(envelope), idempotent: true }
    }
}

/// Whose leader it goes to.
#[derive(Clone)]
enum Place {
    Domain(DomainId),
    Group(GroupId),
}

/// What came of one attempt.
enum Attempt {
    Done(Outcome),
    NotDone(String),
    Perhaps(String),
}

/// What is known of a command whose attempts all failed so far.
#[derive(Default)]
struct Fate {
    /// An attempt whose fate is unknown may still come into the log, whatever becomes of the later ones.
    perhaps: Option<Error>,
}

impl Fate {
    /// Takes one more attempt into account, and says what can be said of them all.
    fn after(&mut self, error: Error) -> Error {
        if let Error::Indefinite(_) = error {
            self.perhaps = Some(error.clone());
        }
        self.perhaps.clone().unwrap_or(error)
    }
}

impl Shared {
    /// Commits a command at the leader of its partition.
    pub(super) async fn submit(self: &Arc<Self>, parcel: &Parcel, within: Duration) -> Result<Outcome, Error> {
        let deadline = Instant::now() + within;
        let mut fate = Fate::default();
        loop {
            let group = match &parcel.place {
                Place::Group(group) => *group,
                Place::Domain(domain) => self.cluster.group_of(domain.as_str()).ok_or_else(|| Error::NoDomain(domain.clone()))?,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match tokio::time::timeout(left, self.attempt(group, parcel)).await {
                Ok(Attempt::Done(outcome)) => return Ok(outcome),
                Ok(Attempt::NotDone(why)) => Error::Unavailable(why),
                Ok(Attempt::Perhaps(why)) => Error::Indefinite(why),
                Err(_) => Error::Indefinite("no answer in time".to_owned()),
            };
            // Nothing can be committed without a majority in reach: waiting would only hide it.
            let hopeless = matches!(error, Error::Unavailable(_)) && !self.cluster.lease_valid();
            let settled = matches!(error, Error::Indefinite(_)) && !parcel.idempotent;
            let so_far = fate.after(error);
            if hopeless || settled || Instant::now() + RETRY_PAUSE >= deadline {
                return Err(so_far);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn attempt(self: &Arc<Self>, group: GroupId, parcel: &Parcel) -> Attempt {
        let Some(leader) = self.cluster.leader(group) else {
            let why = if self.cluster.lease_valid() { "is being elected" } else { "cannot be elected: most nodes are out of reach" };
            return Attempt::NotDone(format!("the leader of partition {group} {why}"));
        };
        let command = ByteBuf::from(parcel.command.to_vec());
        let question = Question::Commit { group, to: parcel.to.clone(), command };
        let answer = if leader == self.cluster.node() {
            self.answer(leader, question).await
        } else {
            match self.lanes.ask(leader, lane::Kind::Commands, question).await {
                Ok(answer) => answer,
                Err(error @ lane::Error::Full(_)) => return Attempt::NotDone(error.to_string()),
                Err(lane::Error::Lost(why)) => return Attempt::Perhaps(why),
            }
        };
        match answer {
            Answer::Committed(reply) => match Answer::outcome(&reply) {
                Ok(outcome) => Attempt::Done(outcome),
                Err(why) => Attempt::Perhaps(why),
            },
            Answer::Refused(why) => Attempt::NotDone(why),
            Answer::Unknown(why) => Attempt::Perhaps(why),
            _ => Attempt::Perhaps("an answer to another question".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_its_fate_is_unknown_a_command_is_never_said_to_be_certainly_not_done() {
        let (unavailable, indefinite) = (|| Error::Unavailable("no leader".to_owned()), || Error::Indefinite("no answer".to_owned()));
        let mut fate = Fate::default();
        assert!(matches!(fate.after(unavailable()), Error::Unavailable(_)));
        assert!(matches!(fate.after(indefinite()), Error::Indefinite(_)));
        assert!(matches!(fate.after(unavailable()), Error::Indefinite(_)), "the first attempt may still come into the log");
    }
}
