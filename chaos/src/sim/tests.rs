//! The simulator's own promise: the same seed gives the same bytes.

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
