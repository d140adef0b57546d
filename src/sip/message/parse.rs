//! Bytes to a message. One framed message in; LF alone, folded lines, compact names and odd spacing are taken.

use bytes::Bytes;

use super::{
    Field, Message, Method, Name, Start,
    value::{is_uri, quotes_close, via_is_sound},
};
use crate::sip::limits::{HEADER_FIELDS_MAX, MESSAGE_BYTES_MAX};

/// Why bytes are not an acceptable message, and what its sender is to be answered if it was a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {reason}")]
pub struct ParseError {
    pub status: u16,
    pub reason: &'static str,
    /// What could be read, so that an answer finds its way back; `None` deserves silence.
    pub partial: Option<Box<Message>>,
}

const fn bad(reason: &'static str) -> ParseError {
    ParseError { status: 400, reason, partial: None }
}

/// Parses one message that fills `bytes`; on a datagram a missing Content-Length means the rest is the body (§18.3).
///
/// # Errors
/// [`ParseError`] with the status a request deserves.
pub fn parse(bytes: &[u8]) -> Result<Message, ParseError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(ParseError { status: 513, reason: "Message Too Large", partial: None });
    }
    let (message, version_ok) = read(bytes, HEADER_FIELDS_MAX)?;
    judge(message, version_ok)
}

/// Reads a message of our own: it may repeat more of a peer's than we would take from one, and nobody judges it.
pub(crate) fn read_own(bytes: &[u8]) -> Option<Message> {
    read(bytes, usize::MAX).ok().map(|(message, _)| message)
}

fn read(bytes: &[u8], fields_max: usize) -> Result<(Message, bool), ParseError> {
    let (head, body) = split_head(bytes).ok_or(bad("No End of Headers"))?;
    let mut lines = unfold(head).into_iter();
    let first = lines.next().ok_or(bad("Empty Message"))?;
    let (start, version_ok) = start_line(&first)?;
    let mut fields = Vec::new();
    for line in lines {
        if fields.len() >= fields_max {
            return Err(ParseError { status: 513, reason: "Too Many Header Fields", partial: None });
        }
        // A line without a colon is nobody's field; the rest of the message is still good.
        if let Some(colon) = line.iter().position(|b| *b == b':') {
            let (spelt, value) = (trim(&line[..colon]), trim(&line[colon + 1..]));
            fields.push(Field { name: Name::of(spelt), spelt: Bytes::copy_from_slice(spelt), value: Bytes::copy_from_slice(value) });
        }
    }
    Ok((Message { start, fields, body: Bytes::copy_from_slice(body) }, version_ok))
}

/// Header section and body, cut at the first empty line.
fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    let bytes = &bytes[start..];
    (0..bytes.len()).find_map(|at| {
        let rest = &bytes[at..];
        [&b"\r\n\r\n"[..], b"\n\n"].into_iter().find(|end| rest.starts_with(end)).map(|end| (&bytes[..at], &rest[end.len()..]))
    })
}

fn unfold(head: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        match lines.last_mut() {
            Some(last) if matches!(line.first(), Some(b' ' | b'\t')) && !lines_is_first(last) => {
                last.push(b' ');
                last.extend_from_slice(trim(line));
            }
            _ => lines.push(line.to_vec()),
        }
    }
    lines
}

/// The start line cannot be continued.
fn lines_is_first(line: &[u8]) -> bool {
    line.ends_with(b"SIP/2.0") || line.starts_with(b"SIP/")
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

fn start_line(line: &[u8]) -> Result<(Start, bool), ParseError> {
    let text = String::from_utf8_lossy(line);
    if let Some(rest) = text.strip_prefix("SIP/2.0 ") {
        let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let status = status.parse().ok().filter(|status| (100..700).contains(status)).ok_or(ParseError {
            status: 0,
            reason: "Bad Status",
            partial: None,
        })?;
        return Ok((Start::Response { status, reason: reason.to_owned() }, true));
    }
    let (method, rest) = text.split_once(' ').ok_or(bad("Bad Request Line"))?;
    let (uri, version) = rest.trim_end().rsplit_once(' ').ok_or(bad("Bad Request Line"))?;
    let token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    if method.is_empty() || !method.chars().all(token) || !version.to_ascii_uppercase().starts_with("SIP/") {
        return Err(bad("Bad Request Line"));
    }
    let start = Start::Request { method: Method::of(method.as_bytes()), text: method.to_owned(), uri: uri.to_owned() };
    Ok((start, version.eq_ignore_ascii_case("SIP/2.0")))
}

/// Syntax of the fields that decide where answers go and whose dialog it is; others are their readers' business.
fn well_formed(message: &Message) -> bool {
    message.fields.iter().all(|field| match field.name {
        Name::Via => via_is_sound(&String::from_utf8_lossy(&field.value)),
        Name::From | Name::To | Name::Contact => quotes_close(&String::from_utf8_lossy(&field.value)),
        _ => true,
    })
}

/// Semantics every element checks (§8.2, §16.3, §18.3).
fn judge(mut message: Message, version_ok: bool) -> Result<Message, ParseError> {
    let length = message
        .fields
        .iter()
        .filter(|field| field.name == Name::ContentLength)
        .map(|field| std::str::from_utf8(&field.value).ok().and_then(|text| text.parse::<usize>().ok()));
    let lengths: Vec<_> = length.collect();
    let one = |name| message.fields.iter().filter(|field| field.name == name).count() == 1;
    let cseq_fits = message.cseq().is_some_and(|(_, method)| match &message.start {
        Start::Request { method: asked, text, .. } => {
            method == *asked && (*asked != Method::Other || message.text(Name::CSeq).ends_with(text.as_str()))
        }
        Start::Response { .. } => true,
    });
    let wrong = if !version_ok {
        Some((505, "Version Not Supported"))
    } else if !one(Name::CallId) || !one(Name::From) || !one(Name::To) || !one(Name::CSeq) || message.top_via().is_none() {
        Some((400, "Missing or Repeated Header Field"))
    } else if !well_formed(&message) {
        Some((400, "Malformed Header Field"))
    } else if !cseq_fits {
        Some((400, "CSeq Does Not Fit"))
    } else if lengths.iter().any(Option::is_none) || lengths.windows(2).any(|pair| pair[0] != pair[1]) {
        Some((400, "Bad Content-Length"))
    } else if lengths.first().copied().flatten().is_some_and(|length| length > message.body.len()) {
        Some((400, "Body Shorter Than Content-Length"))
    } else if message.is_request() && !is_uri(message.uri()) {
        Some((400, "Bad Request-URI"))
    } else {
        None
    };
    if let Some((status, reason)) = wrong {
        return Err(ParseError { status, reason, partial: Some(Box::new(message)) });
    }
    if let Some(length) = lengths.first().copied().flatten() {
        message.body.truncate(length);
    }
    Ok(message)
}
