//! UDP sockets: big kernel buffers, several datagrams per wake-up. A datagram that cannot be sent or taken is dropped and
//! counted; retransmission is the business of SIP.

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use tokio::net::UdpSocket;

use super::{Error, Event, Listen, NoWay, Shared};
use crate::{
    core::party::Transport,
    sip::{
        edge::metrics as names,
        framer::{self, Datagram},
        limits::{DATAGRAM_BYTES_MAX, UDP_BATCH_MAX, UDP_BUFFER_BYTES},
        stack::Flow,
    },
};

#[derive(Clone)]
pub(super) struct Socket {
    socket: Arc<UdpSocket>,
    pub(super) advertised: SocketAddr,
}

impl Socket {
    pub(super) fn bind(listen: &Listen) -> Result<Self, Error> {
        let open = || -> io::Result<(UdpSocket, SocketAddr)> {
            let socket = socket2::Socket::new(socket2::Domain::for_address(listen.bind), socket2::Type::DGRAM, None)?;
            // The kernel caps these at rmem_max and wmem_max; what it grants is what we get.
            socket.set_recv_buffer_size(UDP_BUFFER_BYTES)?;
            socket.set_send_buffer_size(UDP_BUFFER_BYTES)?;
            socket.set_nonblocking(true)?;
            socket.bind(&listen.bind.into())?;
            let socket = UdpSocket::from_std(socket.into())?;
            let bound = socket.local_addr()?;
            Ok((socket, bound))
        };
        let (socket, bound) = open().map_err(|e| Error::Bind("UDP", listen.bind, e))?;
        Ok(Self { socket: Arc::new(socket), advertised: listen.advertised(bound) })
    }

    pub(super) fn send(&self, remote: SocketAddr, bytes: &Bytes) -> Result<(), NoWay> {
        match self.socket.try_send_to(bytes, remote) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                metrics::counter!(names::DATAGRAMS_DROPPED_TOTAL, "direction" => "out").increment(1);
                Ok(())
            }
            // An earlier datagram's ICMP answer, not a verdict on this one.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(_) => Err(NoWay),
        }
    }

    pub(super) async fn read(self, shared: Arc<Shared>) {
        let mut buffer = vec![0_u8; DATAGRAM_BYTES_MAX];
        loop {
            let ready = tokio::select! {
                () = shared.stop.cancelled() => return,
                ready = self.socket.readable() => ready,
            };
            if ready.is_err() {
                // Nothing but a closed runtime makes this fail; yielding keeps it from spinning.
                tokio::task::yield_now().await;
                continue;
            }
            self.read_batch(&shared, &mut buffer);
            tokio::task::yield_now().await;
        }
    }

    fn read_batch(&self, shared: &Shared, buffer: &mut [u8]) {
        for _ in 0..UDP_BATCH_MAX {
            let (len, remote) = match self.socket.try_recv_from(buffer) {
                Ok(got) => got,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // ICMP errors of what we sent earlier surface here; the next datagram is behind them.
                Err(_) => continue,
            };
            let flow = Flow { transport: Transport::Udp, local: self.advertised, remote, conn: None, via: None };
            let event = match framer::datagram(Bytes::copy_from_slice(&buffer[..len])) {
                Datagram::KeepAlive => continue,
                Datagram::Garbage => {
                    metrics::counter!(names::MALFORMED_TOTAL, "kind" => "garbage").increment(1);
                    continue;
                }
                Datagram::Message(message) => Event::Message { flow, message, received: Instant::now() },
                Datagram::Bad(fault, bytes) => Event::Bad { flow, fault, bytes },
            };
            if shared.emit(event).is_err() {
                metrics::counter!(names::DATAGRAMS_DROPPED_TOTAL, "direction" => "in").increment(1);
            }
        }
    }
}
