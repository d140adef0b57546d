//! Behaviours of a partition's actor: pure ones of its wheel and of dead edges, and a lone node's that leads one group.

mod lone;

use std::{collections::BTreeSet, time::Duration};

use tandem_cluster::{NodeState, NodeStatus, NodeTable};
use tokio::time::Instant;

use super::{
    edges::{heirs, lost, waits_for_an_heir},
    wheel::Wheel,
};
use crate::{
    actor::{
        limits::{TIMER_RETRY, WAKE_BUSY, WAKE_MAX},
        wire::Address,
    },
    core::{
        command::TimerKind,
        id::{Edge, NodeId},
        policy::Strategy,
        tests::World,
        time::LogTime,
    },
};

/// Three callers of a queue without agents, one second apart, each given up after ten seconds.
fn waiting() -> World {
    let mut world = World::new(Strategy::LongestIdle, &[]);
    world.rules().max_wait_ms = 10_000;
    world.publish();
    for n in 1..=3 {
        world.arrive(n);
        world.pass(1_000);
    }
    world
}

fn at_ms(ms: u64) -> LogTime {
    LogTime(ms * 1_000_000)
}

#[test]
fn due_timers_are_handed_to_their_actor_soonest_first_and_once() {
    let (world, mut wheel, now) = (waiting(), Wheel::default(), Instant::now());
    let queue = Address::Queue(World::domain(), "support".into());
    let calls = |due: &std::collections::BTreeMap<Address, Vec<crate::core::command::Timer>>| {
        due.get(&queue).into_iter().flatten().map(|timer| timer.what.clone()).collect::<Vec<_>>()
    };
    let wait = |n| TimerKind::Wait { call: World::call(n) };
    let (due, sleep) = wheel.turn(&world.state, at_ms(11_500), now);
    assert_eq!((due.len(), calls(&due), sleep), (1, vec![wait(1), wait(2)], WAKE_BUSY));
    let (due, _) = wheel.turn(&world.state, at_ms(12_000), now + WAKE_BUSY);
    assert_eq!(calls(&due), [wait(3)], "the first two are on their way");
    let (due, _) = wheel.turn(&world.state, at_ms(12_500), now + TIMER_RETRY);
    assert_eq!(calls(&due), [wait(1), wait(2)], "what still stands after a while is handed over again");
}

#[test]
fn the_wheel_sleeps_until_the_next_deadline_but_never_long() {
    let (world, mut wheel, now) = (waiting(), Wheel::default(), Instant::now());
    assert_eq!(wheel.turn(&world.state, at_ms(9_400), now).1, Duration::from_millis(600));
    assert_eq!(wheel.turn(&world.state, at_ms(3_000), now).1, WAKE_MAX);
    let empty = World::new(Strategy::LongestIdle, &[]);
    assert_eq!(wheel.turn(&empty.state, at_ms(3_000), now).1, WAKE_MAX);
}

#[test]
fn only_the_latest_alarm_counts() {
    let (mut wheel, now) = (Wheel::default(), Instant::now());
    assert!(wheel.is_earlier(WAKE_MAX, now), "any alarm is earlier than none");
    let first = wheel.set(WAKE_MAX, now);
    assert!(wheel.is_earlier(WAKE_BUSY, now) && !wheel.is_earlier(WAKE_MAX, now));
    let second = wheel.set(WAKE_BUSY, now);
    assert!(!wheel.is_latest(first) && wheel.is_latest(second));
}

const fn edge(node: u64, incarnation: u64) -> Edge {
    Edge { node: NodeId(node), incarnation }
}

fn table(rows: &[(u64, u64, NodeState, bool)]) -> NodeTable {
    let row = |&(id, incarnation, state, witness): &(u64, u64, NodeState, bool)| {
        let addr = ([127, 0, 0, 1], 7070).into();
        (id, NodeStatus { id, incarnation, addr, witness, state, feature_level: 1, attributes: std::collections::BTreeMap::new() })
    };
    rows.iter().map(row).collect()
}

#[test]
fn the_loss_of_a_node_ends_every_life_of_it_that_legs_depend_on() {
    let table = table(&[(1, 1, NodeState::Up, false), (2, 5, NodeState::Lost, false)]);
    let legs = BTreeSet::from([edge(1, 1), edge(2, 3), edge(2, 4), edge(2, 5)]);
    assert_eq!(lost(&legs, &table), BTreeSet::from([edge(2, 3), edge(2, 4), edge(2, 5)]));
}

#[test]
fn a_new_life_of_a_node_ends_the_ones_before() {
    let table = table(&[(1, 1, NodeState::Up, false), (2, 5, NodeState::Up, false)]);
    let legs = BTreeSet::from([edge(2, 3), edge(2, 5)]);
    assert_eq!(lost(&legs, &table), BTreeSet::from([edge(2, 3), edge(2, 4)]), "the life before is over even if no leg depends on it");
}

#[test]
fn the_legs_of_a_node_that_left_the_table_are_lost_and_a_suspect_keeps_its_own() {
    let table = table(&[(1, 1, NodeState::Up, false), (2, 1, NodeState::Suspect, false)]);
    assert_eq!(lost(&BTreeSet::from([edge(2, 1), edge(3, 1)]), &table), BTreeSet::from([edge(3, 1)]));
}

#[test]
fn heirs_are_the_edges_that_take_calls_else_those_on_their_way_out_and_never_a_witness() {
    let rows =
        [(1, 1, NodeState::Up, true), (2, 4, NodeState::Up, false), (3, 2, NodeState::Draining, false), (4, 1, NodeState::Lost, false)];
    assert_eq!(heirs(&table(&rows)), [edge(2, 4)]);
    assert_eq!(heirs(&table(&[rows[0], rows[2], rows[3]])), [edge(3, 2)]);
    assert_eq!(heirs(&table(&[rows[0], rows[3]])), []);
}

#[test]
fn calls_of_a_life_that_was_heard_a_moment_ago_wait_for_an_heir_and_older_ones_do_not() {
    let recent = BTreeSet::from([edge(1, 1)]);
    assert!(waits_for_an_heir(&[], &recent));
    assert!(!waits_for_an_heir(&[edge(1, 2)], &recent) && !waits_for_an_heir(&[], &BTreeSet::new()));
}
