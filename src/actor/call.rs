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
    lane,
    limits::{FAREWELL_WAIT_MAX, ORDER_RETRY_MAX, ORDER_RETRY_MIN},
    partition,
    shared::{Shared, longer},
    wire::{Address, Answer, Question},
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
            } else if !self.holds_back(myself, &order) {
                by_edge.entry(order.edge).or_default().push(order);
            }
        }
        for (edge, orders) in by_edge {
            let ids: Vec<_> = orders.iter().map(|order| order.id).collect();
            if edge == me {
                self.seat.shared.edge.perform(orders);
                self.taken(&ids);
            } else {
                let shared = Arc::clone(&self.seat.shared);
                tokio::spawn(carry(shared, edge, orders, ids, pause, myself.clone()));
            }
        }
    }

    /// Keeps an INVITE until its phone has been let go by its last call, and not longer than it may wait.
    fn holds_back(&self, myself: &ActorRef<Message>, order: &Order) -> bool {
        let Some((_, since)) = self.open.get(&order.id).filter(|_| matches!(order.action, Action::Ring(_))) else { return false };
        let (seat, until) = (&self.seat, *since + FAREWELL_WAIT_MAX);
        if Instant::now() >= until || seat.farewells.before(&seat.replica, order).is_empty() {
            return false;
        }
        let wait = Arc::clone(&seat.farewells).wait(Arc::clone(&seat.shared), Arc::clone(&seat.replica), order.clone(), until);
        let (id, back) = (order.id, myself.clone());
        tokio::spawn(async move {
            wait.await;
            // An actor that is gone left its orders in the state.
            back.cast(Message::Retry(vec![id], ORDER_RETRY_MIN)).ok();
        });
        true
    }

    fn taken(&mut self, ids: &[EffectId]) {
        for id in ids {
            let Some((order, since)) = self.open.remove(id) else { continue };
            metrics::histogram!("tandem_outbox_lag_seconds").record(since.elapsed().as_secs_f64());
            // A leg's next report completes its order; after a farewell there may be none.
            if is_farewell(&order) {
                self.seat.farewells.taken(&order);
                self.seat.partition.cast(partition::Message::Done(order.domain, order.id)).ok();
            }
        }
    }

    /// Sends again what still stands in the outbox.
    fn retry(&mut self, myself: &ActorRef<Message>, ids: &[EffectId], pause: Duration) {
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

async fn carry(shared: Arc<Shared>, edge: id::Edge, orders: Vec<Order>, ids: Vec<EffectId>, pause: Duration, back: ActorRef<Message>) {
    let taken = if edge.node == shared.me().node {
        // An earlier life of this node, whose loss will be declared.
        false
    } else {
        matches!(shared.lanes.ask(edge.node.0, lane::Kind::Orders, Question::Orders(orders)).await, Ok(Answer::Taken))
    };
    let message = if taken {
        Message::Taken(ids)
    } else {
        tokio::time::sleep(pause).await;
        Message::Retry(ids, longer(pause, ORDER_RETRY_MAX))
    };
    // An actor that is gone left its orders in the state.
    back.cast(message).ok();
}
