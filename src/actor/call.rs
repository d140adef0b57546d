//! The actor of one call: its conversation with its legs.
//!
//! Reports of its legs are committed one by one; its orders are brought to the edge that must perform them, again and
//! again until that edge has them. What the orders are, and when they are done, is the state's.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::{
    census::{Alive, Kind},
    entity::{Message, Seat},
    farewell::Farewells,
    limits::{FAREWELL_WAIT_MAX, ORDER_RETRY_MAX, ORDER_RETRY_MIN},
    partition,
    shared::{Shared, longer},
    wire::Address,
};
use crate::core::{
    effect::{Action, Order},
    id::{self, EffectId},
};

pub(super) struct CallActor;

pub(super) struct CallState {
    seat: Seat,
    alive: Alive,
    /// The latest order seen. What comes again after a rehydration is older.
    seen: Option<EffectId>,
    /// Orders no edge has yet, and since when.
    open: BTreeMap<EffectId, (Order, Instant)>,
}

impl Actor for CallActor {
    type Msg = Message;
    type State = CallState;
    type Arguments = Seat;

    async fn pre_start(&self, myself: ActorRef<Message>, seat: Seat) -> Result<CallState, ActorProcessingErr> {
        let alive = seat.shared.counters.born(Kind::Call);
        let orders = open_orders(&seat);
        let mut call = CallState { seat, alive, seen: None, open: BTreeMap::new() };
        call.perform(&myself, orders);
        Ok(call)
    }

    async fn handle(&self, myself: ActorRef<Message>, message: Message, call: &mut CallState) -> Result<(), ActorProcessingErr> {
        call.alive.message();
        call.seat.vitals.begin(&message).await;
        let from_partition = !matches!(message, Message::Taken(_) | Message::Retry(..));
        match message {
            Message::Commit(job) => call.seat.commit(job).await,
            Message::Due(timers) => call.seat.fire(timers).await,
            Message::Perform(orders) => call.perform(&myself, orders),
            Message::Taken(ids) => call.taken(&ids),
            Message::Retry(ids, pause) => call.retry(&myself, &ids, pause),
            Message::Nudge => {}
        }
        call.seat.vitals.busy.store(!call.open.is_empty(), Relaxed);
        call.seat.vitals.end(from_partition);
        Ok(())
    }
}

/// The call's rows of the outbox.
fn open_orders(seat: &Seat) -> Vec<Order> {
    let Address::Call(domain, id) = &seat.address else { return Vec::new() };
    let state = seat.replica.state.read();
    let Some(domain) = state.domains().get(domain) else { return Vec::new() };
    let live = domain.calls().get(id).into_iter().flat_map(|call| call.open_orders());
    let mut orders: Vec<_> = live.chain(domain.parting().filter(|order| order.leg.call == *id)).cloned().collect();
    orders.sort_by_key(|order| order.id);
    orders
}

impl CallState {
    fn perform(&mut self, myself: &ActorRef<Message>, orders: Vec<Order>) {
        let orders: Vec<_> = orders.into_iter().filter(|order| self.seen.is_none_or(|seen| order.id > seen)).collect();
        let Some(last) = orders.last() else { return };
        self.seen = Some(last.id);
        let now = Instant::now();
        self.open.extend(orders.iter().map(|order| (order.id, (order.clone(), now))));
        self.bring(myself, orders, ORDER_RETRY_MIN);
        self.seat.vitals.busy.store(!self.open.is_empty(), Relaxed);
    }

    /// Brings orders to their edges: at once when the edge is here, else with a word back.
    fn bring(&mut self, myself: &ActorRef<Message>, orders: Vec<Order>, pause: Duration) {
        let me = self.seat.shared.me();
        let mut by_edge: BTreeMap<id::Edge, Vec<Order>> = BTreeMap::new();
        for order in orders {
            if is_farewell(&order) && self.seat.farewells.is_taken(&order) {
                // Whoever waited for it has brought it there.
                self.taken(&[order.id]);
            } else if let Some(farewells) = self.before(myself, &order) {
                for order in farewells.into_iter().chain([order]) {
                    by_edge.entry(order.edge).or_default().push(order);
                }
            }
        }
        // What is done here is done before any other edge hears of what follows from it.
        if let Some(orders) = by_edge.remove(&me) {
            let (ids, said) = named(&orders);
            match self.seat.shared.hand(orders) {
                Ok(()) => {
                    said.iter().for_each(|order| self.seat.farewells.taken(order));
                    self.taken(&ids);
                }
                Err(orders) => return self.later(myself, by_edge.into_values().flatten().chain(orders), pause),
            }
        }
        for (edge, orders) in by_edge {
            tokio::spawn(carry(Arc::clone(&self.seat.shared), Arc::clone(&self.seat.farewells), edge, orders, pause, myself.clone()));
        }
    }

    /// Tries orders again after a pause: without its lease nothing is said here, and nothing elsewhere that may only follow it.
    fn later(&self, myself: &ActorRef<Message>, orders: impl Iterator<Item = Order>, pause: Duration) {
        let ids: Vec<_> = orders.map(|order| order.id).collect();
        myself.send_after(pause, move || Message::Retry(ids, longer(pause, ORDER_RETRY_MAX)));
    }

    /// What is to be said before an order: to the phone that it rings, the farewells of its last calls, wherever they can go the same
    /// way or are said here. While another edge has to say one, the INVITE is kept, and not longer than it may wait.
    fn before(&self, myself: &ActorRef<Message>, order: &Order) -> Option<Vec<Order>> {
        let Some((_, since)) = self.open.get(&order.id).filter(|_| matches!(order.action, Action::Ring(_))) else {
            return Some(Vec::new());
        };
        let (seat, until) = (&self.seat, *since + FAREWELL_WAIT_MAX);
        let (me, farewells) = (seat.shared.me(), seat.farewells.before(&seat.replica, order));
        let (along, elsewhere): (Vec<_>, Vec<_>) = farewells.into_iter().partition(|other| other.edge == order.edge || other.edge == me);
        if Instant::now() >= until || elsewhere.is_empty() {
            return Some(along);
        }
        let wait = Arc::clone(&seat.farewells).wait(Arc::clone(&seat.shared), Arc::clone(&seat.replica), order.clone(), until);
        let (id, back) = (order.id, myself.clone());
        tokio::spawn(async move {
            wait.await;
            // An actor that is gone left its orders in the state.
            back.cast(Message::Retry(vec![id], ORDER_RETRY_MIN)).ok();
        });
        None
    }

    fn taken(&mut self, ids: &[EffectId]) {
        for id in ids {
            let Some((order, since)) = self.open.remove(id) else { continue };
            metrics::histogram!("tandem_outbox_lag_seconds").record(since.elapsed().as_secs_f64());
            // A leg's next report completes its order; after a farewell there may be none.
            if is_farewell(&order) {
                self.seat.partition.cast(partition::Message::Done(order.domain, order.id)).ok();
            }
        }
    }

    /// Sends again what still stands in the outbox.
    fn retry(&mut self, myself: &ActorRef<Message>, ids: &[EffectId], pause: Duration) {
        if self.seat.replica.leading().is_none() {
            // Whoever leads now has them from the state.
            return;
        }
        let standing: Vec<_> = open_orders(&self.seat).into_iter().filter(|order| ids.contains(&order.id)).collect();
        for id in ids.iter().filter(|id| !standing.iter().any(|order| order.id == **id)) {
            self.open.remove(id);
        }
        self.bring(myself, standing, pause);
    }
}

/// An order after which its leg may never be heard of again.
const fn is_farewell(order: &Order) -> bool {
    matches!(order.action, Action::Reject { .. } | Action::HangUp { .. })
}

/// The ids of orders, and the farewells among them.
fn named(orders: &[Order]) -> (Vec<EffectId>, Vec<Order>) {
    (orders.iter().map(|order| order.id).collect(), orders.iter().filter(|order| is_farewell(order)).cloned().collect())
}

/// Brings orders to their edge and says so to the call's actor and to whoever waits for a farewell among them.
async fn carry(
    shared: Arc<Shared>,
    farewells: Arc<Farewells>,
    edge: id::Edge,
    orders: Vec<Order>,
    pause: Duration,
    back: ActorRef<Message>,
) {
    let (ids, said) = named(&orders);
    let message = if shared.bring(edge, orders).await {
        said.iter().for_each(|order| farewells.taken(order));
        Message::Taken(ids)
    } else {
        tokio::time::sleep(pause).await;
        Message::Retry(ids, longer(pause, ORDER_RETRY_MAX))
    };
    // An actor that is gone left its orders in the state.
    back.cast(message).ok();
}
