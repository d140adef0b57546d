//! The way to the peers: QUIC, or on a thread that simulates the network of the simulation. Everything above holds a
//! [`Link`] and cannot tell.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::broadcast;

#[cfg(feature = "sim")]
use crate::sim::Port;
use crate::{
    Incarnation, NodeId, RequestError,
    transport::{Handler, Options, PeerEvent, Transport},
};

/// A node's connections. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Link {
    Quic(Transport),
    #[cfg(feature = "sim")]
    Sim(Port),
}

/// The same of whichever it is.
macro_rules! either {
    ($link:expr, $it:ident => $does:expr) => {
        match $link {
            Self::Quic($it) => $does,
            #[cfg(feature = "sim")]
            Self::Sim($it) => $does,
        }
    };
}

impl Link {
    /// See [`Transport::start`].
    pub(crate) fn start(options: Options, handler: Arc<dyn Handler>) -> io::Result<Self> {
        #[cfg(feature = "sim")]
        if let Some(port) = Port::start(&options, &handler) {
            return Ok(Self::Sim(port));
        }
        Transport::start(options, handler).map(Self::Quic)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Quic(quic) => quic.local_addr(),
            #[cfg(feature = "sim")]
            Self::Sim(port) => Ok(port.local_addr()),
        }
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<PeerEvent> {
        either!(self, link => link.events())
    }

    /// See [`Transport::set_peers`].
    pub(crate) fn set_peers(&self, wanted: &BTreeMap<NodeId, SocketAddr>) {
        either!(self, link => link.set_peers(wanted));
    }

    /// See [`Transport::connected`].
    pub(crate) fn connected(&self, node: NodeId) -> Option<Incarnation> {
        either!(self, link => link.connected(node))
    }

    /// See [`Transport::begin_anew`].
    pub(crate) fn begin_anew(&self, incarnation: Incarnation) {
        either!(self, link => link.begin_anew(incarnation));
    }

    /// See [`Transport::cut`].
    pub(crate) fn cut(&self, node: NodeId, incarnation: Incarnation) {
        either!(self, link => link.cut(node, incarnation));
    }

    /// See [`Transport::request`].
    pub(crate) async fn request(&self, node: NodeId, kind: u8, group: u32, body: &[u8], deadline: Duration) -> Result<Bytes, RequestError> {
        either!(self, link => link.request(node, kind, group, body, deadline).await)
    }

    /// See [`Transport::send_bulk`].
    pub(crate) async fn send_bulk(
        &self,
        node: NodeId,
        kind: u8,
        group: u32,
        parts: &[&[u8]],
        answer_within: Duration,
    ) -> Result<Bytes, RequestError> {
        match self {
            Self::Quic(quic) => quic.send_bulk(node, kind, group, parts, answer_within).await,
            #[cfg(feature = "sim")]
            Self::Sim(port) => port.request(node, kind, group, &parts.concat(), answer_within).await,
        }
    }

    /// Ends a simulated node without a word.
    #[cfg(feature = "sim")]
    pub(crate) fn cut_power(&self) {
        if let Self::Sim(port) = self {
            port.cut_power();
        }
    }

    /// See [`Transport::close`].
    pub(crate) async fn close(&self, code: u32) {
        either!(self, link => link.close(code).await);
    }
}
