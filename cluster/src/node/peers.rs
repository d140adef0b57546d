//! Small notes of a node beside its log: where its peers were last, and that it has left for good.
//!
//! Both are hints for a process that cannot ask: a watcher that announces a death, and a start on a disk that has no
//! future. What counts is in the meta group.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{NodeId, Options};

fn peers_file(dir: &Path) -> PathBuf {
    dir.join("peers")
}

fn left_file(dir: &Path) -> PathBuf {
    dir.join("left")
}

/// Where the peers were last, this node included; those of the first start before it ever knew better.
pub(super) fn known(options: &Options) -> BTreeMap<NodeId, SocketAddr> {
    let text = fs::read_to_string(peers_file(&options.data_dir)).unwrap_or_default();
    let noted: BTreeMap<_, _> = text.lines().filter_map(read).collect();
    if noted.is_empty() { options.bootstrap.iter().map(|peer| (peer.id, peer.addr)).collect() } else { noted }
}

fn read(line: &str) -> Option<(NodeId, SocketAddr)> {
    let (id, addr) = line.split_once(' ')?;
    Some((id.parse().ok()?, addr.parse().ok()?))
}

/// Notes the peers down, whole or not at all. It need not survive a power cut.
pub(super) fn note(dir: &Path, peers: &BTreeMap<NodeId, SocketAddr>) -> io::Result<()> {
    let path = peers_file(dir);
    let temporary = path.with_extension("new");
    fs::write(&temporary, peers.iter().map(|(id, addr)| format!("{id} {addr}\n")).collect::<String>())?;
    fs::rename(&temporary, &path)
}

/// Notes that the node of this disk was removed from its cluster.
pub(super) fn note_left(dir: &Path) -> io::Result<()> {
    fs::write(left_file(dir), "")
}

/// True when the node of this disk was removed from its cluster: it has no future.
pub fn has_left(dir: &Path) -> bool {
    left_file(dir).exists()
}
