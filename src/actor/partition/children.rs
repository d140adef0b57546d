//! The call, agent and queue actors of a partition that leads: spawned by their first message, retired when idle,
//! spawned again when they fall.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use ractor::{Actor, ActorId, ActorRef};
use tokio::time::Instant;

use super::{Message, Partition};
use crate::actor::{
    agent::AgentActor,
    call::CallActor,
    census::Kind,
    drill::{Hurt, Whom},
    entity::{self, Seat, Vitals},
    limits::{GONE_AFTER, IDLE_AFTER},
    machine::Replica,
    queue::QueueActor,
    wire::Address,
};
use crate::core::id::DomainId;

struct Child {
    actor: ActorRef<entity::Message>,
    vitals: Arc<Vitals>,
    sent: u64,
    last: Instant,
}

#[derive(Default)]
pub(super) struct Children {
    by_address: BTreeMap<Address, Child>,
    by_id: HashMap<ActorId, Address>,
    /// Drill: these stopped while nothing was spawned again.
    stalled: BTreeSet<Address>,
}

const fn kind(address: &Address) -> Kind {
    match address {
        Address::Partition => Kind::Partition,
        Address::Call(..) => Kind::Call,
        Address::Agent(..) => Kind::Agent,
        Address::Queue(..) => Kind::Queue,
    }
}

const fn domain(address: &Address) -> Option<&DomainId> {
    match address {
        Address::Partition => None,
        Address::Call(domain, _) | Address::Agent(domain, _) | Address::Queue(domain, _) => Some(domain),
    }
}

impl Children {
    pub(super) fn kill_all(&mut self) {
        self.by_id.clear();
        for (_, child) in std::mem::take(&mut self.by_address) {
            child.actor.kill();
        }
    }

    /// Stops actors that have nothing to do, sooner if the call they stand for is over.
    pub(super) fn retire_idle(&mut self, replica: &Replica) {
        let now = Instant::now();
        let state = replica.state.read();
        let is_over = |address: &Address| match address {
            Address::Call(domain, call) => !state.domains().get(domain).is_some_and(|domain| domain.calls().contains_key(call)),
            Address::Partition | Address::Agent(..) | Address::Queue(..) => false,
        };
        let by_id = &mut self.by_id;
        self.by_address.retain(|address, child| {
            let idle_for = now.duration_since(child.last);
            // All that was sent is handled, and only the partition sends: nothing can be lost by stopping it.
            let at_rest = child.vitals.handled.load(Relaxed) == child.sent && !child.vitals.busy.load(Relaxed);
            let retire = at_rest && (idle_for >= IDLE_AFTER || (idle_for >= GONE_AFTER && is_over(address)));
            if retire {
                by_id.remove(&child.actor.get_id());
                child.actor.stop(None);
            }
            !retire
        });
    }

    /// Stops actors that hang over a message: what they held is handed to their successors, as after a fall. One that never
    /// comes to a point where it waits cannot be stopped and goes on for nobody.
    pub(super) fn stop_stuck(&mut self, replica: &Replica) {
        let now = Instant::now();
        for (address, _) in self.by_address.iter().filter(|(_, child)| child.vitals.is_stuck(now)) {
            tracing::error!(group = replica.group, ?address, "an actor hangs and is replaced");
        }
        self.by_address.values().filter(|child| child.vitals.is_stuck(now)).for_each(|child| child.actor.kill());
    }

    /// Drill: stops one actor. `stall` holds its successor back even if it was resting.
    pub(super) fn stop(&mut self, address: Address, stall: bool) -> usize {
        match self.by_address.get(&address) {
            Some(child) => child.actor.kill(),
            None if stall => drop(self.stalled.insert(address)),
            None => return 0,
        }
        1
    }

    /// Drill: panics, or hangs, in actors of a kind, in what they handle next.
    pub(super) fn hurt(&mut self, whom: &Whom, how: Hurt) -> usize {
        let meant =
            |address: &Address| kind(address) == whom.kind && whom.tenant.as_ref().is_none_or(|tenant| domain(address) == Some(tenant));
        let of_kind = self.by_address.iter_mut().filter(|(address, _)| meant(address));
        let mut hit = 0;
        for (_, child) in of_kind.take(if whom.every { usize::MAX } else { 1 }) {
            match how {
                Hurt::Crash => child.vitals.crash.store(true, Relaxed),
                Hurt::Hang { for_ms } => child.vitals.hang_ms.store(for_ms, Relaxed),
            }
            // One that has nothing to do falls over this.
            child.sent += 1;
            child.actor.cast(entity::Message::Nudge).ok();
            hit += 1;
        }
        hit
    }
}

impl Partition {
    /// Sends a message to an actor of this partition, which is spawned if need be.
    pub(super) async fn tell(&mut self, myself: &ActorRef<Message>, address: Address, message: entity::Message) {
        let Some(leading) = &mut self.leading else { return };
        let children = &mut leading.children;
        if children.stalled.contains(&address) {
            if !self.shared.respawns() {
                return;
            }
            children.stalled.remove(&address);
        }
        if !children.by_address.contains_key(&address) && !self.spawn(myself, address.clone()).await {
            return;
        }
        let children = self.leading.as_mut().map(|leading| &mut leading.children);
        if let Some(child) = children.and_then(|children| children.by_address.get_mut(&address)) {
            child.sent += 1;
            child.last = Instant::now();
            // If it fell just now, the supervisor hears of it next, and the state remembers the rest.
            child.actor.cast(message).ok();
        }
    }

    async fn spawn(&mut self, myself: &ActorRef<Message>, address: Address) -> bool {
        let Some(leading) = &self.leading else { return false };
        let (vitals, farewells) = (Arc::new(Vitals::default()), Arc::clone(&leading.farewells));
        let seat = Seat {
            shared: Arc::clone(&self.shared),
            replica: Arc::clone(&self.replica),
            address: address.clone(),
            partition: myself.clone(),
            vitals: Arc::clone(&vitals),
            farewells,
        };
        let me = myself.get_cell();
        let spawned = match kind(&address) {
            Kind::Call => Actor::spawn_linked(None, CallActor, seat, me).await,
            Kind::Agent => Actor::spawn_linked(None, AgentActor, seat, me).await,
            Kind::Queue => Actor::spawn_linked(None, QueueActor, seat, me).await,
            Kind::Partition => return false,
        };
        match (spawned, &mut self.leading) {
            (Ok((actor, _)), Some(leading)) => {
                leading.children.by_id.insert(actor.get_id(), address.clone());
                leading.children.by_address.insert(address, Child { actor, vitals, sent: 0, last: Instant::now() });
                true
            }
            (Ok((actor, _)), None) => {
                actor.kill();
                false
            }
            (Err(error), _) => {
                tracing::error!(group = self.replica.group, ?address, %error, "an actor could not be spawned");
                false
            }
        }
    }

    /// A drill is over.
    pub(super) async fn respawn(&mut self, myself: &ActorRef<Message>) {
        let Some(leading) = &mut self.leading else { return };
        for address in std::mem::take(&mut leading.children.stalled) {
            self.shared.counters.restarted(kind(&address));
            self.spawn(myself, address).await;
        }
    }

    /// An actor is gone that was not retired: the next one rehydrates from the state and gets the message that it fell over.
    pub(super) async fn fell(&mut self, myself: &ActorRef<Message>, id: ActorId) {
        let Some(children) = self.leading.as_mut().map(|leading| &mut leading.children) else { return };
        let Some(address) = children.by_id.remove(&id) else { return };
        let child = children.by_address.remove(&address);
        tracing::warn!(group = self.replica.group, ?address, "an actor fell");
        if !self.shared.respawns() {
            children.stalled.insert(address);
            return;
        }
        self.shared.counters.restarted(kind(&address));
        match child.and_then(|child| child.vitals.left_behind()).and_then(entity::Message::again) {
            Some(message) => self.tell(myself, address, message).await,
            None => drop(self.spawn(myself, address).await),
        }
    }
}
