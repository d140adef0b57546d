//! How soon a freed phone rings again: from the BYE that freed it to the next INVITE, where both were here.
//!
//! The next call of an agent may be another node's, and may come long after for want of callers. Counted is therefore only
//! an INVITE that the very commit of that BYE ordered: then the time between was ours and nobody else's.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::metrics::AGENT_FREE_TO_OFFER_SECONDS;
use crate::core::id::{CallId, EffectId};

/// Phones and calls remembered; when there are as many, all are forgotten, since a figure may lack a few.
const FREED_MAX: usize = 65_536;

/// Group and log index of a commit.
type Commit = (u32, u64);

#[derive(Debug)]
struct Phone {
    read_at: Instant,
    /// The commit of the BYE, once the order to end the other leg has told it.
    commit: Option<Commit>,
    /// The commit that ordered the next INVITE, if that was written first, and how long the phone had been free then.
    offered: Option<(Commit, Duration)>,
}

/// The phones that a BYE freed, by contact, and whose call it was. The orders of one commit come from the actors of
/// different calls, in any order.
#[derive(Debug, Default)]
pub(super) struct Freed {
    phones: HashMap<String, Phone>,
    calls: HashMap<CallId, String>,
}

impl Freed {
    /// A BYE of `call` was read, which frees the phone at `contact`.
    pub(super) fn bye(&mut self, call: CallId, contact: String, read_at: Instant) {
        if self.phones.len().max(self.calls.len()) >= FREED_MAX {
            self.phones.clear();
            self.calls.clear();
        }
        self.calls.insert(call, contact.clone());
        self.phones.insert(contact, Phone { read_at, commit: None, offered: None });
    }

    /// The other leg of `call` is to be ended: `order` names the commit. Returns how long its phone had been free when it
    /// rang again, if it did and this commit ordered it.
    pub(super) fn hang_up(&mut self, call: CallId, order: EffectId) -> Option<Duration> {
        let contact = self.calls.remove(&call)?;
        let phone = self.phones.get_mut(&contact)?;
        let commit = (order.group, order.index);
        let Some((ordered_by, waited)) = phone.offered else {
            phone.commit = Some(commit);
            return None;
        };
        self.phones.remove(&contact);
        (ordered_by == commit).then_some(waited)
    }

    /// The INVITE to `contact` that `order` asked for was written. Returns how long the phone had been free, if this is
    /// known to follow from its BYE.
    pub(super) fn offer(&mut self, contact: &str, order: EffectId) -> Option<Duration> {
        let phone = self.phones.get_mut(contact)?;
        let (ordered_by, waited) = ((order.group, order.index), phone.read_at.elapsed());
        let Some(commit) = phone.commit else {
            phone.offered.get_or_insert((ordered_by, waited));
            return None;
        };
        self.phones.remove(contact);
        (commit == ordered_by).then_some(waited)
    }
}

/// Adds to the figure.
pub(super) fn count(waited: Option<Duration>) {
    if let Some(waited) = waited {
        metrics::histogram!(AGENT_FREE_TO_OFFER_SECONDS).record(waited.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn order(index: u64, n: u32) -> EffectId {
        EffectId { group: 1, index, n }
    }

    #[test]
    fn only_the_offer_of_the_same_commit_is_counted() {
        let mut freed = Freed::default();
        for (n, index, counted) in [(1, 7, true), (2, 8, false)] {
            freed.bye(CallId(n), "sip:a".to_owned(), Instant::now());
            freed.hang_up(CallId(n), order(7, 0));
            assert_eq!(freed.offer("sip:a", order(index, 3)).is_some(), counted);
        }
        assert!(freed.offer("sip:a", order(7, 3)).is_none(), "it rings already");
    }

    #[test]
    fn the_offer_may_be_written_before_the_other_leg_is_ended() {
        let mut freed = Freed::default();
        for (n, index, counted) in [(1, 7, true), (2, 8, false)] {
            freed.bye(CallId(n), "sip:a".to_owned(), Instant::now());
            assert!(freed.offer("sip:a", order(index, 3)).is_none(), "not known yet");
            assert_eq!(freed.hang_up(CallId(n), order(7, 0)).is_some(), counted);
        }
    }
}
