//! Names of next hops: SRV records where no port is given, then addresses (RFC 3263), with bounds, deadlines and a memory.
//!
//! The transport is what the URI says, UDP otherwise: NAPTR, which would choose it, is not asked. Which of several servers a
//! call goes to is `targets`'.

mod targets;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{
        Name, RData,
        rdata::{SRV, srv},
    },
};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    core::party::Transport,
    sip::limits::{RESOLVE_CACHE_MAX, RESOLVE_SERVERS_MAX, RESOLVE_TIMEOUT, RESOLVE_TTL, RESOLVES_MAX},
};
use targets::{Choices, Target};

/// What is looked up: the port is that of the URI, if it has one.
pub(super) type Hop = (Transport, String, Option<u16>);

pub(super) struct Resolver {
    /// None on a host without a resolver's configuration: names then go to the system, and have no SRV records.
    dns: Option<TokioResolver>,
    places: Arc<Semaphore>,
    cache: Mutex<HashMap<Hop, (Instant, Vec<Target>)>>,
    choices: Mutex<Choices>,
}

/// The server to ask instead of those the host is configured with.
fn ask(server: SocketAddr) -> Option<TokioResolver> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].into_iter();
    let connections = connections.map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.collect());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().ok()
}

const fn default_port(transport: Transport) -> u16 {
    if matches!(transport, Transport::Tls) { 5061 } else { 5060 }
}

const fn service(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
    }
}

/// What the choice among several servers follows from: the call of a message.
pub(super) fn call_of(bytes: &[u8]) -> u64 {
    let field = b"\r\nCall-ID: ";
    let value = memchr::memmem::find(bytes, field).map_or(&b""[..], |at| &bytes[at + field.len()..]);
    hash(&value[..memchr::memchr(b'\r', value).unwrap_or(value.len())])
}

pub(super) fn hash(call_id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    call_id.hash(&mut hasher);
    hasher.finish()
}

impl Resolver {
    pub(super) fn new(nameserver: Option<SocketAddr>) -> Self {
        let dns = match nameserver {
            Some(server) => ask(server),
            None => TokioResolver::builder_tokio().ok().and_then(|builder| builder.build().ok()),
        };
        let (cache, choices) = Default::default();
        Self { dns, places: Arc::new(Semaphore::new(RESOLVES_MAX)), cache, choices }
    }

    /// The address for a call: that of a literal, or one of a name looked up lately.
    pub(super) fn known(&self, hop: &Hop, call: impl FnOnce() -> u64) -> Option<SocketAddr> {
        let (transport, host, port) = hop;
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = literal.parse::<IpAddr>() {
            return Some(SocketAddr::new(ip, port.unwrap_or(default_port(*transport))));
        }
        let cache = self.cache.lock();
        let (at, targets) = cache.get(hop)?;
        let fresh = at.elapsed() < RESOLVE_TTL;
        fresh.then(|| self.choices.lock().choose(*transport, targets, call(), Instant::now())).flatten()
    }

    /// The server that was chosen for a call did not do. True if the name has another to try.
    pub(super) fn failed(&self, hop: &Hop, call: u64) -> bool {
        let cache = self.cache.lock();
        let Some((_, targets)) = cache.get(hop) else { return false };
        self.choices.lock().failed(hop.0, targets, call, Instant::now())
    }

    /// A place among the look-ups under way.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Looks a name up; [`Resolver::known`] knows it then, if it has an address.
    pub(super) async fn look_up(&self, hop: &Hop) {
        let Ok(targets) = timeout(RESOLVE_TIMEOUT, self.servers(hop)).await else { return };
        if targets.is_empty() {
            return;
        }
        let mut cache = self.cache.lock();
        if cache.len() >= RESOLVE_CACHE_MAX {
            cache.retain(|_, (at, _)| at.elapsed() < RESOLVE_TTL);
        }
        if cache.len() < RESOLVE_CACHE_MAX {
            cache.insert(hop.clone(), (Instant::now(), targets));
        }
    }

    async fn servers(&self, hop: &Hop) -> Vec<Target> {
        let (transport, host, port) = hop;
        if port.is_none()
            && let Some(records) = self.services(*transport, host).await
        {
            let found = records.iter().take(RESOLVE_SERVERS_MAX).map(|srv| async move {
                let addrs = self.addresses(&srv.target.to_ascii(), srv.port).await;
                addrs.into_iter().map(|addr| Target { priority: srv.priority, weight: srv.weight, addr }).collect::<Vec<_>>()
            });
            return futures::future::join_all(found).await.concat();
        }
        let addrs = self.addresses(host, port.unwrap_or(default_port(*transport))).await;
        // In the order of the answer, one after the other.
        (0..).zip(addrs).map(|(priority, addr)| Target { priority, weight: 0, addr }).collect()
    }

    /// The SRV records of a name; none if it has none. A single one that names the root says that there is no such service.
    async fn services(&self, transport: Transport, host: &str) -> Option<Vec<SRV>> {
        let name = format!("{}.{}.", service(transport), host.trim_end_matches('.'));
        let answer = self.dns.as_ref()?.srv_lookup(Name::from_ascii(name).ok()?).await.ok()?;
        let records = answer.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv.clone()),
            _ => None,
        });
        let records: Vec<SRV> = records.collect();
        (!records.is_empty()).then(|| records.into_iter().filter(|srv: &srv::SRV| !srv.target.is_root()).collect())
    }

    async fn addresses(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        let Some(dns) = &self.dns else {
            let found = tokio::net::lookup_host((host, port)).await;
            return found.map(|addrs| addrs.take(RESOLVE_SERVERS_MAX).collect()).unwrap_or_default();
        };
        let found = dns.lookup_ip(host).await;
        found.map(|ips| ips.iter().take(RESOLVE_SERVERS_MAX).map(|ip| SocketAddr::new(ip, port)).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
