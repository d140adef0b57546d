//! What other nodes ask of this one's actors.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    limits::PAGE_MAX,
    partition,
    shared::Shared,
    wire::{Answer, Ask},
};
use crate::core::{codec, id::NodeId};

pub(super) async fn answer(shared: Arc<Shared>, from: NodeId, body: &[u8]) -> Result<Bytes, String> {
    let ask: Ask = codec::decode(body).map_err(|error| error.to_string())?;
    let answer = match ask {
        Ask::Command { group, envelope } => through(&shared, group, |reply| partition::Message::Command(envelope, reply)).await,
        Ask::Report { group, report } => through(&shared, group, |reply| partition::Message::Report(report, reply)).await,
        Ask::Orders(orders) => {
            let me = shared.me();
            // An order for an earlier life of this node is void, and said to be done so that nobody repeats it.
            shared.edge.perform(orders.into_iter().filter(|order| order.edge == me).collect());
            Answer::Done
        }
        Ask::Tunnel(frame) => {
            shared.edge.tunnelled(from, frame.into());
            Answer::Done
        }
        Ask::OwnerOf(leg) => Answer::Owner(shared.owner_of(leg)),
        Ask::Archive { group, from } => {
            let records = shared.partitions.get(&group).map(|partition| partition.archive.lock().read(from, PAGE_MAX));
            match records {
                Some(Ok(records)) => Answer::Records(records),
                Some(Err(error)) => Answer::Retry(error.to_string()),
                None => Answer::Retry("no replica here".to_owned()),
            }
        }
        Ask::Policy { group, domain, known } => {
            let policy = shared.partitions.get(&group).and_then(|partition| {
                let state = partition.state.read();
                let domain = state.domains().get(&domain).filter(|domain| domain.version() > known)?;
                Some((domain.version(), Box::new(domain.policy().clone())))
            });
            Answer::Policy(policy)
        }
    };
    Ok(codec::encode(&answer).into())
}

/// Hands something to the partition actor of a group this node leads, and waits for its answer.
async fn through(shared: &Shared, group: u32, message: impl FnOnce(oneshot::Sender<Answer>) -> partition::Message) -> Answer {
    if shared.cluster.leads(group).is_none() {
        return Answer::Retry("not the leader".to_owned());
    }
    let Some(actor) = shared.actors.lock().get(&group).cloned() else { return Answer::Retry("no replica here".to_owned()) };
    let (reply, answer) = oneshot::channel();
    if actor.cast(message(reply)).is_err() {
        return Answer::Retry("the partition is stopping".to_owned());
    }
    // An actor that ended in the middle drops its promise; what it proposed may be committed.
    answer.await.unwrap_or_else(|_| Answer::Unknown("the actor ended".to_owned()))
}
