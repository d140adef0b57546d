//! `GET /api/v1/queues`: who waits, how long, and how well they are served.

use tandem_cluster::GroupId;

use super::collect::{Slice, Source};
use crate::{
    api::{
        access::{Operation, Principal},
        app::App,
        page::Query,
        problem::Problem,
        view::{self, QueueView},
    },
    core::id::DomainId,
};

pub struct Queues {
    stale: bool,
}

impl Source for Queues {
    type Row = QueueView;
    const NAME: &'static str = "queues";
    const OPERATION: Operation = Operation::ReadQueues;

    fn of(query: &Query, _: &Principal) -> Self {
        Self { stale: query.stale }
    }

    async fn slice(
        &self,
        app: &App,
        tenant: &DomainId,
        group: GroupId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Slice<QueueView>, Problem> {
        app.read(group, self.stale, |state| {
            let Some(domain) = state.domains().get(tenant) else { return Slice::default() };
            let rows = domain.queues().iter().filter(|(id, _)| after.is_none_or(|after| id.as_str() > after));
            Slice::cut(rows.map(|(id, row)| view::queue(tenant, domain, id, row, state.now())), limit, |row| row.id.clone())
        })
        .await
    }
}
