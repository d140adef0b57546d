//! A disk whose last write may be lost or torn: real files in memory, and what of them was not synced yet.
//!
//! The log writes and syncs one batch at a time, so at most one batch is in doubt. Of its sectors any may have reached the
//! platter and any not. Files that are written whole and renamed (snapshots, notes) are taken for durable at once.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

use crate::NodeId;

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// The batch between its write and its sync, and what was there before.
struct Unsynced {
    path: PathBuf,
    offset: u64,
    before: Vec<u8>,
}

struct Inner {
    node: NodeId,
    dir: PathBuf,
    dead: AtomicBool,
    unsynced: Mutex<Option<Unsynced>>,
}

/// The disk of one life of a node. Cheap to clone.
#[derive(Clone)]
pub struct Platter(Arc<Inner>);

impl Platter {
    pub(super) fn new(node: NodeId, dir: &Path) -> Self {
        Self(Arc::new(Inner { node, dir: dir.to_owned(), dead: AtomicBool::new(false), unsynced: Mutex::default() }))
    }

    pub(super) fn holds(&self, dir: &Path) -> bool {
        dir.starts_with(&self.0.dir)
    }

    pub(crate) fn node(&self) -> NodeId {
        self.0.node
    }

    /// True once its node lost power: nothing is written, and nothing durable, any more.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Acquire)
    }

    /// Notes what a write is about to replace.
    pub(crate) fn before_write(&self, file: &fs::File, path: PathBuf, offset: u64, bytes: usize) -> io::Result<()> {
        let mut before = vec![0; bytes];
        let mut at = 0;
        while at < bytes {
            match file.read_at(&mut before[at..], offset + at as u64)? {
                0 => break,
                read => at += read,
            }
        }
        *self.0.unsynced.lock() = Some(Unsynced { path, offset, before });
        Ok(())
    }

    /// True while a batch is written and not yet synced.
    pub fn in_doubt(&self) -> bool {
        self.0.unsynced.lock().is_some()
    }

    pub(crate) fn synced(&self) {
        *self.0.unsynced.lock() = None;
    }

    /// Ends this life of the disk and leaves what survived in `into`. Of the batch in doubt the sectors survive that `kept` says,
    /// asked in order. Returns how many sectors were lost.
    ///
    /// # Errors
    /// When the files cannot be copied.
    pub fn cut_power(&self, into: &Path, mut kept: impl FnMut() -> bool) -> io::Result<usize> {
        self.0.dead.store(true, Ordering::Release);
        copy(&self.0.dir, into)?;
        let Some(unsynced) = self.0.unsynced.lock().take() else { return Ok(0) };
        let relative = unsynced.path.strip_prefix(&self.0.dir).map_err(io::Error::other)?;
        let file = fs::OpenOptions::new().write(true).open(into.join(relative))?;
        let mut lost = 0;
        let mut at = 0;
        while at < unsynced.before.len() {
            let offset = unsynced.offset + at as u64;
            let end = (at + SECTOR_BYTES - (offset as usize % SECTOR_BYTES)).min(unsynced.before.len());
            if !kept() {
                file.write_all_at(&unsynced.before[at..end], offset)?;
                lost += 1;
            }
            at = end;
        }
        Ok(lost)
    }
}

fn copy(from: &Path, into: &Path) -> io::Result<()> {
    fs::create_dir_all(into)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = into.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
