//! How a node carries audio: by its own relay, and by rtpengines beside it.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// The embedded relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// Addresses to carry audio on, one a family.
    pub listen: Vec<IpAddr>,
    /// What parties are told instead, behind a translator with fixed ports: one a family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advertise: Vec<IpAddr>,
    /// First and last local port; a leg takes two.
    #[serde(default = "default_media_ports")]
    pub ports: (u16, u16),
    #[serde(default = "default_media_threads")]
    pub threads: u8,
    /// Folder of recorded prompts, `name.wav`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PathBuf>,
}

/// Where rtpengines are told of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rtpengine {
    /// Their `listen-ng` addresses (UDP). All nodes are given the same ones: who takes a call over goes on with its daemon.
    pub ng: Vec<SocketAddr>,
}

const fn default_media_ports() -> (u16, u16) {
    (20_000, 39_999)
}
const fn default_media_threads() -> u8 {
    1
}
