//! What was recorded of a call: a row per leg and part, by the core's own clock until the edge that wrote the file says it
//! exactly. Files are the edge's; their names follow from call, leg and part.

use serde::{Deserialize, Serialize};

use super::{
    cdr::Kept,
    id::{DomainId, LegId, NodeId},
    limits::{TAPE_WINDOWS_MAX, TAPES_PER_RECORD_MAX},
    matrix::Taping,
    time::{LogTime, Stamp},
};

/// One file of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tape {
    pub leg: u16,
    pub part: u32,
    /// The node whose disk has it.
    pub node: NodeId,
    pub begun: Stamp,
    /// Its length, once it has ended.
    pub ms: u64,
    /// Windows that are silent in it because it was paused, in milliseconds from its start.
    pub masked: Vec<(u64, u64)>,
    masked_since_ms: Option<u64>,
    pub state: TapeState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TapeState {
    /// Being written.
    Open,
    /// Over, and its edge has not said more. If that edge died, the file ends where the node did.
    Ended,
    /// Complete on the disk of its node.
    Saved,
    /// It could not be written, or not to its end.
    Failed,
}

impl TapeState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ended => "ended",
            Self::Saved => "saved",
            Self::Failed => "failed",
        }
    }
}

/// Where the files of a leg are, below the recordings of their node and without `.PART.wav`.
pub fn stem(domain: &DomainId, leg: LegId) -> String {
    format!("{domain}/{}-{}", leg.call, leg.n)
}

/// The whole name of a file.
pub fn file(domain: &DomainId, leg: LegId, part: u32) -> String {
    format!("{}.{part:03}.wav", stem(domain, leg))
}

impl Tape {
    fn mask(&mut self, masked: bool, now: LogTime) {
        let at_ms = now.ms_since(self.begun.time);
        if masked {
            self.masked_since_ms.get_or_insert(at_ms);
        } else if let Some(since_ms) = self.masked_since_ms.take() {
            let full = self.masked.len() >= TAPE_WINDOWS_MAX;
            match self.masked.last_mut().filter(|_| full) {
                Some(last) => last.1 = at_ms,
                None => self.masked.push((since_ms, at_ms)),
            }
        }
    }

    fn end(&mut self, now: LogTime) {
        self.mask(false, now);
        self.ms = now.ms_since(self.begun.time);
        self.state = TapeState::Ended;
    }
}

impl Kept<Tape> {
    /// Lets the rows follow from what is to be recorded now: `legs`, on `node`.
    pub(super) fn keep_up(&mut self, taping: Taping, legs: &[u16], node: NodeId, at: Stamp) {
        let wanted = match taping {
            Taping::Off => None,
            Taping::On { part, masked } => Some((part, masked)),
        };
        for tape in self.rows.iter_mut().filter(|tape| tape.state == TapeState::Open) {
            match wanted {
                Some((part, masked)) if tape.part == part && legs.contains(&tape.leg) => tape.mask(masked, at.time),
                _ => tape.end(at.time),
            }
        }
        let Some((part, masked)) = wanted else { return };
        for leg in legs {
            if self.rows.iter().any(|tape| (tape.leg, tape.part) == (*leg, part)) {
                continue;
            }
            let masked_since_ms = masked.then_some(0);
            let tape = Tape { leg: *leg, part, node, begun: at, ms: 0, masked: Vec::new(), masked_since_ms, state: TapeState::Open };
            self.push_within(tape, TAPES_PER_RECORD_MAX);
        }
    }

    /// What the edge says of a file of its own. False if there is no such row, or it was said before.
    pub(super) fn told(&mut self, (leg, part, node): (u16, u32, NodeId), saved: Option<(u64, &[(u64, u64)])>) -> bool {
        let is_it = |tape: &&mut Tape| (tape.leg, tape.part, tape.node) == (leg, part, node);
        let Some(tape) = self.rows.iter_mut().find(is_it) else { return false };
        if matches!(tape.state, TapeState::Saved | TapeState::Failed) {
            return false;
        }
        tape.masked_since_ms = None;
        match saved {
            Some((ms, masked)) => {
                (tape.ms, tape.state) = (ms, TapeState::Saved);
                tape.masked = masked.iter().copied().take(TAPE_WINDOWS_MAX).collect();
            }
            None => tape.state = TapeState::Failed,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::WallTime;

    fn at(ms: u64) -> Stamp {
        Stamp { time: LogTime(ms * 1_000_000), wall: WallTime(0) }
    }

    fn on(part: u32, masked: bool) -> Taping {
        Taping::On { part, masked }
    }

    #[test]
    fn a_part_knows_its_length_and_its_masked_windows_from_its_own_start() {
        let mut tapes = Kept::default();
        tapes.keep_up(on(1, false), &[0, 1], NodeId(1), at(1_000));
        tapes.keep_up(on(1, true), &[0, 1], NodeId(1), at(3_000));
        tapes.keep_up(on(1, false), &[0, 1], NodeId(1), at(4_000));
        tapes.keep_up(on(2, true), &[0], NodeId(2), at(6_000));
        tapes.keep_up(Taping::Off, &[], NodeId(2), at(7_000));
        let rows: Vec<_> = tapes.rows.iter().map(|tape| (tape.leg, tape.part, tape.node.0, tape.ms, tape.masked.clone())).collect();
        assert_eq!(
            rows,
            [(0, 1, 1, 5_000, vec![(2_000, 3_000)]), (1, 1, 1, 5_000, vec![(2_000, 3_000)]), (0, 2, 2, 1_000, vec![(0, 1_000)])]
        );
        assert!(tapes.rows.iter().all(|tape| tape.state == TapeState::Ended));
    }

    #[test]
    fn what_the_edge_says_of_its_file_counts_once() {
        let mut tapes = Kept::default();
        tapes.keep_up(on(1, false), &[0], NodeId(1), at(0));
        assert!(!tapes.told((0, 1, NodeId(2)), None), "another node's");
        assert!(tapes.told((0, 1, NodeId(1)), Some((980, &[(3, 5)]))));
        assert!(!tapes.told((0, 1, NodeId(1)), None));
        assert_eq!((tapes.rows[0].ms, tapes.rows[0].state), (980, TapeState::Saved));
    }
}
