//! An upgrade under load: a node that claims an older feature level, as an older binary would, serves among newer ones; then it is
//! upgraded as well, and the cluster's level is raised. Binary and level are the product's; only the claim is made.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;
use tandem_bench::error::Error;

use super::{Context, Injury, POLL, process::renewed_since, words};
use crate::state::{self, Undo};

/// What an older binary claims, and what it is upgraded to.
const OLD: u64 = 0;
const NEW: u64 = 1;
const LEVEL: &str = "/api/v1/feature-level";
const RENEWED_WITHIN: Duration = Duration::from_secs(40);

fn line() -> String {
    format!("feature_level_max = {OLD}")
}

pub(super) struct MixedVersions {
    nodes: Vec<u16>,
    dir: std::path::PathBuf,
    refused: Option<String>,
}

impl MixedVersions {
    pub(super) fn new(context: &Context, nodes: Vec<u16>) -> Result<Self, String> {
        let level = level(context, nodes[0]).map_err(|error| error.to_string())?;
        if level >= NEW {
            return Err(format!("the cluster behaves as of level {level} already: nobody older may come back"));
        }
        if nodes.len() >= context.members().len() {
            return Err("a mixed cluster has newer nodes as well".to_owned());
        }
        Ok(Self { nodes, dir: context.stage.lab.dir().to_path_buf(), refused: None })
    }

    fn config(&self, node: u16) -> std::path::PathBuf {
        self.dir.join(format!("node{node}.toml"))
    }

    /// Ends the nodes politely, one after the other, so that each reads its file anew.
    fn renew(&self, context: &Context) -> Result<(), Error> {
        let lab = &context.stage.lab;
        for node in &self.nodes {
            let before = lab.pid(*node);
            lab.signal(*node, Signal::TERM)?;
            let until = Instant::now() + RENEWED_WITHIN;
            while !renewed_since(context, *node, before) || !context.are_ready(&context.members()) {
                if Instant::now() > until {
                    return Err(Error::Missed(format!("node {node} did not come back from a polite end")));
                }
                thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// A member that is not one of the old ones.
    fn newer(&self, context: &Context) -> u16 {
        context.members().into_iter().find(|node| !self.nodes.contains(node)).expect("checked when the fault was prepared")
    }
}

fn level(context: &Context, node: u16) -> Result<u64, Error> {
    let answer = context.stage.lab.get(node, LEVEL)?;
    answer["level"].as_u64().ok_or_else(|| Error::Missed(format!("node {node} does not know the cluster's level")))
}

impl Injury for MixedVersions {
    fn targets(&self) -> String {
        words(&self.nodes)
    }

    fn undo(&self) -> Vec<Undo> {
        self.nodes.iter().map(|node| Undo::Line { file: self.config(*node), line: line() }).collect()
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        for node in &self.nodes {
            let (path, text) = (self.config(*node), fs::read_to_string(self.config(*node))?);
            fs::write(path, format!("{}\n{text}", line()))?;
        }
        self.renew(context)
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        let newer = self.newer(context);
        for row in context.stage.lab.all_from(newer, "/api/v1/nodes")? {
            let is_old = row["id"].as_u64().is_some_and(|id| self.nodes.iter().any(|node| u64::from(*node) == id));
            if row["feature_level"] != if is_old { OLD } else { NEW } {
                return Ok(None);
            }
        }
        if self.refused.is_none() {
            match context.stage.lab.post(newer, LEVEL, &json!({ "level": NEW })) {
                Err(Error::Http(text)) if text.contains("does not support") => self.refused = Some(text),
                Err(error) => return Err(error),
                Ok(_) => return Err(Error::Missed("a level that a node does not know was accepted".to_owned())),
            }
        }
        Ok(Some(format!("{} knows level {OLD} and the others {NEW}; raising the cluster's to {NEW} was refused", self.targets())))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        for node in &self.nodes {
            state::take_line(&self.config(*node), &line())?;
        }
        self.renew(context)?;
        context.stage.lab.post(self.newer(context), LEVEL, &json!({ "level": NEW })).map(drop)
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        let members = context.members();
        for node in &members {
            if level(context, *node)? != NEW {
                return Ok(false);
            }
        }
        Ok(context.are_ready(&members))
    }

    fn waits_for_evidence(&self) -> bool {
        true
    }
}
