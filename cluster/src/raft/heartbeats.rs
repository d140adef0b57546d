//! Heartbeats of many groups to one peer, as few requests.
//!
//! The groups of a node beat at the same moments. While a request to a peer is on its way, the heartbeats that come
//! meanwhile wait for it and then go together: nothing is delayed when there is little, and an idle node sends a fraction
//! of the requests. An append with entries is never held here.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::timeout};

use super::{group::Group, type_config::TypeConfig};
use crate::{GroupId, NodeId, RequestError, codec, limits::HEARTBEATS_PER_FRAME, link::Link};

/// The frame that carries them; the groups are in its body.
pub(crate) const HEARTBEATS: u8 = 6;

type Request = AppendEntriesRequest<TypeConfig>;
type Response = AppendEntriesResponse<TypeConfig>;

struct Waiting {
    group: GroupId,
    request: Request,
    tell: oneshot::Sender<Result<Response, RequestError>>,
}

/// What waits for one peer, and whether a request to it is on its way.
#[derive(Default)]
struct Lane {
    waiting: Vec<Waiting>,
    busy: bool,
}

/// Gathers the heartbeats of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Heartbeats {
    transport: Arc<Link>,
    lanes: Arc<Mutex<BTreeMap<NodeId, Lane>>>,
}

impl Heartbeats {
    pub(crate) fn new(transport: Arc<Link>) -> Self {
        Self { transport, lanes: Arc::default() }
    }

    /// Sends a heartbeat and waits for its answer.
    pub(super) async fn send(&self, to: NodeId, group: GroupId, request: Request, within: Duration) -> Result<Response, RequestError> {
        let (tell, told) = oneshot::channel();
        let begins = {
            let mut lanes = self.lanes.lock();
            let lane = lanes.entry(to).or_default();
            // Whoever gave up waiting needs no answer; so what waits is bounded by the groups that beat.
            lane.waiting.retain(|waiting| !waiting.tell.is_closed());
            lane.waiting.push(Waiting { group, request, tell });
            !std::mem::replace(&mut lane.busy, true)
        };
        if begins {
            tokio::spawn(self.clone().run(to, within));
        }
        match timeout(within, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(RequestError::Unreachable(to, "the node is stopping".to_owned())),
            Err(_) => Err(RequestError::Deadline),
        }
    }

    /// Sends what waits for a peer until nothing does.
    async fn run(self, to: NodeId, within: Duration) {
        loop {
            let batch: Vec<Waiting> = {
                let mut lanes = self.lanes.lock();
                let Some(lane) = lanes.get_mut(&to).filter(|lane| !lane.waiting.is_empty()) else {
                    // Idle lanes go, so that peers that left leave nothing behind.
                    lanes.remove(&to);
                    return;
                };
                let taken = lane.waiting.len().min(HEARTBEATS_PER_FRAME);
                lane.waiting.drain(..taken).collect()
            };
            let (requests, tells): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|waiting| ((waiting.group, waiting.request), waiting.tell)).unzip();
            let answers = self.exchange(to, &requests, within).await;
            for (n, tell) in tells.into_iter().enumerate() {
                let answer = match &answers {
                    Ok(answers) => match answers.get(n) {
                        Some(Ok(answer)) => Ok(answer.clone()),
                        Some(Err(why)) => Err(RequestError::Refused(why.clone())),
                        None => Err(RequestError::Refused("too few answers".to_owned())),
                    },
                    Err(why) => Err(RequestError::Unreachable(to, why.clone())),
                };
                // The group gave up waiting, or stopped.
                let _ = tell.send(answer);
            }
        }
    }

    async fn exchange(
        &self,
        to: NodeId,
        requests: &[(GroupId, Request)],
        within: Duration,
    ) -> Result<Vec<Result<Response, String>>, String> {
        let body = codec::encode(requests).map_err(|error| error.to_string())?;
        let answer = self.transport.request(to, HEARTBEATS, 0, &body, within).await.map_err(|error| error.to_string())?;
        codec::decode(&answer).map_err(|error| error.to_string())
    }
}

/// Answers a frame of heartbeats, each by the replica that `find` has for its group.
pub(crate) async fn answer(body: &[u8], find: impl Fn(GroupId) -> Option<Group>) -> Result<Bytes, String> {
    let requests: Vec<(GroupId, Request)> = codec::decode(body).map_err(|error| error.to_string())?;
    if requests.len() > HEARTBEATS_PER_FRAME {
        return Err("too many heartbeats at once".to_owned());
    }
    let find = &find;
    let beats = requests.into_iter().map(|(id, request)| async move {
        let group = find(id).ok_or_else(|| format!("no group {id}"))?;
        group.raft.append_entries(request).await.map_err(|error| error.to_string())
    });
    let answers: Vec<Result<Response, String>> = futures::future::join_all(beats).await;
    codec::encode(&answers).map(Bytes::from).map_err(|error| error.to_string())
}
