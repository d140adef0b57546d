//! The seam between consensus and the product: what a replicated machine must be able to do.

use std::io;

use bytes::Bytes;

use crate::{GroupId, Token};

/// One committed log entry: a batch of commands stamped by the leader that proposed it.
#[derive(Debug)]
pub struct Entry<'a> {
    pub group: GroupId,
    /// Raft log index; strictly increasing within a group, with gaps where entries carried no command.
    pub index: u64,
    pub term: u64,
    /// Log time in nanoseconds: monotonic within the group, independent of every wall clock.
    pub time_ns: u64,
    /// The proposer's wall clock, milliseconds since the Unix epoch; for records and opening hours only.
    pub wall_ms: i64,
    pub commands: &'a [Bytes],
}

/// Makes side files durable; see [`Machine::side_files`].
pub type Durable = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A deterministic state machine, one per group and replica.
///
/// `apply` must depend on nothing but the machine's state and the entry. A panic inside it ends the process.
pub trait Machine: Send + 'static {
    /// Applies a committed entry and returns one reply per command, in order.
    fn apply(&mut self, entry: &Entry<'_>) -> Vec<Bytes>;

    /// Answers the commands of an entry that the cluster skips, because applying it ends every replica. Changes nothing.
    fn skip(&mut self, entry: &Entry<'_>) -> Vec<Bytes>;

    /// The whole state as bytes; equal states give equal bytes. Nothing is applied meanwhile, so it waits for no disk.
    ///
    /// # Errors
    /// When the state cannot be written as bytes.
    fn snapshot(&mut self) -> io::Result<Vec<u8>>;

    /// How to make durable what the state of this moment counts on besides its snapshot, as an archive. It is done on a
    /// thread of its own while the machine goes on; no log is purged until it succeeds.
    ///
    /// # Errors
    /// When the side files cannot be opened.
    fn side_files(&mut self) -> io::Result<Durable> {
        Ok(Box::new(|| Ok(())))
    }

    /// Replaces the state by an earlier `snapshot`.
    ///
    /// # Errors
    /// When the bytes are not a snapshot of this machine.
    fn restore(&mut self, snapshot: &[u8]) -> io::Result<()>;

    /// Tells the machine that this replica now leads (with a fencing token) or no longer does.
    /// Called before the leader serves its first command of the term, after its own blank entry is applied.
    fn role(&mut self, leading: Option<Token>);
}

/// Makes the machine of a group when a replica of it is opened on this node.
pub trait MachineFactory: Send + Sync + 'static {
    fn open(&self, group: GroupId) -> Box<dyn Machine>;
}
