//! The frames on a stream: one request with its head, one answer. Sizes are checked before anything is read.
//!
//! It knows classes of kinds only by two bits, and nothing of what a request means.

use std::time::Duration;

use bytes::Bytes;
use quinn::{ReadExactError, RecvStream, SendStream};
use tokio::time::timeout;

use crate::limits;

const MAGIC: [u8; 2] = *b"TD";
/// Version of the protocol between nodes. A peer that speaks another one is refused by name.
pub(super) const VERSION: u8 = 1;
/// The first stream of a connection says who speaks.
pub(super) const HELLO: u8 = 0;
/// Bit of the kinds whose bodies may be huge (snapshots). They yield to all other traffic, and few are sent at once.
pub(crate) const BULK: u8 = 0x80;
/// Bit of the kinds that clients of the cluster cause. Their number in flight is bounded, so that a burst of them never
/// takes the streams that consensus needs.
pub(crate) const APPLICATION: u8 = 0x40;

/// Magic, version, kind, group, length of the body.
const HEAD_BYTES: usize = 2 + 1 + 1 + 4 + 4;
/// Status, length of the body.
const ANSWER_HEAD_BYTES: usize = 1 + 4;
const OK: u8 = 0;
const REFUSED: u8 = 1;
/// What is reserved before a single byte of a body has arrived.
const FIRST_RESERVATION_BYTES: usize = 64 << 10;

/// Why a frame could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("not a frame of this protocol")]
    Magic,
    #[error("the peer speaks protocol version {0}, this node speaks {VERSION}")]
    Version(u8),
    #[error("a body of {len} bytes exceeds the limit of {max} for its kind")]
    TooLarge { len: usize, max: usize },
    #[error("the request did not arrive in time")]
    Late,
    #[error("{0}")]
    Connection(String),
}

fn lost(error: impl std::fmt::Display) -> Error {
    Error::Connection(error.to_string())
}

/// A request as it arrived.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) kind: u8,
    pub(super) group: u32,
    pub(super) body: Bytes,
}

fn limit(kind: u8) -> usize {
    match kind {
        HELLO => limits::HELLO_MAX_BYTES,
        kind if kind & BULK != 0 => limits::BULK_FRAME_MAX_BYTES,
        _ => limits::FRAME_MAX_BYTES,
    }
}

fn checked(kind: u8, len: usize) -> Result<u32, Error> {
    let max = limit(kind);
    u32::try_from(len).ok().filter(|_| len <= max).ok_or(Error::TooLarge { len, max })
}

/// Sends a request and ends the stream's sending side.
pub(super) async fn send_request(stream: &mut SendStream, kind: u8, group: u32, body: &[u8]) -> Result<(), Error> {
    send_parts(stream, kind, group, &[body], usize::MAX).await
}

/// As [`send_request`], with a body in several places, in pieces of at most `chunk` bytes: a peer that takes none for a
/// while ends it.
pub(super) async fn send_parts(stream: &mut SendStream, kind: u8, group: u32, parts: &[&[u8]], chunk: usize) -> Result<(), Error> {
    let len = checked(kind, parts.iter().map(|part| part.len()).sum())?;
    if kind & BULK != 0 {
        stream.set_priority(-1).map_err(lost)?;
    }
    let mut head = [0; HEAD_BYTES];
    head[..2].copy_from_slice(&MAGIC);
    (head[2], head[3]) = (VERSION, kind);
    head[4..8].copy_from_slice(&group.to_le_bytes());
    head[8..].copy_from_slice(&len.to_le_bytes());
    stream.write_all(&head).await.map_err(lost)?;
    for piece in parts.iter().flat_map(|part| part.chunks(chunk)) {
        within(limits::REQUEST_READ_TIMEOUT, async { stream.write_all(piece).await.map_err(lost) }).await?;
    }
    stream.finish().map_err(lost)
}

/// Reads a request within the time its class is given.
pub(super) async fn receive_request(stream: &mut RecvStream) -> Result<Request, Error> {
    let mut head = [0; HEAD_BYTES];
    within(limits::REQUEST_READ_TIMEOUT, async { stream.read_exact(&mut head).await.map_err(cut) }).await?;
    if head[..2] != MAGIC {
        return Err(Error::Magic);
    }
    if head[2] != VERSION {
        return Err(Error::Version(head[2]));
    }
    let (kind, group) = (head[3], word(&head[4..8]));
    let len = checked(kind, word(&head[8..]) as usize)? as usize;
    let time = if kind & BULK == 0 { limits::REQUEST_READ_TIMEOUT } else { limits::BULK_READ_TIMEOUT };
    let body = within(time, receive_body(stream, len)).await?;
    Ok(Request { kind, group, body })
}

/// Sends the answer: a body, or the reason why there is none.
pub(super) async fn send_answer(stream: &mut SendStream, kind: u8, answer: &Result<Bytes, String>) -> Result<(), Error> {
    let (status, body) = match answer {
        Ok(body) => (OK, &body[..]),
        Err(text) => (REFUSED, text.as_bytes()),
    };
    let len = checked(kind, body.len())?;
    let mut head = [status; ANSWER_HEAD_BYTES];
    head[1..].copy_from_slice(&len.to_le_bytes());
    stream.write_all(&head).await.map_err(lost)?;
    stream.write_all(body).await.map_err(lost)?;
    stream.finish().map_err(lost)
}

/// Reads the answer. The caller sets the deadline. The inner error is the peer's refusal.
pub(super) async fn receive_answer(stream: &mut RecvStream, kind: u8) -> Result<Result<Bytes, String>, Error> {
    let mut head = [0; ANSWER_HEAD_BYTES];
    stream.read_exact(&mut head).await.map_err(cut)?;
    let len = checked(kind, word(&head[1..]) as usize)? as usize;
    let body = receive_body(stream, len).await?;
    match head[0] {
        OK => Ok(Ok(body)),
        REFUSED => Ok(Err(String::from_utf8_lossy(&body).into_owned())),
        _ => Err(Error::Magic),
    }
}

/// Grows with what arrives, so that a mere announcement of a large body costs nothing.
async fn receive_body(stream: &mut RecvStream, len: usize) -> Result<Bytes, Error> {
    let mut body = Vec::with_capacity(len.min(FIRST_RESERVATION_BYTES));
    while body.len() < len {
        let next = async { stream.read_chunk(len - body.len(), true).await.map_err(lost) };
        let chunk = within(limits::REQUEST_READ_TIMEOUT, next).await?;
        body.extend_from_slice(&chunk.ok_or_else(|| lost("the stream ended within a body"))?.bytes);
    }
    Ok(body.into())
}

async fn within<T>(time: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(time, work).await.unwrap_or(Err(Error::Late))
}

fn cut(error: ReadExactError) -> Error {
    match error {
        ReadExactError::FinishedEarly(_) => lost("the stream ended within a head"),
        ReadExactError::ReadError(error) => lost(error),
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes were sliced"))
}
