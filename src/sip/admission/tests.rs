//! Admission in virtual time: buckets, limits, health.

use std::collections::VecDeque;

use super::*;

fn account() -> Account {
    (DomainId::new("demo"), Some(TrunkId::new("lab")))
}

fn trunk(calls_per_s_max: u32, calls_max: u32) -> Trunk {
    Trunk {
        sources: Vec::new(),
        ha1: None,
        username: None,
        contacts: Vec::new(),
        prefixes: Vec::new(),
        outbound_auth: None,
        caller_id: None,
        calls_per_s_max,
        calls_max,
        trust_priority: false,
    }
}

/// Offers `offered_per_s` for ten virtual seconds to a node that commits `capacity_per_s`, one after the other.
/// Returns what was served per second over the last eight, and the slowest of them.
fn run(offered_per_s: u64, capacity_per_s: u64) -> (u64, Duration) {
    let start = Instant::now();
    let mut admission = Admission::new(start, 0, 0);
    let mut pending: VecDeque<(Instant, Instant)> = VecDeque::new();
    let (mut free_at, mut served, mut slowest) = (start, 0, Duration::ZERO);
    for n in 0..offered_per_s * 10 {
        let now = start + Duration::from_nanos(n * 1_000_000_000 / offered_per_s);
        while let Some((done, began)) = pending.pop_front_if(|(done, _)| *done <= now) {
            admission.committed(done, done - began);
            admission.gone(&account());
            if done > start + Duration::from_secs(2) {
                served += 1;
                slowest = slowest.max(done - began);
            }
        }
        if admission.admit(now, now, true, &account(), None, 0).is_ok() {
            free_at = free_at.max(now) + Duration::from_nanos(1_000_000_000 / capacity_per_s);
            pending.push_back((free_at, now));
        }
    }
    (served / 8, slowest)
}

#[test]
fn twice_the_capacity_offered_leaves_the_served_rate_at_its_peak() {
    for capacity in [100, 1_000, 3_000] {
        let (served, slowest) = run(2 * capacity, capacity);
        assert!(served * 100 >= capacity * 95, "served {served} of {capacity}");
        assert!(slowest < Duration::from_millis(1_500), "slowest {slowest:?}");
    }
}

#[test]
fn below_capacity_nothing_is_refused() {
    let (served, slowest) = run(900, 1_000);
    assert!(served >= 895, "served {served}");
    assert!(slowest < Duration::from_millis(50), "slowest {slowest:?}");
}

#[test]
fn a_node_without_commits_keeps_few_arrivals_waiting() {
    let start = Instant::now();
    let mut admission = Admission::new(start, 0, 0);
    let admitted = (0..100_000_u64)
        .filter(|ms| {
            let now = start + Duration::from_millis(*ms);
            admission.admit(now, now, true, &account(), None, 0).is_ok()
        })
        .count();
    assert!(admitted <= ARRIVALS_MAX / 8, "{admitted}");
}

#[test]
fn a_trunk_is_held_to_its_rate_and_its_calls() {
    let now = Instant::now();
    let mut admission = Admission::new(now, 0, 0);
    let limited = trunk(5, 7);
    let mut offer = |at: Instant| admission.admit(at, at, true, &account(), Some(&limited), 0);
    assert!((0..5).all(|_| offer(now).is_ok()));
    assert_eq!(offer(now), Err(Refusal::TrunkRate));
    let later = now + Duration::from_millis(400);
    assert!((0..2).all(|_| offer(later).is_ok()));
    assert_eq!(offer(now + Duration::from_secs(5)), Err(Refusal::TrunkCalls));
    admission.gone(&account());
    assert!(admission.admit(later, later, true, &account(), Some(&limited), 0).is_err(), "the bucket is empty");
    let much_later = now + Duration::from_secs(6);
    assert!(admission.admit(much_later, much_later, true, &account(), Some(&limited), 0).is_ok());
}

#[test]
fn draining_a_lost_lease_and_an_old_request_refuse() {
    let now = Instant::now();
    let mut admission = Admission::new(now, 0, 0);
    let mut offer = |received, lease| admission.admit(now + Duration::from_secs(1), received, lease, &account(), None, 1);
    assert_eq!(offer(now, true), Err(Refusal::Behind));
    let fresh = now + Duration::from_secs(1);
    assert_eq!(offer(fresh, false), Err(Refusal::NoLease));
    assert_eq!(offer(fresh, true), Ok(()));
    assert_eq!(offer(fresh, true), Err(Refusal::DomainCalls));
    admission.set_draining(true);
    assert_eq!(admission.health(true), Err(Refusal::Draining));
    assert_eq!(admission.calls(), 1);
}

#[test]
fn the_operators_bounds_of_a_node_hold() {
    let now = Instant::now();
    let mut admission = Admission::new(now, 3, 2);
    let mut offer = |at: Instant| admission.admit(at, at, true, &account(), None, 0);
    assert_eq!([offer(now), offer(now), offer(now)], [Ok(()), Ok(()), Err(Refusal::NodeLimit)]);
    let later = now + Duration::from_secs(1);
    assert_eq!([offer(later), offer(later)], [Ok(()), Err(Refusal::NodeLimit)]);
}
