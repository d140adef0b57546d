//! A machine that appends every command to a list, and a cluster of nodes that run it.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use tandem_cluster::{
    BoxFuture, Cluster, Entry, GroupId, Machine, MachineFactory, NodeId, Options, PeerSpec, ProposeError, Service, StartError, Timing,
    Token, pki,
};

pub const GROUPS: GroupId = 3;
pub const SECOND: Duration = Duration::from_secs(1);

/// A command no replica can apply.
pub const POISON: &str = "poison";

/// How many milliseconds each entry of group 1 takes to apply.
pub type Drag = Arc<AtomicU64>;

/// What a node's machines hold, for the test to look into.
pub type Seen = Arc<Mutex<BTreeMap<GroupId, Vec<Vec<u8>>>>>;

struct Register {
    group: GroupId,
    seen: Seen,
    drag: Drag,
    last_time_ns: u64,
}

impl Machine for Register {
    fn apply(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        assert!(entry.time_ns > self.last_time_ns, "log time is strictly monotonic");
        self.last_time_ns = entry.time_ns;
        assert!(entry.commands.iter().all(|command| command != POISON), "the invariant that the poison breaks");
        if self.group == 1 {
            std::thread::sleep(Duration::from_millis(self.drag.load(Ordering::Relaxed)));
        }
        // A test may hold it for a while: the tasks of this thread go on elsewhere meanwhile.
        let mut seen = tokio::task::block_in_place(|| self.seen.lock()).expect("no test panics while it holds the lock");
        let rows = seen.entry(self.group).or_default();
        entry
            .commands
            .iter()
            .map(|command| {
                rows.push(command.to_vec());
                Bytes::from(rows.len().to_string())
            })
            .collect()
    }

    fn skip(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        vec![Bytes::from_static(b"skipped"); entry.commands.len()]
    }

    fn snapshot(&mut self) -> io::Result<Vec<u8>> {
        let seen = self.seen.lock().expect("as above");
        Ok(seen.get(&self.group).into_iter().flatten().flat_map(|row| [&(row.len() as u32).to_le_bytes()[..], row].concat()).collect())
    }

    fn restore(&mut self, mut snapshot: &[u8]) -> io::Result<()> {
        let mut rows = Vec::new();
        while let Some((len, rest)) = snapshot.split_first_chunk::<4>() {
            let (row, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
            rows.push(row.to_vec());
            snapshot = rest;
        }
        self.seen.lock().expect("as above").insert(self.group, rows);
        Ok(())
    }

    fn role(&mut self, _: Option<Token>) {}
}

struct Factory(Seen, Drag);

impl MachineFactory for Factory {
    fn open(&self, group: GroupId) -> Box<dyn Machine> {
        Box::new(Register { group, seen: Arc::clone(&self.0), drag: Arc::clone(&self.1), last_time_ns: 0 })
    }
}

struct Echo;

impl Service for Echo {
    fn handle(&self, from: NodeId, service: u8, body: Bytes) -> BoxFuture<Result<Bytes, String>> {
        Box::pin(async move { if service == 9 { Err("refused".to_owned()) } else { Ok(Bytes::from(format!("{from}:{}", body.len()))) } })
    }
}

/// Ports that stay free though nobody holds them until the nodes start: on a loopback address of this process and this call alone.
fn free_addrs(nodes: u64) -> BTreeMap<NodeId, SocketAddr> {
    static CALLS: AtomicU8 = AtomicU8::new(0);
    let process = std::process::id().to_le_bytes();
    let ip = Ipv4Addr::new(127, 128 | process[1], process[0], 1 + CALLS.fetch_add(1, Ordering::Relaxed) % 250);
    let sockets: Vec<_> = (1..=nodes).map(|_| UdpSocket::bind((ip, 0)).expect("a free port")).collect();
    (1..).zip(sockets.iter().map(|socket| socket.local_addr().expect("bound"))).collect()
}

/// A node's options, with certificates and data below `path`.
pub fn options(path: &Path, me: PeerSpec, founders: Vec<PeerSpec>) -> Options {
    let file = |name: String| path.join(name);
    Options {
        node: me.id,
        listen: me.addr,
        advertise: me.addr,
        data_dir: file(format!("data{}", me.id)),
        ca: file("ca.pem".to_owned()),
        cert: file(format!("node{}.pem", me.id)),
        key: file(format!("node{}.key", me.id)),
        witness: me.witness,
        groups: GROUPS,
        bootstrap: founders,
        attributes: BTreeMap::new(),
        feature_level: 1,
        // Debug builds on a shared machine: twice the product's patience.
        timing: Timing { loss_after_ms: 600, lease_ms: 600, ..Timing::default() },
        wal_segment_bytes: 1 << 20,
        snapshot_every: 200,
        disk_faults: Arc::default(),
    }
}

pub struct Fleet {
    dir: tempfile::TempDir,
    addrs: BTreeMap<NodeId, SocketAddr>,
    /// The nodes of the first start; the others join.
    founders: u64,
    pub witness: Option<NodeId>,
}

impl Fleet {
    pub fn new(nodes: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        pki::init(dir.path()).expect("a fresh authority");
        for node in 1..=nodes {
            pki::issue(dir.path(), node, &[]).expect("the authority is there");
        }
        Self { dir, addrs: free_addrs(nodes), founders: nodes, witness: None }
    }

    /// Certificates and addresses for `nodes`, of which the first `founders` found the cluster.
    pub fn founded_by(founders: u64, nodes: u64) -> Self {
        Self { founders, ..Self::new(nodes) }
    }

    pub fn peer(&self, node: NodeId) -> PeerSpec {
        PeerSpec { id: node, addr: self.addrs[&node], witness: self.witness == Some(node) }
    }

    /// The same disks on other ports, as after a restart elsewhere.
    pub fn moved(self) -> Self {
        let addrs = free_addrs(self.addrs.len() as u64);
        Self { addrs, ..self }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn options(&self, node: NodeId) -> Options {
        let founders = (1..=self.founders).map(|id| self.peer(id)).collect();
        Options { witness: self.witness == Some(node), ..options(self.path(), self.peer(node), founders) }
    }

    pub async fn try_start(&self, options: Options) -> Result<Cluster, StartError> {
        Cluster::start(options, Arc::new(Factory(Seen::default(), Drag::default())), Arc::new(Echo)).await
    }

    pub async fn start(&self, node: NodeId) -> (Cluster, Seen) {
        start(self.options(node), Drag::default()).await
    }
}

impl Fleet {
    /// Starts three nodes and waits until each knows a leader of every group and all three are registered.
    pub async fn three(&self) -> [(Cluster, Seen); 3] {
        let nodes = [self.start(1).await, self.start(2).await, self.start(3).await];
        for (cluster, _) in &nodes {
            let known = || all_registered(cluster) && (0..=GROUPS).all(|group| cluster.leader(group).is_some());
            eventually_at(cluster, "a lease, three nodes and a leader of every group", || cluster.lease_valid() && known()).await;
        }
        nodes
    }
}

/// Whether all three nodes have registered: the table has a row for every member, of life 0 until then.
pub fn all_registered(cluster: &Cluster) -> bool {
    let table = cluster.nodes();
    let table = table.borrow();
    table.len() == 3 && table.values().all(|row| row.incarnation > 0)
}

pub async fn start(options: Options, drag: Drag) -> (Cluster, Seen) {
    let seen = Seen::default();
    let cluster = Cluster::start(options, Arc::new(Factory(Arc::clone(&seen), drag)), Arc::new(Echo)).await.expect("the node starts");
    (cluster, seen)
}

/// Waits until `check` holds, by looking again; fails after a minute.
pub async fn eventually(what: &str, check: impl Fn() -> bool) {
    assert!(comes_true(check).await, "{what} did not happen within a minute");
}

/// As [`eventually`], at a node that says how it sees the others if it does not come true.
pub async fn eventually_at(cluster: &Cluster, what: &str, check: impl Fn() -> bool) {
    assert!(comes_true(check).await, "at node {}: {what} did not happen within a minute; it sees {}", cluster.node(), view(cluster));
}

async fn comes_true(check: impl Fn() -> bool) -> bool {
    for _ in 0..6_000 {
        if check() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Its lease, the lives it knows, and the leader of each group as it believes.
fn view(cluster: &Cluster) -> String {
    let lives: Vec<_> = cluster.nodes().borrow().values().map(|row| format!("{}.{} {:?}", row.id, row.incarnation, row.state)).collect();
    let leaders: Vec<_> = (0..=GROUPS).map(|group| format!("{group}: {:?}", cluster.leader(group))).collect();
    format!("lease {}, lives [{}], leaders [{}]", cluster.lease_valid(), lives.join(", "), leaders.join(", "))
}

pub async fn write(cluster: &Cluster, group: u32, value: &str) -> Result<u64, ProposeError> {
    cluster.propose(group, Bytes::copy_from_slice(value.as_bytes()), 10 * SECOND).await.map(|committed| committed.index)
}

pub fn rows(seen: &Seen, group: u32) -> Vec<Vec<u8>> {
    seen.lock().expect("not poisoned").get(&group).cloned().unwrap_or_default()
}

/// Keeps a node's machines from applying anything until what this returns is dropped.
pub fn held_back(seen: &Seen) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        let _held = seen.lock().expect("not poisoned");
        tell.send(()).expect("the caller waits");
        // Ends when the other end is gone.
        released.recv().ok();
    });
    told.recv().expect("the thread has the lock");
    release
}
