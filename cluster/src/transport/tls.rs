//! TLS 1.3 between nodes: both sides show a certificate of the cluster's authority that names the node.
//!
//! Files are read anew for every connection set-up, so a rotated certificate is used by the next connection and a bundle
//! of two authorities carries a change of authority. Established connections stay.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

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

fn certificates(path: &PathBuf) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| invalid(format!("{}: {error}", path.display())))
}

impl Files {
    fn load(&self) -> io::Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(invalid)?;
        }
        let key =
            PrivateKeyDer::from_pem_slice(&fs::read(&self.key)?).map_err(|error| invalid(format!("{}: {error}", self.key.display())))?;
        Ok((Arc::new(roots), certificates(&self.cert)?, key))
    }

    pub(crate) fn server(&self, transport: Arc<quinn::TransportConfig>) -> io::Result<quinn::ServerConfig> {
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

    pub(crate) fn client(&self, transport: Arc<quinn::TransportConfig>) -> io::Result<quinn::ClientConfig> {
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

/// Loss is seen after `loss_after_ms` of silence, with four keep-alives in that time.
pub(crate) fn transport_config(loss_after_ms: u64) -> Arc<quinn::TransportConfig> {
    let mut config = quinn::TransportConfig::default();
    let idle = Duration::from_millis(loss_after_ms.clamp(20, 60_000));
    config.max_idle_timeout(Some(idle.try_into().expect("a minute fits a QUIC variable-length integer")));
    config.keep_alive_interval(Some(idle / 4)).max_concurrent_bidi_streams(PEER_STREAMS.into());
    Arc::new(config)
}

/// The node a peer's certificate names.
pub(crate) fn peer_node(connection: &quinn::Connection) -> Option<NodeId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    pki::node_of(chain.first()?)
}
