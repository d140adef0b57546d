//! The one order of packets that no log gives: a phone is let go by its last call before it is rung for the next.
//!
//! The commit that ends a call frees its agent at once, so that the next offer needs no other. The farewell and the next INVITE
//! are then orders of two calls, and often for two edges. A leader notes here which farewells edges have; the actor of a call
//! says those to its phone before its INVITE where both go the same way, and keeps the INVITE until the others are among them. What is to be said to whom is the state's.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    limits::{FAREWELL_PATIENCE, ORDER_RETRY_MAX},
    machine::Replica,
    shared::{Shared, longer},
};
use crate::core::{
    effect::Order,
    id::{DomainId, EffectId},
};

/// What one leadership knows of farewells: no more rows than there are in the outbox, since others are forgotten.
pub(super) struct Farewells {
    taken: Mutex<BTreeSet<(DomainId, EffectId)>>,
    changed: watch::Sender<()>,
}

impl Default for Farewells {
    fn default() -> Self {
        Self { taken: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Farewells {
    /// An edge has it.
    pub(super) fn taken(&self, farewell: &Order) {
        self.taken.lock().insert((farewell.domain.clone(), farewell.id));
        self.changed.send_replace(());
    }

    pub(super) fn is_taken(&self, farewell: &Order) -> bool {
        self.taken.lock().contains(&(farewell.domain.clone(), farewell.id))
    }

    /// Forgets those that the outbox has no more.
    pub(super) fn forget(&self, replica: &Replica) {
        let state = replica.state.read();
        let stands = |(domain, id): &(DomainId, EffectId)| state.domains().get(domain).is_some_and(|rows| rows.is_parting(*id));
        self.taken.lock().retain(stands);
    }

    /// The farewells to the phone that `ring` is for and that no edge has.
    pub(super) fn before(&self, replica: &Replica, ring: &Order) -> Vec<Order> {
        let state = replica.state.read();
        let rows = state.domains().get(&ring.domain);
        rows.into_iter().flat_map(|rows| rows.farewells_before(ring)).filter(|order| !self.is_taken(order)).cloned().collect()
    }

    /// Returns once nothing is to be said before `ring`, or at the latest `until`. A farewell that is long in coming is said from
    /// here: the actor of its call may hang.
    pub(super) async fn wait(self: Arc<Self>, shared: Arc<Shared>, replica: Arc<Replica>, ring: Order, until: Instant) {
        let begun = Instant::now();
        let (mut changed, mut patience) = (self.changed.subscribe(), FAREWELL_PATIENCE);
        let mut say_at = begun + patience;
        while replica.leading().is_some() {
            let open = self.before(&replica, &ring);
            if open.is_empty() {
                break;
            }
            let now = Instant::now();
            if now >= until {
                metrics::counter!("tandem_rings_unordered_total").increment(1);
                tracing::warn!(leg = %ring.leg, farewells = open.len(), "a phone is rung though its last call could not be ended");
                break;
            }
            if now >= say_at {
                patience = longer(patience, ORDER_RETRY_MAX);
                say_at = now + patience;
                for order in open {
                    tokio::spawn(say(Arc::clone(&self), Arc::clone(&shared), order));
                }
            }
            // Whatever ends the wait, the state says what is open still.
            timeout_at(say_at.min(until), changed.changed()).await.ok();
        }
        metrics::histogram!("tandem_ring_held_seconds").record(begun.elapsed().as_secs_f64());
    }
}

/// Brings a farewell to its edge past the actor of its call.
async fn say(farewells: Arc<Farewells>, shared: Arc<Shared>, farewell: Order) {
    if shared.bring(farewell.edge, vec![farewell.clone()]).await {
        farewells.taken(&farewell);
    }
}
