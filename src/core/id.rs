//! Names of things. Every id is its own type, so that no two kinds can be confused.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time::WallTime;

/// A name chosen by an operator: cheap to clone, ordered by bytes.
macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(name: impl AsRef<str>) -> Self {
                Self(Arc::from(name.as_ref()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d).map(Self::new)
            }
        }
    };
}

name_id!(
    /// A routing domain: a tenant, or a site of a tenant. Owns its queues, agents, skills and calls.
    DomainId
);
name_id!(
    /// A queue within a domain.
    QueueId
);
name_id!(
    /// Anything that can own a contact: a person or an AI.
    AgentId
);
name_id!(
    /// A named competence.
    SkillId
);
name_id!(
    /// A carrier or PBX connection of a domain.
    TrunkId
);

/// A node of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One life of a node that carries legs. A leg's edge is fixed until it is adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    pub node: NodeId,
    pub incarnation: u64,
}

/// A call, minted by the edge that took it: 48 bits of wall-clock milliseconds, 16 of node, 64 random (a ULID in print).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId(pub u128);

/// Crockford's base 32, as ULIDs are printed.
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl CallId {
    pub fn compose(unix_ms: u64, node: NodeId, random: u64) -> Self {
        Self((u128::from(unix_ms & 0xFFFF_FFFF_FFFF) << 80) | (u128::from(node.0 & 0xFFFF) << 64) | u128::from(random))
    }

    /// When its edge named it.
    pub const fn minted(self) -> WallTime {
        WallTime((self.0 >> 80) as i64)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 26];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            *slot = BASE32[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).expect("base 32 is ASCII"))
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a call id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a call id")]
pub struct ParseCallIdError;

impl FromStr for CallId {
    type Err = ParseCallIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 26 || text.as_bytes()[0] > b'7' {
            return Err(ParseCallIdError);
        }
        text.bytes()
            .try_fold(0_u128, |id, byte| {
                let digit = BASE32.iter().position(|b| *b == byte.to_ascii_uppercase()).ok_or(ParseCallIdError)?;
                Ok((id << 5) | digit as u128)
            })
            .map(Self)
    }
}

/// One endpoint's connection in a call: 0 is the caller, each offer to an agent makes a further one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LegId {
    pub call: CallId,
    pub n: u16,
}

impl LegId {
    pub const fn caller(call: CallId) -> Self {
        Self { call, n: 0 }
    }
}

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.call, self.n)
    }
}

impl fmt::Debug for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An effect's name: the log entry that caused it and its place among that entry's effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectId {
    pub group: u32,
    pub index: u64,
    pub n: u32,
}

/// An exclusive, leased proposal of a call to an agent; unique within its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OfferId(pub u64);

/// A client's idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_reads_back_as_it_prints() {
        let id = CallId::compose(1_795_000_000_123, NodeId(3), 0xDEAD_BEEF_0BAD_F00D);
        assert_eq!(id.to_string().parse::<CallId>(), Ok(id));
        assert_eq!("not-a-call".parse::<CallId>(), Err(ParseCallIdError));
    }
}
