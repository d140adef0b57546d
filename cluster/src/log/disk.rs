//! The log's hold on the file system: segment files, fsyncs, and the injected faults of tests.
//!
//! It knows names and bytes of files, not what is in them.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{Error, Options};
use crate::limits;

/// A kind of access that [`Faults`] can make fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOp {
    Write,
    Sync,
    /// Making a new segment.
    Create,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    op: DiskOp,
    errno: i32,
    after: u32,
}

/// Injected disk errors, of tests and drills. With nothing armed it costs one uncontended lock per batch.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Mutex<Option<Fault>>,
    delay: Mutex<Duration>,
}

impl Faults {
    /// Makes every `op` fail with `errno` (5 is EIO, 28 ENOSPC), after `after` more of them succeeded.
    pub fn arm(&self, op: DiskOp, errno: i32, after: u32) {
        *self.armed.lock() = Some(Fault { op, errno, after });
    }

    /// Lets every access succeed again, at its own speed.
    pub fn clear(&self) {
        *self.armed.lock() = None;
        *self.delay.lock() = Duration::ZERO;
    }

    /// Makes every sync take this much longer: a slow disk.
    pub fn slow(&self, delay: Duration) {
        *self.delay.lock() = delay;
    }

    fn check(&self, op: DiskOp) -> io::Result<()> {
        if op == DiskOp::Sync {
            let delay = *self.delay.lock();
            if !delay.is_zero() {
                std::thread::sleep(delay);
            }
        }
        let mut armed = self.armed.lock();
        match armed.as_mut() {
            Some(fault) if fault.op == op && fault.after == 0 => Err(io::Error::from_raw_os_error(fault.errno)),
            Some(fault) if fault.op == op => {
                fault.after -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// How often a log's lock is tried again while another process holds it.
const LOCK_POLL: Duration = Duration::from_millis(10);
/// Names of spares by origin, so that the number of a recycled segment cannot meet that of a zeroed file.
const ZEROED: &str = "spare-zeroed-";
const RECYCLED: &str = "spare-recycled-";

/// Chunk in which a new segment is zeroed, bytes.
const ZERO_CHUNK_BYTES: usize = 1 << 20;

/// The directory of a log, held exclusively while this lives.
#[derive(Clone)]
pub(super) struct Disk {
    dir: PathBuf,
    pub(super) segment_bytes: u64,
    faults: Arc<Faults>,
    /// Held for its lock only.
    _lock: Arc<File>,
}

impl Disk {
    pub(super) fn open(options: &Options) -> Result<Self, Error> {
        let dir = options.dir.clone();
        let what = |verb: &str| format!("cannot {verb} log directory {}", dir.display());
        fs::create_dir_all(&dir).map_err(Error::io(what("create")))?;
        // The directory's own name must survive as well, or a power cut takes the log with it.
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_dir(parent).map_err(Error::io(what("sync the parent of")))?;
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("LOCK")).map_err(Error::io(what("lock")))?;
        // A former owner in the same process may be about to let go.
        let give_up = Instant::now() + limits::WAL_LOCK_WAIT;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(fs::TryLockError::WouldBlock) if Instant::now() >= give_up => return Err(Error::InUse(dir)),
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
                Err(fs::TryLockError::Error(e)) => return Err(Error::io(what("lock"))(e)),
            }
        }
        Ok(Self { dir, segment_bytes: options.segment_bytes, faults: Arc::clone(&options.faults), _lock: Arc::new(lock) })
    }

    pub(super) fn segment_path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:016}.wal"))
    }

    /// A number above those of all zeroed spares, so that a new one never takes the name of one that waits.
    pub(super) fn free_spare_number(spares: &[PathBuf]) -> u64 {
        let names = spares.iter().filter_map(|p| p.file_name()?.to_str()?.strip_prefix(ZEROED));
        names.filter_map(|n| u64::from_str_radix(n, 16).ok()).max().map_or(1, |n| n + 1)
    }

    /// Numbers of the segments in order, and the zeroed or emptied files ready for reuse. Removes half-made files.
    pub(super) fn list(&self) -> Result<(Vec<u64>, Vec<PathBuf>), Error> {
        let (mut segments, mut spares) = (Vec::new(), Vec::new());
        let what = || Error::io(format!("cannot list log directory {}", self.dir.display()));
        for entry in fs::read_dir(&self.dir).map_err(what())? {
            let path = entry.map_err(what())?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if let Some(number) = name.strip_suffix(".wal").and_then(|n| n.parse().ok()) {
                segments.push(number);
            } else if name.ends_with(".tmp") {
                fs::remove_file(&path).map_err(what())?;
            } else if name.starts_with("spare-") {
                spares.push(path);
            }
        }
        segments.sort_unstable();
        Ok((segments, spares))
    }

    /// Makes a segment-sized file of zeros, durable under a spare's name.
    pub(super) fn create_spare(&self, number: u64) -> Result<PathBuf, Error> {
        let (tmp, path) = (self.dir.join(format!("zero-{number:016x}.tmp")), self.dir.join(format!("{ZEROED}{number:016x}")));
        let make = || -> io::Result<()> {
            self.faults.check(DiskOp::Create)?;
            let file = File::create(&tmp)?;
            zero(&file, 0, self.segment_bytes)?;
            file.sync_all()?;
            fs::rename(&tmp, &path)?;
            sync_dir(&self.dir)
        };
        make().map_err(|source| {
            // What could be written of it would keep the disk full.
            let _ = fs::remove_file(&tmp);
            Error::Io { what: format!("cannot create log segment {}", path.display()), source }
        })?;
        Ok(path)
    }

    /// Gives a spare the name of segment `number` and opens it.
    pub(super) fn activate(&self, spare: &Path, number: u64) -> Result<File, Error> {
        let path = self.segment_path(number);
        let open = || -> io::Result<File> {
            fs::rename(spare, &path)?;
            sync_dir(&self.dir)?;
            OpenOptions::new().read(true).write(true).open(&path)
        };
        open().map_err(Error::io(format!("cannot begin log segment {}", path.display())))
    }

    pub(super) fn reopen(&self, number: u64) -> Result<File, Error> {
        let path = self.segment_path(number);
        OpenOptions::new().read(true).write(true).open(&path).map_err(Error::io(format!("cannot open log segment {}", path.display())))
    }

    pub(super) fn read(&self, number: u64) -> Result<Vec<u8>, Error> {
        let path = self.segment_path(number);
        fs::read(&path).map_err(Error::io(format!("cannot read log segment {}", path.display())))
    }

    /// Turns an emptied segment into a spare, or deletes it. Durable after [`Disk::sync`].
    pub(super) fn retire(&self, number: u64, keep: bool) -> Result<Option<PathBuf>, Error> {
        let (path, spare) = (self.segment_path(number), self.dir.join(format!("{RECYCLED}{number:016x}")));
        let retire = || -> io::Result<Option<PathBuf>> {
            if !keep || fs::metadata(&path)?.len() != self.segment_bytes {
                // One that had to grow, or is from a start with another size, is not worth keeping.
                return fs::remove_file(&path).map(|()| None);
            }
            fs::rename(&path, &spare)?;
            Ok(Some(spare))
        };
        retire().map_err(Error::io(format!("cannot recycle log segment {}", path.display())))
    }

    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        fs::remove_file(path).map_err(Error::io(format!("cannot remove {}", path.display())))
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        sync_dir(&self.dir).map_err(Error::io(format!("cannot sync log directory {}", self.dir.display())))
    }

    /// Writes a batch and makes it durable.
    pub(super) fn write(&self, file: &File, number: u64, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            self.faults.check(DiskOp::Write)?;
            #[cfg(feature = "sim")]
            if let Some(platter) = crate::sim::platter(&self.dir) {
                platter.before_write(file, self.segment_path(number), offset, bytes.len())?;
            }
            file.write_all_at(bytes, offset)?;
            self.faults.check(DiskOp::Sync)?;
            file.sync_data()
        };
        write().map_err(Error::io(format!("cannot write log segment {} at offset {offset}", self.segment_path(number).display())))
    }

    /// Overwrites the rest of a segment with zeros, durably.
    pub(super) fn wipe_tail(&self, file: &File, number: u64, offset: u64) -> Result<(), Error> {
        let wipe = || -> io::Result<()> {
            let len = file.metadata()?.len();
            zero(file, offset, len)?;
            file.sync_data()
        };
        wipe().map_err(Error::io(format!("cannot clear the tail of log segment {}", self.segment_path(number).display())))
    }
}

fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0u8; ZERO_CHUNK_BYTES];
    let mut at = from;
    while at < to {
        let n = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZERO_CHUNK_BYTES);
        file.write_all_at(&zeros[..n], at)?;
        at += n as u64;
    }
    Ok(())
}

/// Makes creations, renames and removals in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
