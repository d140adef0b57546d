//! A call that was sent on to a number outside: what such a call carries beyond others, and which numbers may be called.
//!
//! How it goes is `domain::forward`'s.

use serde::{Deserialize, Serialize};

use super::{
    call::{Call, CallState},
    effect::Order,
    party::{Dialog, Sdp},
    policy::Outside,
};

/// From the commit of the transfer on: nobody of the tenant has the call any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// As it is dialled.
    pub number: String,
    /// `None` between the death of the node that called the number and the next dial.
    pub line: Option<Line>,
}

/// The leg of the number, from its dial on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub n: u16,
    pub dialog: Dialog,
    /// How it last described itself.
    pub sdp: Option<Sdp>,
    /// Number of the last report applied.
    pub seq: u32,
    /// The INVITE, or what a new edge is to do: an outbox row until its next report.
    pub order: Option<Order>,
    /// Its edge took it over and has not said yet that it has it.
    pub adopting: bool,
}

impl Outside {
    /// Whether the tenant lets its calls be sent to a number. It does not unless it says so.
    pub fn allows(&self, number: &str) -> bool {
        self.numbers.iter().any(|prefix| !prefix.is_empty() && number.starts_with(prefix.as_str()))
    }
}

impl Call {
    /// The leg of the number outside that is called or talks.
    pub fn line(&self) -> Option<&Line> {
        self.forward.as_ref()?.line.as_ref()
    }

    pub(super) fn line_mut(&mut self) -> Option<&mut Line> {
        self.forward.as_mut()?.line.as_mut()
    }

    /// A number outside was called and has not answered yet.
    pub(super) fn rings_outside(&self) -> bool {
        self.state == CallState::Forwarding && self.line().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_allowed_that_the_tenant_does_not_name_the_beginning_of() {
        let outside = |numbers: &[&str]| Outside { numbers: numbers.iter().map(ToString::to_string).collect(), ..Outside::default() };
        assert!(!Outside::default().allows("+4930123456"));
        assert!(!outside(&[""]).allows("+4930123456"));
        let some = outside(&["+4930", "0800"]);
        for (number, allowed) in [("+4930123456", true), ("08001234", true), ("+49900123456", false), ("004930123456", false)] {
            assert_eq!(some.allows(number), allowed, "{number}");
        }
    }
}
