//! The simulator's own promise, that the same seed gives the same bytes; and the seeds that once found something.
//!
//! What a seed does changes with the product, so each bug also has a test where it was mended; `docs/TESTING.md` names them.

use super::*;

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let options = |seed| Options { seed, calls: 60, seconds: 25, ..Options::default() };
    let (first, again, other) = (run(&options(11)), run(&options(11)), run(&options(12)));
    let trace = |report: &Report| (report.runs[0].trace, report.runs[0].events, report.runs[0].applied);
    assert!(first.passed(), "{}", first.runs[0]);
    assert_eq!(trace(&first), trace(&again), "{} / {}", first.runs[0], again.runs[0]);
    assert_ne!(first.runs[0].trace, other.runs[0].trace);
}

fn passes(seed: u64) {
    let report = run(&Options { seed, outages: false, ..Options::default() });
    assert!(report.passed(), "{}", report.runs[0]);
}

#[test]
#[ignore = "slow unless optimised: cargo test --profile sim -p tandem-sim -- --ignored"]
fn seed_31_a_leader_that_lost_its_unsynced_tail_does_not_go_on_in_its_old_term() {
    passes(31);
}

#[test]
#[ignore = "slow unless optimised: cargo test --profile sim -p tandem-sim -- --ignored"]
fn seed_32_a_leader_that_lost_its_unsynced_tail_does_not_go_on_in_its_old_term() {
    passes(32);
}

#[test]
#[ignore = "slow unless optimised: cargo test --profile sim -p tandem-sim -- --ignored"]
fn seed_62_a_leader_that_lost_its_unsynced_tail_does_not_go_on_in_its_old_term() {
    passes(62);
}

#[test]
#[ignore = "slow unless optimised: cargo test --profile sim -p tandem-sim -- --ignored"]
fn seed_92_log_time_does_not_go_back_with_a_leader_that_starts_again() {
    passes(92);
}

#[test]
#[ignore = "slow unless optimised: cargo test --profile sim -p tandem-sim -- --ignored"]
fn seed_52_no_call_stays_with_a_life_that_is_over_because_the_next_one_was_declared_lost_first() {
    passes(52);
}
