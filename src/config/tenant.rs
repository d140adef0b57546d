//! A tenant's file (TOML, or the same keys as JSON) read into the policy the core uses.
//!
//! It owns the checks of the whole and how a mistake is told: one error with file, line and key, and no policy. The keys
//! are in `file`; what the policy does is `core::policy`. Passwords become HA1 values here and are kept nowhere.

mod assistants;
mod file;
mod opening;
mod parties;
mod queues;

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use toml::Spanned;

use self::file::{File, RouteRow, Seconds};
use super::{Error, line_of};
use crate::core::{
    id::DomainId,
    policy::{Policy, Route},
};

/// Longest name of anything.
const NAME_BYTES_MAX: usize = 64;
/// Longest time a file may ask for, in seconds: a week.
const DURATION_S_MAX: u64 = 7 * 24 * 3_600;

/// Longest time to keep records, in days: what the core remembers the days of.
const RETENTION_DAYS_MAX: u32 = 3_650;

/// How long a matter may come back unless a file says otherwise, and at most, in hours.
const REOPEN_WITHIN_H: u64 = 72;
const REOPEN_WITHIN_H_MAX: u64 = 31 * 24;

/// A tenant as its file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub id: DomainId,
    pub policy: Policy,
}

/// Reads a tenant file; `file` is only for messages.
///
/// # Errors
/// [`Error`] names file, line and key of the first mistake.
pub fn parse_toml(file: &str, text: &str) -> Result<Tenant, Error> {
    let source = Source { file, text };
    let rows: File = toml::from_str(text).map_err(|e| source.syntax(&e))?;
    build(&source, rows)
}

/// Reads the same keys as JSON. A mistake in a value is told by its key alone, since JSON keeps no places.
///
/// # Errors
/// [`Error`] names file and key of the first mistake, and the line if the text is no JSON.
pub fn parse_json(file: &str, text: &str) -> Result<Tenant, Error> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| Error::new(file, Some(e.line()), e.to_string()))?;
    let toml = toml::to_string(&without_nulls(value)).map_err(|e| Error::new(file, None, e.to_string()))?;
    parse_toml(file, &toml).map_err(|e| Error { line: None, ..e })
}

/// A null is how JSON leaves a key out.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(fields) => {
            fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, without_nulls(value))).collect()
        }
        serde_json::Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// The text being read, for messages.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    /// A mistake at a place of the text.
    fn at(&self, span: Range<usize>, key: &str, message: impl std::fmt::Display) -> Error {
        Error::new(self.file, Some(line_of(self.text, &span)), format!("{key}: {message}"))
    }

    /// What the TOML reader found, with the key in front if its message does not name one.
    fn syntax(&self, error: &toml::de::Error) -> Error {
        let told = Error::toml(Path::new(self.file), self.text, error);
        match error.span().and_then(|span| self.key_before(span.start)).filter(|_| !told.message.contains("field `")) {
            Some(key) => Error { message: format!("{key}: {}", told.message), ..told },
            None => told,
        }
    }

    /// The key whose value starts at a byte of the text, if it is on the same line.
    fn key_before(&self, at: usize) -> Option<&str> {
        let line_start = self.text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
        let before = self.text[line_start..at].trim_end().strip_suffix('=')?.trim_end();
        let start = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).map_or(0, |other| other + 1);
        Some(&before[start..]).filter(|key| !key.is_empty())
    }

    /// A name: letters, digits and `_ - . + @ *`, so that it can stand in URLs, metrics and SIP users as it is.
    fn name<'n>(&self, key: &str, name: &'n Spanned<String>) -> Result<&'n str, Error> {
        let text = name.get_ref().as_str();
        let fits = !text.is_empty() && text.len() <= NAME_BYTES_MAX;
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.+@*".contains(&b)) {
            return Ok(text);
        }
        Err(self.at(name.span(), key, format_args!("{text:?} is no name: 1 to {NAME_BYTES_MAX} of letters, digits and _-.+@*")))
    }

    /// Refuses a second row with the same name.
    fn fresh(&self, key: &str, seen: &mut BTreeMap<String, usize>, name: &Spanned<String>) -> Result<(), Error> {
        let line = line_of(self.text, &name.span());
        match seen.insert(name.get_ref().clone(), line) {
            Some(first) => Err(self.at(name.span(), key, format_args!("{:?} is taken already, on line {first}", name.get_ref()))),
            None => Ok(()),
        }
    }

    /// Milliseconds of a duration given in seconds.
    fn millis(&self, key: &str, seconds: &Seconds) -> Result<u64, Error> {
        let value = *seconds.get_ref();
        if value > DURATION_S_MAX {
            return Err(self.at(seconds.span(), key, format_args!("{value} s is longer than {DURATION_S_MAX} s")));
        }
        Ok(value * 1_000)
    }

    /// Milliseconds of an optional duration.
    fn millis_or(&self, key: &str, seconds: Option<&Seconds>, default_s: u64) -> Result<u64, Error> {
        seconds.map_or(Ok(default_s * 1_000), |seconds| self.millis(key, seconds))
    }
}

fn build(source: &Source<'_>, rows: File) -> Result<Tenant, Error> {
    let id = source.name("tenant.id", &rows.tenant.id)?.to_owned();
    let realm = rows.tenant.realm.unwrap_or_else(|| id.clone());
    let media = rows.tenant.media.map_or_else(Default::default, Into::into);
    let adopt_unanswered = rows.tenant.adopt_unanswered.map_or_else(Default::default, Into::into);
    let (calls_max, chats_max) = (rows.tenant.calls_max, rows.tenant.chats_max);
    let mut policy = Policy { calls_max, chats_max, media, adopt_unanswered, ..Policy::default() };
    if let Some(days) = rows.tenant.retention_days {
        if !(1..=RETENTION_DAYS_MAX).contains(days.get_ref()) {
            return Err(source.at(days.span(), "tenant.retention_days", format_args!("must be 1 to {RETENTION_DAYS_MAX}")));
        }
        policy.retention_days = days.into_inner();
    }
    let hours = rows.tenant.reopen_within_h.map_or(Ok(REOPEN_WITHIN_H), |hours| match *hours.get_ref() {
        within @ 0..=REOPEN_WITHIN_H_MAX => Ok(within),
        _ => Err(source.at(hours.span(), "tenant.reopen_within_h", format_args!("must be 0 to {REOPEN_WITHIN_H_MAX}"))),
    })?;
    policy.reopen_within_ms = hours * 3_600_000;
    for header in rows.tenant.pass_headers {
        source.name("tenant.pass_headers", &header)?;
        policy.pass_headers.push(header.into_inner());
    }
    policy.hours = opening::read(source, &rows.hours)?;
    let topics = Arc::new(assistants::topics(source, &rows.topic)?);
    policy.agents = parties::agents(source, &realm, &rows.queue, &topics, &rows.agent)?;
    policy.queues = queues::read(source, &rows.queue, &policy)?;
    policy.routes = routes(source, &rows.route, &policy)?;
    policy.trunks = parties::trunks(source, &realm, &rows.trunk)?;
    policy.outside = parties::outside(source, &rows.transfer)?;
    Ok(Tenant { id: id.as_str().into(), policy })
}

fn routes(source: &Source<'_>, rows: &[RouteRow], policy: &Policy) -> Result<BTreeMap<String, Route>, Error> {
    let (mut routes, mut seen) = (BTreeMap::new(), BTreeMap::new());
    for row in rows {
        let to = source.name("route.to", &row.to)?;
        source.fresh("route.to", &mut seen, &row.to)?;
        let Some((queue, _)) = policy.queues.get_key_value(row.queue.get_ref().as_str()) else {
            return Err(source.at(row.queue.span(), "route.queue", format_args!("there is no queue {:?}", row.queue.get_ref())));
        };
        routes.insert(to.to_owned(), Route { queue: queue.clone(), priority: row.priority, emergency: row.emergency });
    }
    Ok(routes)
}

#[cfg(test)]
mod tests;
