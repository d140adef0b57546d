//! The paths of the API. A test holds them equal to `openapi.json`.

pub mod agents;
pub mod assist;
pub mod backup;
pub mod callbacks;
pub mod calls;
pub mod cdrs;
pub mod chats;
pub mod collect;
pub mod control;
pub mod drills;
pub mod events;
pub mod health;
pub mod models;
pub mod nodes;
pub mod partitions;
pub mod queues;
pub mod takeover;
pub mod tenants;
pub mod tokens;
pub mod transfers;

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
        .route("/api/v1/feature-level", get(nodes::level).post(nodes::raise))
        .route("/api/v1/partitions", get(partitions::list))
        .route("/api/v1/partitions/{id}/skips", post(partitions::skip))
        .route("/api/v1/backup", get(backup::take))
        .route("/api/v1/tenants", get(tenants::list))
        .route("/api/v1/tenants/{id}", get(tenants::get).put(tenants::put).delete(tenants::remove))
        .route("/api/v1/tenants/{id}/erasures", post(tenants::erase))
        .route("/api/v1/queues", get(collect::list::<queues::Queues>))
        .route("/api/v1/agents", get(collect::list::<agents::Agents>))
        .route("/api/v1/agents/{id}/state", post(agents::set_state))
        .route("/api/v1/agents/{id}/assist", get(assist::stream))
        .route("/api/v1/calls", get(collect::list::<calls::Calls>))
        .route("/api/v1/calls/{id}", get(calls::one).delete(calls::hang_up))
        .route("/api/v1/calls/{id}/explain", get(calls::explain))
        .route("/api/v1/calls/{id}/requeue", post(calls::requeue))
        .route("/api/v1/calls/{id}/callback", post(callbacks::instead))
        .route("/api/v1/callbacks", post(callbacks::schedule))
        .route("/api/v1/calls/{id}/hold", post(control::hold))
        .route("/api/v1/calls/{id}/resume", post(control::resume))
        .route("/api/v1/calls/{id}/mute", post(control::mute))
        .route("/api/v1/calls/{id}/unmute", post(control::unmute))
        .route("/api/v1/calls/{id}/transfer", post(transfers::transfer))
        .route("/api/v1/calls/{id}/consult", post(transfers::consult))
        .route("/api/v1/calls/{id}/consult/{step}", post(transfers::step))
        .route("/api/v1/calls/{id}/takeover", post(takeover::contact))
        .route("/api/v1/calls/{id}/transcript", get(takeover::transcript))
        .route("/api/v1/queues/{id}/ai", post(takeover::queue))
        .route("/api/v1/tenants/{id}/ai", post(takeover::tenant))
        .route("/api/v1/ai", get(takeover::standing).post(takeover::cluster))
        .route("/api/v1/tenants/{id}/chats", post(chats::open))
        .route("/api/v1/tenants/{id}/chats/{chat}", delete(chats::end))
        .route("/api/v1/tenants/{id}/chats/{chat}/lines", post(chats::say))
        .route("/api/v1/tenants/{id}/chats/{chat}/events", get(chats::events))
        .route("/api/v1/tenants/{id}/chats/{chat}/phone", post(chats::phone))
        .route("/api/v1/chats", get(chats::desk::list))
        .route("/api/v1/chats/{id}/accept", post(chats::desk::accept))
        .route("/api/v1/chats/{id}/decline", post(chats::desk::decline))
        .route("/api/v1/chats/{id}/lines", post(chats::desk::say))
        .route("/api/v1/chats/{id}/end", post(chats::desk::end))
        .route("/api/v1/chats/{id}/phone", post(chats::desk::phone))
        .route("/api/v1/chats/{id}/events", get(chats::desk::events))
        .route("/chat/{id}", get(chats::page::html))
        .route("/chat.js", get(chats::page::script))
        .route("/chat.css", get(chats::page::style))
        .route("/api/v1/calls/{id}/recording", post(control::record))
        .route("/api/v1/calls/{id}/supervise", post(control::supervise))
        .route("/api/v1/cdrs", get(collect::list::<cdrs::Cdrs>))
        .route("/api/v1/events", get(events::stream))
        .route("/api/v1/models", get(models::list).post(models::stage))
        .route("/api/v1/models/rollback", post(models::roll_back))
        .route("/api/v1/models/{id}", get(models::one).delete(models::remove))
        .route("/api/v1/models/{id}/canary", post(models::canary))
        .route("/api/v1/models/{id}/promote", post(models::promote))
        .route("/api/v1/drills", post(drills::run))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const VERBS: [&str; 4] = ["get", "put", "post", "delete"];

    /// `(path, verb)` of every `.route` of this file.
    fn routed() -> BTreeSet<(String, String)> {
        let code = include_str!("routes.rs").split("#[cfg(test)]").next().unwrap();
        let mut found = BTreeSet::new();
        for line in code.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
            let (path, handlers) = line.split_once("\", ").unwrap();
            for verb in VERBS.iter().filter(|verb| handlers.contains(&format!("{verb}("))) {
                found.insert((path.to_owned(), (*verb).to_owned()));
            }
        }
        found
    }

    #[test]
    fn the_description_and_the_routes_are_the_same() {
        let described: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let paths = described["paths"].as_object().unwrap();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, verbs)| verbs.as_object().unwrap().keys().map(move |verb| (path.clone(), verb.clone())))
            .collect();
        assert_eq!(described, routed());
        assert!(described.len() > 20);
    }

    #[test]
    fn every_reference_of_the_description_leads_somewhere() {
        let description: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        for reference in OPENAPI.lines().filter_map(|line| line.split("\"$ref\": \"#").nth(1)) {
            let pointer = reference.trim_end_matches(['"', ',', '}', ' ']);
            assert!(description.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
