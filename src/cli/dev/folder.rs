//! The folder of a developer's cluster: keys, configurations, state, logs and process ids.
//!
//! A folder that was used before is used as it is, so that a second `tandem dev --data DIR` goes on with the state of
//! the first.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::Args;
use crate::{
    cli::{Failure, pki},
    config::{
        files::write_private,
        node::{Ai, ClusterSection, Http, Limits, Log, LogFormat, Media, Node, Peer, Rtpengine, Sip},
    },
};

/// How long a developer's node waits for its calls when it drains.
pub(super) const DRAIN_TIMEOUT_S: u64 = 10;
/// A developer's disk is not a carrier's.
const WAL_SEGMENT_BYTES: u64 = 16 << 20;

/// As nodes see it, which are told of it by a file in a folder of their own.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// Makes what is missing: the folder, the authority, each node's certificate and configuration, the token.
    pub(super) fn prepare(args: &Args) -> Result<Self, Failure> {
        let (path, temporary) = match &args.data {
            Some(path) => (path.clone(), false),
            None => (std::env::temp_dir().join(format!("tandem-dev-{}", std::process::id())), true),
        };
        fs::create_dir_all(&path).map_err(|e| Failure::new(e).of(path.display()))?;
        let path = path.canonicalize().map_err(|e| Failure::new(e).of(path.display()))?;
        let folder = Self { path, temporary };
        folder.check_size(args.nodes)?;
        folder.make_token()?;
        pki::ensure_authority(&folder.pki())?;
        for node in args.processes() {
            pki::ensure_node(&folder.pki(), u64::from(node))?;
            folder.write_config(args, node)?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn config(&self, node: u16) -> PathBuf {
        self.path.join(format!("node{node}.toml"))
    }

    /// True once a node was removed from its cluster: it is not started again.
    pub(super) fn has_left(&self, node: u16) -> bool {
        tandem_cluster::has_left(&self.data_dir(node))
    }

    /// True while somebody wants a node that ended to stay down: who tests the cluster puts `nodeK.hold` here.
    pub(super) fn is_held(&self, node: u16) -> bool {
        self.path.join(format!("node{node}.hold")).exists()
    }

    fn data_dir(&self, node: u16) -> PathBuf {
        self.path.join(format!("node{node}"))
    }

    pub(super) fn token_file(&self) -> PathBuf {
        self.path.join("admin.token")
    }

    pub(super) fn token(&self) -> Result<String, Failure> {
        let path = self.token_file();
        fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(|e| Failure::new(e).of(path.display()))
    }

    pub(super) fn log(&self, node: u16) -> Result<File, Failure> {
        let path = self.path.join(format!("node{node}.log"));
        File::options().create(true).append(true).open(&path).map_err(|e| Failure::new(e).of(path.display()))
    }

    pub(super) fn write_pid(&self, node: u16, pid: u32) -> Result<(), Failure> {
        let path = self.path.join(format!("node{node}.pid"));
        write_private(&path, format!("{pid}\n").as_bytes()).map_err(|e| Failure::new(e).of(path.display()))
    }

    /// The last line a node logged, for the report of its death.
    pub(super) fn last_words(&self, node: u16) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(self.path.join(format!("node{node}.log")))?;
            let length = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(length.saturating_sub(2_048)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned())
        };
        let line = read().unwrap_or_default();
        if line.is_empty() { String::new() } else { format!("; its last line: {line}") }
    }

    pub(super) fn remove_if_temporary(&self) {
        if self.temporary {
            fs::remove_dir_all(&self.path).ok();
        }
    }

    fn pki(&self) -> PathBuf {
        self.path.join("pki")
    }

    /// The first start fixes who founds the cluster; more nodes than that come by `tandem join`.
    fn check_size(&self, nodes: u16) -> Result<(), Failure> {
        let path = self.path.join("nodes");
        match fs::read_to_string(&path) {
            Ok(text) if text.trim() == nodes.to_string() => Ok(()),
            Ok(text) => Err(Failure::new(format!(
                "{}: this cluster was founded with {} nodes, not {nodes}; others are added by `tandem serve` and `tandem join`",
                self.path.display(),
                text.trim()
            ))),
            Err(_) => write_private(&path, format!("{nodes}\n").as_bytes()).map_err(|e| Failure::new(e).of(path.display())),
        }
    }

    fn make_token(&self) -> Result<(), Failure> {
        let path = self.token_file();
        if path.exists() {
            return Ok(());
        }
        let (secret, _) = crate::api::tokens::mint(crate::api::access::Role::Admin, None, None);
        write_private(&path, format!("{secret}\n").as_bytes()).map_err(|e| Failure::new(e).of(path.display()))
    }

    fn write_config(&self, args: &Args, node: u16) -> Result<(), Failure> {
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let peers = (1..=args.nodes)
            .map(|k| Peer { id: u64::from(k), addr: local(args.advertised(k).unwrap_or(args.cluster(k))), witness: args.is_witness(k) })
            .collect();
        let pki = self.pki();
        let (udp, tls) = (Some(local(args.sip(node))), Some(local(args.sip(node) + 1)));
        let sip = Sip { udp, tcp: udp, tls, ..Sip::default() };
        let config = Node {
            node: u64::from(node),
            data_dir: self.data_dir(node),
            groups: 16,
            witness: args.is_witness(node),
            drain_timeout_s: DRAIN_TIMEOUT_S,
            drills: args.drills,
            feature_level_max: None,
            cluster: ClusterSection {
                listen: local(args.cluster(node)),
                advertise: args.advertised(node).map(local),
                ca: pki::authority_file(&pki),
                cert: pki::certificate_file(&pki, u64::from(node)),
                key: pki::key_file(&pki, u64::from(node)),
                peers,
            },
            sip: if args.is_witness(node) { Sip::default() } else { sip },
            media: (!args.is_witness(node)).then(|| Media {
                listen: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
                advertise: Vec::new(),
                ports: args.media(node),
                threads: 1,
                prompts: args.prompts.as_deref().map(absolute),
            }),
            ai: Ai {
                models: args.models.as_deref().map(absolute),
                embedding: args.embedding.as_deref().map(absolute),
                knowledge: args.articles.as_deref().map(absolute),
                ..Ai::default()
            },
            rtpengine: (!args.is_witness(node) && !args.rtpengine.is_empty()).then(|| Rtpengine { ng: args.rtpengine.clone() }),
            http: Http { listen: local(args.http(node)), admin_token_file: Some(self.token_file()) },
            log: Log { format: LogFormat::Pretty, ..Log::default() },
            limits: Limits { wal_segment_bytes: WAL_SEGMENT_BYTES, ..Limits::default() },
        };
        let text = toml::to_string(&config).map_err(Failure::new)?;
        let path = self.config(node);
        write_private(&path, text.as_bytes()).map_err(|e| Failure::new(e).of(path.display()))
    }
}
