//! When a developer's cluster is ready: every partition has a leader, and every node knows the tenants.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::{Args, Folder, demo};
use crate::{
    cli::{Failure, Remote, client::Client},
    config::tenant,
};

/// Between two looks at the cluster.
const POLL: Duration = Duration::from_millis(50);

/// A tenant to publish, already checked.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    id: String,
    text: String,
    kind: &'static str,
}

/// Reads the tenants that the arguments name.
pub(super) fn tenants(args: &Args) -> Result<Vec<Tenant>, Failure> {
    let mut tenants = Vec::new();
    if let Some(path) = &args.tenant {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| Failure::new(e).of(&name))?;
        let json = path.extension().is_some_and(|extension| extension == "json");
        let read = if json { tenant::parse_json(&name, &text) } else { tenant::parse_toml(&name, &text) }?;
        tenants.push(Tenant { id: read.id.to_string(), text, kind: if json { "application/json" } else { "application/toml" } });
    }
    if args.demo {
        let text = demo::tenant(args);
        let read = tenant::parse_toml("demo.toml", &text)?;
        tenants.push(Tenant { id: read.id.to_string(), text, kind: "application/toml" });
    }
    Ok(tenants)
}

/// Waits for the cluster, publishes the tenants, waits for every node to know them; returns the ready line.
pub(super) async fn wait(args: &Args, folder: &Folder, tenants: Vec<Tenant>) -> Result<String, Failure> {
    let token = folder.token()?;
    for node in 1..=args.nodes {
        let remote = remote(args, &token, node);
        until(remote, |client| client.get_text("/readyz").map(drop)).await?;
    }
    for tenant in &tenants {
        let wanted = tenant.clone();
        until(remote(args, &token, 1), move |client| publish(client, &wanted)).await?;
    }
    for node in (1..=args.nodes).filter(|_| !tenants.is_empty()) {
        let ids: Vec<String> = tenants.iter().map(|tenant| tenant.id.clone()).collect();
        until(remote(args, &token, node), move |client| knows(client, &ids)).await?;
    }
    Ok(line(args, folder, &tenants))
}

fn remote(args: &Args, token: &str, node: u16) -> Remote {
    Remote { server: format!("http://127.0.0.1:{}", args.http(node)), token: Some(token.to_owned()), tenant: None }
}

/// Tries until it succeeds or is refused for a reason that no waiting mends.
async fn until(remote: Remote, attempt: impl Fn(&Client) -> Result<(), Failure> + Send + Sync + Clone + 'static) -> Result<(), Failure> {
    loop {
        let (remote, attempt) = (remote.clone(), attempt.clone());
        let tried = tokio::task::spawn_blocking(move || attempt(&Client::new(&remote))).await.map_err(Failure::new)?;
        match tried {
            Err(Failure::Unavailable(_) | Failure::Unknown(_)) => sleep(POLL).await,
            done => return done,
        }
    }
}

fn publish(client: &Client, tenant: &Tenant) -> Result<(), Failure> {
    client.change("PUT", &format!("/api/v1/tenants/{}", tenant.id), &[("content-type", tenant.kind)], &tenant.text).map(drop)
}

fn knows(client: &Client, ids: &[String]) -> Result<(), Failure> {
    let known = client.all("/api/v1/tenants", usize::MAX)?;
    let has = |id: &String| known.iter().any(|row| row.get("id").and_then(Value::as_str) == Some(id));
    if ids.iter().all(has) { Ok(()) } else { Err(Failure::Unavailable("a tenant is not known on every node yet".to_owned())) }
}

fn line(args: &Args, folder: &Folder, tenants: &[Tenant]) -> String {
    let list = |ports: &mut dyn Iterator<Item = u16>| ports.map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    let named: Vec<&str> = tenants.iter().map(|tenant| tenant.id.as_str()).collect();
    format!(
        "ready nodes={} sip=127.0.0.1:{} http=127.0.0.1:{} tenants={} data={} token={}",
        args.nodes,
        list(&mut args.data_nodes().map(|node| args.sip(node))),
        list(&mut (1..=args.nodes).map(|node| args.http(node))),
        if named.is_empty() { "-".to_owned() } else { named.join(",") },
        folder.path().display(),
        folder.token_file().display(),
    )
}
