//! The seam between consensus and the core: bytes to commands, effects to where they are wanted.
//!
//! Events and records are made on every replica; orders and deadlines reach the partition actor only while this replica
//! leads. Nothing is decided here.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use ractor::ActorRef;
use tandem_cluster::{Durable, Entry, GroupId, Machine, MachineFactory, Token, backup::SideFile, codec};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::Instant,
};

use super::{archive::Archive, limits::EVENTS_BUFFER, partition};
use crate::core::{
    Effects, Outcome, Reason, State, codec as core_codec,
    command::{Command, Envelope},
    effect::Event,
    time::{At, LogTime, WallTime},
};

/// The folder of all archives, below the data directory.
pub(super) const ARCHIVES: &str = "archive";
/// First byte of a snapshot; a change of form takes another.
const SNAPSHOT_VERSION: u8 = 8;

/// What every replica on this node tells the rest of it.
#[derive(Debug, Clone)]
pub(super) struct Hub {
    pub(super) events: broadcast::Sender<Arc<Event>>,
    /// Counts changes of any domain's policy.
    pub(super) policies: watch::Sender<u64>,
    /// Groups opened on this node.
    opened: mpsc::UnboundedSender<GroupId>,
}

/// One group's replica on this node, as the actors see it.
pub(super) struct Replica {
    pub(super) group: GroupId,
    pub(super) state: RwLock<State>,
    pub(super) archive: Mutex<Archive>,
    /// Log time of the last application, and when that was.
    clock: Mutex<(LogTime, Instant)>,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    leading: Option<Token>,
    actor: Option<ActorRef<partition::Message>>,
}

impl Replica {
    /// Log time now, as the leader's clock will say within a little.
    pub(super) fn now(&self) -> LogTime {
        let (time, at) = *self.clock.lock();
        LogTime(time.0 + at.elapsed().as_nanos() as u64)
    }

    pub(super) fn since_applied(&self) -> Duration {
        self.clock.lock().1.elapsed()
    }

    pub(super) fn leading(&self) -> Option<Token> {
        self.link.lock().leading
    }

    /// The partition actor, while this replica leads.
    pub(super) fn leader(&self) -> Option<ActorRef<partition::Message>> {
        let link = self.link.lock();
        link.leading.and(link.actor.clone())
    }

    pub(super) fn actor(&self) -> Option<ActorRef<partition::Message>> {
        self.link.lock().actor.clone()
    }

    /// Makes `actor` the partition actor of this replica and tells it whether it leads.
    pub(super) fn attach(&self, actor: ActorRef<partition::Message>) {
        let mut link = self.link.lock();
        send(&actor, partition::Message::Role(link.leading));
        link.actor = Some(actor);
    }

    /// Under the lock, so that effects follow the role they belong to.
    fn role(&self, leading: Option<Token>) {
        let mut link = self.link.lock();
        link.leading = leading;
        if let Some(actor) = &link.actor {
            send(actor, partition::Message::Role(leading));
        }
    }

    fn applied(&self, time: LogTime, out: Effects) {
        *self.clock.lock() = (time, Instant::now());
        let deadline = out.timers.iter().map(|timer| timer.deadline).min();
        let link = self.link.lock();
        if link.leading.is_some()
            && (deadline.is_some() || !out.orders.is_empty())
            && let Some(actor) = &link.actor
        {
            send(actor, partition::Message::Effects { orders: out.orders, deadline });
        }
    }
}

/// A partition actor that is gone is about to be spawned again, and then reads the state.
fn send(actor: &ActorRef<partition::Message>, message: partition::Message) {
    if actor.cast(message).is_err() {
        tracing::debug!("the partition actor is being spawned again");
    }
}

/// The replicas of this node, and the maker of their machines.
pub(super) struct Replicas {
    dir: PathBuf,
    archive_segment_bytes: u64,
    groups: RwLock<BTreeMap<GroupId, Arc<Replica>>>,
    pub(super) hub: Hub,
}

impl Replicas {
    /// Also returns the numbers of groups as they are opened.
    pub(super) fn new(dir: PathBuf, archive_segment_bytes: u64) -> (Self, mpsc::UnboundedReceiver<GroupId>) {
        let (opened, groups) = mpsc::unbounded_channel();
        let hub = Hub { events: broadcast::channel(EVENTS_BUFFER).0, policies: watch::channel(0).0, opened };
        (Self { dir, archive_segment_bytes, groups: RwLock::default(), hub }, groups)
    }

    pub(super) fn get(&self, group: GroupId) -> Option<Arc<Replica>> {
        self.groups.read().get(&group).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Replica>> {
        self.groups.read().values().cloned().collect()
    }
}

/// The folder of a group's archive, below that of all archives.
fn archive_name(group: GroupId) -> String {
    format!("group{group}")
}

/// The files of a replica's archive, named from the data directory on.
pub(super) fn side_files(replica: &Replica) -> io::Result<Vec<SideFile>> {
    let files = replica.archive.lock().files()?.into_iter();
    Ok(files.map(|(name, file)| SideFile { name: format!("{ARCHIVES}/{}/{name}", archive_name(replica.group)), file }).collect())
}

impl MachineFactory for Replicas {
    fn open(&self, group: GroupId) -> Box<dyn Machine> {
        let dir = self.dir.join(archive_name(group));
        let archive = match Archive::open(&dir, self.archive_segment_bytes) {
            Ok(archive) => archive,
            Err(error) => fatal(group, "cannot be opened", &error),
        };
        let replica = Arc::new(Replica {
            group,
            state: RwLock::default(),
            archive: Mutex::new(archive),
            clock: Mutex::new((LogTime::default(), Instant::now())),
            link: Mutex::default(),
        });
        self.groups.write().insert(group, Arc::clone(&replica));
        // The receiver lives as long as the node.
        self.hub.opened.send(group).ok();
        Box::new(GroupMachine { replica, hub: self.hub.clone() })
    }
}

/// A disk that fails ends the process, as it does under the log: the other nodes go on, and nothing is acknowledged
/// that could be lost.
fn fatal(group: GroupId, what: &str, error: &io::Error) -> ! {
    tracing::error!(group, %error, "the archive {what}; this node ends");
    std::process::abort();
}

struct GroupMachine {
    replica: Arc<Replica>,
    hub: Hub,
}

impl GroupMachine {
    fn archive(&self, out: &Effects) -> io::Result<()> {
        let mut archive = self.replica.archive.lock();
        archive.append(&out.records, out.day_begins)?;
        if let Some(kept) = &out.kept {
            tracing::info!(group = self.replica.group, from = kept.next_seq, "older records are no longer kept");
            archive.keep_from(kept)?;
        }
        Ok(())
    }
}

impl Machine for GroupMachine {
    fn apply(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        let at = At { group: entry.group, index: entry.index, time: LogTime(entry.time_ns), wall: WallTime(entry.wall_ms) };
        let mut out = Effects::default();
        let mut published = false;
        let leads = self.replica.leading().is_some();
        let mut replies = Vec::with_capacity(entry.commands.len());
        {
            let mut state = self.replica.state.write();
            for command in entry.commands {
                let outcome = match codec::decode::<Envelope>(command) {
                    Ok(envelope) => {
                        published |= matches!(envelope.command, Command::PublishPolicy { .. } | Command::RemoveDomain { .. });
                        state.apply(at, &envelope, &mut out)
                    }
                    // The same bytes fail alike on every replica.
                    Err(error) => Outcome::Rejected(Reason::Invalid(error.to_string())),
                };
                if leads && matches!(outcome, Outcome::Rejected(Reason::Stale | Reason::Taken)) {
                    metrics::counter!("tandem_stale_command_rejected_total").increment(1);
                }
                replies.push(encode(&outcome));
            }
        }
        if let Err(error) = self.archive(&out) {
            fatal(entry.group, "cannot be written", &error);
        }
        for event in std::mem::take(&mut out.events) {
            // Nobody may be listening.
            self.hub.events.send(Arc::new(event)).ok();
        }
        self.replica.applied(at.time, out);
        if published {
            self.hub.policies.send_modify(|changes| *changes += 1);
        }
        replies
    }

    fn skip(&mut self, entry: &Entry<'_>) -> Vec<Bytes> {
        vec![encode(&Outcome::Rejected(Reason::Poisoned)); entry.commands.len()]
    }

    fn snapshot(&mut self) -> io::Result<Vec<u8>> {
        let state = self.replica.state.read();
        let mut bytes = vec![SNAPSHOT_VERSION];
        core_codec::encode_into(&*state, &mut bytes);
        Ok(bytes)
    }

    fn side_files(&mut self) -> io::Result<Durable> {
        let tail = self.replica.archive.lock().unsynced()?;
        Ok(Box::new(move || tail.map_or(Ok(()), |tail| tail.sync_data())))
    }

    fn restore(&mut self, snapshot: &[u8]) -> io::Result<()> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let state = match snapshot.split_first() {
            Some((&SNAPSHOT_VERSION, state)) => core_codec::decode_snapshot::<State>(state).map_err(|error| invalid(error.to_string()))?,
            Some((version, _)) => return Err(invalid(format!("a snapshot of version {version}, this binary reads {SNAPSHOT_VERSION}"))),
            None => return Err(invalid("an empty snapshot".to_owned())),
        };
        self.replica.archive.lock().restore(state.archive(), state.retention().kept())?;
        *self.replica.clock.lock() = (state.now(), Instant::now());
        *self.replica.state.write() = state;
        self.hub.policies.send_modify(|changes| *changes += 1);
        Ok(())
    }

    fn role(&mut self, leading: Option<Token>) {
        self.replica.role(leading);
    }
}

/// The form of commands and outcomes in the log and between nodes.
pub(super) fn encode<T: serde::Serialize>(value: &T) -> Bytes {
    codec::encode(value).expect("commands and outcomes are bounded plain data").into()
}
