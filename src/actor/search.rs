//! Finding the record of a closed call by its id: among the recent ones at once, among older ones by when they closed.

use std::io;

use tandem_cluster::GroupId;

use super::{
    archive::closed_at,
    limits::{PAGE_RECORDS_MAX, SEARCH_MAX, SEARCH_SKEW_MS},
    shared::Shared,
};
use crate::core::id::CallId;

impl Shared {
    /// The record of a call in the local archive of its group.
    pub(super) async fn find_record(&self, group: GroupId, call: CallId) -> io::Result<Option<Vec<u8>>> {
        let Some(replica) = self.replicas.get(group) else { return Ok(None) };
        let looked_from = replica.archive.lock().recent(call);
        let found = match looked_from {
            Ok(seq) => Some(seq),
            Err(from) => {
                self.look(group, from).await?;
                replica.archive.lock().recent(call).ok()
            }
        };
        match found {
            Some(seq) => Ok(self.records(group, seq, 1).await?.0.pop().map(|(_, bytes)| bytes)),
            None => self.search(group, call).await,
        }
    }

    /// Notes the calls of the records from `from` on.
    async fn look(&self, group: GroupId, from: u64) -> io::Result<()> {
        let mut next = Some(from);
        while let Some(from) = next {
            let (items, more) = self.records(group, from, PAGE_RECORDS_MAX).await?;
            let calls: Vec<_> = items.iter().filter_map(|(seq, bytes)| closed_at(bytes).ok().map(|(call, _)| (*seq, call))).collect();
            if let Some(replica) = self.replicas.get(group) {
                replica.archive.lock().remember(&calls);
            }
            next = more.filter(|_| !items.is_empty());
        }
        Ok(())
    }

    /// Looks through the older records that closed after the call was minted, oldest first.
    pub(super) async fn search(&self, group: GroupId, call: CallId) -> io::Result<Option<Vec<u8>>> {
        let mut next = Some(self.first_closed_after(group, call.minted().0).await?);
        let mut looked = 0;
        while let Some(from) = next.filter(|_| looked < SEARCH_MAX) {
            let (items, more) = self.records(group, from, PAGE_RECORDS_MAX).await?;
            looked += items.len() as u64;
            for (_, bytes) in &items {
                if closed_at(bytes)?.0 == call {
                    return Ok(Some(bytes.clone()));
                }
            }
            next = more.filter(|_| !items.is_empty());
        }
        Ok(None)
    }

    /// A sequence before which every call closed before `ms`. Records are in order of closing, give or take the skew of
    /// two leaders' wall clocks.
    async fn first_closed_after(&self, group: GroupId, ms: i64) -> io::Result<u64> {
        let Some(replica) = self.replicas.get(group) else { return Ok(0) };
        let status = replica.archive.lock().status();
        let (mut low, mut high) = (status.kept_from, status.records);
        while low < high {
            let middle = low + (high - low) / 2;
            let closed = self.records(group, middle, 1).await?.0;
            match closed.first() {
                Some((_, bytes)) if closed_at(bytes)?.1 < ms.saturating_sub(SEARCH_SKEW_MS) => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}
