//! One node, assembled: cluster, live actors, SIP edge, HTTP. And taken apart again, in order, when it drains.

mod brain;
mod endpoints;
mod models;
mod standing;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit, setrlimit};
use tandem_cluster::{BoxFuture, Cluster, Herald, MachineFactory, NodeId, Options, PeerSpec, Service, Timing};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use crate::{
    actor,
    ai::Registry,
    api::{self, App, feed::Feed, forward, tokens::Book},
    config::node::Node,
    media::{self, MediaPlane},
    sip::{edge, transport},
    telemetry,
};

/// Longest time the notice of a death may take.
const NOTICE_WITHIN: Duration = Duration::from_secs(2);
/// Longest time the mark that this node drains may take to commit.
const DRAIN_MARK_WITHIN: Duration = Duration::from_secs(2);
/// A party whose audio has not come for this long is told of.
const QUIET_AFTER: Duration = Duration::from_secs(10);
/// Longest time HTTP requests in flight may take at the end.
const HTTP_STOP_WITHIN: Duration = Duration::from_secs(2);
/// Longest time giving leaderships away and closing may take.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(8);

/// Why a node could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    #[error("cluster: {0}")]
    Cluster(#[from] tandem_cluster::StartError),
    #[error("HTTP on {0}: {1}")]
    Http(std::net::SocketAddr, std::io::Error),
    #[error("metrics: {0}")]
    Metrics(String),
    #[error("SIP: {0}")]
    Sip(String),
    #[error("threads of the models: {0}")]
    Ai(std::io::Error),
    #[error("media: {0}")]
    Media(String),
    #[error("{0}")]
    Stopped(String),
}

fn options(config: &Node) -> Options {
    let peers = config.cluster.peers.iter().map(|peer| PeerSpec { id: peer.id, addr: peer.addr, witness: peer.witness });
    Options {
        node: config.node,
        listen: config.cluster.listen,
        advertise: config.advertise(),
        data_dir: config.data_dir.clone(),
        ca: config.cluster.ca.clone(),
        cert: config.cluster.cert.clone(),
        key: config.cluster.key.clone(),
        witness: config.witness,
        groups: config.groups,
        bootstrap: peers.collect(),
        attributes: attributes(config),
        feature_level: config.feature_level_max.unwrap_or(u32::MAX).min(crate::core::state::FEATURE_LEVEL),
        timing: Timing::default(),
        wal_segment_bytes: config.limits.wal_segment_bytes,
        snapshot_every: config.limits.snapshot_every,
        disk_faults: Arc::default(),
    }
}

/// What peers and clients are told of this node.
fn attributes(config: &Node) -> BTreeMap<String, String> {
    let told = |addr: SocketAddr| SocketAddr::new(config.sip.advertise.unwrap_or(addr.ip()), addr.port());
    let (plain, tls) = (config.sip.udp.or(config.sip.tcp).map(told), config.sip.tls.map(told));
    let tcp = config.sip.tcp.map(told).filter(|tcp| Some(*tcp) != plain);
    let sip = [("sip", plain), ("sip_tcp", tcp), ("sip_tls", tls), ("http", Some(config.http.listen))];
    sip.into_iter().filter_map(|(key, addr)| Some((key.to_owned(), addr?.to_string()))).collect()
}

/// Keeps in touch with a node's peers, to tell them of its death; for its watcher.
///
/// # Errors
/// A sentence, when the node's certificate cannot be used.
pub fn herald(config: &Node) -> Result<Herald, String> {
    Herald::start(options(config)).map_err(|e| e.to_string())
}

/// Tells the peers that the last life of this node is over, once the kernel said so. Returns how many were told.
///
/// # Errors
/// A sentence, when the node never lived.
pub async fn announce_death(config: &Node, herald: &Herald) -> Result<usize, String> {
    let path = config.data_dir.join("incarnation");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let incarnation = text.trim().parse().map_err(|_| format!("{} is damaged", path.display()))?;
    herald.announce(incarnation, NOTICE_WITHIN).await.map_err(|e| e.to_string())
}

/// Runs a node until it has drained.
///
/// # Errors
/// When it could not start.
pub async fn run(config: Node) -> Result<(), Error> {
    let signals = Signals::new()?;
    let metrics = telemetry::install_metrics().map_err(|e| Error::Metrics(e.to_string()))?;
    crate::sip::edge::metrics::describe();
    media::describe_metrics();
    raise_file_limit();
    make_data_dir(&config.data_dir)?;
    let inbox = forward::Inbox::default();
    let prepared = actor::Prepared::new(config.data_dir.clone());
    prepared.also(Arc::new(Services { inbox: inbox.clone() }));
    let machines = Arc::clone(&prepared) as Arc<dyn MachineFactory>;
    let edge = edge::Handle::bind(sip(&config)).await.map_err(|error| Error::Sip(error.to_string()))?;
    let cluster = Cluster::start(options(&config), machines, Arc::clone(&prepared) as Arc<dyn Service>).await?;
    let live = actor::Handle::start(cluster.clone(), &prepared, Arc::new(edge.clone())).await;
    let held = Arc::default();
    if !config.witness {
        let planes = media::Planes { own: media(&config, &cluster)?, engine: rtpengine(&config, &cluster)? };
        let (registry, store) = (Arc::new(Registry::default()), models::Store::open(&config.ai));
        let brain = brain::Minds::start(&config.ai, Arc::clone(&registry)).map_err(Error::Ai)?;
        edge.serve(Arc::new(live.clone()), planes, Some(Arc::new(brain)));
        tokio::spawn(models::follow(cluster.clone(), store, registry, Arc::clone(&held)));
    }
    let feed = Arc::new(Feed::default());
    tokio::spawn(Arc::clone(&feed).run(live.events()));
    tokio::spawn(api::meter::run(live.clone(), live.events()));
    let app = Arc::new(App {
        tokens: Book::new(cluster.clone(), admin_token(&config)?.as_deref()),
        live: live.clone(),
        metrics,
        feed: Arc::clone(&feed),
        drills: config.drills,
        sip: readiness(&config, &edge),
        requests: Semaphore::new(config.limits.http_requests as usize),
        streams: Arc::new(Semaphore::new(api::limits::STREAMS_MAX)),
        chat_streams: Arc::new(Semaphore::new(api::limits::CHAT_STREAMS_MAX)),
        opened: Mutex::new(api::pace::Pace::new(api::limits::CHATS_PER_S_MAX, api::limits::CHATS_BURST)),
        mask: crate::ai::guard::mask_for_model,
        models: (!config.witness).then_some(held),
        backups: Arc::new(Semaphore::new(api::limits::BACKUPS_MAX)),
    });
    let router = api::router(app);
    inbox.open(router.clone());
    let listener = TcpListener::bind(config.http.listen).await.map_err(|e| Error::Http(config.http.listen, e))?;
    let stop = CancellationToken::new();
    let http = tokio::spawn(api::serve(listener, router, stop.clone()));
    tracing::info!(node = config.node, incarnation = cluster.incarnation(), http = %config.http.listen, "node started");
    let ended = tokio::select! {
        () = signals.wait() => {
            drain(&config, &cluster, &edge).await;
            None
        }
        end = standing::follow(&config, &cluster, &edge) => Some(end),
    };
    stop.cancel();
    tokio::time::timeout(HTTP_STOP_WITHIN, http).await.ok();
    if let Some(end) = ended {
        return end.map_err(Error::Stopped);
    }
    if tokio::time::timeout(SHUTDOWN_WITHIN, cluster.shutdown()).await.is_err() {
        tracing::warn!("the cluster did not close in time");
    }
    tracing::info!(node = config.node, "node drained");
    Ok(())
}

/// A leg has two sockets, and what a shell or a service manager allows by default is a thousand: takes all it may have.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// How audio is carried: by a relay that falls silent without the node's lease, or not at all.
fn media(config: &Node, cluster: &Cluster) -> Result<Arc<dyn MediaPlane>, Error> {
    let Some(section) = &config.media else { return Ok(Arc::new(media::Direct::default())) };
    let of = |addresses: &[IpAddr], ipv4: bool| addresses.iter().copied().find(|ip| ip.is_ipv4() == ipv4);
    let cluster = cluster.clone();
    let options = media::Options {
        ipv4: of(&section.listen, true),
        ipv6: of(&section.listen, false),
        advertise_ipv4: of(&section.advertise, true),
        advertise_ipv6: of(&section.advertise, false),
        ports: section.ports.0..=section.ports.1,
        threads: usize::from(section.threads),
        gate: Arc::new(move || cluster.lease_valid()),
        prompts: section.prompts.clone(),
        recordings: Some(config.data_dir.join("recordings")),
        quiet_after: QUIET_AFTER,
    };
    Ok(Arc::new(media::Relay::start(options).map_err(|error| Error::Media(error.to_string()))?))
}

/// The rtpengines that calls may be given to.
fn rtpengine(config: &Node, cluster: &Cluster) -> Result<Option<Arc<dyn MediaPlane>>, Error> {
    let Some(section) = &config.rtpengine else { return Ok(None) };
    let cluster = cluster.clone();
    let options = media::RtpengineOptions { daemons: section.ng.clone(), gate: Arc::new(move || cluster.lease_valid()) };
    let plane = media::Rtpengine::start(&options).map_err(|error| Error::Media(error.to_string()))?;
    Ok(Some(Arc::new(plane)))
}

/// What the edge has to say against new calls. A witness has no edge and says nothing.
fn readiness(config: &Node, edge: &edge::Handle) -> Box<dyn Fn() -> Option<String> + Send + Sync> {
    let (witness, edge) = (config.witness, edge.clone());
    Box::new(move || edge.not_ready().filter(|_| !witness).map(str::to_owned))
}

/// How the configuration wants SIP spoken. TLS shows the node's cluster certificate unless it was given its own.
fn sip(config: &Node) -> edge::Options {
    let section = &config.sip;
    let listen = |bind: SocketAddr| transport::Listen { bind, advertise: section.advertise.map(|ip| SocketAddr::new(ip, 0)) };
    let on = |addr: Option<SocketAddr>| addr.map(listen).into_iter().collect();
    let certificate = section.tls_cert.clone().zip(section.tls_key.clone());
    let transport = transport::Options {
        udp: on(section.udp),
        tcp: on(section.tcp),
        tls: on(section.tls),
        certificate: certificate.or_else(|| Some((config.cluster.cert.clone(), config.cluster.key.clone()))),
        authorities: section.tls_authorities.clone(),
        connections_max: config.limits.sip_connections as usize,
        nameserver: section.nameserver,
        ..transport::Options::default()
    };
    edge::Options { transport, calls_max: config.limits.calls, calls_per_s_max: config.limits.calls_per_s, ..edge::Options::default() }
}

/// Gives leaderships away; new calls are refused from here on.
async fn drain(config: &Node, cluster: &Cluster, edge: &edge::Handle) {
    tracing::info!(node = config.node, "draining");
    if let Err(error) = cluster.set_draining(config.node, true, DRAIN_MARK_WITHIN).await {
        tracing::warn!(%error, "the drain could not be told to the cluster; it goes on");
    }
    let left = edge.drain(Duration::from_secs(config.drain_timeout_s)).await;
    if left > 0 {
        tracing::warn!(calls = left, "calls were still here at the end of the drain");
    }
}

/// Node-to-node requests that are not the actors'.
struct Services {
    inbox: forward::Inbox,
}

impl Service for Services {
    fn handle(&self, _from: NodeId, service: u8, body: Bytes) -> BoxFuture<Result<Bytes, String>> {
        if service != forward::SERVICE {
            return Box::pin(async move { Err(format!("no service {service}")) });
        }
        let inbox = self.inbox.clone();
        Box::pin(async move { inbox.handle(body).await })
    }
}

fn make_data_dir(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| Error::File(path.display().to_string(), e))
}

/// The administrator's token of the configuration, if it names a file.
fn admin_token(config: &Node) -> Result<Option<String>, Error> {
    let Some(path) = &config.http.admin_token_file else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|e| Error::File(path.display().to_string(), e))?;
    Ok(text.lines().next().map(|line| line.trim().to_owned()))
}

/// What tells a node to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installed before anything else, so that a signal during the start is not lost.
    fn new() -> Result<Self, Error> {
        let install = |kind| signal(kind).map_err(|e| Error::File("signal handler".to_owned(), e));
        Ok(Self { terminate: install(SignalKind::terminate())?, interrupt: install(SignalKind::interrupt())? })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
