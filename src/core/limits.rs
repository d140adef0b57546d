//! Bounds of the core. Every collection in the state has one of these as its cap.

/// Candidates a decision record keeps with keys and filters; the rest are counted.
pub const DECISION_CANDIDATES_MAX: usize = 32;
/// Idempotency keys remembered per group, oldest forgotten first.
pub const REQUEST_IDS_MAX: usize = 65_536;
/// Offers, and so legs, one call may make in its life.
pub const LEGS_PER_CALL_MAX: u16 = 1_000;
/// Live calls of one domain unless its policy says less.
pub const CALLS_PER_DOMAIN_MAX: u32 = 1_000_000;
/// Agents rung at once by ring-all.
pub const RING_ALL_MAX: usize = 32;
/// Header fields passed on per call, and bytes of each.
pub const HEADERS_MAX: usize = 64;
pub const HEADER_BYTES_MAX: usize = 2_048;
/// Bytes of a session description.
pub const SDP_BYTES_MAX: usize = 16_384;
/// Steps of a routing plan.
pub const ROUTING_STEPS_MAX: usize = 16;
/// Bindings of one agent (phones registered at once).
pub const BINDINGS_PER_AGENT_MAX: usize = 8;
/// Timers fired by one command.
pub const TIMERS_PER_COMMAND_MAX: usize = 256;
/// Attempts and decisions a record keeps of one call; older ones but the first give way and are counted.
pub const ATTEMPTS_PER_RECORD_MAX: usize = 64;
pub const DECISIONS_PER_RECORD_MAX: usize = 16;
/// Bytes one decoded value may claim, so that a damaged length cannot ask for all memory.
pub const DECODE_BYTES_MAX: usize = 256 << 20;
/// Subjects erased in one domain; each keeps about 2.5 KB of remaining keys.
pub const ERASURES_PER_DOMAIN_MAX: usize = 65_536;
