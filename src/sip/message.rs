//! SIP messages: a tolerant parser over bytes and a builder. Header values are kept exactly as they came.
//!
//! It judges syntax (RFC 3261 §7, §25) and says which status a bad request deserves; it knows no transaction or dialog.

mod body;
mod build;
mod header;
mod parse;
#[cfg(test)]
mod tests;
mod value;

use std::borrow::Cow;

use bytes::Bytes;

pub use body::{NoSdp, sdp_of};
pub use build::Builder;
pub use header::{Method, Name};
pub(crate) use parse::read_own;
pub use parse::{ParseError, parse};
pub use value::{angle_uri, host_port, is_uri, param, request_uri, sent_by, user_of, without_tag};

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Request { method: Method, text: String, uri: String },
    Response { status: u16, reason: String },
}

/// A header field as it came: known name, original spelling of an unknown one, value without folding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: Name,
    /// The name as spelt; used when `name` is `Other`.
    pub spelt: Bytes,
    pub value: Bytes,
}

/// A parsed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub start: Start,
    pub fields: Vec<Field>,
    pub body: Bytes,
}

impl Message {
    pub const fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method of a request, or the one its CSeq names for a response.
    pub fn method(&self) -> Method {
        match &self.start {
            Start::Request { method, .. } => *method,
            Start::Response { .. } => self.cseq().map_or(Method::Other, |(_, method)| method),
        }
    }

    pub fn uri(&self) -> &str {
        match &self.start {
            Start::Request { uri, .. } => uri,
            Start::Response { .. } => "",
        }
    }

    pub const fn status(&self) -> u16 {
        match &self.start {
            Start::Request { .. } => 0,
            Start::Response { status, .. } => *status,
        }
    }

    /// The first field of this name, invalid UTF-8 replaced.
    pub fn get(&self, name: Name) -> Option<Cow<'_, str>> {
        self.fields.iter().find(|field| field.name == name).map(|field| String::from_utf8_lossy(&field.value))
    }

    /// The first field of this name, or nothing.
    pub fn text(&self, name: Name) -> String {
        self.get(name).map(Cow::into_owned).unwrap_or_default()
    }

    /// Every value of this name, with comma-separated lists taken apart outside quotes and angle brackets.
    pub fn all(&self, name: Name) -> Vec<String> {
        let fields = self.fields.iter().filter(|field| field.name == name);
        fields.flat_map(|field| value::split_list(&String::from_utf8_lossy(&field.value))).collect()
    }

    /// Number and method of the CSeq field.
    pub fn cseq(&self) -> Option<(u32, Method)> {
        let text = self.get(Name::CSeq)?;
        let (number, method) = text.trim().split_once(char::is_whitespace)?;
        Some((number.parse().ok()?, Method::of(method.trim().as_bytes())))
    }

    pub fn call_id(&self) -> String {
        self.text(Name::CallId)
    }

    pub fn from_tag(&self) -> Option<String> {
        param(&self.get(Name::From)?, "tag").map(str::to_owned)
    }

    pub fn to_tag(&self) -> Option<String> {
        param(&self.get(Name::To)?, "tag").map(str::to_owned)
    }

    /// Branch and sent-by of the topmost Via.
    pub fn top_via(&self) -> Option<(String, String)> {
        let via = self.all(Name::Via).into_iter().next()?;
        let branch = param(&via, "branch").unwrap_or_default().to_owned();
        let sent_by = value::sent_by(&via);
        (!sent_by.is_empty()).then(|| (branch, sent_by.to_owned()))
    }

    /// The URI of the first Contact, if it can be sent to.
    pub fn contact(&self) -> Option<String> {
        self.all(Name::Contact).first().map(|contact| angle_uri(contact).to_owned()).filter(|uri| is_uri(uri))
    }

    /// True if the option tag is in Require or, with `supported`, in Supported.
    pub fn wants(&self, name: Name, option: &str) -> bool {
        self.all(name).iter().any(|value| value.eq_ignore_ascii_case(option))
    }
}
