//! openraft's calls to other replicas, as requests over the transport; and the peers' calls to ours.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{
    BasicNode, OptionalSend, Snapshot,
    alias::{SnapshotMetaOf, SnapshotOf},
    error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{Backoff, RPCOption, RaftNetworkFactory},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
        VoteResponse,
    },
};
use openraft_multi::{GroupNetworkAdapter, GroupNetworkFactory, GroupRouter};
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Handle;

use super::{
    heartbeats::Heartbeats,
    machine::Applied,
    parcel,
    type_config::{TypeConfig, Vote},
};
use crate::{GroupId, NodeId, RequestError, codec, limits::SNAPSHOT_INSTALL_WITHIN, link::Link, offload, transport};

pub(crate) type Raft = openraft::Raft<TypeConfig, Applied>;

/// Kinds of frames between replicas of a group.
pub(crate) const APPEND: u8 = 1;
pub(crate) const VOTE: u8 = 2;
pub(crate) const PRE_VOTE: u8 = 3;
pub(crate) const SNAPSHOT: u8 = 4 | transport::BULK;
pub(crate) const TRANSFER: u8 = 5;

/// How long to leave an unreachable replica alone between two attempts.
const BACKOFF: Duration = Duration::from_millis(20);

/// Sends a group's calls to other replicas.
#[derive(Clone)]
pub(crate) struct Router {
    transport: Arc<Link>,
    heartbeats: Heartbeats,
}

fn failed(error: &RequestError) -> RPCError<TypeConfig> {
    match error {
        RequestError::Deadline => RPCError::Network(NetworkError::new(error)),
        RequestError::Unreachable(..) | RequestError::Refused(_) => RPCError::Unreachable(Unreachable::new(error)),
    }
}

impl Router {
    pub(crate) fn new(transport: Link) -> Self {
        let transport = Arc::new(transport);
        Self { heartbeats: Heartbeats::new(Arc::clone(&transport)), transport }
    }

    async fn call<Q: Serialize, R: DeserializeOwned>(
        &self,
        to: NodeId,
        group: GroupId,
        kind: u8,
        request: &Q,
        ttl: Duration,
    ) -> Result<R, RPCError<TypeConfig>> {
        let garbled = |error: &codec::Error| RPCError::Network(NetworkError::new(error));
        let body = codec::encode(request).map_err(|error| garbled(&error))?;
        let answer = self.transport.request(to, kind, group, &body, ttl).await.map_err(|error| failed(&error))?;
        codec::decode(&answer).map_err(|error| garbled(&error))
    }
}

impl GroupRouter<TypeConfig, GroupId> for Router {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &self,
        to: NodeId,
        group: GroupId,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        if request.entries.is_empty() {
            return self.heartbeats.send(to, group, request, option.hard_ttl()).await.map_err(|error| failed(&error));
        }
        self.call(to, group, APPEND, &request, option.hard_ttl()).await
    }

    async fn vote(
        &self,
        to: NodeId,
        group: GroupId,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(to, group, VOTE, &request, option.hard_ttl()).await
    }

    async fn pre_vote(
        &self,
        to: NodeId,
        group: GroupId,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(to, group, PRE_VOTE, &request, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &self,
        to: NodeId,
        group: GroupId,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, Vec<u8>>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let garbled = |error: &codec::Error| StreamingError::Network(NetworkError::new(error));
        let tail = parcel::seal(&(vote, snapshot.meta), &snapshot.snapshot).map_err(|error| garbled(&error))?;
        let parts = [&snapshot.snapshot[..], &tail];
        // Not a deadline for the whole, which would bound the size: a transfer may take as long as it moves.
        let sent = tokio::select! {
            sent = self.transport.send_bulk(to, SNAPSHOT, group, &parts, SNAPSHOT_INSTALL_WITHIN) => sent,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        let answer = sent.map_err(|error| match error {
            RequestError::Deadline => StreamingError::Network(NetworkError::new(&error)),
            RequestError::Unreachable(..) | RequestError::Refused(_) => StreamingError::Unreachable(Unreachable::new(&error)),
        })?;
        codec::decode(&answer).map_err(|error| garbled(&error))
    }

    async fn transfer_leader(
        &self,
        to: NodeId,
        group: GroupId,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(to, group, TRANSFER, &request, option.hard_ttl()).await
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(BACKOFF)))
    }
}

/// openraft's factory trait on openraft-multi's factory, which the orphan rule keeps apart.
pub(crate) struct Factory(pub(crate) GroupNetworkFactory<Router, GroupId>);

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = GroupNetworkAdapter<TypeConfig, GroupId, Router>;

    async fn new_client(&mut self, target: NodeId, _node: &BasicNode) -> Self::Network {
        GroupNetworkAdapter::new(self.0.factory.clone(), target, self.0.group_id)
    }
}

/// Answers a replica's call to our replica of a group.
pub(crate) async fn answer(raft: &Raft, kind: u8, body: Bytes) -> Result<Bytes, String> {
    fn reply<T: Serialize, E: std::fmt::Display>(result: Result<T, E>) -> Result<Bytes, String> {
        let value = result.map_err(|error| error.to_string())?;
        codec::encode(&value).map(Bytes::from).map_err(|error| error.to_string())
    }
    fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
        codec::decode(body).map_err(|error| error.to_string())
    }
    match kind {
        APPEND => reply(raft.append_entries(read(&body)?).await),
        VOTE => reply(raft.vote(read(&body)?).await),
        PRE_VOTE => reply(raft.pre_vote(read(&body)?).await),
        TRANSFER => reply(raft.handle_transfer_leader(read(&body)?).await),
        SNAPSHOT => {
            // A checksum over a large state takes longer than an async thread should be held.
            let opened = offload(Handle::current(), move || parcel::open::<(Vote, SnapshotMetaOf<TypeConfig>)>(body));
            let ((vote, meta), snapshot) = opened.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            reply(raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await)
        }
        kind => Err(format!("kind {kind} is not a call between replicas")),
    }
}
