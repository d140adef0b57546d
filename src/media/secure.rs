//! SRTP with keys out of descriptions (RFC 4568, "SDES"), ended at this node.
//!
//! A party that asks for it is spoken to in SRTP under keys of ours; what it says is carried in the clear inside this process,
//! so that it can be mixed, recorded and sent to a party with other keys or none. DTLS is not spoken here.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::BytesMut;
use rand::RngCore as _;
use rtc_srtp::{
    context::Context,
    crypto::{RTCCryptoProvider, default_provider},
    option::{srtcp_replay_protection, srtp_replay_protection},
    protection_profile::ProtectionProfile,
};

use super::limits;

/// Names of suites (RFC 4568 §6.2, 6188, 7714), the ones we know.
const SUITES: &[(&str, ProtectionProfile)] = &[
    ("AES_CM_128_HMAC_SHA1_80", ProtectionProfile::Aes128CmHmacSha1_80),
    ("AES_CM_128_HMAC_SHA1_32", ProtectionProfile::Aes128CmHmacSha1_32),
    ("AES_256_CM_HMAC_SHA1_80", ProtectionProfile::Aes256CmHmacSha1_80),
    ("AES_256_CM_HMAC_SHA1_32", ProtectionProfile::Aes256CmHmacSha1_32),
    ("AEAD_AES_128_GCM", ProtectionProfile::AeadAes128Gcm),
    ("AEAD_AES_256_GCM", ProtectionProfile::AeadAes256Gcm),
];

/// One side's key: an `a=crypto` line.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    tag: u32,
    suite: &'static str,
    /// Master key and master salt.
    secret: Arc<[u8]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.tag, self.suite)
    }
}

impl Key {
    /// Reads the value of a line; `None` if it asks for anything we do not do, such as other suites or a key identifier.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let tag = words.next()?.parse().ok()?;
        let name = words.next()?;
        let (suite, profile) = SUITES.iter().find(|(suite, _)| suite.eq_ignore_ascii_case(name))?;
        let mut inline = words.next()?.strip_prefix("inline:")?.split('|');
        let secret = BASE64.decode(inline.next()?).ok()?;
        let has_identifier = inline.any(|part| part.contains(':'));
        let has_parameters = words.any(|word| !word.starts_with("WSH="));
        let fits = secret.len() == profile.key_len() + profile.salt_len();
        (fits && !has_identifier && !has_parameters).then(|| Self { tag, suite, secret: secret.into() })
    }

    /// A key of ours for the same line and suite.
    pub fn answering(&self) -> Self {
        let mut secret = vec![0; self.secret.len()];
        rand::rng().fill_bytes(&mut secret);
        Self { secret: secret.into(), ..self.clone() }
    }

    /// Ours for a line of theirs: it stays as long as the suite does.
    pub fn kept_for(&self, theirs: &Self) -> Self {
        if self.suite == theirs.suite { Self { tag: theirs.tag, ..self.clone() } } else { theirs.answering() }
    }

    /// The value of its line.
    pub fn line(&self) -> String {
        format!("{} {} inline:{}", self.tag, self.suite, BASE64.encode(&self.secret))
    }

    /// An RTCP packet says that it is encrypted. One that does not is let through by the library without being authenticated,
    /// and no party has a reason to send it: all our suites encrypt RTCP.
    fn says_encrypted(&self, packet: &[u8]) -> bool {
        let Some((_, profile)) = SUITES.iter().find(|(suite, _)| *suite == self.suite) else { return false };
        // The flag is the top bit of the index (RFC 3711 §3.4), which a tag of the profile follows; with GCM it is last (RFC 7714 §9.2).
        let flag = packet.len().checked_sub(profile.rtcp_auth_tag_len() + 4).and_then(|place| packet.get(place));
        flag.is_some_and(|byte| byte & 0x80 != 0)
    }

    fn context(&self, provider: &dyn RTCCryptoProvider) -> Option<Context> {
        let (_, profile) = SUITES.iter().find(|(suite, _)| *suite == self.suite)?;
        let (key, salt) = self.secret.split_at(profile.key_len());
        let window = limits::SRTP_REPLAY_PACKETS;
        let replay = (Some(srtp_replay_protection(window)), Some(srtcp_replay_protection(window)));
        Context::new(key, salt, *profile, replay.0, replay.1, provider.crypto()).ok()
    }
}

/// The keys of both directions of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    pub theirs: Key,
    pub ours: Key,
}

/// SRTP with one party.
pub struct Secure {
    keys: Keys,
    inbound: Context,
    outbound: Context,
    /// Streams that authentic packets came on, and how many packets of others did not open.
    known: Vec<u32>,
    forged: u32,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Secure {
    /// `before`: a direction whose key is the same goes on with its state, since a packet index must not come twice.
    pub fn new(keys: &Keys, before: Option<Self>) -> Option<Self> {
        let provider = default_provider().ok()?;
        let (mut inbound, mut outbound, mut known, mut forged) = (None, None, Vec::new(), 0);
        if let Some(before) = before {
            if same_key(&before.keys.theirs, &keys.theirs) {
                (inbound, known, forged) = (Some(before.inbound), before.known, before.forged);
            }
            if same_key(&before.keys.ours, &keys.ours) {
                outbound = Some(before.outbound);
            }
        }
        Some(Self {
            inbound: inbound.or_else(|| keys.theirs.context(&*provider))?,
            outbound: outbound.or_else(|| keys.ours.context(&*provider))?,
            keys: keys.clone(),
            known,
            forged,
        })
    }

    /// A packet of the party in the clear; `None` if it is not authentic, or came before.
    ///
    /// The library keeps state for every stream name it sees, authentic or not. So that a forger cannot fill memory, new names
    /// are not tried any more after so many that did not open.
    pub fn open(&mut self, packet: &[u8], is_rtcp: bool) -> Option<BytesMut> {
        let name: &[u8; 4] = packet.get(if is_rtcp { 4.. } else { 8.. })?.first_chunk()?;
        let name = u32::from_be_bytes(*name);
        let is_known = self.known.contains(&name);
        if !is_known && self.forged >= limits::SRTP_FORGED_MAX || is_rtcp && !self.keys.theirs.says_encrypted(packet) {
            return None;
        }
        let opened = if is_rtcp { self.inbound.decrypt_rtcp(packet) } else { self.inbound.decrypt_rtp(packet) };
        if !is_known {
            match &opened {
                Ok(_) if self.known.len() < limits::SRTP_STREAMS_MAX => self.known.push(name),
                _ => self.forged += 1,
            }
        }
        opened.ok()
    }

    /// Turns the first `length` bytes of `buffer` into SRTP in place; the new length.
    pub fn seal(&mut self, buffer: &mut [u8], length: usize, is_rtcp: bool) -> Option<usize> {
        let plain = &buffer[..length];
        let sealed = if is_rtcp { self.outbound.encrypt_rtcp(plain) } else { self.outbound.encrypt_rtp(plain) }.ok()?;
        buffer.get_mut(..sealed.len())?.copy_from_slice(&sealed);
        Some(sealed.len())
    }
}

fn same_key(a: &Key, b: &Key) -> bool {
    (a.suite, &a.secret) == (b.suite, &b.secret)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::rtp::{self, Stamp};

    const LINE: &str = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20";

    fn packet(sequence: u16) -> Vec<u8> {
        let mut packet = vec![0; 172];
        rtp::begin(&mut packet, 0, Stamp { marker: false, sequence, timestamp: 160, ssrc: 9 });
        packet
    }

    /// The two ends of one leg: ours and the party's.
    fn ends(line: &str) -> (Secure, Secure) {
        let theirs = Key::parse(line).expect("valid");
        let ours = theirs.answering();
        let keys = Keys { theirs: theirs.clone(), ours: ours.clone() };
        let mirrored = Keys { theirs: ours, ours: theirs };
        (Secure::new(&keys, None).expect("keys"), Secure::new(&mirrored, None).expect("keys"))
    }

    #[test]
    fn a_line_is_read_and_written() {
        let key = Key::parse(LINE).expect("valid");
        assert_eq!(Key::parse(&key.line()), Some(key.clone()));
        assert!(!format!("{key:?}").contains("WVN"), "a key is not for logs");
        for refused in [
            LINE.replace("SHA1_80", "SHA1_99"),
            LINE.replace("|2^20", "|2^20|1:4"),
            LINE.replace("|2^20", "|2^20 UNENCRYPTED_SRTP"),
            LINE.replace("WVNf", ""),
            "1".to_owned(),
        ] {
            assert_eq!(Key::parse(&refused), None, "{refused}");
        }
    }

    #[test]
    fn what_one_end_seals_the_other_opens_once() {
        for (suite, _) in SUITES {
            let profile = SUITES.iter().find(|(name, _)| name == suite).expect("listed").1;
            let secret = BASE64.encode(vec![7; profile.key_len() + profile.salt_len()]);
            let (mut ours, mut party) = ends(&format!("1 {suite} inline:{secret}"));
            let mut buffer = packet(1);
            buffer.resize(300, 0);
            let length = ours.seal(&mut buffer, 172, false).expect("sealed");
            assert!(length > 172 && buffer[12..172] != packet(1)[12..], "{suite}");
            assert_eq!(party.open(&buffer[..length], false).expect("authentic"), packet(1), "{suite}");
            assert_eq!(party.open(&buffer[..length], false), None, "{suite}: a replay");
            buffer[20] ^= 1;
            assert_eq!(party.open(&buffer[..length], false), None, "{suite}: forged");
        }
    }

    #[test]
    fn a_new_key_of_theirs_does_not_set_ours_back() {
        let (ours, mut party) = ends(LINE);
        let mut ours = ours;
        let mut buffer = packet(65_535);
        buffer.resize(300, 0);
        let length = ours.seal(&mut buffer, 172, false).expect("sealed");
        assert!(party.open(&buffer[..length], false).is_some());
        let keys = Keys { theirs: ours.keys.theirs.answering(), ours: ours.keys.ours.clone() };
        let mut ours = Secure::new(&keys, Some(ours)).expect("keys");
        buffer[..172].copy_from_slice(&packet(0));
        let length = ours.seal(&mut buffer, 172, false).expect("sealed");
        assert_eq!(party.open(&buffer[..length], false).expect("the roll-over counter went on"), packet(0));
    }

    #[test]
    fn rtcp_is_sealed_and_what_claims_to_be_in_the_clear_is_refused() {
        let (mut ours, mut party) = ends(LINE);
        let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
        let mut buffer = report.to_vec();
        buffer.resize(64, 0);
        let length = ours.seal(&mut buffer, report.len(), true).expect("sealed");
        assert_eq!(party.open(&buffer[..length], true).expect("authentic"), report.as_slice());
        let mut clear = report.to_vec();
        clear.extend([0, 0, 0, 9]);
        clear.extend([0; 10]);
        assert_eq!(party.open(&clear, true), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), is_rtcp: bool, gcm: bool) {
            let gcm_line = format!("1 AEAD_AES_128_GCM inline:{}", BASE64.encode([1; 28]));
            let (mut ours, _) = ends(if gcm { &gcm_line } else { LINE });
            prop_assert_eq!(ours.open(&bytes, is_rtcp), None);
            let mut buffer = bytes.clone();
            buffer.resize(200, 0);
            ours.seal(&mut buffer, bytes.len(), is_rtcp);
        }
    }
}
