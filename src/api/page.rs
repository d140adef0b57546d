//! Pages of a collection: `{ "items": […], "next": cursor | null }`, with `?limit=&cursor=`.
//!
//! A cursor is opaque to clients: the tenant and the key after which the next page begins, so that it stays right when
//! rows come and go and on whichever node the next request lands.

use serde::{Deserialize, Serialize};

use super::{limits, problem::Problem};

/// A page of any collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
    /// How old a stale answer may be: entries of the log known here and not yet applied, and whether a leader is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Staleness>,
}

/// What a local read may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staleness {
    /// Log entries received but not applied, over the groups read.
    pub entries_behind: u64,
    /// False when some group read has no known leader, and so might be older than it can tell.
    pub leader_known: bool,
}

/// Where a page begins: after `key` of `tenant`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    pub tenant: String,
    pub key: String,
}

impl Cursor {
    /// Hex of `tenant NUL key`: safe in a URL without escaping.
    pub fn print(&self) -> String {
        use std::fmt::Write as _;
        self.tenant.bytes().chain([0]).chain(self.key.bytes()).fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes every write");
            text
        })
    }

    /// # Errors
    /// 400 when the text was not printed by [`Cursor::print`].
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let bad = || Problem::bad_request("cursor: not one this API gave out");
        let bytes = (0..text.len())
            .step_by(2)
            .map(|at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(bad)?;
        let plain = String::from_utf8(bytes).map_err(|_| bad())?;
        let (tenant, key) = plain.split_once('\0').ok_or_else(bad)?;
        Ok(Self { tenant: tenant.into(), key: key.into() })
    }
}

/// The query of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    pub limit: Option<usize>,
    pub cursor: Option<String>,
    pub tenant: Option<String>,
    pub queue: Option<String>,
    pub state: Option<String>,
    #[serde(default)]
    pub stale: bool,
}

impl Query {
    /// # Errors
    /// 400 when the limit is zero or above the bound.
    pub fn limit(&self) -> Result<usize, Problem> {
        match self.limit {
            None => Ok(limits::PAGE_DEFAULT),
            Some(limit) if (1..=limits::PAGE_MAX).contains(&limit) => Ok(limit),
            Some(limit) => Err(Problem::bad_request(format!("limit: {limit} is not within 1 to {}", limits::PAGE_MAX))),
        }
    }

    /// # Errors
    /// 400 when the cursor is not ours.
    pub fn cursor(&self) -> Result<Option<Cursor>, Problem> {
        self.cursor.as_deref().map(Cursor::parse).transpose()
    }
}

/// Cuts a page out of rows that come in the order of `key`, which says what a cursor continues after.
pub fn cut<T>(rows: impl IntoIterator<Item = T>, limit: usize, key: impl Fn(&T) -> String) -> Page<T> {
    let mut rows = rows.into_iter();
    let items: Vec<T> = rows.by_ref().take(limit).collect();
    let next = if rows.next().is_some() { items.last().map(|last| Cursor { tenant: String::new(), key: key(last) }.print()) } else { None };
    Page { items, next, stale: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_it_prints() {
        let cursor = Cursor { tenant: "démo".into(), key: "alice".into() };
        assert_eq!(Cursor::parse(&cursor.print()).unwrap(), cursor);
        for bad in ["zz", "a", "61", "é"] {
            assert_eq!(Cursor::parse(bad).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn the_last_page_has_no_next() {
        let page = cut(1..=3, 2, |n| n.to_string());
        assert_eq!(page.items, [1, 2]);
        assert_eq!(Cursor::parse(&page.next.unwrap()).unwrap().key, "2");
        assert_eq!(cut(1..=2, 2, |n| n.to_string()).next, None);
    }

    #[test]
    fn a_limit_out_of_bounds_is_refused() {
        assert!(Query { limit: Some(0), ..Query::default() }.limit().is_err());
        assert!(Query { limit: Some(limits::PAGE_MAX + 1), ..Query::default() }.limit().is_err());
        assert_eq!(Query::default().limit().unwrap(), limits::PAGE_DEFAULT);
    }
}
