//! `tandem model`: which version of the models judges which contacts, for the whole cluster.
//!
//! Files are placed on the nodes by whoever deploys; this chooses among them.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Failure, Remote,
    client::{Client, escape},
    output::{self, Format},
    scorecard,
};
use crate::ai::Models;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Versions, and what judges on each node
    List {
        #[arg(short, long, default_value = "table")]
        output: Format,
    },
    /// A version with its scorecards
    Show { version: String },
    /// Who changed the choice, when and why
    History {
        #[arg(short, long, default_value = "table")]
        output: Format,
    },
    /// Make the version in a folder known, with the scorecards recorded there; its files must be placed below every node's folder of models
    Stage { dir: PathBuf },
    /// Let a version judge some percent of contacts
    Canary {
        version: String,
        #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
        percent: u8,
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let a version whose scorecards pass judge all contacts
    Promote {
        version: String,
        /// Whatever its scorecards say, for this reason, which is kept
        #[arg(long, value_name = "REASON")]
        force: Option<String>,
        #[arg(long, default_value = "", conflicts_with = "force")]
        reason: String,
    },
    /// Put the canary away or, without one, go back to the version before
    Rollback {
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Forget a version that judges nobody
    Remove { version: String },
}

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const VERSIONS: [output::Column; 4] = [("VERSION", "/version"), ("STATE", "/state"), ("VERDICT", "/verdict"), ("SHA256", "/sha256")];
const NODES: [output::Column; 6] = [
    ("NODE", "/id"),
    ("CURRENT", "/models/current/version"),
    ("SHA256", "/models/current/sha256"),
    ("STANDS IN", "/models/current/stand_in"),
    ("CANARY", "/models/canary/version"),
    ("MISSING", "/models/missing"),
];
const CHANGES: [output::Column; 5] = [("REVISION", "/revision"), ("AT", "/at"), ("BY", "/by"), ("CHANGE", "/what"), ("REASON", "/reason")];

pub(super) fn run(remote: &Remote, command: &Command) -> Result<(), Failure> {
    let client = Client::new(remote);
    let about = |version: &str, rest: &str| format!("/api/v1/models/{}{rest}", escape(version));
    let choice = match command {
        Command::List { output } => return list(&client.get("/api/v1/models")?, *output),
        Command::Show { version } => {
            println!("{:#}", client.get(&about(version, ""))?);
            return Ok(());
        }
        Command::History { output } => {
            print!("{}", output::items(rows(&client.get("/api/v1/models")?, "history"), &CHANGES, *output));
            return Ok(());
        }
        Command::Stage { dir } => {
            let models = Models::load(dir).map_err(Failure::new)?;
            let body = json!({ "version": models.version(), "sha256": models.hash().to_string(), "scorecards": scorecard::recorded(dir)? });
            client.change("POST", "/api/v1/models", &JSON, &body.to_string())?
        }
        Command::Canary { version, percent, reason } => {
            client.change("POST", &about(version, "/canary"), &JSON, &json!({ "percent": percent, "reason": reason }).to_string())?
        }
        Command::Promote { version, force, reason } => {
            let body = json!({ "force": force.is_some(), "reason": force.as_ref().unwrap_or(reason) });
            client.change("POST", &about(version, "/promote"), &JSON, &body.to_string())?
        }
        Command::Rollback { reason } => client.change("POST", &about("rollback", ""), &JSON, &json!({ "reason": reason }).to_string())?,
        Command::Remove { version } => return client.change("DELETE", &about(version, ""), &[], "").map(drop),
    };
    print!("{}", told(&choice));
    Ok(())
}

fn rows<'a>(choice: &'a Value, of: &str) -> &'a [Value] {
    choice[of].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn list(choice: &Value, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        println!("{choice:#}");
        return Ok(());
    }
    print!("{}", told(choice));
    for (of, columns) in [("versions", &VERSIONS[..]), ("nodes", &NODES[..])] {
        print!("\n{}", output::items(rows(choice, of), columns, format));
    }
    Ok(())
}

/// The choice in a line or two.
fn told(choice: &Value) -> String {
    let name = |version: &Value| version.as_str().map_or_else(|| "as each node was started".to_owned(), str::to_owned);
    let canary = match choice["canary"]["version"].as_str() {
        Some(version) => format!("{version}, {} % of contacts", choice["canary"]["percent"]),
        None => "none".to_owned(),
    };
    let back = rows(choice, "before").last().map_or_else(|| "nothing".to_owned(), name);
    format!("current: {}\ncanary: {canary}\nbefore: {back}\n", name(&choice["current"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_told_in_words() {
        let began = json!({ "current": null, "canary": null, "before": [] });
        assert_eq!(told(&began), "current: as each node was started\ncanary: none\nbefore: nothing\n");
        let later = json!({ "current": "2", "canary": { "version": "3", "percent": 5 }, "before": [null] });
        assert_eq!(told(&later), "current: 2\ncanary: 3, 5 % of contacts\nbefore: as each node was started\n");
    }
}
