//! A leg as replicated: what an edge needs to go on with it after the one that carried it died or gave it away.
//!
//! It is made from the rows of a call when they change hands. What an edge does with it is `sip::stack`'s.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    effect::Ring,
    id::{Edge, LegId, TrunkId},
    party::{Dialog, Sdp},
};

/// How far a survivor's CSeq jumps over what the edge before it may have used: requests in a dialog are not replicated one
/// by one, and a phone refuses a number it has seen (RFC 3261 §12.2.2).
pub const CSEQ_JUMP: u32 = 1_000;

/// How far a leg had come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// A caller without a final answer: its INVITE is answered from the dialog's Via.
    Waiting,
    /// A phone that was called and had not been heard to answer. If it had not even been heard to ring, its dialog is not
    /// known, but follows from what `by` called it with.
    Ringing { ring: Option<Arc<Ring>>, by: Edge },
    /// Talking, or held. `unconfirmed`: our 200 was ordered less than 32 s ago, so that the caller may not have it yet.
    Up { unconfirmed: bool },
}

/// A leg as the edge before left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub stage: Stage,
    pub dialog: Dialog,
    /// How often the call changed hands; keeps numbers of its owners apart (RSeq, versions of descriptions).
    pub adoptions: u16,
    /// The trunk it came by, for the new edge's books.
    pub trunk: Option<TrunkId>,
    /// Media goes through the edge.
    pub anchored: bool,
    /// The leg it talks with.
    pub peer: Option<LegId>,
    /// How its party last described itself, and how the other party did.
    pub sdp: Option<Sdp>,
    pub other: Option<Sdp>,
}

impl Dialog {
    /// What changes when another edge speaks in it: its numbers lie beyond those the former may have used, and a
    /// connection that the former held is not there any more.
    pub(super) fn change_hands(&mut self, former: Edge, up: bool) {
        if up {
            self.local_cseq += CSEQ_JUMP;
        }
        self.flow = self.flow.filter(|flow| flow.node != former.node);
    }
}

impl Image {
    /// The same leg, one owner later.
    pub(super) fn passed_on(mut self, former: Edge) -> Self {
        self.dialog.change_hands(former, matches!(self.stage, Stage::Up { .. }));
        self.adoptions = self.adoptions.saturating_add(1);
        self
    }
}
