//! The replication substrate alone: three processes, one disk, every command synced on a majority before it counts.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tandem_cluster::{
    BoxFuture, Cluster, Entry, GroupId, Machine, MachineFactory, NodeId, Options as NodeOptions, PeerSpec, Service, Timing, Token, pki,
};

use crate::{cpu, error::Error, etcd::puts, report::Report};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Commands under way at any time, over all groups.
    #[arg(long, default_value_t = 512)]
    pub in_flight: u32,
    #[arg(long, default_value_t = 16)]
    pub groups: u32,
    #[arg(long, default_value_t = 256)]
    pub bytes: usize,
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// The same load at a peer before and after, in the same run: `etcd`.
    #[arg(long)]
    pub vs: Option<Peer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    Etcd,
}

/// One node of the run, started by [`run`].
#[derive(Debug, Clone, clap::Args)]
pub struct NodeArguments {
    #[command(flatten)]
    options: Options,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    node: NodeId,
    #[arg(long, value_delimiter = ',')]
    addrs: Vec<SocketAddr>,
}

/// What a node measured for the groups it leads.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Measured {
    committed: u64,
    failed: u64,
    latencies_ms: Vec<f64>,
}

const NODES: u64 = 3;
const LED_WITHIN: Duration = Duration::from_secs(20);
/// Leaders move to where they should be before the clock starts.
const SETTLE: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(5);
/// Every so many commands one latency is kept.
const SAMPLE_EVERY: u64 = 16;
/// How many times faster than etcd it shall be.
const TIMES_ETCD_MIN: f64 = 4.0;

pub fn run(options: &Options) -> Result<Report, Error> {
    let peer = |_| puts::run(options.in_flight, options.bytes, Duration::from_secs(options.seconds));
    let before = options.vs.map(peer).transpose()?;
    let (mut report, rate) = ours(options)?;
    let after = options.vs.map(peer).transpose()?;
    if let (Some(before), Some(after)) = (before, after) {
        compare(&mut report, rate, options.seconds, before, after);
    }
    Ok(report)
}

/// A shared machine is not equally busy all the time: the peer is measured on both sides of us, and its mean counts.
fn compare(report: &mut Report, rate: f64, seconds: u64, before: puts::Puts, after: puts::Puts) {
    let each = |puts: &puts::Puts| puts.committed as f64 / seconds as f64;
    let theirs = f64::midpoint(each(&before), each(&after));
    report.figure("etcd, before", each(&before), "commands/s");
    report.figure("etcd, after", each(&after), "commands/s");
    let failed = before.failed + after.failed;
    report.bounded("etcd failed", failed as f64, "commands", "= 0", failed == 0);
    let cpu_s = (before.cpu_s + after.cpu_s) * 1e3 / ((before.committed + after.committed).max(1) as f64);
    report.quantiles("etcd put → committed", &mut [before.latencies_ms, after.latencies_ms].concat(), "ms");
    report.figure("etcd CPU of all members per 1000 commands", cpu_s, "s");
    let times = rate / theirs.max(0.001);
    report.bounded("commands/s, times etcd's", times, "×", format!("≥ {TIMES_ETCD_MIN}"), times >= TIMES_ETCD_MIN);
    report.note(
        "etcd is asked by gRPC from this process, a third at each member; our commands are proposed in the nodes' own processes".to_owned(),
    );
}

fn ours(options: &Options) -> Result<(Report, f64), Error> {
    let dir = tempfile::tempdir()?;
    let setup = |error: &dyn std::fmt::Display| Error::Setup(error.to_string());
    pki::init(dir.path()).map_err(|error| setup(&error))?;
    let sockets = (0..NODES).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let addrs = sockets.iter().map(UdpSocket::local_addr).collect::<Result<Vec<_>, _>>()?;
    drop(sockets);
    let listed = addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut children = Vec::new();
    for node in 1..=NODES {
        pki::issue(dir.path(), node, &[]).map_err(|error| setup(&error))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["raft-node", "--addrs", &listed, "--node", &node.to_string(), "--dir"]).arg(dir.path());
        for (flag, value) in [
            ("--in-flight", u64::from(options.in_flight)),
            ("--groups", u64::from(options.groups)),
            ("--bytes", options.bytes as u64),
            ("--seconds", options.seconds),
        ] {
            command.args([flag, &value.to_string()]);
        }
        children.push(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    }
    let mut all = Measured::default();
    let mut cpu_s = 0.0;
    for child in &mut children {
        let line = BufReader::new(child.stdout.take().expect("stdout was piped")).lines().next();
        let line = line.ok_or_else(|| Error::Missed("a node ended without a result".to_owned()))??;
        let of_node: Measured = serde_json::from_str(&line)?;
        all.committed += of_node.committed;
        all.failed += of_node.failed;
        all.latencies_ms.extend(of_node.latencies_ms);
    }
    for child in &mut children {
        cpu_s += cpu::seconds(child.id()).unwrap_or(0.0);
        end(child)?;
    }
    let mut report = Report::new(format!(
        "raft: {} in flight over {} groups, {} B, {NODES} processes, one disk, {} s",
        options.in_flight, options.groups, options.bytes, options.seconds
    ));
    let rate = all.committed as f64 / options.seconds as f64;
    report.figure("committed", rate, "commands/s");
    report.bounded("failed", all.failed as f64, "commands", "= 0", all.failed == 0);
    report.quantiles("propose → committed and applied", &mut all.latencies_ms, "ms");
    report.figure("CPU of all nodes per 1000 commands", cpu_s * 1e3 / (all.committed.max(1) as f64), "s");
    Ok((report, rate))
}

/// A node goes when its standard input ends.
fn end(child: &mut Child) -> Result<(), Error> {
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}

/// Counts, and nothing else: what is measured is the way to it.
#[derive(Default)]
struct Counter(u64);

impl Machine for Counter {
    fn apply(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        self.0 += entry.commands.len() as u64;
        entry.commands.iter().map(|_| Bytes::new()).collect()
    }

    fn skip(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        vec![Bytes::new(); entry.commands.len()]
    }

    fn snapshot(&mut self) -> std::io::Result<Vec<u8>> {
        Ok(self.0.to_le_bytes().to_vec())
    }

    fn restore(&mut self, snapshot: &[u8]) -> std::io::Result<()> {
        let bytes = snapshot.try_into().map_err(|_| std::io::Error::other("not a counter"))?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }

    fn role(&mut self, _: Option<Token>) {}
}

struct Counters;

impl MachineFactory for Counters {
    fn open(&self, _: GroupId) -> Box<dyn Machine> {
        Box::<Counter>::default()
    }
}

struct Nothing;

impl Service for Nothing {
    fn handle(&self, _: NodeId, _: u8, _: Bytes) -> BoxFuture<Result<Bytes, String>> {
        Box::pin(async { Err("nothing is served here".to_owned()) })
    }
}

/// The child process: leads, measures, says it in one line and stays until its standard input ends.
pub fn node(arguments: &NodeArguments) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let measured = runtime.block_on(measure(arguments))?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&measured.0)?)?;
    std::io::stdin().lines().for_each(drop);
    Ok(())
}

async fn measure(arguments: &NodeArguments) -> Result<(Measured, Cluster), Error> {
    let (me, options) = (arguments.node, &arguments.options);
    let addrs: BTreeMap<NodeId, SocketAddr> = (1..).zip(arguments.addrs.iter().copied()).collect();
    let own = *addrs.get(&me).ok_or_else(|| Error::Setup(format!("node {me} has no address")))?;
    let file = |name: String| arguments.dir.join(name);
    let cluster = Cluster::start(
        NodeOptions {
            node: me,
            listen: own,
            advertise: own,
            data_dir: file(format!("data{me}")),
            ca: file("ca.pem".to_owned()),
            cert: file(format!("node{me}.pem")),
            key: file(format!("node{me}.key")),
            witness: false,
            groups: options.groups,
            bootstrap: addrs.iter().map(|(id, addr)| PeerSpec { id: *id, addr: *addr, witness: false }).collect(),
            attributes: BTreeMap::new(),
            feature_level: 0,
            timing: Timing::default(),
            wal_segment_bytes: 64 << 20,
            snapshot_every: 100_000,
            disk_faults: Arc::default(),
        },
        Arc::new(Counters),
        Arc::new(Nothing),
    )
    .await
    .map_err(|error| Error::Setup(error.to_string()))?;
    let start = Instant::now();
    while (1..=options.groups).any(|group| cluster.leader(group).is_none()) {
        if start.elapsed() > LED_WITHIN {
            return Err(Error::Setup("not every group has a leader".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(SETTLE).await;
    let led = (1..=options.groups).filter(|group| cluster.leader(*group) == Some(me));
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let per_group = options.in_flight.div_ceil(options.groups);
    let workers: Vec<_> = led
        .flat_map(|group| (0..per_group).map(move |_| group))
        .map(|group| tokio::spawn(work(cluster.clone(), group, options.bytes, until)))
        .collect();
    let mut all = Measured::default();
    for worker in workers {
        let of_worker = worker.await.map_err(|error| Error::Missed(error.to_string()))?;
        all.committed += of_worker.committed;
        all.failed += of_worker.failed;
        all.latencies_ms.extend(of_worker.latencies_ms);
    }
    Ok((all, cluster))
}

async fn work(cluster: Cluster, group: GroupId, bytes: usize, until: Instant) -> Measured {
    let (body, mut measured) = (Bytes::from(vec![7; bytes]), Measured::default());
    while Instant::now() < until {
        let start = Instant::now();
        match cluster.propose(group, body.clone(), DEADLINE).await {
            Ok(_) => measured.committed += 1,
            Err(_) => measured.failed += 1,
        }
        if measured.committed % SAMPLE_EVERY == 0 {
            measured.latencies_ms.push(start.elapsed().as_secs_f64() * 1000.0);
        }
    }
    measured
}
