//! `tandem takeover`: people in place of AI agents, for one contact or for all of a queue, a tenant or the cluster.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failure, Remote,
    client::{Client, escape},
    commands::tenant_query,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// A person is to have this contact; the AI agent that has it is silent at once
    Call {
        call: String,
        /// The queue of people it waits in; as its own queue says otherwise
        #[arg(long)]
        queue: Option<String>,
        /// The customer asked for it: no AI agent gets it again
        #[arg(long)]
        asked: bool,
    },
    /// AI off for a queue, or on again
    Queue {
        queue: String,
        #[command(flatten)]
        switch: Switch,
    },
    /// AI off for the tenant, or on again
    Tenant {
        tenant: String,
        #[command(flatten)]
        switch: Switch,
    },
    /// AI off in the whole cluster, or on again
    Cluster {
        #[command(flatten)]
        switch: Switch,
    },
    /// Give a contact that a person has to an AI agent
    Back { call: String, agent: String },
    /// Who has the contacts, and where AI is off
    Status,
    /// What was said in a live contact
    Transcript { call: String },
}

#[derive(Debug, Args)]
pub(super) struct Switch {
    /// AI on again
    #[arg(long)]
    on: bool,
    /// Say what would be moved, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[arg(long, default_value = "")]
    reason: String,
}

impl Switch {
    fn body(&self) -> String {
        json!({ "off": !self.on, "reason": self.reason }).to_string()
    }

    /// With `?dry_run=` added to what the path asks already.
    fn path(&self, path: String) -> String {
        let joint = if path.contains('?') { '&' } else { '?' };
        if self.dry_run { format!("{path}{joint}dry_run=true") } else { path }
    }
}

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

pub(super) fn run(remote: &Remote, command: &Command) -> Result<(), Failure> {
    let (client, tenant) = (Client::new(remote), tenant_query(remote));
    let found = match command {
        Command::Call { call, queue, asked } => {
            let cause = if *asked { "asked" } else { "supervisor" };
            let path = format!("/api/v1/calls/{}/takeover{tenant}", escape(call));
            return client.change("POST", &path, &JSON, &json!({ "queue": queue, "cause": cause }).to_string()).map(drop);
        }
        Command::Back { call, agent } => {
            let path = format!("/api/v1/calls/{}/transfer{tenant}", escape(call));
            return client.change("POST", &path, &JSON, &json!({ "agent": agent }).to_string()).map(drop);
        }
        Command::Queue { queue, switch } => {
            let path = switch.path(format!("/api/v1/queues/{}/ai{tenant}", escape(queue)));
            client.change("POST", &path, &JSON, &switch.body())?
        }
        Command::Tenant { tenant, switch } => {
            client.change("POST", &switch.path(format!("/api/v1/tenants/{}/ai", escape(tenant))), &JSON, &switch.body())?
        }
        Command::Cluster { switch } => client.change("POST", &switch.path("/api/v1/ai".to_owned()), &JSON, &switch.body())?,
        Command::Status => client.get(&format!("/api/v1/ai{tenant}"))?,
        Command::Transcript { call } => return transcript(&client.get(&format!("/api/v1/calls/{}/transcript{tenant}", escape(call)))?),
    };
    println!("{found:#}");
    Ok(())
}

fn transcript(lines: &Value) -> Result<(), Failure> {
    for line in lines.as_array().into_iter().flatten() {
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        println!("{} {}: {}", text("at"), text("who"), text("text"));
    }
    Ok(())
}
