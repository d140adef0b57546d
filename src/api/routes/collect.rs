//! One page out of many tenants, wherever their partitions are.
//!
//! It owns the walk over tenants and the hop to another node for those without a replica here. What an item is, is the
//! business of the collection.

use std::sync::Arc;

use axum::extract::State;
use serde::{Serialize, de::DeserializeOwned};
use tandem_cluster::GroupId;

use crate::{
    api::{
        access::{Operation, Principal},
        app::App,
        extract::{Caller, Params},
        forward, limits,
        page::{Cursor, Page, Query},
        problem::Problem,
    },
    core::id::DomainId,
};

/// A slice of one tenant: its rows after a key, and the key to go on after if there are more.
#[derive(Debug)]
pub struct Slice<T> {
    pub items: Vec<T>,
    pub more_after: Option<String>,
}

impl<T> Slice<T> {
    /// Cuts a slice out of rows in key order, all of them after the cursor.
    pub fn cut(rows: impl IntoIterator<Item = T>, limit: usize, key: impl Fn(&T) -> String) -> Self {
        let mut rows = rows.into_iter();
        let items: Vec<T> = rows.by_ref().take(limit).collect();
        let more_after = if rows.next().is_some() { items.last().map(key) } else { None };
        Self { items, more_after }
    }
}

impl<T> Default for Slice<T> {
    fn default() -> Self {
        Self { items: Vec::new(), more_after: None }
    }
}

/// Reads the slice of one tenant on the local replica.
pub trait Source: Send + Sync + Sized {
    type Row: Serialize + DeserializeOwned + Send;
    /// The last segment of the collection's path.
    const NAME: &'static str;
    const OPERATION: Operation;

    /// What a query asks for, as far as this caller may see it.
    fn of(query: &Query, who: &Principal) -> Self;

    /// Rows of `tenant` after `after`, at most `limit`.
    fn slice(
        &self,
        app: &App,
        tenant: &DomainId,
        group: GroupId,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Slice<Self::Row>, Problem>> + Send;
}

/// `GET` of any collection: walks the tenants the caller may see, from the cursor on, until the page is full.
///
/// # Errors
/// 403, a bad query, or the 503 of a partition that cannot be read.
pub async fn list<S: Source>(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Params(query): Params<Query>,
) -> Result<axum::Json<Page<S::Row>>, Problem> {
    let (app, who, query, source) = (&*app, &who, &query, S::of(&query, &who));
    who.check(S::OPERATION)?;
    let limit = query.limit()?;
    let from = query.cursor()?.unwrap_or_default();
    let mut page = Page { items: Vec::new(), next: None, stale: None };
    let mut groups = Vec::new();
    for tenant in tenants(app, who, query, S::OPERATION)?.into_iter().filter(|tenant| tenant.as_str() >= from.tenant.as_str()) {
        let left = limit - page.items.len();
        if left == 0 {
            // The cursor points before every key of the next tenant.
            page.next = Some(Cursor { tenant: tenant.to_string(), key: String::new() }.print());
            break;
        }
        let group = app.group_of(&tenant)?;
        let after = Some(from.key.as_str()).filter(|key| tenant.as_str() == from.tenant && !key.is_empty());
        let slice = if app.live.cluster().hosts(group) {
            groups.push(group);
            source.slice(app, &tenant, group, after, left).await?
        } else {
            remote(app, who, query, S::NAME, &tenant, group, after, left).await?
        };
        page.items.extend(slice.items);
        if let Some(key) = slice.more_after {
            page.next = Some(Cursor { tenant: tenant.to_string(), key }.print());
            break;
        }
    }
    if query.stale {
        page.stale = Some(app.staleness(&groups));
    }
    Ok(axum::Json(page))
}

fn tenants(app: &App, who: &Principal, query: &Query, operation: Operation) -> Result<Vec<DomainId>, Problem> {
    let named = query.tenant.as_deref().or(who.tenant.as_deref());
    let Some(name) = named else { return Ok(app.tenants()) };
    who.check_in(operation, name)?;
    let tenant = DomainId::new(name);
    app.group_of(&tenant)?;
    Ok(vec![tenant])
}

/// The same slice from a node that holds the partition.
#[expect(clippy::too_many_arguments, reason = "they are the parts of one request")]
async fn remote<T: DeserializeOwned>(
    app: &App,
    who: &Principal,
    query: &Query,
    name: &str,
    tenant: &DomainId,
    group: GroupId,
    after: Option<&str>,
    limit: usize,
) -> Result<Slice<T>, Problem> {
    use std::fmt::Write as _;
    let cluster = app.live.cluster();
    let node = forward::host_of(cluster, group)?;
    let mut uri = format!("/api/v1/{name}?tenant={}&limit={limit}&stale={}", escape(tenant.as_str()), query.stale);
    let cursor = after.map(|key| Cursor { tenant: tenant.to_string(), key: key.into() }.print());
    for (key, value) in [("cursor", cursor.as_deref()), ("queue", query.queue.as_deref()), ("state", query.state.as_deref())] {
        if let Some(value) = value {
            write!(uri, "&{key}={}", escape(value)).expect("a String takes every write");
        }
    }
    let page: Page<T> = forward::get(cluster, node, who, &uri, limits::FORWARD_DEADLINE).await?;
    let more_after = page.next.as_deref().map(Cursor::parse).transpose()?.map(|cursor| cursor.key);
    Ok(Slice { items: page.items, more_after })
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
pub fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            other => write!(out, "%{other:02X}").expect("a String takes every write"),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_query_cannot_add_a_parameter() {
        assert_eq!(escape("a&tenant=b é"), "a%26tenant%3Db%20%C3%A9");
    }

    #[test]
    fn a_slice_says_where_to_go_on_only_when_there_is_more() {
        assert_eq!(Slice::cut([1, 2, 3], 2, |n| n.to_string()).more_after.as_deref(), Some("2"));
        assert_eq!(Slice::cut([1, 2], 2, |n| n.to_string()).more_after, None);
    }
}
