//! The partition actor: one per hosted group. It hands work to the actors of the rows it concerns, and supervises them.
//!
//! While its replica leads it wakes actors for orders, reports and due timers; on step-down it stops them all. It keeps
//! no state of its own: a new one starts from the replicated state.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use super::{
    Shared,
    entity::{self, Entity, Key},
    limits::{DUE_MAX, HOUSEKEEPING, REPEAT_AFTER, REPEATS_MAX, TICK},
    machine::Partition,
    wire::Answer,
};
use crate::core::{
    Effects,
    command::{Command, Envelope, LegEvent, LegReport, Timer, TimerKind},
    effect::Order,
    id::{CallId, DomainId, Edge, EffectId},
    limits::TIMERS_PER_COMMAND_MAX,
};

pub(super) enum Message {
    Effects(Box<Effects>),
    /// This replica began (with the grace its timers are owed) or ceased to lead.
    Lead {
        grace_ms: u64,
    },
    Step,
    Tick,
    Command(Box<Envelope>, oneshot::Sender<Answer>),
    Report(Box<LegReport>, oneshot::Sender<Answer>),
    /// Stops (or, for tests, breaks) every entity actor.
    StopAll {
        panic: bool,
    },
}

pub(super) struct PartitionActor;

pub(super) struct Desk {
    partition: Arc<Partition>,
    shared: Arc<Shared>,
    actors: BTreeMap<Key, ActorRef<entity::Message>>,
    /// Timers handed out and not fired yet, with the time they were.
    handed: BTreeMap<Timer, Instant>,
    /// Orders performed and still open, with the time of the last try.
    tried: BTreeMap<EffectId, Instant>,
    /// Farewells whose leg is gone, to be struck off in bulk.
    done: Vec<(DomainId, EffectId)>,
    swept: Instant,
}

impl Actor for PartitionActor {
    type Msg = Message;
    type State = Desk;
    type Arguments = (Arc<Partition>, Arc<Shared>);

    async fn pre_start(&self, myself: ActorRef<Message>, (partition, shared): Self::Arguments) -> Result<Desk, ActorProcessingErr> {
        shared.census.born("partition");
        myself.send_interval(TICK, || Message::Tick);
        Ok(Desk {
            partition,
            shared,
            actors: BTreeMap::new(),
            handed: BTreeMap::new(),
            tried: BTreeMap::new(),
            done: Vec::new(),
            swept: Instant::now(),
        })
    }

    async fn handle(&self, myself: ActorRef<Message>, message: Message, desk: &mut Desk) -> Result<(), ActorProcessingErr> {
        let cell = myself.get_cell();
        match message {
            Message::Tick if !desk.partition.is_leading() => {}
            Message::Tick => {
                desk.hand_out_timers(&cell).await;
                if desk.swept.elapsed() >= HOUSEKEEPING {
                    desk.swept = Instant::now();
                    desk.repeat_orders(&cell).await;
                    desk.report_lost_edges();
                    desk.strike_off();
                }
                return Ok(());
            }
            Message::Effects(effects) => {
                for order in effects.orders {
                    desk.perform(&cell, order).await;
                }
            }
            Message::Lead { grace_ms } => {
                let shared = Arc::clone(&desk.shared);
                let group = desk.partition.group;
                tokio::spawn(async move { shared.propose(group, &Envelope { request: None, command: Command::Lead { grace_ms } }).await });
                desk.tried.clear();
                desk.handed.clear();
                desk.repeat_orders(&cell).await;
            }
            Message::Step => desk.stop_all(),
            Message::Command(envelope, reply) => desk.command(&cell, envelope, reply).await,
            Message::Report(report, reply) => desk.report(&cell, *report, reply).await,
            Message::StopAll { panic } if panic => desk.actors.values().for_each(|actor| drop(actor.cast(entity::Message::Panic))),
            Message::StopAll { .. } => desk.stop_all(),
        }
        desk.shared.census.message("partition");
        Ok(())
    }

    /// An actor that ended is forgotten; the next message for its row makes a new one from the state.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Message>,
        event: SupervisionEvent,
        desk: &mut Desk,
    ) -> Result<(), ActorProcessingErr> {
        let ended = match &event {
            SupervisionEvent::ActorTerminated(cell, ..) => Some((cell.get_id(), false)),
            SupervisionEvent::ActorFailed(cell, _) => Some((cell.get_id(), true)),
            _ => None,
        };
        let Some((id, failed)) = ended else { return Ok(()) };
        let key = desk.actors.iter().find(|(_, actor)| actor.get_id() == id).map(|(key, _)| key.clone());
        if let Some(key) = key {
            desk.actors.remove(&key);
            if failed {
                desk.shared.census.died(key.kind());
                desk.shared.census.restarted(key.kind());
                metrics::counter!("actor_restarts_total", "kind" => key.kind()).increment(1);
                // Whatever it was doing is still wanted by the state: look again soon.
                desk.tried.clear();
                desk.handed.clear();
            }
        }
        Ok(())
    }
}

impl Desk {
    async fn actor(&mut self, cell: &ActorCell, key: Key) -> Option<&ActorRef<entity::Message>> {
        if !self.actors.contains_key(&key) {
            let arguments = (key.clone(), Arc::clone(&self.partition), Arc::clone(&self.shared));
            let (actor, _) = Actor::spawn_linked(None, Entity, arguments, cell.clone()).await.ok()?;
            self.actors.insert(key.clone(), actor);
        }
        self.actors.get(&key)
    }

    async fn tell(&mut self, cell: &ActorCell, key: Key, message: entity::Message) {
        let Some(actor) = self.actor(cell, key.clone()).await else { return };
        if let Err(ractor::MessagingErr::SendErr(message)) = actor.cast(message) {
            // It ended between two messages: once more, with a new one.
            self.actors.remove(&key);
            if let Some(actor) = self.actor(cell, key).await {
                // A second refusal means the node is stopping.
                let _ = actor.cast(message);
            }
        }
    }

    async fn perform(&mut self, cell: &ActorCell, order: Order) {
        self.tried.insert(order.id, Instant::now());
        self.tell(cell, Key::Call(order.leg.call), entity::Message::Perform(Box::new(order))).await;
    }

    /// Performs again what has been open for a while: a promotion, a lost message or a dead actor lost it.
    async fn repeat_orders(&mut self, cell: &ActorCell) {
        let open: Vec<_> = self.partition.state.read().open_orders().take(REPEATS_MAX).cloned().collect();
        let known: std::collections::BTreeSet<_> = open.iter().map(|order| order.id).collect();
        self.tried.retain(|id, _| known.contains(id));
        for order in open {
            if self.tried.get(&order.id).is_none_or(|tried| tried.elapsed() >= REPEAT_AFTER) {
                self.perform(cell, order).await;
            }
        }
    }

    async fn hand_out_timers(&mut self, cell: &ActorCell) {
        let due = self.partition.state.read().due(self.partition.log_now(), DUE_MAX);
        if due.is_empty() && self.handed.is_empty() {
            return;
        }
        let standing: std::collections::BTreeSet<_> = due.iter().cloned().collect();
        self.handed.retain(|timer, at| standing.contains(timer) && at.elapsed() < REPEAT_AFTER);
        let mut by_owner: BTreeMap<Key, Vec<Timer>> = BTreeMap::new();
        for timer in due.into_iter().filter(|timer| !self.handed.contains_key(timer)) {
            by_owner.entry(owner(&timer)).or_default().push(timer);
        }
        for (key, timers) in by_owner {
            for timers in timers.chunks(TIMERS_PER_COMMAND_MAX) {
                self.handed.extend(timers.iter().map(|timer| (timer.clone(), Instant::now())));
                self.tell(cell, key.clone(), entity::Message::Due(timers.to_vec())).await;
            }
        }
    }

    async fn command(&mut self, cell: &ActorCell, envelope: Box<Envelope>, reply: oneshot::Sender<Answer>) {
        if let Some(key) = subject(&envelope.command) {
            return self.tell(cell, key, entity::Message::Propose(envelope, reply)).await;
        }
        let (shared, group) = (Arc::clone(&self.shared), self.partition.group);
        tokio::spawn(async move {
            // The asker may have gone at its deadline; the commit stands.
            let _ = reply.send(shared.propose(group, &envelope).await);
        });
    }

    /// A leg's report is its call's to propose; the end of a leg that was said farewell only strikes a row off.
    async fn report(&mut self, cell: &ActorCell, report: LegReport, reply: oneshot::Sender<Answer>) {
        let over =
            self.partition.state.read().domains().get(&report.domain).is_none_or(|domain| !domain.calls().contains_key(&report.leg.call));
        if over && matches!(report.event, LegEvent::Ended) {
            let rows: Vec<_> = self.farewells(report.leg.call).into_iter().filter(|order| order.leg == report.leg).collect();
            self.done.extend(rows.into_iter().map(|order| (order.domain, order.id)));
            // The asker may have gone.
            let _ = reply.send(Answer::Done);
            return;
        }
        let key = Key::Call(report.leg.call);
        let envelope = Box::new(Envelope { request: None, command: Command::Leg(Box::new(report)) });
        self.tell(cell, key, entity::Message::Propose(envelope, reply)).await;
    }

    fn farewells(&self, call: CallId) -> Vec<Order> {
        let state = self.partition.state.read();
        let parting = state.domains().values().flat_map(|domain| domain.parting());
        parting.filter(|order| order.leg.call == call).cloned().collect()
    }

    /// Reports farewells done, all at once.
    fn strike_off(&mut self) {
        let mut by_domain: BTreeMap<DomainId, Vec<EffectId>> = BTreeMap::new();
        for (domain, effect) in self.done.drain(..) {
            by_domain.entry(domain).or_default().push(effect);
        }
        for (domain, effects) in by_domain {
            self.propose_aside(Command::EffectsDone { domain, effects });
        }
    }

    fn propose_aside(&self, command: Command) {
        let (shared, group) = (Arc::clone(&self.shared), self.partition.group);
        tokio::spawn(async move { shared.propose(group, &Envelope { request: None, command }).await });
    }

    /// Ends what a dead life of a node carried; another node speaks for it.
    fn report_lost_edges(&self) {
        let edges = self.partition.state.read().edges();
        for edge in edges.into_iter().filter(|edge| self.shared.is_lost(*edge)) {
            let heir: Option<Edge> = self.shared.heir();
            self.propose_aside(Command::EdgeLost { edge, heir });
        }
    }

    fn stop_all(&mut self) {
        for actor in std::mem::take(&mut self.actors).into_values() {
            actor.stop(None);
        }
        self.tried.clear();
        self.handed.clear();
    }
}

/// Whose deadline it is.
fn owner(timer: &Timer) -> Key {
    match &timer.what {
        TimerKind::Agent { agent } => Key::Agent(timer.domain.clone(), agent.clone()),
        TimerKind::Queue { queue } => Key::Queue(timer.domain.clone(), queue.clone()),
        TimerKind::Offer { call, .. } | TimerKind::Wait { call } | TimerKind::Call { call } => Key::Call(*call),
    }
}

/// The row a command is about, if it is about one.
fn subject(command: &Command) -> Option<Key> {
    match command {
        Command::Arrive(arrive) => Some(Key::Call(arrive.call)),
        Command::HangUp { call, .. } | Command::Requeue { call, .. } => Some(Key::Call(*call)),
        Command::AgentIntent { domain, agent, .. } | Command::Bind { domain, agent, .. } | Command::Unbind { domain, agent, .. } => {
            Some(Key::Agent(domain.clone(), agent.clone()))
        }
        _ => None,
    }
}
