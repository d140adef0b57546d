//! Small notes of a node beside its log: whose disk it is, which life it lives, where its peers were last, and that it has
//! left for good.
//!
//! They are for a process that cannot ask: a start, a watcher that announces a death, an operator's tool on a disk that
//! nobody runs on. What counts of the cluster is in the meta group.

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{Incarnation, NodeId, Options};

fn peers_file(dir: &Path) -> PathBuf {
    dir.join("peers")
}

fn name_file(dir: &Path) -> PathBuf {
    dir.join("node")
}

fn incarnation_file(dir: &Path) -> PathBuf {
    dir.join("incarnation")
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
pub(super) fn note_peers(dir: &Path, peers: &BTreeMap<NodeId, SocketAddr>) -> io::Result<()> {
    let path = peers_file(dir);
    let temporary = path.with_extension("new");
    fs::write(&temporary, peers.iter().map(|(id, addr)| format!("{id} {addr}\n")).collect::<String>())?;
    fs::rename(&temporary, &path)
}

/// The peers are to be heard of anew.
pub(crate) fn forget_peers(dir: &Path) -> io::Result<()> {
    match fs::remove_file(peers_file(dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Replaces a note, durably.
pub(crate) fn put(path: &Path, value: &dyn Display) -> io::Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, format!("{value}\n"))?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Reads a number that was noted.
fn number(path: &Path) -> io::Result<Option<u64>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let damaged = |_| io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()));
            text.trim().parse().map(Some).map_err(damaged)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The last life lived on this disk; 0 on a new one.
pub(crate) fn incarnation(dir: &Path) -> io::Result<Incarnation> {
    number(&incarnation_file(dir)).map(Option::unwrap_or_default)
}

pub(crate) fn set_incarnation(dir: &Path, incarnation: Incarnation) -> io::Result<()> {
    put(&incarnation_file(dir), &incarnation)
}

/// Whose disk this is.
///
/// # Errors
/// When no node ever ran on it.
pub(crate) fn named(dir: &Path) -> io::Result<NodeId> {
    let nobody = || io::Error::new(io::ErrorKind::NotFound, format!("no node ever ran on {}", dir.display()));
    number(&name_file(dir))?.ok_or_else(nobody)
}

fn withdrawn_file(dir: &Path) -> PathBuf {
    dir.join("withdrawn")
}

/// Notes the lives of peers that this node will never support again; durable on return.
pub(super) fn note_withdrawn(dir: &Path, lives: &BTreeMap<NodeId, Incarnation>) -> io::Result<()> {
    let lines: Vec<String> = lives.iter().map(|(node, life)| format!("{node} {life}")).collect();
    put(&withdrawn_file(dir), &lines.join("\n"))
}

/// The lives of peers that this node gave up before.
///
/// # Errors
/// When the note cannot be read. Without it the node might support again what a majority counts as dead.
pub(super) fn withdrawn(dir: &Path) -> io::Result<BTreeMap<NodeId, Incarnation>> {
    let path = withdrawn_file(dir);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text?,
    };
    let read = |line: &str| line.split_once(' ').and_then(|(node, life)| Some((node.parse().ok()?, life.parse().ok()?)));
    let rows = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| read(line).ok_or_else(|| io::Error::other(format!("{} is damaged", path.display()))));
    rows.collect()
}

/// Makes this the disk of `node`.
///
/// # Errors
/// When it is another's.
pub(crate) fn name(dir: &Path, node: NodeId) -> io::Result<()> {
    match number(&name_file(dir))? {
        Some(other) if other != node => Err(io::Error::other(format!("{} is the disk of node {other}, not of node {node}", dir.display()))),
        Some(_) => Ok(()),
        None => put(&name_file(dir), &node),
    }
}

/// Notes that the node of this disk was removed from its cluster.
pub(super) fn note_left(dir: &Path) -> io::Result<()> {
    fs::write(left_file(dir), "")
}

/// True when the node of this disk was removed from its cluster: it has no future.
pub fn has_left(dir: &Path) -> bool {
    left_file(dir).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_is_read_back_and_damage_is_not_taken_for_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert!(withdrawn(dir.path()).expect("no note yet").is_empty());
        let lives = BTreeMap::from([(2, 5), (3, 1)]);
        note_withdrawn(dir.path(), &lives).expect("noted");
        assert_eq!(withdrawn(dir.path()).expect("readable"), lives);
        fs::write(withdrawn_file(dir.path()), "2").expect("written");
        assert!(withdrawn(dir.path()).is_err());
    }
}
