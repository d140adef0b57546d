//! Packs every command that waits behind the previous proposal into one log entry, and stamps it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use openraft::error::{ClientWriteError, ForwardReason, RaftError};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    machine::Applied,
    network::Raft,
    type_config::{Batch, TypeConfig},
};
use crate::{
    Committed, GroupId, ProposeError,
    limits::{PROPOSAL_BATCH_MAX_BYTES, PROPOSAL_BATCH_MAX_COMMANDS},
};

/// Pause of a leader that has no quorum's word yet.
const LEASE_PAUSE: Duration = Duration::from_millis(1);

pub(crate) struct Proposal {
    pub(crate) command: Bytes,
    pub(crate) deadline: Instant,
    pub(crate) tell: oneshot::Sender<Result<Committed, ProposeError>>,
}

/// Log time: the last entry's, advanced by this node's monotonic clock since this node began to lead.
struct Clock {
    term: u64,
    base_ns: u64,
    since: Instant,
    last_ns: u64,
}

impl Clock {
    fn stamp(&mut self, term: u64, applied: &Applied) -> u64 {
        if self.term != term {
            *self = Self { term, base_ns: applied.time_ns().max(self.last_ns), since: Instant::now(), last_ns: self.last_ns };
        }
        let now = self.base_ns + self.since.elapsed().as_nanos() as u64;
        self.last_ns = now.max(self.last_ns + 1);
        self.last_ns
    }
}

pub(crate) async fn run(group: GroupId, raft: Raft, applied: Applied, mut inbox: mpsc::Receiver<Proposal>) {
    let mut clock = Clock { term: 0, base_ns: 0, since: Instant::now(), last_ns: 0 };
    while let Some(first) = inbox.recv().await {
        let mut bytes = first.command.len();
        let mut waiting = vec![first];
        while waiting.len() < PROPOSAL_BATCH_MAX_COMMANDS && bytes < PROPOSAL_BATCH_MAX_BYTES {
            let Ok(next) = inbox.try_recv() else { break };
            bytes += next.command.len();
            waiting.push(next);
        }
        let started = Instant::now();
        let result = commit(&raft, &applied, &mut clock, &waiting).await;
        metrics::histogram!("raft_commit_seconds").record(started.elapsed().as_secs_f64());
        metrics::counter!("raft_commands_total", "group" => group.to_string()).increment(waiting.len() as u64);
        for (n, proposal) in waiting.into_iter().enumerate() {
            let answer = match &result {
                Ok((index, replies)) => Ok(Committed { index: *index, reply: replies[n].clone() }),
                Err((definite, why)) if *definite => Err(ProposeError::Definite(why.clone())),
                Err((_, why)) => Err(ProposeError::Indefinite(why.clone())),
            };
            // The proposer may have given up at its deadline.
            let _ = proposal.tell.send(answer);
        }
    }
}

/// Writes one entry; the error says whether it is certainly not in the log.
async fn commit(raft: &Raft, applied: &Applied, clock: &mut Clock, waiting: &[Proposal]) -> Result<(u64, Vec<Bytes>), (bool, String)> {
    let deadline = waiting.iter().map(|proposal| proposal.deadline).max().unwrap_or_else(Instant::now);
    loop {
        if !raft.is_leader() {
            return Err((true, "not the leader".to_owned()));
        }
        let term = openraft::async_runtime::watch::WatchReceiver::borrow_watched(&raft.server_metrics()).vote.leader_id().term;
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let batch = Batch {
            time_ns: clock.stamp(term, applied),
            wall_ms,
            commands: waiting.iter().map(|proposal| proposal.command.clone()).collect(),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, raft.client_write(batch)).await {
            Ok(Ok(written)) => {
                let replies = written.response().clone();
                return Ok((replies.index, replies.replies));
            }
            Ok(Err(error)) if never_written(&error) => {
                if Instant::now() >= deadline {
                    return Err((true, error.to_string()));
                }
                sleep(LEASE_PAUSE).await;
            }
            Ok(Err(error)) => return Err((false, error.to_string())),
            Err(_) => return Err((false, "no quorum confirmed it in time".to_owned())),
        }
    }
}

/// A leader without a fresh word of its quorum, or on its way out, refuses before it writes.
fn never_written(error: &RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> bool {
    matches!(error, RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) if forward.reason != ForwardReason::NotLeader)
}
