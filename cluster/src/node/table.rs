//! The node table: what the meta group, the leases and the connections say of every node, as seen from here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Node;
use crate::{GroupId, Incarnation, NodeId, NodeState, NodeStatus, NodeTable, Standing, meta::MetaState};

/// Keeps up with the meta group: peers to meet, lives that ended, a level this binary does not have.
pub(super) async fn follow_meta(node: Arc<Node>) {
    let mut meta = node.meta.clone();
    let mut known: BTreeMap<NodeId, Incarnation> = BTreeMap::new();
    loop {
        let seen = Arc::clone(&meta.borrow_and_update());
        for (id, incarnation) in seen.nodes.iter().map(|(id, row)| (*id, row.incarnation)) {
            // A newer life of a node proves that the one before is over.
            if let Some(old) = known.insert(id, incarnation).filter(|old| *old < incarnation) {
                node.liveness.lose(id, old);
            }
        }
        for (id, incarnation) in &seen.fenced {
            node.liveness.lose(*id, *incarnation);
        }
        if seen.feature_level > node.options.feature_level {
            let why = format!(
                "the cluster behaves as of feature level {} and this binary knows {}",
                seen.feature_level, node.options.feature_level
            );
            node.cease(&why).await;
            return;
        }
        let though = |(group, skips): (&GroupId, _)| Some((*group, node.group(*group)?.applied_though(skips)?));
        if let Some((group, index)) = seen.skips.iter().find_map(though) {
            let why = format!(
                "entry {index} of group {group} is skipped by the cluster and was applied here: start the node again; if it says this \
                 again, clear its data directory and join it under a new id"
            );
            node.cease(&why).await;
            return;
        }
        node.meet_peers();
        node.publish_table();
        if meta.changed().await.is_err() {
            return;
        }
    }
}

impl Node {
    pub(super) fn publish_table(&self) {
        let meta = self.meta();
        let ids: BTreeSet<NodeId> = meta.members.keys().chain(meta.nodes.keys()).copied().collect();
        let table: NodeTable = ids.into_iter().filter_map(|id| Some((id, self.status(id)?))).collect();
        self.table.send_if_modified(|current| {
            let changed = **current != table;
            if changed {
                *current = Arc::new(table);
            }
            changed
        });
        self.publish_standing(&meta);
    }

    fn publish_standing(&self, meta: &MetaState) {
        let me = self.options.node;
        let standing = match (meta.members.get(&me), meta.nodes.get(&me)) {
            (Some(member), _) if member.leaving => Standing::Leaving,
            (_, Some(row)) if row.draining => Standing::Draining,
            (Some(_), Some(_)) => Standing::Serving,
            _ => Standing::Waiting,
        };
        self.standing.send_if_modified(|current| {
            let changed = *current != standing && !matches!(current, Standing::Left | Standing::Stopped(_));
            if changed {
                *current = standing;
            }
            changed
        });
    }

    pub(super) fn is_witness(&self, node: NodeId) -> bool {
        self.meta().members.get(&node).is_some_and(|member| member.witness)
    }

    fn status(&self, id: NodeId) -> Option<NodeStatus> {
        let meta = self.meta();
        let member = meta.members.get(&id);
        let Some(row) = meta.nodes.get(&id) else {
            // Admitted, and not seen yet.
            let (addr, witness, state) = member.map(|member| (member.addr, member.witness, NodeState::Suspect))?;
            return Some(NodeStatus { id, incarnation: 0, addr, witness, state, feature_level: 0, attributes: BTreeMap::new() });
        };
        let here = id == self.options.node;
        let state = if self.liveness.is_lost(id, row.incarnation) {
            NodeState::Lost
        } else if row.draining || member.is_some_and(|member| member.leaving) {
            NodeState::Draining
        } else if here || self.transport.connected(id).is_some() {
            NodeState::Up
        } else {
            NodeState::Suspect
        };
        let (incarnation, addr, witness, attributes) = (row.incarnation, row.addr, row.witness, row.attributes.clone());
        Some(NodeStatus { id, incarnation, addr, witness, state, feature_level: row.feature_level, attributes })
    }
}
