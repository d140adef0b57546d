//! `GET /api/v1/backup`: the state and the archives of the whole cluster, as one file, while it goes on.
//!
//! What is in it, and how it is checked, is the cluster's business; this carries its bytes to the client at the pace the
//! client takes them.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::{access::Operation, app::App, extract::Caller, limits, problem::Problem};

/// Where a backup is written to: a channel whose other end is the body of the answer. It is written from a thread that
/// may wait.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client went away");
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One at a time: each reads every archive of the node.
pub async fn take(State(app): State<Arc<App>>, Caller(who): Caller) -> Result<Response, Problem> {
    who.check(Operation::Backup)?;
    let turn = Arc::clone(&app.backups).try_acquire_owned().map_err(|_| Problem::busy("another backup is being taken here"))?;
    let cluster = app.live.cluster();
    // Without a quorum it is refused here, rather than cut off later.
    cluster.read_barrier(0, limits::READ_DEADLINE).await?;
    let (pipe, body) = mpsc::channel(limits::BACKUP_PIECES_WAITING);
    let (live, by) = (app.live.clone(), who.token.clone());
    tracing::info!(%by, "a backup is taken");
    tokio::spawn(async move {
        let out = BufWriter::with_capacity(limits::BACKUP_PIECE_BYTES, Pipe(pipe.clone()));
        let archives = live.clone();
        match live.cluster().backup(out, move || archives.archive_files()).await {
            Ok(()) => tracing::info!("the backup is complete"),
            Err(error) => {
                tracing::warn!(%error, "the backup failed");
                // Cuts the answer off; the client may be the one that went away.
                pipe.send(Err(io::Error::other(error))).await.ok();
            }
        }
        drop(turn);
    });
    let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((headers, Body::from_stream(ReceiverStream::new(body))).into_response())
}
