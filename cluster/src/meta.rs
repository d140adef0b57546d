//! Group 0: which nodes there are and which partition a domain lives in. Small, cached by every node, never on a call's path.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{Entry, GroupId, Incarnation, Machine, NodeId, Token, codec};

/// The group the cluster keeps its own state in.
pub(crate) const META: GroupId = 0;

/// The reply to a command that was refused; no group has this number.
pub(crate) const REFUSED: GroupId = GroupId::MAX;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRow {
    pub(crate) incarnation: Incarnation,
    pub(crate) addr: SocketAddr,
    pub(crate) witness: bool,
    pub(crate) draining: bool,
    pub(crate) feature_level: u32,
    pub(crate) attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetaState {
    pub(crate) nodes: BTreeMap<NodeId, NodeRow>,
    /// Lives that may no longer act, the latest of each node: so that a supporter that restarts does not renew them.
    pub(crate) fenced: BTreeMap<NodeId, Incarnation>,
    pub(crate) domains: BTreeMap<String, GroupId>,
    /// The product's own small shared table.
    pub(crate) directory: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum MetaCommand {
    /// A node started; an older life of it than the known one changes nothing.
    Register {
        node: NodeId,
        row: NodeRow,
    },
    /// A life of a node is over: given up by a majority, or proven dead.
    Fence {
        node: NodeId,
        incarnation: Incarnation,
    },
    /// Gives a domain a partition for good, the one with the fewest domains.
    Assign {
        domain: String,
        groups: u32,
    },
    Drain {
        node: NodeId,
        draining: bool,
    },
    /// Sets or, without a value, removes a row of the product's table.
    Put {
        key: String,
        value: Option<Vec<u8>>,
    },
}

impl MetaState {
    fn apply(&mut self, command: MetaCommand) -> GroupId {
        match command {
            MetaCommand::Register { node, row } => {
                let known = self.nodes.get(&node).map_or(0, |known| known.incarnation);
                if row.incarnation < known {
                    return REFUSED;
                }
                if row.incarnation > known {
                    self.nodes.insert(node, row);
                }
                0
            }
            MetaCommand::Fence { node, incarnation } => {
                let fenced = self.fenced.entry(node).or_default();
                *fenced = incarnation.max(*fenced);
                0
            }
            MetaCommand::Assign { domain, groups } => {
                if let Some(group) = self.domains.get(&domain) {
                    return *group;
                }
                let load = |group: &GroupId| self.domains.values().filter(|assigned| *assigned == group).count();
                let group = (1..=groups).min_by_key(|group| (load(group), *group)).unwrap_or(1);
                self.domains.insert(domain, group);
                group
            }
            MetaCommand::Drain { node, draining } => {
                if let Some(row) = self.nodes.get_mut(&node) {
                    row.draining = draining;
                }
                0
            }
            MetaCommand::Put { key, value: Some(value) } => {
                self.directory.insert(key, value);
                0
            }
            MetaCommand::Put { key, value: None } => {
                self.directory.remove(&key);
                0
            }
        }
    }
}

/// The meta group's machine; publishes every state it reaches.
pub(crate) struct MetaMachine {
    state: MetaState,
    published: watch::Sender<Arc<MetaState>>,
}

impl MetaMachine {
    pub(crate) fn new(published: watch::Sender<Arc<MetaState>>) -> Self {
        Self { state: MetaState::default(), published }
    }

    fn publish(&self) {
        self.published.send_replace(Arc::new(self.state.clone()));
    }
}

impl Machine for MetaMachine {
    fn apply(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        let replies = entry.commands.iter().map(|command| {
            // Commands are made by this crate alone; one that does not read is from a newer level and must stop us.
            let command = codec::decode(command).expect("a meta command this binary cannot read: it is too old for its cluster");
            Bytes::copy_from_slice(&self.state.apply(command).to_le_bytes())
        });
        let replies = replies.collect();
        self.publish();
        replies
    }

    fn snapshot(&mut self) -> io::Result<Vec<u8>> {
        Ok(codec::encode(&self.state)?)
    }

    fn restore(&mut self, snapshot: &[u8]) -> io::Result<()> {
        self.state = codec::decode(snapshot)?;
        self.publish();
        Ok(())
    }

    fn role(&mut self, _leading: Option<Token>) {}
}
