//! Members that come and go, by the product's own command line.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tandem_bench::error::Error;

use super::{Context, Injury, POLL, words};

const VOTERS_WITHIN: Duration = Duration::from_secs(60);

/// Nodes that run and are no members.
pub(super) fn spares(context: &Context) -> Vec<u16> {
    let (members, founders) = (context.members(), context.experiment.cluster.nodes);
    (founders + 1..=context.stage.lab.nodes()).filter(|k| !members.contains(k)).collect()
}

/// True once exactly these vote in every partition, and each partition has a leader.
pub(super) fn are_voters(context: &Context, wanted: &[u16]) -> bool {
    let Some(asked) = wanted.iter().find(|k| context.stage.lab.ready(**k)) else { return false };
    let voters = |row: &Value| -> Vec<u16> {
        row["voters"].as_array().into_iter().flatten().filter_map(|id| u16::try_from(id.as_u64()?).ok()).collect()
    };
    let rows = context.stage.lab.all_from(*asked, "/api/v1/partitions");
    rows.is_ok_and(|rows| !rows.is_empty() && rows.iter().all(|row| voters(row) == wanted && row["leader"].is_u64()))
}

fn await_voters(context: &Context, wanted: &[u16]) -> Result<(), Error> {
    let until = Instant::now() + VOTERS_WITHIN;
    while !are_voters(context, wanted) {
        if Instant::now() > until {
            return Err(Error::Missed(format!("{} do not all vote in every partition", words(wanted))));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// `leaving` leave and `joining` join, in this order; the members are then others.
pub(super) fn replace(context: &Context, leaving: &[u16], joining: &[u16]) -> Result<(), Error> {
    let lab = &context.stage.lab;
    let mut members = context.members();
    members.retain(|k| !leaving.contains(k));
    let by = *members.first().ok_or_else(|| Error::Setup("nobody would be left".to_owned()))?;
    for node in leaving {
        lab.cli(by, &["leave", &node.to_string()])?;
    }
    for node in joining {
        lab.cli(by, &["join", "--id", &node.to_string(), "--addr", &lab.cluster(*node)])?;
    }
    members.extend(joining);
    members.sort_unstable();
    (*context.members.lock()).clone_from(&members);
    context.state.lock().http = members.iter().map(|k| lab.url(*k, "")).collect();
    Ok(())
}

/// Every spare joins, then as many of the others leave; the first member stays.
pub(super) struct Churn {
    joining: Vec<u16>,
    leaving: Vec<u16>,
    grown: bool,
}

impl Churn {
    pub(super) fn new(context: &Context) -> Result<Self, String> {
        let joining = spares(context);
        if joining.is_empty() {
            return Err("no spare is left to join (`cluster.spare`)".to_owned());
        }
        let leaving = context.members().into_iter().skip(1).take(joining.len()).collect();
        Ok(Self { joining, leaving, grown: false })
    }
}

impl Injury for Churn {
    fn targets(&self) -> String {
        format!("{} join, {} leave", words(&self.joining), words(&self.leaving))
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        replace(context, &[], &self.joining)?;
        await_voters(context, &context.members())?;
        self.grown = true;
        Ok(())
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        Ok(self.grown.then(|| format!("{} vote in every partition", words(&context.members()))))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        replace(context, &self.leaving, &[])?;
        await_voters(context, &context.members())
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        Ok(context.are_ready(&context.members()))
    }
}
