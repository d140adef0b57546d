//! Chats as their customers have them: opened without a token, and from then on under the secret that is given once.
//!
//! The secret is looked at by the core, as its hash, so that any node takes a line. Agents' side is in `desk`, streams in `stream`, the
//! page to try it in `page`.

pub mod desk;
pub mod page;
pub mod stream;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Request, State},
    http::{StatusCode, header, request::Parts},
};
use bytes::BytesMut;
use futures::StreamExt as _;
use rand::RngCore as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{
    api::{app::App, extract, limits, problem::Problem},
    core::{
        Command, Outcome,
        chat::{ChatStep, NewChat, SecretHash, Writer, is_line},
        id::{CallId, DomainId, Edge, RequestId},
        limits::CHAT_LINE_CHARS_MAX,
    },
};

/// A JSON body of a chat: no larger than one line can be. Of a larger one the rest is read and thrown away, up to a bound, so that the client
/// gets to read why it is refused.
#[derive(Debug)]
pub struct Small<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Small<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let (mut pieces, mut kept, mut read) = (body.into_data_stream(), BytesMut::new(), 0);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| Problem::bad_request("the body could not be read"))?;
            read += piece.len();
            if read <= limits::SMALL_BODY_BYTES_MAX {
                kept.extend_from_slice(&piece);
            } else if read > limits::REFUSED_BODY_BYTES_MAX {
                break;
            }
        }
        if read > limits::SMALL_BODY_BYTES_MAX {
            let most = limits::SMALL_BODY_BYTES_MAX;
            return Err(Problem::too_large(format!("at most {most} bytes, and {CHAT_LINE_CHARS_MAX} characters of a line")));
        }
        extract::json(&parts.headers, &kept).map(Self)
    }
}

/// What a customer showed of its chat.
pub struct Customer {
    pub(super) tenant: DomainId,
    pub(super) call: CallId,
    pub(super) secret: SecretHash,
    key: Option<RequestId>,
}

#[derive(Deserialize)]
struct Place {
    id: String,
    chat: String,
}

pub(super) fn hash(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

impl FromRequestParts<Arc<App>> for Customer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let secret =
            shown.and_then(|text| text.strip_prefix("Bearer ")).ok_or_else(|| Problem::unauthorized("the chat's secret is needed"))?;
        let secret = hash(secret.trim());
        let path: Result<Path<Place>, _> = Path::from_request_parts(parts, app).await;
        let Path(Place { id, chat }) = path.map_err(|_| Problem::bad_request("a tenant and a chat are needed"))?;
        let call = super::calls::parse(&chat)?;
        let key = extract::request_id(&parts.headers, &[&secret, parts.method.as_str().as_bytes(), parts.uri.path().as_bytes()])?;
        Ok(Self { tenant: DomainId::new(&id), call, secret, key })
    }
}

impl Customer {
    async fn step(&self, app: &App, step: ChatStep) -> Result<Outcome, Problem> {
        let command = Command::Chat { domain: self.tenant.clone(), call: self.call, step };
        app.command(&self.tenant, self.key, command).await
    }
}

/// What a chat begins with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    to: String,
    text: Option<String>,
    /// Who writes, as it says of itself.
    customer: Option<String>,
}

/// The chat, and the secret that everything else of it needs. It is not told again.
#[derive(Debug, Serialize)]
pub struct Opened {
    chat: String,
    secret: String,
}

/// A name of a call that is new here, and the node it is at.
pub(super) fn new_call(app: &App) -> Result<(CallId, Edge), Problem> {
    let edge = app.live.edge_for_calls().ok_or_else(|| Problem::unavailable("no node takes calls now"))?;
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    Ok((CallId::compose(unix_ms, edge.node, rand::rng().next_u64()), edge))
}

/// 128 random bits as hex.
fn new_secret() -> String {
    let mut chance = rand::rng();
    format!("{:016x}{:016x}", chance.next_u64(), chance.next_u64())
}

/// A line as it may be kept: card numbers, addresses and the like are masked.
pub(super) fn line(app: &App, text: &str) -> Result<String, Problem> {
    if !is_line(text) {
        let told = format!("text: 1 to {CHAT_LINE_CHARS_MAX} characters, not only blanks, without control characters");
        return Err(Problem::invalid(told));
    }
    Ok((app.mask)(text).chars().take(CHAT_LINE_CHARS_MAX).collect())
}

/// `POST /api/v1/tenants/{id}/chats`: opens a chat.
pub async fn open(
    State(app): State<Arc<App>>,
    Path(tenant): Path<String>,
    Small(body): Small<Open>,
) -> Result<(StatusCode, axum::Json<Opened>), Problem> {
    if !app.opened.lock().take() {
        return Err(Problem::busy("too many chats are being opened"));
    }
    let customer = body.customer.unwrap_or_default();
    if customer.len() > limits::CUSTOMER_BYTES_MAX || customer.chars().any(char::is_control) {
        return Err(Problem::invalid(format!("customer: at most {} bytes, without control characters", limits::CUSTOMER_BYTES_MAX)));
    }
    let text = body.text.map(|text| line(&app, &text)).transpose()?;
    let (call, edge) = new_call(&app)?;
    let secret = new_secret();
    let domain = DomainId::new(&tenant);
    let new = NewChat { domain: domain.clone(), call, edge, to: body.to, customer, secret: hash(&secret), text };
    app.command(&domain, None, Command::OpenChat(Box::new(new))).await?;
    Ok((StatusCode::CREATED, axum::Json(Opened { chat: call.to_string(), secret })))
}

/// A line of a chat.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    pub(super) text: String,
}

/// Its number.
#[derive(Debug, Serialize)]
pub struct Written {
    pub(super) line: u32,
}

pub(super) fn written(outcome: &Outcome) -> Result<(StatusCode, axum::Json<Written>), Problem> {
    match outcome {
        Outcome::Said { seq } => Ok((StatusCode::CREATED, axum::Json(Written { line: *seq }))),
        other => Err(Problem::internal(format!("a line came to {other:?}"))),
    }
}

/// `POST /api/v1/tenants/{id}/chats/{chat}/lines`: the customer writes. Once, under an Idempotency-Key.
pub async fn say(
    State(app): State<Arc<App>>,
    customer: Customer,
    Small(body): Small<Said>,
) -> Result<(StatusCode, axum::Json<Written>), Problem> {
    let step = ChatStep::Say { by: Writer::Customer(customer.secret), text: line(&app, &body.text)? };
    written(&customer.step(&app, step).await?)
}

/// `DELETE /api/v1/tenants/{id}/chats/{chat}`: the customer ends its chat.
pub async fn end(State(app): State<Arc<App>>, customer: Customer) -> Result<StatusCode, Problem> {
    customer.step(&app, ChatStep::End { by: Writer::Customer(customer.secret) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where the customer is to be called.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phone {
    number: String,
}

/// The call that was made of the chat.
#[derive(Debug, Serialize)]
pub struct Continued {
    call_id: String,
}

pub(super) async fn phone_as(
    app: &App,
    by: Writer,
    number: String,
    commit: impl AsyncFnOnce(ChatStep) -> Result<Outcome, Problem>,
) -> Result<(StatusCode, axum::Json<Continued>), Problem> {
    let (call, edge) = new_call(app)?;
    // A repeat under the same key is told the call of the first.
    let call = match commit(ChatStep::Phone { by, call, edge, number }).await? {
        Outcome::Scheduled { call: first } => first,
        _ => call,
    };
    Ok((StatusCode::CREATED, axum::Json(Continued { call_id: call.to_string() })))
}

/// `POST /api/v1/tenants/{id}/chats/{chat}/phone`: the customer is to be called, at the chat's place in the queue.
pub async fn phone(
    State(app): State<Arc<App>>,
    customer: Customer,
    Small(body): Small<Phone>,
) -> Result<(StatusCode, axum::Json<Continued>), Problem> {
    phone_as(&app, Writer::Customer(customer.secret), body.number, async |step| customer.step(&app, step).await).await
}

/// `GET /api/v1/tenants/{id}/chats/{chat}/events`: the lines after the last one seen, and those that come.
pub async fn events(
    State(app): State<Arc<App>>,
    customer: Customer,
    stream::After(after): stream::After,
) -> Result<axum::response::Response, Problem> {
    let path = format!("/api/v1/tenants/{}/chats/{}/events", super::collect::escape(customer.tenant.as_str()), customer.call);
    let secret = customer.secret;
    let may_see: stream::MaySee = Arc::new(move |call| call.chat.as_ref().is_some_and(|chat| chat.secret == secret));
    stream::begin(&app, (customer.tenant, customer.call), after, &path, may_see).await
}
