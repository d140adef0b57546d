//! `GET /api/v1/cdrs`: closed calls, oldest first, from the archive of their partition. Those whose time to be kept is over
//! are passed over by a first page, and refused with 410 where they are asked for.

use tandem_cluster::GroupId;

use super::collect::{Slice, Source};
use crate::{
    api::{
        access::{Operation, Principal},
        app::App,
        limits,
        page::Query,
        problem::Problem,
        view::{self, CdrView},
    },
    core::{
        State,
        cdr::ClosedCall,
        id::{CallId, DomainId},
        privacy::Keys,
    },
};

/// Records read from the archive at once.
const CHUNK: usize = 500;

pub struct Cdrs {
    stale: bool,
    queue: Option<String>,
    /// `?state=` filters by outcome here.
    outcome: Option<String>,
    open: bool,
}

impl Source for Cdrs {
    type Row = CdrView;
    const NAME: &'static str = "cdrs";
    const OPERATION: Operation = Operation::ReadCdrs;

    fn of(query: &Query, who: &Principal) -> Self {
        Self { stale: query.stale, queue: query.queue.clone(), outcome: query.state.clone(), open: who.may(Operation::PersonalArchive) }
    }

    async fn slice(
        &self,
        app: &App,
        tenant: &DomainId,
        group: GroupId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Slice<CdrView>, Problem> {
        let bad = |_| Problem::bad_request("cursor: not one this API gave out");
        let after = after.map(str::parse::<u64>).transpose().map_err(bad)?;
        let (keys, kept_from) = keys(app, group, self.stale, tenant).await?;
        let mut from = after.map_or(kept_from, |seq| seq + 1);
        let mut items = Vec::new();
        let mut scanned = 0;
        loop {
            let page = app.live.cdrs(group, from, CHUNK).await?;
            for (seq, bytes) in &page.items {
                let closed = decode(group, *seq, bytes)?;
                scanned += 1;
                if closed.tenant == *tenant && self.wants(&closed) {
                    items.push(view::cdr(*seq, &closed, keys.as_ref(), self.open));
                }
                let more = page.next.is_some() || page.items.last().is_some_and(|(last, _)| last != seq);
                if more && (items.len() == limit || scanned == limits::CDR_SCAN_MAX) {
                    return Ok(Slice { items, more_after: Some(seq.to_string()) });
                }
            }
            match page.next {
                Some(next) if items.len() < limit => from = next,
                _ => return Ok(Slice { items, more_after: None }),
            }
        }
    }
}

impl Cdrs {
    fn wants(&self, closed: &ClosedCall) -> bool {
        let queue = self.queue.as_ref().is_none_or(|queue| closed.queue.as_ref().is_some_and(|own| own.as_str() == queue));
        queue && self.outcome.as_ref().is_none_or(|outcome| outcome == closed.outcome.name())
    }
}

/// The tenant's keys and the first record that is kept, after a barrier unless stale, so that the archive behind it is as
/// fresh.
async fn keys(app: &App, group: GroupId, stale: bool, tenant: &DomainId) -> Result<(Option<Keys>, u64), Problem> {
    let keys = |state: &State| state.domains().get(tenant).map(|domain| domain.keys().clone());
    app.read(group, stale, |state| (keys(state), state.retention().kept().next_seq)).await
}

fn decode(group: GroupId, seq: u64, bytes: &[u8]) -> Result<ClosedCall, Problem> {
    ClosedCall::decode(bytes).map_err(|e| Problem::internal(format!("record {seq} of partition {group}: {e}")))
}

/// A closed call by id, from the whole archive of its partition.
///
/// # Errors
/// 404 when it is not there, 410 when it would not be kept any more, 503 while its records are on their way here.
pub async fn find(app: &App, tenant: &DomainId, group: GroupId, call: CallId) -> Result<ClosedCall, Problem> {
    // After a barrier, so that a call that closed just now is found.
    let kept_since = app.read(group, false, |state| state.retention().since()).await?;
    let record = app.live.cdr(group, call).await?;
    let closed = record.map(|bytes| ClosedCall::decode(&bytes).map_err(|e| Problem::internal(format!("the record of call {call}: {e}"))));
    let closed = closed.transpose()?.filter(|closed| closed.tenant == *tenant);
    closed.ok_or_else(|| {
        if call.minted() < kept_since {
            return Problem::no_longer_kept(format!("calls that closed before {} are no longer kept", view::rfc3339(kept_since)));
        }
        Problem::not_found(format!("no call {call} among the live and the closed ones"))
    })
}
