//! Faults that nodes bring about in themselves when an administrator asks them to (`POST /api/v1/drills`): live actors of the
//! tagged tenant that panic or hang, and a wall clock that is wrong.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tandem_bench::{error::Error, tenant::TENANT};

use super::{Context, Injury, words};
use crate::{experiment::Fault, state::Undo};

fn path(node: u16) -> String {
    format!("/api/v1/drills?node={node}")
}

/// Asks node `node` for a drill of its own.
pub(super) fn post(context: &Context, node: u16, what: &Value) -> Result<Value, Error> {
    context.stage.lab.post(node, &path(node), what)
}

/// How somebody else calls a drill of `node` off.
pub(super) fn undo(context: &Context, node: u16, what: &Value) -> Undo {
    Undo::Drill { url: context.stage.lab.url(node, &path(node)), body: what.to_string() }
}

/// Panics in live actors of every node.
pub(super) struct ActorCrash {
    actor: String,
    hit: u64,
}

impl ActorCrash {
    pub(super) fn new(fault: &Fault) -> Self {
        Self { actor: fault.actor.clone(), hit: 0 }
    }

    fn crash(&mut self, context: &Context) -> Result<(), Error> {
        for node in context.members() {
            let done = post(context, node, &json!({ "kind": "crash", "actor": self.actor, "every": true, "tenant": TENANT }))?;
            self.hit += done["hit"].as_u64().unwrap_or(0);
        }
        Ok(())
    }
}

impl Injury for ActorCrash {
    fn targets(&self) -> String {
        format!("every {} actor of the tenant on every node", self.actor)
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.crash(context)
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        if self.hit == 0 {
            // None was alive just then.
            self.crash(context)?;
        }
        Ok((self.hit > 0).then(|| format!("{} actors panicked", self.hit)))
    }

    fn heal(&mut self, _: &Context) -> Result<(), Error> {
        Ok(())
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(context.are_ready(&context.members()))
    }

    fn waits_for_evidence(&self) -> bool {
        true
    }
}

/// Live actors that take no message any more. Healed is what the nodes do about it: find and replace them.
pub(super) struct StuckActor {
    actor: String,
    hit: u64,
    /// Restarts of such actors before, over all nodes.
    before: u64,
}

/// Far longer than a node lets an actor hang.
const HANG_MS: u64 = 300_000;

impl StuckActor {
    pub(super) fn new(fault: &Fault) -> Self {
        Self { actor: fault.actor.clone(), hit: 0, before: 0 }
    }

    /// Actors of the kind that were replaced so far.
    fn restarts(&self, context: &Context) -> Result<u64, Error> {
        let of = |node: u16| -> Result<u64, Error> {
            let row = context.stage.lab.get(node, &format!("/api/v1/nodes/{node}"))?;
            let restarts = row["actors"]["restarts"][&self.actor].as_u64();
            restarts.ok_or_else(|| Error::Missed(format!("node {node} does not say how many actors it restarted")))
        };
        context.members().into_iter().map(of).sum()
    }

    fn hang(&mut self, context: &Context) -> Result<(), Error> {
        for node in context.members() {
            let what = json!({ "kind": "hang", "actor": self.actor, "every": true, "tenant": TENANT, "for_ms": HANG_MS });
            self.hit += post(context, node, &what)?["hit"].as_u64().unwrap_or(0);
        }
        Ok(())
    }
}

impl Injury for StuckActor {
    fn targets(&self) -> String {
        format!("every {} actor of the tenant on every node", self.actor)
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.before = self.restarts(context)?;
        self.hang(context)
    }

    /// An actor hangs over the next message; that it did is what the node found when it replaced it.
    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        if self.hit == 0 {
            // None was alive just then.
            self.hang(context)?;
        }
        let replaced = self.restarts(context)? - self.before;
        Ok((self.hit > 0 && replaced >= self.hit).then(|| format!("{} actors hung, {replaced} were replaced", self.hit)))
    }

    fn heal(&mut self, _: &Context) -> Result<(), Error> {
        Ok(())
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(self.restarts(context)? >= self.before + self.hit && context.are_ready(&context.members()))
    }

    fn waits_for_evidence(&self) -> bool {
        true
    }
}

/// A wall clock that jumps, and jumps back. Monotonic time goes on as it should.
pub(super) struct Clock {
    nodes: Vec<u16>,
    ahead_s: i64,
    undo: Vec<Undo>,
}

/// A node's clock read over HTTP may differ by this from the tool's though both are right, milliseconds.
const CLOCK_NEAR_MS: i64 = 5_000;

impl Clock {
    pub(super) fn new(context: &Context, nodes: Vec<u16>, ahead_s: i64) -> Self {
        let undo = nodes.iter().map(|node| undo(context, *node, &json!({ "kind": "clock", "ahead_ms": 0 }))).collect();
        Self { nodes, ahead_s, undo }
    }

    fn set(&self, context: &Context, ahead_s: i64) -> Result<(), Error> {
        let what = json!({ "kind": "clock", "ahead_ms": ahead_s * 1000 });
        self.nodes.iter().try_for_each(|node| post(context, *node, &what).map(drop))
    }

    /// How far each node's clock is ahead of ours, milliseconds.
    fn ahead_ms(&self, context: &Context) -> Result<Vec<i64>, Error> {
        let of = |node: &u16| -> Result<i64, Error> {
            let row = context.stage.lab.get(*node, &format!("/api/v1/nodes/{node}"))?;
            let theirs = row["wall_ms"].as_i64().ok_or_else(|| Error::Missed(format!("node {node} does not tell the time")))?;
            let ours = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
            Ok(theirs - ours)
        };
        self.nodes.iter().map(of).collect()
    }

    fn are_ahead(&self, context: &Context, ahead_s: i64) -> Result<bool, Error> {
        let near = |ahead: &i64| (ahead - ahead_s * 1000).abs() <= CLOCK_NEAR_MS;
        Ok(self.ahead_ms(context)?.iter().all(near))
    }
}

impl Injury for Clock {
    fn targets(&self) -> String {
        words(&self.nodes)
    }

    fn undo(&self) -> Vec<Undo> {
        self.undo.clone()
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.set(context, self.ahead_s)
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        let jumped = self.are_ahead(context, self.ahead_s)?;
        Ok(jumped.then(|| format!("its clock, read over its API, is {} s from ours", self.ahead_s)))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        self.set(context, 0)
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(self.are_ahead(context, 0)? && context.are_ready(&context.members()))
    }
}
