//! What waits for the stack's task: messages of calls, requests that want to start something, orders, findings.
//!
//! One lock, four bounded queues and one bell. Requests outside a dialog wait apart, so that a flood of them cannot hold
//! up a BYE; whatever needs parsing to be told apart is parsed here, on the readers' threads.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::assistants::Found;
use crate::{
    core::{
        Outcome,
        command::LegReport,
        effect::Order,
        id::{CallId, LegId, NodeId},
    },
    media,
    sip::{
        limits::{ESTABLISHED_QUEUE_MAX, FINDINGS_MAX, FRESH_QUEUE_MAX, ORDERS_MAX},
        message::{self, Message, Method, ParseError},
        registrar::Plan,
        stack::{Destination, Flow, TxId},
        transport::{Event, Sink},
    },
};

/// A request outside a dialog.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) flow: Flow,
    pub(super) bytes: Bytes,
    pub(super) message: Box<Message>,
    pub(super) received: Instant,
}

/// A message of something that exists already, or an answer.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) flow: Flow,
    pub(super) bytes: Bytes,
    pub(super) received: Instant,
}

/// What work done elsewhere came to.
#[derive(Debug)]
pub(super) enum Finding {
    Arrived {
        call: CallId,
        outcome: Result<Outcome, crate::actor::Error>,
    },
    Referred {
        tx: TxId,
        leg: LegId,
        outcome: Result<Outcome, crate::actor::Error>,
    },
    /// The report that a phone answered has come to its end.
    AnswerDecided {
        leg: LegId,
        taken: bool,
    },
    Registered {
        tx: TxId,
        plan: Box<Plan>,
        done: Result<(), u16>,
    },
    /// A request for a leg that is not here, its transaction if it has one, and the node that owns the leg now.
    Owner {
        tx: Option<TxId>,
        owner: Option<NodeId>,
        flow: Flow,
        bytes: Bytes,
    },
    /// A message for another node's leg that could not be brought there.
    Homeless {
        flow: Flow,
        bytes: Bytes,
    },
    Undeliverable {
        to: Destination,
        bytes: Bytes,
    },
    Closed {
        flow: Flow,
    },
    /// A message for a leg that is on its way here from another edge.
    Coming {
        tx: Option<TxId>,
        leg: LegId,
        flow: Flow,
        bytes: Bytes,
        tries: u8,
    },
    /// What an AI agent is to say next, as asked for in this step of its conversation.
    Assistant {
        leg: LegId,
        step: u64,
        found: Found,
    },
    /// What an AI agent has written in a chat.
    Wrote(Box<LegReport>),
    /// Something happened to the audio of a leg.
    Media(media::Event),
    /// Some of those were missed.
    MediaMissed,
    /// The key of nonces was proposed, whatever came of it.
    Shared,
    /// A message that could not be read; to be refused with this status if it is a request.
    Bad {
        flow: Flow,
        error: ParseError,
    },
}

/// Everything that waited, taken at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) established: VecDeque<Established>,
    pub(super) orders: VecDeque<Order>,
    pub(super) findings: VecDeque<Finding>,
    pub(super) fresh: Vec<Fresh>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.established.is_empty() && self.orders.is_empty() && self.findings.is_empty() && self.fresh.is_empty()
    }
}

/// There is no room for a finding.
#[derive(Debug)]
struct Full;

#[derive(Debug, Default)]
struct Queues {
    established: VecDeque<Established>,
    fresh: VecDeque<Fresh>,
    orders: VecDeque<Order>,
    findings: VecDeque<Finding>,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    queues: Mutex<Queues>,
    bell: Notify,
}

impl Inbox {
    /// Takes all that waits, of fresh requests at most `fresh_max`.
    pub(super) fn take(&self, fresh_max: usize) -> Batch {
        let mut queues = self.queues.lock();
        let fresh = queues.fresh.len().min(fresh_max);
        Batch {
            fresh: queues.fresh.drain(..fresh).collect(),
            established: std::mem::take(&mut queues.established),
            orders: std::mem::take(&mut queues.orders),
            findings: std::mem::take(&mut queues.findings),
        }
    }

    /// Waits until something was put in after the last `take`.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Orders are rows of a replicated outbox, a few per live call; the bound only stops a runaway.
    pub(super) fn orders(&self, orders: Vec<Order>) {
        let mut queues = self.queues.lock();
        let room = ORDERS_MAX.saturating_sub(queues.orders.len());
        if orders.len() > room {
            tracing::error!(lost = orders.len() - room, "more orders than a node can hold");
        }
        queues.orders.extend(orders.into_iter().take(room));
        drop(queues);
        self.ring();
    }

    /// A finding that must not be lost. There are no more of them than there was work under way.
    pub(super) fn found(&self, finding: Finding) {
        self.queues.lock().findings.push_back(finding);
        self.ring();
    }

    /// A message for something that exists; given back when the queue is full.
    pub(super) fn established(&self, message: Established) -> Result<(), Box<Established>> {
        let mut queues = self.queues.lock();
        if queues.established.len() >= ESTABLISHED_QUEUE_MAX {
            return Err(Box::new(message));
        }
        queues.established.push_back(message);
        drop(queues);
        self.ring();
        Ok(())
    }

    fn fresh(&self, fresh: Fresh) -> Result<(), Box<Fresh>> {
        let mut queues = self.queues.lock();
        if queues.fresh.len() >= FRESH_QUEUE_MAX {
            return Err(Box::new(fresh));
        }
        queues.fresh.push_back(fresh);
        drop(queues);
        self.ring();
        Ok(())
    }

    fn spare(&self, finding: Finding) -> Result<(), Full> {
        let mut queues = self.queues.lock();
        if queues.findings.len() >= FINDINGS_MAX {
            return Err(Full);
        }
        queues.findings.push_back(finding);
        drop(queues);
        self.ring();
        Ok(())
    }

    /// Sorts a message that came in by `flow`.
    pub(super) fn message(&self, flow: Flow, bytes: Bytes, received: Instant) -> Result<(), Box<Event>> {
        let back = |flow, bytes, received| Box::new(Event::Message { flow, message: bytes, received });
        if belongs(&bytes) {
            return self.established(Established { flow, bytes, received }).map_err(|e| back(e.flow, e.bytes, e.received));
        }
        match message::parse(&bytes) {
            Ok(message) if message.is_request() && message.to_tag().is_none() && message.method() != Method::Ack => {
                self.fresh(Fresh { flow, bytes, message: Box::new(message), received }).map_err(|f| back(f.flow, f.bytes, f.received))
            }
            Ok(_) => self.established(Established { flow, bytes, received }).map_err(|e| back(e.flow, e.bytes, e.received)),
            Err(error) => {
                // When even this queue is full, the fault gets no answer.
                let _ = self.spare(Finding::Bad { flow, error });
                Ok(())
            }
        }
    }
}

/// Answers, and requests whose method says that they belong to something that exists.
fn belongs(bytes: &[u8]) -> bool {
    [&b"SIP/2.0 "[..], b"ACK ", b"BYE ", b"CANCEL ", b"PRACK "].iter().any(|start| bytes.starts_with(start))
}

impl Sink for Inbox {
    fn take(&self, event: Event) -> Result<(), Box<Event>> {
        match event {
            Event::Message { flow, message, received } => self.message(flow, message, received),
            Event::Bad { flow, fault, bytes } => {
                let partial = match message::parse(&bytes) {
                    Ok(message) => Some(Box::new(message)),
                    Err(error) => error.partial,
                };
                let error = ParseError { status: 400, reason: fault.phrase(), partial };
                let _ = self.spare(Finding::Bad { flow, error });
                Ok(())
            }
            Event::Closed { flow } => self.spare(Finding::Closed { flow }).map_err(|Full| Box::new(Event::Closed { flow })),
            Event::Undeliverable { to, bytes } => {
                // A lost one is a message lost on the way: the transaction's own timer finds out.
                let _ = self.spare(Finding::Undeliverable { to, bytes });
                Ok(())
            }
        }
    }
}
