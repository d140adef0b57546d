//! Snapshot files: one per group, checksummed, replaced atomically, durable before anything is purged on their account.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{GroupId, codec};

const MAGIC: &[u8; 4] = b"TSN1";

/// The snapshot files of a node.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    dir: PathBuf,
}

impl Store {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_path_buf() })
    }

    fn path(&self, group: GroupId) -> PathBuf {
        self.dir.join(format!("{group}.snapshot"))
    }

    /// Replaces the group's snapshot; on return it is durable under its name.
    pub(crate) fn save<M: Serialize>(&self, group: GroupId, meta: &M, state: &[u8]) -> io::Result<()> {
        let meta = codec::encode(meta)?;
        let mut bytes = Vec::with_capacity(state.len() + meta.len() + 16);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(meta.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&meta);
        bytes.extend_from_slice(state);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let temporary = self.path(group).with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path(group))?;
        File::open(&self.dir)?.sync_all()
    }

    /// The group's snapshot, verified; `None` if it never had one.
    pub(crate) fn load<M: DeserializeOwned>(&self, group: GroupId) -> io::Result<Option<(M, Vec<u8>)>> {
        let bytes = match fs::read(self.path(group)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", self.path(group).display()));
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) || body.len() < 8 || &body[..4] != MAGIC {
            return Err(damaged());
        }
        let meta_len = u32::from_le_bytes(body[4..8].try_into().expect("four bytes were sliced")) as usize;
        let meta = body.get(8..8 + meta_len).ok_or_else(damaged)?;
        Ok(Some((codec::decode(meta)?, body[8 + meta_len..].to_vec())))
    }
}
