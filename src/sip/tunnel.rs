//! The form of SIP bytes on their way between nodes: to a flow that the other node holds, or from one.
//!
//! Only the frame's form is here; `edge` decides what is sent where, and the cluster's transport carries it.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

use super::{
    limits::TUNNEL_FRAME_BYTES_MAX,
    stack::{Destination, Flow},
};
use crate::core::{codec, id::NodeId, party::Transport};

/// A tunnelled message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// To be written to a flow of the receiving node.
    To(Flow, Bytes),
    /// Read from a flow of the sending node, for a leg or transaction of the receiving one.
    From(Flow, Bytes),
}

/// Bytes are no frame of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a tunnel frame")]
pub struct NotAFrame;

/// First byte of every frame; a change of form takes another.
const VERSION: u8 = 1;

/// A flow without its node, which the sender and receiver of a frame say.
#[derive(Serialize, Deserialize)]
struct Head {
    from: bool,
    transport: Transport,
    local: SocketAddr,
    remote: SocketAddr,
    conn: Option<u64>,
}

impl Frame {
    pub fn encode(&self) -> Bytes {
        let (from, flow, bytes) = match self {
            Self::To(flow, bytes) => (false, flow, bytes),
            Self::From(flow, bytes) => (true, flow, bytes),
        };
        let head = Head { from, transport: flow.transport, local: flow.local, remote: flow.remote, conn: flow.conn };
        let head = codec::encode(&head);
        let mut out = BytesMut::with_capacity(3 + head.len() + bytes.len());
        out.extend_from_slice(&[VERSION]);
        out.extend_from_slice(&(head.len() as u16).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(bytes);
        out.freeze()
    }

    /// Reads a frame that `sender` sent. Flows of a `From` are marked as the sender's, those of a `To` as our own.
    ///
    /// # Errors
    /// [`NotAFrame`] for another version, cut-off bytes, or more of them than a message may have.
    pub fn decode(sender: NodeId, frame: &Bytes) -> Result<Self, NotAFrame> {
        if frame.len() > TUNNEL_FRAME_BYTES_MAX || frame.first() != Some(&VERSION) {
            return Err(NotAFrame);
        }
        let (len, rest) = frame[1..].split_first_chunk::<2>().ok_or(NotAFrame)?;
        let len = usize::from(u16::from_le_bytes(*len));
        let head: Head = codec::decode(rest.get(..len).ok_or(NotAFrame)?).map_err(|_| NotAFrame)?;
        let flow = |via| Flow { transport: head.transport, local: head.local, remote: head.remote, conn: head.conn, via };
        let bytes = frame.slice(3 + len..);
        Ok(if head.from { Self::From(flow(Some(sender)), bytes) } else { Self::To(flow(None), bytes) })
    }
}

/// The node that must send a message, when it is another one.
pub fn holder(to: &Destination, this: NodeId) -> Option<(NodeId, Flow)> {
    match to {
        Destination::Flow(flow) => flow.via.filter(|node| *node != this).map(|node| (node, *flow)),
        Destination::Host { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_with_its_flow_at_the_right_node() {
        let flow = Flow {
            transport: Transport::Tls,
            local: ([10, 0, 0, 1], 5061).into(),
            remote: "[2001:db8::1]:40000".parse().unwrap(),
            conn: Some(7),
            via: None,
        };
        let bytes = Bytes::from_static(b"BYE sip:x SIP/2.0\r\n\r\n\xFF");
        let from = Frame::From(flow, bytes.clone());
        assert_eq!(Frame::decode(NodeId(3), &from.encode()), Ok(Frame::From(Flow { via: Some(NodeId(3)), ..flow }, bytes.clone())));
        let to = Frame::To(Flow { via: Some(NodeId(2)), ..flow }, bytes.clone());
        assert_eq!(Frame::decode(NodeId(3), &to.encode()), Ok(Frame::To(flow, bytes)));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [&b""[..], b"\x02xx", b"\x01", b"\x01\x00\x00"] {
            assert_eq!(Frame::decode(NodeId(1), &Bytes::from_static(bytes)), Err(NotAFrame));
        }
    }
}
