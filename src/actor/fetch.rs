//! Fetches archived records that a snapshot stood for and did not bring. Until they are here, reads of them are refused.

use std::{io, sync::Arc};

use super::{
    archive::Fill,
    lane,
    limits::{FETCH_EVERY, PAGE_RECORDS_MAX},
    machine::Replica,
    shared::Shared,
    wire::{Answer, Question},
};

/// Looks for holes and fills them, for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(FETCH_EVERY).await;
        for replica in shared.replicas.all() {
            if replica.archive.lock().holes().is_empty() {
                continue;
            }
            match fill(&shared, &replica).await {
                Ok(records) => tracing::info!(group = replica.group, records, "the archive is whole again"),
                Err(error) => tracing::warn!(group = replica.group, %error, "the archive still lacks records"),
            }
        }
    }
}

/// Fills the first hole of a replica's archive.
async fn fill(shared: &Shared, replica: &Replica) -> io::Result<u64> {
    let Some(mut fill) = replica.archive.lock().begin_fill()? else { return Ok(0) };
    let mut records = 0;
    while let Some(from) = fill.wanted() {
        records += fetch(shared, replica, &mut fill, from).await?;
    }
    replica.archive.lock().end_fill(fill)?;
    Ok(records)
}

/// One page, from the first peer that has it.
async fn fetch(shared: &Shared, replica: &Replica, fill: &mut Fill, from: u64) -> io::Result<u64> {
    let peers: Vec<_> = shared.cluster.nodes().borrow().keys().copied().filter(|node| *node != shared.cluster.node()).collect();
    for peer in peers {
        let question = Question::Records { group: replica.group, from, limit: PAGE_RECORDS_MAX as u32 };
        if let Ok(Answer::Records(items)) = shared.lanes.ask(peer, lane::Kind::Orders, question).await
            && items.first().is_some_and(|(seq, _)| *seq == from)
        {
            let items: Vec<_> = items.into_iter().map(|(seq, bytes)| (seq, bytes.into_vec())).collect();
            fill.take(&items)?;
            return Ok(items.len() as u64);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no peer has record {from}")))
}
