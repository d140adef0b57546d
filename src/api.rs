//! The HTTP side of a node: REST, event stream, health and metrics.
//!
//! It owns paths, formats, tokens and roles. It decides nothing: reads render the replicated state, writes are commands,
//! and whatever another node can answer better is forwarded there.

pub mod access;
pub mod app;
pub mod bells;
pub mod extract;
pub mod feed;
pub mod forward;
pub mod gate;
pub mod limits;
pub mod listen;
pub mod meter;
pub mod models;
pub mod pace;
pub mod page;
pub mod problem;
pub mod routes;
pub mod tokens;
pub mod view;

use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use app::App;

/// The routes over a running node.
pub fn router(app: Arc<App>) -> Router {
    gate::wrap(routes::all(Arc::clone(&app)), app)
}

/// Serves until `stop` is cancelled, then lets requests in flight finish.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let served = axum::serve(listen::Bounded::new(listener), router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the HTTP server ended");
    }
}
