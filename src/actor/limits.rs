//! The bounds of the live actors: every queue, buffer, retry and pause of this module takes its size from here.

use std::time::Duration;

/// Arrivals, reports and commands this node has in flight at once; more are refused as overload.
pub(super) const ARRIVALS_MAX: usize = 4_096;
pub(super) const COMMANDS_MAX: usize = 4_096;
/// Reports being delivered at once, and reports of all legs waiting behind them.
pub(super) const REPORTS_IN_FLIGHT_MAX: usize = 4_096;
pub(super) const REPORTS_WAITING_MAX: usize = 1_000_000;

/// Pause before it is reported that a leg was taken over, and what else the leg says meanwhile waits behind it.
pub(super) const ADOPTED_PAUSE: Duration = Duration::from_millis(300);

/// Questions waiting for one lane to one node; more are refused as overload.
pub(super) const LANE_QUEUE_MAX: usize = 16_384;
/// Questions packed into one request.
pub(super) const LANE_BATCH_MAX: usize = 256;
/// Requests of one lane under way at once, so that one slow answer does not hold the rest.
pub(super) const LANE_REQUESTS_MAX: usize = 32;
/// Longest an order or a question may take on its way; a command has its own deadline.
pub(super) const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// Longest an actor waits for the commit of one command.
pub(super) const COMMIT_DEADLINE: Duration = Duration::from_secs(5);
/// An actor that handles one message for longer than this hangs, and is replaced: longer than a command it waits for.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(7);
/// Pause before a command is tried again at a new leader.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// First and longest pause before an order that was not taken is sent again.
pub(super) const ORDER_RETRY_MIN: Duration = Duration::from_millis(50);
pub(super) const ORDER_RETRY_MAX: Duration = Duration::from_secs(2);
/// Longest a phone is not rung because no edge has the farewell of its last call: beyond it, an edge that is out of reach is long
/// declared lost, and another has the farewell.
pub(super) const FAREWELL_WAIT_MAX: Duration = Duration::from_secs(8);
/// A farewell that somebody waits for this long is brought to its edge past the actor of its call.
pub(super) const FAREWELL_PATIENCE: Duration = Duration::from_millis(250);

/// Calls of an edge that was last heard longer ago than this are ended, not taken over: nobody waits that long in silence.
pub(super) const ADOPT_WITHIN: Duration = Duration::from_secs(30);
/// Calls of a node that is draining are handed over this long after its mark: many end by themselves before.
pub(super) const HAND_OVER_AFTER: Duration = Duration::from_secs(3);
/// Period of a leading partition's housekeeping: dead edges, idle actors, finished effects.
pub(super) const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// An actor without work for this long is stopped; its next message spawns it again.
pub(super) const IDLE_AFTER: Duration = Duration::from_secs(30);
/// As [`IDLE_AFTER`], for the actor of a call that is over.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(1);
/// Timers looked at in one go, soonest first.
pub(super) const TIMERS_DUE_MAX: usize = 1_024;
/// A due timer that still stands after this is handed over again.
pub(super) const TIMER_RETRY: Duration = Duration::from_millis(500);
/// Longest sleep of the timer wheel, so that a misjudged clock is put right.
pub(super) const WAKE_MAX: Duration = Duration::from_secs(1);
/// Pause between looks at timers that are due and on their way.
pub(super) const WAKE_BUSY: Duration = Duration::from_millis(50);
/// How long a new leadership waits to be told for how long nobody led.
pub(super) const GAP_WAIT: Duration = Duration::from_millis(200);
/// Effects reported as done in one command, and how often: the pause is longer than it takes to declare a silent node lost.
pub(super) const DONE_BATCH_MAX: usize = 1_024;
pub(super) const DONE_EVERY: Duration = Duration::from_secs(1);
/// Legs asked about in one question of a reconciliation.
pub(super) const LEGS_PER_QUESTION_MAX: usize = 1_024;
/// A leg must be missing at its edge twice, this far apart, before it is given up.
pub(super) const RECONCILE_PAUSE: Duration = Duration::from_secs(2);
/// Times a message that killed its actor is handed to the next one.
pub(super) const REDELIVERIES_MAX: u8 = 1;

/// Pause between two looks at every invariant of the routing state, and the largest partition looked at.
pub(super) const AUDIT_EVERY: Duration = Duration::from_secs(30);
pub(super) const AUDIT_CALLS_MAX: usize = 5_000;

/// Events a subscriber may lag behind before it is told that it missed some.
pub(super) const EVENTS_BUFFER: usize = 16_384;

/// Records of the archive handed out at once, and their bytes.
pub(super) const PAGE_RECORDS_MAX: usize = 1_000;
pub(super) const PAGE_BYTES_MAX: usize = 8 << 20;
/// Bytes of one archived record.
pub(super) const RECORD_BYTES_MAX: usize = 8 << 20;
/// Records between two entries of a segment's index.
pub(super) const INDEX_STRIDE: u64 = 64;
/// Closed calls found by id without a search.
pub(super) const RECENT_CALLS_MAX: usize = 65_536;
/// Records looked through for a call that closed long ago.
pub(super) const SEARCH_MAX: u64 = 1_000_000;
/// How far the wall clocks of two leaders may lie apart in that search, milliseconds.
pub(super) const SEARCH_SKEW_MS: i64 = 60_000;
/// Pause between two looks for records whose time is up.
pub(super) const RETENTION_EVERY: Duration = Duration::from_secs(60);
/// Pause between two attempts to fetch missing records.
pub(super) const FETCH_EVERY: Duration = Duration::from_secs(1);
