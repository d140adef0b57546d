//! Keeps one outgoing connection to a peer, says hello on it, and tells when it is lost.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{CLOSED_DRAINED, CLOSED_PLAIN, Hello, Inner, PeerEvent, exchange, frame, silence, tls};
use crate::{
    Incarnation, NodeId,
    limits::{DIAL_MIN, HANDSHAKE_TIMEOUT, REDIAL_MAX, REDIAL_MIN},
    pki,
};

/// Dials, waits for the loss, and dials again, for as long as the peer is wanted. `greeted` tells that the peer has just
/// met us from its side: it is there, and what was tried while it was not is given up.
pub(super) async fn keep_connected(inner: Arc<Inner>, node: NodeId, addr: SocketAddr, greeted: Arc<Notify>) {
    let mut pause = REDIAL_MIN;
    let mut refusal = String::new();
    loop {
        let attempt = tokio::select! {
            attempt = timeout(HANDSHAKE_TIMEOUT, connect(&inner, node, addr)) => attempt,
            () = outdated(&greeted) => continue,
        };
        match attempt {
            Ok(Ok((connection, incarnation))) => {
                pause = REDIAL_MIN;
                refusal.clear();
                if let Some(peer) = inner.peers.lock().get_mut(&node) {
                    peer.connection = Some((connection.clone(), incarnation));
                }
                tell(&inner, PeerEvent::Up { node, incarnation });
                let why = lost(&inner, &connection).await;
                if let Some(peer) = inner.peers.lock().get_mut(&node) {
                    peer.connection = None;
                }
                let drained = matches!(&why, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == CLOSED_DRAINED.into());
                tracing::info!(node, incarnation, %why, "peer lost");
                tell(&inner, PeerEvent::Lost { node, incarnation, drained });
            }
            // A peer that answers and refuses needs an operator; it is said once, not at every attempt.
            Ok(Err(Failed::Refused(why))) if why != refusal => {
                tracing::warn!(node, %addr, %why, "a peer refuses this node");
                refusal = why;
            }
            Ok(Err(Failed::Refused(why) | Failed::Unreachable(why))) => tracing::debug!(node, %addr, %why, "dialling failed"),
            Err(_) => tracing::debug!(node, %addr, "dialling timed out"),
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = greeted.notified() => {}
        }
        pause = (pause * 2).min(REDIAL_MAX);
    }
}

/// Waits until the connection is over, at the latest half as long again as a silence that counts as a loss.
async fn lost(inner: &Inner, connection: &quinn::Connection) -> quinn::ConnectionError {
    let bound = Duration::from_millis(inner.options.loss_after_ms) * 3 / 2;
    tokio::select! {
        why = connection.closed() => why,
        () = silence::silent(connection, bound) => {
            connection.close(CLOSED_PLAIN.into(), b"silence");
            connection.closed().await
        }
    }
}

/// Waits until the peer has greeted us and the attempt under way has had its time: one of two that meet at once must win.
async fn outdated(greeted: &Notify) {
    let fair = sleep(DIAL_MIN);
    greeted.notified().await;
    fair.await;
}

fn tell(inner: &Inner, event: PeerEvent) {
    // Nobody listens during start-up and shutdown.
    let _ = inner.events.send(event);
}

enum Failed {
    Unreachable(String),
    /// By us or by the peer, after talking to it.
    Refused(String),
}

fn unreachable(error: impl std::fmt::Display) -> Failed {
    Failed::Unreachable(error.to_string())
}

async fn connect(inner: &Inner, node: NodeId, addr: SocketAddr) -> Result<(quinn::Connection, Incarnation), Failed> {
    let connecting = inner.endpoint.connect_with(inner.identity.client(), addr, &pki::node_name(node)).map_err(unreachable)?;
    let connection = connecting.await.map_err(|error| match error {
        quinn::ConnectionError::TransportError(error) => Failed::Refused(error.to_string()),
        error => unreachable(error),
    })?;
    let refuse = |why: String| {
        connection.close(CLOSED_PLAIN.into(), why.as_bytes());
        Failed::Refused(why)
    };
    let Some(certified) = tls::peer_node(&connection) else { return Err(refuse("its certificate names no node".into())) };
    if certified != node {
        return Err(refuse(format!("its certificate names node {certified}")));
    }
    let hello = inner.hello().write().map_err(Failed::Refused)?;
    // TLS 1.3 lets the dialling side finish first: a refusal of our certificate arrives here, as the end of the connection.
    let answer = exchange(&connection, frame::HELLO, 0, &hello).await.map_err(|error| match connection.close_reason() {
        Some(quinn::ConnectionError::ConnectionClosed(close)) => Failed::Refused(close.to_string()),
        Some(quinn::ConnectionError::ApplicationClosed(close)) => Failed::Refused(close.to_string()),
        _ => unreachable(error),
    })?;
    let theirs = answer.and_then(|body| Hello::read(&body)).map_err(refuse)?;
    theirs.check(node, &inner.options).map_err(refuse)?;
    Ok((connection, theirs.incarnation))
}
