//! A call whose customer hung up and is to be called back, or was never on the phone: what such a call carries beyond others.
//!
//! How it goes is `domain::callback`'s.

use serde::{Deserialize, Serialize};

use super::{
    call::{Call, CallState, CallerLeg},
    command::Actor,
    id::CallId,
    limits::{NUMBER_DIGITS_MAX, NUMBER_DIGITS_MIN},
    party::{Dialog, Sdp},
    time::{LogTime, Stamp, WallTime},
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// As it is dialled.
    pub number: String,
    pub by: Actor,
    pub scheduled: Stamp,
    /// Not before this by the wall clock, as somebody asked; and by log time, as a pause after a dial wants it.
    pub at: Option<WallTime>,
    pub due: LogTime,
    /// When it is given up.
    pub until: LogTime,
    /// Dials so far.
    pub dials: u8,
    /// The customer's leg, from its dial on.
    pub leg: Option<u16>,
    /// The customer answered: from then on it is a call like any other.
    pub reached: bool,
    /// The chat it goes on with.
    pub continues: Option<CallId>,
}

/// What the record of such a call says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalledBack {
    pub scheduled: Stamp,
    pub dials: u8,
    /// The chat it went on with.
    pub continues: Option<CallId>,
}

/// True for what can be dialled: digits, `*` and `#`, with a leading `+` or not.
pub fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (NUMBER_DIGITS_MIN..=NUMBER_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit() || b"*#".contains(&b))
}

impl CallerLeg {
    /// Nothing was said on it yet.
    pub(super) fn new(dialog: Dialog) -> Self {
        Self {
            dialog,
            seq: 0,
            order: None,
            ringing: false,
            up: None,
            greeted: false,
            confirmed: false,
            adopting: false,
            held: false,
            muted: false,
            holds: false,
        }
    }
}

impl Call {
    /// The number of the leg of whoever called, or is called back. `None` while nobody is on the phone.
    pub fn caller_leg(&self) -> Option<u16> {
        if self.chat.is_some() {
            return None;
        }
        self.callback.as_ref().map_or(Some(0), |callback| callback.leg)
    }

    /// True while its customer is not on the phone.
    pub fn is_to_be_called_back(&self) -> bool {
        self.callback.as_ref().is_some_and(|callback| !callback.reached)
    }

    /// True while a node's death ends nothing for its customer, who has no phone in its hand.
    pub fn is_without_phone(&self) -> bool {
        self.chat.is_some() || self.is_to_be_called_back()
    }

    /// What a leg that is rung for it is offered: what its caller says of itself. A customer who was called offered nothing, and
    /// may not be on the phone yet: then the edge offers what is its own.
    pub(super) fn offered(&self) -> Option<Sdp> {
        self.sdp.clone().filter(|_| self.callback.is_none())
    }

    /// The leg of the agent who has it.
    pub const fn owner(&self) -> Option<u16> {
        match self.state {
            CallState::Connected { leg, .. } | CallState::Dialling { leg } => Some(leg),
            CallState::Queued | CallState::Offering | CallState::Deferred | CallState::Forwarding | CallState::Forwarded => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_dialled_is_a_number() {
        for good in ["+4930123456", "4711", "*21#", "123"] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["", "+", "12", "anna", "49 30", "+49;isub=1", "sip:1@x", &"1".repeat(33)] {
            assert!(!is_number(bad), "{bad}");
        }
    }
}
