//! Bearer tokens: made random, shown once, kept as SHA-256 only, in the table that every node of the cluster shares.
//!
//! What a role may do is `access`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tandem_cluster::{Cluster, ProposeError};

use super::access::{Principal, Role};

/// What every token starts with, so that a leaked one can be searched for.
const PREFIX: &str = "tdm_";
/// Rows of tokens in the shared table: this and the hash.
const ROWS: &str = "token/";

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Public name, used in events and to revoke it.
    pub id: String,
    pub role: Role,
    pub tenant: Option<String>,
    pub agent: Option<String>,
    /// Lower-case hex of the SHA-256 of the whole token.
    #[serde(skip)]
    pub sha256: String,
}

/// The tokens a node accepts.
pub struct Book {
    cluster: Cluster,
    /// The administrator's token of the configuration; it is in no table.
    bootstrap: Option<String>,
}

impl Book {
    pub fn new(cluster: Cluster, admin_token: Option<&str>) -> Self {
        Self { cluster, bootstrap: admin_token.map(str::trim).filter(|secret| !secret.is_empty()).map(hash) }
    }

    /// Who presents this token, if it is known here.
    pub fn find(&self, secret: &str) -> Option<Principal> {
        let hashed = hash(secret);
        if self.bootstrap.as_ref() == Some(&hashed) {
            return Some(Principal { token: "bootstrap".into(), role: Role::Admin, tenant: None, agent: None });
        }
        let row = self.cluster.shared(&format!("{ROWS}{hashed}"))?;
        let token: Token = serde_json::from_slice(&row).ok()?;
        Some(Principal { token: token.id, role: token.role, tenant: token.tenant, agent: token.agent })
    }

    /// Every token, by name.
    pub fn all(&self) -> Vec<Token> {
        let rows = self.cluster.shared_under(ROWS);
        let read = |(key, row): (String, Vec<u8>)| {
            let token: Token = serde_json::from_slice(&row).ok()?;
            Some(Token { sha256: key.strip_prefix(ROWS)?.to_owned(), ..token })
        };
        let mut tokens: Vec<Token> = rows.into_iter().filter_map(read).collect();
        tokens.sort_by(|a, b| a.id.cmp(&b.id));
        tokens
    }

    /// Makes a token known to every node.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn add(&self, token: &Token, deadline: Duration) -> Result<(), ProposeError> {
        let row = serde_json::to_vec(token).expect("a token is plain strings");
        self.cluster.share(&format!("{ROWS}{}", token.sha256), Some(row), deadline).await
    }

    /// Makes a token unknown to every node, once under an idempotency key.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn remove(&self, token: &Token, request: Option<u128>, deadline: Duration) -> Result<(), ProposeError> {
        self.cluster.under(request).share(&format!("{ROWS}{}", token.sha256), None, deadline).await
    }
}

/// A fresh token and its row.
pub fn mint(role: Role, tenant: Option<String>, agent: Option<String>) -> (String, Token) {
    let secret = format!("{PREFIX}{}", random_hex());
    let id = format!("{}-{}", format!("{role:?}").to_lowercase(), &random_hex()[..8]);
    let sha256 = hash(&secret);
    (secret, Token { id, role, tenant, agent, sha256 })
}

/// 256 random bits as hex.
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
    fn a_token_is_long_random_and_kept_without_its_secret() {
        let (secret, row) = mint(Role::Supervisor, Some("demo".into()), None);
        let (other, _) = mint(Role::Supervisor, Some("demo".into()), None);
        assert!(secret.starts_with(PREFIX) && secret.len() == PREFIX.len() + 64 && secret != other);
        let kept = serde_json::to_string(&row).unwrap();
        assert!(!kept.contains(&secret) && !kept.contains(&row.sha256));
        assert_eq!(row.sha256, hash(&secret));
    }
}
