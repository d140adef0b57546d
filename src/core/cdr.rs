//! The record of a call that is over, and the chain that every replica's archive forms out of such records.
//!
//! It owns the shape of a record and the head of the chain, which is hot state. Files belong to `actor`, rendering as
//! JSON to `api`.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    assist::Assistance,
    callback::CalledBack,
    chat::ClosedChat,
    codec,
    command::{Actor, TransferTo},
    effect::Record,
    explain::Decision,
    id::{AgentId, CallId, DomainId, NodeId, QueueId, TrunkId},
    limits::{ATTEMPTS_PER_RECORD_MAX, DECISIONS_PER_RECORD_MAX, TRANSFERS_PER_RECORD_MAX},
    privacy::{Caller, Keys, Sealed},
    tape::Tape,
    time::Stamp,
};

/// A call detail record: one per call, with a row per attempt to reach an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedCall {
    pub call_id: CallId,
    pub tenant: DomainId,
    /// The queue it was in last.
    pub queue: Option<QueueId>,
    /// Who answered; of several, one after the other, the last.
    pub agent: Option<AgentId>,
    pub outcome: CallOutcome,
    /// Why it ended, as short words joined by `_`: `caller_hung_up`, `agent_hung_up`, `max_wait`, `node_lost`, …
    pub end_reason: String,
    /// The node that carried its legs.
    pub node: NodeId,
    pub trunk: Option<TrunkId>,
    /// The user part that was dialled.
    pub to_user: String,
    /// Who called. Readable while the subject's key exists.
    pub caller: Sealed,
    pub priority: u8,
    pub policy_version: u64,
    pub arrived: Stamp,
    /// First entry into a queue.
    pub queued: Option<Stamp>,
    /// First offer to an agent.
    pub offered: Option<Stamp>,
    pub answered: Option<Stamp>,
    pub ended: Stamp,
    /// How long it was on hold, by whichever side and means.
    pub held_ms: u64,
    /// How often another node took its legs over.
    pub adoptions: u16,
    pub attempts: Kept<Attempt>,
    /// Files with what its parties said.
    pub tapes: Kept<Tape>,
    pub decisions: Kept<Decision>,
    pub transfers: Kept<Transfer>,
    /// It was a callback.
    pub callback: Option<CalledBack>,
    /// AI had to do with it.
    pub assistance: Option<Box<Assistance>>,
    /// What was written down for the agents who had it: a bincoded `Kept<Note>` under the key of the caller; empty if nothing was.
    #[serde(with = "serde_bytes")]
    pub notes: Vec<u8>,
    /// The answered contact of the same customer, shortly before, that was about the same.
    pub reopens: Option<CallId>,
    /// It was written.
    pub chat: Option<Box<ClosedChat>>,
}

/// A call went from an agent to somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub at: Stamp,
    pub by: Actor,
    /// Who had the call, on which leg.
    pub from: AgentId,
    pub leg: u16,
    pub to: TransferTo,
    /// They had talked about it first.
    pub attended: bool,
    /// It went to a number outside, which `to` does not tell.
    pub outside: Option<Box<Dialled>>,
}

/// What became of a number outside that a call was sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialled {
    /// Readable while the subject's key exists.
    pub number: Sealed,
    pub answered: Option<Stamp>,
    pub ended: Option<Stamp>,
    /// `None` until that is known. [`AttemptResult::Accepted`]: it talked with the caller.
    pub result: Option<AttemptResult>,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// An agent talked with the caller.
    Answered,
    /// The caller left before an answer.
    Abandoned,
    /// The core refused it: closed, full, no route, over a limit, waited too long with a refusal as the rule.
    Rejected,
    /// It could not be carried through: the media or signalling of a leg failed.
    Failed,
    /// Its queue gave it up to a place outside this system.
    Overflowed,
    /// The node that carried its legs died.
    NodeLost,
}

impl CallOutcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Abandoned => "abandoned",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Overflowed => "overflowed",
            Self::NodeLost => "node_lost",
        }
    }
}

impl fmt::Display for CallOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One offer to one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Number of the leg within the call, from 1.
    pub leg: u16,
    pub agent: AgentId,
    pub queue: Option<QueueId>,
    /// The node that carried the leg.
    pub node: NodeId,
    pub offered: Stamp,
    /// First 180 or 183.
    pub rang: Option<Stamp>,
    pub answered: Option<Stamp>,
    pub ended: Stamp,
    pub result: AttemptResult,
}

/// How an offer ended. Each has its own delay and counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptResult {
    Accepted,
    /// The agent refused; the SIP status, 0 if it was not by SIP.
    Rejected {
        status: u16,
    },
    /// The agent's phone was busy (486, 600).
    Busy,
    /// Nobody answered in time.
    Timeout,
    /// The phone could not be reached; the SIP status.
    Unreachable {
        status: u16,
    },
    /// Withdrawn: the caller left, another agent was faster, or the agent went on break.
    Rescinded,
    /// The node that carried the leg died.
    NodeLost,
    /// It was asked by another agent, answered, and did not get the call.
    Consulted,
    /// An AI agent that had the call until a person was to.
    TakenOver,
    /// It answered for a callback, and the customer did not: the SIP status, 0 if it was not by SIP.
    NotReached {
        status: u16,
    },
}

impl AttemptResult {
    /// What a phone's refusal comes to; the SIP status.
    pub(super) const fn of_refusal(status: u16) -> Self {
        match status {
            486 | 600 => Self::Busy,
            480 | 408 | 404 | 410 | 502 | 503 => Self::Unreachable { status },
            status => Self::Rejected { status },
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected { .. } => "rejected",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Unreachable { .. } => "unreachable",
            Self::Rescinded => "rescinded",
            Self::NodeLost => "node_lost",
            Self::Consulted => "consulted",
            Self::TakenOver => "taken_over",
            Self::NotReached { .. } => "not_reached",
        }
    }
}

/// A bounded list that keeps the first row and the latest, and counts what lay between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept<T> {
    pub rows: Vec<T>,
    /// Rows that gave way, all after the first kept one.
    pub dropped: u32,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), dropped: 0 }
    }
}

impl<T> Kept<T> {
    pub(super) fn push_within(&mut self, row: T, max: usize) {
        if self.rows.len() >= max {
            self.rows.remove(1);
            self.dropped = self.dropped.saturating_add(1);
        }
        // Every waiting call has such lists with a row or none; room for rows that never come is most of their size.
        self.rows.reserve_exact(1);
        self.rows.push(row);
    }
}

impl Kept<Attempt> {
    pub fn push(&mut self, attempt: Attempt) {
        self.push_within(attempt, ATTEMPTS_PER_RECORD_MAX);
    }
}

impl Kept<Decision> {
    pub fn push(&mut self, decision: Decision) {
        self.push_within(decision, DECISIONS_PER_RECORD_MAX);
    }
}

impl Kept<Transfer> {
    pub fn push(&mut self, transfer: Transfer) {
        self.push_within(transfer, TRANSFERS_PER_RECORD_MAX);
    }
}

impl ClosedCall {
    /// Reads an archived record.
    ///
    /// # Errors
    /// [`codec::Error`] when the bytes are not a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::Error> {
        codec::decode(bytes)
    }

    /// Who called, or that this was erased. `keys` are those of the record's tenant, `None` if the tenant is gone.
    pub fn caller(&self, keys: Option<&Keys>) -> Caller {
        keys.map_or(Caller::Erased, |keys| keys.open(&self.caller, self.call_id))
    }

    /// From the first queue to the answer or the end, in milliseconds of log time.
    pub fn waited_ms(&self) -> u64 {
        let until = self.answered.unwrap_or(self.ended);
        self.queued.map_or(0, |queued| until.time.ms_since(queued.time))
    }

    /// From the first answer to the end, in milliseconds of log time: waiting between two agents is in it.
    pub fn talked_ms(&self) -> u64 {
        self.answered.map_or(0, |answered| self.ended.time.ms_since(answered.time))
    }
}

/// The head of a group's archive: part of the replicated state, so that every replica's files can be checked against it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Archive {
    /// Sequence the next record gets; how many there ever were.
    pub next_seq: u64,
    /// Bytes of all records ever, without framing.
    pub bytes: u64,
    /// Chain hash of the last record; zeros before the first.
    pub hash: [u8; 32],
}

impl Archive {
    /// Extends the chain by a record.
    pub fn append(&mut self, call: &ClosedCall) -> Record {
        let bytes = codec::encode(call);
        self.hash = chain(&self.hash, &bytes);
        self.bytes += bytes.len() as u64;
        let seq = self.next_seq;
        self.next_seq += 1;
        Record { seq, hash: self.hash, bytes }
    }
}

/// SHA-256 over the previous record's hash and a record's bytes.
pub fn chain(previous: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(bytes);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        party::Party,
        time::{LogTime, WallTime},
    };

    fn stamp(ms: u64) -> Stamp {
        Stamp { time: LogTime(ms * 1_000_000), wall: WallTime(1_795_000_000_000 + ms as i64) }
    }

    fn closed(keys: &Keys, n: u128) -> ClosedCall {
        let party = Party { user: "+4930123456".into(), display: "Erika".into(), uri: "sip:+4930123456@carrier.example".into() };
        ClosedCall {
            call_id: CallId(n),
            tenant: "demo".into(),
            queue: Some("support".into()),
            agent: Some("alice".into()),
            outcome: CallOutcome::Answered,
            end_reason: "caller_hung_up".into(),
            node: NodeId(1),
            trunk: Some("lab".into()),
            to_user: "support".into(),
            caller: keys.seal(&party, CallId(n)),
            priority: 5,
            policy_version: 1,
            arrived: stamp(0),
            queued: Some(stamp(3)),
            offered: Some(stamp(5_003)),
            answered: Some(stamp(9_003)),
            ended: stamp(69_003),
            held_ms: 0,
            adoptions: 0,
            attempts: Kept::default(),
            tapes: Kept::default(),
            decisions: Kept::default(),
            transfers: Kept::default(),
            callback: None,
            assistance: None,
            notes: Vec::new(),
            reopens: None,
            chat: None,
        }
    }

    #[test]
    fn each_record_extends_the_chain_and_reads_back() {
        let keys = Keys::new(&[7; 32]);
        let mut archive = Archive::default();
        let first = archive.append(&closed(&keys, 1));
        let second = archive.append(&closed(&keys, 2));
        assert_eq!((first.seq, second.seq, archive.next_seq), (0, 1, 2));
        assert_eq!(first.hash, chain(&[0; 32], &first.bytes));
        assert_eq!(second.hash, chain(&first.hash, &second.bytes));
        assert_eq!(archive.hash, second.hash);
        assert_eq!(ClosedCall::decode(&second.bytes), Ok(closed(&keys, 2)));
    }

    #[test]
    fn waiting_and_talking_are_measured_in_log_time() {
        let call = closed(&Keys::new(&[7; 32]), 1);
        assert_eq!((call.waited_ms(), call.talked_ms()), (9_000, 60_000));
        let abandoned = ClosedCall { answered: None, ..call };
        assert_eq!((abandoned.waited_ms(), abandoned.talked_ms()), (69_000, 0));
    }

    #[test]
    fn erasing_the_caller_changes_no_record_and_no_hash() {
        let mut keys = Keys::new(&[7; 32]);
        let call = closed(&keys, 1);
        let record = Archive::default().append(&call);
        assert!(matches!(call.caller(Some(&keys)), Caller::Known(party) if party.display == "Erika"));
        keys.erase("+49 (30) 123456").expect("far below the bound");
        assert_eq!(call.caller(Some(&keys)), Caller::Erased);
        assert_eq!(record, Archive::default().append(&call));
    }

    #[test]
    fn a_list_keeps_its_first_row_and_its_latest() {
        let mut kept = Kept::default();
        for n in 0..10 {
            kept.push_within(n, 4);
        }
        assert_eq!((kept.rows, kept.dropped), (vec![0, 7, 8, 9], 6));
    }
}
