//! The bounds of the substrate: every queue, buffer and loop of this crate takes its size from here.

use std::time::Duration;

/// Largest value `codec` encodes or decodes, bytes. Larger bodies (snapshots) travel raw behind an encoded head.
pub const CODEC_MAX_BYTES: usize = 64 << 20;

/// Requests waiting for the log's writer thread. A full queue makes the groups wait, not grow.
pub const WAL_QUEUE_REQUESTS: usize = 4096;
/// Requests one batch takes from the queue, so that the first of them does not wait for an endless drain.
pub const WAL_BATCH_MAX_REQUESTS: usize = 4096;
/// Bytes after which a batch stops taking requests; about 1 ms of a disk's sequential bandwidth.
pub const WAL_BATCH_MAX_BYTES: usize = 4 << 20;
/// Payload of one log record, bytes.
pub const WAL_RECORD_MAX_BYTES: usize = CODEC_MAX_BYTES;
/// Smallest segment: room for a checkpoint of all groups and a useful number of entries, bytes.
pub const WAL_SEGMENT_MIN_BYTES: u64 = 64 << 10;
/// Default size of a segment, bytes.
pub const WAL_SEGMENT_BYTES: u64 = 64 << 20;
/// Emptied segments kept for reuse; more are deleted.
pub const WAL_SPARE_SEGMENTS: usize = 2;
/// Segments in use after which the groups that hold the oldest one back are reported as pinning it.
pub const WAL_PINNED_AFTER_SEGMENTS: usize = 4;

/// Pause between two looks at which groups hold segments back.
pub const UNPIN_ROUND: Duration = Duration::from_millis(500);

/// Entries handed to replication in one read, bytes, so that a frame to a lagging peer stays far below its bound.
pub const LOG_READ_MAX_BYTES: usize = 4 << 20;

/// How long opening a log waits for its former owner to let go.
pub const WAL_LOCK_WAIT: Duration = Duration::from_secs(2);

/// Largest snapshot of one group, bytes.
pub const SNAPSHOT_MAX_BYTES: usize = 1 << 30;
/// Piece in which a backup is copied, and the largest head of one of its sections, bytes.
pub const BACKUP_COPY_BYTES: usize = 256 << 10;
pub const BACKUP_HEAD_MAX_BYTES: usize = 64 << 10;
/// Largest metadata (last log id, membership) of a snapshot, bytes.
pub const SNAPSHOT_META_MAX_BYTES: usize = 1 << 20;

/// Body of an ordinary frame between nodes, bytes: one codec value and a little head.
pub const FRAME_MAX_BYTES: usize = CODEC_MAX_BYTES + 4096;
/// Body of a bulk frame (a snapshot with its head), bytes.
pub const BULK_FRAME_MAX_BYTES: usize = SNAPSHOT_MAX_BYTES + SNAPSHOT_META_MAX_BYTES + 4096;
/// Hello frames exchanged before a connection is trusted with anything else, bytes.
pub const HELLO_MAX_BYTES: usize = 4096;
/// Streams a peer may have open towards us at once.
pub const PEER_STREAMS: u32 = 4096;
/// Application requests in flight to one peer; more wait in the caller until their deadline.
pub const APP_REQUESTS_PER_PEER: usize = 1024;
/// Bulk transfers in flight to one peer; snapshots are large, and two already fill a link.
pub const BULK_REQUESTS_PER_PEER: usize = 2;
/// Time a peer has to finish the TLS handshake and the hello.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time a peer has to send the whole of a request once its stream is open.
pub const REQUEST_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A bulk body goes out in pieces of this many bytes; each must be taken, and something arrive, within
/// [`REQUEST_READ_TIMEOUT`].
pub const BULK_CHUNK_BYTES: usize = 1 << 20;
/// As [`REQUEST_READ_TIMEOUT`], for the whole of a bulk body: 1 MB/s at the largest.
pub const BULK_READ_TIMEOUT: Duration = Duration::from_secs(1200);
/// Time a peer has to make a snapshot that reached it its state, on its disk.
pub const SNAPSHOT_INSTALL_WITHIN: Duration = Duration::from_secs(120);
/// Handshakes in progress at once; further ones are refused before any cryptography is spent on them.
pub const HANDSHAKES_MAX: usize = 64;
/// First and longest pause between two attempts to dial a peer.
/// An attempt to connect is not given up before this, unless it fails.
pub const DIAL_MIN: Duration = Duration::from_millis(300);
pub const REDIAL_MIN: Duration = Duration::from_millis(20);
pub const REDIAL_MAX: Duration = Duration::from_millis(500);
/// Looks at whether a peer has said anything, within the longest silence it may keep.
pub const SILENCE_LOOKS: u32 = 9;
/// Peer events an observer may lag behind before it is told that it missed some.
pub const PEER_EVENTS: usize = 256;
/// How often certificate files are looked at for a change.
pub const CERT_POLL: Duration = Duration::from_secs(3);

/// Entries of one group that its leader has proposed and not applied. Few: what waits is packed together, and shares a sync.
pub const ENTRIES_UNDER_WAY_MAX: usize = 4;
/// Proposals of one group waiting behind those; more are refused as overload.
pub const PROPOSALS_WAITING_MAX: usize = 16_384;
/// Commands and bytes packed into one log entry.
pub const PROPOSAL_BATCH_MAX_COMMANDS: usize = 1_024;
pub const PROPOSAL_BATCH_MAX_BYTES: usize = 1 << 20;

/// Heartbeats that go to a peer in one request; a node has about as many groups.
pub const HEARTBEATS_PER_FRAME: usize = 256;

/// Role changes an observer may lag behind.
pub const ROLE_EVENTS: usize = 4_096;
/// Leases for which a node whose life some peers gave up waits for the others to be in reach again, before it takes a new life.
pub const WAIT_LEASES: u32 = 10;
/// Pause between two attempts to reach a group's leader.
pub const FORWARD_PAUSE: Duration = Duration::from_millis(5);
/// How long a peer may take to say what it thinks of a silent node.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_millis(100);
/// Between two rounds of questions about a node that went silent, for the first so many rounds; afterwards `SUCCESSION_PAUSE`.
pub const CONFIRM_PAUSE: Duration = Duration::from_millis(10);
pub const CONFIRM_SOON: usize = 20;
/// A node that learns of a loss by being asked stands as a successor this much later: a round trip between nodes.
pub const COURTESY: Duration = Duration::from_millis(5);
/// How often a watcher reads where its node's peers are.
pub const HERALD_ROUND: Duration = Duration::from_secs(2);
/// Pause between two attempts to make a survivor lead, and their number (about a minute).
pub const SUCCESSION_PAUSE: Duration = Duration::from_millis(50);
pub const SUCCESSION_TRIES: usize = 1_200;

/// How long a node that gave its leaderships away still answers before it closes; and at most, for requests under way.
pub const LINGER: Duration = Duration::from_millis(100);
pub const LINGER_MAX: Duration = Duration::from_secs(1);

/// Most threads of consensus and QUIC, apart from the product's. A node takes one for every four cores: their tasks hand
/// work to each other all the time, and on few cores each hand-over to another thread costs more than it wins.
pub const RUNTIME_THREADS_MAX: usize = 4;
/// How long a start waits for another process, or an earlier node of this one, to let go of the data directory.
pub const LOCK_WITHIN: Duration = Duration::from_secs(3);
/// How long a new node asks the peers of the first start what they know of it and of the cluster.
pub const ASK_WITHIN: Duration = Duration::from_millis(800);

/// Voters of a group; further nodes follow as learners.
pub const VOTERS_MAX: usize = 5;
/// Nodes of a cluster; pings go from all to all.
pub const NODES_MAX: usize = 32;
/// Pause between two looks at where voters and leaderships are.
pub const PLACEMENT_ROUND: Duration = Duration::from_millis(100);
/// Pause between two looks at the pace of the disk and of the groups.
pub const PACE_ROUND: Duration = Duration::from_secs(1);
/// Mean duration of a log batch (or of applying an entry), or age of a hanging one, from which a disk (or a group) is slow,
/// microseconds; and the rounds in a row after which it is called so.
pub const SLOW_US: u64 = 100_000;
pub const SLOW_ROUNDS: u32 = 3;
/// The same for fast again.
pub const FAST_US: u64 = 25_000;
pub const FAST_ROUNDS: u32 = 10;
/// How long a leadership rests before it is moved for the sake of an even spread.
pub const PLACEMENT_SETTLE: Duration = Duration::from_secs(10);
/// Groups one node must lead more than another before a leadership moves.
pub const LEADERS_IMBALANCE_MIN: usize = 2;
/// Entries a replica may lag behind and still be given a vote or a leadership.
pub const LEVEL_ENTRIES: u64 = 64;
/// Patience of one step of a membership change.
pub const MEMBERSHIP_WITHIN: Duration = Duration::from_secs(5);
/// Routing domains of a cluster.
pub const DOMAINS_MAX: usize = 100_000;
/// Times a node may end on one entry of a log before it waits at it instead.
pub const POISON_TRIES: u32 = 2;
/// Entries a cluster skips. They are kept for good, since a replica may be behind for long.
pub const SKIPS_MAX: usize = 1_024;
/// How long a start waits until what it holds of the meta group is applied, before it opens the partitions.
pub const META_FIRST_WITHIN: Duration = Duration::from_secs(2);
/// Idempotency keys the meta group remembers, oldest forgotten first.
pub const META_REQUESTS_MAX: usize = 1_024;
/// Rows of the product's shared table.
pub const DIRECTORY_ROWS_MAX: usize = 10_000;
/// Pause of a node that waits to be admitted to the cluster.
pub const ADMISSION_PAUSE: Duration = Duration::from_millis(200);
