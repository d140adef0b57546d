//! Digest authentication (RFC 7616, RFC 8760) of both sides: challenges and verdicts for requests that come in, and the
//! answer to a challenge for requests that go out.
//!
//! Nonces are stateless: time and randomness under an HMAC of the cluster's secret, so any node accepts another's. Only the
//! counts that guard against replay are kept, per node and bounded. It knows HA1 values and no accounts.

use std::{collections::BTreeMap, fmt};

use hmac::{Hmac, Mac};
use md5::Md5;
use sha2::{Digest, Sha256};

use super::limits::{AUTHORIZATION_BYTES_MAX, NONCE_AGE_MAX, NONCE_COUNT_WINDOW, NONCES_MAX};
use crate::core::policy::Ha1;

#[cfg(test)]
mod tests;

/// Hash of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|a| name.eq_ignore_ascii_case(a.name()))
    }

    fn hex(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }

    /// The `response` of RFC 7616 §3.4.1 for `qop=auth`.
    fn response(self, ha1: &str, nonce: &str, nc: &str, cnonce: &str, method: &str, uri: &str) -> String {
        let ha2 = self.hex(&format!("{method}:{uri}"));
        self.hex(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}"))
    }

    /// HA1 of an account, as a policy keeps it.
    pub fn ha1(self, user: &str, realm: &str, password: &str) -> String {
        self.hex(&format!("{user}:{realm}:{password}"))
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Compares without telling by its duration where two texts differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |diff, (x, y)| diff | (x.to_ascii_lowercase() ^ y.to_ascii_lowercase())) == 0
}

/// Parameters of a `Digest …` value by lower-case name; quotes are taken off.
fn parameters(value: &str) -> Option<BTreeMap<String, String>> {
    let value = value.trim();
    if value.len() > AUTHORIZATION_BYTES_MAX || !value.get(..7)?.eq_ignore_ascii_case("digest ") {
        return None;
    }
    let mut rest = value[7..].trim_start();
    let mut out = BTreeMap::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (text, tail) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        out.insert(name.trim().to_ascii_lowercase(), text);
        rest = tail.trim_start().trim_start_matches(',').trim_start();
    }
    Some(out)
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let (mut out, mut chars) = (String::new(), quoted.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &quoted[at + 1..])),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

fn quote(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A client's `Authorization` or `Proxy-Authorization`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    nc: String,
    cnonce: String,
}

impl fmt::Debug for Credentials {
    /// The rest could be replayed, so it stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads a header value. `None` for another scheme, an unknown algorithm, or without `qop=auth`, which every
    /// challenge of ours demands.
    pub fn parse(value: &str) -> Option<Self> {
        let mut p = parameters(value)?;
        if !p.get("qop").is_some_and(|qop| qop.eq_ignore_ascii_case("auth")) {
            return None;
        }
        let algorithm = p.get("algorithm").map_or(Some(Algorithm::Md5), |name| Algorithm::of(name))?;
        let mut take = |name: &str| p.remove(name);
        Some(Self {
            username: take("username")?,
            realm: take("realm")?,
            nonce: take("nonce")?,
            uri: take("uri")?,
            response: take("response")?,
            algorithm,
            nc: take("nc")?,
            cnonce: take("cnonce")?,
        })
    }
}

/// What credentials came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Genuine,
    /// The password was right and the nonce too old, used up or not of this cluster's key: challenge again with `stale=true`.
    Stale,
    Wrong,
}

/// Nonce counts seen of one nonce: the highest, and a bit for each of the `NONCE_COUNT_WINDOW` below it.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    highest: u32,
    below: u64,
}

impl Counts {
    /// Records a count; false if it was seen before or is too far behind to tell.
    fn take(&mut self, nc: u32) -> bool {
        if nc > self.highest {
            let ahead = nc - self.highest;
            self.below = self.below.checked_shl(ahead).unwrap_or(0);
            if self.highest > 0 && ahead <= NONCE_COUNT_WINDOW {
                self.below |= 1_u64.checked_shl(ahead - 1).unwrap_or(0);
            }
            self.highest = nc;
            return true;
        }
        let behind = self.highest - nc;
        if nc == 0 || behind == 0 || behind > NONCE_COUNT_WINDOW {
            return false;
        }
        let bit = 1_u64 << (behind - 1);
        let fresh = self.below & bit == 0;
        self.below |= bit;
        fresh
    }
}

/// Mints and judges nonces. Times are wall-clock milliseconds, since nodes must agree on a nonce's age.
pub struct Server {
    secret: [u8; 32],
    counts: BTreeMap<(i64, u64), Counts>,
    /// Nonces minted before this are stale here: their counts were forgotten.
    floor_ms: i64,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("nonces", &self.counts.len()).finish_non_exhaustive()
    }
}

impl Server {
    /// Nonces of this key are good, whichever node minted them.
    pub fn new(key: [u8; 32]) -> Self {
        Self { secret: key, counts: BTreeMap::new(), floor_ms: i64::MIN }
    }

    pub(super) const fn key(&self) -> [u8; 32] {
        self.secret
    }

    /// From now on nonces are of this key; those of another become stale.
    pub(super) const fn rekey(&mut self, key: [u8; 32]) {
        self.secret = key;
    }

    /// A nonce: 16 hex digits of time, 16 of `random`, 32 of HMAC.
    pub fn nonce(&self, now_ms: i64, random: u64) -> String {
        format!("{now_ms:016x}{random:016x}{}", self.seal(now_ms, random))
    }

    fn seal(&self, minted_ms: i64, random: u64) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        mac.update(&minted_ms.to_be_bytes());
        mac.update(&random.to_be_bytes());
        hex(&mac.finalize().into_bytes()[..16])
    }

    /// The value of a `WWW-Authenticate` or `Proxy-Authenticate`.
    pub fn challenge(&self, now_ms: i64, random: u64, realm: &str, algorithm: Algorithm, stale: bool) -> String {
        let (nonce, realm) = (self.nonce(now_ms, random), quote(realm));
        let stale = if stale { ", stale=true" } else { "" };
        format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\", algorithm={}{stale}", algorithm.name())
    }

    /// Judges credentials of a request against the account's HA1. The digest's URI is taken as the client wrote it:
    /// proxies on the way may have rewritten the request's, and the nonce count already stops a replay.
    pub fn check(&mut self, now_ms: i64, credentials: &Credentials, method: &str, ha1: &Ha1) -> Verdict {
        let c = credentials;
        let secret = match c.algorithm {
            Algorithm::Md5 => &ha1.md5,
            Algorithm::Sha256 => &ha1.sha256,
        };
        let expected = c.algorithm.response(secret, &c.nonce, &c.nc, &c.cnonce, method, &c.uri);
        if secret.is_empty() || c.realm != ha1.realm || !same(&expected, &c.response) {
            return Verdict::Wrong;
        }
        let Some(id) = self.genuine_nonce(&c.nonce) else { return Verdict::Stale };
        let age_max_ms = i64::try_from(NONCE_AGE_MAX.as_millis()).expect("a few minutes");
        let Ok(nc) = u32::from_str_radix(&c.nc, 16) else { return Verdict::Wrong };
        // A nonce may come from a node whose clock is ahead of ours, hence the distance and not the difference.
        if now_ms.abs_diff(id.0) > age_max_ms.unsigned_abs() || id.0 < self.floor_ms || !self.counts.entry(id).or_default().take(nc) {
            return Verdict::Stale;
        }
        self.forget(now_ms - age_max_ms);
        Verdict::Genuine
    }

    fn genuine_nonce(&self, nonce: &str) -> Option<(i64, u64)> {
        let (time, rest) = nonce.split_at_checked(16)?;
        let (random, seal) = rest.split_at_checked(16)?;
        let id = (i64::from_str_radix(time, 16).ok()?, u64::from_str_radix(random, 16).ok()?);
        same(&self.seal(id.0, id.1), seal).then_some(id)
    }

    /// Drops counts of nonces that are too old to be used, and the oldest beyond the bound.
    fn forget(&mut self, older_than_ms: i64) {
        while let Some(first) = self.counts.first_entry() {
            let minted_ms = first.key().0;
            if minted_ms >= older_than_ms && self.counts.len() <= NONCES_MAX {
                break;
            }
            self.floor_ms = self.floor_ms.max(minted_ms + 1);
            self.counts.pop_first();
        }
    }
}

/// Answers the strongest challenge we can among `challenges`, as the value of the (Proxy-)Authorization.
/// `cnonce` is the caller's randomness. `None` when no challenge can be answered.
pub fn answer<'a>(
    challenges: impl Iterator<Item = &'a str>,
    method: &str,
    uri: &str,
    (user, password): (&str, &str),
    cnonce: u64,
) -> Option<String> {
    let (algorithm, p) = challenges
        .filter_map(|value| {
            let p = parameters(value)?;
            let algorithm = p.get("algorithm").map_or(Some(Algorithm::Md5), |name| Algorithm::of(name))?;
            Some((algorithm, p))
        })
        .max_by_key(|(algorithm, _)| *algorithm == Algorithm::Sha256)?;
    let (realm, nonce) = (p.get("realm")?, p.get("nonce")?);
    let ha1 = algorithm.ha1(user, realm, password);
    let mut out = format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", algorithm={}",
        quote(user),
        quote(realm),
        quote(nonce),
        algorithm.name()
    );
    match p.get("qop") {
        Some(qop) if qop.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth")) => {
            let cnonce = format!("{cnonce:016x}");
            let response = algorithm.response(&ha1, nonce, "00000001", &cnonce, method, uri);
            out.push_str(&format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\", response=\"{response}\""));
        }
        Some(_) => return None,
        None => {
            // RFC 2069, as some carriers' switches still challenge.
            let ha2 = algorithm.hex(&format!("{method}:{uri}"));
            out.push_str(&format!(", response=\"{}\"", algorithm.hex(&format!("{ha1}:{nonce}:{ha2}"))));
        }
    }
    if let Some(opaque) = p.get("opaque") {
        out.push_str(&format!(", opaque=\"{}\"", quote(opaque)));
    }
    Some(out)
}
