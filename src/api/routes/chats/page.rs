//! A page to try a chat with in a browser: three files without anything from elsewhere.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::IntoResponse,
};

const HTML: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");
/// What the page may load and talk to: this node.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'self'";

type Headers = [(HeaderName, HeaderValue); 3];

fn headers(kind: &'static str) -> Headers {
    let of = HeaderValue::from_static;
    [(header::CONTENT_TYPE, of(kind)), (header::CONTENT_SECURITY_POLICY, of(POLICY)), (header::X_CONTENT_TYPE_OPTIONS, of("nosniff"))]
}

/// `GET /chat/{id}`: the page; its script takes the tenant from the address.
pub async fn html() -> impl IntoResponse {
    (headers("text/html; charset=utf-8"), HTML)
}

/// `GET /chat.js`.
pub async fn script() -> impl IntoResponse {
    (headers("text/javascript; charset=utf-8"), SCRIPT)
}

/// `GET /chat.css`.
pub async fn style() -> impl IntoResponse {
    (headers("text/css; charset=utf-8"), STYLE)
}
