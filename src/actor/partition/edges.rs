//! Telling the state which lives of nodes are over. Who is dead is the cluster's finding; this only passes it on.

use std::{collections::BTreeSet, sync::Arc};

use ractor::ActorRef;
use tandem_cluster::{NodeState, NodeTable, Token};
use tokio::time::Instant;

use super::{Message, Partition};
use crate::actor::limits::{ADOPT_WITHIN, HAND_OVER_AFTER};
use crate::core::{
    Command,
    id::{Edge, NodeId},
    limits::HEIRS_MAX,
};

/// Lives of nodes that are over, oldest of each node first: those the state depends on, and the last one of each node.
pub(super) fn lost(depends_on: &BTreeSet<Edge>, table: &NodeTable) -> BTreeSet<Edge> {
    let last = table.values().filter_map(|row| {
        let over = matches!(row.state, NodeState::Lost | NodeState::Left);
        let incarnation = if over { Some(row.incarnation) } else { row.incarnation.checked_sub(1).filter(|before| *before > 0) };
        incarnation.map(|incarnation| Edge { node: NodeId(row.id), incarnation })
    });
    let is_over = |edge: &&Edge| match table.get(&edge.node.0) {
        Some(row) => {
            row.incarnation > edge.incarnation
                || (row.incarnation == edge.incarnation && matches!(row.state, NodeState::Lost | NodeState::Left))
        }
        None => true,
    };
    depends_on.iter().filter(is_over).copied().chain(last).collect()
}

/// The edges that can go on with a dead one's calls: those that take calls, else those that are on their way out. A
/// witness has no SIP edge.
pub(in crate::actor) fn heirs(table: &NodeTable) -> Vec<Edge> {
    let in_state = |state: NodeState| {
        let rows = table.values().filter(move |row| !row.witness && row.state == state);
        rows.map(|row| Edge { node: NodeId(row.id), incarnation: row.incarnation }).take(HEIRS_MAX)
    };
    let up: Vec<_> = in_state(NodeState::Up).collect();
    if up.is_empty() { in_state(NodeState::Draining).collect() } else { up }
}

/// Whether the loss is not declared yet. Several lives can be given up within moments of each other, and the next ones begin as
/// fast: calls that somebody could still go on with wait for an heir, as long as their callers would.
pub(super) fn waits_for_an_heir(heirs: &[Edge], recent: &BTreeSet<Edge>) -> bool {
    heirs.is_empty() && !recent.is_empty()
}

impl Partition {
    /// Proposes the loss of every life of a node that is over and not declared yet.
    pub(super) fn declare_lost(&mut self, myself: &ActorRef<Message>) {
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.led) else { return };
        let table = Arc::clone(&self.shared.cluster.nodes().borrow());
        let me = self.shared.me();
        // A node that does not see itself has not read the table yet.
        if !table.contains_key(&me.node.0) {
            return;
        }
        let depends_on = self.replica.state.read().edges();
        let with_callbacks = |edge: &Edge| self.replica.state.read().domains().values().any(|domain| domain.has_callbacks_on(*edge));
        let lost: Vec<_> = lost(&depends_on, &table).into_iter().filter(|edge| *edge != me && !leading.declared.contains(edge)).collect();
        if lost.is_empty() {
            return;
        }
        let heirs = heirs(&table);
        let heard = |edge: &Edge| self.shared.cluster.heard_ago(edge.node.0, edge.incarnation);
        // A leader that has not heard the life itself cannot tell how long its callers have heard nothing. They may have
        // hung up days ago, if all this came from a backup.
        let recent: BTreeSet<_> = lost.iter().copied().filter(|edge| heard(edge).is_some_and(|ago| ago < ADOPT_WITHIN)).collect();
        if waits_for_an_heir(&heirs, &recent) {
            return;
        }
        leading.declared.extend(lost.iter().copied());
        // Who is to be called back holds no phone, and may be called after any time.
        let waited_for: BTreeSet<_> = lost.iter().copied().filter(with_callbacks).collect();
        let (shared, replica, back, token) = (Arc::clone(&self.shared), Arc::clone(&self.replica), myself.clone(), leading.token);
        tokio::spawn(async move {
            // In order: once a later life is known to be over, an earlier one is not declared any more.
            for (n, edge) in lost.iter().enumerate() {
                let heard = recent.contains(edge);
                if !heard && waited_for.contains(edge) && !heirs.is_empty() {
                    let keep = Command::KeepCallbacks { from: *edge, heirs: heirs.clone() };
                    if !shared.propose(replica.group, keep).await {
                        back.cast(Message::Declared(token, lost[n..].to_vec(), false)).ok();
                        return;
                    }
                }
                let heirs = if heard { heirs.clone() } else { Vec::new() };
                let committed = shared.propose(replica.group, Command::EdgeLost { edge: *edge, heirs }).await;
                // It changes nothing if every heir has died since it was named: another is asked for.
                if !(committed && replica.state.read().is_lost(*edge)) {
                    back.cast(Message::Declared(token, lost[n..].to_vec(), false)).ok();
                    return;
                }
            }
            back.cast(Message::Declared(token, lost, true)).ok();
        });
    }

    /// Gives the calls of nodes that leave to others. Asked at every sweep: what rang the last time may talk now.
    pub(super) fn hand_over(&mut self) {
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.led) else { return };
        let table = Arc::clone(&self.shared.cluster.nodes().borrow());
        let leaves = |edge: &Edge| {
            table.get(&edge.node.0).is_some_and(|row| row.incarnation == edge.incarnation && row.state == NodeState::Draining)
        };
        let depends_on = self.replica.state.read().edges();
        leading.draining.retain(|edge, _| depends_on.contains(edge) && leaves(edge));
        let heirs: Vec<_> = heirs(&table).into_iter().filter(|heir| !leaves(heir)).collect();
        for from in depends_on.into_iter().filter(leaves) {
            let since = *leading.draining.entry(from).or_insert_with(Instant::now);
            if since.elapsed() >= HAND_OVER_AFTER && !heirs.is_empty() {
                let (shared, group, heirs) = (Arc::clone(&self.shared), self.replica.group, heirs.clone());
                // What is not committed is asked for again at the next sweep.
                tokio::spawn(async move { shared.propose(group, Command::HandOver { from, heirs }).await });
            }
        }
    }

    /// What could not be committed is tried again at the next sweep.
    pub(super) fn declared(&mut self, token: Token, edges: &[Edge], committed: bool) {
        if let Some(leading) = self.leading.as_mut().filter(|leading| leading.token == token)
            && !committed
        {
            for edge in edges {
                leading.declared.remove(edge);
            }
        }
    }
}
