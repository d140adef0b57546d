//! Requests that another node answers better: carried over the cluster's own mutually authenticated channel.
//!
//! The node that took the request authenticates it; the principal travels along and is believed because the channel is.
//! A forwarded request is never forwarded again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tandem_cluster::{Cluster, GroupId, NodeId, NodeState, RequestError};
use tower::ServiceExt as _;

use super::{access::Principal, limits, problem::Problem};

/// The number of this service among node-to-node requests.
pub const SERVICE: u8 = 32;

/// Header fields that travel with a request or an answer.
const HEADERS: [HeaderName; 5] = [header::CONTENT_TYPE, header::IF_MATCH, header::ETAG, header::LOCATION, header::RETRY_AFTER];

/// Marks a request as forwarded.
#[derive(Debug, Clone, Copy)]
pub struct Forwarded;

#[derive(Debug, Serialize, Deserialize)]
struct Ask {
    method: String,
    uri: String,
    headers: BTreeMap<String, String>,
    principal: Principal,
    body: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// A node, other than this one, that holds a replica of a group: its leader if known.
///
/// # Errors
/// 503 when none is known.
pub fn host_of(cluster: &Cluster, group: GroupId) -> Result<NodeId, Problem> {
    let me = cluster.node();
    cluster
        .leader(group)
        .filter(|leader| *leader != me)
        .ok_or_else(|| Problem::unavailable(format!("no leader is known for partition {group}, and this node holds no replica of it")))
}

/// Sends a client to a node that holds a replica of a group: for what cannot be forwarded, such as a stream.
///
/// # Errors
/// 503 when none is known, or when it has told no HTTP address.
pub fn away(cluster: &Cluster, group: GroupId, path: &str) -> Result<Response, Problem> {
    let node = host_of(cluster, group)?;
    let http = cluster.nodes().borrow().get(&node).and_then(|node| node.attributes.get("http").cloned());
    let http = http.ok_or_else(|| Problem::unavailable(format!("node {node} has told no HTTP address")))?;
    let location = HeaderValue::from_str(&format!("http://{http}{path}")).map_err(|e| Problem::internal(e.to_string()))?;
    Ok((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response())
}

/// Nodes other than this one that answer.
pub fn peers(cluster: &Cluster) -> Vec<NodeId> {
    let me = cluster.node();
    let nodes = cluster.nodes();
    let nodes = nodes.borrow();
    nodes.values().filter(|node| node.id != me && matches!(node.state, NodeState::Up | NodeState::Draining)).map(|node| node.id).collect()
}

/// Asks another node to `GET` on behalf of `principal` and reads its JSON.
///
/// # Errors
/// The other node's problem, or 503 when it does not answer.
pub async fn get<T: DeserializeOwned>(
    cluster: &Cluster,
    node: NodeId,
    who: &Principal,
    uri: &str,
    deadline: Duration,
) -> Result<T, Problem> {
    let ask = Ask { method: "GET".into(), uri: uri.into(), headers: BTreeMap::new(), principal: who.clone(), body: String::new() };
    read(node, &exchange(cluster, node, &ask, deadline).await?)
}

fn read<T: DeserializeOwned>(node: NodeId, answer: &Answer) -> Result<T, Problem> {
    if answer.status != 200 {
        return Err(Problem { status: answer.status, ..Problem::unavailable(format!("node {node}: {}", detail(&answer.body))) });
    }
    serde_json::from_str(&answer.body).map_err(|e| Problem::internal(format!("node {node} answered what is not expected: {e}")))
}

/// Hands a whole request to another node and returns its answer.
///
/// # Errors
/// 503 when the node does not answer, 504 when it may have acted.
pub async fn send(cluster: &Cluster, node: NodeId, principal: &Principal, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, limits::BODY_BYTES_MAX)
        .await
        .map_err(|_| Problem::too_large(format!("at most {} bytes", limits::BODY_BYTES_MAX)))?;
    let body = String::from_utf8(body.into()).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    let ask = Ask {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        headers: keep(&parts.headers),
        principal: principal.clone(),
        body,
    };
    let answer = exchange(cluster, node, &ask, limits::FORWARD_DEADLINE).await?;
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).map_err(|e| Problem::internal(format!("node {node}: {e}")))
}

async fn exchange(cluster: &Cluster, node: NodeId, ask: &Ask, deadline: Duration) -> Result<Answer, Problem> {
    let body = serde_json::to_vec(ask).expect("a request is plain strings");
    let answer = cluster.request(node, SERVICE, body.into(), deadline).await.map_err(|e| match e {
        RequestError::Unreachable(..) | RequestError::Refused(_) => Problem::unavailable(e.to_string()),
        RequestError::Deadline => Problem::indefinite(format!("node {node}: {e}")),
    })?;
    serde_json::from_slice(&answer).map_err(|e| Problem::internal(format!("node {node}: {e}")))
}

/// Answers what a peer forwarded, through this node's own routes.
///
/// # Errors
/// A sentence for the peer when the request makes no sense.
pub async fn answer(router: Router, body: Bytes) -> Result<Bytes, String> {
    let ask: Ask = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
    let method: Method = ask.method.parse().map_err(|_| "method".to_owned())?;
    let uri: Uri = ask.uri.parse().map_err(|_| "uri".to_owned())?;
    let mut request = Request::builder().method(method).uri(uri).extension(ask.principal).extension(Forwarded);
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(ask.body)).map_err(|e| e.to_string())?;
    let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, limits::FORWARDED_BYTES_MAX).await.map_err(|e| e.to_string())?;
    let body = String::from_utf8(body.into()).map_err(|e| e.to_string())?;
    let answer = Answer { status: parts.status.as_u16(), headers: keep(&parts.headers), body };
    serde_json::to_vec(&answer).map(Bytes::from).map_err(|e| e.to_string())
}

fn keep(headers: &axum::http::HeaderMap<HeaderValue>) -> BTreeMap<String, String> {
    let idempotency = HeaderName::from_static("idempotency-key");
    HEADERS.iter().chain([&idempotency]).filter_map(|name| Some((name.to_string(), headers.get(name)?.to_str().ok()?.to_owned()))).collect()
}

fn detail(body: &str) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_str(body).ok();
    problem.and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned())).unwrap_or_else(|| StatusCode::BAD_GATEWAY.to_string())
}

/// Keeps the router reachable for peers once it exists; the cluster starts before it.
#[derive(Debug, Clone, Default)]
pub struct Inbox {
    router: Arc<std::sync::OnceLock<Router>>,
}

impl Inbox {
    pub fn open(&self, router: Router) {
        self.router.set(router).ok();
    }

    /// # Errors
    /// While the node is starting, or when the request makes no sense.
    pub async fn handle(&self, body: Bytes) -> Result<Bytes, String> {
        let router = self.router.get().cloned().ok_or_else(|| "the node is starting".to_owned())?;
        answer(router, body).await
    }
}
