//! What the core keeps of a SIP leg: enough to speak in its dialog from any node, and no more.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    assist::Line,
    id::{AgentId, NodeId, TrunkId},
    policy::Assistant,
};

/// Transport of a hop (RFC 3261 §18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// A connection or pinhole that only one node holds; bytes for it are tunnelled to that node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowRef {
    pub node: NodeId,
    pub incarnation: u64,
    /// Id of the connection on that node; unique within the incarnation.
    pub flow: u64,
}

/// Who calls, as the trunk or the phone said it: header texts, kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Party {
    /// User part of the From URI.
    pub user: String,
    /// The From header's display name, if any.
    pub display: String,
    /// The whole From URI.
    pub uri: String,
}

/// Where an INVITE is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A fixed contact (request-URI).
    Contact { uri: String },
    /// A registered phone: its contact, Path routes, and the flow its node holds.
    Binding { uri: String, route: Vec<String>, transport: Transport, remote: String, flow: Option<FlowRef> },
    /// An AI agent, which answers at the edge that has the caller.
    Assistant(Box<Engage>),
    /// A number reached over an outbound trunk; the edge tries the trunk's contacts in order.
    Trunk { trunk: TrunkId, number: String },
}

/// What an AI agent is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engage {
    pub agent: AgentId,
    pub assistant: Arc<Assistant>,
    /// What was said before, oldest first.
    pub transcript: Vec<Line>,
}

/// The state of a dialog (RFC 3261 §12) that lets any node send the next request in it. Header texts are exact copies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dialog {
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: String,
    /// Our side's header value (From of requests we send), with tag.
    pub local: String,
    /// Their side's header value (To of requests we send), with tag if known.
    pub remote: String,
    pub local_cseq: u32,
    pub remote_cseq: u32,
    /// Their Contact URI: the request-URI of requests we send.
    pub remote_target: String,
    pub route_set: Vec<String>,
    pub transport: Option<Transport>,
    /// Address the last message came from, `ip:port`.
    pub remote_addr: String,
    pub flow: Option<FlowRef>,
    /// Top Via of our INVITE (sent-by and branch), which a CANCEL must repeat. Empty for a leg that called us.
    pub invite_via: String,
    /// Their INVITE's Via values, top first, for answering from elsewhere. Empty for a leg that we called.
    pub vias: Vec<String>,
    /// Session timer (RFC 4028): interval in seconds, 0 if none, and whether we refresh.
    pub session_expires_s: u32,
    pub we_refresh: bool,
    /// Only the way it came is open to it: requests go to `remote_addr` and not to the contact.
    pub symmetric: bool,
    /// Where its audio comes from, `ip:port`, if that is not what it says of itself.
    pub media_source: String,
    /// It requires provisional answers to be reliable (RFC 3262).
    pub reliable: bool,
    /// Which process carries its audio, if that is one of its own (`media = "rtpengine"`): who was asked last, `ip:port`.
    pub carrier: String,
}

/// A session description as it came, opaque to the core.
pub type Sdp = serde_bytes::ByteBuf;

/// Header fields a B2BUA passes on, in order.
pub type Headers = Vec<(String, String)>;
