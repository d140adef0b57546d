//! The checker of linearizability against histories with known answers, and against two checkers that are not ours.

use stateright::semantics::{
    ConsistencyTester as _, LinearizabilityTester,
    register::{Register as TheirRegister, RegisterOp as TheirOp, RegisterRet},
};
use tandem_bench::phone::Random;
use todc_utils::{Action, History, Specification, WGLChecker};

use super::*;

type Ops = Vec<Call<RegisterOp<u8>>>;

fn ours(calls: &Ops) -> bool {
    check(&Register::new(), 0, calls, Duration::from_secs(20), |answer| match answer {
        Answer::Linearizable => true,
        Answer::Not { .. } => false,
        Answer::Unknown => panic!("a small history took too long"),
    })
}

fn call(invoked: u32, completed: Option<u32>, op: RegisterOp<u8>) -> Call<RegisterOp<u8>> {
    Call { invoked: f64::from(invoked), completed: completed.map(f64::from), op }
}

use RegisterOp::{Read, Write};

#[test]
fn reads_follow_real_time() {
    assert!(ours(&vec![]));
    assert!(ours(&vec![call(0, Some(1), Write(1)), call(2, Some(3), Read(1))]));
    assert!(!ours(&vec![call(0, Some(1), Write(1)), call(2, Some(3), Read(0))]));
    assert!(ours(&vec![call(0, Some(9), Write(1)), call(1, Some(2), Read(1)), call(3, Some(4), Read(1))]));
    assert!(!ours(&vec![call(0, Some(9), Write(1)), call(1, Some(2), Read(1)), call(3, Some(4), Read(0))]), "it cannot be taken back");
}

#[test]
fn an_indefinite_write_may_show_once_late_or_never() {
    let lost = call(0, None, Write(1));
    assert!(ours(&vec![lost.clone(), call(5, Some(6), Read(0))]));
    assert!(ours(&vec![lost.clone(), call(5, Some(6), Read(0)), call(7, Some(8), Read(1))]));
    assert!(!ours(&vec![lost, call(5, Some(6), Read(1)), call(7, Some(8), Read(0))]));
}

#[test]
fn what_fits_nowhere_is_named() {
    let calls = vec![call(0, Some(1), Write(1)), call(2, Some(3), Read(1)), call(4, Some(5), Read(7))];
    check(&Register::new(), 0, &calls, Duration::from_secs(5), |answer| assert_eq!(answer, Answer::Not { longest: 2, stuck: &[2] }));
}

#[test]
fn without_time_the_answer_is_unknown() {
    // Many concurrent writes and an impossible read: every order has to be tried.
    let mut calls: Ops = (0..40).map(|n| call(n, Some(1_000), Write(n as u8))).collect();
    calls.push(call(2_000, Some(2_001), Read(99)));
    check(&Register::new(), 0, &calls, Duration::ZERO, |answer| assert_eq!(answer, Answer::Unknown));
}

/// The register as todc specifies it.
struct Spec;

impl Specification for Spec {
    type State = u8;
    type Operation = RegisterOp<u8>;

    fn init() -> u8 {
        0
    }

    fn apply(operation: &Self::Operation, state: &u8) -> (bool, u8) {
        match operation {
            Write(value) => (true, *value),
            Read(value) => (value == state, *state),
        }
    }
}

/// A random history of few clients: (time, client, is it the end, operation). Completions follow invocations at once or later.
fn random_history(random: &mut Random) -> Vec<(u32, usize, bool, RegisterOp<u8>)> {
    let clients = 2 + (random.draw() % 3) as usize;
    let mut open: Vec<Option<RegisterOp<u8>>> = vec![None; clients];
    let (mut events, mut left) = (Vec::new(), 4 + random.draw() % 6);
    let mut at = 0;
    while left > 0 || open.iter().any(Option::is_some) {
        let client = (random.draw() as usize) % clients;
        at += 1;
        match open[client].take() {
            Some(op) => events.push((at, client, true, op)),
            None if left > 0 => {
                let value = (random.draw() % 3) as u8;
                let op = if random.draw().is_multiple_of(2) { Write(value) } else { Read(value) };
                events.push((at, client, false, op.clone()));
                open[client] = Some(op);
                left -= 1;
            }
            None => at -= 1,
        }
    }
    events
}

/// The same events as operations, the ends of `lost` clients' last operations left out.
fn calls_of(events: &[(u32, usize, bool, RegisterOp<u8>)]) -> Ops {
    let mut calls: Ops = Vec::new();
    let mut open: Vec<Option<usize>> = vec![None; 8];
    for (at, client, is_end, op) in events {
        if *is_end {
            let n = open[*client].take().expect("an operation ends after it began");
            calls[n].completed = Some(f64::from(*at));
        } else {
            open[*client] = Some(calls.len());
            calls.push(call(*at, None, op.clone()));
        }
    }
    calls
}

fn todc(events: &[(u32, usize, bool, RegisterOp<u8>)]) -> bool {
    let action = |(_, client, is_end, op): &(u32, usize, bool, RegisterOp<u8>)| {
        (*client, if *is_end { Action::Response(op.clone()) } else { Action::Call(op.clone()) })
    };
    WGLChecker::<Spec>::is_linearizable(History::from_actions(events.iter().map(action).collect()))
}

fn stateright(events: &[(u32, usize, bool, RegisterOp<u8>)]) -> bool {
    let mut tester = LinearizabilityTester::new(TheirRegister(0_u8));
    for (_, client, is_end, op) in events {
        let done = match (op, is_end) {
            (Write(value), false) => tester.on_invoke(*client, TheirOp::Write(*value)),
            (Read(_), false) => tester.on_invoke(*client, TheirOp::Read),
            (Write(_), true) => tester.on_return(*client, RegisterRet::WriteOk),
            (Read(value), true) => tester.on_return(*client, RegisterRet::ReadOk(*value)),
        };
        done.expect("a well-formed history");
    }
    tester.is_consistent()
}

#[test]
fn random_histories_are_judged_as_two_others_judge_them() {
    let mut random = Random(7);
    let (mut good, mut bad) = (0, 0);
    for n in 0..3_000 {
        let events = random_history(&mut random);
        let verdict = ours(&calls_of(&events));
        assert_eq!(verdict, todc(&events), "todc, history {n}: {events:?}");
        assert_eq!(verdict, stateright(&events), "stateright, history {n}: {events:?}");
        *(if verdict { &mut good } else { &mut bad }) += 1;
    }
    assert!(good > 300 && bad > 300, "both kinds are met: {good} good, {bad} bad");
}

#[test]
fn random_histories_with_lost_answers_are_judged_as_stateright_judges_them() {
    let mut random = Random(11);
    let (mut good, mut bad) = (0, 0);
    for n in 0..3_000 {
        let mut events = random_history(&mut random);
        // The last answer to a client is lost; a read without an answer says nothing, so only writes' are.
        let lost = (random.draw() as usize) % 2;
        let last = events.iter().rposition(|(_, client, is_end, op)| *client == lost && *is_end && matches!(op, Write(_)));
        let later =
            |at: usize, events: &[(u32, usize, bool, RegisterOp<u8>)]| events[at + 1..].iter().any(|(_, client, ..)| *client == lost);
        let Some(last) = last.filter(|at| !later(*at, &events)) else { continue };
        events.remove(last);
        let verdict = ours(&calls_of(&events));
        assert_eq!(verdict, stateright(&events), "history {n}: {events:?}");
        *(if verdict { &mut good } else { &mut bad }) += 1;
    }
    assert!(good > 100 && bad > 100, "both kinds are met: {good} good, {bad} bad");
}
