//! A call that was sent on to a number outside: what such a call carries beyond others, and which numbers may be called.
//!
//! How it goes is `domain::forward`'s.

use serde::{Deserialize, Serialize};

use super::{
    call::{Call, CallState},
    effect::Order,
    party::{Dialog, Headers, Party, Sdp},
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

/// The header field by which a caller withholds who it is (RFC 3323 §4.2).
const PRIVACY: &str = "Privacy";

/// What somebody outside is shown of a caller: its name and number unless it withheld them, and that it did.
pub(super) fn shown_outside(caller: &Party, headers: &Headers) -> (Party, Headers) {
    let withheld = |(name, value): &&(String, String)| name.eq_ignore_ascii_case(PRIVACY) && !value.trim().eq_ignore_ascii_case("none");
    match headers.iter().find(withheld) {
        Some(field) => {
            let uri = "sip:anonymous@anonymous.invalid".to_owned();
            (Party { user: "anonymous".to_owned(), display: "Anonymous".to_owned(), uri }, vec![field.clone()])
        }
        None => (caller.clone(), Headers::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_withholds_its_number_withholds_it_from_those_outside() {
        let caller = Party { user: "5551000".into(), display: "Ann".into(), uri: "sip:5551000@x".into() };
        let field = |value: &str| vec![("X-Account".to_owned(), "7".to_owned()), ("privacy".to_owned(), value.to_owned())];
        let (shown, headers) = shown_outside(&caller, &field("id; critical"));
        assert_eq!((shown.user.as_str(), headers.len()), ("anonymous", 1));
        assert!(!shown.uri.contains("5551000") && !shown.display.contains("Ann"));
        assert_eq!(shown_outside(&caller, &field("none")), (caller.clone(), Headers::new()));
        assert_eq!(shown_outside(&caller, &Headers::new()), (caller.clone(), Headers::new()));
    }

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
