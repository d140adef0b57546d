//! The row "attended transfer half-way": an agent asks another one while the caller hears music, and the node that carries all
//! three is killed. The two agents must go on hearing each other, and the consultation must end as it was meant to: the caller
//! talks with whom was asked.

use std::time::Instant;

use serde_json::json;

use super::{Cells, NODE, RESUMED_WITHIN, id_of, judge, stage};
use crate::{
    error::Error,
    phone::{By, Phone, State},
    survival::stage::{Pair, Stage},
    tenant,
};

/// A call whose agent asks a second one.
#[derive(Debug)]
pub(super) struct Consulted {
    id: String,
    pair: Pair,
    asked: Phone,
}

/// Whether the last voice a phone heard is this one's, and was heard after `since`.
fn hears(phone: &Phone, other: &Phone, since: Instant) -> bool {
    phone.heard(|heard| heard.heard_since(since) && heard.voices.last().is_some_and(|(_, voice)| *voice == other.voice()))
}

/// Lets the agent of each call ask one of `asked`, and waits until the two hear each other.
pub(super) fn begin(stage: &Stage, pairs: Vec<Pair>, asked: &[Phone]) -> Result<Vec<Consulted>, Error> {
    let rows = stage.lab.all(&format!("/api/v1/calls?tenant={}", tenant::TENANT))?;
    let mut begun = Vec::new();
    for (pair, asked) in pairs.into_iter().zip(asked) {
        let id = id_of(&rows, &pair.caller)?;
        let agent = asked.look(|ua| ua.options.user.clone());
        stage.lab.post(NODE, &path(&id, "consult"), &json!({ "agent": agent }))?;
        begun.push(Consulted { id, pair, asked: asked.clone() });
    }
    let since = Instant::now();
    for call in &begun {
        let talk = || hears(&call.pair.agent, &call.asked, since) && hears(&call.asked, &call.pair.agent, since);
        stage::await_that(since + stage::SETUP_WITHIN, talk)
            .ok_or_else(|| Error::Setup("two agents that consult do not hear each other".to_owned()))?;
    }
    Ok(begun)
}

fn path(call: &str, verb: &str) -> String {
    format!("/api/v1/calls/{call}/{verb}?tenant={}", tenant::TENANT)
}

/// Looks at each party after the node's death, completes the consultation and looks again. `survivors` take the command.
pub(super) fn look(cells: &mut Cells, state: usize, stage: &Stage, calls: &[Consulted], survivors: &[u16]) {
    for call in calls {
        let [caller, agent, asked] = judged(stage, call, survivors);
        for (side, what) in [("caller", caller), ("agent", agent), ("second agent", asked)] {
            cells.entry((state, side)).or_default().push(what);
        }
    }
}

fn judged(stage: &Stage, call: &Consulted, survivors: &[u16]) -> [Option<&'static str>; 3] {
    let Consulted { id, pair: Pair { caller, agent }, asked } = call;
    let (now, parties) = (Instant::now(), [caller, agent, asked]);
    let over = parties.map(|phone| (phone.state() != Some(State::Up)).then_some("the call is ended"));
    if over.iter().any(Option::is_some) {
        return over.map(|why| why.or(Some("another party is gone")));
    }
    let stays = parties.map(|phone| {
        let moved = phone.look(|ua| ua.call().is_some_and(|call| call.new_owners() > 0));
        (!moved).then_some("is not taken over")
    });
    let consults = stage::await_that(now + RESUMED_WITHIN, || hears(agent, asked, now) && hears(asked, agent, now));
    let talks = consults.is_none().then_some("the two agents do not hear each other");
    let music = caller.heard(|heard| heard.heard_since(now)).then_some("is not on hold any more");
    let completed = survivors.iter().any(|k| stage.lab.post(*k, &path(id, "consult/complete"), &json!({})).is_ok());
    let asked_at = Instant::now();
    let through = || hears(caller, asked, asked_at) && hears(asked, caller, asked_at);
    let whole = match completed.then(|| stage::await_that(asked_at + RESUMED_WITHIN, through)) {
        None => Some("the consultation cannot be completed"),
        Some(None) => Some("caller and second agent do not hear each other"),
        Some(Some(())) => judge::lost(&Pair { caller: caller.clone(), agent: asked.clone() }, Instant::now()),
    };
    let freed = agent.wait_state(State::Over(By::Them), RESUMED_WITHIN);
    [stays[0].or(music).or(whole), stays[1].or(talks).or((!freed).then_some("is not released")), stays[2].or(talks).or(whole)]
}
