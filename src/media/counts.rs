//! What the media threads count, and the metrics it becomes.
//!
//! Threads add to plain atomics, since a packet is no time to look up a metric by name; the first thread publishes them
//! once a second.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{counter, describe_counter, describe_gauge};

const PACKETS_TOTAL: &str = "tandem_media_packets_total";
const DROPPED_TOTAL: &str = "tandem_media_packets_dropped_total";
const LEGS: &str = "tandem_media_legs";
const FAULTS_TOTAL: &str = "tandem_media_faults_total";

/// Something counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// RTP read from parties.
    Received,
    /// RTP of one party sent to another.
    Relayed,
    /// RTP made here: noise, prompts, tones, mixes.
    Made,
    /// RTCP passed on.
    Rtcp,
    /// Neither RTP nor RTCP.
    Malformed,
    /// Larger than a packet may be.
    Oversize,
    /// From another source than the one a port is locked to.
    Stranger,
    /// Not authentic under the party's SRTP key, or a replay.
    Forged,
    /// More packets than a port may bring.
    Flood,
    /// The listener has no payload type for it.
    Payload,
    /// RTCP about a stream that the listener knows under another name.
    Foreign,
    /// Not sent because the node had no lease.
    Withheld,
    /// Not sent because the socket took no more.
    Send,
    /// A port could not be registered with its thread.
    Register,
    /// Prompts that could not be read and became a tone.
    Prompt,
    /// Packets that a recording lacks because its writer was behind.
    Unrecorded,
    /// Recordings that could not be written.
    Recording,
    /// Events nobody could take.
    Event,
}

const COUNTS: usize = Count::Event as usize + 1;

/// What each is published as: metric, label, value of the label.
const PUBLISHED: [(Count, &str, &str, &str); COUNTS] = [
    (Count::Received, PACKETS_TOTAL, "kind", "received"),
    (Count::Relayed, PACKETS_TOTAL, "kind", "relayed"),
    (Count::Made, PACKETS_TOTAL, "kind", "made"),
    (Count::Rtcp, PACKETS_TOTAL, "kind", "rtcp"),
    (Count::Malformed, DROPPED_TOTAL, "reason", "malformed"),
    (Count::Oversize, DROPPED_TOTAL, "reason", "oversize"),
    (Count::Stranger, DROPPED_TOTAL, "reason", "stranger"),
    (Count::Forged, DROPPED_TOTAL, "reason", "forged"),
    (Count::Flood, DROPPED_TOTAL, "reason", "flood"),
    (Count::Payload, DROPPED_TOTAL, "reason", "payload"),
    (Count::Foreign, DROPPED_TOTAL, "reason", "foreign_rtcp"),
    (Count::Withheld, DROPPED_TOTAL, "reason", "no_lease"),
    (Count::Send, DROPPED_TOTAL, "reason", "socket"),
    (Count::Register, FAULTS_TOTAL, "kind", "port"),
    (Count::Prompt, FAULTS_TOTAL, "kind", "prompt"),
    (Count::Unrecorded, DROPPED_TOTAL, "reason", "unrecorded"),
    (Count::Recording, FAULTS_TOTAL, "kind", "recording"),
    (Count::Event, FAULTS_TOTAL, "kind", "event_unread"),
];

/// Describes them to the installed recorder.
pub fn describe() {
    describe_counter!(PACKETS_TOTAL, "RTP and RTCP packets carried, by kind");
    describe_counter!(DROPPED_TOTAL, "Media packets dropped, by reason");
    describe_counter!(FAULTS_TOTAL, "Faults of the media plane, by kind");
    describe_gauge!(LEGS, "Legs with media on this node");
    super::rtpengine::describe();
}

/// All of them.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; COUNTS]);

impl Counts {
    pub fn add(&self, count: Count, n: u64) {
        self.0[count as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize].load(Ordering::Relaxed)
    }

    /// Hands the totals to the installed recorder.
    pub fn publish(&self, legs: usize) {
        for (count, metric, label, value) in PUBLISHED {
            counter!(metric, label => value).absolute(self.get(count));
        }
        metrics::gauge!(LEGS).set(legs as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_is_published_once_and_in_its_place() {
        for (place, (count, ..)) in PUBLISHED.iter().enumerate() {
            assert_eq!(*count as usize, place);
        }
    }
}
