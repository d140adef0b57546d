//! Timers and bounds of the synthetic phones. Every queue, list and wait of `phone` has its bound here, unit in its name.

use std::time::Duration;

/// Estimate of a round trip (RFC 3261 §17.1.1.1), first retransmission over UDP.
pub const T1: Duration = Duration::from_millis(500);
/// Longest pause between retransmissions.
pub const T2: Duration = Duration::from_secs(4);
/// How long a transaction may take, and how long it is remembered.
pub const T64: Duration = Duration::from_secs(32);
/// A glare is tried again after this plus a random part (RFC 3261 §14.1): by whoever made the call, and by the other.
pub const GLARE_OWNER: (Duration, Duration) = (Duration::from_millis(2_100), Duration::from_millis(1_900));
pub const GLARE_OTHER: (Duration, Duration) = (Duration::from_millis(0), Duration::from_millis(2_000));
/// Re-INVITEs of our own tried again after 491.
pub const GLARE_RETRIES_MAX: u8 = 4;
/// A registration that failed everywhere is tried again after this.
pub const REGISTER_RETRY: Duration = Duration::from_secs(1);
/// A registration is refreshed after this share of its life, percent.
pub const REGISTER_REFRESH_PERCENT: u32 = 50;

/// Messages a phone remembers; older ones are forgotten and counted.
pub const JOURNAL_MAX: usize = 1_024;
/// Calls a phone remembers, those that are over included; a phone with more refuses further ones with 486.
pub const CALLS_MAX: usize = 256;
/// Changes of the remote target that a call remembers.
pub const OWNERS_MAX: usize = 64;
/// Transactions a phone remembers.
pub const TRANSACTIONS_MAX: usize = 1_024;
/// Answers to INVITEs of one call that are acknowledged again when they come again.
pub const ACKS_MAX: usize = 16;

/// Head and body of one message on a stream.
pub const STREAM_MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// A datagram is never longer.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Messages waiting for a phone or one of its connections.
pub const QUEUE_MAX: usize = 1_024;
/// Opening a connection to a next hop, TLS handshake included.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Longest sleep of a phone with nothing due.
pub const IDLE: Duration = Duration::from_secs(3_600);

/// Pauses in what is heard that are remembered; of more, the shortest are forgotten.
pub const GAPS_MAX: usize = 256;
/// Changes of source and of SSRC that are remembered.
pub const CHANGES_MAX: usize = 64;
/// Last packets that are remembered one by one.
pub const ARRIVALS_MAX: usize = 1_024;
/// Receive buffer asked of the kernel for an RTP socket.
pub const RTP_DATAGRAM_BYTES_MAX: usize = 2_048;
