//! A new leader compares the legs its state has with those the edges have, and reports the ones that are gone.
//!
//! What the state wants and an edge lacks is an open order and was already handed out; this is the other direction.

use std::{collections::BTreeMap, sync::Arc};

use ractor::ActorRef;
use tandem_cluster::Token;

use super::Message;
use crate::{
    actor::{
        lane,
        limits::{LEGS_PER_QUESTION_MAX, RECONCILE_PAUSE},
        machine::{Replica, encode},
        shared::{Job, Shared},
        wire::{Address, Answer, Question},
    },
    core::{
        Command, State,
        command::{Envelope, HangUpCause, LegEvent, LegReport},
        id::{DomainId, Edge, LegId},
    },
};

/// Begins the comparison. It ends by itself when another leads.
pub(super) fn start(shared: Arc<Shared>, replica: Arc<Replica>, partition: ActorRef<Message>, token: Token) {
    tokio::spawn(async move {
        let legs = legs(&replica.state.read());
        for (edge, legs) in legs {
            tokio::spawn(compare(Arc::clone(&shared), Arc::clone(&replica), partition.clone(), token, edge, legs));
        }
    });
}

/// The legs each edge should have: every caller, and every leg that was called whose edge has said something of it.
fn legs(state: &State) -> BTreeMap<Edge, Vec<(DomainId, LegId)>> {
    let mut found: BTreeMap<Edge, Vec<(DomainId, LegId)>> = BTreeMap::new();
    for (domain, rows) in state.domains() {
        // No edge has a leg of a chat.
        for call in rows.calls().values().filter(|call| call.chat.is_none()) {
            let known = call.legs.iter().filter(|(_, leg)| leg.order.is_none()).map(|(n, _)| *n);
            let heard = !call.is_to_be_called_back() || call.caller.order.is_none();
            let line = call.line().filter(|line| line.order.is_none()).map(|line| line.n);
            let legs = call.caller_leg().filter(|_| heard).into_iter().chain(known).chain(line).map(|n| (domain.clone(), call.leg_id(n)));
            found.entry(call.edge).or_default().extend(legs);
        }
    }
    found
}

async fn compare(
    shared: Arc<Shared>,
    replica: Arc<Replica>,
    partition: ActorRef<Message>,
    token: Token,
    edge: Edge,
    legs: Vec<(DomainId, LegId)>,
) {
    for chunk in legs.chunks(LEGS_PER_QUESTION_MAX) {
        let mut suspects: Vec<LegId> = chunk.iter().map(|(_, leg)| *leg).collect();
        // Twice: a leg may have been on its way, or its end.
        for _ in 0..2 {
            if suspects.is_empty() || replica.leading() != Some(token) {
                break;
            }
            let Some(missing) = missing(&shared, edge, suspects).await else { return };
            suspects = missing;
            if !suspects.is_empty() {
                tokio::time::sleep(RECONCILE_PAUSE).await;
            }
        }
        for (domain, leg) in chunk.iter().filter(|(_, leg)| suspects.contains(leg)) {
            tracing::warn!(%leg, ?edge, "its edge has lost this leg");
            let event = LegEvent::HungUp { cause: HangUpCause::EdgeFault };
            // The last number there is: nothing more can come of a leg that is gone.
            let report = LegReport { domain: domain.clone(), leg: *leg, edge, seq: u32::MAX, event };
            let envelope = Envelope { request: None, command: Command::Leg(Box::new(report)) };
            let (job, _) = Job::new(encode(&envelope));
            partition.cast(Message::Commit(Address::Call(domain.clone(), leg.call), job)).ok();
        }
    }
}

/// Which of these legs an edge lacks; `None` when it does not say.
async fn missing(shared: &Shared, edge: Edge, legs: Vec<LegId>) -> Option<Vec<LegId>> {
    if edge == shared.me() {
        return Some(shared.edge.missing(legs).await);
    }
    let alive = shared.cluster.nodes().borrow().get(&edge.node.0).is_some_and(|row| row.incarnation == edge.incarnation);
    if !alive {
        return None;
    }
    match shared.lanes.ask(edge.node.0, lane::Kind::Orders, Question::Missing(legs)).await {
        Ok(Answer::Missing(legs)) => Some(legs),
        _ => None,
    }
}
