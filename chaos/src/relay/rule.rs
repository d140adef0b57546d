//! What happens to the packets of one direction of one link, and the count of what did. Chance is seeded.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tandem_bench::phone::Random;

/// Nothing happens by default. Shares are percent of packets, each drawn by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    pub cut: bool,
    pub loss_pct: f64,
    pub delay_ms: u64,
    /// Added to the delay, up to this.
    pub jitter_ms: u64,
    pub dup_pct: f64,
    /// These packets are held back `REORDER` longer, so that later ones overtake them.
    pub reorder_pct: f64,
    /// One byte is flipped.
    pub corrupt_pct: f64,
}

const REORDER: Duration = Duration::from_millis(15);

/// Packets of a link so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub seen: u64,
    pub passed: u64,
    pub cut: u64,
    pub lost: u64,
    pub delayed: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub corrupted: u64,
}

impl Counts {
    /// Packets something was done to.
    pub const fn hurt(&self) -> u64 {
        self.cut + self.lost + self.delayed + self.doubled + self.reordered + self.corrupted
    }
}

/// What becomes of a packet: after how long it is sent, once or twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    first: Option<Duration>,
    second: Option<Duration>,
}

impl Fate {
    pub(super) const PASS: Self = Self { first: Some(Duration::ZERO), second: None };

    pub(super) fn copies(self) -> impl Iterator<Item = Duration> {
        self.first.into_iter().chain(self.second)
    }
}

pub(super) struct Link {
    pub(super) rule: Rule,
    pub(super) counts: Counts,
    random: Random,
}

impl Link {
    pub(super) fn new(seed: u64) -> Self {
        Self { rule: Rule::default(), counts: Counts::default(), random: Random(seed) }
    }

    fn hits(&mut self, pct: f64) -> bool {
        pct > 0.0 && (self.random.draw() % 1_000_000) as f64 / 10_000.0 < pct
    }

    pub(super) fn fate(&mut self, bytes: &mut [u8]) -> Fate {
        let rule = self.rule;
        self.counts.seen += 1;
        if rule.cut {
            self.counts.cut += 1;
            return Fate { first: None, second: None };
        }
        if self.hits(rule.loss_pct) {
            self.counts.lost += 1;
            return Fate { first: None, second: None };
        }
        self.counts.passed += 1;
        if self.hits(rule.corrupt_pct) && !bytes.is_empty() {
            self.counts.corrupted += 1;
            let at = self.random.draw() as usize % bytes.len();
            bytes[at] ^= 1 << (self.random.draw() % 8);
        }
        let mut delay = Duration::from_millis(rule.delay_ms) + self.random.below(Duration::from_millis(rule.jitter_ms));
        self.counts.delayed += u64::from(!delay.is_zero());
        if self.hits(rule.reorder_pct) {
            self.counts.reordered += 1;
            delay += REORDER;
        }
        let second = self.hits(rule.dup_pct).then_some(delay);
        self.counts.doubled += u64::from(second.is_some());
        Fate { first: Some(delay), second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: Rule) -> (Counts, usize) {
        let mut link = Link::new(5);
        link.rule = rule;
        let sent = (0..1_000).map(|_| link.fate(&mut [0; 4]).copies().count()).sum();
        (link.counts, sent)
    }

    #[test]
    fn without_a_rule_everything_passes_at_once() {
        let mut link = Link::new(1);
        assert_eq!(link.fate(&mut [0; 4]), Fate::PASS);
        assert_eq!((link.counts.seen, link.counts.passed, link.counts.hurt()), (1, 1, 0));
    }

    #[test]
    fn a_cut_link_passes_nothing() {
        let (counts, sent) = run(Rule { cut: true, ..Rule::default() });
        assert_eq!((counts.cut, counts.passed, sent), (1_000, 0, 0));
    }

    #[test]
    fn shares_are_about_as_asked_and_repeat_with_the_seed() {
        let rule = Rule { loss_pct: 10.0, dup_pct: 20.0, corrupt_pct: 30.0, ..Rule::default() };
        let (counts, sent) = run(rule);
        assert!((70..130).contains(&counts.lost), "{counts:?}");
        assert_eq!(sent as u64, counts.passed + counts.doubled);
        assert!((200..330).contains(&counts.corrupted), "{counts:?}");
        assert_eq!(run(rule).0, counts);
    }
}
