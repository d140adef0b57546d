//! Entries that no replica can apply: which of them the cluster skips, and the wait for that word.
//!
//! A panic inside `apply` ends the process. Started again it would meet the same entry and end again, and with it every
//! other group it hosts. So a node writes down what struck it; struck by the same entry a second time, it no longer
//! applies it but waits, and the other groups go on. The word to skip it is a command of the meta group. A mended program is
//! another program: it tries again. The meta group cannot skip an entry of its own; a note on the disk of every node does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    GroupId,
    limits::POISON_TRIES,
    meta::{META, MetaState},
    node::notes,
};

/// What is to be done with a committed entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Apply,
    Skip,
}

/// The entry of a group that ended this node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    index: u64,
    times: u32,
    program: String,
}

/// What is known on this node of poisoned entries. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Poison(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    program: String,
    meta: watch::Receiver<Arc<MetaState>>,
    /// Entries of the meta group that an operator told this node to skip.
    noted: BTreeSet<u64>,
    marks: Mutex<BTreeMap<GroupId, Mark>>,
    /// Where each waiting group waits.
    waiting: Mutex<BTreeMap<GroupId, u64>>,
    stop: CancellationToken,
}

fn marks_file(dir: &Path) -> PathBuf {
    dir.join("poison")
}

fn skips_file(dir: &Path) -> PathBuf {
    dir.join("skips")
}

/// Tells a mended program from the one that was struck.
fn program() -> String {
    let about = std::env::current_exe().and_then(fs::metadata);
    let changed = about.as_ref().ok().and_then(|about| about.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok());
    format!("{}-{}", about.map_or(0, |about| about.len()), changed.unwrap_or_default().as_nanos())
}

fn read_mark(line: &str) -> Option<(GroupId, Mark)> {
    let mut words = line.split(' ');
    let (group, index, times) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((group, Mark { index, times, program: words.next()?.to_owned() }))
}

/// Notes on the disk of a node that is not running that it skips an entry of the meta group.
///
/// # Errors
/// When the disk takes no note.
pub(crate) fn note_skip(dir: &Path, index: u64) -> io::Result<()> {
    let mut noted = read_skips(dir);
    noted.insert(index);
    let lines: Vec<String> = noted.iter().map(u64::to_string).collect();
    notes::put(&skips_file(dir), &lines.join("\n"))
}

fn read_skips(dir: &Path) -> BTreeSet<u64> {
    fs::read_to_string(skips_file(dir)).unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
}

impl Poison {
    pub(crate) fn open(dir: &Path, meta: watch::Receiver<Arc<MetaState>>) -> Self {
        let marks = fs::read_to_string(marks_file(dir)).unwrap_or_default().lines().filter_map(read_mark).collect();
        Self(Arc::new(Inner {
            dir: dir.to_owned(),
            program: program(),
            meta,
            noted: read_skips(dir),
            marks: Mutex::new(marks),
            waiting: Mutex::default(),
            stop: CancellationToken::new(),
        }))
    }

    /// True if the cluster skips this entry.
    pub(super) fn skips(&self, group: GroupId, index: u64) -> bool {
        if group == META {
            return self.0.noted.contains(&index);
        }
        self.0.meta.borrow().skips.get(&group).is_some_and(|skips| skips.contains(&index))
    }

    /// The entry of a group that ended this program as often as it may.
    pub(super) fn struck_out(&self, group: GroupId) -> Option<u64> {
        let marks = self.0.marks.lock();
        let mark = marks.get(&group).filter(|mark| mark.times >= POISON_TRIES && mark.program == self.0.program);
        mark.map(|mark| mark.index)
    }

    /// Decides about an entry; about one that struck before, as soon as the cluster has.
    ///
    /// # Errors
    /// When the node stops meanwhile.
    pub(super) async fn verdict(&self, group: GroupId, index: u64) -> io::Result<Verdict> {
        if self.skips(group, index) {
            return Ok(Verdict::Skip);
        }
        if self.struck_out(group) != Some(index) {
            return Ok(Verdict::Apply);
        }
        tracing::error!(
            group,
            index,
            "this entry ended this node before: the group waits at it, for a mended program or for the word to skip it"
        );
        self.0.waiting.lock().insert(group, index);
        metrics::gauge!("raft_poisoned", "group" => group.to_string()).set(1.0);
        let mut meta = self.0.meta.clone();
        while !self.skips(group, index) {
            let news = self.0.stop.run_until_cancelled(meta.changed()).await;
            if !matches!(news, Some(Ok(()))) {
                return Err(io::Error::other("the node stops"));
            }
        }
        self.0.waiting.lock().remove(&group);
        metrics::gauge!("raft_poisoned", "group" => group.to_string()).set(0.0);
        Ok(Verdict::Skip)
    }

    /// Writes down that an entry is about to end this process.
    pub(super) fn struck(&self, group: GroupId, index: u64) {
        let mut marks = self.0.marks.lock();
        let before = marks.get(&group).filter(|mark| mark.index == index && mark.program == self.0.program).map_or(0, |mark| mark.times);
        marks.insert(group, Mark { index, times: before + 1, program: self.0.program.clone() });
        let lines: Vec<String> =
            marks.iter().map(|(group, mark)| format!("{group} {} {} {}", mark.index, mark.times, mark.program)).collect();
        if let Err(error) = notes::put(&marks_file(&self.0.dir), &lines.join("\n")) {
            tracing::error!(%error, "what ended this node could not be written down");
        }
    }

    /// The entry a group waits at.
    pub(super) fn waiting(&self, group: GroupId) -> Option<u64> {
        self.0.waiting.lock().get(&group).copied()
    }

    /// Lets waiting groups go, because the node stops.
    pub(crate) fn stop(&self) {
        self.0.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(dir: &Path) -> (watch::Sender<Arc<MetaState>>, Poison) {
        let (publish, meta) = watch::channel(Arc::default());
        (publish, Poison::open(dir, meta))
    }

    #[tokio::test]
    async fn an_entry_is_tried_twice_by_one_program_and_then_waited_at() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for _ in 0..POISON_TRIES {
            let (_publish, poison) = opened(dir.path());
            assert_eq!(poison.verdict(1, 7).await.expect("no wait"), Verdict::Apply);
            poison.struck(1, 7);
        }
        let (publish, poison) = opened(dir.path());
        assert_eq!(poison.verdict(1, 8).await.expect("no wait"), Verdict::Apply, "another entry");
        assert_eq!(poison.verdict(2, 7).await.expect("no wait"), Verdict::Apply, "another group");
        let waits = tokio::spawn({
            let poison = poison.clone();
            async move { poison.verdict(1, 7).await }
        });
        while poison.waiting(1) != Some(7) {
            tokio::task::yield_now().await;
        }
        publish.send_modify(|meta| Arc::make_mut(meta).skips.entry(1).or_default().extend([7]));
        assert_eq!(waits.await.expect("no panic").expect("decided"), Verdict::Skip);
        assert_eq!(poison.waiting(1), None);
    }

    #[tokio::test]
    async fn a_mended_program_tries_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(marks_file(dir.path()), "1 7 9 another-program\n").expect("written");
        let (_publish, poison) = opened(dir.path());
        assert_eq!(poison.verdict(1, 7).await.expect("no wait"), Verdict::Apply);
    }

    #[tokio::test]
    async fn a_node_that_stops_waits_no_longer() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (_publish, poison) = opened(dir.path());
        (0..POISON_TRIES).for_each(|_| poison.struck(1, 7));
        poison.stop();
        assert!(poison.verdict(1, 7).await.is_err());
    }

    #[tokio::test]
    async fn an_entry_of_the_meta_group_is_skipped_by_a_note_on_the_disk() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        note_skip(dir.path(), 3).expect("noted");
        note_skip(dir.path(), 5).expect("noted");
        let (_publish, poison) = opened(dir.path());
        for (index, verdict) in [(3, Verdict::Skip), (4, Verdict::Apply), (5, Verdict::Skip)] {
            assert_eq!(poison.verdict(META, index).await.expect("no wait"), verdict);
        }
    }
}
