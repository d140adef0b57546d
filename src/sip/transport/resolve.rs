//! Names of next hops: address look-ups with a bound, a deadline and a small memory.
//!
//! Addresses only: NAPTR and SRV (RFC 3263) are left to the operator, who lists a trunk's contacts in order.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sip::limits::{RESOLVE_CACHE_MAX, RESOLVE_TIMEOUT, RESOLVE_TTL, RESOLVES_MAX};

pub(super) struct Resolver {
    places: Arc<Semaphore>,
    cache: Mutex<BTreeMap<(String, u16), (Instant, SocketAddr)>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(RESOLVES_MAX)), cache: Mutex::default() }
    }
}

impl Resolver {
    /// The address of a literal or of a name looked up lately.
    pub(super) fn known(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = literal.parse::<IpAddr>() {
            return Some(SocketAddr::new(ip, port));
        }
        let cache = self.cache.lock();
        let (at, addr) = cache.get(&(host.to_owned(), port))?;
        (at.elapsed() < RESOLVE_TTL).then_some(*addr)
    }

    /// A place among the look-ups under way.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    pub(super) async fn look_up(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let answer = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, port))).await.ok()?.ok()?.next()?;
        let mut cache = self.cache.lock();
        if cache.len() >= RESOLVE_CACHE_MAX {
            cache.retain(|_, (at, _)| at.elapsed() < RESOLVE_TTL);
        }
        if cache.len() < RESOLVE_CACHE_MAX {
            cache.insert((host.to_owned(), port), (Instant::now(), answer));
        }
        Some(answer)
    }
}
