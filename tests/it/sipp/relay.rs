//! TLS for SIPp, which Debian builds without: plain TCP on its side, TLS on the node's.
//!
//! It copies bytes and knows nothing of SIP. A relay ends when it is dropped, and its connections with it.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A relay at work.
pub(super) struct Relay {
    _runtime: Runtime,
}

/// Where a relay listens: its own loopback address, so that no port can be taken.
fn listen(runtime: &Runtime, at: SocketAddr) -> TcpListener {
    runtime.block_on(TcpListener::bind(at)).expect("an address of this test alone")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// A TLS client that knows the cluster's authority, and so insists that the node proves itself.
fn connector(ca: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(ca).expect("the authority's file") {
        roots.add(cert.expect("a certificate")).expect("an authority");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    TlsConnector::from(Arc::new(config.expect("versions of ring").with_root_certificates(roots).with_no_client_auth()))
}

fn acceptor(cert: &Path, key: &Path) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(cert).expect("the certificate's file").map(|cert| cert.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let config = config.expect("versions of ring").with_no_client_auth().with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))
}

/// A connection to a node, from the address that `at` names.
async fn dial(node: SocketAddr, at: SocketAddr, tls: Option<TlsConnector>) -> std::io::Result<Box<dyn Stream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(at.ip(), 0))?;
    let stream = socket.connect(node).await?;
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    Ok(match tls {
        Some(tls) => Box::new(tls.connect(name, stream).await?),
        None => Box::new(stream),
    })
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Callers: every plain connection to `at` becomes one over TLS to `node`.
pub(super) fn towards_node(at: SocketAddr, node: SocketAddr, ca: &Path) -> Relay {
    let (runtime, tls) = (runtime(), connector(ca));
    let listener = listen(&runtime, at);
    runtime.spawn(async move {
        while let Ok((mut plain, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let mut secure = dial(node, at, Some(tls)).await?;
                copy_bidirectional(&mut plain, &mut secure).await
            });
        }
    });
    Relay { _runtime: runtime }
}

/// A phone: every TLS connection to `at` becomes a plain one to `phone`.
pub(super) fn towards_phone(at: SocketAddr, phone: SocketAddr, (cert, key): (&Path, &Path)) -> Relay {
    let (runtime, tls) = (runtime(), acceptor(cert, key));
    let listener = listen(&runtime, at);
    runtime.spawn(async move {
        while let Ok((secure, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let mut secure = tls.accept(secure).await?;
                let mut plain = TcpStream::connect(phone).await?;
                copy_bidirectional(&mut plain, &mut secure).await
            });
        }
    });
    Relay { _runtime: runtime }
}

/// A phone that registers: whoever connects to `at` first speaks on the one connection to the node; once it has gone, what
/// the node says goes to `phone`. So one SIPp may register and another take the calls, as one phone would.
pub(super) fn registered(at: SocketAddr, node: SocketAddr, phone: SocketAddr, ca: Option<&Path>) -> Relay {
    let (runtime, tls) = (runtime(), ca.map(connector));
    let listener = listen(&runtime, at);
    runtime.spawn(async move {
        let (mut plain, _) = listener.accept().await?;
        let (mut from_node, mut to_node) = tokio::io::split(dial(node, at, tls).await?);
        let mut buffer = vec![0; 64 * 1024];
        let (mut reader, mut writer) = plain.split();
        tokio::select! {
            sent = tokio::io::copy(&mut reader, &mut to_node) => sent.map(|_| ())?,
            got = tokio::io::copy(&mut from_node, &mut writer) => got.map(|_| ())?,
        }
        let len = from_node.read(&mut buffer).await?;
        let mut plain = TcpStream::connect(phone).await?;
        plain.write_all(&buffer[..len]).await?;
        let mut node = from_node.unsplit(to_node);
        copy_bidirectional(&mut plain, &mut node).await.map(|_| ())
    });
    Relay { _runtime: runtime }
}
