//! TLS 1.3 between nodes: both sides show a certificate of the cluster's authority that names the node.
//!
//! Files are read again when they change, so a rotated certificate is used by the next connection and a bundle of two
//! authorities carries a change of authority. Established connections stay.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};

use crate::{NodeId, limits::PEER_STREAMS, pki};

/// The PEM files of a node.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(format!("{}: {error}", path.display())))?;
    if found.is_empty() { Err(invalid(format!("{} holds no certificate", path.display()))) } else { Ok(found) }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

impl Files {
    fn stamp(&self) -> Stamp {
        let of = |path: &PathBuf| fs::metadata(path).and_then(|m| Ok((m.modified()?, m.len()))).ok();
        [&self.ca, &self.cert, &self.key].map(of).into()
    }

    fn load(&self) -> io::Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(invalid)?;
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|error| invalid(format!("{}: {error}", self.key.display())))?;
        Ok((Arc::new(roots), certificates(&self.cert)?, key))
    }

    fn server(&self, transport: Arc<quinn::TransportConfig>) -> io::Result<quinn::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (roots, chain, key) = self.load()?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().map_err(invalid)?;
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(invalid)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(invalid)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).map_err(invalid)?));
        config.transport_config(transport);
        Ok(config)
    }

    fn client(&self, transport: Arc<quinn::TransportConfig>) -> io::Result<quinn::ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (roots, chain, key) = self.load()?;
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(invalid)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(invalid)?;
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(invalid)?));
        config.transport_config(transport);
        Ok(config)
    }
}

/// What tells one version of a file from the next.
type Stamp = Vec<Option<(SystemTime, u64)>>;

struct Loaded {
    stamp: Stamp,
    server: quinn::ServerConfig,
    client: quinn::ClientConfig,
}

/// Who this node is and whom it trusts, as of the last time its files could be read.
pub(super) struct Identity {
    files: Files,
    transport: Arc<quinn::TransportConfig>,
    loaded: Mutex<Loaded>,
}

impl Identity {
    pub(super) fn load(files: Files, transport: Arc<quinn::TransportConfig>) -> io::Result<Self> {
        let loaded = load(&files, &transport)?;
        Ok(Self { files, transport, loaded: Mutex::new(loaded) })
    }

    /// Reads the files if they changed. On an error the former ones stay in force.
    pub(super) fn reload(&self) -> io::Result<bool> {
        if self.files.stamp() == self.loaded.lock().stamp {
            return Ok(false);
        }
        let loaded = load(&self.files, &self.transport)?;
        *self.loaded.lock() = loaded;
        Ok(true)
    }

    pub(super) fn server(&self) -> quinn::ServerConfig {
        self.loaded.lock().server.clone()
    }

    pub(super) fn client(&self) -> quinn::ClientConfig {
        self.loaded.lock().client.clone()
    }
}

fn load(files: &Files, transport: &Arc<quinn::TransportConfig>) -> io::Result<Loaded> {
    // Taken first: a change while reading shows as another stamp at the next look.
    let stamp = files.stamp();
    let (server, client) = (files.server(Arc::clone(transport))?, files.client(Arc::clone(transport))?);
    Ok(Loaded { stamp, server, client })
}

/// Loss is seen after `loss_after_ms` of silence. Nodes ping each other a third of that apart; QUIC's own keep-alive is a
/// little slower, so that it speaks only where nobody pings and costs an idle cluster nothing.
pub(crate) fn transport_config(loss_after_ms: u64) -> Arc<quinn::TransportConfig> {
    let mut config = quinn::TransportConfig::default();
    let idle = Duration::from_millis(loss_after_ms.clamp(20, 60_000));
    config.max_idle_timeout(Some(idle.try_into().expect("a minute fits a QUIC variable-length integer")));
    config.keep_alive_interval(Some(idle * 2 / 5)).max_concurrent_bidi_streams(PEER_STREAMS.into());
    Arc::new(config)
}

/// The node a peer's certificate names.
pub(crate) fn peer_node(connection: &quinn::Connection) -> Option<NodeId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    pki::node_of(chain.first()?)
}
