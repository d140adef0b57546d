//! The reports of this node's legs on their way to the leader: in order per leg, again and again until committed.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{
    Error,
    limits::{ADOPTED_PAUSE, COMMIT_DEADLINE, ORDER_RETRY_MAX, REPORTS_IN_FLIGHT_MAX, REPORTS_WAITING_MAX, RETRY_PAUSE},
    shared::{Shared, longer},
    submit::Parcel,
};
use crate::core::{
    Command, Outcome, Reason,
    command::{Envelope, LegEvent, LegReport},
    id::{Edge, LegId},
};

pub(super) struct Delivery {
    shared: Arc<Shared>,
    /// Reports behind the one under way, by leg. A leg has a row while its courier is about.
    waiting: Mutex<HashMap<LegId, VecDeque<LegReport>>>,
    count: AtomicUsize,
    under_way: Semaphore,
}

impl Delivery {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        let under_way = Semaphore::new(REPORTS_IN_FLIGHT_MAX);
        Arc::new(Self { shared, waiting: Mutex::default(), count: AtomicUsize::new(0), under_way })
    }

    pub(super) fn report(self: &Arc<Self>, report: LegReport) {
        if self.count.fetch_add(1, Relaxed) >= REPORTS_WAITING_MAX {
            self.count.fetch_sub(1, Relaxed);
            metrics::counter!("tandem_reports_dropped_total").increment(1);
            tracing::error!(leg = %report.leg, "too many reports are waiting for a leader; this one is lost");
            return;
        }
        match self.waiting.lock().entry(report.leg) {
            Entry::Occupied(mut row) => row.get_mut().push_back(report),
            Entry::Vacant(row) => {
                row.insert(VecDeque::new());
                let delivery = Arc::clone(self);
                self.shared.runtime.spawn(async move { delivery.courier(report).await });
            }
        }
    }

    /// Delivers a leg's reports one after the other until none is left.
    async fn courier(&self, first: LegReport) {
        let leg = first.leg;
        let mut next = Some(first);
        while let Some(report) = next {
            if matches!(report.event, LegEvent::Adopted { .. }) {
                // The dialog was its own before: nothing waits for this, and a node's death brings hundreds in the very moment in
                // which the legs still to be taken over need every processor.
                tokio::time::sleep(ADOPTED_PAUSE).await;
            }
            let permit = self.under_way.acquire().await.expect("the semaphore is never closed");
            self.deliver(report).await;
            drop(permit);
            self.count.fetch_sub(1, Relaxed);
            let mut waiting = self.waiting.lock();
            next = waiting.get_mut(&leg).and_then(VecDeque::pop_front);
            if next.is_none() {
                waiting.remove(&leg);
            }
        }
    }

    /// Until it is committed, or this node ends: a rejection is an answer, and says that the leg is gone or had said so before.
    async fn deliver(&self, report: LegReport) {
        let (domain, leg) = (report.domain.clone(), report.leg);
        let (answered, edge) = (matches!(report.event, LegEvent::Answered { .. }), report.edge);
        let parcel = Parcel::new(&domain, &Envelope { request: None, command: Command::Leg(Box::new(report)) }, true);
        let mut pause = RETRY_PAUSE;
        while !self.shared.cluster.is_stopping() {
            let turn = turn(edge, self.shared.me(), self.shared.cluster.lease_valid());
            if turn == Turn::Void {
                return;
            }
            if turn == Turn::Later {
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            match self.shared.submit(&parcel, COMMIT_DEADLINE).await {
                Ok(outcome) => {
                    tracing::trace!(%leg, ?outcome, "reported");
                    if let Some(taken) = verdict(&outcome).filter(|_| answered) {
                        self.shared.edge.answer_decided(leg, taken);
                    }
                    return;
                }
                Err(Error::NoDomain(_)) => return,
                Err(error) => tracing::debug!(%leg, %error, "not reported yet"),
            }
            tokio::time::sleep(pause).await;
            pause = longer(pause, ORDER_RETRY_MAX);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Now,
    Later,
    Void,
}

/// What is to become of a report of the life `of` of this node, whose present one is `me`. A life without its lease may have been
/// given up by the others, and its legs be on their way to them: would its report come first, whoever it frees is called anew
/// while nobody is there to end the call before. What it saw, the next edge of the leg finds out for itself.
fn turn(of: Edge, me: Edge, lease: bool) -> Turn {
    match (of == me, lease) {
        (false, _) => Turn::Void,
        (true, true) => Turn::Now,
        (true, false) => Turn::Later,
    }
}

/// Whether a call has the leg whose answer came to this. `None` of one that belongs to another edge, or whose call says so itself.
const fn verdict(outcome: &Outcome) -> Option<bool> {
    match outcome {
        Outcome::Accepted | Outcome::Duplicate => Some(true),
        Outcome::Rejected(Reason::NoCall | Reason::NoLeg | Reason::Taken) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::id::NodeId;

    #[test]
    fn a_life_without_its_lease_says_nothing_and_one_that_is_over_never_will() {
        let life = |incarnation| Edge { node: NodeId(1), incarnation };
        assert_eq!(turn(life(1), life(1), true), Turn::Now);
        assert_eq!(turn(life(1), life(1), false), Turn::Later);
        assert_eq!(turn(life(1), life(2), true), Turn::Void);
    }

    #[test]
    fn an_answer_counts_when_its_call_has_it_and_is_ended_when_no_call_will() {
        assert_eq!((verdict(&Outcome::Accepted), verdict(&Outcome::Duplicate)), (Some(true), Some(true)));
        assert_eq!((verdict(&Outcome::Rejected(Reason::Taken)), verdict(&Outcome::Rejected(Reason::NoCall))), (Some(false), Some(false)));
        assert_eq!(verdict(&Outcome::Rejected(Reason::Stale)), None, "its new edge lets it go");
    }
}
