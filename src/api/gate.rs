//! What every request passes before its handler: the concurrency bound, the time limit, the request metrics.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;

use super::{app::App, limits, problem::Problem};
use crate::telemetry::catalogue;

/// Puts the gate around all routes.
pub fn wrap(router: Router, app: Arc<App>) -> Router {
    router.layer(DefaultBodyLimit::max(limits::BODY_BYTES_MAX)).layer(middleware::from_fn_with_state(app, pass))
}

async fn pass(State(app): State<Arc<App>>, path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    // A probe must be answered most of all when the node is busy.
    if matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics") {
        return next.run(request).await;
    }
    let Ok(_permit) = app.requests.try_acquire() else {
        metrics::counter!(catalogue::HTTP_REFUSED_TOTAL).increment(1);
        return Problem::busy("too many requests at once").into_response();
    };
    let (request, large) = match take_small_body(request).await {
        Ok(taken) => taken,
        Err(problem) => return problem.into_response(),
    };
    let route = path.map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = method_label(request.method());
    let begun = Instant::now();
    // A handler holds no state that a panic could leave half changed; the client gets its problem document all the same.
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(limits::REQUEST_TIMEOUT, handled).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::internal("the handler panicked; see the node's log").into_response(),
        Err(_) => Problem::indefinite("the node took too long").into_response(),
    };
    if large && !response.status().is_success() {
        // The rest of the body may be unread: the connection cannot carry another request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let class = format!("{}xx", response.status().as_u16() / 100);
    metrics::histogram!(catalogue::HTTP_REQUEST_SECONDS, "route" => route.clone()).record(begun.elapsed());
    metrics::counter!(catalogue::HTTP_REQUESTS_TOTAL, "route" => route, "method" => method, "status" => class).increment(1);
    response
}

/// Reads a small body before the handler, which may answer without looking at it: what stays unread would break the
/// connection for the next request. The flag tells that the body was left where it is.
async fn take_small_body(request: Request) -> Result<(Request, bool), Problem> {
    let length = request.headers().get(header::CONTENT_LENGTH).map(|value| value.to_str().ok().and_then(|text| text.parse::<usize>().ok()));
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    match length {
        None if !chunked => Ok((request, false)),
        Some(Some(length)) if length <= limits::SMALL_BODY_BYTES_MAX => {
            let (parts, body) = request.into_parts();
            let read = tokio::time::timeout(limits::REQUEST_TIMEOUT, to_bytes(body, length));
            let bytes = read.await.ok().and_then(Result::ok).ok_or_else(|| Problem::bad_request("the body could not be read"))?;
            Ok((Request::from_parts(parts, Body::from(bytes)), false))
        }
        _ => Ok((request, true)),
    }
}

/// A client may invent methods; a label may not.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "PUT" => "PUT",
        "POST" => "POST",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
