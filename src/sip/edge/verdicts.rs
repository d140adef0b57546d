//! What was decided about an INVITE lately, so that its retransmissions get the same.
//!
//! Two generations of a bounded map; when one is full, retransmissions are judged anew, which is only less kind.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    time::Instant,
};

use crate::sip::{
    limits::{VERDICT_AGE_MIN, VERDICTS_MAX},
    message::Message,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Admitted,
    /// Refused with 503, and when to come back.
    Refused {
        retry_after_s: u32,
    },
}

#[derive(Debug)]
pub(super) struct Verdicts {
    hasher: RandomState,
    current: HashMap<u64, Verdict>,
    previous: HashMap<u64, Verdict>,
    turned: Instant,
}

impl Verdicts {
    pub(super) fn new(now: Instant) -> Self {
        Self { hasher: RandomState::new(), current: HashMap::new(), previous: HashMap::new(), turned: now }
    }

    /// Names a transaction and its sender. Keyed by a secret, so that nobody can aim for another's.
    pub(super) fn key(&self, message: &Message, remote: SocketAddr) -> u64 {
        self.hasher.hash_one((message.call_id(), message.cseq().map(|(n, _)| n), message.top_via(), message.from_tag(), remote))
    }

    pub(super) fn get(&self, key: u64) -> Option<Verdict> {
        self.current.get(&key).or_else(|| self.previous.get(&key)).copied()
    }

    pub(super) fn set(&mut self, now: Instant, key: u64, verdict: Verdict) {
        if now.saturating_duration_since(self.turned) > VERDICT_AGE_MIN {
            self.previous = std::mem::take(&mut self.current);
            self.turned = now;
        }
        if self.current.len() < VERDICTS_MAX {
            self.current.insert(key, verdict);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_verdict_is_kept_for_the_life_of_a_transaction_and_the_memory_is_bounded() {
        let start = Instant::now();
        let mut verdicts = Verdicts::new(start);
        for key in 0..200_000 {
            verdicts.set(start, key, Verdict::Admitted);
        }
        assert_eq!(verdicts.current.len(), VERDICTS_MAX);
        verdicts.set(start + Duration::from_secs(33), 1_000_000, Verdict::Refused { retry_after_s: 3 });
        assert_eq!(verdicts.get(7), Some(Verdict::Admitted));
        verdicts.set(start + Duration::from_secs(66), 1_000_001, Verdict::Admitted);
        assert_eq!(verdicts.get(7), None);
        assert_eq!(verdicts.get(1_000_000), Some(Verdict::Refused { retry_after_s: 3 }));
    }
}
