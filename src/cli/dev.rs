//! `tandem dev`: a whole cluster of real node processes on this machine, under one supervisor.
//!
//! It owns the folder (keys, configurations, logs, process ids), the ports by formula, the ready line and the death of
//! nodes. The nodes are what `tandem serve` runs; nothing in them knows that they are a developer's.

mod demo;
mod folder;
mod ready;

use std::{collections::VecDeque, io::Write as _, net::SocketAddr, ops::RangeInclusive, path::PathBuf, process::ExitCode, time::Duration};

use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    Failure,
    watch::{End, NodeProcess},
};
use folder::Folder;

/// Longest time from the first process to the ready line.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Beyond the nodes' own drain limit, how long the supervisor waits before it kills.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// Pause between two looks at whether a node is still to be kept down.
const HELD_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Start this many further nodes, ids after the others, that wait for `tandem join`
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=8))]
    spare: u16,
    /// Node K is a witness: it votes and keeps everything, but takes no calls
    #[arg(long, value_name = "K")]
    witness: Option<u16>,
    /// Keep keys, logs and state here; a temporary folder otherwise
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Node K has SIP over UDP and TCP on this + 2(K-1), over TLS one above
    #[arg(long, default_value_t = 5060)]
    sip_base: u16,
    /// Node K has HTTP on this + (K-1)
    #[arg(long, default_value_t = 8080)]
    http_base: u16,
    /// Node K has node-to-node QUIC on this + (K-1)
    #[arg(long, default_value_t = 7070)]
    cluster_base: u16,
    /// Node K tells its peers to dial this + (K-1), for something that stands between the nodes
    #[arg(long, hide = true)]
    advertise_base: Option<u16>,
    /// Node K carries audio on ports from this + (K-1) times `--media-ports`
    #[arg(long, default_value_t = 40_000)]
    media_base: u16,
    /// Ports each node has for audio, two a leg
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u16).range(2..))]
    media_ports: u16,
    /// An rtpengine's `listen-ng` address, for tenants with `media = "rtpengine"`; again for further ones
    #[arg(long, value_name = "ADDR")]
    rtpengine: Vec<SocketAddr>,
    /// Recorded prompts, `NAME.wav`
    #[arg(long, value_name = "DIR")]
    prompts: Option<PathBuf>,
    /// Models of AI agents: a folder with a manifest.toml
    #[arg(long, env = "TANDEM_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
    /// Embedding model for them: a folder with a manifest.toml (`make embeddings`)
    #[arg(long, env = "TANDEM_EMBEDDING", value_name = "DIR")]
    embedding: Option<PathBuf>,
    /// What AI agents answer from: a folder of articles for each name that tenants use
    #[arg(long, value_name = "DIR")]
    articles: Option<PathBuf>,
    /// Publish a demo tenant and let synthetic callers and agents talk
    #[arg(long)]
    demo: bool,
    /// Publish this tenant file
    #[arg(long, value_name = "FILE")]
    tenant: Option<PathBuf>,
    /// Start a node that ended again
    #[arg(long)]
    restart: bool,
    /// How long a node stays away before it is started again, milliseconds
    #[arg(long, default_value_t = 500, value_name = "MS", requires = "restart")]
    restart_after_ms: u64,
    /// Do not tell the peers of a death, as if the whole machine had died
    #[arg(long)]
    no_death_notice: bool,
    /// Allow drills: `tandem drill` stops and crashes actors on purpose
    #[arg(long)]
    drills: bool,
    /// Drain when standard input ends, so that a test's cluster does not outlive the test
    #[arg(long, hide = true)]
    until_eof: bool,
}

impl Args {
    const fn sip(&self, node: u16) -> u16 {
        self.sip_base + 2 * (node - 1)
    }

    const fn http(&self, node: u16) -> u16 {
        self.http_base + (node - 1)
    }

    const fn cluster(&self, node: u16) -> u16 {
        self.cluster_base + (node - 1)
    }

    /// The port that peers dial, when it is not the one listened on.
    fn advertised(&self, node: u16) -> Option<u16> {
        self.advertise_base.map(|base| base + (node - 1))
    }

    /// First and last port for audio.
    const fn media(&self, node: u16) -> (u16, u16) {
        let first = self.media_base + self.media_ports * (node - 1);
        (first, first + self.media_ports - 1)
    }

    /// Every node with a process, those that wait to be joined included.
    const fn processes(&self) -> RangeInclusive<u16> {
        1..=self.nodes + self.spare
    }

    const fn is_witness(&self, node: u16) -> bool {
        matches!(self.witness, Some(witness) if witness == node)
    }

    /// The members that take calls.
    fn data_nodes(&self) -> impl Iterator<Item = u16> + '_ {
        (1..=self.nodes).filter(|node| !self.is_witness(*node))
    }

    fn check(&self) -> Result<(), Failure> {
        if self.witness.is_some_and(|witness| !(1..=self.nodes).contains(&witness)) || self.data_nodes().next().is_none() {
            return Err(Failure::new("--witness names one of several nodes"));
        }
        let top = |base: u16, width: u16| base.checked_add(width).is_some() && base > 0;
        let all = *self.processes().end();
        let media = self.media_ports.checked_mul(all).is_some_and(|width| top(self.media_base, width));
        let advertised = self.advertise_base.is_none_or(|base| top(base, all));
        if media && advertised && top(self.sip_base, 2 * all) && top(self.http_base, all) && top(self.cluster_base, all) {
            return Ok(());
        }
        Err(Failure::new("the ports of all nodes must fit below 65536"))
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    args.check()?;
    // The files are read before anything starts, so that a mistake in one costs nothing.
    let tenants = ready::tenants(args)?;
    let folder = Folder::prepare(args)?;
    // One thread: the parent-death signal of a node names the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    runtime.block_on(supervise(args, &folder, tenants))
}

/// What a node's task tells the supervisor.
#[derive(Debug)]
struct Died {
    node: u16,
    end: End,
    /// Peers told, or why not; none when the death was clean or notices are off.
    told: Option<Result<usize, String>>,
}

async fn supervise(args: &Args, folder: &Folder, tenants: Vec<ready::Tenant>) -> Result<ExitCode, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::new)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::new)?;
    let (died, mut deaths) = mpsc::channel(args.processes().count());
    let mut nodes = Vec::new();
    for node in args.processes() {
        nodes.push(start(args, folder, node, died.clone())?);
    }
    let mut ready = std::pin::pin!(tokio::time::timeout(READY_WITHIN, ready::wait(args, folder, tenants)));
    let mut is_ready = false;
    let mut show = None;
    // Nodes to start again, the earliest first: all wait equally long.
    let mut due: VecDeque<(Instant, u16)> = VecDeque::new();
    let mut orphaned = std::pin::pin!(end_of_input(args.until_eof));
    loop {
        tokio::select! {
            result = &mut ready, if !is_ready => {
                is_ready = true;
                let line = result.map_err(|_| Failure::new("not ready in time; see the nodes' logs")).and_then(|line| line);
                match line {
                    Ok(line) => say(&line),
                    Err(failure) => {
                        stop(nodes, &mut deaths).await;
                        return Err(failure.of(folder.path().display()));
                    }
                }
                if args.demo {
                    show = Some(demo::start(args, folder).await?);
                }
            }
            Some(death) = deaths.recv() => {
                report(folder, &death);
                let index = usize::from(death.node - 1);
                nodes[index] = None;
                if args.restart && !folder.has_left(death.node) {
                    due.push_back((Instant::now() + Duration::from_millis(args.restart_after_ms), death.node));
                } else if nodes.iter().all(Option::is_none) {
                    return Err(Failure::new(format!("every node is gone; logs are in {}", folder.path().display())));
                }
            }
            node = next(&due) => {
                due.pop_front();
                if folder.is_held(node) {
                    due.push_back((Instant::now() + HELD_PAUSE, node));
                    continue;
                }
                nodes[usize::from(node - 1)] = start(args, folder, node, died.clone())?;
            }
            () = &mut orphaned => break,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    if let Some(show) = &show {
        show.wind_down();
    }
    say("\ndraining");
    tokio::select! {
        () = stop(nodes, &mut deaths) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    folder.remove_if_temporary();
    Ok(ExitCode::SUCCESS)
}

/// Waits until the first node of `due` is to start; for ever if there is none.
async fn next(due: &VecDeque<(Instant, u16)>) -> u16 {
    match due.front() {
        Some((at, node)) => {
            sleep_until(*at).await;
            *node
        }
        None => std::future::pending().await,
    }
}

/// Waits for standard input to end, or for ever.
async fn end_of_input(wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own, since a blocking read cannot be cancelled and must not hold up the end of the runtime.
    std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        tell.send(()).ok();
    });
    told.await.ok();
}

/// A node's process id while it runs; `stop` signals through it.
type Running = Option<mpsc::Sender<Signal>>;

/// Starts a node and the task that waits for its end.
fn start(args: &Args, folder: &Folder, node: u16, died: mpsc::Sender<Died>) -> Result<Running, Failure> {
    let log = folder.log(node)?;
    let mut process = NodeProcess::spawn(&folder.config(node), Some(&log)).map_err(Failure::new)?;
    folder.write_pid(node, process.pid())?;
    let notice = !args.no_death_notice;
    let (signals, mut wanted) = mpsc::channel(4);
    tokio::spawn(async move {
        let end = loop {
            tokio::select! {
                end = process.wait() => break end,
                Some(signal) = wanted.recv() => process.signal(signal),
            }
        };
        let Ok(end) = end else { return };
        let told = if end.is_clean() || !notice { None } else { Some(process.announce().await) };
        died.send(Died { node, end, told }).await.ok();
    });
    Ok(Some(signals))
}

/// One line for whoever looks on. A reader that is gone must not keep the nodes from being drained.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

fn report(folder: &Folder, death: &Died) {
    let told = match &death.told {
        None => String::new(),
        Some(Ok(count)) => format!("; told {count} peers"),
        Some(Err(error)) => format!("; the peers could not be told: {error}"),
    };
    let hint = if death.end.is_clean() { String::new() } else { folder.last_words(death.node) };
    if folder.has_left(death.node) {
        say(&format!("node {} has left: {}", death.node, death.end));
    } else {
        say(&format!("node {} died: {}{told}{hint}", death.node, death.end));
    }
}

/// Drains every node at once; kills what does not end in time.
async fn stop(nodes: Vec<Running>, deaths: &mut mpsc::Receiver<Died>) {
    let mut left = 0;
    for node in nodes.iter().flatten() {
        left += 1;
        node.send(Signal::TERM).await.ok();
    }
    let deadline = Instant::now() + Duration::from_secs(folder::DRAIN_TIMEOUT_S) + STOP_SLACK;
    while left > 0 {
        match timeout_at(deadline, deaths.recv()).await {
            Ok(Some(death)) => {
                left -= 1;
                if !death.end.is_clean() {
                    say(&format!("node {} died: {}", death.node, death.end));
                }
            }
            Ok(None) => return,
            Err(_) => {
                say(&format!("{left} of {} nodes did not drain in time and are killed", nodes.len()));
                for node in nodes.iter().flatten() {
                    node.send(Signal::KILL).await.ok();
                }
                return;
            }
        }
    }
}
