//! The watcher's side of a death notice: connections to the peers, kept open while the node lives, so that its death is told
//! within a round trip. To open them only then takes handshakes with peers that have the dead one's work to do as well.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{DEATH, notes};
use crate::{
    BoxFuture, Incarnation, NodeId, Options, RequestError, codec,
    limits::{HERALD_ROUND, SUCCESSION_PAUSE},
    transport::{self, CLOSED_PLAIN, Files, Handler, Transport},
};

/// Silence after which a watcher takes a peer for gone and dials it anew, milliseconds. It decides nothing.
const LOSS_AFTER_MS: u64 = 1_000;

/// Tells the peers of a node that its process is gone, with the node's own certificate; for its watcher.
pub struct Herald {
    options: Options,
    transport: Transport,
    rounds: JoinHandle<()>,
}

/// Answers nothing: a watcher only speaks.
struct Silent;

impl Handler for Silent {
    fn handle(&self, _: NodeId, _: u8, _: u32, _: Bytes) -> BoxFuture<Result<Bytes, String>> {
        Box::pin(async { Err("a watcher answers nothing".to_owned()) })
    }
}

impl Herald {
    /// Binds a socket beside the node's and keeps in touch with its peers, as the node notes them on its disk.
    ///
    /// # Errors
    /// When the certificate cannot be used or no socket can be bound.
    pub fn start(options: Options) -> io::Result<Self> {
        let transport = Transport::start(
            transport::Options {
                node: options.node,
                // A watcher lives no life of the node.
                incarnation: 0,
                listen: SocketAddr::new(options.listen.ip(), 0),
                files: Files { ca: options.ca.clone(), cert: options.cert.clone(), key: options.key.clone() },
                loss_after_ms: LOSS_AFTER_MS,
                levels: (0, options.feature_level),
            },
            Arc::new(Silent),
        )?;
        let rounds = tokio::spawn(follow(options.clone(), transport.clone()));
        Ok(Self { options, transport, rounds })
    }

    /// Says that a life of the node is over. Returns how many peers were told within `within`.
    ///
    /// # Errors
    /// None in practice: when the notice cannot be encoded.
    pub async fn announce(&self, incarnation: Incarnation, within: Duration) -> io::Result<usize> {
        let peers = peers(&self.options);
        self.transport.set_peers(&peers);
        let notice = codec::encode(&(self.options.node, incarnation))?;
        let told = peers.keys().map(|peer| tell(&self.transport, *peer, &notice, within));
        Ok(futures::future::join_all(told).await.into_iter().filter(|told| *told).count())
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        self.rounds.abort();
        self.transport.hang_up(CLOSED_PLAIN);
    }
}

fn peers(options: &Options) -> BTreeMap<NodeId, SocketAddr> {
    let mut peers = notes::known(options);
    peers.remove(&options.node);
    peers
}

async fn follow(options: Options, transport: Transport) {
    loop {
        transport.set_peers(&peers(&options));
        sleep(HERALD_ROUND).await;
    }
}

async fn tell(transport: &Transport, peer: NodeId, notice: &[u8], within: Duration) -> bool {
    let mut events = transport.events();
    let told = async {
        loop {
            match transport.request(peer, DEATH, 0, notice, within).await {
                // Not connected: wait for the next connection, or a little.
                Err(RequestError::Unreachable(..)) => drop(timeout(SUCCESSION_PAUSE, events.recv()).await),
                answer => return answer.is_ok(),
            }
        }
    };
    timeout(within, told).await.unwrap_or(false)
}
