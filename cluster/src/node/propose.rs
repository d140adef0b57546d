//! Commands and reads on their way to the leader of their group, from whichever node they came to.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{Node, PROPOSE, READ_INDEX};
use crate::{Committed, GroupId, NodeId, ProposeError, RequestError, limits::FORWARD_PAUSE, raft::group::Group};

impl Node {
    /// True if too few voters of a group can be reached for anything to be committed.
    fn without_quorum(&self, group: &Group) -> bool {
        let mut voters = group.electorate();
        if voters.sets.is_empty() {
            voters = self.electorate();
        }
        !voters.majority(|node| node == self.options.node || self.transport.connected(node).is_some())
    }

    /// Commits here or through the leader; waits for a leader while a quorum is in reach.
    pub(crate) async fn propose(&self, id: GroupId, command: Bytes, within: Duration) -> Result<Committed, ProposeError> {
        let deadline = Instant::now() + within;
        let group = self.group(id).ok_or_else(|| ProposeError::Definite(format!("no group {id}")))?;
        loop {
            let result = match group.leader() {
                Some(leader) if leader == self.options.node => group.propose(command.clone(), deadline).await,
                Some(leader) => self.forward(leader, id, &command, deadline).await,
                None if self.without_quorum(&group) => Err(ProposeError::Definite("no quorum: most nodes cannot be reached".to_owned())),
                None => Err(ProposeError::Definite("no leader".to_owned())),
            };
            match result {
                Err(ProposeError::Definite(why)) if Instant::now() + FORWARD_PAUSE < deadline && !self.without_quorum(&group) => {
                    tracing::trace!(group = id, %why, "proposing again");
                    sleep(FORWARD_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn forward(&self, leader: NodeId, group: GroupId, command: &Bytes, deadline: Instant) -> Result<Committed, ProposeError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut body = (left.as_millis() as u64).to_le_bytes().to_vec();
        body.extend_from_slice(command);
        match self.transport.request(leader, PROPOSE, group, &body, left).await {
            Ok(answer) => match answer.split_first() {
                Some((0, rest)) if rest.len() >= 8 => {
                    let (index, reply) = rest.split_at(8);
                    let index = u64::from_le_bytes(index.try_into().expect("eight bytes were split off"));
                    Ok(Committed { index, reply: answer.slice_ref(reply) })
                }
                Some((1, why)) => Err(ProposeError::Definite(String::from_utf8_lossy(why).into_owned())),
                _ => Err(ProposeError::Indefinite(String::from_utf8_lossy(answer.get(1..).unwrap_or_default()).into_owned())),
            },
            Err(RequestError::Unreachable(_, why)) if why == "not connected" => Err(ProposeError::Definite(why)),
            Err(RequestError::Refused(why)) => Err(ProposeError::Definite(why)),
            Err(error) => Err(ProposeError::Indefinite(error.to_string())),
        }
    }

    /// Waits until the local replica has everything that was committed when this was called.
    pub(crate) async fn read_barrier(&self, id: GroupId, within: Duration) -> Result<u64, ProposeError> {
        let deadline = Instant::now() + within;
        let group = self.group(id).ok_or_else(|| ProposeError::Definite(format!("no replica of group {id} here")))?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let index = match group.leader() {
                Some(leader) if leader == self.options.node => group.read_index().await,
                Some(leader) => match self.transport.request(leader, READ_INDEX, id, &[], left).await {
                    Ok(answer) => answer
                        .first_chunk::<8>()
                        .map(|index| u64::from_le_bytes(*index))
                        .ok_or_else(|| ProposeError::Definite("a garbled answer".to_owned())),
                    Err(error) => Err(ProposeError::Definite(error.to_string())),
                },
                None => Err(ProposeError::Definite("no leader".to_owned())),
            };
            match index {
                Ok(index) => return group.applied_to(index, left).await.map(|()| index),
                Err(error) if self.without_quorum(&group) || Instant::now() + FORWARD_PAUSE >= deadline => return Err(error),
                Err(_) => sleep(FORWARD_PAUSE).await,
            }
        }
    }
}
