//! The nodes of a simulation: real ones, started, crashed, stopped in peace and started again on what their disks hold.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tandem::actor::{Edge, Handle, Prepared};
use tandem_cluster::{
    Cluster, NodeId, Options, PeerSpec, Service, StartError, Timing,
    sim::{self, Platter},
};
use tokio::time::sleep;

use super::{
    edge::{Books, Door, SimEdge},
    judge::Judge,
    laws::Laws,
    town::Town,
};

pub(super) const NODES: [NodeId; 3] = [1, 2, 3];
/// The one partition.
pub(super) const GROUPS: u32 = 1;
/// Small, so that snapshots are taken, logs purged and laggards fed snapshots within a run.
const SNAPSHOT_EVERY: u64 = 150;
const ARCHIVE_SEGMENT_BYTES: u64 = 32 << 10;
/// How long what is left of a process takes to wind down.
const WIND_DOWN: Duration = Duration::from_secs(1);

/// A process that runs.
pub(super) struct Running {
    pub(super) handle: Handle,
    pub(super) edge: Arc<SimEdge>,
    platter: Platter,
}

impl Running {
    /// Whatever it still does is unheard, and it does not do it for long.
    fn dies(&self) {
        self.edge.die();
        self.handle.cluster().cut_power();
    }
}

struct Slot {
    life: u32,
    dir: PathBuf,
    starting: bool,
    running: Option<Arc<Running>>,
}

/// All nodes.
pub(super) struct Stage {
    root: PathBuf,
    laws: Laws,
    judge: Judge,
    pub(super) town: Arc<Town>,
    pub(super) books: Arc<Books>,
    slots: Mutex<BTreeMap<NodeId, Slot>>,
}

fn addr(node: NodeId) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8], 7_070))
}

fn options(node: NodeId, dir: &Path) -> Options {
    Options {
        node,
        listen: addr(node),
        advertise: addr(node),
        data_dir: dir.to_owned(),
        // Nobody proves who it is in a simulated network.
        ca: PathBuf::new(),
        cert: PathBuf::new(),
        key: PathBuf::new(),
        witness: false,
        groups: GROUPS,
        bootstrap: NODES.iter().map(|id| PeerSpec { id: *id, addr: addr(*id), witness: false }).collect(),
        attributes: BTreeMap::new(),
        feature_level: 1,
        timing: Timing::default(),
        wal_segment_bytes: 64 << 10,
        snapshot_every: SNAPSHOT_EVERY,
        disk_faults: Arc::default(),
    }
}

impl Stage {
    pub(super) fn new(root: &Path, laws: Laws, judge: Judge, town: Arc<Town>, books: Arc<Books>) -> Self {
        let slot = |node: NodeId| (node, Slot { life: 0, dir: root.join(format!("node{node}-0")), starting: false, running: None });
        Self { root: root.to_owned(), laws, judge, town, books, slots: Mutex::new(NODES.into_iter().map(slot).collect()) }
    }

    pub(super) fn running(&self, node: NodeId) -> Option<Arc<Running>> {
        self.slots.lock()[&node].running.clone()
    }

    /// Every process that runs.
    pub(super) fn all(&self) -> Vec<(NodeId, Arc<Running>)> {
        NODES.iter().filter_map(|node| Some((*node, self.running(*node)?))).collect()
    }

    /// Whom the nodes take for the leader of the partition.
    pub(super) fn leader(&self) -> Option<NodeId> {
        NODES.iter().find_map(|node| self.leader_of(*node))
    }

    /// Whom a node takes for the leader of the partition.
    pub(super) fn leader_of(&self, node: NodeId) -> Option<NodeId> {
        self.running(node)?.handle.cluster().leader(GROUPS)
    }

    pub(super) async fn start(&self, node: NodeId) -> Result<(), StartError> {
        let dir = match self.slots.lock().get_mut(&node) {
            // Another fault of this node has it started, or is about to.
            Some(slot) if slot.running.is_some() || slot.starting => return Ok(()),
            Some(slot) => {
                slot.starting = true;
                slot.dir.clone()
            }
            None => return Ok(()),
        };
        let started = self.start_on(node, dir).await;
        if let Some(slot) = self.slots.lock().get_mut(&node) {
            slot.starting = false;
        }
        started
    }

    async fn start_on(&self, node: NodeId, dir: PathBuf) -> Result<(), StartError> {
        let platter = sim::mount(node, &dir);
        let prepared = Prepared::with_segments(dir.clone(), ARCHIVE_SEGMENT_BYTES);
        let machines = self.judge.watch(node, Arc::clone(&prepared));
        let cluster = Cluster::start(options(node, &dir), machines, Arc::clone(&prepared) as Arc<dyn Service>).await?;
        let edge = SimEdge::new(node, Arc::clone(&self.town), self.laws.clone(), self.judge.clone(), Arc::clone(&self.books));
        let handle = Handle::start(cluster, &prepared, Arc::new(Door(Arc::clone(&edge))) as Arc<dyn Edge>).await;
        edge.open(handle.clone());
        self.laws.note(format_args!("start n{node} life {}", handle.edge().incarnation));
        let running = Arc::new(Running { handle, edge, platter });
        if let Some(slot) = self.slots.lock().get_mut(&node) {
            slot.running = Some(running);
        }
        Ok(())
    }

    /// True while a node's log has a batch that is written and not synced.
    pub(super) fn in_doubt(&self, node: NodeId) -> bool {
        self.running(node).is_some_and(|running| running.platter.in_doubt())
    }

    /// Cuts a node's power. Of its last write what survives that `kept` says. Returns how many sectors were lost, or `None` if it
    /// did not run. `told`: its watcher survives and tells the peers.
    ///
    /// # Errors
    /// When what is left of its disk cannot be copied.
    pub(super) fn crash(&self, node: NodeId, told: bool, kept: impl FnMut() -> bool) -> io::Result<Option<usize>> {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(&node) else { return Ok(None) };
        let Some(running) = slot.running.take() else { return Ok(None) };
        let incarnation = running.handle.edge().incarnation;
        running.dies();
        slot.life += 1;
        slot.dir = self.root.join(format!("node{node}-{}", slot.life));
        let lost = running.platter.cut_power(&slot.dir, kept)?;
        if told {
            sim::announce_death(node, incarnation);
        }
        self.laws.note(format_args!("crash n{node} lost {lost} told {told}"));
        Ok(Some(lost))
    }

    /// Lets every process go: one that was still there at the end of a run would never leave the memory.
    pub(super) async fn clear(&self) {
        let left: Vec<_> = self.slots.lock().values_mut().filter_map(|slot| slot.running.take()).collect();
        left.iter().for_each(|running| running.dies());
        drop(left);
        sleep(WIND_DOWN).await;
    }

    /// Stops a node in peace: it gives its leaderships away and says so.
    ///
    /// # Errors
    /// As for [`Stage::crash`].
    pub(super) async fn stop(&self, node: NodeId) -> io::Result<bool> {
        let Some(running) = self.running(node) else { return Ok(false) };
        running.handle.cluster().shutdown().await;
        if self.running(node).is_none_or(|now| !Arc::ptr_eq(&now, &running)) {
            // It lost its power meanwhile.
            return Ok(false);
        }
        // Its log has written all there was; the rest of the process goes as in a crash.
        Ok(self.crash(node, false, || true)?.is_some())
    }
}
