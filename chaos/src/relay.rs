//! A UDP relay between the nodes: it can cut, delay, lose, double, reorder and damage what one node sends to another.
//!
//! A node listens on its own port and tells its peers to dial the relay's (`advertise`). The relay knows the sender of a
//! packet by its source, since a node dials from the port it listens on, and the receiver by the socket it came in at.
//! So each direction of each pair is a link of its own, whoever opened the connection. What comes from elsewhere (a watcher
//! that announces a death) is passed on untouched. It is a process of its own, so that the cluster survives the tool's death and
//! can still be healed: a datagram of JSON on the control socket sets rules and reads counts.

mod client;
mod rule;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;

use self::rule::{Fate, Link};
pub use self::{
    client::{Client, Process},
    rule::{Counts, Rule},
};

/// Longest datagram between nodes, bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Packets held back at once; a full store lets further ones pass late by nothing, as a full queue of a router would not.
const HELD_MAX: usize = 20_000;

/// What the control socket understands.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The rule of one direction.
    Set {
        from: u16,
        to: u16,
        rule: Rule,
    },
    /// Every link passes everything again.
    Clear,
    Counts,
    Quit,
}

/// The counts of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub from: u16,
    pub to: u16,
    pub counts: Counts,
}

/// Which ports the nodes have: node K listens on `listen_base` + K - 1 and is dialled at `front_base` + K - 1.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Ports {
    #[arg(long)]
    pub nodes: u16,
    #[arg(long)]
    pub listen_base: u16,
    #[arg(long)]
    pub front_base: u16,
    #[arg(long)]
    pub control: u16,
    /// Fixes whom chance hits.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

struct Shared {
    ports: Ports,
    links: Mutex<BTreeMap<(u16, u16), Link>>,
    /// By receiver.
    fronts: BTreeMap<u16, Arc<UdpSocket>>,
    /// By sender's address and receiver; what the receiver answers comes back here.
    backs: Mutex<BTreeMap<(SocketAddr, u16), Arc<UdpSocket>>>,
    held: tokio::sync::Semaphore,
}

impl Shared {
    /// The node that sends from this address, if one does.
    fn node_at(&self, addr: SocketAddr) -> Option<u16> {
        let node = addr.port().checked_sub(self.ports.listen_base)? + 1;
        (node <= self.ports.nodes).then_some(node)
    }

    fn fate(&self, from: Option<u16>, to: Option<u16>, bytes: &mut [u8]) -> Fate {
        let (Some(from), Some(to)) = (from, to) else { return Fate::PASS };
        self.links.lock().get_mut(&(from, to)).map_or(Fate::PASS, |link| link.fate(bytes))
    }

    /// Sends once or twice, now or later.
    fn deliver(self: &Arc<Self>, fate: Fate, bytes: Vec<u8>, by: &Arc<UdpSocket>, to: SocketAddr) {
        for delay in fate.copies() {
            if delay.is_zero() {
                // A full socket buffer loses a packet, as networks do.
                let _ = by.try_send_to(&bytes, to);
                continue;
            }
            let (shared, bytes, by) = (Arc::clone(self), bytes.clone(), Arc::clone(by));
            tokio::spawn(async move {
                let Ok(_permit) = shared.held.try_acquire() else { return };
                tokio::time::sleep(delay).await;
                let _ = by.send_to(&bytes, to).await;
            });
        }
    }
}

/// Runs until told to quit.
///
/// # Errors
/// When a socket cannot be had.
pub fn serve(ports: &Ports) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut fronts = BTreeMap::new();
        for node in 1..=ports.nodes {
            fronts.insert(node, Arc::new(UdpSocket::bind(local(ports.front_base + node - 1)).await?));
        }
        let mut links = BTreeMap::new();
        for (from, to) in (1..=ports.nodes).flat_map(|from| (1..=ports.nodes).map(move |to| (from, to))).filter(|(from, to)| from != to) {
            links.insert((from, to), Link::new(ports.seed.wrapping_mul(31).wrapping_add(u64::from(from) << 16 | u64::from(to))));
        }
        let held = tokio::sync::Semaphore::new(HELD_MAX);
        let shared = Arc::new(Shared { ports: *ports, links: Mutex::new(links), fronts, backs: Mutex::default(), held });
        for node in 1..=ports.nodes {
            tokio::spawn(front(Arc::clone(&shared), node));
        }
        control(&shared, UdpSocket::bind(local(ports.control)).await?).await
    })
}

/// Takes what anybody sends to node `to`.
async fn front(shared: Arc<Shared>, to: u16) {
    let socket = Arc::clone(&shared.fronts[&to]);
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error of a datagram socket tells of an earlier packet that nobody took.
        let Ok((len, source)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(back) = back(&shared, source, to).await else { continue };
        let mut bytes = buffer[..len].to_vec();
        let fate = shared.fate(shared.node_at(source), Some(to), &mut bytes);
        shared.deliver(fate, bytes, &back, local(shared.ports.listen_base + to - 1));
    }
}

/// The socket that stands for `source` towards node `to`.
async fn back(shared: &Arc<Shared>, source: SocketAddr, to: u16) -> Option<Arc<UdpSocket>> {
    if let Some(socket) = shared.backs.lock().get(&(source, to)) {
        return Some(Arc::clone(socket));
    }
    let socket = Arc::new(UdpSocket::bind(local(0)).await.ok()?);
    shared.backs.lock().insert((source, to), Arc::clone(&socket));
    let (shared, answers) = (Arc::clone(shared), Arc::clone(&socket));
    tokio::spawn(async move {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let Ok((len, _)) = answers.recv_from(&mut buffer).await else { continue };
            let mut bytes = buffer[..len].to_vec();
            let fate = shared.fate(Some(to), shared.node_at(source), &mut bytes);
            shared.deliver(fate, bytes, &shared.fronts[&to], source);
        }
    });
    Some(socket)
}

async fn control(shared: &Arc<Shared>, socket: UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
        let request: Result<Request, _> = serde_json::from_slice(&buffer[..len]);
        match &request {
            Ok(Request::Set { from, to, rule }) => {
                if let Some(link) = shared.links.lock().get_mut(&(*from, *to)) {
                    link.rule = *rule;
                }
            }
            Ok(Request::Clear) => shared.links.lock().values_mut().for_each(|link| link.rule = Rule::default()),
            Ok(Request::Counts | Request::Quit) | Err(_) => {}
        }
        let rows: Vec<Row> =
            shared.links.lock().iter().map(|((from, to), link)| Row { from: *from, to: *to, counts: link.counts }).collect();
        // Whoever asked asks again when the answer is lost.
        let _ = socket.send_to(&serde_json::to_vec(&rows).unwrap_or_default(), from).await;
        if matches!(request, Ok(Request::Quit)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Ok(());
        }
    }
}
