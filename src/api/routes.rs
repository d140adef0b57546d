//! The paths of the API. A test holds them equal to `openapi.json`.

pub mod agents;
pub mod calls;
pub mod cdrs;
pub mod collect;
pub mod events;
pub mod health;
pub mod nodes;
pub mod partitions;
pub mod queues;
pub mod tenants;
pub mod tokens;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::header,
    response::IntoResponse,
    routing::{delete, get, post},
};

use super::{app::App, problem::Problem};

/// The OpenAPI 3.1 description, kept by hand.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Every route.
pub fn all(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/v1/nodes", get(nodes::list).post(nodes::join))
        .route("/api/v1/nodes/{id}", get(nodes::one).delete(nodes::leave))
        .route("/api/v1/nodes/{id}/drain", post(nodes::drain).delete(nodes::undrain))
        .route("/api/v1/partitions", get(partitions::list))
        .route("/api/v1/tenants", get(tenants::list))
        .route("/api/v1/tenants/{id}", get(tenants::get).put(tenants::put).delete(tenants::remove))
        .route("/api/v1/queues", get(queues::list))
        .route("/api/v1/agents", get(agents::list))
        .route("/api/v1/agents/{id}/state", post(agents::set_state))
        .route("/api/v1/calls", get(calls::list))
        .route("/api/v1/calls/{id}", get(calls::one).delete(calls::hang_up))
        .route("/api/v1/calls/{id}/explain", get(calls::explain))
        .route("/api/v1/calls/{id}/requeue", post(calls::requeue))
        .route("/api/v1/cdrs", get(cdrs::list))
        .route("/api/v1/events", get(events::stream))
        .route("/api/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/api/v1/tokens/{id}", delete(tokens::revoke))
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/openapi.json", get(openapi))
        .method_not_allowed_fallback(no_method)
        .fallback(no_route)
        .with_state(app)
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn no_route(request: Request) -> Problem {
    Problem::not_found(format!("no resource at {}", request.uri().path()))
}

async fn no_method(request: Request) -> Problem {
    Problem::method_not_allowed(format!("{} is not supported at {}", request.method(), request.uri().path()))
}
