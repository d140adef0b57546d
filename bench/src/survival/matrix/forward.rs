//! The row "sent on to a number outside": the agent is out of the call and the caller talks with a number over a trunk, and the
//! node that carries both legs is killed. The two must go on hearing each other.

use std::time::Instant;

use serde_json::json;

use super::{Cells, NODE, id_of, judge, stage};
use crate::{
    error::Error,
    phone::{Phone, State},
    survival::stage::{Pair, Stage},
    tenant,
};

/// Sends each call on to one of `numbers`, and waits until caller and number hear each other. Returns the caller with its number.
pub(super) fn begin(stage: &Stage, pairs: Vec<Pair>, numbers: &[Phone]) -> Result<Vec<Pair>, Error> {
    let rows = stage.lab.all(&format!("/api/v1/calls?tenant={}", tenant::TENANT))?;
    let mut sent = Vec::new();
    for (Pair { caller, .. }, number) in pairs.into_iter().zip(numbers) {
        let (id, to) = (id_of(&rows, &caller)?, number.look(|ua| ua.options.user.clone()));
        stage.lab.post(NODE, &format!("/api/v1/calls/{id}/transfer?tenant={}", tenant::TENANT), &json!({ "number": to }))?;
        sent.push(Pair { caller, agent: number.clone() });
    }
    let since = Instant::now();
    for pair in &sent {
        let talk = || pair.agent.state() == Some(State::Up) && judge::lost(pair, Instant::now()).is_none();
        stage::await_that(since + stage::SETUP_WITHIN, talk)
            .ok_or_else(|| Error::Setup("a caller and the number it was sent on to do not hear each other".to_owned()))?;
    }
    Ok(sent)
}

/// Judges each call after the node's death.
pub(super) fn look(cells: &mut Cells, state: usize, sent: &[Pair]) {
    for pair in sent {
        let lost = judge::lost(pair, Instant::now());
        for (side, phone) in [("caller", &pair.caller), ("number", &pair.agent)] {
            cells.entry((state, side)).or_default().push(super::side(phone, lost));
        }
    }
}
