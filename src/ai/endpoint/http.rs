//! The HTTP client of all endpoints: TLS with ring, no redirects, bounded answers.
//!
//! It owns addresses and keys. What is sent and what an answer means is its callers' matter.

use std::{fmt, sync::Arc};

use reqwest::{Client, RequestBuilder, Response, Url};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::{Error, Failure};

/// Where an endpoint is, and what opens it.
#[derive(Clone)]
pub struct Access {
    /// Up to and with the version: `https://models.example/v1`.
    pub base: String,
    /// Sent as a bearer token, and never shown.
    pub key: Option<String>,
    /// A certificate authority in PEM beside the system's.
    pub authority: Option<Vec<u8>>,
}

impl Access {
    /// An endpoint without a key, under an authority the system knows.
    #[must_use]
    pub fn open(base: &str) -> Self {
        Self { base: base.to_owned(), key: None, authority: None }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("base", &self.base).field("key", &self.key.as_ref().map(|_| "…")).finish_non_exhaustive()
    }
}

/// A client of one endpoint. Cheap to clone; connections are kept and shared.
#[derive(Clone)]
pub(in crate::ai) struct Http {
    client: Client,
    base: Url,
    key: Option<String>,
}

impl Http {
    pub(in crate::ai) fn new(access: &Access) -> Result<Self, Error> {
        let base = address(&access.base).ok_or_else(|| Error::Address(access.base.clone()))?;
        let tls = |error: &dyn fmt::Display| Error::Tls(error.to_string());
        let mut roots = RootCertStore::empty();
        // A system without any authority still speaks http, and every https endpoint under an authority of its own.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for own in CertificateDer::pem_slice_iter(access.authority.as_deref().unwrap_or_default()) {
            roots.add(own.map_err(|error| tls(&error))?).map_err(|error| tls(&error))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| tls(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Whoever may name an address named this one: a redirect would let the other side name the next. A request is not repeated
        // either, since a tool's may have been carried out.
        let client = Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .build()
            .map_err(|error| tls(&error))?;
        Ok(Self { client, base, key: access.key.clone() })
    }

    /// A request to a path below the base, with the key.
    pub(in crate::ai) fn post(&self, path: &str) -> RequestBuilder {
        let url = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        let request = self.client.post(url);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// A request to an address elsewhere, without the key.
    pub(super) fn post_elsewhere(&self, url: &str) -> RequestBuilder {
        self.client.post(url)
    }
}

/// An http or https address; none for anything else.
pub(super) fn address(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Sends a request. Any answer but a success is a failure, and its body is not read.
pub(in crate::ai) async fn send(request: RequestBuilder) -> Result<Response, Failure> {
    let response = request.send().await.map_err(|_| Failure::Unreachable)?;
    if response.status().is_success() { Ok(response) } else { Err(Failure::Refused(response.status().as_u16())) }
}

/// Reads a body up to its bound.
pub(in crate::ai) async fn body(mut response: Response, max: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(|_| Failure::Unreachable)? {
        if body.len() + bytes.len() > max {
            return Err(Failure::TooLong);
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}
