//! The file of one node: `tandem serve --config node.toml`.
//!
//! It owns the keys, their defaults and their checks, and refuses what it does not know. It opens no socket and reads no
//! certificate; relative paths are taken from the folder of the file.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::Error;

mod ai;
mod media;

pub use {
    ai::{Access, Ai, LanguageModel, Speech, Tool},
    media::{Media, Rtpengine},
};

/// All an operator says about one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Chosen by the operator, unique, and never given to a machine whose disk was wiped.
    pub node: u64,
    pub data_dir: PathBuf,
    /// Partitions of the cluster; fixed at its first start.
    #[serde(default = "default_groups")]
    pub groups: u32,
    /// Votes and keeps the log, but takes no calls.
    #[serde(default)]
    pub witness: bool,
    /// Longest time a draining node waits for its own calls.
    #[serde(default = "default_drain_timeout_s")]
    pub drain_timeout_s: u64,
    /// Lets an administrator hurt actors, disk and clock on purpose (`tandem drill`).
    #[serde(default)]
    pub drills: bool,
    /// Claim no higher feature level than this, as an older binary would: to rehearse an upgrade. A node that claims less than
    /// the cluster has agreed on stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_level_max: Option<u32>,
    pub cluster: ClusterSection,
    #[serde(default)]
    pub sip: Sip,
    /// How the node carries audio; without it the parties send to each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
    /// Processes that may carry audio in place of this node, for tenants that say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtpengine: Option<Rtpengine>,
    /// What AI agents of this node know; without it they go by rules alone.
    #[serde(default)]
    pub ai: Ai,
    #[serde(default)]
    pub http: Http,
    #[serde(default)]
    pub log: Log,
    #[serde(default)]
    pub limits: Limits,
}

/// Node-to-node traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    pub listen: SocketAddr,
    /// What the peers dial, when it is not `listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<SocketAddr>,
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
    /// The nodes of the cluster's first start. A node that is not among them founds nothing: it waits for `tandem join`.
    #[serde(default, rename = "peer", skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub id: u64,
    pub addr: SocketAddr,
    #[serde(default)]
    pub witness: bool,
}

/// The SIP sockets. TLS uses the node's cluster certificate unless it is given its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sip {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// PEM file of the authorities that next hops over TLS must be signed by. Left out, they are encrypted to without
    /// being known, as phones with certificates of their own require.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_authorities: Option<PathBuf>,
    /// The address put into Via and Contact, when it is not the one listened on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<IpAddr>,
    /// The name server asked for next hops; those the host is configured with otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nameserver: Option<SocketAddr>,
}

/// Daemons a node may be told of.
const RTPENGINES_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    #[serde(default = "default_http")]
    pub listen: SocketAddr,
    /// A file whose first line is accepted as an administrator's token, so that a new cluster can be given others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_token_file: Option<PathBuf>,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: default_http(), admin_token_file: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    #[serde(default)]
    pub format: LogFormat,
    /// A level, or directives of `tracing_subscriber::EnvFilter`; the environment's TANDEM_LOG wins.
    #[serde(default = "default_level")]
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: default_level() }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Json,
    Pretty,
}

/// What this node takes on at most, and what its log costs on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Calls at once whose legs are here.
    #[serde(default = "default_calls")]
    pub calls: u32,
    /// New calls a second; above it callers get 503 with Retry-After.
    #[serde(default = "default_calls_per_s")]
    pub calls_per_s: u32,
    /// Open SIP connections over TCP and TLS, both ways.
    #[serde(default = "default_connections")]
    pub sip_connections: u32,
    #[serde(default = "default_http_requests")]
    pub http_requests: u32,
    #[serde(default = "default_segment")]
    pub wal_segment_bytes: u64,
    #[serde(default = "default_snapshot_every")]
    pub snapshot_every: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: default_calls(),
            calls_per_s: default_calls_per_s(),
            sip_connections: default_connections(),
            http_requests: default_http_requests(),
            wal_segment_bytes: default_segment(),
            snapshot_every: default_snapshot_every(),
        }
    }
}

const fn default_groups() -> u32 {
    16
}
const fn default_drain_timeout_s() -> u64 {
    60
}
fn default_http() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}
fn default_level() -> String {
    "info".into()
}
const fn default_calls() -> u32 {
    100_000
}
const fn default_calls_per_s() -> u32 {
    2_000
}
const fn default_connections() -> u32 {
    10_000
}
const fn default_http_requests() -> u32 {
    256
}
const fn default_segment() -> u64 {
    64 << 20
}
const fn default_snapshot_every() -> u64 {
    50_000
}

impl Node {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error`] names the file, and the line where the mistake has one.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| Error::new(&file, None, e.to_string()))?;
        let mut node: Self = toml::from_str(&text).map_err(|e| Error::toml(path, &text, &e))?;
        node.check().map_err(|(key, message)| Error::new(&file, line_of_key(&text, key), format!("{key}: {message}")))?;
        node.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(node)
    }

    /// The address the peers dial.
    pub fn advertise(&self) -> SocketAddr {
        self.cluster.advertise.unwrap_or(self.cluster.listen)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.node == 0 || self.node > u64::from(u16::MAX) {
            return Err(("node", "must be 1 to 65535, since call ids carry it in 16 bits".into()));
        }
        if self.groups == 0 || self.groups > 1024 {
            return Err(("groups", "must be 1 to 1024".into()));
        }
        if self.cluster.advertise.is_none() && self.cluster.listen.ip().is_unspecified() {
            return Err(("listen", "an unspecified address needs `advertise`, which the peers can dial".into()));
        }
        let ids: BTreeSet<u64> = self.cluster.peers.iter().map(|peer| peer.id).collect();
        if ids.len() != self.cluster.peers.len() {
            return Err(("peer", "two peers have one id".into()));
        }
        let witness = self.cluster.peers.iter().find(|peer| peer.id == self.node).map(|peer| peer.witness);
        if witness.is_some_and(|listed| listed != self.witness) {
            return Err(("witness", "differs from this node's entry among the peers".into()));
        }
        if self.sip.tls_cert.is_some() != self.sip.tls_key.is_some() {
            return Err(("tls_cert", "`tls_cert` and `tls_key` go together".into()));
        }
        self.check_media()?;
        self.check_rtpengine()?;
        self.check_sip_addresses()
    }

    fn check_media(&self) -> Result<(), (&'static str, String)> {
        let Some(media) = &self.media else { return Ok(()) };
        let twice = |addresses: &[IpAddr]| {
            addresses.iter().filter(|ip| ip.is_ipv4()).count() > 1 || addresses.iter().filter(|ip| ip.is_ipv6()).count() > 1
        };
        if media.listen.is_empty() || twice(&media.listen) || twice(&media.advertise) {
            return Err(("listen", "audio needs an address, and at most one a family".into()));
        }
        if let Some(ip) =
            media.listen.iter().find(|ip| ip.is_unspecified() && !media.advertise.iter().any(|told| told.is_ipv4() == ip.is_ipv4()))
        {
            return Err(("listen", format!("{ip} needs `advertise`, which goes into descriptions")));
        }
        if media.ports.0 == 0 || media.ports.0.saturating_add(1) >= media.ports.1 {
            return Err(("ports", "the first port, and a last one above it".into()));
        }
        if media.threads == 0 {
            return Err(("threads", "must be at least 1".into()));
        }
        Ok(())
    }

    fn check_rtpengine(&self) -> Result<(), (&'static str, String)> {
        let Some(section) = &self.rtpengine else { return Ok(()) };
        let distinct: BTreeSet<_> = section.ng.iter().collect();
        if section.ng.is_empty() || distinct.len() != section.ng.len() || section.ng.len() > RTPENGINES_MAX {
            return Err(("ng", format!("1 to {RTPENGINES_MAX} addresses, each once")));
        }
        if let Some(addr) = section.ng.iter().find(|addr| addr.port() == 0 || addr.ip().is_unspecified()) {
            return Err(("ng", format!("{addr} is nowhere to send to")));
        }
        Ok(())
    }

    fn check_sip_addresses(&self) -> Result<(), (&'static str, String)> {
        for (key, addr) in [("udp", self.sip.udp), ("tcp", self.sip.tcp), ("tls", self.sip.tls)] {
            if addr.is_some_and(|addr| addr.ip().is_unspecified()) && self.sip.advertise.is_none() {
                return Err((key, "an unspecified address needs `advertise`, which goes into Via and Contact".into()));
            }
        }
        if !self.witness && self.sip.udp.is_none() && self.sip.tcp.is_none() && self.sip.tls.is_none() {
            return Err(("sip", "a node that is no witness needs `udp`, `tcp` or `tls`".into()));
        }
        Ok(())
    }

    /// Makes every relative path one from the folder of the file.
    fn resolve(&mut self, folder: &Path) {
        let paths = [&mut self.data_dir, &mut self.cluster.ca, &mut self.cluster.cert, &mut self.cluster.key];
        let optional = [&mut self.sip.tls_cert, &mut self.sip.tls_key, &mut self.sip.tls_authorities, &mut self.http.admin_token_file];
        let prompts = self.media.iter_mut().filter_map(|media| media.prompts.as_mut());
        let ai = [&mut self.ai.models, &mut self.ai.embedding, &mut self.ai.knowledge];
        let models = self.ai.language_model.iter_mut().flat_map(|model| model.access.paths());
        let endpoints = models.chain(self.ai.speech.iter_mut().flat_map(|speech| speech.access.paths()));
        for path in paths.into_iter().chain(optional.into_iter().chain(ai).flatten()).chain(prompts).chain(endpoints) {
            if path.is_relative() {
                *path = folder.join(&*path);
            }
        }
    }
}

/// The first line that sets or opens `key`, for mistakes that only show once the whole file is read.
fn line_of_key(text: &str, key: &str) -> Option<usize> {
    text.lines()
        .position(|line| {
            let line = line.trim_start();
            let bare = line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
            bare || (line.starts_with('[') && line.trim_matches(|c| "[] ".contains(c)).rsplit('.').next() == Some(key))
        })
        .map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
node = 1
data_dir = "data"
[cluster]
listen = "127.0.0.1:7070"
ca = "ca.pem"
cert = "node.pem"
key = "node.key"
[[cluster.peer]]
id = 1
addr = "127.0.0.1:7070"
[sip]
udp = "127.0.0.1:5060"
"#;

    fn load(text: &str) -> Result<Node, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        Node::load(&path).map_err(|e| e.to_string().replace(&format!("{}/", dir.path().display()), ""))
    }

    #[test]
    fn a_small_file_is_enough_and_paths_are_taken_from_its_folder() {
        let node = load(GOOD).unwrap();
        assert_eq!((node.groups, node.drain_timeout_s), (16, 60));
        assert!(node.cluster.ca.is_absolute() && node.cluster.ca.ends_with("ca.pem"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_and_line() {
        let error = load(&GOOD.replace("udp =", "upd =")).unwrap_err();
        assert!(error.starts_with("node.toml:13: ") && error.contains("upd"), "{error}");
    }

    #[test]
    fn a_value_out_of_range_is_refused_at_its_line() {
        let error = load(&GOOD.replace("node = 1", "node = 70000")).unwrap_err();
        assert!(error.starts_with("node.toml:2: node: must be 1 to 65535"), "{error}");
    }

    #[test]
    fn a_peer_list_without_this_node_is_that_of_a_node_to_be_joined() {
        let node = load(&GOOD.replace("id = 1", "id = 2")).unwrap();
        assert_eq!((node.node, node.cluster.peers[0].id), (1, 2));
    }

    #[test]
    fn rtpengines_are_told_of_by_address_each_once() {
        let with = |ng: &str| load(&format!("{GOOD}[rtpengine]\nng = [{ng}]\n"));
        let node = with("\"127.0.0.1:2223\", \"[::1]:2223\"").unwrap();
        assert_eq!(node.rtpengine.map(|section| section.ng.len()), Some(2));
        for bad in ["", "\"127.0.0.1:2223\", \"127.0.0.1:2223\"", "\"0.0.0.0:2223\"", "\"127.0.0.1:0\""] {
            let error = with(bad).unwrap_err();
            assert!(error.starts_with("node.toml:15: ng: "), "{error}");
        }
    }

    #[test]
    fn a_missing_file_names_itself() {
        let error = Node::load(Path::new("/nowhere/node.toml")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/node.toml: "), "{error}");
    }

    #[test]
    fn a_written_configuration_reads_back() {
        let node = load(GOOD).unwrap();
        let text = toml::to_string(&node).unwrap();
        assert_eq!(load(&text).unwrap(), node);
    }
}
