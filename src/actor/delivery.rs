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
    limits::{COMMIT_DEADLINE, ORDER_RETRY_MAX, REPORTS_IN_FLIGHT_MAX, REPORTS_WAITING_MAX, RETRY_PAUSE},
    shared::{Shared, longer},
    submit::Parcel,
};
use crate::core::{
    Command,
    command::{Envelope, LegReport},
    id::LegId,
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

    /// Until it is committed: a rejection is an answer, and says that the leg is gone or had said so before.
    async fn deliver(&self, report: LegReport) {
        let (domain, leg) = (report.domain.clone(), report.leg);
        let parcel = Parcel::new(&domain, &Envelope { request: None, command: Command::Leg(Box::new(report)) }, true);
        let mut pause = RETRY_PAUSE;
        loop {
            match self.shared.submit(&parcel, COMMIT_DEADLINE).await {
                Ok(outcome) => {
                    tracing::trace!(%leg, ?outcome, "reported");
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
