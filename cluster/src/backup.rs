//! Backups: the snapshot of every group and the product's side files in one file, and a new cluster made of them.
//!
//! Taking one disturbs nothing: each group is read behind a barrier of its own, so that the backup holds all that was
//! acknowledged before it began. Groups are not cut at one moment; nothing spans them but the map of domains, and that is
//! read last, so it misses no domain a partition holds. Side files (archives) are read after the states that refer to
//! them, and may run ahead: a machine cuts them back when it is restored.

mod file;

use std::{
    fs::{self, File},
    io::{self, Write},
    net::SocketAddr,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use openraft::{BasicNode, Membership, SnapshotMeta, StoredMembership, alias::SnapshotMetaOf, storage::RaftLogStorage as _};
use serde::{Deserialize, Serialize};

use crate::{
    GroupId, NodeId, ProposeError, codec,
    limits::{SNAPSHOT_MAX_BYTES, WAL_SEGMENT_BYTES},
    log::{disk::sync_dir, snapshot::Store, storage::NodeLog},
    meta::{META, MetaState},
    node::{Node, notes},
    raft::{
        machine::Beside,
        type_config::{LogId, TypeConfig, Vote},
    },
};
use file::{Reader, Writer};

const ABOUT: u8 = 1;
const GROUP: u8 = 2;
const SIDE_FILE: u8 = 3;

/// Patience with one group's barrier.
const BARRIER_WITHIN: Duration = Duration::from_secs(5);

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Partitions of the cluster, which the configuration of the new one must repeat.
    pub groups: u32,
    pub feature_level: u32,
    /// The node that wrote it.
    pub node: NodeId,
    /// A number above every life of every node of the cluster, so that no life is lived twice.
    lives: u64,
}

/// A file of the product that belongs into a backup, by its path below the data directory.
#[derive(Debug)]
pub struct SideFile {
    pub name: String,
    pub file: File,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("group {0}: {1}")]
    Barrier(GroupId, ProposeError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs blocking work on a thread where that is allowed.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Writes a backup to `out`; `side_files` is asked once all states are written.
pub(crate) async fn take<W: Write + Send + 'static>(
    node: Arc<Node>,
    out: W,
    side_files: impl FnOnce() -> io::Result<Vec<SideFile>> + Send + 'static,
) -> Result<(), Error> {
    let meta = node.meta();
    let groups = node.all_groups();
    let lives = meta.nodes.values().map(|row| row.incarnation).chain(meta.fenced.values().copied()).max().unwrap_or(0) + 1;
    let partitions = groups.iter().filter(|group| group.id != META).count() as u32;
    let about = About { groups: partitions, feature_level: meta.feature_level, node: node.options.node, lives };
    let mut writer = aside(move || {
        let mut writer = Writer::begin(out)?;
        writer.section(ABOUT, &about, &mut io::empty(), 0)?;
        Ok(writer)
    })
    .await?;
    let (last, first): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.id == META);
    for group in first.into_iter().chain(last) {
        node.read_barrier(group.id, BARRIER_WITHIN).await.map_err(|error| Error::Barrier(group.id, error))?;
        writer = aside(move || {
            let (meta, state, beside) = group.image()?;
            writer.section(GROUP, &(group.id, meta.last_log_id, beside), &mut &state[..], state.len() as u64)?;
            Ok(writer)
        })
        .await?;
    }
    aside(move || {
        for mut side in side_files()? {
            let len = side.file.metadata()?.len();
            writer.section(SIDE_FILE, &side.name, &mut side.file, len)?;
        }
        writer.end().map(drop)
    })
    .await?;
    Ok(())
}

/// Reads a backup through, and says what it is of.
///
/// # Errors
/// When any byte of it is not what was written, or its end is missing.
pub fn verify(path: &Path) -> io::Result<About> {
    let mut reader = Reader::begin(io::BufReader::new(File::open(path)?))?;
    let mut about = None;
    while let Some(section) = reader.next()? {
        if section.kind == ABOUT {
            about = Some(section.head()?);
        }
        reader.body(&section, &mut io::sink())?;
    }
    about.ok_or_else(|| invalid("it does not say what it is of"))
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Makes the data directory of the one node of a new cluster out of a backup. Whole or not at all.
///
/// # Errors
/// When `data_dir` is not empty, or the backup is damaged.
pub async fn restore(data_dir: &Path, from: &Path, node: NodeId) -> io::Result<About> {
    if fs::read_dir(data_dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is not empty", data_dir.display())));
    }
    let mut name = data_dir.file_name().ok_or_else(|| invalid("the data directory has no name"))?.to_owned();
    name.push(".restoring");
    let making = data_dir.with_file_name(name);
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    let about = fill(&making, from, node).await?;
    if data_dir.exists() {
        fs::remove_dir(data_dir)?;
    }
    fs::rename(&making, data_dir)?;
    if let Some(parent) = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_dir(parent)?;
    }
    Ok(about)
}

async fn fill(dir: &Path, from: &Path, node: NodeId) -> io::Result<About> {
    // The backup holds what the archives hold: for the owner's eyes.
    std::os::unix::fs::DirBuilderExt::mode(fs::DirBuilder::new().recursive(true), 0o700).create(dir)?;
    let mut reader = Reader::begin(io::BufReader::new(File::open(from)?))?;
    let mut about: Option<About> = None;
    let store = Store::open(&dir.join("snapshots"))?;
    let log = NodeLog::open(&dir.join("wal"), WAL_SEGMENT_BYTES, Arc::default())?;
    while let Some(section) = reader.next()? {
        match section.kind {
            ABOUT => {
                about = Some(section.head()?);
                reader.body(&section, &mut io::sink())?;
            }
            GROUP => {
                let (group, last, beside): (GroupId, Option<LogId>, Beside) = section.head()?;
                if section.len > SNAPSHOT_MAX_BYTES as u64 {
                    return Err(invalid(format!("group {group}: its state is too large")));
                }
                let mut state = Vec::new();
                reader.body(&section, &mut state)?;
                plant(&store, &log, node, group, (last, beside), state).await?;
            }
            SIDE_FILE => {
                let path = dir.join(below(&section.head::<String>()?)?);
                fs::create_dir_all(path.parent().unwrap_or(dir))?;
                let mut file = File::create(&path)?;
                reader.body(&section, &mut file)?;
                file.sync_all()?;
            }
            kind => return Err(invalid(format!("a section of kind {kind} is of a later version"))),
        }
    }
    log.close().await;
    let about = about.ok_or_else(|| invalid("it does not say what it is of"))?;
    notes::set_incarnation(dir, about.lives)?;
    notes::name(dir, node)?;
    Ok(about)
}

/// A path that cannot lead out of the directory it is joined to.
fn below(name: &str) -> io::Result<PathBuf> {
    let path = PathBuf::from(name);
    let harmless = path.components().all(|part| matches!(part, Component::Normal(_)));
    if harmless { Ok(path) } else { Err(invalid(format!("{name:?} leads out of the data directory"))) }
}

/// Makes a state the replica of a group whose only voter is `node`.
async fn plant(
    store: &Store,
    log: &NodeLog,
    node: NodeId,
    group: GroupId,
    (last, beside): (Option<LogId>, Beside),
    mut state: Vec<u8>,
) -> io::Result<()> {
    let last = last.ok_or_else(|| invalid(format!("group {group} was never founded")))?;
    if group == META {
        let mut meta: MetaState = codec::decode(&state)?;
        meta.refound(node);
        state = codec::encode(&meta)?;
    }
    let meta: SnapshotMetaOf<TypeConfig> =
        SnapshotMeta { last_log_id: Some(last), last_membership: StoredMembership::new(Some(last), sole_voter(node)?) };
    store.save(group, &(&meta, beside), &state)?;
    let mut log = log.group(group);
    log.save_vote(&Vote::new(last.committed_leader_id().term + 1, node)).await?;
    log.purge(last).await
}

/// The membership of a cluster of one. Where the node is, it says itself when it starts.
pub(crate) fn sole_voter(node: NodeId) -> io::Result<Membership<NodeId, BasicNode>> {
    let nowhere = BasicNode::new(SocketAddr::from(([0, 0, 0, 0], 0)));
    Membership::new(vec![[node].into()], std::collections::BTreeMap::from([(node, nowhere)])).map_err(io::Error::other)
}
