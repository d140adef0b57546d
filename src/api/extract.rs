//! How a handler gets its inputs, each failure a problem document: caller, body, query, idempotency key.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{access::Principal, app::App, problem::Problem};
use crate::core::id::RequestId;

/// The authenticated sender. A handler without it is public, and a test lists those.
#[derive(Debug, Clone)]
pub struct Caller(pub Principal);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        // A request forwarded by a peer carries the principal that the peer authenticated; see `forward`.
        if let Some(principal) = parts.extensions.get::<Principal>() {
            return Ok(Self(principal.clone()));
        }
        let header = parts.headers.get(header::AUTHORIZATION).ok_or_else(|| Problem::unauthorized("no Authorization header"))?;
        let text = header.to_str().map_err(|_| Problem::unauthorized("the Authorization header is not text"))?;
        let (scheme, secret) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::unauthorized("only the Bearer scheme is known"));
        }
        app.tokens.find(secret.trim()).map(Self).ok_or_else(|| Problem::unauthorized("unknown or revoked token"))
    }
}

/// The query string; unknown parameters are refused.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query.map(|axum::extract::Query(value)| Self(value)).map_err(|e| Problem::bad_request(format!("query: {}", e.body_text())))
    }
}

/// A raw body within the bound.
#[derive(Debug)]
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state).await.map(Self).map_err(|e| unreadable(&e))
    }
}

fn unreadable(error: &BytesRejection) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::too_large(format!("at most {} bytes", super::limits::BODY_BYTES_MAX));
    }
    Problem::bad_request("the body could not be read")
}

/// A JSON body, typed.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let Body(bytes) = Body::from_request(request, state).await?;
        json(&headers, &bytes).map(Self)
    }
}

/// A body that was read already, typed.
///
/// # Errors
/// 415 for another media type, 400 for what is no such JSON.
pub fn json<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, Problem> {
    let kind = content_type(headers);
    if kind != "application/json" {
        return Err(Problem::unsupported_media_type(format!("{kind:?}: send application/json")));
    }
    serde_json::from_slice(bytes).map_err(|e| Problem::bad_request(format!("JSON: {e}")))
}

/// The media type without parameters, in lower case; empty when there is none.
pub fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The client's idempotency key, made a request id: a repeat within the replicated window returns the first outcome.
#[derive(Debug, Clone, Copy)]
pub struct Key(pub Option<RequestId>);

/// Longest `Idempotency-Key` taken, in bytes.
const KEY_BYTES_MAX: usize = 255;

impl FromRequestParts<Arc<App>> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        if !parts.headers.contains_key("idempotency-key") {
            return Ok(Self(None));
        }
        let Caller(principal) = Caller::from_request_parts(parts, app).await?;
        let method = parts.method.as_str().as_bytes();
        request_id(&parts.headers, &[principal.token.as_bytes(), method, parts.uri.path().as_bytes()]).map(Self)
    }
}

/// The request id of an idempotency key. Two clients may choose the same key for different things, so whoever asks, method and path are
/// part of the name.
///
/// # Errors
/// 400 for a key that is empty or too long.
pub fn request_id(headers: &HeaderMap, asks: &[&[u8]]) -> Result<Option<RequestId>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let bytes = value.as_bytes();
    if bytes.is_empty() || bytes.len() > KEY_BYTES_MAX {
        return Err(Problem::bad_request(format!("Idempotency-Key: 1 to {KEY_BYTES_MAX} bytes")));
    }
    let mut digest = Sha256::new();
    for part in asks.iter().copied().chain([bytes]) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    Ok(Some(RequestId(digest[..16].iter().fold(0_u128, |id, byte| (id << 8) | u128::from(*byte)))))
}
