//! Group 0: which nodes there are and which partition a domain lives in. Small, cached by every node, never on a call's path.

mod requests;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    Entry, GroupId, Incarnation, Machine, NodeId, PeerSpec, Token, codec,
    limits::{DIRECTORY_ROWS_MAX, DOMAINS_MAX, NODES_MAX, SKIPS_MAX},
    placement::Member,
};
use requests::Requests;

/// The group the cluster keeps its own state in.
pub(crate) const META: GroupId = 0;

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
    /// Every node that was admitted, whether it ever started or not. Empty until the founders are written down.
    pub(crate) members: BTreeMap<NodeId, Member>,
    /// The nodes of the first start: the only ones that may found a group.
    pub(crate) founders: BTreeSet<NodeId>,
    /// Ids that were members once; none is given out again.
    pub(crate) departed: BTreeSet<NodeId>,
    /// What nodes said of themselves when they last started.
    pub(crate) nodes: BTreeMap<NodeId, NodeRow>,
    /// Lives that may no longer act, the latest of each node: so that a supporter that restarts does not renew them.
    pub(crate) fenced: BTreeMap<NodeId, Incarnation>,
    /// The level of behaviour all replicas have agreed on.
    pub(crate) feature_level: u32,
    pub(crate) domains: BTreeMap<String, GroupId>,
    /// The product's own small shared table.
    pub(crate) directory: BTreeMap<String, Vec<u8>>,
    pub(crate) requests: Requests,
    /// Entries that no replica applies, by group: they would end it.
    pub(crate) skips: BTreeMap<GroupId, BTreeSet<u64>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum MetaCommand {
    /// Writes the founders down; ignored when there are members.
    Found {
        peers: Vec<PeerSpec>,
    },
    Join {
        peer: PeerSpec,
    },
    /// Marks a node as leaving: its votes are moved off first.
    Leave {
        node: NodeId,
    },
    /// A leaving node has nothing left to do; it need not follow any more.
    Release {
        node: NodeId,
    },
    /// Forgets a leaving node that is in no group any more.
    Remove {
        node: NodeId,
    },
    /// A node started; an older life of it than the known one is refused.
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
    /// A forced recovery: this node is the cluster, all others have left it.
    Refound {
        node: NodeId,
    },
    /// Lets all replicas behave as of this level; refused while a member cannot.
    Raise {
        level: u32,
    },
    /// Sets or, without a value, removes a row of the product's table.
    Put {
        key: String,
        value: Option<Vec<u8>>,
    },
    /// Lets every replica of a group pass over an entry that cannot be applied.
    Skip {
        group: GroupId,
        index: u64,
    },
    /// Does a command unless one was done under this key before; answers what the first answered.
    Once {
        request: u128,
        command: Box<Self>,
    },
    /// Sets a row of the product's table if it is as expected (`None`: not there); refused otherwise.
    Replace {
        key: String,
        expect: Option<Vec<u8>>,
        value: Vec<u8>,
    },
}

/// The answer to a node that registers before somebody let it join: it may try again.
pub(crate) const NOT_ADMITTED: &str = "this node has not been admitted yet";

/// The answer to what comes in the first moments of a cluster: it may be said again.
pub(crate) const NOT_FOUNDED: &str = "the founders are not written down yet";
/// The answer to a node that was removed from the cluster.
pub(crate) const LEFT: &str = "this node has left the cluster";

/// What a command answers: a group where one was asked for, 0 otherwise, or why it changed nothing.
pub(crate) type Answer = Result<GroupId, String>;

impl MetaState {
    fn apply(&mut self, command: MetaCommand) -> Answer {
        match command {
            MetaCommand::Found { peers } => {
                if self.members.is_empty() {
                    self.members = peers.iter().map(|peer| (peer.id, member(peer))).collect();
                    self.founders = self.members.keys().copied().collect();
                }
            }
            MetaCommand::Join { peer } => self.join(&peer)?,
            MetaCommand::Leave { node } => self.leave(node)?,
            MetaCommand::Release { node } => self.release(node)?,
            MetaCommand::Remove { node } => self.remove(node),
            MetaCommand::Register { node, row } => self.register(node, row)?,
            MetaCommand::Fence { node, incarnation } => {
                let fenced = self.fenced.entry(node).or_default();
                *fenced = incarnation.max(*fenced);
            }
            MetaCommand::Assign { domain, groups } => return self.assign(domain, groups),
            MetaCommand::Drain { node, draining } => {
                let row = self.nodes.get_mut(&node).ok_or_else(|| format!("node {node} is not registered"))?;
                row.draining = draining;
            }
            MetaCommand::Refound { node } => self.refound(node),
            MetaCommand::Raise { level } => self.raise(level)?,
            MetaCommand::Put { key, value: Some(value) } => self.put(key, value)?,
            MetaCommand::Put { key, value: None } => {
                self.directory.remove(&key);
            }
            MetaCommand::Skip { group, index } => self.skip(group, index)?,
            MetaCommand::Once { request, command } => return self.once(request, *command),
            MetaCommand::Replace { key, expect, value } => {
                if self.directory.get(&key) != expect.as_ref() {
                    return Err("somebody else changed it in between: look at it, and try again".to_owned());
                }
                self.put(key, value)?;
            }
        }
        Ok(0)
    }

    fn put(&mut self, key: String, value: Vec<u8>) -> Result<(), String> {
        if self.directory.len() >= DIRECTORY_ROWS_MAX && !self.directory.contains_key(&key) {
            return Err(format!("the shared table is full ({DIRECTORY_ROWS_MAX} rows)"));
        }
        self.directory.insert(key, value);
        Ok(())
    }

    fn once(&mut self, request: u128, command: MetaCommand) -> Answer {
        if let Some(first) = self.requests.answer(request) {
            return first.clone();
        }
        let answer = self.apply(command);
        self.requests.remember(request, &answer);
        answer
    }

    /// Until the founders are written down nobody can be judged by who is a member.
    fn founded(&self) -> Result<(), String> {
        if self.members.is_empty() { Err(NOT_FOUNDED.to_owned()) } else { Ok(()) }
    }

    fn join(&mut self, peer: &PeerSpec) -> Result<(), String> {
        self.founded()?;
        if self.departed.contains(&peer.id) {
            return Err(format!("node id {} was used before; join under a new id", peer.id));
        }
        match self.members.get(&peer.id) {
            Some(known) if known.addr == peer.addr && known.witness == peer.witness => return Ok(()),
            Some(_) => return Err(format!("node id {} is taken", peer.id)),
            None if self.members.len() >= NODES_MAX => return Err(format!("a cluster has at most {NODES_MAX} nodes")),
            None => {}
        }
        self.members.insert(peer.id, member(peer));
        Ok(())
    }

    fn leave(&mut self, node: NodeId) -> Result<(), String> {
        self.founded()?;
        let stays = |(id, member): (&NodeId, &Member)| *id != node && !member.witness && !member.leaving;
        let others = self.members.iter().filter(|(id, member)| stays((id, member))).count();
        let leaving = self.members.get_mut(&node).ok_or_else(|| format!("node {node} is not a member"))?;
        if others == 0 {
            return Err(format!("node {node} is the last data node and cannot leave"));
        }
        leaving.leaving = true;
        Ok(())
    }

    fn release(&mut self, node: NodeId) -> Result<(), String> {
        let leaving = self.members.get_mut(&node).filter(|member| member.leaving);
        leaving.ok_or_else(|| format!("node {node} is not leaving"))?.released = true;
        Ok(())
    }

    /// True for a leaving node that nobody waits for: released, never started, or its last life is over.
    pub(crate) fn may_go(&self, node: NodeId) -> bool {
        let over = |row: &NodeRow| self.fenced.get(&node).is_some_and(|life| *life >= row.incarnation);
        self.members.get(&node).is_none_or(|member| member.leaving && (member.released || self.nodes.get(&node).is_none_or(over)))
    }

    fn remove(&mut self, node: NodeId) {
        if self.members.get(&node).is_some_and(|member| member.leaving) {
            self.members.remove(&node);
            self.nodes.remove(&node);
            self.departed.insert(node);
        }
    }

    fn register(&mut self, node: NodeId, row: NodeRow) -> Result<(), String> {
        if self.departed.contains(&node) {
            return Err(LEFT.to_owned());
        }
        if !self.members.is_empty() && !self.members.contains_key(&node) {
            return Err(NOT_ADMITTED.to_owned());
        }
        let kind = |witness: bool| if witness { "a witness" } else { "a data node" };
        if let Some(member) = self.members.get(&node).filter(|member| member.witness != row.witness) {
            return Err(format!("node {node} was admitted as {} and is configured as {}", kind(member.witness), kind(row.witness)));
        }
        let known = self.nodes.get(&node).map_or(0, |known| known.incarnation);
        if row.incarnation < known {
            return Err(format!(
                "node {node} has lived before: incarnation {known} is known and it says {}; clear the data directory and join under a new id",
                row.incarnation
            ));
        }
        if let Some(member) = self.members.get_mut(&node) {
            member.addr = row.addr;
        }
        // Said twice, it must not undo what happened in between.
        if row.incarnation > known {
            self.nodes.insert(node, row);
        }
        Ok(())
    }

    /// Makes one node the whole cluster. The ids of the others are spent: their lives own things in the product's state.
    pub(crate) fn refound(&mut self, node: NodeId) {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let known = self.members.get(&node).map(|member| (member.addr, member.witness));
        let (addr, witness) = known.unwrap_or((nowhere, false));
        self.departed.extend(self.members.keys());
        self.departed.remove(&node);
        self.members = BTreeMap::from([(node, Member { addr, witness, leaving: false, released: false })]);
        self.founders = BTreeSet::from([node]);
        self.nodes.retain(|id, _| *id == node);
    }

    fn assign(&mut self, domain: String, groups: u32) -> Answer {
        if let Some(group) = self.domains.get(&domain) {
            return Ok(*group);
        }
        if self.domains.len() >= DOMAINS_MAX {
            return Err(format!("a cluster has at most {DOMAINS_MAX} domains"));
        }
        let mut load: BTreeMap<GroupId, usize> = (1..=groups).map(|group| (group, 0)).collect();
        for group in self.domains.values() {
            *load.entry(*group).or_default() += 1;
        }
        let group = load.iter().min_by_key(|(group, domains)| (**domains, **group)).map_or(1, |(group, _)| *group);
        self.domains.insert(domain, group);
        Ok(group)
    }

    fn skip(&mut self, group: GroupId, index: u64) -> Result<(), String> {
        if group == META {
            return Err("the meta group cannot skip an entry of its own: note it on the disk of every node".to_owned());
        }
        if self.skips.values().map(BTreeSet::len).sum::<usize>() >= SKIPS_MAX {
            return Err(format!("a cluster skips at most {SKIPS_MAX} entries"));
        }
        self.skips.entry(group).or_default().insert(index);
        Ok(())
    }

    fn raise(&mut self, level: u32) -> Result<(), String> {
        self.founded()?;
        let behind = |id: &&NodeId| self.nodes.get(id).is_none_or(|row| row.feature_level < level);
        if let Some(id) = self.members.keys().find(behind) {
            return Err(format!("node {id} does not support feature level {level}"));
        }
        self.feature_level = level.max(self.feature_level);
        Ok(())
    }
}

fn member(peer: &PeerSpec) -> Member {
    Member { addr: peer.addr, witness: peer.witness, leaving: false, released: false }
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
            Bytes::from(codec::encode(&self.state.apply(command)).expect("an answer is a number or a short sentence"))
        });
        let replies = replies.collect();
        self.publish();
        replies
    }

    fn skip(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        let answer: Answer = Err(format!("entry {} is skipped at an operator's word", entry.index));
        let answer = Bytes::from(codec::encode(&answer).expect("a short sentence"));
        vec![answer; entry.commands.len()]
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

#[cfg(test)]
mod tests;
