//! A node's other half, played: commits what the test says, keeps what the edge reports, carries tunnel frames.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tandem::{
    actor::{Directory, DomainView, Edge as _, Error},
    core::{
        Outcome,
        command::{Arrive, Command, Envelope, LegEvent, LegReport},
        effect::{Action, Order, Ring},
        id::{AgentId, DomainId, Edge, EffectId, LegId, NodeId, TrunkId},
        party::{Party, Target, Transport},
        policy::{Ha1, Trunk},
    },
    media::{Direct, MediaPlane},
    sip::{
        auth::Algorithm,
        brain::Brain,
        edge::{Backend, Handle, NodeAddresses, Options},
        message::{Message, parse},
        registrar::{Owner, Replicated},
        transport::{self, Listen, Timeouts},
    },
};
use tandem_cluster::BoxFuture;
use tokio::{net::UdpSocket, sync::watch};

/// How long a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Fake {
    me: Edge,
    pub(crate) lease: AtomicBool,
    pub(crate) outcome: Mutex<Option<Outcome>>,
    pub(crate) arrivals: Mutex<Vec<Arrive>>,
    pub(crate) reports: Mutex<Vec<LegReport>>,
    pub(crate) commands: Mutex<Vec<Command>>,
    pub(crate) owners: Mutex<BTreeMap<LegId, Edge>>,
    pub(crate) caught_up: AtomicBool,
    pub(crate) nonce_key: Mutex<Option<[u8; 32]>>,
    directory: watch::Sender<Arc<Directory>>,
    peers: Mutex<BTreeMap<NodeId, Handle>>,
    nodes: Mutex<NodeAddresses>,
    /// How often the edge has looked at its surroundings.
    looks: AtomicU64,
}

impl Fake {
    /// Waits until the edge has seen what was set before this call: it looks every half second.
    pub(crate) async fn seen(&self) {
        let before = self.looks.load(Ordering::Relaxed);
        // One look may have been under way.
        until("the edge to look", || (self.looks.load(Ordering::Relaxed) > before + 1).then_some(())).await;
    }
}

impl Backend for Fake {
    fn edge(&self) -> Edge {
        self.me
    }

    fn lease_valid(&self) -> bool {
        self.lease.load(Ordering::Relaxed)
    }

    fn nodes(&self) -> NodeAddresses {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.nodes.lock().clone()
    }

    fn caught_up(&self) -> BoxFuture<bool> {
        let caught_up = self.caught_up.load(Ordering::Relaxed);
        Box::pin(async move { caught_up })
    }

    fn nonce_key(&self) -> Option<[u8; 32]> {
        *self.nonce_key.lock()
    }

    fn share_nonce_key(&self, key: [u8; 32]) -> BoxFuture<()> {
        *self.nonce_key.lock() = Some(key);
        Box::pin(async {})
    }

    fn bindings(&self, owner: &Owner) -> Option<Vec<Replicated>> {
        let commands = self.commands.lock();
        let mut bound = BTreeMap::new();
        for command in commands.iter() {
            match command {
                Command::Bind { agent, binding, .. } if *agent == owner.1 => {
                    bound.insert(binding.instance.clone(), (binding.clone(), binding.expires_s));
                }
                Command::Unbind { agent, instance, .. } if *agent == owner.1 => {
                    bound.remove(instance);
                }
                _ => {}
            }
        }
        Some(bound.into_values().collect())
    }

    fn arrive(&self, arrive: Arrive, _deadline: Duration) -> BoxFuture<Result<Outcome, Error>> {
        self.arrivals.lock().push(arrive);
        let outcome = self.outcome.lock().clone();
        // Without an outcome the commit never comes to an end: the edge must not depend on it.
        Box::pin(async move {
            match outcome {
                Some(outcome) => Ok(outcome),
                None => std::future::pending().await,
            }
        })
    }

    fn report(&self, report: LegReport) {
        self.reports.lock().push(report);
    }

    fn command(&self, _domain: DomainId, envelope: Envelope, _deadline: Duration) -> BoxFuture<Result<Outcome, Error>> {
        self.commands.lock().push(envelope.command);
        Box::pin(async { Ok(Outcome::Accepted) })
    }

    fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.subscribe()
    }

    fn owner_of(&self, leg: LegId) -> BoxFuture<Option<Edge>> {
        let owner = self.owners.lock().get(&leg).copied();
        Box::pin(async move { owner })
    }

    fn tunnel(&self, node: NodeId, frame: Bytes) -> BoxFuture<Result<(), Error>> {
        let (from, peer) = (self.me.node, self.peers.lock().get(&node).cloned());
        Box::pin(async move {
            let Some(peer) = peer else { return Err(Error::Unavailable(format!("no node {node}"))) };
            peer.tunnelled(from, frame);
            Ok(())
        })
    }
}

/// A node: the real edge and its fake other half.
pub(crate) struct Node {
    pub(crate) edge: Handle,
    pub(crate) fake: Arc<Fake>,
    orders: AtomicU64,
}

/// Waits until `what` gives something.
pub(crate) async fn until<T>(name: &str, mut what: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(got) = what() {
            return got;
        }
        assert!(Instant::now() < give_up, "gave up waiting for {name}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn trunk(sources: &[&str]) -> Trunk {
    Trunk {
        sources: sources.iter().map(ToString::to_string).collect(),
        ha1: None,
        username: None,
        contacts: Vec::new(),
        prefixes: Vec::new(),
        outbound_auth: None,
        caller_id: None,
        calls_per_s_max: 0,
        calls_max: 0,
        trust_priority: false,
    }
}

/// A domain `demo` with a trunk `lab` and an agent `alice` (password `secret`) whose phone registers.
pub(crate) fn demo(lab: Trunk) -> Directory {
    let ha1 = |algorithm: Algorithm| algorithm.ha1("alice", "demo", "secret");
    let alice = Ha1 { realm: "demo".into(), md5: ha1(Algorithm::Md5), sha256: ha1(Algorithm::Sha256) };
    let view = DomainView {
        version: 1,
        trunks: BTreeMap::from([(TrunkId::new("lab"), lab)]),
        agents: BTreeMap::from([(AgentId::new("alice"), Some(alice))]),
        pass_headers: vec!["X-Customer".into()],
        calls_max: 0,
        media: Default::default(),
    };
    Directory { domains: BTreeMap::from([(DomainId::new("demo"), view)]) }
}

impl Node {
    pub(crate) async fn start(id: u64, directory: Directory) -> Self {
        Self::start_with(id, directory, Timeouts::default()).await
    }

    /// A node that has not read its tenants yet.
    pub(crate) async fn starting(id: u64, directory: Directory) -> Self {
        Self::open(id, directory, Timeouts::default(), false).await
    }

    pub(crate) async fn start_with(id: u64, directory: Directory, timeouts: Timeouts) -> Self {
        Self::open(id, directory, timeouts, true).await
    }

    /// A node that carries audio, and has this for its AI.
    pub(crate) async fn with_media(id: u64, directory: Directory, media: Arc<dyn MediaPlane>, brain: Option<Arc<dyn Brain>>) -> Self {
        Self::carrying(id, directory, (Timeouts::default(), true), media, brain).await
    }

    async fn open(id: u64, directory: Directory, timeouts: Timeouts, caught_up: bool) -> Self {
        Self::carrying(id, directory, (timeouts, caught_up), Arc::new(Direct::default()), None).await
    }

    async fn carrying(
        id: u64,
        directory: Directory,
        (timeouts, caught_up): (Timeouts, bool),
        media: Arc<dyn MediaPlane>,
        brain: Option<Arc<dyn Brain>>,
    ) -> Self {
        let any = || vec![Listen::on(([127, 0, 0, 1], 0).into())];
        let transport = transport::Options { udp: any(), tcp: any(), tls: any(), timeouts, ..transport::Options::default() };
        let options = Options { transport, ..Options::default() };
        let edge = Handle::bind(options).await.unwrap();
        let fake = Arc::new(Fake {
            me: Edge { node: NodeId(id), incarnation: 1 },
            lease: AtomicBool::new(true),
            outcome: Mutex::new(Some(Outcome::Accepted)),
            arrivals: Mutex::default(),
            reports: Mutex::default(),
            commands: Mutex::default(),
            owners: Mutex::default(),
            caught_up: AtomicBool::new(caught_up),
            nonce_key: Mutex::default(),
            directory: watch::Sender::new(Arc::new(directory)),
            peers: Mutex::default(),
            nodes: Mutex::default(),
            looks: AtomicU64::new(0),
        });
        edge.serve(fake.clone(), media, brain);
        Self { edge, fake, orders: AtomicU64::new(0) }
    }

    /// Lets nodes reach each other.
    pub(crate) fn join(nodes: &[&Self]) {
        let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
        for node in nodes {
            for other in nodes {
                let id = other.fake.me.node;
                node.fake.peers.lock().insert(id, other.edge.clone());
                node.fake.nodes.lock().insert(id, all.map(|t| (t, other.addr(t))).into_iter().collect());
            }
        }
    }

    pub(crate) fn addr(&self, transport: Transport) -> SocketAddr {
        self.edge.advertised(transport)[0]
    }

    pub(crate) fn order(&self, leg: LegId, action: Action) {
        let index = 1 + self.orders.fetch_add(1, Ordering::Relaxed);
        let id = EffectId { group: 1, index, n: 0 };
        self.edge.perform(vec![Order { id, domain: DomainId::new("demo"), leg, edge: self.fake.me, action, image: None }]);
    }

    /// Orders an INVITE to `target` and returns its leg.
    pub(crate) fn ring(&self, leg: LegId, target: Target) -> LegId {
        let ring = Ring {
            target,
            caller: Party { user: "100".into(), display: "Anna".into(), uri: "sip:100@example".into() },
            queue: None,
            trunk: None,
            sdp: Some(b"v=0\r\n".to_vec().into()),
            headers: Vec::new(),
            max_forwards: 69,
            anchored: false,
            aside: false,
        };
        self.order(leg, Action::ring(ring));
        leg
    }

    pub(crate) async fn arrival(&self) -> Arrive {
        until("an arrival", || self.fake.arrivals.lock().last().cloned()).await
    }

    /// The first report of a leg that `pick` likes.
    pub(crate) async fn report<T>(&self, leg: LegId, pick: impl Fn(&LegEvent) -> Option<T>) -> T {
        until(&format!("a report of {leg}"), || {
            self.fake.reports.lock().iter().filter(|report| report.leg == leg).find_map(|report| pick(&report.event))
        })
        .await
    }
}

/// A UDP phone or caller that reads and writes by script.
pub(crate) struct Peer {
    socket: UdpSocket,
    pub(crate) addr: SocketAddr,
}

impl Peer {
    pub(crate) async fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        Self { socket, addr }
    }

    pub(crate) async fn send(&self, to: SocketAddr, bytes: impl AsRef<[u8]>) {
        self.socket.send_to(bytes.as_ref(), to).await.unwrap();
    }

    /// The next message, `None` if none comes within `within`.
    pub(crate) async fn next(&self, within: Duration) -> Option<(Message, SocketAddr)> {
        let mut buffer = vec![0; 65_535];
        let (len, from) = tokio::time::timeout(within, self.socket.recv_from(&mut buffer)).await.ok()?.unwrap();
        Some((parse(&buffer[..len]).unwrap(), from))
    }

    /// Reads on until `pick` likes a message.
    pub(crate) async fn wait(&self, name: &str, pick: impl Fn(&Message) -> bool) -> (Message, SocketAddr) {
        loop {
            let (message, from) = self.next(PATIENCE).await.unwrap_or_else(|| panic!("no {name}"));
            if pick(&message) {
                return (message, from);
            }
        }
    }

    pub(crate) async fn status(&self, status: u16) -> Message {
        self.wait(&format!("{status}"), |m| m.status() == status).await.0
    }

    /// A request, with this peer as its sender.
    pub(crate) fn request(&self, method: &str, uri: &str, call: &str, extra: &str, body: &str) -> String {
        request("UDP", &self.addr.to_string(), method, uri, call, extra, body)
    }
}

pub(crate) fn request(transport: &str, sent_by: &str, method: &str, uri: &str, call: &str, extra: &str, body: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {sent_by};branch=z9hG4bK{call}{method};rport\r\nMax-Forwards: 70\r\n\
         From: \"Anna\" <sip:100@example>;tag=t{call}\r\nTo: <{uri}>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:100@{sent_by};transport={}>\r\n{extra}Content-Length: {}\r\n\r\n{body}",
        transport.to_lowercase(),
        body.len()
    )
}

/// A response to a request, from a phone at `contact`.
pub(crate) fn response(request: &Message, status: u16, contact: &str, extra: &str, body: &str) -> Vec<u8> {
    use tandem::sip::message::{Builder, Name};
    let mut builder = Builder::response(request, status, "Test", Some("phone"));
    if !contact.is_empty() {
        builder = builder.field(Name::Contact, format!("<{contact}>"));
    }
    for line in extra.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        builder = builder.named(name, value);
    }
    builder.body("application/sdp", body.as_bytes()).to_vec()
}
