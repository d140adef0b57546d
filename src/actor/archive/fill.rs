//! Filling a hole: records that a snapshot stands for but did not bring, fetched from a peer and proven by the chain.

use std::io;

use super::{Archive, segment::Segment};
use crate::core::cdr;

/// A hole being filled. Nothing of it is part of the archive before the chain has been closed.
#[derive(Debug)]
pub(in crate::actor) struct Fill {
    segment: Segment,
    chain: cdr::Archive,
    end: u64,
}

impl Fill {
    /// The sequence to fetch next, `None` when the hole is full.
    pub(in crate::actor) fn wanted(&self) -> Option<u64> {
        (self.chain.next_seq < self.end).then_some(self.chain.next_seq)
    }

    /// Takes fetched records that begin at [`Fill::wanted`].
    pub(in crate::actor) fn take(&mut self, records: &[(u64, Vec<u8>)]) -> io::Result<()> {
        let mut file = self.segment.writer()?;
        for (seq, bytes) in records.iter().take_while(|(seq, _)| *seq < self.end) {
            if *seq != self.chain.next_seq {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer left records out"));
            }
            self.segment.append(&mut file, bytes)?;
            super::segment::extend(&mut self.chain, bytes);
        }
        Ok(())
    }
}

impl Archive {
    /// Begins to fill the first hole, if there is one.
    pub(in crate::actor) fn begin_fill(&mut self) -> io::Result<Option<Fill>> {
        let Some(hole) = self.holes().into_iter().next() else { return Ok(None) };
        let chain = match self.segments.values_mut().find(|segment| segment.next == hole.start) {
            Some(last) => {
                let next = last.next;
                let chain = last.scan(next)?;
                if chain.next_seq < next {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the records before the hole are damaged"));
                }
                chain
            }
            // Nothing precedes it: it begins with the first record that is kept.
            None => self.kept.clone(),
        };
        Ok(Some(Fill { segment: Segment::create(&self.dir, &chain)?, chain, end: hole.end }))
    }

    /// Puts a full hole's records in their place, if they lead to the hash that must follow.
    pub(in crate::actor) fn end_fill(&mut self, mut fill: Fill) -> io::Result<()> {
        let expected = self.segments.get(&fill.end).map_or(self.head.hash, |after| after.before.hash);
        let still_there = self.holes().contains(&(fill.segment.first()..fill.end));
        if !still_there || fill.chain.next_seq != fill.end || fill.chain.hash != expected {
            std::fs::remove_file(&fill.segment.path)?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the fetched records do not fit the chain"));
        }
        fill.segment.seal()?;
        self.segments.insert(fill.segment.first(), fill.segment);
        self.sync_dir()
    }
}
