//! Bearer tokens: made random, shown once, kept as SHA-256 only.
//!
//! It owns the token book of a node and its file. Every node keeps the whole book; `routes::tokens` hands a change to
//! the other nodes. What a role may do is `access`.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    access::{Principal, Role},
    limits,
};

/// What every token starts with, so that a leaked one can be searched for.
const PREFIX: &str = "tdm_";

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Public name, used in events and to revoke it.
    pub id: String,
    pub role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Lower-case hex of the SHA-256 of the whole token.
    pub sha256: String,
    /// A revoked token stays as a tombstone, so that a node that was away cannot bring it back.
    #[serde(default)]
    pub revoked: bool,
}

/// Why the book could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("token file {0}: {1}")]
    File(PathBuf, io::Error),
    #[error("token file {0}: {1}")]
    Content(PathBuf, serde_json::Error),
    #[error("at most {} tokens", limits::TOKENS_MAX)]
    Full,
}

/// The tokens this node accepts.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    /// By hash.
    rows: RwLock<BTreeMap<String, Token>>,
    /// The administrator's token of the configuration; it is in no file of ours.
    bootstrap: Option<String>,
}

impl Book {
    /// Opens the book of a data folder; a missing file is an empty book.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn open(data_dir: &Path, admin_token: Option<&str>) -> Result<Self, Error> {
        let path = data_dir.join("tokens.json");
        let rows: Vec<Token> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::Content(path.clone(), e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::File(path, e)),
        };
        let rows = rows.into_iter().map(|token| (token.sha256.clone(), token)).collect();
        Ok(Self { path, rows: RwLock::new(rows), bootstrap: admin_token.map(|secret| hash(secret.trim())) })
    }

    /// Who presents this token, if it is known and stands.
    pub fn find(&self, secret: &str) -> Option<Principal> {
        let hashed = hash(secret);
        if self.bootstrap.as_ref() == Some(&hashed) {
            return Some(Principal { token: "bootstrap".into(), role: Role::Admin, tenant: None, agent: None });
        }
        let rows = self.rows.read();
        let token = rows.get(&hashed).filter(|token| !token.revoked)?;
        Some(Principal { token: token.id.clone(), role: token.role, tenant: token.tenant.clone(), agent: token.agent.clone() })
    }

    /// Every token, revoked ones too.
    pub fn all(&self) -> Vec<Token> {
        self.rows.read().values().cloned().collect()
    }

    /// Takes tokens in from here or from another node; a revocation always wins. Written and synced before it counts.
    ///
    /// # Errors
    /// When the book is full or the file cannot be written.
    pub fn merge(&self, tokens: Vec<Token>) -> Result<(), Error> {
        let mut rows = self.rows.write();
        let mut next = rows.clone();
        for token in tokens {
            let revoked = token.revoked || next.get(&token.sha256).is_some_and(|old| old.revoked);
            next.insert(token.sha256.clone(), Token { revoked, ..token });
        }
        if next.len() > limits::TOKENS_MAX {
            return Err(Error::Full);
        }
        if next == *rows {
            return Ok(());
        }
        self.write(&next)?;
        *rows = next;
        Ok(())
    }

    fn write(&self, rows: &BTreeMap<String, Token>) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(&rows.values().collect::<Vec<_>>()).expect("tokens are plain strings");
        crate::config::files::write_private(&self.path, &bytes).map_err(|e| Error::File(self.path.clone(), e))
    }
}

/// A fresh token and its row.
pub fn mint(role: Role, tenant: Option<String>, agent: Option<String>) -> (String, Token) {
    let secret = format!("{PREFIX}{}", random_hex());
    let id = format!("{}-{}", format!("{role:?}").to_lowercase(), &random_hex()[..8]);
    let sha256 = hash(&secret);
    (secret, Token { id, role, tenant, agent, sha256, revoked: false })
}

/// 128 random bits twice over, as hex.
fn random_hex() -> String {
    use rand::RngCore as _;
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    hex(&bytes)
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_secret_and_kept_only_as_a_hash() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open(dir.path(), None).unwrap();
        let (secret, row) = mint(Role::Supervisor, Some("demo".into()), None);
        book.merge(vec![row.clone()]).unwrap();
        let again = Book::open(dir.path(), None).unwrap();
        let found = again.find(&secret).unwrap();
        assert_eq!((found.role, found.tenant.as_deref(), found.token), (Role::Supervisor, Some("demo"), row.id));
        assert!(!std::fs::read_to_string(dir.path().join("tokens.json")).unwrap().contains(&secret));
        assert_eq!(again.find("tdm_other"), None);
    }

    #[test]
    fn a_revoked_token_cannot_come_back_from_another_node() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open(dir.path(), None).unwrap();
        let (secret, row) = mint(Role::Admin, None, None);
        book.merge(vec![row.clone()]).unwrap();
        book.merge(vec![Token { revoked: true, ..row.clone() }]).unwrap();
        book.merge(vec![row]).unwrap();
        assert_eq!(book.find(&secret), None);
    }

    #[test]
    fn the_bootstrap_token_is_an_administrator_and_not_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open(dir.path(), Some("s3cret\n")).unwrap();
        assert_eq!(book.find("s3cret").map(|p| p.role), Some(Role::Admin));
        assert!(book.all().is_empty());
    }
}
