//! Reports of this node's edge on their way to the leader: in order per call, tried until committed or given up.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use tokio::time::sleep;

use super::{
    limits::{REPORT_WITHIN, REPORTS_WAITING_MAX, RETRY_PAUSE},
    shared::Shared,
    wire::{Answer, Ask},
};
use crate::core::{command::LegReport, id::CallId};

/// Queues a report; the first of a call starts its courier.
pub(super) fn report(shared: &Arc<Shared>, report: LegReport) {
    let call = report.leg.call;
    let mut waiting = shared.reports.lock();
    if waiting.len() >= REPORTS_WAITING_MAX && !waiting.contains_key(&call) {
        tracing::error!(%call, "too many calls wait for a leader; a report is dropped and the call will end by its deadline");
        metrics::counter!("reports_dropped_total").increment(1);
        return;
    }
    let started = waiting.contains_key(&call);
    waiting.entry(call).or_default().push_back(report);
    if !started {
        tokio::spawn(courier(Arc::clone(shared), call));
    }
}

async fn courier(shared: Arc<Shared>, call: CallId) {
    loop {
        let next = {
            let mut waiting = shared.reports.lock();
            let next = waiting.get_mut(&call).and_then(VecDeque::pop_front);
            if next.is_none() {
                waiting.remove(&call);
            }
            next
        };
        let Some(report) = next else { return };
        deliver(&shared, report).await;
    }
}

async fn deliver(shared: &Shared, report: LegReport) {
    let give_up = Instant::now() + REPORT_WITHIN;
    let domain = report.domain.clone();
    let Some(group) = shared.cluster.group_of(domain.as_str()) else { return };
    let ask = Ask::Report { group, report: Box::new(report) };
    while Instant::now() < give_up {
        if let Some(leader) = shared.cluster.leader(group) {
            // Reports are numbered per leg: one that was committed and is sent again changes nothing.
            if let Ok(Answer::Outcome(_) | Answer::Done) = shared.ask(leader, &ask).await {
                return;
            }
        }
        sleep(RETRY_PAUSE).await;
    }
    metrics::counter!("reports_dropped_total").increment(1);
}
