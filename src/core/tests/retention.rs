//! Which records of a partition are kept, as its tenants want it.

use super::World;
use crate::core::{Command, Outcome, Reason, policy::Strategy};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// A call that is over at once.
fn close(world: &mut World, n: u64) {
    world.arrive(n);
    assert_eq!(world.caller_leaves(n), Outcome::Accepted);
}

fn publish(world: &mut World, domain: &str, retention_days: u32) {
    world.policy.retention_days = retention_days;
    let policy = Box::new(world.policy.clone());
    let published = world.apply(Command::PublishPolicy { domain: domain.into(), expect: None, policy, entropy: [7; 32] });
    assert!(published.is_accepted());
}

#[test]
fn records_are_kept_for_the_days_of_the_policy() {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    publish(&mut world, "demo", 3);
    for n in 1..=5 {
        close(&mut world, n);
        world.pass(DAY_MS);
    }
    assert_eq!(world.apply(Command::DropOld), Outcome::Accepted);
    assert_eq!(world.state.retention().kept().next_seq, 2, "day 5 is today, so days 0 and 1 are more than three days ago");
    assert_eq!(world.apply(Command::DropOld), Outcome::Rejected(Reason::Stale));
    assert_eq!(world.state.archive().next_seq, 5, "the chain goes on");
}

#[test]
fn a_partition_keeps_what_any_of_its_tenants_wants_kept() {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    publish(&mut world, "demo", 1);
    publish(&mut world, "second", 10);
    close(&mut world, 1);
    world.pass(5 * DAY_MS);
    assert_eq!(world.apply(Command::DropOld), Outcome::Rejected(Reason::Stale), "the other tenant wants ten days");
    world.pass(6 * DAY_MS);
    publish(&mut world, "third", 0);
    assert_eq!(world.apply(Command::DropOld), Outcome::Rejected(Reason::Stale), "one wants all of them for good");
    assert_eq!(world.apply(Command::RemoveDomain { domain: "third".into() }), Outcome::Accepted);
    assert_eq!(world.apply(Command::DropOld), Outcome::Accepted);
    assert_eq!(world.state.retention().kept().next_seq, 1);
}
