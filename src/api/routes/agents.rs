//! Agents: what they do, and what somebody wants them to be.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use tandem_cluster::GroupId;

use super::collect::{Slice, Source};
use crate::{
    api::{
        access::{Operation, Principal},
        app::App,
        extract::{Caller, Json, Key, Params},
        page::Query,
        problem::Problem,
        view::{self, AgentView},
    },
    core::{
        Command,
        command::Intent,
        id::{AgentId, DomainId},
    },
};

pub struct Agents {
    stale: bool,
    state: Option<String>,
}

impl Source for Agents {
    type Row = AgentView;
    const NAME: &'static str = "agents";
    const OPERATION: Operation = Operation::ReadAgents;

    fn of(query: &Query, _: &Principal) -> Self {
        Self { stale: query.stale, state: query.state.clone() }
    }

    async fn slice(
        &self,
        app: &App,
        tenant: &DomainId,
        group: GroupId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Slice<AgentView>, Problem> {
        app.read(group, self.stale, |state| {
            let Some(domain) = state.domains().get(tenant) else { return Slice::default() };
            let rows = domain.agents().iter().filter(|(id, _)| after.is_none_or(|after| id.as_str() > after));
            let views = rows.map(|(id, row)| view::agent(tenant, domain, id, row));
            let views = views.filter(|view| self.state.as_ref().is_none_or(|wanted| *wanted == view.state));
            Slice::cut(views, limit, |row| row.id.clone())
        })
        .await
    }
}

/// What is wanted of an agent.
#[derive(Debug, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum Wanted {
    Available,
    Break { reason: String },
    Offline,
    FinishWrapUp,
    ExtendWrapUp { by_ms: u64 },
    ForceRelease,
}

impl From<Wanted> for Intent {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Available => Self::Available,
            Wanted::Break { reason } => Self::Break { reason },
            Wanted::Offline => Self::Offline,
            Wanted::FinishWrapUp => Self::FinishWrapUp,
            Wanted::ExtendWrapUp { by_ms } => Self::ExtendWrapUp { by_ms },
            Wanted::ForceRelease => Self::ForceRelease,
        }
    }
}

/// `?tenant=`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InTenant {
    pub tenant: Option<String>,
}

/// Longest reason for a break, in bytes.
const REASON_BYTES_MAX: usize = 200;

/// `POST /api/v1/agents/{id}/state`: at once when idle, else when the current contact ends.
pub async fn set_state(
    State(app): State<Arc<App>>,
    Caller(who): Caller,
    Key(key): Key,
    Path(id): Path<String>,
    Params(query): Params<InTenant>,
    Json(wanted): Json<Wanted>,
) -> Result<StatusCode, Problem> {
    let own = who.agent.as_deref() == Some(id.as_str());
    // Freeing a stuck agent ends its calls, which is nothing an agent may do to itself.
    let operation = if own && !matches!(wanted, Wanted::ForceRelease) { Operation::SetOwnState } else { Operation::SetAgentState };
    let tenant = app.tenant(&who, operation, query.tenant.as_deref())?;
    if let Wanted::Break { reason } = &wanted
        && reason.len() > REASON_BYTES_MAX
    {
        return Err(Problem::invalid(format!("reason: at most {REASON_BYTES_MAX} bytes")));
    }
    let command = Command::AgentIntent { domain: tenant.clone(), agent: AgentId::new(&id), intent: wanted.into(), by: who.actor() };
    app.command(&tenant, key, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_state_is_told_by_its_name() {
        let wanted: Wanted = serde_json::from_str(r#"{"state":"break","reason":"lunch"}"#).unwrap();
        assert_eq!(Intent::from(wanted), Intent::Break { reason: "lunch".into() });
        assert!(serde_json::from_str::<Wanted>(r#"{"state":"break"}"#).is_err(), "a break needs a reason");
        assert!(serde_json::from_str::<Wanted>(r#"{"state":"asleep"}"#).is_err());
    }
}
