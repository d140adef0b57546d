//! TLS of the SIP edge: the server's certificate, reloaded when its files change, and what is asked of next hops.
//!
//! The provider is ring, named explicitly. This has nothing to do with the mutual TLS between nodes.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::RwLock;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::sip::limits::CERTIFICATE_CHECK_EVERY;

fn tls_error(error: impl std::fmt::Display) -> Error {
    Error::Tls(error.to_string())
}

/// Hands out the current certificate, and replaces it when its files change.
#[derive(Debug, Clone)]
pub(super) struct Reloader {
    files: Option<(PathBuf, PathBuf)>,
    current: Arc<RwLock<Arc<CertifiedKey>>>,
}

impl ResolvesServerCert for Reloader {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().clone())
    }
}

impl Reloader {
    fn open(files: Option<(PathBuf, PathBuf)>) -> Result<Self, Error> {
        let key = match &files {
            Some((cert, key)) => load(cert, key)?,
            None => self_signed()?,
        };
        Ok(Self { files, current: Arc::new(RwLock::new(Arc::new(key))) })
    }

    fn changed_at(&self) -> Option<[SystemTime; 2]> {
        let (cert, key) = self.files.as_ref()?;
        let of = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
        Some([of(cert)?, of(key)?])
    }

    /// Reads the files again; the old certificate stays if the new one cannot be used.
    fn reload(&self) {
        let Some((cert, key)) = &self.files else { return };
        match load(cert, key) {
            Ok(key) => *self.current.write() = Arc::new(key),
            Err(error) => tracing::warn!(%error, "the new SIP certificate cannot be used, the old one stays"),
        }
    }

    pub(super) async fn watch(self, stop: CancellationToken) {
        let mut seen = self.changed_at();
        while stop.run_until_cancelled(tokio::time::sleep(CERTIFICATE_CHECK_EVERY)).await.is_some() {
            let now = self.changed_at();
            if now.is_some() && now != seen {
                self.reload();
                seen = now;
            }
        }
    }
}

fn load(cert: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let at = |path: &Path, error: &dyn std::fmt::Display| Error::Tls(format!("{}: {error}", path.display()));
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|e| at(cert, &e))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| at(key, &e))?;
    certified(chain, key_der)
}

fn certified(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, Error> {
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(tls_error)
}

/// For development and the first minutes of a node: nobody can verify it, everybody can encrypt to it.
fn self_signed() -> Result<CertifiedKey, Error> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).map_err(tls_error)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(tls_error)?;
    certified(vec![made.cert.der().clone()], key)
}

pub(super) fn server(files: Option<(PathBuf, PathBuf)>) -> Result<(Arc<ServerConfig>, Reloader), Error> {
    let reloader = Reloader::open(files)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls_error)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(reloader.clone()));
    Ok((Arc::new(config), reloader))
}

pub(super) fn client(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(tls_error)?;
    let Some(path) = authorities else {
        let verifier = Arc::new(Opportunistic { provider });
        return Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()));
    };
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(path).map_err(tls_error)? {
        roots.add(cert.map_err(tls_error)?).map_err(tls_error)?;
    }
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// The name a next hop must prove: its host name, or its address.
pub(super) fn server_name(host: &str, ip: IpAddr) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::IpAddress(ip.into()))
}

/// Accepts any certificate but insists that the peer holds its key. Encryption without knowing the peer.
#[derive(Debug)]
struct Opportunistic {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Opportunistic {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_certificate_is_used_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let write = || {
            let made = rcgen::generate_simple_self_signed(vec!["sip.example".to_owned()]).unwrap();
            std::fs::write(&cert, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        };
        write();
        let reloader = Reloader::open(Some((cert.clone(), key.clone()))).unwrap();
        let current = || reloader.current.read().cert[0].clone();
        let first = current();
        write();
        reloader.reload();
        let second = current();
        assert_ne!(first, second);
        std::fs::write(&cert, "no certificate").unwrap();
        reloader.reload();
        assert_eq!(second, current());
    }

    #[test]
    fn a_missing_certificate_file_is_named() {
        let error = Reloader::open(Some(("/nowhere/cert.pem".into(), "/nowhere/key.pem".into()))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/cert.pem"), "{error}");
    }
}
