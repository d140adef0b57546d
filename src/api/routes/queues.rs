//! `GET /api/v1/queues`: who waits, how long, and how well they are served.

use std::sync::Arc;

use axum::extract::State;
use tandem_cluster::GroupId;

use super::collect::{self, Slice, Source};
use crate::{
    api::{
        access::Operation,
        app::App,
        extract::{Caller, Params},
        page::{Page, Query},
        problem::Problem,
        view::{self, QueueView},
    },
    core::id::DomainId,
};

struct Queues {
    stale: bool,
}

impl Source<QueueView> for Queues {
    const NAME: &'static str = "queues";
    const OPERATION: Operation = Operation::ReadQueues;

    async fn slice(
        &self,
        app: &App,
        tenant: &DomainId,
        group: GroupId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Slice<QueueView>, Problem> {
        app.read(group, self.stale, |state| {
            let Some(domain) = state.domains().get(tenant) else { return Slice { items: Vec::new(), more_after: None } };
            let rows = domain.queues().iter().filter(|(id, _)| after.is_none_or(|after| id.as_str() > after));
            Slice::cut(rows.map(|(id, row)| view::queue(tenant, domain, id, row, state.now())), limit, |row| row.id.clone())
        })
        .await
    }
}

pub async fn list(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Params(query): Params<Query>,
) -> Result<axum::Json<Page<QueueView>>, Problem> {
    collect::page(&app, &who, &query, Queues { stale: query.stale }).await
}
