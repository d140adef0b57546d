//! The first actor of a node: it supervises one partition actor per group, and passes on what the cluster tells of
//! leaderships and nodes.

use std::{collections::HashMap, sync::Arc};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tandem_cluster::GroupId;
use tokio::sync::{broadcast::error::RecvError, mpsc};

use super::{
    census::Kind,
    partition::{self, Arguments, PartitionActor},
    shared::Shared,
};

pub(super) struct RootActor;

/// What the root is told.
pub(super) enum Message {
    /// A replica of this group was opened.
    Opened(GroupId),
    /// A drill is over: what fell meanwhile is spawned again.
    Respawn,
}

pub(super) struct Root {
    shared: Arc<Shared>,
    groups: HashMap<ActorId, GroupId>,
    /// Drill: these fell while nothing was spawned again.
    stalled: Vec<GroupId>,
}

impl Actor for RootActor {
    type Msg = Message;
    type State = Root;
    type Arguments = Arc<Shared>;

    async fn pre_start(&self, _: ActorRef<Message>, shared: Arc<Shared>) -> Result<Root, ActorProcessingErr> {
        Ok(Root { shared, groups: HashMap::new(), stalled: Vec::new() })
    }

    async fn handle(&self, myself: ActorRef<Message>, message: Message, root: &mut Root) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Opened(group) => root.spawn(&myself, group).await,
            Message::Respawn => {
                for group in std::mem::take(&mut root.stalled) {
                    root.spawn(&myself, group).await;
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        root: &mut Root,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(cell, _) | SupervisionEvent::ActorTerminated(cell, ..) = event
            && let Some(group) = root.groups.remove(&cell.get_id())
        {
            tracing::warn!(group, "a partition actor fell");
            if root.shared.respawns() {
                root.shared.counters.restarted(Kind::Partition);
                root.spawn(&myself, group).await;
            } else {
                root.stalled.push(group);
            }
        }
        Ok(())
    }
}

impl Root {
    /// The new actor learns its role from the replica and everything else from the state.
    async fn spawn(&mut self, myself: &ActorRef<Message>, group: GroupId) {
        let Some(replica) = self.shared.replicas.get(group) else { return };
        let arguments = Arguments { shared: Arc::clone(&self.shared), replica: Arc::clone(&replica) };
        match Actor::spawn_linked(None, PartitionActor, arguments, myself.get_cell()).await {
            Ok((actor, _)) => {
                self.groups.insert(actor.get_id(), group);
                replica.attach(actor);
            }
            Err(error) => tracing::error!(group, %error, "a partition actor could not be spawned"),
        }
    }
}

/// Tells the root of every replica, those opened before it included.
pub(super) async fn follow_groups(mut opened: mpsc::UnboundedReceiver<GroupId>, root: ActorRef<Message>) {
    while let Some(group) = opened.recv().await {
        if root.cast(Message::Opened(group)).is_err() {
            return;
        }
    }
}

/// Tells partitions how long nobody led before them. One that is not told in time assumes no time at all.
pub(super) async fn follow_roles(shared: Arc<Shared>) {
    let mut roles = shared.cluster.roles();
    loop {
        match roles.recv().await {
            Ok(change) => {
                let actor = shared.replicas.get(change.group).and_then(|replica| replica.actor());
                if let (Some(actor), Some(token)) = (actor, change.leading) {
                    actor.cast(partition::Message::Gap(token, change.gap_ms)).ok();
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Wakes the partitions that lead when the node table changes.
pub(super) async fn follow_nodes(shared: Arc<Shared>) {
    let mut nodes = shared.cluster.nodes();
    while nodes.changed().await.is_ok() {
        for actor in shared.replicas.all().iter().filter_map(|replica| replica.leader()) {
            actor.cast(partition::Message::Nodes).ok();
        }
    }
}
