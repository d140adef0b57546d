//! The row "callback scheduled": callers wait, give up the phone and keep their place, and the node that had their calls is
//! killed. When agents come to work each customer must be called once, over a trunk, and talk.

use std::time::Instant;

use serde_json::json;

use super::{Cells, NODE, SERVED_WITHIN, id_of, stage};
use crate::{
    error::Error,
    phone::{By, Phone, State},
    survival::stage::{Pair, Stage},
    tenant,
};

/// Lets callers who wait be called back instead, and waits until their phones are free.
pub(super) fn begin(stage: &Stage, callers: &[Phone]) -> Result<(), Error> {
    let rows = stage.lab.all(&format!("/api/v1/calls?tenant={}", tenant::TENANT))?;
    for caller in callers {
        let id = id_of(&rows, caller)?;
        stage.lab.post(NODE, &format!("/api/v1/calls/{id}/callback?tenant={}", tenant::TENANT), &json!({}))?;
        if !caller.wait_state(State::Over(By::Refused(480)), SERVED_WITHIN) {
            return Err(Error::Setup(format!("a caller is not let go for its callback: {:?}", caller.state())));
        }
        caller.listen_anew();
    }
    Ok(())
}

/// Judges each customer once agents are there.
pub(super) fn look(cells: &mut Cells, state: usize, callers: &[Phone], agents: &[Phone]) {
    let until = Instant::now() + SERVED_WITHIN;
    let talks = |phone: &Phone| phone.state() == Some(State::Up) && phone.heard(|heard| heard.voiced > 0);
    for caller in callers {
        let _ = stage::await_that(until, || talks(caller));
        let calls = caller.look(|ua| ua.calls.len());
        let why = match caller.state() {
            _ if calls > 2 => Some("is called twice"),
            _ if talks(caller) => None,
            _ if calls < 2 => Some("is not called"),
            Some(State::Up) => Some("answered and hears nothing"),
            _ => Some("the call is ended"),
        };
        cells.entry((state, "caller")).or_default().push(why);
    }
    let paired: Vec<Pair> = stage::pairs(callers, agents).unwrap_or_default();
    for agent in agents {
        let _ = stage::await_that(until, || talks(agent));
        let has = paired.iter().any(|pair| pair.agent.voice() == agent.voice());
        let why = match talks(agent) {
            true if has => None,
            true => Some("talks with nobody of the row"),
            false => Some("does not hear the customer"),
        };
        cells.entry((state, "agent")).or_default().push(why);
    }
}
