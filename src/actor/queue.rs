//! The actor of one queue: its opening and closing, and how long its calls wait before they step on or are sent on.
//!
//! Who waits in it and who is next is decided in `apply`.

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{
    census::{Alive, Kind},
    entity::{Message, Seat},
};

pub(super) struct QueueActor;

pub(super) struct QueueState {
    seat: Seat,
    alive: Alive,
}

impl Actor for QueueActor {
    type Msg = Message;
    type State = QueueState;
    type Arguments = Seat;

    async fn pre_start(&self, _: ActorRef<Message>, seat: Seat) -> Result<QueueState, ActorProcessingErr> {
        let alive = seat.shared.counters.born(Kind::Queue);
        Ok(QueueState { seat, alive })
    }

    async fn handle(&self, _: ActorRef<Message>, message: Message, queue: &mut QueueState) -> Result<(), ActorProcessingErr> {
        queue.alive.message();
        queue.seat.vitals.begin(&message).await;
        match message {
            Message::Commit(job) => queue.seat.commit(job).await,
            Message::Due(timers) => queue.seat.fire(timers).await,
            // Orders are for legs, and legs are a call's.
            Message::Perform(_) | Message::Taken(_) | Message::Retry(..) | Message::Nudge => {}
        }
        queue.seat.vitals.end(true);
        Ok(())
    }
}
