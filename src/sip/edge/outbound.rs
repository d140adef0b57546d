//! What leaves the node: to a socket, through another node's flow, or not at all while the node has no lease.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    inbox::{Finding, Inbox},
    metrics as names, stateless,
    worker::Worker,
};
use crate::{
    core::id::{LegId, NodeId},
    sip::{
        limits::{ADOPTION_LOOK, ADOPTION_LOOKS_MAX, TUNNEL_IN_FLIGHT_MAX, WITHHELD_MAX},
        message::{Message, Method, parse},
        stack::{Destination, Flow, TxId},
        tunnel::{Frame, holder},
    },
};

/// Whether a message acts for a leg: requests and final answers do, 1xx only says that we are there.
fn acts(bytes: &[u8]) -> bool {
    !bytes.starts_with(b"SIP/2.0 1")
}

impl Worker {
    /// Sends what the stack wants sent, if this node may.
    pub(super) fn transmit(&mut self, to: Destination, bytes: Bytes) {
        // Asked for each message: a process that was stopped in the middle of a turn finds out before its next word.
        self.lease = self.lease && self.backend.lease_valid();
        if self.lease || self.plain_answer || !acts(&bytes) {
            return self.write(to, bytes);
        }
        metrics::counter!(names::WITHHELD_TOTAL).increment(1);
        if self.withheld.len() >= WITHHELD_MAX {
            // The oldest is the likeliest to be repeated by its transaction.
            self.withheld.pop_front();
        }
        self.withheld.push_back((to, bytes));
    }

    /// The lease is back. It could not be if a majority had given this life of the node up, so its legs are its own.
    pub(super) fn release(&mut self) {
        let mut sent = std::collections::HashSet::new();
        for (to, bytes) in std::mem::take(&mut self.withheld) {
            // A transaction's repeats while nothing went out count once.
            if sent.insert(bytes.clone()) {
                self.write(to, bytes);
            }
        }
    }

    pub(super) fn write(&mut self, to: Destination, bytes: Bytes) {
        if let Some(class) = class_of(&bytes) {
            metrics::counter!(names::RESPONSES_TOTAL, "class" => class).increment(1);
        }
        if let Some((node, flow)) = holder(&to, self.me.node) {
            return self.tunnel(node, to, Frame::To(flow, bytes));
        }
        if self.transport.send(&to, &bytes).is_err() {
            self.shared.inbox.found(Finding::Undeliverable { to, bytes });
        }
    }

    /// Sends a frame to a node, in order behind those before it.
    fn tunnel(&mut self, node: NodeId, to: Destination, frame: Frame) {
        let (backend, shared) = (self.backend.clone(), self.shared.clone());
        let queue = self.tunnels.entry(node).or_insert_with(|| {
            let (sender, mut queue) = mpsc::channel::<(Destination, Frame)>(TUNNEL_IN_FLIGHT_MAX);
            tokio::spawn(async move {
                while let Some((to, frame)) = queue.recv().await {
                    if backend.tunnel(node, frame.encode()).await.is_err() {
                        undelivered(&shared.inbox, to, frame);
                    }
                }
            });
            sender
        });
        if let Err(mpsc::error::TrySendError::Full((to, frame)) | mpsc::error::TrySendError::Closed((to, frame))) =
            queue.try_send((to, frame))
        {
            undelivered(&self.shared.inbox, to, frame);
        }
    }

    /// A message for a leg or transaction that another node minted.
    pub(super) fn tunnel_from(&mut self, node: NodeId, flow: Flow, bytes: Bytes) {
        if flow.via.is_some() {
            // It has been brought here once; another hop could only go in circles.
            return self.homeless(flow, bytes);
        }
        self.tunnel(node, Destination::Flow(flow), Frame::From(flow, bytes));
    }

    /// A message whose node is not there: whoever owns its leg now shall have it.
    pub(super) fn homeless(&mut self, flow: Flow, bytes: Bytes) {
        let Ok(message) = parse(&bytes) else { return };
        match leg_of(&message) {
            Some(leg) if flow.via.is_none() && (message.is_request() || is_answer(&message)) => self.look_up(None, leg, flow, bytes, 0),
            _ if !message.is_request() => {}
            _ => self.owner_found(Instant::now(), None, None, flow, bytes),
        }
    }

    /// Asks for the owner of a leg that is not here. If it is this node, the leg is on its way here from a dead edge.
    pub(super) fn look_up(&mut self, tx: Option<TxId>, leg: LegId, flow: Flow, bytes: Bytes, tries: u8) {
        let (backend, shared, me) = (self.backend.clone(), self.shared.clone(), self.me);
        tokio::spawn(async move {
            let owner = backend.owner_of(leg).await;
            if owner == Some(me) && tries < ADOPTION_LOOKS_MAX {
                tokio::time::sleep(ADOPTION_LOOK).await;
                return shared.inbox.found(Finding::Coming { tx, leg, flow, bytes, tries: tries + 1 });
            }
            if owner.is_some_and(|owner| owner.node == me.node) && bytes.starts_with(b"SIP/2.0 ") {
                // Of a life of this node whose loss is not known everywhere yet: who answered will say so again.
                return;
            }
            let owner = owner.map(|edge| edge.node).filter(|node| *node != me.node);
            shared.inbox.found(Finding::Owner { tx, owner, flow, bytes });
        });
    }

    /// Looks whether a leg that was on its way here has come, for a message that was sooner.
    pub(super) fn coming(&mut self, now: Instant, tx: Option<TxId>, leg: LegId, flow: Flow, bytes: Bytes, tries: u8) {
        if !self.stack.knows(leg) {
            return self.look_up(tx, leg, flow, bytes, tries);
        }
        if let Some(tx) = tx {
            self.stack.dismiss(tx);
        }
        self.stack.receive(now, flow, bytes);
        self.drain(now);
    }

    pub(super) fn owner_found(&mut self, now: Instant, tx: Option<TxId>, owner: Option<NodeId>, flow: Flow, bytes: Bytes) {
        match (owner, tx) {
            (Some(node), _) if flow.via.is_none() => {
                if let Some(tx) = tx {
                    // Its owner answers; a repeat finds nothing here and is brought there again.
                    self.stack.dismiss(tx);
                }
                self.tunnel(node, Destination::Flow(flow), Frame::From(flow, bytes));
            }
            (_, Some(tx)) => self.answer(now, tx, 481, "Call/Transaction Does Not Exist", &[]),
            (owner, None) => {
                let Ok(message) = parse(&bytes) else { return };
                if let Some(leg) = leg_of(&message).filter(|_| owner.is_none() && is_answer(&message)) {
                    self.stack.unwanted(now, leg, flow, &bytes);
                    return self.drain(now);
                }
                let answer = stateless::answer(&message, flow.remote, 481, "Call/Transaction Does Not Exist", &[]);
                if let Some(answer) = answer {
                    self.write(Destination::Flow(flow), answer);
                }
            }
        }
    }
}

fn undelivered(inbox: &Inbox, to: Destination, frame: Frame) {
    inbox.found(match frame {
        Frame::To(_, bytes) => Finding::Undeliverable { to, bytes },
        Frame::From(flow, bytes) => Finding::Homeless { flow, bytes },
    });
}

/// True of a 2xx to an INVITE, which wants an ACK and, where no call has its leg, a BYE.
fn is_answer(message: &Message) -> bool {
    !message.is_request() && message.method() == Method::Invite && (200..300).contains(&message.status())
}

/// The leg a request in a dialog is for, or an answer is of, as our tag names it.
fn leg_of(message: &Message) -> Option<LegId> {
    let tag = if message.is_request() { message.to_tag()? } else { message.from_tag()? };
    let (call, n) = tag.split('.').next()?.split_once('-')?;
    Some(LegId { call: call.parse().ok()?, n: n.parse().ok()? })
}

fn class_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes.strip_prefix(b"SIP/2.0 ")?.first()? {
        b'1' => Some("1xx"),
        b'2' => Some("2xx"),
        b'3' => Some("3xx"),
        b'4' => Some("4xx"),
        b'5' => Some("5xx"),
        _ => Some("6xx"),
    }
}
