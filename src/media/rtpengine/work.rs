//! Questions to daemons on behalf of calls: a description that crosses, a session that moves from a dead daemon to another.

use std::sync::Arc;

use metrics::counter;
use tokio::time::{Instant, timeout_at};

use super::{
    Inner, MOVED_TOTAL,
    book::{Done, Job, Pair},
    client::{Error, Reply, Request, Told},
};
use crate::media::{
    Event,
    limits::{ENGINE_RESCUE, ENGINE_RETRY, ENGINES_TRIED_MAX},
};

/// Has a description cross, by another daemon where the session's own fails.
pub(super) async fn cross(inner: Arc<Inner>, job: Job) {
    let result = on_any(&inner, &job).await;
    if let Err(error) = &result {
        tracing::warn!(session = %job.pair.name(), %error, "a description did not cross by rtpengine");
    }
    finish(&inner, &job, result);
}

/// Moves what a daemon carried; with `ask_first` only what it does not know any more.
pub(super) async fn move_all(inner: Arc<Inner>, daemon: usize, ask_first: bool) {
    let pairs = inner.book.lock().carried_by(daemon);
    let until = Instant::now() + ENGINE_RESCUE;
    for pair in pairs {
        if ask_first {
            // Those it is asked about wait here one by one; the book has a bound, and so has each question.
            let Ok(_permit) = inner.moving.acquire().await else { return };
            if !matches!(inner.ask(daemon, &Request::Query(&pair.name())).await, Err(Error::UnknownCall)) {
                continue;
            }
        }
        let job = inner.book.lock().again(pair);
        if let Some(job) = job {
            tokio::spawn(rescue(inner.clone(), job, if ask_first { Instant::now() + ENGINE_RESCUE } else { until }));
        }
    }
}

/// Has a session that talks carried by whoever can, or gives it up at `until`: its parties have heard nothing since its daemon
/// died, however many others are to be moved as well.
async fn rescue(inner: Arc<Inner>, job: Job, until: Instant) {
    let result = loop {
        match attempt(&inner, &job, until).await {
            Err(error) if error.is_of_this_daemon() && Instant::now() < until => tokio::time::sleep(ENGINE_RETRY).await,
            result => break result,
        }
    };
    let what = match &result {
        Ok(_) => "moved",
        // Its calls are other nodes' by now.
        Err(Error::NoLease) => "left",
        Err(_) => "lost",
    };
    counter!(MOVED_TOTAL, "result" => what).increment(1);
    if what == "lost" {
        tracing::warn!(session = %job.pair.name(), "no rtpengine takes a call whose own is gone");
        inner.tell(Event::Lost { leg: job.pair.older });
    }
    finish(&inner, &job, result);
}

/// One look for a daemon. A turn is held while one is asked, and not while all are dead: their pings say when to ask.
async fn attempt(inner: &Inner, job: &Job, until: Instant) -> Result<Done, Error> {
    if inner.up().next().is_none() {
        return Err(Error::Refused);
    }
    let Ok(turn) = timeout_at(until, inner.moving.acquire()).await else { return Err(Error::TooMany) };
    let _turn = turn.map_err(|_| Error::TooMany)?;
    on_any(inner, job).await
}

fn finish(inner: &Arc<Inner>, job: &Job, result: Result<Done, Error>) {
    let (moved, delete) =
        inner.book.lock().done(job, result.map_err(|error| error.to_string()).inspect(|done| note_move(inner, job, done)));
    let carrier = |pair: Pair| inner.book.lock().daemon(pair).map(|index| Arc::clone(&inner.daemons[index].name));
    if let Some(carrier) = carrier(job.pair) {
        for moved in moved {
            inner.tell(Event::Moved { leg: moved.leg, told: moved.told, carrier: Arc::clone(&carrier) });
        }
    }
    if let Some(daemon) = delete {
        inner.delete(job.pair, daemon);
    }
    inner.tell(Event::Ready { call: job.pair.older.call });
}

fn note_move(inner: &Inner, job: &Job, done: &Done) {
    if done.daemon != job.daemon {
        tracing::info!(session = %job.pair.name(), to = %inner.daemons[done.daemon].name, "carried by another rtpengine");
    }
}

/// The session's own daemon, then others that live, in the order of the list.
async fn on_any(inner: &Inner, job: &Job) -> Result<Done, Error> {
    let own = job.daemon;
    let others = (1..inner.daemons.len()).map(|step| (own + step) % inner.daemons.len());
    let is_up = |index: &usize| inner.daemons[*index].health.is_up();
    let mut tried: Vec<usize> = std::iter::once(own).filter(is_up).chain(others.filter(is_up)).take(ENGINES_TRIED_MAX).collect();
    if tried.is_empty() {
        // All seem dead. The one that should carry it may have come back this moment.
        tried.extend((!inner.daemons.is_empty()).then_some(own));
    }
    let mut last = Error::Refused;
    for daemon in tried {
        match on(inner, job, daemon).await {
            Err(error) if error.is_of_this_daemon() => last = error,
            result => return result,
        }
    }
    Err(last)
}

/// Asks one daemon for all of a job. One that was started anew knows nothing of an offer it had, and gets it again.
async fn on(inner: &Inner, job: &Job, daemon: usize) -> Result<Done, Error> {
    let offered = job.offered && daemon == job.daemon;
    match exchange(inner, job, daemon, offered).await {
        Err(Error::UnknownCall) if offered => exchange(inner, job, daemon, false).await,
        result => result,
    }
}

async fn exchange(inner: &Inner, job: &Job, daemon: usize, offered: bool) -> Result<Done, Error> {
    let call = job.pair.name();
    let ((asker, offer), other) = (&job.offer, if job.offer.0 == job.pair.older { job.pair.newer } else { job.pair.older });
    let (from, to) = (asker.to_string(), other.to_string());
    let told = |sdp| Told { call: &call, from: &from, to: &to, sdp };
    let mut done = Done { daemon, told: Vec::new() };
    if !offered && let Reply::Sdp(sdp) = inner.ask(daemon, &Request::Offer(told(offer))).await? {
        done.told.push((other, sdp));
    }
    if let Some((_, answer)) = &job.answer
        && let Reply::Sdp(sdp) = inner.ask(daemon, &Request::Answer(told(answer))).await?
    {
        done.told.push((*asker, sdp));
    }
    Ok(done)
}
