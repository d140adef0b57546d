//! Each strategy picks whom it says.

use super::world::{World, agent};
use crate::core::{cdr::ClosedCall, policy::Strategy};

/// Serves `n` calls one after another, each talking for 1 s, and returns who answered.
fn served(world: &mut World, n: u64) -> Vec<String> {
    (1..=n)
        .map(|n| {
            world.arrive(n);
            let agent = world.rung(n).first().expect("somebody is rung").clone();
            world.answer(&agent);
            world.pass(1_000);
            world.agent_hangs_up(&agent);
            agent
        })
        .collect()
}

#[test]
fn longest_idle_takes_who_has_waited_longest() {
    let mut world = World::new(Strategy::LongestIdle, &["a", "b", "c"]);
    assert_eq!(served(&mut world, 4), ["a", "b", "c", "a"]);
}

#[test]
fn round_robin_takes_turns() {
    let mut world = World::new(Strategy::RoundRobin, &["a", "b"]);
    assert_eq!(served(&mut world, 4), ["a", "b", "a", "b"]);
}

#[test]
fn fewest_calls_evens_out_the_counts() {
    let mut world = World::new(Strategy::FewestCalls, &["a", "b"]);
    assert_eq!(served(&mut world, 4), ["a", "b", "a", "b"]);
}

#[test]
fn least_occupied_takes_who_has_talked_least() {
    let mut world = World::new(Strategy::LeastOccupied, &["a", "b"]);
    world.arrive(9);
    world.answer("a");
    world.pass(10_000);
    world.agent_hangs_up("a");
    assert_eq!(served(&mut world, 3), ["b", "b", "b"]);
}

#[test]
fn highest_skill_takes_the_expert() {
    let mut world = World::new(Strategy::HighestSkill, &["a"]);
    world.policy.agents.insert("z".into(), agent(&[("support", 9)]));
    world.publish();
    assert_eq!(served(&mut world, 2), ["z", "z"]);
}

#[test]
fn ring_all_rings_all_and_one_wins() {
    let mut world = World::new(Strategy::RingAll, &["a", "b", "c"]);
    world.arrive(1);
    assert_eq!(world.rung(1), ["a", "b", "c"]);
    world.answer("b");
    assert_eq!(world.rung(1), ["b"]);
    world.caller_leaves(1);
    let closed: &ClosedCall = &world.closed[0];
    assert_eq!((closed.agent.as_ref().map(|agent| agent.as_str()), closed.attempts.rows.len()), (Some("b"), 3));
}
