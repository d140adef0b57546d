//! The client commands: each a request or two, and what is printed of the answer.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    Failure, Remote,
    client::{Client, escape},
    columns::Collection,
    output::{self, Format},
};
use crate::config::tenant;

#[derive(Debug, Args)]
pub(super) struct Get {
    what: Collection,
    #[arg(short, long, default_value = "table")]
    output: Format,
    /// Items at most
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// Read the node's own replica, without asking the leader
    #[arg(long)]
    stale: bool,
    /// Only this queue (calls, cdrs)
    #[arg(long)]
    queue: Option<String>,
    /// Only this state (agents, calls) or outcome (cdrs)
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn get(get: &Get) -> Result<(), Failure> {
    let mut path = format!("/api/v1/{}?stale={}", get.what.name(), get.stale);
    for (name, value) in [("tenant", &get.remote.tenant), ("queue", &get.queue), ("state", &get.state)] {
        if let Some(value) = value {
            path += &format!("&{name}={}", escape(value));
        }
    }
    let items = Client::new(&get.remote).all(&path, get.limit.max(1))?;
    print!("{}", output::items(&items, get.what.columns(), get.output));
    Ok(())
}

/// Publishes each file; those after the first mistake are not touched.
pub(super) fn apply(remote: &Remote, files: &[PathBuf], expect: Option<u64>) -> Result<(), Failure> {
    let client = Client::new(remote);
    // All files are read before any is sent, so that a mistake in the last leaves the first alone.
    let mut read = Vec::new();
    for path in files {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| Failure::new(format!("{name}: {e}")))?;
        let json = path.extension().is_some_and(|extension| extension == "json");
        let tenant = if json { tenant::parse_json(&name, &text) } else { tenant::parse_toml(&name, &text) }?;
        read.push((name, tenant.id.to_string(), text, if json { "application/json" } else { "application/toml" }));
    }
    let expect = expect.map(|version| format!("\"{version}\""));
    for (name, id, text, kind) in read {
        let mut headers = vec![("content-type", kind)];
        if let Some(expect) = &expect {
            headers.push(("if-match", expect));
        }
        let answer = client.change("PUT", &format!("/api/v1/tenants/{}", escape(&id)), &headers, &text).map_err(|e| e.of(&name))?;
        println!("{name}: tenant {id} is at version {}", answer["version"]);
    }
    Ok(())
}

pub(super) fn explain(remote: &Remote, call: &str, format: Format) -> Result<(), Failure> {
    let answer = Client::new(remote).get(&format!("/api/v1/calls/{}/explain{}", escape(call), tenant_query(remote)))?;
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&answer).map_err(Failure::new)?);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    println!("call {} of {}: {}", text(&answer["call_id"]), text(&answer["tenant"]), text(&answer["state"]));
    for decision in answer["text"].as_array().into_iter().flatten() {
        print!("{}", text(decision));
    }
    if answer["text"].as_array().is_none_or(Vec::is_empty) {
        println!("no decision was taken about it");
    }
    for attempt in answer["attempts"].as_array().into_iter().flatten() {
        println!("offered to {} at {}: {}", text(&attempt["agent"]), text(&attempt["offered_at"]), text(&attempt["result"]));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum AgentState {
    Available,
    Break,
    Offline,
    FinishWrapUp,
    ForceRelease,
}

pub(super) fn agent(remote: &Remote, id: &str, state: AgentState, reason: Option<&str>) -> Result<(), Failure> {
    let body = match state {
        AgentState::Available => json!({ "state": "available" }),
        AgentState::Break => json!({ "state": "break", "reason": reason.unwrap_or_default() }),
        AgentState::Offline => json!({ "state": "offline" }),
        AgentState::FinishWrapUp => json!({ "state": "finish_wrap_up" }),
        AgentState::ForceRelease => json!({ "state": "force_release" }),
    };
    let path = format!("/api/v1/agents/{}/state{}", escape(id), tenant_query(remote));
    Client::new(remote).change("POST", &path, &[("content-type", "application/json")], &body.to_string()).map(drop)
}

/// Where a call is to go.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct TransferTo {
    /// It waits there, at its own age
    #[arg(long)]
    queue: Option<String>,
    /// It is offered to this agent, who must be free
    #[arg(long)]
    agent: Option<String>,
    /// This number outside is called, if the tenant allows it
    #[arg(long)]
    number: Option<String>,
}

pub(super) fn transfer(remote: &Remote, call: &str, to: &TransferTo) -> Result<(), Failure> {
    let path = format!("/api/v1/calls/{}/transfer{}", escape(call), tenant_query(remote));
    let body = match (&to.queue, &to.agent) {
        (Some(queue), _) => json!({ "queue": queue }),
        (None, Some(agent)) => json!({ "agent": agent }),
        (None, None) => json!({ "number": to.number }),
    };
    Client::new(remote).change("POST", &path, &[("content-type", "application/json")], &body.to_string()).map(drop)
}

/// A consultation begins, or what becomes of it.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct ConsultWhat {
    /// Ask this agent, who must be free
    #[arg(long)]
    agent: Option<String>,
    /// Ask whoever is free in this queue
    #[arg(long)]
    queue: Option<String>,
    /// The one who was asked has the call from now on
    #[arg(long)]
    complete: bool,
    /// Let the one who was asked go
    #[arg(long)]
    cancel: bool,
    /// Let all three hear each other
    #[arg(long)]
    join: bool,
}

pub(super) fn consult(remote: &Remote, call: &str, what: &ConsultWhat) -> Result<(), Failure> {
    let steps = [(what.complete, "/complete"), (what.cancel, "/cancel"), (what.join, "/join")];
    let step = steps.into_iter().find_map(|(wanted, step)| wanted.then_some(step)).unwrap_or_default();
    let body = match (&what.queue, &what.agent) {
        (Some(queue), _) => json!({ "queue": queue }).to_string(),
        (None, Some(agent)) => json!({ "agent": agent }).to_string(),
        (None, None) => String::new(),
    };
    let path = format!("/api/v1/calls/{}/consult{step}{}", escape(call), tenant_query(remote));
    let headers: &[_] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
    Client::new(remote).change("POST", &path, headers, &body).map(drop)
}

pub(super) fn hangup(remote: &Remote, call: &str) -> Result<(), Failure> {
    let path = format!("/api/v1/calls/{}{}", escape(call), tenant_query(remote));
    Client::new(remote).change("DELETE", &path, &[], "").map(drop)
}

/// Of the tenant named, or of the only one there is.
pub(super) fn erase(remote: &Remote, subject: &str) -> Result<(), Failure> {
    let client = Client::new(remote);
    let tenant = match &remote.tenant {
        Some(tenant) => tenant.clone(),
        None => match client.all("/api/v1/tenants", 2)?.as_slice() {
            [only] => only["id"].as_str().unwrap_or_default().to_owned(),
            _ => return Err(Failure::new("name the tenant with --tenant")),
        },
    };
    let path = format!("/api/v1/tenants/{}/erasures", escape(&tenant));
    client.change("POST", &path, &[("content-type", "application/json")], &json!({ "subject": subject }).to_string())?;
    println!("tenant {tenant}: erased; what was recorded of this caller so far can no longer be read");
    Ok(())
}

pub(super) fn drain(remote: &Remote, node: u64, undo: bool) -> Result<(), Failure> {
    let method = if undo { "DELETE" } else { "POST" };
    Client::new(remote).change(method, &format!("/api/v1/nodes/{node}/drain"), &[], "")?;
    println!("node {node} {}", if undo { "takes calls again" } else { "drains" });
    Ok(())
}

pub(super) fn join(remote: &Remote, id: u64, addr: SocketAddr, witness: bool) -> Result<(), Failure> {
    let body = json!({ "id": id, "addr": addr, "witness": witness }).to_string();
    Client::new(remote).change("POST", "/api/v1/nodes", &[("content-type", "application/json")], &body)?;
    println!("node {id} is admitted; replicas move to it in the background (`tandem get partitions`)");
    Ok(())
}

pub(super) fn leave(remote: &Remote, node: u64) -> Result<(), Failure> {
    Client::new(remote).change("DELETE", &format!("/api/v1/nodes/{node}"), &[], "")?;
    println!("node {node} leaves; its replicas move in the background (`tandem get partitions`)");
    Ok(())
}

pub(super) fn feature_level(remote: &Remote, raise: Option<u32>) -> Result<(), Failure> {
    let (client, path) = (Client::new(remote), "/api/v1/feature-level");
    if let Some(level) = raise {
        client.change("POST", path, &[("content-type", "application/json")], &json!({ "level": level }).to_string())?;
        println!("the cluster behaves as of feature level {level}");
        return Ok(());
    }
    println!("the cluster behaves as of feature level {}", client.get(path)?["level"]);
    for node in client.all("/api/v1/nodes", 100)? {
        println!("  node {} knows up to {}", node["id"], node["feature_level"]);
    }
    Ok(())
}

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token; it is shown once
    Create {
        #[arg(long)]
        role: crate::api::access::Role,
        /// The agent it speaks for (role agent)
        #[arg(long)]
        agent: Option<String>,
    },
    /// List tokens by name
    List {
        #[arg(short, long, default_value = "table")]
        output: Format,
    },
    /// Make a token invalid
    Revoke { id: String },
}

pub(super) fn token(remote: &Remote, command: &Token) -> Result<(), Failure> {
    let client = Client::new(remote);
    match command {
        Token::Create { role, agent } => {
            let body = json!({ "role": role, "agent": agent, "tenant": remote.tenant }).to_string();
            let made = client.change("POST", "/api/v1/tokens", &[("content-type", "application/json")], &body)?;
            println!("{}", made["token"].as_str().unwrap_or_default());
        }
        Token::List { output } => {
            let columns = [("TOKEN", "/id"), ("ROLE", "/role"), ("TENANT", "/tenant"), ("AGENT", "/agent")];
            print!("{}", output::items(&client.all("/api/v1/tokens", usize::MAX)?, &columns, *output));
        }
        Token::Revoke { id } => drop(client.change("DELETE", &format!("/api/v1/tokens/{}", escape(id)), &[], "")?),
    }
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct Events {
    /// A type such as contact.queued, or a family such as contact.
    #[arg(long = "type")]
    kind: Option<String>,
    #[arg(long)]
    queue: Option<String>,
    #[arg(long)]
    agent: Option<String>,
    #[arg(long)]
    call: Option<String>,
    /// Go on after this event
    #[arg(long)]
    after: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Prints each event as a line of JSON; a broken stream is taken up again where it broke.
pub(super) fn events(events: &Events) -> Result<(), Failure> {
    use std::io::Write as _;
    let filters = [
        ("tenant", &events.remote.tenant),
        ("type", &events.kind),
        ("queue", &events.queue),
        ("agent", &events.agent),
        ("call", &events.call),
    ];
    let query: Vec<String> = filters.iter().filter_map(|(name, value)| Some(format!("{name}={}", escape(value.as_deref()?)))).collect();
    let path = format!("/api/v1/events?{}", query.join("&"));
    let client = Client::new(&events.remote);
    let mut last = events.after.clone();
    loop {
        let header = last.clone();
        let headers: Vec<(&str, &str)> = header.iter().map(|id| ("last-event-id", id.as_str())).collect();
        for line in client.lines(&path, &headers)? {
            if let Some(id) = line.strip_prefix("id:") {
                last = Some(id.trim().to_owned());
            } else if let Some(data) = line.strip_prefix("data:")
                && writeln!(std::io::stdout(), "{}", data.trim()).is_err()
            {
                // The reader of our output went away, as `head` does.
                return Ok(());
            }
        }
        eprintln!("tandem: the stream ended; taking it up again");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

pub(super) fn tenant_query(remote: &Remote) -> String {
    remote.tenant.as_deref().map_or_else(String::new, |tenant| format!("?tenant={}", escape(tenant)))
}
