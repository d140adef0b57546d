//! The servers behind a name, and which of them a call goes to (RFC 3263 §4.2–4.3, RFC 2782).
//!
//! The choice follows from the call, so that its ACK and CANCEL meet its INVITE. No look-up is made here.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use crate::{
    core::party::Transport,
    sip::limits::{RESOLVE_CHOICES_MAX, RESOLVE_FAILED_FOR},
};

/// A server: an address of an SRV record's host, or of the name itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// Lower goes first.
    pub(super) priority: u16,
    /// Share among those of its priority.
    pub(super) weight: u16,
    pub(super) addr: SocketAddr,
}

/// Which servers failed lately, and which one each call was given.
#[derive(Debug, Default)]
pub(super) struct Choices {
    failed: BTreeMap<(Transport, SocketAddr), Instant>,
    chosen: HashMap<u64, SocketAddr>,
    /// The calls of `chosen`, oldest first.
    order: VecDeque<u64>,
}

impl Choices {
    fn is_good(&self, transport: Transport, target: &Target, now: Instant) -> bool {
        let failed = self.failed.get(&(transport, target.addr));
        failed.is_none_or(|at| now.saturating_duration_since(*at) >= RESOLVE_FAILED_FOR)
    }

    /// The server of a call: as before, else by weight among the good ones of the lowest priority; a bad one if all are.
    pub(super) fn choose(&mut self, transport: Transport, targets: &[Target], call: u64, now: Instant) -> Option<SocketAddr> {
        if let [only] = targets {
            return Some(only.addr);
        }
        if let Some(before) = self.chosen.get(&call).filter(|before| targets.iter().any(|target| target.addr == **before)) {
            return Some(*before);
        }
        let good: Vec<_> = targets.iter().filter(|target| self.is_good(transport, target, now)).collect();
        let candidates = if good.is_empty() { targets.iter().collect() } else { good };
        let first = candidates.iter().map(|target| target.priority).min()?;
        let addr = by_weight(candidates.into_iter().filter(|target| target.priority == first).collect(), call)?;
        if self.chosen.insert(call, addr).is_none() {
            self.order.push_back(call);
        }
        if self.order.len() > RESOLVE_CHOICES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.chosen.remove(&oldest);
        }
        Some(addr)
    }

    /// The server of a call failed: it is passed over for a while. True if there is another for the call to try.
    pub(super) fn failed(&mut self, transport: Transport, targets: &[Target], call: u64, now: Instant) -> bool {
        let Some(addr) = self.chosen.remove(&call) else { return false };
        self.order.retain(|other| *other != call);
        self.failed.retain(|_, at| now.saturating_duration_since(*at) < RESOLVE_FAILED_FOR);
        self.failed.insert((transport, addr), now);
        targets.iter().any(|target| self.is_good(transport, target, now))
    }
}

/// One of several, in proportion to the weights; a weight of zero counts only among zeros.
fn by_weight(targets: Vec<&Target>, call: u64) -> Option<SocketAddr> {
    let total: u64 = targets.iter().map(|target| u64::from(target.weight)).sum();
    if total == 0 {
        return targets.get((call % targets.len().max(1) as u64) as usize).map(|target| target.addr);
    }
    let mut rest = call % total;
    for target in targets {
        match rest.checked_sub(u64::from(target.weight)) {
            Some(left) => rest = left,
            None => return Some(target.addr),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: Transport = Transport::Udp;

    fn target(priority: u16, weight: u16, port: u16) -> Target {
        Target { priority, weight, addr: SocketAddr::from(([10, 0, 0, 1], port)) }
    }

    #[test]
    fn calls_spread_by_weight_over_the_lowest_priority_and_a_call_stays_where_it_is() {
        let targets = [target(20, 90, 3), target(10, 75, 1), target(10, 25, 2), target(10, 0, 4)];
        let (mut choices, now) = (Choices::default(), Instant::now());
        let mut ports = BTreeMap::<u16, u32>::new();
        for call in 0..1_000 {
            let addr = choices.choose(UDP, &targets, call, now).unwrap();
            assert_eq!(choices.choose(UDP, &targets, call, now), Some(addr));
            *ports.entry(addr.port()).or_default() += 1;
        }
        assert_eq!(ports, BTreeMap::from([(1, 750), (2, 250)]));
    }

    #[test]
    fn a_failed_server_is_passed_over_for_a_while_and_by_all_calls() {
        let targets = [target(1, 0, 1), target(2, 0, 2)];
        let (mut choices, now) = (Choices::default(), Instant::now());
        let port = |choices: &mut Choices, call, now| choices.choose(UDP, &targets, call, now).unwrap().port();
        assert_eq!((port(&mut choices, 7, now), port(&mut choices, 8, now)), (1, 1));
        assert!(choices.failed(UDP, &targets, 7, now), "the second is left");
        assert_eq!((port(&mut choices, 7, now), port(&mut choices, 9, now)), (2, 2));
        assert!(choices.failed(UDP, &targets, 8, now), "it had been given the first, and the second is still good");
        assert!(!choices.failed(UDP, &targets, 7, now), "none is left");
        assert_eq!(port(&mut choices, 7, now), 1, "a bad server is better than none");
        assert_eq!(port(&mut choices, 10, now + RESOLVE_FAILED_FOR), 1);
    }

    #[test]
    fn a_name_with_one_server_has_nowhere_else_to_go() {
        let mut choices = Choices::default();
        let targets = [target(0, 0, 1)];
        assert!(choices.choose(UDP, &targets, 1, Instant::now()).is_some());
        assert!(!choices.failed(UDP, &targets, 1, Instant::now()));
    }
}
