//! Tenants: their policy, published as a whole under a version.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    api::{
        access::Operation,
        app::App,
        extract::{Body, Caller, Json, Key, Params, content_type},
        forward, limits,
        page::{self, Page, Query},
        problem::Problem,
    },
    config::tenant,
    core::{Command, Outcome, id::DomainId},
};

/// A tenant and where it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    id: String,
    partition: Option<u32>,
    version: u64,
}

/// `GET /api/v1/tenants`
pub async fn list(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Params(query): Params<Query>,
) -> Result<axum::Json<Page<Row>>, Problem> {
    who.check(Operation::ReadTenant)?;
    let after = query.cursor()?.map(|cursor| cursor.key).unwrap_or_default();
    let directory = app.live.directory().borrow().clone();
    let rows = directory.domains.iter().filter(|(id, _)| id.as_str() > after.as_str() && who.may_in(Operation::ReadTenant, id.as_str()));
    let rows =
        rows.map(|(id, view)| Row { id: id.to_string(), partition: app.live.cluster().group_of(id.as_str()), version: view.version });
    Ok(axum::Json(page::cut(rows, query.limit()?, |row| row.id.clone())))
}

/// `GET /api/v1/tenants/{id}`: the policy as the core has it, without secrets; its version is the ETag.
pub async fn get(State(app): State<Arc<App>>, Caller(who): Caller, Path(id): Path<String>, request: Request) -> Result<Response, Problem> {
    who.check_in(Operation::ReadTenant, &id)?;
    let tenant = DomainId::new(&id);
    let group = app.group_of(&tenant)?;
    let cluster = app.live.cluster();
    if !cluster.hosts(group) && request.extensions().get::<forward::Forwarded>().is_none() {
        return forward::send(cluster, forward::host_of(cluster, group)?, &who, request).await;
    }
    let found = app
        .read(group, false, |state| {
            let domain = state.domains().get(&tenant)?;
            Some((domain.version(), serde_json::to_value(domain.policy())))
        })
        .await?;
    let (version, policy) = found.ok_or_else(|| Problem::not_found(format!("no such tenant: {tenant}")))?;
    let mut policy = policy.map_err(|e| Problem::internal(e.to_string()))?;
    hide_secrets(&mut policy);
    let body = axum::Json(json!({ "id": id, "version": version, "policy": policy }));
    Ok(([(header::ETAG, etag(version))], body).into_response())
}

/// `PUT /api/v1/tenants/{id}`: TOML or JSON of the tenant file. `If-Match` with the ETag refuses to overwrite a newer one.
pub async fn put(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(bytes): Body,
) -> Result<Response, Problem> {
    who.check_in(Operation::PublishTenant, &id)?;
    let expect = if_match(&headers)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    let parsed = match content_type(&headers).as_str() {
        "application/toml" | "text/toml" => tenant::parse_toml("tenant.toml", text),
        "application/json" => tenant::parse_json("tenant.json", text),
        other => return Err(Problem::unsupported_media_type(format!("{other:?}: send application/toml or application/json"))),
    };
    let file = parsed.map_err(|e| Problem::invalid(e.to_string()))?;
    if file.id.as_str() != id {
        return Err(Problem::invalid(format!("the file is of tenant {}, the path names {id}", file.id)));
    }
    let domain = DomainId::new(&id);
    let cluster = app.live.cluster();
    app.quorum()?;
    cluster.assign_domain(&id, limits::COMMAND_DEADLINE).await?;
    if cluster.group_of(&id).is_none() {
        // It was assigned through another node; this one must have applied that before it can send anything there.
        cluster.read_barrier(0, limits::COMMAND_DEADLINE).await?;
    }
    let command = Command::PublishPolicy { domain: domain.clone(), expect, policy: Box::new(file.policy), entropy: entropy() };
    let outcome = app.command(&domain, key, command).await?;
    let Outcome::Published { version } = outcome else {
        return Err(Problem::internal(format!("publishing a policy came to {outcome:?}")));
    };
    tracing::info!(tenant = %id, version, by = %who.token, "policy published");
    Ok(([(header::ETAG, etag(version))], axum::Json(json!({ "id": id, "version": version }))).into_response())
}

/// `DELETE /api/v1/tenants/{id}`: refused while a call of it lives.
pub async fn remove(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    who.check_in(Operation::RemoveTenant, &id)?;
    let domain = DomainId::new(&id);
    app.command(&domain, key, Command::RemoveDomain { domain: domain.clone() }).await?;
    tracing::info!(tenant = %id, by = %who.token, "tenant removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Whom to forget.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// The caller's number or user, however it is written.
    subject: String,
}

/// Longest subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 256;

/// `POST /api/v1/tenants/{id}/erasures`: makes a caller's personal fields unreadable in every record there is, for good.
/// The records themselves and their hashes stay as they are.
pub async fn erase(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Path(id): Path<String>,
    Json(erasure): Json<Erasure>,
) -> Result<StatusCode, Problem> {
    who.check_in(Operation::Erase, &id)?;
    let subject = erasure.subject.trim().to_owned();
    if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX {
        return Err(Problem::invalid(format!("subject: 1 to {SUBJECT_BYTES_MAX} bytes")));
    }
    let domain = DomainId::new(&id);
    app.command(&domain, key, Command::Erase { domain: domain.clone(), subject }).await?;
    tracing::info!(tenant = %id, by = %who.token, "a subject was erased");
    Ok(StatusCode::NO_CONTENT)
}

fn etag(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes are a header value")
}

/// The version of an `If-Match: "3"`; none for `*` or no header.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|inner| inner.parse().ok());
    version.map(Some).ok_or_else(|| Problem::bad_request("If-Match: give the ETag as it was sent, such as \"3\""))
}

/// What a new tenant's record keys grow from; see `core::privacy`.
fn entropy() -> [u8; 32] {
    use rand::RngCore as _;
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Digest credentials and trunk passwords are write-only.
fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if matches!(key.as_str(), "ha1" | "outbound_auth") {
                    *inner = if inner.is_null() { Value::Null } else { json!("set") };
                } else {
                    hide_secrets(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_policy_is_read_back_without_its_secrets() {
        let mut policy =
            json!({ "agents": { "a": { "ha1": { "md5": "x" } } }, "trunks": { "t": { "outbound_auth": ["u", "p"], "ha1": null } } });
        hide_secrets(&mut policy);
        assert_eq!(policy, json!({ "agents": { "a": { "ha1": "set" } }, "trunks": { "t": { "outbound_auth": "set", "ha1": null } } }));
    }

    #[test]
    fn an_if_match_is_the_etag_or_a_star() {
        let with = |text: &'static str| HeaderMap::from_iter([(header::IF_MATCH, HeaderValue::from_static(text))]);
        assert_eq!(if_match(&with("\"7\"")).unwrap(), Some(7));
        assert_eq!(if_match(&with("*")).unwrap(), None);
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        assert_eq!(if_match(&with("7")).unwrap_err().status, 400);
    }
}
