//! How soon a freed phone rings again: from the BYE that freed it to the next INVITE, where both were here.
//!
//! The next call of an agent may be another node's, and may come long after for want of callers. Counted is therefore only
//! an INVITE that the very commit of that BYE ordered: then the time between was ours and nobody else's.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::core::id::{CallId, EffectId};

/// Phones remembered as freed; they are forgotten when they ring again.
const FREED_MAX: usize = 65_536;

#[derive(Debug)]
struct Phone {
    read_at: Instant,
    /// Group and log index of the commit, once the order to end the other leg has told them.
    commit: Option<(u32, u64)>,
}

/// The phones that a BYE freed, by contact, and whose call it was.
#[derive(Debug, Default)]
pub(super) struct Freed {
    phones: HashMap<String, Phone>,
    calls: HashMap<CallId, String>,
}

impl Freed {
    /// A BYE of `call` was read, which frees the phone at `contact`.
    pub(super) fn bye(&mut self, call: CallId, contact: String, read_at: Instant) {
        if self.phones.len() < FREED_MAX && self.calls.len() < FREED_MAX {
            self.calls.insert(call, contact.clone());
            self.phones.insert(contact, Phone { read_at, commit: None });
        }
    }

    /// The other leg of `call` is to be ended: `order` names the commit.
    pub(super) fn hang_up(&mut self, call: CallId, order: EffectId) {
        if let Some(contact) = self.calls.remove(&call)
            && let Some(phone) = self.phones.get_mut(&contact)
        {
            phone.commit = Some((order.group, order.index));
        }
    }

    /// The INVITE to `contact` that `order` asked for was written; how long the phone had been free, if this followed
    /// from its BYE.
    pub(super) fn offer(&mut self, contact: &str, order: EffectId) -> Option<Duration> {
        let phone = self.phones.remove(contact)?;
        (phone.commit == Some((order.group, order.index))).then(|| phone.read_at.elapsed())
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
}
