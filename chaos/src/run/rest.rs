//! At rest: what the cluster kept, and whether all members agree.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tandem_bench::{error::Error, settle, tenant::TENANT};

use super::{Context, agents, bystanders};
use crate::history::{Op, Phase};

/// Archives may take this long to agree once no call is left.
const AGREE_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(250);

/// What a node believes of a group: group, leader, term.
type Belief = (u32, Option<u64>, u64);

/// Waits for rest and records it.
pub(super) fn look(context: &Context) {
    let note = |client: &str, object: &str, op: Op| context.recorder.add(client, object, Phase::Ok, op);
    match settle::records_or_so(&context.stage.lab, 1) {
        Ok(cdrs) => cdrs.iter().for_each(|cdr| note("cluster", cdr["call_id"].as_str().unwrap_or_default(), record(TENANT, cdr))),
        Err(error) => note("tool", "cdrs", Op::Gap { of: "cdrs".into(), why: error.to_string() }),
    }
    if !context.bystanders.is_empty() {
        match bystanders::records(&context.stage.lab) {
            Ok(cdrs) => {
                let of = bystanders::TENANT;
                cdrs.iter().for_each(|cdr| note("cluster", cdr["call_id"].as_str().unwrap_or_default(), record(of, cdr)));
            }
            Err(error) => note("tool", "cdrs", Op::Gap { of: "cdrs".into(), why: error.to_string() }),
        }
    }
    agents::rest(context);
    let members = context.members();
    let until = Instant::now() + AGREE_WITHIN;
    let mut heads = archives(context, &members);
    while !agree(&heads) && Instant::now() < until {
        thread::sleep(LOOK);
        heads = archives(context, &members);
    }
    for (node, heads) in members.iter().zip(heads) {
        match heads {
            Ok(heads) => note(&format!("node{node}"), "archive", Op::Archive { node: *node, heads }),
            Err(error) => note("tool", "archives", Op::Gap { of: "archives".into(), why: format!("node {node}: {error}") }),
        }
    }
    for node in members {
        let groups = groups(context, node).unwrap_or_default();
        note(&format!("node{node}"), "cluster", Op::Rest { node, ready: context.stage.lab.ready(node), groups });
    }
    let of_tenant = |tenant: &str| context.stage.lab.all(&format!("/api/v1/agents?tenant={tenant}")).unwrap_or_default();
    let others = if context.bystanders.is_empty() { Vec::new() } else { of_tenant(bystanders::TENANT) };
    for agent in of_tenant(TENANT).iter().chain(&others) {
        let id = agent["id"].as_str().unwrap_or_default();
        let contacts = agent["contacts"].as_array().map_or(0, Vec::len);
        note("cluster", id, Op::AgentRest { state: agent["state"].as_str().unwrap_or_default().to_owned(), contacts });
    }
}

fn record(tenant: &str, cdr: &Value) -> Op {
    let text = |key: &str| cdr[key].as_str().unwrap_or_default().to_owned();
    let agent = cdr["agent"].as_str().map(str::to_owned);
    Op::Cdr {
        tenant: tenant.to_owned(),
        call: text("call_id"),
        from: text("from"),
        outcome: text("outcome"),
        end_reason: text("end_reason"),
        agent,
    }
}

/// What node `node` itself believes.
pub(super) fn groups(context: &Context, node: u16) -> Result<Vec<Belief>, Error> {
    let row = |row: &Value| Some((u32::try_from(row["group"].as_u64()?).ok()?, row["leader"].as_u64(), row["term"].as_u64()?));
    Ok(partitions(context, node)?.iter().filter_map(row).collect())
}

type Heads = Vec<(u32, u64, String)>;

fn archives(context: &Context, members: &[u16]) -> Vec<Result<Heads, Error>> {
    let head = |row: &Value| {
        let archive = row["archive"].as_object()?;
        Some((u32::try_from(row["group"].as_u64()?).ok()?, archive["records"].as_u64()?, archive["hash"].as_str()?.to_owned()))
    };
    members.iter().map(|node| Ok(partitions(context, *node)?.iter().filter_map(head).collect())).collect()
}

fn agree(heads: &[Result<Heads, Error>]) -> bool {
    let Some(Ok(first)) = heads.first() else { return false };
    heads.iter().all(|heads| heads.as_ref().is_ok_and(|heads| heads == first))
}

fn partitions(context: &Context, node: u16) -> Result<Vec<Value>, Error> {
    context.stage.lab.all_from(node, "/api/v1/partitions?stale=true")
}
