//! What a node makes sure of before it takes part: the disk is its own, this life is new, and it has not lost an old one.

use std::{collections::BTreeSet, fs, io, path::Path};

use tokio::time::{Instant, sleep};

use super::{KNOWN, notes};
use crate::{
    Incarnation, NodeId, Options, StartError, codec,
    limits::{ASK_WITHIN, FORWARD_PAUSE, LOCK_WITHIN},
    link::Link,
    transport::CLOSED_PLAIN,
};

/// What a peer says of a node that asks: the last life of it that is known, and whether others founded the cluster.
pub(super) type Known = (Incarnation, bool);

/// Takes the data directory for this process and this node, and begins a new life on it.
pub(super) async fn take(options: &Options) -> Result<(fs::File, Incarnation), StartError> {
    let dir = &options.data_dir;
    fs::create_dir_all(dir).map_err(|error| StartError::Config(error.to_string()))?;
    let lock = lock(dir).await?;
    if notes::has_left(dir) {
        let (node, dir) = (options.node, dir.display());
        return Err(StartError::Config(format!("node {node} has left its cluster for good; clear {dir} and join under a new id")));
    }
    notes::name(dir, options.node).map_err(|error| StartError::Config(error.to_string()))?;
    let noted = |error: io::Error| StartError::Log(error.to_string());
    // The first life on a disk is noted once the peers let it begin: a node they refuse must be refused at every start, and
    // who starts it again would otherwise bring a second life, which looks like that of a disk with a past.
    let is_first = notes::incarnation(dir).map_err(noted)? == 0;
    let incarnation = if is_first { 1 } else { next_incarnation(dir).map_err(noted)? };
    Ok((lock, incarnation))
}

/// Asks as [`ask_peers`], then makes the first life on this disk durable, before it votes or stores anything.
pub(super) async fn begin_first(options: &Options, transport: &Link) -> Result<bool, StartError> {
    let founded = ask_peers(options, transport, 1).await?;
    notes::set_incarnation(&options.data_dir, 1).map_err(|error| StartError::Log(error.to_string()))?;
    Ok(founded)
}

/// Takes the data directory for this process; two nodes on one log would destroy it.
async fn lock(dir: &Path) -> Result<fs::File, StartError> {
    let refuse = |error: &dyn std::fmt::Display| StartError::Config(format!("{} cannot be locked: {error}", dir.display()));
    let file = fs::File::create(dir.join("lock")).map_err(|error| refuse(&error))?;
    let give_up = Instant::now() + LOCK_WITHIN;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < give_up => sleep(FORWARD_PAUSE).await,
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(refuse(&"another process runs on it")),
            Err(error) => return Err(refuse(&error)),
        }
    }
}

/// Counts this life in a file that is durable before anything else happens.
pub(super) fn next_incarnation(dir: &Path) -> io::Result<Incarnation> {
    let next = notes::incarnation(dir)? + 1;
    notes::set_incarnation(dir, next)?;
    Ok(next)
}

/// Asks the peers of the first start what they know of this node. Peers that are not up yet are not waited for long.
/// Returns whether any of them says that the cluster was founded without it.
///
/// # Errors
/// When the disk is empty and a peer knows an earlier life: its votes and its log are gone, and it must not vote again
/// under that name.
pub(super) async fn ask_peers(options: &Options, transport: &Link, incarnation: Incarnation) -> Result<bool, StartError> {
    let give_up = Instant::now() + ASK_WITHIN;
    let mut silent: BTreeSet<NodeId> = options.bootstrap.iter().map(|peer| peer.id).filter(|id| *id != options.node).collect();
    let mut founded = false;
    while !silent.is_empty() && Instant::now() < give_up {
        for peer in silent.clone() {
            let Ok(answer) = transport.request(peer, KNOWN, 0, &[], ASK_WITHIN).await else { continue };
            silent.remove(&peer);
            let (life, cluster): Known = codec::decode(&answer).unwrap_or_default();
            founded |= cluster;
            if life > 0 && incarnation == 1 {
                transport.close(CLOSED_PLAIN).await;
                return Err(StartError::Config(format!(
                    "node {} has lived before (incarnation {life}, says node {peer}) and {} is empty: what it voted and stored is lost. \
                     Give it its disk back, or remove it from the cluster and join under a new id",
                    options.node,
                    options.data_dir.display()
                )));
            }
        }
        sleep(FORWARD_PAUSE).await;
    }
    Ok(founded)
}
