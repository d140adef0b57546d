//! Personal data of archived records: sealed under a key per person, so that forgetting the key erases the person and
//! leaves every record and the hash chain as they were.
//!
//! Keys are not kept in a table, which would grow with everybody who ever called. They are the leaves of a tree of
//! hashes below one secret (a puncturable pseudorandom function, Goldreich–Goldwasser–Micali): any leaf can be computed,
//! until an erasure replaces the nodes on its path by their siblings. After that nobody can compute that leaf, and all
//! others still can be. State grows with erasures only.
//!
//! What stays of an erased person is the record's keyed pseudonym. Raft log and snapshots from before the erasure are
//! not this module's: they pass as they are purged.

use std::collections::BTreeMap;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{aid::Note, assist::Line, cdr::Kept, codec, id::CallId, limits::ERASURES_PER_DOMAIN_MAX, party::Party};

/// Depth of the tree. Four bits a level: 48 bits of pseudonym, so that an erasure in a domain of ten million callers
/// hits a second person with a probability of 4e-8. Every call walks down once, and an erasure keeps all but one of the
/// branches on each level: a wide tree is quick to walk and few are erased.
const LEVELS: u8 = 12;
const BITS: u8 = 4;
const BRANCHES: u64 = 1 << BITS;

/// A node of the tree: how many levels below the root, and the path there in the low bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Node {
    level: u8,
    path: u64,
}

impl Node {
    /// The ancestor of a leaf on a level.
    const fn above(leaf: u64, level: u8) -> Self {
        Self { level, path: leaf >> (BITS * (LEVELS - level)) }
    }

    /// Which child of its parent it is.
    const fn branch(self) -> u8 {
        (self.path & (BRANCHES - 1)) as u8
    }
}

/// The secrets of a domain: a part of its replicated state.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Makes pseudonyms that mean nothing to others.
    pepper: [u8; 32],
    /// The nodes from which every leaf but the erased ones can be computed; at first the root alone.
    nodes: BTreeMap<Node, [u8; 32]>,
    /// How often a subject was erased, by its first pseudonym. A later call of the same person gets a new key.
    erased: BTreeMap<u64, u32>,
}

/// Secrets do not belong in logs.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("nodes", &self.nodes.len()).field("erased", &self.erased.len()).finish_non_exhaustive()
    }
}

/// Personal fields as a record keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The subject's pseudonym, which is the path to its key.
    pub subject: u64,
    /// XChaCha20-Poly1305 of the bincoded fields under the subject's key, with the call id as nonce and as associated data.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// Personal fields as a reader gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    Known(Party),
    /// The subject's key is gone.
    Erased,
}

/// The domain has erased as many subjects as its state can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {ERASURES_PER_DOMAIN_MAX} erasures in this domain")]
pub struct TooManyErasures;

impl Keys {
    /// The secrets of a new domain, from 32 random bytes that came with the command that created it.
    pub fn new(entropy: &[u8; 32]) -> Self {
        let root = Node { level: 0, path: 0 };
        Self { pepper: hash(b"pepper", entropy), nodes: BTreeMap::from([(root, hash(b"root", entropy))]), erased: BTreeMap::new() }
    }

    /// The pseudonym under which a subject is sealed now: the same for all of its calls, until it is erased.
    pub(super) fn subject(&self, user: &str) -> u64 {
        self.current(&normalize(user))
    }

    /// Seals the caller of a call. A call is sealed once, so a nonce is never used for two texts under one key.
    pub fn seal(&self, party: &Party, call: CallId) -> Sealed {
        let subject = self.current(&normalize(&party.user));
        let Some(key) = self.key(subject) else {
            // Only when the pseudonym collides with that of an erased subject: better unreadable than readable for ever.
            return Sealed { subject, bytes: Vec::new() };
        };
        let text = codec::encode(party);
        let bytes = XChaCha20Poly1305::new(&key.into())
            .encrypt(&nonce(call), Payload { msg: &text, aad: &call.0.to_be_bytes() })
            .expect("a caller's fields are far below the cipher's limit of 256 GiB");
        Sealed { subject, bytes }
    }

    /// Seals what was said in a call under its caller's key. Done once for a call, like `seal`, and under another nonce.
    pub fn seal_transcript(&self, party: &Party, call: CallId, lines: &Kept<Line>) -> Vec<u8> {
        self.seal_beside(party, call, transcript_nonce(call), lines)
    }

    /// Opens what [`Self::seal_transcript`] made, by the sealed caller of the same record; `None` if the caller was erased.
    pub fn open_transcript(&self, sealed: &Sealed, call: CallId, transcript: &[u8]) -> Option<Kept<Line>> {
        self.open_beside(sealed, call, transcript_nonce(call), transcript)
    }

    /// Seals what was noted of a call under its caller's key. Done once for a call, like `seal`, and under another nonce.
    pub fn seal_notes(&self, party: &Party, call: CallId, notes: &Kept<Note>) -> Vec<u8> {
        self.seal_beside(party, call, notes_nonce(call), notes)
    }

    /// Opens what [`Self::seal_notes`] made, by the sealed caller of the same record; `None` if the caller was erased.
    pub fn open_notes(&self, sealed: &Sealed, call: CallId, notes: &[u8]) -> Option<Kept<Note>> {
        self.open_beside(sealed, call, notes_nonce(call), notes)
    }

    /// Seals what is kept beside the caller of a call, under the caller's key and a nonce that nothing else of the call has.
    fn seal_beside<T: Serialize>(&self, party: &Party, call: CallId, nonce: XNonce, value: &T) -> Vec<u8> {
        let Some(key) = self.key(self.current(&normalize(&party.user))) else { return Vec::new() };
        XChaCha20Poly1305::new(&key.into())
            .encrypt(&nonce, Payload { msg: &codec::encode(value), aad: &call.0.to_be_bytes() })
            .expect("what is said in a call is far below the cipher's limit of 256 GiB")
    }

    fn open_beside<T: DeserializeOwned>(&self, sealed: &Sealed, call: CallId, nonce: XNonce, bytes: &[u8]) -> Option<T> {
        let key = self.key(sealed.subject)?;
        let payload = Payload { msg: bytes, aad: &call.0.to_be_bytes() };
        codec::decode(&XChaCha20Poly1305::new(&key.into()).decrypt(&nonce, payload).ok()?).ok()
    }

    /// Seals a number that a call was sent to, under that number's key: the same text whenever a call goes there again.
    pub fn seal_number(&self, number: &str, call: CallId) -> Sealed {
        let subject = self.current(&normalize(number));
        let Some(key) = self.key(subject) else { return Sealed { subject, bytes: Vec::new() } };
        let bytes = XChaCha20Poly1305::new(&key.into())
            .encrypt(&number_nonce(call), Payload { msg: number.as_bytes(), aad: &call.0.to_be_bytes() })
            .expect("a number is far below the cipher's limit of 256 GiB");
        Sealed { subject, bytes }
    }

    /// Opens what [`Self::seal_number`] made; `None` if it was erased.
    pub fn open_number(&self, sealed: &Sealed, call: CallId) -> Option<String> {
        let key = self.key(sealed.subject)?;
        let payload = Payload { msg: &sealed.bytes, aad: &call.0.to_be_bytes() };
        let text = XChaCha20Poly1305::new(&key.into()).decrypt(&number_nonce(call), payload).ok()?;
        String::from_utf8(text).ok()
    }

    /// Opens what [`Self::seal`] made. Bytes that do not belong to this call or domain read as erased, too.
    pub fn open(&self, sealed: &Sealed, call: CallId) -> Caller {
        self.key(sealed.subject)
            .and_then(|key| {
                let payload = Payload { msg: &sealed.bytes, aad: &call.0.to_be_bytes() };
                XChaCha20Poly1305::new(&key.into()).decrypt(&nonce(call), payload).ok()
            })
            .and_then(|text| codec::decode(&text).ok())
            .map_or(Caller::Erased, Caller::Known)
    }

    /// Makes everything sealed so far for a subject unreadable for ever. Numbers may be written with separators.
    ///
    /// # Errors
    /// [`TooManyErasures`] when the domain is at its bound; nothing changed.
    pub fn erase(&mut self, subject: &str) -> Result<(), TooManyErasures> {
        let subject = normalize(subject);
        let first = self.pseudonym(&subject, 0);
        if self.erased.len() >= ERASURES_PER_DOMAIN_MAX && !self.erased.contains_key(&first) {
            return Err(TooManyErasures);
        }
        self.puncture(self.current(&subject));
        *self.erased.entry(first).or_insert(0) += 1;
        Ok(())
    }

    /// Replaces the node above a leaf by all nodes that are beside the way down to it.
    fn puncture(&mut self, leaf: u64) {
        let Some((top, mut key)) = self.root_of(leaf) else { return };
        self.nodes.remove(&top);
        for level in top.level + 1..=LEVELS {
            let on_path = Node::above(leaf, level);
            for branch in 0..BRANCHES {
                let sibling = Node { level, path: (on_path.path & !(BRANCHES - 1)) | branch };
                if sibling != on_path {
                    self.nodes.insert(sibling, child(&key, branch as u8));
                }
            }
            key = child(&key, on_path.branch());
        }
    }

    /// The key of a leaf, unless it was erased.
    fn key(&self, leaf: u64) -> Option<[u8; 32]> {
        let (top, key) = self.root_of(leaf)?;
        Some((top.level + 1..=LEVELS).fold(key, |key, level| child(&key, Node::above(leaf, level).branch())))
    }

    /// The kept node that a leaf is below.
    fn root_of(&self, leaf: u64) -> Option<(Node, [u8; 32])> {
        (0..=LEVELS).find_map(|level| {
            let node = Node::above(leaf, level);
            self.nodes.get(&node).map(|key| (node, *key))
        })
    }

    /// The pseudonym under which a subject is sealed now.
    fn current(&self, subject: &str) -> u64 {
        let first = self.pseudonym(subject, 0);
        self.erased.get(&first).map_or(first, |times| self.pseudonym(subject, *times))
    }

    fn pseudonym(&self, subject: &str, times_erased: u32) -> u64 {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.pepper).expect("HMAC takes keys of any length");
        mac.update(&times_erased.to_be_bytes());
        mac.update(subject.as_bytes());
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        let head: [u8; 8] = tag[..8].try_into().expect("eight of thirty-two bytes");
        u64::from_be_bytes(head) >> (64 - BITS * LEVELS)
    }
}

/// One way to write each number: digits with an optional leading plus. Anything else is taken in lower case.
fn normalize(subject: &str) -> String {
    let bare: String = subject.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/')).collect();
    let digits = bare.strip_prefix('+').unwrap_or(&bare);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) { bare } else { subject.trim().to_lowercase() }
}

fn nonce(call: CallId) -> XNonce {
    let mut nonce = [0_u8; 24];
    nonce[..16].copy_from_slice(&call.0.to_be_bytes());
    nonce.into()
}

/// Differs from every [`nonce`] in its last byte.
fn transcript_nonce(call: CallId) -> XNonce {
    let mut nonce = nonce(call);
    nonce[23] = 1;
    nonce
}

/// Differs from both in its last byte.
fn number_nonce(call: CallId) -> XNonce {
    let mut nonce = nonce(call);
    nonce[23] = 2;
    nonce
}

/// Differs from all of them in its last byte.
fn notes_nonce(call: CallId) -> XNonce {
    let mut nonce = nonce(call);
    nonce[23] = 3;
    nonce
}

/// SHA-256 of key and branch. Its one block is laid out here, since every call that ends pays for a walk down the tree.
fn child(key: &[u8; 32], branch: u8) -> [u8; 32] {
    let mut block = [0_u8; 64];
    block[..32].copy_from_slice(key);
    block[32] = branch;
    block[33] = 0x80;
    block[62..].copy_from_slice(&(33_u16 * 8).to_be_bytes());
    let mut words = SHA256_START;
    sha2::compress256(&mut words, &[block.into()]);
    let mut out = [0; 32];
    for (bytes, word) in out.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    out
}

/// The initial hash value of SHA-256 (FIPS 180-4 §5.3.3).
const SHA256_START: [u32; 8] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

fn hash(label: &[u8], key: &[u8; 32]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(key);
    hasher.update(label);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(user: &str) -> Party {
        Party { user: user.to_owned(), display: "Somebody".into(), uri: format!("sip:{user}@carrier.example") }
    }

    #[test]
    fn an_erased_caller_is_unreadable_and_all_others_are_not() {
        let mut keys = Keys::new(&[1; 32]);
        let sealed: Vec<_> = (0..200_u32)
            .map(|n| (CallId(n.into()), party(&format!("+4930{n:06}"))))
            .map(|(call, party)| (call, keys.seal(&party, call), party))
            .collect();
        for n in (0..200_usize).step_by(20) {
            keys.erase(&sealed[n].2.user).expect("far below the bound");
        }
        for (n, (call, sealed, party)) in sealed.iter().enumerate() {
            let expected = if n % 20 == 0 { Caller::Erased } else { Caller::Known(party.clone()) };
            assert_eq!(keys.open(sealed, *call), expected, "caller {n}");
        }
    }

    #[test]
    fn erasing_twice_is_harmless_and_a_later_call_gets_a_new_key() {
        let mut keys = Keys::new(&[1; 32]);
        let before = keys.seal(&party("100"), CallId(1));
        keys.erase("100").expect("below the bound");
        let after = keys.seal(&party("100"), CallId(2));
        assert_eq!(keys.open(&before, CallId(1)), Caller::Erased);
        assert_eq!(keys.open(&after, CallId(2)), Caller::Known(party("100")));
        assert_ne!(before.subject, after.subject);
        keys.erase("100").expect("below the bound");
        assert_eq!(keys.open(&after, CallId(2)), Caller::Erased);
        assert_eq!(keys.erased.len(), 1);
    }

    #[test]
    fn a_number_is_the_same_person_however_it_is_written() {
        let mut keys = Keys::new(&[1; 32]);
        let sealed = keys.seal(&party("+49 (30) 123-456"), CallId(1));
        keys.erase("+4930123456").expect("below the bound");
        assert_eq!(keys.open(&sealed, CallId(1)), Caller::Erased);
        assert_eq!(normalize(" Erika "), "erika");
    }

    #[test]
    fn a_number_that_was_called_is_a_person_of_its_own() {
        let mut keys = Keys::new(&[1; 32]);
        let (caller, sealed) = (keys.seal(&party("100"), CallId(1)), keys.seal_number("+4930123456", CallId(1)));
        assert_eq!(keys.open_number(&sealed, CallId(1)).as_deref(), Some("+4930123456"));
        assert_eq!(keys.open_number(&sealed, CallId(2)), None);
        keys.erase("+49 30 123456").expect("below the bound");
        assert_eq!((keys.open_number(&sealed, CallId(1)), keys.open(&caller, CallId(1))), (None, Caller::Known(party("100"))));
    }

    #[test]
    fn a_seal_belongs_to_its_call_and_its_domain() {
        let keys = Keys::new(&[1; 32]);
        let sealed = keys.seal(&party("100"), CallId(1));
        assert_eq!(keys.open(&sealed, CallId(2)), Caller::Erased);
        assert_eq!(Keys::new(&[2; 32]).open(&sealed, CallId(1)), Caller::Erased);
        assert!(!sealed.bytes.windows(8).any(|w| w == b"Somebody"));
    }

    #[test]
    fn a_child_is_the_hash_of_its_parent_and_branch() {
        let key = std::array::from_fn(|n| n as u8);
        for branch in 0..16 {
            assert_eq!(child(&key, branch), hash(&[branch], &key));
        }
    }

    #[test]
    fn an_erasure_keeps_the_other_branches_of_each_level() {
        let mut keys = Keys::new(&[1; 32]);
        keys.erase("100").expect("below the bound");
        assert_eq!(keys.nodes.len(), 15 * usize::from(LEVELS));
        assert!(!format!("{keys:?}").contains("pepper"));
    }
}
