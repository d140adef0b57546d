//! Connections of a phone: opened or accepted, over TCP or TLS, cut into messages by Content-Length (RFC 3261 §18.3).

use std::{net::SocketAddr, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use super::{
    limits::{CONNECT_WITHIN, QUEUE_MAX, STREAM_MESSAGE_BYTES_MAX},
    text::Transport,
    tls::Tls,
};

/// What a connection tells its phone.
#[derive(Debug)]
pub(super) enum Event {
    Message {
        conn: u64,
        bytes: Bytes,
    },
    /// It is over; what was not written comes back.
    Closed {
        conn: u64,
        unsent: Vec<Bytes>,
    },
}

/// A connection's write side.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) peer: SocketAddr,
    pub(super) transport: Transport,
    pub(super) write: mpsc::Sender<Bytes>,
}

/// Opens a connection, or goes on with an accepted one.
pub(super) fn run(
    conn: u64,
    accepted: Option<TcpStream>,
    peer: SocketAddr,
    transport: Transport,
    tls: Arc<Tls>,
    events: mpsc::Sender<Event>,
) -> Conn {
    let (write, mut queue) = mpsc::channel(QUEUE_MAX);
    tokio::spawn(async move {
        let opened = timeout(CONNECT_WITHIN, open(accepted, peer, transport, &tls)).await;
        let unsent = match opened {
            Ok(Ok(socket)) => carry(conn, socket, &mut queue, &events).await,
            _ => Vec::new(),
        };
        queue.close();
        let mut unsent = unsent;
        while let Ok(bytes) = queue.try_recv() {
            unsent.push(bytes);
        }
        // The phone may be gone.
        events.send(Event::Closed { conn, unsent }).await.ok();
    });
    Conn { peer, transport, write }
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

async fn open(accepted: Option<TcpStream>, peer: SocketAddr, transport: Transport, tls: &Tls) -> std::io::Result<Box<dyn Socket>> {
    let server = accepted.is_some();
    let tcp = match accepted {
        Some(tcp) => tcp,
        None => TcpStream::connect(peer).await?,
    };
    tcp.set_nodelay(true)?;
    Ok(match (transport, server) {
        (Transport::Tls, true) => Box::new(tls.acceptor.accept(tcp).await?),
        (Transport::Tls, false) => Box::new(tls.connector.connect(peer.ip(), tcp).await?),
        _ => Box::new(tcp),
    })
}

/// Reads and writes until either side ends. Returns what could not be written.
async fn carry(conn: u64, socket: Box<dyn Socket>, queue: &mut mpsc::Receiver<Bytes>, events: &mpsc::Sender<Event>) -> Vec<Bytes> {
    let (mut read, mut write) = tokio::io::split(socket);
    let mut buffer = BytesMut::new();
    loop {
        tokio::select! {
            got = read.read_buf(&mut buffer) => match got {
                Ok(0) | Err(_) => return Vec::new(),
                Ok(_) => while let Some(bytes) = match next(&mut buffer) { Ok(found) => found, Err(Junk) => return Vec::new() } {
                    if events.send(Event::Message { conn, bytes }).await.is_err() {
                        return Vec::new();
                    }
                },
            },
            bytes = queue.recv() => {
                let Some(bytes) = bytes else {
                    write.shutdown().await.ok();
                    return Vec::new();
                };
                if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                    return vec![bytes];
                }
            }
        }
    }
}

/// What came is no SIP.
#[derive(Debug, PartialEq, Eq)]
struct Junk;

/// Takes the next whole message out of the buffer.
fn next(buffer: &mut BytesMut) -> Result<Option<Bytes>, Junk> {
    while buffer.starts_with(b"\r\n") {
        buffer.advance(2);
    }
    if buffer.len() > STREAM_MESSAGE_BYTES_MAX {
        return Err(Junk);
    }
    let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else { return Ok(None) };
    let text = String::from_utf8_lossy(&buffer[..head]);
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim();
        (name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("l")).then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = head + length.ok_or(Junk)?;
    if buffer.len() < whole { Ok(None) } else { Ok(Some(buffer.split_to(whole).freeze())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_however_they_arrive_and_keep_alives_are_skipped() {
        let text = b"\r\n\r\nBYE a SIP/2.0\r\nContent-Length: 3\r\n\r\nabcOPTIONS b SIP/2.0\r\nl: 0\r\n\r\n";
        let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
        for byte in text {
            buffer.extend_from_slice(&[*byte]);
            while let Ok(Some(message)) = next(&mut buffer) {
                found.push(message);
            }
        }
        assert_eq!(found.len(), 2);
        assert!(found[0].ends_with(b"\r\n\r\nabc") && found[1].starts_with(b"OPTIONS") && buffer.is_empty());
    }

    #[test]
    fn a_stream_without_lengths_is_junk() {
        let mut buffer = BytesMut::from(&b"BYE a SIP/2.0\r\nTo: x\r\n\r\n"[..]);
        assert_eq!(next(&mut buffer), Err(Junk));
    }
}
