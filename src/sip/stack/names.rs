//! Tags and branches that say whose leg they belong to: `{leg}.{node}`.

use crate::core::id::{LegId, NodeId};

/// RFC 3261 §8.1.1.7's cookie and ours.
const COOKIE: &str = "z9hG4bKT";

pub(super) fn tag(leg: LegId, node: NodeId) -> String {
    format!("{leg}.{node}")
}

/// The branch of the `n`-th request of a leg.
pub(super) fn branch(leg: LegId, node: NodeId, n: u32) -> String {
    format!("{COOKIE}{leg}.{node}.{n}")
}

fn read_leg(text: &str) -> Option<LegId> {
    let (call, n) = text.split_once('-')?;
    Some(LegId { call: call.parse().ok()?, n: n.parse().ok()? })
}

pub(super) fn read_tag(text: &str) -> Option<(LegId, NodeId)> {
    let (leg, node) = text.split_once('.')?;
    Some((read_leg(leg)?, NodeId(node.parse().ok()?)))
}

/// Which of a leg's requests a branch is of.
pub(super) fn read_number(branch: &str) -> Option<u32> {
    branch.strip_prefix(COOKIE)?.split('.').nth(2)?.parse().ok()
}

pub(super) fn read_branch(text: &str) -> Option<(LegId, NodeId)> {
    let mut parts = text.strip_prefix(COOKIE)?.split('.');
    Some((read_leg(parts.next()?)?, NodeId(parts.next()?.parse().ok()?)))
}
