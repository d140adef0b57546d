//! Whose request it is: trunks by source address, trunks and agents by digest user name.
//!
//! An index over every domain's part of the directory, rebuilt when the directory changes. It checks no password (that is
//! `auth`) and applies no limit (that is `admission`).

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    actor::Directory,
    core::{
        id::{AgentId, DomainId, TrunkId},
        policy::Ha1,
    },
};

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    Trunk(TrunkId),
    Agent(AgentId),
}

/// An account that authenticates by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub domain: DomainId,
    pub who: Who,
    pub ha1: Ha1,
}

/// A network in CIDR form; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    bits: u128,
    len: u8,
    v4: bool,
}

/// Bits of an address, left-aligned, and whether it is IPv4. A mapped IPv4 address is one.
fn bits(ip: IpAddr) -> (u128, bool) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, true),
        IpAddr::V6(ip) => (u128::from(ip), false),
    }
}

const fn masked(bits: u128, len: u8) -> u128 {
    if len == 0 { 0 } else { bits & (u128::MAX << (128 - len as u32)) }
}

impl Net {
    /// Reads `10.0.0.0/8`, `2001:db8::/32` or an address. `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
        let (bits, v4) = bits(addr.trim().parse().ok()?);
        let whole = if v4 { 32 } else { 128 };
        let len = len.map_or(Some(whole), |len| len.trim().parse().ok())?;
        (len <= whole).then(|| Self { bits: masked(bits, len), len, v4 })
    }
}

/// Trunks by masked address, of one prefix length.
type NetsOfLength = BTreeMap<u128, Vec<(DomainId, TrunkId)>>;

/// The index. Equal directories give equal answers on every node.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// By family and prefix length, the longest first, then by masked address.
    nets: BTreeMap<(bool, std::cmp::Reverse<u8>), NetsOfLength>,
    /// By user name: an agent's id or a trunk's user name. Several domains may use the same.
    accounts: BTreeMap<String, Vec<Account>>,
}

impl Index {
    pub fn build(directory: &Directory) -> Self {
        let mut index = Self::default();
        for (domain, view) in &directory.domains {
            for (id, trunk) in &view.trunks {
                for source in &trunk.sources {
                    let Some(net) = Net::parse(source) else {
                        tracing::warn!(%domain, trunk = %id, source, "not a network, left out");
                        continue;
                    };
                    let of_len = index.nets.entry((net.v4, std::cmp::Reverse(net.len))).or_default();
                    of_len.entry(net.bits).or_default().push((domain.clone(), id.clone()));
                }
                if let (Some(name), Some(ha1)) = (&trunk.username, &trunk.ha1) {
                    index.account(name, domain, Who::Trunk(id.clone()), ha1);
                }
            }
            for (agent, ha1) in &view.agents {
                if let Some(ha1) = ha1 {
                    index.account(agent.as_str(), domain, Who::Agent(agent.clone()), ha1);
                }
            }
        }
        index
    }

    fn account(&mut self, name: &str, domain: &DomainId, who: Who, ha1: &Ha1) {
        let account = Account { domain: domain.clone(), who, ha1: ha1.clone() };
        self.accounts.entry(name.to_owned()).or_default().push(account);
    }

    /// The trunk with the longest network that holds `source`. Where domains share it, the one that the request-URI's
    /// host names comes first, then the first by name.
    pub fn by_source(&self, source: IpAddr, host: &str) -> Option<&(DomainId, TrunkId)> {
        let (bits, v4) = bits(source);
        let same_family = self.nets.iter().filter(|((family, _), _)| *family == v4);
        let rows = same_family.filter_map(|((_, len), nets)| nets.get(&masked(bits, len.0))).next()?;
        rows.iter().find(|(domain, _)| domain.as_str().eq_ignore_ascii_case(host)).or_else(|| rows.first())
    }

    /// The account of a user name in a realm.
    pub fn by_name(&self, name: &str, realm: &str) -> Option<&Account> {
        self.accounts.get(name)?.iter().find(|account| account.ha1.realm == realm)
    }

    /// The realm to challenge a user in: that of its account, the one the host names first. A name nobody has gets
    /// `host`, so that an answer does not tell which names exist.
    pub fn realm<'a>(&'a self, name: &str, host: &'a str) -> &'a str {
        let accounts = self.accounts.get(name).map_or(&[][..], Vec::as_slice);
        let named = |a: &&Account| a.ha1.realm.eq_ignore_ascii_case(host) || a.domain.as_str().eq_ignore_ascii_case(host);
        accounts.iter().find(named).or_else(|| accounts.first()).map_or(host, |account| &account.ha1.realm)
    }

    /// Whether the name is that of an account.
    pub fn is_account(&self, name: &str) -> bool {
        self.accounts.contains_key(name)
    }

    /// Whether anybody may authenticate a call by digest; if not, strangers are refused without a challenge.
    pub fn has_accounts(&self) -> bool {
        !self.accounts.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{actor::DomainView, core::policy::Trunk};

    pub(crate) fn trunk(sources: &[&str]) -> Trunk {
        Trunk {
            sources: sources.iter().map(ToString::to_string).collect(),
            ha1: None,
            username: None,
            contacts: Vec::new(),
            prefixes: Vec::new(),
            outbound_auth: None,
            caller_id: None,
            calls_per_s_max: 0,
            calls_max: 0,
            trust_priority: false,
        }
    }

    fn index(domains: &[(&str, &str, &[&str])]) -> Index {
        let mut directory = Directory::default();
        for (domain, id, sources) in domains {
            let view = directory.domains.entry(DomainId::new(domain)).or_insert_with(DomainView::default);
            view.trunks.insert(TrunkId::new(id), trunk(sources));
        }
        Index::build(&directory)
    }

    #[test]
    fn the_longest_network_wins_over_all_domains() {
        let index =
            index(&[("a", "wide", &["10.0.0.0/8", "2001:db8::/32"]), ("b", "narrow", &["10.1.0.0/16"]), ("c", "one", &["10.1.2.3"])]);
        let of = |ip: &str| index.by_source(ip.parse().unwrap(), "x").map(|(_, trunk)| trunk.as_str().to_owned());
        assert_eq!(of("10.9.9.9").as_deref(), Some("wide"));
        assert_eq!(of("10.1.9.9").as_deref(), Some("narrow"));
        assert_eq!(of("10.1.2.3").as_deref(), Some("one"));
        assert_eq!(of("::ffff:10.1.2.3").as_deref(), Some("one"));
        assert_eq!(of("2001:db8::1").as_deref(), Some("wide"));
        assert_eq!(of("2001:db9::1"), None);
        assert_eq!(of("11.0.0.1"), None);
    }

    #[test]
    fn domains_that_share_a_network_are_told_apart_by_host() {
        let index =
            index(&[("a", "t", &["127.0.0.0/8"]), ("b", "t", &["127.0.0.0/8"]), ("z", "all", &["0.0.0.0/0", "no net", "1.2.3.4/33"])]);
        let of = |host: &str| index.by_source("127.0.0.1".parse().unwrap(), host).unwrap().0.as_str().to_owned();
        assert_eq!([of("b"), of("B"), of("127.0.0.1")], ["b", "b", "a"]);
    }

    #[test]
    fn an_unknown_name_is_challenged_like_a_known_one() {
        let mut directory = Directory::default();
        for domain in ["a", "b"] {
            let ha1 = Ha1 { realm: format!("{domain}.example"), md5: String::new(), sha256: String::new() };
            let agents = BTreeMap::from([(AgentId::new("alice"), Some(ha1))]);
            directory.domains.insert(DomainId::new(domain), DomainView { agents, ..DomainView::default() });
        }
        let index = Index::build(&directory);
        assert_eq!(index.realm("alice", "b"), "b.example");
        assert_eq!(index.realm("alice", "1.2.3.4"), "a.example");
        assert_eq!(index.realm("nobody", "1.2.3.4"), "1.2.3.4");
        assert_eq!(index.by_name("alice", "b.example").map(|a| a.domain.as_str()), Some("b"));
    }
}
