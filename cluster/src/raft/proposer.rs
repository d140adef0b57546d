//! Packs commands that wait together into one log entry, stamps it, and keeps a few entries under way at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use openraft::{error::ClientWriteError, impls::ProgressResponder};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    time::{Instant, sleep, timeout_at},
};

use super::{machine::Applied, network::Raft, type_config::Batch};
use crate::{
    Committed, GroupId, ProposeError, Token, clock,
    limits::{ENTRIES_UNDER_WAY_MAX, PROPOSAL_BATCH_MAX_BYTES, PROPOSAL_BATCH_MAX_COMMANDS, PROPOSALS_WAITING_MAX},
};

/// Pause of a leader that has no quorum's word yet.
const LEASE_PAUSE: Duration = Duration::from_millis(1);

struct Proposal {
    command: Bytes,
    deadline: Instant,
    /// Set by whoever comes first: the proposer, that takes it, or the caller, that gives up. Says whether an
    /// unanswered command can be in the log.
    claimed: Arc<AtomicBool>,
    tell: oneshot::Sender<Result<Committed, ProposeError>>,
}

/// The way to a group's proposer. Cheap to clone.
#[derive(Clone)]
pub(super) struct Proposer {
    group: GroupId,
    queue: mpsc::Sender<Proposal>,
}

impl Proposer {
    pub(super) fn start(group: GroupId, raft: Raft, applied: Applied, leading: watch::Receiver<Option<Token>>) -> Self {
        let (queue, inbox) = mpsc::channel(PROPOSALS_WAITING_MAX);
        let worker = Worker { group, raft, applied, leading, clock: Clock::default() };
        tokio::spawn(worker.run(inbox));
        Self { group, queue }
    }

    /// Commits a command if this replica leads. Returns at the deadline at the latest.
    pub(super) async fn propose(&self, command: Bytes, deadline: Instant) -> Result<Committed, ProposeError> {
        let started = Instant::now();
        let (tell, told) = oneshot::channel();
        let claimed = Arc::new(AtomicBool::new(false));
        let proposal = Proposal { command, deadline, claimed: Arc::clone(&claimed), tell };
        self.queue.try_send(proposal).map_err(|error| {
            ProposeError::Definite(match error {
                TrySendError::Full(_) => format!("group {} is overloaded: {PROPOSALS_WAITING_MAX} proposals wait", self.group),
                TrySendError::Closed(_) => format!("group {} is closed on this node", self.group),
            })
        })?;
        match timeout_at(deadline, told).await {
            Ok(Ok(answer)) => {
                if answer.is_ok() {
                    metrics::histogram!("raft_commit_seconds").record(started.elapsed().as_secs_f64());
                }
                answer
            }
            _ if claimed.swap(true, Ordering::AcqRel) => Err(ProposeError::Indefinite("no quorum confirmed it in time".to_owned())),
            Ok(Err(_)) => Err(ProposeError::Definite(format!("group {} was closed on this node", self.group))),
            Err(_) => Err(ProposeError::Definite("it waited behind other proposals until its deadline".to_owned())),
        }
    }
}

/// Log time: the last entry's, advanced by this node's monotonic clock since that entry was applied here.
#[derive(Default)]
struct Clock {
    token: Option<Token>,
    base_ns: u64,
    since: Option<Instant>,
    last_ns: u64,
}

impl Clock {
    fn stamp(&mut self, token: Token, applied: &Applied) -> u64 {
        if self.token != Some(token) {
            // Everything before this leadership is applied. After a restart nobody knows how long ago that was: log time
            // then stands still from the last entry to this moment.
            let (base_ns, since) = applied.time();
            *self = Self { token: Some(token), base_ns, since, last_ns: base_ns };
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        self.last_ns = (self.base_ns + since.elapsed().as_nanos() as u64).max(self.last_ns + 1);
        self.last_ns
    }
}

/// Why a batch has no reply.
enum Failure {
    NotWritten(String),
    Unknown(String),
}

/// The index an entry was applied at, and the replies to its commands.
type Written = Result<(u64, Vec<Bytes>), Failure>;

/// An entry under way. Resolves to the proposals of one that was refused before it was written, and may be taken a moment later.
type UnderWay = BoxFuture<'static, Option<Vec<Proposal>>>;

struct Worker {
    group: GroupId,
    raft: Raft,
    applied: Applied,
    leading: watch::Receiver<Option<Token>>,
    clock: Clock,
}

impl Worker {
    /// Whoever comes while an entry is being committed need not wait for it; whoever comes while as many are as may be
    /// shares the next one.
    async fn run(mut self, mut inbox: mpsc::Receiver<Proposal>) {
        let mut under_way = FuturesUnordered::<UnderWay>::new();
        let mut open = true;
        while open || !under_way.is_empty() {
            let batch = tokio::select! {
                biased;
                Some(refused) = under_way.next() => refused,
                first = inbox.recv(), if open && under_way.len() < ENTRIES_UNDER_WAY_MAX => {
                    open = first.is_some();
                    first.map(|first| take_waiting(first, &mut inbox))
                }
            };
            if let Some(batch) = batch.filter(|batch| !batch.is_empty()) {
                let entry = self.propose(batch).await;
                under_way.push(entry);
            }
        }
    }

    /// Gives Raft one entry. Entries come into the log in the order of these calls, which is the order of their stamps.
    async fn propose(&mut self, batch: Vec<Proposal>) -> UnderWay {
        let (group, raft) = (self.group, self.raft.clone());
        let deadline = batch.iter().map(|proposal| proposal.deadline).max().unwrap_or_else(Instant::now);
        // The token is there once everything before this leadership is applied and the machine knows its role.
        let token = *self.leading.borrow_and_update();
        let Some(token) = token else { return later(group, raft, batch, deadline, "not the leader".to_owned()).boxed() };
        let wall_ms = clock::wall_ms(token.node);
        let commands = batch.iter().map(|proposal| proposal.command.clone()).collect();
        let entry = Batch { time_ns: self.clock.stamp(token, &self.applied), wall_ms, commands };
        let (responder, written) = ProgressResponder::complete_only();
        let given = self.raft.client_write_ff(entry, Some(responder)).await;
        async move {
            let result = match timeout_at(deadline, written).await {
                Ok(Ok(Ok(written))) => {
                    let replies = written.response().clone();
                    Ok((replies.index, replies.replies))
                }
                // Refused before it was written: not the leader, on the way out, or without a fresh word of the quorum.
                Ok(Ok(Err(error @ ClientWriteError::ForwardToLeader(_)))) => {
                    return later(group, raft, batch, deadline, error.to_string()).await;
                }
                Ok(Ok(Err(error))) => Err(Failure::Unknown(error.to_string())),
                Ok(Err(_)) => Err(Failure::Unknown(given.err().map_or_else(|| "Raft stopped".to_owned(), |fatal| fatal.to_string()))),
                Err(_) => Err(Failure::Unknown("no quorum confirmed it in time".to_owned())),
            };
            settle(group, batch, &result);
            None
        }
        .boxed()
    }
}

/// Has a batch that was not written proposed again after a pause, unless this replica is no leader or nobody waits any longer.
async fn later(group: GroupId, raft: Raft, batch: Vec<Proposal>, deadline: Instant, why: String) -> Option<Vec<Proposal>> {
    if !raft.is_leader() || Instant::now() >= deadline {
        settle(group, batch, &Err(Failure::NotWritten(why)));
        return None;
    }
    sleep(LEASE_PAUSE).await;
    Some(batch)
}

fn settle(group: GroupId, batch: Vec<Proposal>, written: &Written) {
    metrics::counter!("raft_commands_total", "group" => group.to_string()).increment(batch.len() as u64);
    for (n, proposal) in batch.into_iter().enumerate() {
        let answer = match written {
            Ok((index, replies)) => Ok(Committed { index: *index, reply: replies[n].clone() }),
            Err(Failure::NotWritten(why)) => Err(ProposeError::Definite(why.clone())),
            Err(Failure::Unknown(why)) => Err(ProposeError::Indefinite(why.clone())),
        };
        // The caller may have given up at its deadline.
        let _ = proposal.tell.send(answer);
    }
}

/// Claims the first proposal and those that wait behind it, up to the bounds of an entry.
fn take_waiting(first: Proposal, inbox: &mut mpsc::Receiver<Proposal>) -> Vec<Proposal> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(proposal) = next {
        if !proposal.claimed.swap(true, Ordering::AcqRel) {
            bytes += proposal.command.len();
            batch.push(proposal);
        }
        next = if batch.len() < PROPOSAL_BATCH_MAX_COMMANDS && bytes < PROPOSAL_BATCH_MAX_BYTES { inbox.try_recv().ok() } else { None };
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(bytes: usize) -> (Proposal, oneshot::Receiver<Result<Committed, ProposeError>>) {
        let (tell, told) = oneshot::channel();
        (Proposal { command: vec![0; bytes].into(), deadline: Instant::now(), claimed: Arc::default(), tell }, told)
    }

    #[test]
    fn an_abandoned_command_is_never_written() {
        let (sender, mut inbox) = mpsc::channel(8);
        let (first, _a) = proposal(1);
        let (second, _b) = proposal(1);
        first.claimed.store(true, Ordering::Relaxed);
        sender.try_send(second).expect("room");
        let batch = take_waiting(first, &mut inbox);
        assert_eq!(batch.len(), 1);
        assert!(batch[0].claimed.load(Ordering::Relaxed), "from now on its caller cannot say that it was not written");
    }

    #[test]
    fn an_entry_is_bounded_in_bytes() {
        let (sender, mut inbox) = mpsc::channel(8);
        let (first, _a) = proposal(PROPOSAL_BATCH_MAX_BYTES);
        let (second, _b) = proposal(1);
        sender.try_send(second).expect("room");
        assert_eq!(take_waiting(first, &mut inbox).len(), 1);
        assert!(inbox.try_recv().is_ok());
    }

    #[test]
    fn log_time_goes_on_from_the_moment_the_last_entry_was_applied_here() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let applied = super::super::machine::for_tests(1, dir.path());
        applied.set_time(1_000, Instant::now().checked_sub(Duration::from_secs(60)));
        let mut clock = Clock::default();
        let first = clock.stamp(Token { term: 1, node: 1 }, &applied);
        assert!(first >= 60_000_000_000, "an idle minute counts: {first}");
        assert!(clock.stamp(Token { term: 1, node: 1 }, &applied) > first);
    }
}
