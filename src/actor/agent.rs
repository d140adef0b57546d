//! The actor of one agent: what people want it to be, the phones it registers, and its own deadlines.
//!
//! It keeps nothing: presence, bindings and deadlines are rows of the state.

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{
    census::{Alive, Kind},
    entity::{Message, Seat},
};

pub(super) struct AgentActor;

pub(super) struct AgentState {
    seat: Seat,
    alive: Alive,
}

impl Actor for AgentActor {
    type Msg = Message;
    type State = AgentState;
    type Arguments = Seat;

    async fn pre_start(&self, _: ActorRef<Message>, seat: Seat) -> Result<AgentState, ActorProcessingErr> {
        let alive = seat.shared.counters.born(Kind::Agent);
        Ok(AgentState { seat, alive })
    }

    async fn handle(&self, _: ActorRef<Message>, message: Message, agent: &mut AgentState) -> Result<(), ActorProcessingErr> {
        agent.alive.message();
        agent.seat.vitals.begin(&message).await;
        match message {
            Message::Commit(job) => agent.seat.commit(job).await,
            Message::Due(timers) => agent.seat.fire(timers).await,
            // Orders are for legs, and legs are a call's.
            Message::Perform(_) | Message::Taken(_) | Message::Retry(..) | Message::Nudge => {}
        }
        agent.seat.vitals.end(true);
        Ok(())
    }
}
