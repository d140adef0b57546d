//! Puts at etcd as its own clients make them: gRPC over HTTP/2, many in flight, spread over the members.
//!
//! The two messages are encoded by hand; a gRPC framework for one call would be the largest part of this program.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::{net::TcpStream, task::JoinSet};

use super::{Etcd, NODES};
use crate::error::Error;

/// Defaults of etcd: an election in the middle of the run would measure something else.
const HEARTBEAT_MS: u32 = 100;
const ELECTION_MS: u32 = 1_000;
const WARM_UP: Duration = Duration::from_secs(2);
/// Every so many puts one latency is kept.
const SAMPLE_EVERY: u64 = 16;
/// Keys written, so that the store stays as small as a counter's.
const KEYS: u64 = 1_024;

/// What was put, and how long each sampled put took.
#[derive(Debug, Default)]
pub struct Puts {
    pub committed: u64,
    pub failed: u64,
    pub latencies_ms: Vec<f64>,
    pub cpu_s: f64,
}

fn field(number: u8, value: &[u8], out: &mut BytesMut) {
    out.put_u8((number << 3) | 2);
    let mut len = value.len();
    while len >= 0x80 {
        out.put_u8((len as u8 & 0x7f) | 0x80);
        len >>= 7;
    }
    out.put_u8(len as u8);
    out.put_slice(value);
}

/// A `PutRequest` in a gRPC frame.
fn put_request(key: u64, value: &[u8]) -> Bytes {
    let mut message = BytesMut::new();
    field(1, format!("tandem-{:04}", key % KEYS).as_bytes(), &mut message);
    field(2, value, &mut message);
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    frame.freeze()
}

fn said(error: impl std::fmt::Display) -> Error {
    Error::Missed(format!("etcd: {error}"))
}

fn status(headers: &HeaderMap) -> Option<&str> {
    headers.get("grpc-status")?.to_str().ok()
}

/// One put; true if etcd says that it is committed.
async fn put(client: SendRequest<Bytes>, authority: &str, frame: Bytes) -> Result<bool, h2::Error> {
    let request = Request::post(format!("http://{authority}/etcdserverpb.KV/Put"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(()).expect("the parts of a request are constants and an address");
    let (answer, mut stream) = client.ready().await?.send_request(request, false)?;
    stream.send_data(frame, true)?;
    let (head, mut body) = answer.await?.into_parts();
    while let Some(chunk) = body.data().await {
        body.flow_control().release_capacity(chunk?.len())?;
    }
    let trailers = body.trailers().await?;
    Ok(status(&head.headers).or_else(|| status(trailers.as_ref()?)) == Some("0"))
}

async fn work(
    client: SendRequest<Bytes>,
    authority: String,
    value: Bytes,
    first: u64,
    (from, until): (Instant, Instant),
) -> Result<Puts, Error> {
    let mut puts = Puts::default();
    for n in 0.. {
        let start = Instant::now();
        if start >= until {
            break;
        }
        let done = put(client.clone(), &authority, put_request(first + n, &value)).await.map_err(said)?;
        if start < from {
            continue;
        }
        if done {
            puts.committed += 1;
        } else {
            puts.failed += 1;
        }
        if puts.committed.is_multiple_of(SAMPLE_EVERY) {
            puts.latencies_ms.push(start.elapsed().as_secs_f64() * 1_000.0);
        }
    }
    Ok(puts)
}

async fn measure(etcd: &Etcd, in_flight: u32, bytes: usize, during: Duration) -> Result<Puts, Error> {
    let from = Instant::now() + WARM_UP;
    let span = (from, from + during);
    let mut workers = JoinSet::new();
    for member in 0..NODES {
        let authority = etcd.authority(member).to_owned();
        let stream = TcpStream::connect(&authority).await?;
        stream.set_nodelay(true)?;
        // Small answers, and very many of them, are what is wanted here and no attack.
        let mut builder = h2::client::Builder::new();
        let (client, connection) = builder.data_frame_budget(usize::MAX / 2).handshake(stream).await.map_err(said)?;
        tokio::spawn(connection);
        let share = (in_flight as usize + member) / NODES;
        for worker in 0..share {
            let first = (member * in_flight as usize + worker) as u64 * 7;
            workers.spawn(work(client.clone(), authority.clone(), vec![7; bytes].into(), first, span));
        }
    }
    tokio::time::sleep_until(from.into()).await;
    let cpu_before = etcd.cpu_s();
    tokio::time::sleep_until(span.1.into()).await;
    let mut all = Puts { cpu_s: etcd.cpu_s() - cpu_before, ..Puts::default() };
    while let Some(of_worker) = workers.join_next().await {
        let of_worker = of_worker.map_err(said)??;
        all.committed += of_worker.committed;
        all.failed += of_worker.failed;
        all.latencies_ms.extend(of_worker.latencies_ms);
    }
    Ok(all)
}

/// Puts of `bytes` bytes for a while, `in_flight` of them at any time.
pub fn run(in_flight: u32, bytes: usize, during: Duration) -> Result<Puts, Error> {
    let etcd = Etcd::start(HEARTBEAT_MS, ELECTION_MS)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure(&etcd, in_flight, bytes, during))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_framed_as_grpc_wants_it() {
        let frame = put_request(3, &[7; 200]);
        assert_eq!(&frame[..5], [0, 0, 0, 0, (2 + 11 + 3 + 200) as u8]);
        assert_eq!(&frame[5..18], b"\x0a\x0btandem-0003");
        assert_eq!(&frame[18..21], [0x12, 200 | 0x80, 1]);
    }
}
