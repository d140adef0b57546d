//! The accepting side: handshakes within bounds, a hello before anything else, then one answer per stream.

use std::sync::{Arc, atomic::Ordering};

use quinn::{Connection, Incoming, RecvStream, SendStream};
use tokio::{sync::Semaphore, time::timeout};

use super::{CLOSED_PLAIN, Handler, Hello, Inner, frame, tls};
use crate::{
    Incarnation, NodeId,
    limits::{HANDSHAKE_TIMEOUT, HANDSHAKES_MAX},
};

/// Which peer was told which life of ours.
#[derive(Clone, Copy)]
struct Told {
    to: NodeId,
    incarnation: Incarnation,
}

impl Inner {
    /// Remembers a greeted connection, and has the peer dialled at once if it is not yet. False when a new life began after the peer was told of the former one.
    fn keep(&self, connection: &Connection, told: Told) -> bool {
        let mut accepted = self.accepted.lock();
        accepted.retain(|connection| connection.close_reason().is_none());
        accepted.push(connection.clone());
        drop(accepted);
        if let Some(peer) = self.peers.lock().get(&told.to).filter(|peer| peer.connection.is_none()) {
            peer.greeted.notify_one();
        }
        self.incarnation.load(Ordering::Acquire) == told.incarnation
    }
}

/// Accepts connections until the endpoint is closed.
pub(super) async fn accept(inner: Arc<Inner>, handler: Arc<dyn Handler>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = inner.endpoint.accept().await {
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let (inner, handler) = (Arc::clone(&inner), Arc::clone(&handler));
        tokio::spawn(async move {
            let from = incoming.remote_address();
            let greeted =
                timeout(HANDSHAKE_TIMEOUT, greet(&inner, incoming)).await.unwrap_or_else(|_| Err("the handshake timed out".into()));
            drop(permit);
            match greeted {
                Ok((connection, told)) if inner.keep(&connection, told) => serve(&connection, told.to, &handler).await,
                Ok((connection, _)) => connection.close(CLOSED_PLAIN.into(), b"a new life"),
                Err(error) => {
                    metrics::counter!("cluster_connections_refused_total").increment(1);
                    tracing::warn!(%from, %error, "a connection was refused");
                }
            }
        });
    }
}

/// Finishes the handshake and exchanges hellos. Until then the peer can cause nothing but this.
async fn greet(inner: &Inner, incoming: Incoming) -> Result<(Connection, Told), String> {
    let connection = incoming.accept().map_err(|e| e.to_string())?.await.map_err(|e| e.to_string())?;
    let refuse = |why: String| {
        connection.close(CLOSED_PLAIN.into(), why.as_bytes());
        why
    };
    let Some(certified) = tls::peer_node(&connection) else { return Err(refuse("the certificate names no node".into())) };
    let (mut send, mut receive) = connection.accept_bi().await.map_err(|e| e.to_string())?;
    let request = frame::receive_request(&mut receive).await.map_err(|e| refuse(e.to_string()))?;
    if request.kind != frame::HELLO {
        return Err(refuse("the first request was not a hello".into()));
    }
    let checked = Hello::read(&request.body).and_then(|theirs| theirs.check(certified, &inner.options));
    let ours = inner.hello();
    let answer = checked.clone().and_then(|()| ours.write());
    frame::send_answer(&mut send, frame::HELLO, &answer).await.map_err(|e| e.to_string())?;
    if let Err(why) = checked {
        // The peer reads the reason from the answer; closing at once could overtake it.
        let _ = send.stopped().await;
        return Err(refuse(why));
    }
    Ok((connection, Told { to: certified, incarnation: ours.incarnation }))
}

/// Answers the streams of a greeted connection until it ends.
async fn serve(connection: &Connection, node: NodeId, handler: &Arc<dyn Handler>) {
    while let Ok((send, receive)) = connection.accept_bi().await {
        tokio::spawn(answer(node, send, receive, Arc::clone(handler)));
    }
}

async fn answer(from: NodeId, mut send: SendStream, mut receive: RecvStream, handler: Arc<dyn Handler>) {
    let (kind, answer) = match frame::receive_request(&mut receive).await {
        Ok(request) => (request.kind, handler.handle(from, request.kind, request.group, request.body).await),
        Err(error @ frame::Error::Connection(_)) => {
            tracing::debug!(from, %error, "a request was cut off");
            return;
        }
        Err(error) => {
            metrics::counter!("cluster_frames_refused_total").increment(1);
            tracing::warn!(from, %error, "a request was refused");
            // Nobody reads the rest; an error means that it is gone already.
            let _ = receive.stop(0u32.into());
            (0xFF, Err(error.to_string()))
        }
    };
    // An answer that cannot be sent ends with the asker's connection or deadline.
    if let Err(error) = frame::send_answer(&mut send, kind, &answer).await {
        tracing::debug!(from, kind, %error, "an answer was not sent");
    }
}
