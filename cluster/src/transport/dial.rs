//! Keeps one outgoing connection to a peer, says hello on it, and tells when it is lost.

use std::{net::SocketAddr, sync::Arc};

use tokio::time::{sleep, timeout};

use super::{CLOSED_DRAINED, CLOSED_PLAIN, Hello, Inner, KIND_HELLO, PeerEvent, exchange, tls};
use crate::{
    Incarnation, NodeId, codec,
    limits::{HANDSHAKE_TIMEOUT, REDIAL_MAX, REDIAL_MIN},
    pki,
};

/// Dials, waits for the loss, and dials again, for as long as the peer is wanted.
pub(super) async fn keep_connected(inner: Arc<Inner>, node: NodeId, addr: SocketAddr) {
    let mut pause = REDIAL_MIN;
    loop {
        match timeout(HANDSHAKE_TIMEOUT, connect(&inner, node, addr)).await {
            Ok(Ok((connection, incarnation))) => {
                pause = REDIAL_MIN;
                if let Some(peer) = inner.peers.lock().get_mut(&node) {
                    peer.connection = Some((connection.clone(), incarnation));
                }
                tell(&inner, PeerEvent::Up { node, incarnation });
                let why = connection.closed().await;
                if let Some(peer) = inner.peers.lock().get_mut(&node) {
                    peer.connection = None;
                }
                let drained = matches!(&why, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == CLOSED_DRAINED.into());
                tracing::info!(node, incarnation, %why, "peer lost");
                tell(&inner, PeerEvent::Lost { node, incarnation, drained });
            }
            Ok(Err(error)) => tracing::debug!(node, %addr, %error, "dialling failed"),
            Err(_) => tracing::debug!(node, %addr, "dialling timed out"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(REDIAL_MAX);
    }
}

fn tell(inner: &Inner, event: PeerEvent) {
    // Nobody listens during start-up and shutdown.
    let _ = inner.events.send(event);
}

async fn connect(inner: &Inner, node: NodeId, addr: SocketAddr) -> Result<(quinn::Connection, Incarnation), String> {
    let config = inner.options.files.client(tls::transport_config(inner.options.loss_after_ms)).map_err(|error| error.to_string())?;
    let connecting = inner.endpoint.connect_with(config, addr, &pki::node_name(node)).map_err(|error| error.to_string())?;
    let connection = connecting.await.map_err(|error| error.to_string())?;
    if tls::peer_node(&connection) != Some(node) {
        connection.close(CLOSED_PLAIN.into(), b"another node");
        return Err("its certificate names another node".to_owned());
    }
    let hello = codec::encode(&inner.hello()).map_err(|error| error.to_string())?;
    let answer = exchange(&connection, KIND_HELLO, 0, &hello).await.map_err(|error| error.to_string())?;
    match answer.split_first() {
        Some((0, body)) => {
            let theirs: Hello = codec::decode(body).map_err(|error| error.to_string())?;
            Ok((connection, theirs.incarnation))
        }
        _ => Err(String::from_utf8_lossy(answer.get(1..).unwrap_or_default()).into_owned()),
    }
}
