//! The actor of one group on this node: where it leads, it supervises the actors of its calls, agents and queues.
//!
//! It hands out what `apply` asked for, spawns actors when there is something for them to do, keeps the alarm clock, and
//! spawns again what falls. It is the only holder of nothing: all it knows it reads from the replica's state.

mod children;
mod edges;
mod reconcile;
#[cfg(test)]
mod tests;
mod wheel;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tandem_cluster::Token;
use tokio::{sync::oneshot, time::Instant};

use super::{
    census::{Alive, Kind},
    drill::{Drill, Hurt},
    entity,
    farewell::Farewells,
    limits::{DONE_BATCH_MAX, DONE_EVERY, GAP_WAIT, RETRY_PAUSE, SWEEP_EVERY},
    machine::Replica,
    shared::{Job, Shared},
    wire::Address,
};
use crate::core::{
    Command,
    effect::Order,
    id::{CallId, DomainId, Edge, EffectId},
    state::FEATURE_LEVEL,
    time::LogTime,
};
use children::Children;
pub(super) use edges::heirs as able_edges;
use wheel::Wheel;

/// What a partition actor is told.
pub(super) enum Message {
    /// The replica began or ceased to lead.
    Role(Option<Token>),
    /// For how long nobody led before this leadership, milliseconds.
    Gap(Token, u64),
    /// The leadership's first command is committed.
    Led(Token),
    /// An application asked for this.
    Effects { orders: Vec<Order>, deadline: Option<LogTime> },
    /// A command for one of its actors.
    Commit(Address, Job),
    /// The alarm of this number rings.
    Wake(u64),
    /// Housekeeping is due.
    Sweep(Token),
    /// A node came, went or died.
    Nodes,
    /// The loss of these lives of nodes is committed, or could not be: try again.
    Declared(Token, Vec<Edge>, bool),
    /// An edge has an order that no report may ever complete.
    Done(DomainId, EffectId),
    /// A drill, and who wants to know how many actors it hit.
    Drill(Drill, oneshot::Sender<usize>),
    /// A drill is over: what fell meanwhile is spawned again.
    Respawn,
}

pub(super) struct PartitionActor;

pub(super) struct Arguments {
    pub(super) shared: Arc<Shared>,
    pub(super) replica: Arc<Replica>,
}

pub(super) struct Partition {
    shared: Arc<Shared>,
    replica: Arc<Replica>,
    alive: Alive,
    leading: Option<Leading>,
    /// A gap that was announced before the role it belongs to.
    gap: Option<(Token, u64)>,
}

/// What exists only while this replica leads.
struct Leading {
    token: Token,
    /// The first command is on its way, then committed: no timer fires before.
    proposed: bool,
    led: bool,
    children: Children,
    /// Which farewells edges have.
    farewells: Arc<Farewells>,
    wheel: Wheel,
    /// Lives of nodes whose loss is committed or on its way.
    declared: BTreeSet<Edge>,
    /// Since when nodes that still have calls are draining.
    draining: BTreeMap<Edge, Instant>,
    /// Finished farewells by domain, and when the last of them were reported.
    done: BTreeMap<DomainId, BTreeSet<EffectId>>,
    /// The same, one period older.
    settled: BTreeMap<DomainId, BTreeSet<EffectId>>,
    done_at: Instant,
}

impl Actor for PartitionActor {
    type Msg = Message;
    type State = Partition;
    type Arguments = Arguments;

    async fn pre_start(&self, _: ActorRef<Message>, arguments: Arguments) -> Result<Partition, ActorProcessingErr> {
        let Arguments { shared, replica } = arguments;
        let alive = shared.counters.born(Kind::Partition);
        Ok(Partition { shared, replica, alive, leading: None, gap: None })
    }

    async fn handle(&self, myself: ActorRef<Message>, message: Message, partition: &mut Partition) -> Result<(), ActorProcessingErr> {
        partition.alive.message();
        match message {
            Message::Role(token) => partition.role(&myself, token).await,
            Message::Gap(token, gap_ms) => partition.heard_gap(&myself, token, gap_ms),
            Message::Led(token) => partition.led(&myself, token).await,
            Message::Effects { orders, deadline } => partition.effects(&myself, orders, deadline).await,
            Message::Commit(to, job) => partition.commit(&myself, to, job).await,
            Message::Wake(generation) => partition.wake(&myself, generation).await,
            Message::Sweep(token) => partition.sweep(&myself, token),
            Message::Nodes => partition.declare_lost(&myself),
            Message::Declared(token, edges, committed) => partition.declared(token, &edges, committed),
            Message::Done(domain, id) => partition.done(domain, id),
            Message::Drill(drill, tell) => {
                // The drill's caller may be gone.
                tell.send(partition.drill(&drill)).ok();
            }
            Message::Respawn => partition.respawn(&myself).await,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        partition: &mut Partition,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(cell, _) | SupervisionEvent::ActorTerminated(cell, ..) = event {
            partition.fell(&myself, cell.get_id()).await;
        }
        Ok(())
    }
}

impl Partition {
    async fn role(&mut self, myself: &ActorRef<Message>, token: Option<Token>) {
        if let Some(mut before) = self.leading.take() {
            before.children.kill_all();
        }
        let Some(token) = token else { return };
        let now = Instant::now();
        self.leading = Some(Leading {
            token,
            proposed: false,
            led: false,
            children: Children::default(),
            farewells: Arc::default(),
            wheel: Wheel::default(),
            declared: BTreeSet::new(),
            draining: BTreeMap::new(),
            done: BTreeMap::new(),
            settled: BTreeMap::new(),
            done_at: now,
        });
        match self.gap.take() {
            Some((told, gap_ms)) if told == token => self.heard_gap(myself, token, gap_ms),
            // It may have been told before this actor was there.
            _ => drop(myself.send_after(GAP_WAIT, move || Message::Gap(token, 0))),
        }
        let open: Vec<_> = self.replica.state.read().open_orders().cloned().collect();
        self.hand_out(myself, open).await;
        myself.send_after(SWEEP_EVERY, move || Message::Sweep(token));
        metrics::histogram!("tandem_actor_recovery_seconds").record(now.elapsed().as_secs_f64());
    }

    /// Proposes the leadership's first command, once.
    fn heard_gap(&mut self, myself: &ActorRef<Message>, token: Token, gap_ms: u64) {
        match &mut self.leading {
            Some(leading) if leading.token == token && !leading.proposed => leading.proposed = true,
            Some(leading) if leading.token >= token => return,
            _ => {
                self.gap = Some((token, gap_ms));
                return;
            }
        }
        let (shared, replica, back) = (Arc::clone(&self.shared), Arc::clone(&self.replica), myself.clone());
        tokio::spawn(async move {
            while replica.leading() == Some(token) {
                if shared.propose(replica.group, Command::Lead { grace_ms: gap_ms }).await {
                    back.cast(Message::Led(token)).ok();
                    return;
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        });
    }

    async fn led(&mut self, myself: &ActorRef<Message>, token: Token) {
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.token == token) else { return };
        leading.led = true;
        self.turn(myself).await;
        self.declare_lost(myself);
        reconcile::start(Arc::clone(&self.shared), Arc::clone(&self.replica), myself.clone(), token);
    }

    async fn effects(&mut self, myself: &ActorRef<Message>, orders: Vec<Order>, deadline: Option<LogTime>) {
        self.hand_out(myself, orders).await;
        let Some(leading) = &self.leading else { return };
        if let Some(deadline) = deadline.filter(|_| leading.led) {
            let sleep = Duration::from_nanos(deadline.0.saturating_sub(self.replica.now().0));
            if leading.wheel.is_earlier(sleep, Instant::now()) {
                self.set_alarm(myself, sleep);
            }
        }
    }

    /// Gives orders to the actors of their calls, a call's together and in order.
    async fn hand_out(&mut self, myself: &ActorRef<Message>, orders: Vec<Order>) {
        let mut by_call: BTreeMap<(DomainId, CallId), Vec<Order>> = BTreeMap::new();
        for order in orders {
            by_call.entry((order.domain.clone(), order.leg.call)).or_default().push(order);
        }
        for ((domain, call), mut orders) in by_call {
            orders.sort_by_key(|order| order.id);
            self.tell(myself, Address::Call(domain, call), entity::Message::Perform(orders)).await;
        }
    }

    async fn commit(&mut self, myself: &ActorRef<Message>, to: Address, job: Job) {
        if self.leading.is_none() {
            job.answer(super::wire::Answer::Refused("not the leader".to_owned()));
        } else if to == Address::Partition {
            let (shared, group) = (Arc::clone(&self.shared), self.replica.group);
            tokio::spawn(async move {
                let answer = shared.commit(group, job.command.clone()).await;
                job.answer(answer);
            });
        } else {
            self.tell(myself, to, entity::Message::Commit(job)).await;
        }
    }

    async fn wake(&mut self, myself: &ActorRef<Message>, generation: u64) {
        if self.leading.as_ref().is_some_and(|leading| leading.led && leading.wheel.is_latest(generation)) {
            self.turn(myself).await;
        }
    }

    /// Hands due timers to their actors and sets the alarm for the next.
    async fn turn(&mut self, myself: &ActorRef<Message>) {
        let Some(leading) = &mut self.leading else { return };
        let (due, sleep) = leading.wheel.turn(&self.replica.state.read(), self.replica.now(), Instant::now());
        self.set_alarm(myself, sleep);
        for (address, timers) in due {
            self.tell(myself, address, entity::Message::Due(timers)).await;
        }
    }

    fn set_alarm(&mut self, myself: &ActorRef<Message>, sleep: Duration) {
        let Some(leading) = &mut self.leading else { return };
        let generation = leading.wheel.set(sleep, Instant::now());
        // Rounded up, since the clock of timers has a grain of a millisecond and an early alarm only rings again.
        myself.send_after(sleep + Duration::from_millis(1), move || Message::Wake(generation));
    }

    fn sweep(&mut self, myself: &ActorRef<Message>, token: Token) {
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.token == token) else { return };
        leading.children.retire_idle(&self.replica);
        leading.children.stop_stuck(&self.replica);
        leading.farewells.forget(&self.replica);
        if leading.done_at.elapsed() >= DONE_EVERY {
            leading.done_at = Instant::now();
            // An edge that dies with what it took is declared lost before that is forgotten.
            let settled = std::mem::replace(&mut leading.settled, std::mem::take(&mut leading.done));
            self.report_done(settled);
        }
        self.declare_lost(myself);
        self.hand_over();
        self.raise_level();
        myself.send_after(SWEEP_EVERY, move || Message::Sweep(token));
    }

    /// Once the operator has ended an upgrade, this partition's commands may do what only the new programs know.
    fn raise_level(&self) {
        let led = self.leading.as_ref().is_some_and(|leading| leading.led);
        let level = self.shared.cluster.feature_level().min(FEATURE_LEVEL);
        if led && self.replica.state.read().level() < level {
            let (shared, group) = (Arc::clone(&self.shared), self.replica.group);
            // Said again at the next sweep until it is committed.
            tokio::spawn(async move { shared.propose(group, Command::RaiseLevel { level }).await });
        }
    }

    fn done(&mut self, domain: DomainId, id: EffectId) {
        if let Some(leading) = &mut self.leading {
            leading.done.entry(domain).or_default().insert(id);
        }
    }

    /// Takes farewells out of the outbox that an edge has had for a while and no report has completed since.
    fn report_done(&self, done: BTreeMap<DomainId, BTreeSet<EffectId>>) {
        let state = self.replica.state.read();
        for (domain, ids) in done {
            let standing = state.domains().get(&domain).into_iter().flat_map(|domain| domain.parting());
            let effects: Vec<_> = standing.map(|order| order.id).filter(|id| ids.contains(id)).collect();
            for effects in effects.chunks(DONE_BATCH_MAX) {
                let command = Command::EffectsDone { domain: domain.clone(), effects: effects.to_vec() };
                let (shared, group) = (Arc::clone(&self.shared), self.replica.group);
                // What is not committed is dropped by age in the state.
                tokio::spawn(async move { shared.propose(group, command).await });
            }
        }
    }

    fn drill(&mut self, drill: &Drill) -> usize {
        let falls = matches!(drill, Drill::Hurt(whom, Hurt::Crash) if whom.kind == Kind::Partition);
        assert!(!falls, "a drill asked this actor to fall");
        let Some(leading) = &mut self.leading else { return 0 };
        match drill {
            Drill::StopCall(call) => {
                let Some(domain) = self.replica.state.read().find_call(*call).cloned() else { return 0 };
                leading.children.stop(Address::Call(domain, *call), !self.shared.respawns())
            }
            Drill::Hurt(whom, how) => leading.children.hurt(whom, *how),
            // This actor is stopped itself, and its children with it.
            Drill::StopAll => 0,
        }
    }
}
