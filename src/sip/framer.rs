//! Finds the messages in what arrives: a datagram is one, a stream is cut by Content-Length (RFC 3261 §18.3).
//!
//! It works on bytes, never on text, and is tolerant where the wire is (keep-alives, junk between messages, compact
//! names, bytes that are not UTF-8). It does not parse a message: it reads Content-Length and nothing else, and leaves
//! every judgement on a message's meaning to `sip::message`.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

use super::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX};

#[cfg(test)]
mod tests;

/// Why bytes are no message. All but `HeadTooBig` leave a head from which a 400 can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    NoContentLength,
    BadContentLength,
    Truncated,
    HeadTooBig,
    BodyTooBig,
    NoHeadEnd,
}

impl Fault {
    /// Reason phrase of the 400.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::NoContentLength => "Missing Content-Length",
            Self::BadContentLength => "Bad Content-Length",
            Self::Truncated => "Body Shorter Than Content-Length",
            Self::HeadTooBig => "Header Too Large",
            Self::BodyTooBig => "Body Too Large",
            Self::NoHeadEnd => "No End Of Header",
        }
    }
}

/// What a datagram is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datagram {
    /// CRLF, zero bytes or nothing: keeps a pinhole open and wants no answer.
    KeepAlive,
    /// Not SIP at all: silence, so that nobody can use us as a reflector.
    Garbage,
    Message(Bytes),
    /// SIP with a fault. The bytes are given back for the 400.
    Bad(Fault, Bytes),
}

/// Frames a datagram. Without Content-Length the body is the rest; bytes beyond Content-Length are dropped.
pub fn datagram(mut bytes: Bytes) -> Datagram {
    let junk = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n' | 0 | b' ')).count();
    bytes.advance(junk);
    if bytes.is_empty() {
        return Datagram::KeepAlive;
    }
    if !looks_like_sip(&bytes) {
        return Datagram::Garbage;
    }
    let Some(head) = head_len(&bytes) else {
        return Datagram::Bad(Fault::NoHeadEnd, bytes);
    };
    if head > HEAD_BYTES_MAX {
        return Datagram::Bad(Fault::HeadTooBig, bytes);
    }
    match content_length(&bytes[..head]) {
        Err(fault) => Datagram::Bad(fault, bytes),
        Ok(None) => Datagram::Message(bytes),
        Ok(Some(body)) if body > bytes.len() - head => Datagram::Bad(Fault::Truncated, bytes),
        Ok(Some(body)) => {
            bytes.truncate(head + body);
            Datagram::Message(bytes)
        }
    }
}

/// What a stream yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Message(Bytes),
    /// CRLF CRLF between messages: to be answered with CRLF (RFC 5626 §4.4.1).
    Ping,
}

/// Cuts a stream into messages. After an error the stream cannot be read on and must be closed.
#[derive(Debug, Default)]
pub struct StreamFramer {
    buffer: BytesMut,
    /// Bytes already searched for the end of the head.
    searched: usize,
    /// Length of the message being collected, once its head is complete.
    expect: Option<usize>,
}

impl StreamFramer {
    /// Appends what was read. Call [`StreamFramer::next`] until `None` before pushing more: that bounds the buffer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// True while a message has begun and is not complete. A bare CRLF is a keep-alive, not a beginning.
    pub fn is_partial(&self) -> bool {
        self.buffer.iter().any(|b| !matches!(b, b'\r' | b'\n'))
    }

    /// The next frame, `None` when more bytes are needed.
    ///
    /// # Errors
    /// With the fault and what there is of the offending message.
    #[expect(clippy::should_implement_trait, reason = "it can fail and yields none more than once")]
    pub fn next(&mut self) -> Result<Option<Frame>, (Fault, Bytes)> {
        if self.expect.is_none()
            && let Some(ping) = self.skip_between()
        {
            return Ok(ping.then_some(Frame::Ping));
        }
        let total = match self.expect {
            Some(total) => total,
            None => match self.find_total()? {
                Some(total) => total,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < total {
            self.expect = Some(total);
            return Ok(None);
        }
        self.expect = None;
        self.searched = 0;
        let message = self.buffer.split_to(total).freeze();
        if self.buffer.is_empty() {
            // A connection at rest holds no buffer.
            self.buffer = BytesMut::new();
        }
        Ok(Some(Frame::Message(message)))
    }

    /// Drops line ends before a message. `Some(true)` is a ping, `Some(false)` means that more bytes must decide.
    fn skip_between(&mut self) -> Option<bool> {
        loop {
            match *self.buffer {
                [] => return Some(false),
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    self.buffer.advance(4);
                    return Some(true);
                }
                [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return Some(false),
                [b'\r', b'\n', ..] => self.buffer.advance(2),
                [b'\r' | b'\n', ..] => self.buffer.advance(1),
                _ => return None,
            }
        }
    }

    /// Length of head and body together, once the head is complete.
    fn find_total(&mut self) -> Result<Option<usize>, (Fault, Bytes)> {
        // The blank line may straddle the border of two reads.
        let from = self.searched.saturating_sub(3);
        let Some(end) = memmem::find(&self.buffer[from..], b"\r\n\r\n") else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > HEAD_BYTES_MAX { Err(self.fail(Fault::HeadTooBig)) } else { Ok(None) };
        };
        let head = from + end + 4;
        if head > HEAD_BYTES_MAX {
            return Err(self.fail(Fault::HeadTooBig));
        }
        match content_length(&self.buffer[..head]) {
            Err(fault) => Err(self.fail(fault)),
            Ok(None) => Err(self.fail(Fault::NoContentLength)),
            Ok(Some(body)) if body > BODY_BYTES_MAX => Err(self.fail(Fault::BodyTooBig)),
            Ok(Some(body)) => Ok(Some(head + body)),
        }
    }

    fn fail(&mut self, fault: Fault) -> (Fault, Bytes) {
        (fault, self.buffer.split().freeze())
    }
}

/// Whether the first line names the protocol, in whatever version.
fn looks_like_sip(bytes: &[u8]) -> bool {
    let line = &bytes[..memchr::memchr(b'\n', bytes).unwrap_or(bytes.len()).min(HEAD_BYTES_MAX)];
    line.windows(4).any(|w| w.eq_ignore_ascii_case(b"SIP/"))
}

/// Length of the head with its blank line.
fn head_len(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The body's length as the head states it. Several fields must agree; anything but digits is a fault.
fn content_length(head: &[u8]) -> Result<Option<usize>, Fault> {
    let mut found = None;
    let mut lines = head.split(|b| *b == b'\n').peekable();
    while let Some(line) = lines.next() {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let name = line[..colon].trim_ascii_end();
        if !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"l") {
            continue;
        }
        let mut value = line[colon + 1..].trim_ascii();
        // A folded field carries on in the next line (RFC 3261 §7.3.1).
        while value.is_empty()
            && let Some(next) = lines.next_if(|next| matches!(next.first(), Some(b' ' | b'\t')))
        {
            value = next.trim_ascii();
        }
        let length = digits(value).ok_or(Fault::BadContentLength)?;
        if found.is_some_and(|earlier| earlier != length) {
            return Err(Fault::BadContentLength);
        }
        found = Some(length);
    }
    Ok(found)
}

fn digits(value: &[u8]) -> Option<usize> {
    if value.is_empty() || value.len() > 9 {
        return None;
    }
    value.iter().try_fold(0_usize, |n, b| b.is_ascii_digit().then(|| n * 10 + usize::from(b - b'0')))
}
