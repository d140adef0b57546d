//! Bounds of the live actors. Mailboxes of ractor are unbounded: what enters is bounded here.

use std::time::Duration;

/// Arrivals, reports and commands a node's partitions take at once; more are told "overloaded".
pub const IN_FLIGHT_MAX: usize = 8_192;
/// Reports of this node's edge that wait for the leader.
pub const REPORTS_WAITING_MAX: usize = 65_536;
/// How long a report is tried before its leg is given up.
pub const REPORT_WITHIN: Duration = Duration::from_secs(32);
/// How long an order is tried before reconciliation takes over.
pub const ORDER_WITHIN: Duration = Duration::from_secs(4);
/// One try of a request to another node.
pub const TRY_WITHIN: Duration = Duration::from_millis(1_500);
/// Pause between two tries.
pub const RETRY_PAUSE: Duration = Duration::from_millis(15);
/// How often due timers are looked for.
pub const TICK: Duration = Duration::from_millis(20);
/// How often the rest is looked after: lost edges, orders to repeat, effects done, missing archive records.
pub const HOUSEKEEPING: Duration = Duration::from_millis(200);
/// Orders a housekeeping round repeats, and effects it reports done.
pub const REPEATS_MAX: usize = 4_096;
/// An order is repeated when it is older than this and still open.
pub const REPEAT_AFTER: Duration = Duration::from_secs(2);
/// Timers handed out in one tick.
pub const DUE_MAX: usize = 1_024;
/// Events a subscriber may lag behind.
pub const EVENTS_MAX: usize = 16_384;
/// Archive records one page or fetch holds.
pub const PAGE_MAX: usize = 1_000;
/// Archive records held while earlier ones are fetched from a peer.
pub const BACKLOG_MAX: usize = 100_000;
/// How often a node without a replica asks for a domain's edge view.
pub const DIRECTORY_POLL: Duration = Duration::from_secs(1);
