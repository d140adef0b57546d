//! Snapshot files: one per group, whole or not at all.
//!
//! A snapshot is written beside the old one, made durable and renamed over it, so that at every moment the group's name
//! leads to a complete snapshot. Only when [`Store::save`] has returned may the log be purged. What the metadata
//! and the data mean is the business of consensus and of the machine.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use super::disk::sync_dir;
use crate::{GroupId, codec, limits};

const MAGIC: &[u8; 8] = b"TSNAP\0\0\x01";
/// Magic, group, lengths of metadata and data, CRC32C of all that follows the CRC and of the fields before it.
const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 4;

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("snapshot {} is damaged: {detail}", path.display())]
    Corrupt { path: PathBuf, detail: String },
    #[error("a snapshot of {0} bytes exceeds the limit of {max}", max = limits::SNAPSHOT_MAX_BYTES)]
    TooLarge(usize),
    #[error("snapshot metadata: {0}")]
    Meta(#[from] codec::Error),
}

impl From<Error> for io::Error {
    fn from(e: Error) -> Self {
        match e {
            Error::Io { what, source } => Self::new(source.kind(), format!("{what}: {source}")),
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

fn io_error(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let what = format!("cannot {verb} {}", path.display());
    move |source| Error::Io { what, source }
}

/// The snapshots of a node's groups, in a directory of their own.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens the directory, creates it when missing, and removes what an interrupted save left.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let dir = dir.to_path_buf();
        fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_dir(parent).map_err(io_error("sync", parent))?;
        }
        for entry in fs::read_dir(&dir).map_err(io_error("list", &dir))? {
            let path = entry.map_err(io_error("list", &dir))?.path();
            if path.extension().is_some_and(|e| e == "tmp") {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(Self { dir })
    }

    fn path(&self, group: GroupId) -> PathBuf {
        self.dir.join(format!("group-{group}.snap"))
    }

    /// Replaces the group's snapshot. Durable on return. It blocks on the disk: call it off the async threads.
    ///
    /// # Errors
    /// [`Error::TooLarge`], or [`Error::Io`]; the former snapshot is then still there.
    pub(crate) fn save<M: Serialize>(&self, group: GroupId, meta: &M, data: &[u8]) -> Result<(), Error> {
        let meta = codec::encode(meta)?;
        let size = meta.len() + data.len();
        if data.len() > limits::SNAPSHOT_MAX_BYTES || meta.len() > limits::SNAPSHOT_META_MAX_BYTES {
            return Err(Error::TooLarge(size));
        }
        let (path, tmp) = (self.path(group), self.path(group).with_extension("tmp"));
        let write = || -> io::Result<()> {
            let mut file = File::create(&tmp)?;
            file.write_all(&header(group, &meta, data))?;
            file.write_all(&meta)?;
            file.write_all(data)?;
            file.sync_all()
        };
        write().map_err(|e| {
            // Half a file on a full disk only makes matters worse; failing to remove it changes nothing.
            let _ = fs::remove_file(&tmp);
            io_error("write", &tmp)(e)
        })?;
        fs::rename(&tmp, &path).map_err(io_error("rename", &tmp))?;
        sync_dir(&self.dir).map_err(io_error("sync", &self.dir))
    }

    /// The group's snapshot, verified.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the file; [`Error::Meta`] when another version wrote it.
    pub(crate) fn load<M: DeserializeOwned>(&self, group: GroupId) -> Result<Option<(M, Vec<u8>)>, Error> {
        let path = self.path(group);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|mut f| f.read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error("read", &path)(e)),
        }
        let corrupt = |detail: &str| Error::Corrupt { path: path.clone(), detail: detail.into() };
        if bytes.len() < HEADER_BYTES || &bytes[..8] != MAGIC {
            return Err(corrupt("it does not start as a snapshot of this version does"));
        }
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were sliced"));
        let data_len = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes were sliced"));
        let meta_end = HEADER_BYTES.saturating_add(word(12) as usize);
        if meta_end as u64 + data_len != bytes.len() as u64 {
            return Err(corrupt("its length is not what its header says"));
        }
        if header(group, &bytes[HEADER_BYTES..meta_end], &bytes[meta_end..]) != bytes[..HEADER_BYTES] {
            return Err(corrupt("its checksum or its group is wrong"));
        }
        let meta = codec::decode(&bytes[HEADER_BYTES..meta_end])?;
        bytes.drain(..meta_end);
        Ok(Some((meta, bytes)))
    }
}

fn header(group: GroupId, meta: &[u8], data: &[u8]) -> [u8; HEADER_BYTES] {
    let mut head = [0; HEADER_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&group.to_le_bytes());
    let meta_len = u32::try_from(meta.len()).unwrap_or(u32::MAX);
    head[12..16].copy_from_slice(&meta_len.to_le_bytes());
    head[16..24].copy_from_slice(&(data.len() as u64).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&head[..24]), meta), data);
    head[24..].copy_from_slice(&crc.to_le_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    type Meta = (u64, String);

    fn saved() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("snapshots")).unwrap();
        store.save(3, &(41u64, "old".to_owned()), b"old state").unwrap();
        store.save(3, &(42u64, "new".to_owned()), b"new state").unwrap();
        (dir, store)
    }

    #[test]
    fn the_newest_snapshot_replaces_the_old_one() {
        let (_dir, store) = saved();
        assert_eq!(store.load::<Meta>(3).unwrap(), Some(((42, "new".into()), b"new state".to_vec())));
        assert_eq!(store.load::<Meta>(4).unwrap(), None);
        assert_eq!(fs::read_dir(&store.dir).unwrap().count(), 1);
    }

    #[test]
    fn an_interrupted_save_leaves_the_old_snapshot_and_is_cleaned_up() {
        let (_dir, store) = saved();
        fs::write(store.path(3).with_extension("tmp"), b"half").unwrap();
        let store = Store::open(&store.dir).unwrap();
        assert_eq!(store.load::<Meta>(3).unwrap().unwrap().0.0, 42);
        assert_eq!(fs::read_dir(&store.dir).unwrap().count(), 1);
    }

    #[test]
    fn any_flipped_byte_or_cut_is_refused_by_name() {
        let (_dir, store) = saved();
        let good = fs::read(store.path(3)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            fs::write(store.path(3), &bad).unwrap();
            let error = store.load::<Meta>(3).unwrap_err().to_string();
            assert!(error.contains("group-3.snap is damaged"), "byte {at}: {error}");
            fs::write(store.path(3), &good[..at]).unwrap();
            assert!(store.load::<Meta>(3).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_snapshot_of_one_group_is_not_taken_for_that_of_another() {
        let (_dir, store) = saved();
        fs::rename(store.path(3), store.path(5)).unwrap();
        assert!(matches!(store.load::<Meta>(5), Err(Error::Corrupt { .. })));
    }
}
