//! TCP and TLS connections: accepting, dialling, and the two tasks of each, one that reads and one that writes.
//!
//! A connection at rest holds no buffer. Whoever is slow is cut by a deadline: in its handshake, its first message, any
//! message it began, and in reading what we write.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{Duration, timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    Error, Event, Listen, Shared, Transport,
    table::{Outgoing, Seat},
    tls,
};
use crate::{
    core::party,
    sip::{
        edge::metrics as names,
        framer::{Frame, StreamFramer},
        limits::{HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, LISTEN_BACKLOG, STREAM_READ_BYTES},
    },
};

/// How long a full sink is waited for before it is offered the message again.
const SINK_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Listener {
    listener: TcpListener,
    pub(super) advertised: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Listener {
    pub(super) fn bind(listen: &Listen, tls: Option<Arc<rustls::ServerConfig>>) -> Result<Self, Error> {
        let open = || -> std::io::Result<(TcpListener, SocketAddr)> {
            let socket = if listen.bind.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.bind(listen.bind)?;
            let listener = socket.listen(LISTEN_BACKLOG)?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        };
        let name = if tls.is_some() { "TLS" } else { "TCP" };
        let (listener, bound) = open().map_err(|e| Error::Bind(name, listen.bind, e))?;
        Ok(Self { listener, advertised: listen.advertised(bound), tls })
    }

    pub(super) const fn transport(&self) -> party::Transport {
        if self.tls.is_some() { party::Transport::Tls } else { party::Transport::Tcp }
    }

    pub(super) async fn accept(self, transport: Transport) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let stop = transport.inner.shared.stop.clone();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, remote)) = accepted else {
                // Out of file descriptors, most likely: others must close before we can go on.
                tokio::time::sleep(SINK_PAUSE).await;
                continue;
            };
            let Some(seat) = transport.inner.table.accept(self.transport(), self.advertised, remote) else {
                metrics::counter!(names::CONNECTIONS_REFUSED_TOTAL).increment(1);
                continue;
            };
            let Some(config) = self.tls.clone() else {
                tokio::spawn(run(transport.clone(), seat, stream, true));
                continue;
            };
            let Ok(place) = handshakes.clone().try_acquire_owned() else {
                metrics::counter!(names::CONNECTIONS_REFUSED_TOTAL).increment(1);
                continue;
            };
            let transport = transport.clone();
            tokio::spawn(async move {
                let shaken = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await;
                drop(place);
                match shaken {
                    Ok(Ok(stream)) => run(transport, seat, stream, true).await,
                    Ok(Err(error)) => tracing::info!(%remote, %error, "TLS handshake refused"),
                    Err(_) => tracing::info!(%remote, "TLS handshake took too long"),
                }
            });
        }
    }
}

/// Opens the connection of a seat and serves it; what was queued meanwhile comes back if it cannot be opened.
pub(super) async fn dial(transport: Transport, mut seat: Seat, name: String) {
    let shared = transport.inner.shared.clone();
    let connect = async {
        let stream = TcpStream::connect(seat.flow.remote).await?;
        if seat.flow.transport == party::Transport::Tcp {
            return Ok((Some(stream), None));
        }
        let connector = TlsConnector::from(shared.client_tls.clone());
        let stream = connector.connect(tls::server_name(&name, seat.flow.remote.ip()), stream).await?;
        Ok::<_, std::io::Error>((None, Some(stream)))
    };
    match timeout(shared.timeouts.connect, connect).await {
        Ok(Ok((Some(stream), _))) => run(transport, seat, stream, false).await,
        Ok(Ok((_, Some(stream)))) => run(transport, seat, stream, false).await,
        other => {
            if let Ok(Err(error)) = other {
                tracing::debug!(remote = %seat.flow.remote, %error, "cannot connect");
            }
            give_back(&shared, &mut seat.queue);
        }
    }
}

fn give_back(shared: &Shared, queue: &mut mpsc::Receiver<Outgoing>) {
    queue.close();
    while let Ok(outgoing) = queue.try_recv() {
        if let Some(to) = outgoing.to {
            let _ = shared.emit(Event::Undeliverable { to, bytes: outgoing.bytes });
        }
    }
}

/// Serves a connection until it ends, then says so.
async fn run<S: AsyncRead + AsyncWrite + Send + 'static>(transport: Transport, mut seat: Seat, stream: S, incoming: bool) {
    let shared = transport.inner.shared.clone();
    let (reader, writer) = tokio::io::split(stream);
    {
        let write = write(writer, &mut seat.queue, &shared);
        let read = read(reader, &transport, seat.flow, incoming);
        tokio::select! {
            () = shared.stop.cancelled() => {}
            () = seat.cut.cancelled() => metrics::counter!(names::CONNECTIONS_CUT_TOTAL).increment(1),
            () = read => {}
            () = write => {}
        }
    }
    give_back(&shared, &mut seat.queue);
    let flow = seat.flow;
    drop(seat);
    let mut closed = Event::Closed { flow };
    while let Err(back) = shared.emit(closed) {
        closed = *back;
        tokio::time::sleep(SINK_PAUSE).await;
    }
}

async fn write<S: AsyncWrite + Send>(mut writer: tokio::io::WriteHalf<S>, queue: &mut mpsc::Receiver<Outgoing>, shared: &Shared) {
    while let Some(outgoing) = queue.recv().await {
        let written = timeout(shared.timeouts.write, async {
            writer.write_all(&outgoing.bytes).await?;
            writer.flush().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            if let Some(to) = outgoing.to {
                let _ = shared.emit(Event::Undeliverable { to, bytes: outgoing.bytes });
            }
            return;
        }
    }
}

async fn read<S: AsyncRead + Send>(
    mut reader: tokio::io::ReadHalf<S>,
    transport: &Transport,
    flow: crate::sip::stack::Flow,
    incoming: bool,
) {
    let shared = &transport.inner.shared;
    let timeouts = shared.timeouts;
    let mut framer = StreamFramer::default();
    let mut buffer = vec![0_u8; STREAM_READ_BYTES];
    let mut deadline = Instant::now() + if incoming { timeouts.first_message } else { timeouts.idle };
    let mut began = false;
    loop {
        let Ok(Ok(len @ 1..)) = timeout_at(deadline.into(), reader.read(&mut buffer)).await else { return };
        framer.push(&buffer[..len]);
        let mut whole = false;
        loop {
            match framer.next() {
                Ok(None) => break,
                Ok(Some(Frame::Ping)) => {
                    transport.inner.table.pong(flow.conn.expect("streams are numbered"));
                    whole = true;
                }
                Ok(Some(Frame::Message(message))) => {
                    deliver(shared, Event::Message { flow, message, received: Instant::now() }).await;
                    whole = true;
                }
                Err((fault, bytes)) => {
                    deliver(shared, Event::Bad { flow, fault, bytes }).await;
                    linger(&mut reader, timeouts.write.min(Duration::from_secs(1))).await;
                    return;
                }
            }
        }
        // A deadline runs from the first byte of a message and no further byte moves it.
        let partial = framer.is_partial();
        if partial && (whole || !began) {
            deadline = Instant::now() + timeouts.message;
        } else if !partial && (whole || began) {
            deadline = Instant::now() + timeouts.idle;
        }
        began = partial;
    }
}

/// Leaves the writer time to send an answer before the connection closes. What the peer says meanwhile is dropped.
async fn linger<S: AsyncRead + Send>(reader: &mut tokio::io::ReadHalf<S>, at_most: Duration) {
    let mut sink = [0_u8; 512];
    let _ = timeout(at_most, async { while matches!(reader.read(&mut sink).await, Ok(1..)) {} }).await;
}

async fn deliver(shared: &Shared, mut event: Event) {
    while let Err(back) = shared.emit(event) {
        event = *back;
        tokio::time::sleep(SINK_PAUSE).await;
    }
}
