//! Every SIP message a phone sent or received, with its time, the oldest forgotten first. It judges nothing.

use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use bytes::Bytes;
use tandem::sip::message::{Message, Method};

use super::limits::JOURNAL_MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// One message.
#[derive(Debug, Clone)]
pub struct Entry {
    pub at: Instant,
    pub way: Way,
    pub peer: SocketAddr,
    pub method: Method,
    /// 0 for a request.
    pub status: u16,
    pub cseq: u32,
    pub call_id: String,
    pub bytes: Bytes,
}

impl Entry {
    pub const fn is_request(&self) -> bool {
        self.status == 0
    }
}

#[derive(Debug, Clone, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    /// Messages that are no longer there.
    pub forgotten: u64,
}

impl Journal {
    pub fn add(&mut self, at: Instant, way: Way, peer: SocketAddr, message: &Message, bytes: Bytes) {
        if self.entries.len() >= JOURNAL_MAX {
            self.entries.pop_front();
            self.forgotten += 1;
        }
        self.entries.push_back(Entry {
            at,
            way,
            peer,
            method: message.method(),
            status: message.status(),
            cseq: message.cseq().map_or(0, |(number, _)| number),
            call_id: message.call_id(),
            bytes,
        });
    }

    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Messages from `at` on.
    pub fn since(&self, at: Instant) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.at >= at)
    }
}
