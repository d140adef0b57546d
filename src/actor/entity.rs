//! Call, agent and queue actors: each does the waiting and retrying for one row of the state, and holds nothing else.
//!
//! A call actor performs the orders on its legs and proposes what its legs report; an agent actor proposes intents and
//! registrations; a queue actor proposes its openings and closings. Each proposes the timers of its own row.

use std::{sync::Arc, time::Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{sync::oneshot, time::sleep};

use super::{
    Shared,
    limits::{ORDER_WITHIN, RETRY_PAUSE},
    machine::Partition,
    wire::{Answer, Ask},
};
use crate::core::{
    command::{Command, Envelope, Timer},
    effect::Order,
    id::{AgentId, CallId, DomainId, QueueId},
};

/// The row an actor speaks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Call(CallId),
    Agent(DomainId, AgentId),
    Queue(DomainId, QueueId),
}

impl Key {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Call(_) => "call",
            Self::Agent(..) => "agent",
            Self::Queue(..) => "queue",
        }
    }
}

pub(super) enum Message {
    /// Commit this and say what became of it.
    Propose(Box<Envelope>, oneshot::Sender<Answer>),
    Perform(Box<Order>),
    Due(Vec<Timer>),
    /// For tests of supervision.
    Panic,
}

pub(super) struct Entity;

pub(super) struct Seat {
    key: Key,
    partition: Arc<Partition>,
    shared: Arc<Shared>,
}

impl Actor for Entity {
    type Msg = Message;
    type State = Seat;
    type Arguments = (Key, Arc<Partition>, Arc<Shared>);

    async fn pre_start(&self, _: ActorRef<Message>, (key, partition, shared): Self::Arguments) -> Result<Seat, ActorProcessingErr> {
        shared.census.born(key.kind());
        Ok(Seat { key, partition, shared })
    }

    async fn post_stop(&self, _: ActorRef<Message>, seat: &mut Seat) -> Result<(), ActorProcessingErr> {
        seat.shared.census.died(seat.key.kind());
        Ok(())
    }

    async fn handle(&self, myself: ActorRef<Message>, message: Message, seat: &mut Seat) -> Result<(), ActorProcessingErr> {
        seat.shared.census.message(seat.key.kind());
        match message {
            Message::Propose(envelope, reply) => {
                let answer = seat.shared.propose(seat.partition.group, &envelope).await;
                // The asker may have gone at its deadline; the commit stands.
                let _ = reply.send(answer);
            }
            Message::Perform(order) => seat.perform(*order).await,
            Message::Due(timers) => {
                let envelope = Envelope { request: None, command: Command::FireTimers { timers } };
                // Unfired timers are still due: the next tick hands them out again.
                seat.shared.propose(seat.partition.group, &envelope).await;
            }
            Message::Panic => panic!("injected into a {} actor", seat.key.kind()),
        }
        if seat.is_idle() {
            myself.stop(None);
        }
        Ok(())
    }
}

impl Seat {
    /// Takes an order to its edge, until the edge has it, the order is void, or reconciliation is due.
    async fn perform(&self, order: Order) {
        let give_up = Instant::now() + ORDER_WITHIN;
        while Instant::now() < give_up && self.partition.is_leading() {
            match self.shared.ask(order.edge.node.0, &Ask::Orders(vec![order.clone()])).await {
                Ok(Answer::Done) => return,
                Ok(_) | Err(_) => sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// A call that is over needs no actor; the few agents and queues keep theirs.
    fn is_idle(&self) -> bool {
        match &self.key {
            Key::Call(call) => self.partition.state.read().find_call(*call).is_none(),
            Key::Agent(..) | Key::Queue(..) => false,
        }
    }
}
