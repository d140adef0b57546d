//! Brings voters and leaderships to where they should be: one task per node, acting for the groups this node leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::plan::{Members, next_transfer, next_voters, wanted_voters};
use crate::{
    NodeId,
    limits::{LEVEL_ENTRIES, MEMBERSHIP_WITHIN, PLACEMENT_ROUND, PLACEMENT_SETTLE},
    meta::{META, MetaCommand},
    node::{Node, failover},
    raft::group::Group,
};

/// Starts the steward of a node.
pub(crate) fn watch(node: &Arc<Node>) {
    node.keep(run(Arc::clone(node)));
}

async fn run(node: Arc<Node>) {
    let mut rounds = interval(PLACEMENT_ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if node.stopping() {
            return;
        }
        let me = node.options.node;
        let behind = node.slow.me();
        let (led, elected): (Vec<Group>, Vec<Group>) =
            node.all_groups().into_iter().filter(|group| group.leader() == Some(me)).partition(|group| group.leading().is_some());
        for group in elected.iter().filter(|group| behind.groups.contains(&group.id)) {
            // It was elected and cannot serve before it has applied everything, which takes it long.
            hand_to_a_level_node(&node, group, &node.meta().members).await;
        }
        if led.is_empty() {
            continue;
        }
        if led.iter().any(|group| group.id == META) {
            keep_members(&node).await;
        }
        let meta = node.meta();
        let hand_over = node.options.witness
            || meta.nodes.get(&me).is_some_and(|row| row.draining)
            || meta.members.get(&me).is_none_or(|member| member.leaving);
        for group in &led {
            if !hand_over {
                arrange_voters(&node, group, &meta.members).await;
            }
            if hand_over || behind.disk || behind.groups.contains(&group.id) {
                hand_to_a_level_node(&node, group, &meta.members).await;
            }
        }
        if !hand_over && !behind.disk {
            spread(&node, &meta.members).await;
        }
    }
}

/// The meta leader writes down who founded the cluster and forgets who has left.
async fn keep_members(node: &Arc<Node>) {
    let meta = node.meta();
    if meta.members.is_empty() {
        propose(node, MetaCommand::Found { peers: node.options.bootstrap.clone() }).await;
        return;
    }
    for id in meta.members.iter().filter(|(_, member)| member.leaving).map(|(id, _)| *id) {
        let life = meta.nodes.get(&id).map(|row| row.incarnation);
        if let Some(life) = life.filter(|_| !meta.may_go(id) && node.transport.connected(id).is_none()) {
            // A node that died before it was told to leave releases itself never: is its death certain?
            failover::give_up_if_lost(node, id, life).await;
        }
        // A committed membership without the node is the last word: it can neither vote nor be counted on any more.
        if meta.may_go(id) && node.all_groups().iter().all(|group| !group.committed_members().contains(&id)) {
            propose(node, MetaCommand::Remove { node: id }).await;
        }
    }
}

async fn propose(node: &Arc<Node>, command: MetaCommand) {
    if let Err(error) = node.propose_meta(&command, MEMBERSHIP_WITHIN).await {
        tracing::debug!(%error, ?command, "not committed; the next round tries again");
    }
}

/// Adds newcomers as learners, makes level ones voters, takes the vote from those that leave, drops those that left.
async fn arrange_voters(node: &Arc<Node>, group: &Group, members: &Members) {
    if members.is_empty() || !group.led_for(PLACEMENT_ROUND) {
        return;
    }
    let (sets, known) = group.membership();
    if let Some((id, member)) = members.iter().find(|(id, member)| !known.contains(id) && !member.leaving) {
        tracing::info!(group = group.id, node = id, "a newcomer begins to follow");
        report(group, timeout(MEMBERSHIP_WITHIN, group.add_learner(*id, member.addr)).await);
        return;
    }
    let voters: BTreeSet<NodeId> = sets.iter().flatten().copied().collect();
    let wanted = wanted_voters(members, &voters);
    let level = level_nodes(node, group, &known);
    if let Some(next) = next_voters(&wanted, &voters, &level) {
        tracing::info!(group = group.id, ?voters, ?next, "the voters change");
        report(group, timeout(MEMBERSHIP_WITHIN, group.change_voters(next)).await);
    } else if sets.len() > 1 {
        // A leader died between the two steps of a change.
        report(group, timeout(MEMBERSHIP_WITHIN, group.change_voters(wanted)).await);
    } else if let Some(gone) = known.iter().find(|id| !voters.contains(id) && node.meta().may_go(**id)) {
        report(group, timeout(MEMBERSHIP_WITHIN, group.drop_learner(*gone)).await);
    }
}

fn report(group: &Group, result: Result<Result<(), String>, tokio::time::error::Elapsed>) {
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(group = group.id, %error, "the membership did not change; the next round tries again"),
        Err(_) => tracing::debug!(group = group.id, "the membership change takes long; the next round looks again"),
    }
}

/// Connected nodes whose log is nearly as long as ours.
fn level_nodes(node: &Node, group: &Group, known: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let (last, matched) = group.progress();
    let level =
        |id: &NodeId| node.transport.connected(*id).is_some() && matched.get(id).is_some_and(|matched| matched + LEVEL_ENTRIES >= last);
    known.iter().copied().filter(level).collect()
}

/// Gives a led group to the most caught-up data node that may lead, as soon as one is level.
async fn hand_to_a_level_node(node: &Arc<Node>, group: &Group, members: &Members) {
    let (_, matched) = group.progress();
    let heirs = may_lead(node, members, |heir| node.slow.peer_in(heir, group.id));
    let (_, known) = group.membership();
    let level = level_nodes(node, group, &known);
    let best = heirs
        .iter()
        .filter(|heir| **heir != node.options.node && level.contains(heir) && group.voters().contains(heir))
        .max_by_key(|heir| matched.get(heir));
    if let Some(heir) = best {
        tracing::info!(group = group.id, to = heir, "a leadership is handed over");
        report(group, Ok(group.give_leadership_to(*heir).await));
    }
}

/// Moves one leadership towards an even spread, once all is quiet.
async fn spread(node: &Arc<Node>, members: &Members) {
    let groups: BTreeMap<_, _> = node.all_groups().into_iter().map(|group| (group.id, group)).collect();
    let leaders = groups.iter().map(|(id, group)| (*id, group.leader())).collect();
    let settled = |id| groups.get(&id).is_some_and(|group| group.led_for(PLACEMENT_SETTLE) && group.membership().0.len() == 1);
    let Some((id, to)) = next_transfer(&leaders, node.options.node, &may_lead(node, members, |id| node.slow.peer_disk(id)), settled) else {
        return;
    };
    let group = &groups[&id];
    if node.slow.peer_in(to, id) {
        return;
    }
    if group.voters().contains(&to) && level_nodes(node, group, &BTreeSet::from([to])).contains(&to) {
        tracing::info!(group = id, to, "a leadership moves to a node that leads fewer");
        report(group, Ok(group.give_leadership_to(to).await));
    }
}

/// Data nodes in reach that neither drain nor leave nor are slow.
fn may_lead(node: &Node, members: &Members, slow: impl Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
    let meta = node.meta();
    let fit = |(id, member): &(&NodeId, &super::Member)| {
        !member.witness
            && !member.leaving
            && meta.nodes.get(id).is_some_and(|row| !row.draining)
            && (**id == node.options.node || node.transport.connected(**id).is_some())
            && !slow(**id)
    };
    members.iter().filter(fit).map(|(id, _)| *id).collect()
}
