//! Bounds of the HTTP side.

use std::time::Duration;

/// Bytes of a request body; a tenant of 10^5 agents fits.
pub const BODY_BYTES_MAX: usize = 32 << 20;
/// Bytes of a body that is read before its handler is asked.
pub const SMALL_BODY_BYTES_MAX: usize = 64 << 10;
/// Bytes of a larger body that are read before it is refused.
pub const REFUSED_BODY_BYTES_MAX: usize = 2 << 20;
/// Longest time a request may take, event streams apart.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time a command waits for its commit.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(3);
/// Longest time a read waits for its barrier.
pub const READ_DEADLINE: Duration = Duration::from_secs(2);
/// Longest time a request forwarded to another node may take.
pub const FORWARD_DEADLINE: Duration = Duration::from_secs(4);
/// Items of a page unless the client says less.
pub const PAGE_DEFAULT: usize = 100;
/// Items of a page at most.
pub const PAGE_MAX: usize = 1_000;
/// Bytes of an answer that crosses from node to node.
pub const FORWARDED_BYTES_MAX: usize = 16 << 20;
/// Connections to the HTTP port at once; further ones wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Event streams at once.
pub const STREAMS_MAX: usize = 256;
/// Streams of chats at once.
pub const CHAT_STREAMS_MAX: usize = 512;
/// Chats opened by this node in a second, and at once.
pub const CHATS_PER_S_MAX: u32 = 50;
pub const CHATS_BURST: u32 = 100;
/// Bytes of what a chat's customer calls itself.
pub const CUSTOMER_BYTES_MAX: usize = 128;
/// Piece of a backup that is sent at once, bytes, and pieces that wait for a slow client.
pub const BACKUP_PIECE_BYTES: usize = 256 << 10;
pub const BACKUP_PIECES_WAITING: usize = 8;
/// An assist stream whose partition cannot be read tries again after this.
pub const ASSIST_RETRY: Duration = Duration::from_millis(500);
/// Backups being taken of one node at once.
pub const BACKUPS_MAX: usize = 1;
/// Events kept for `Last-Event-ID`.
pub const EVENTS_KEPT: usize = 8_192;
/// Tokens of a cluster.
pub const TOKENS_MAX: usize = 2_000;
/// Archived records scanned for one page when a filter skips most of them.
pub const CDR_SCAN_MAX: usize = 20_000;
/// Longest time a node waits for what another says about itself.
pub const PEER_DEADLINE: Duration = Duration::from_millis(500);
