//! Linearizability of one object (Wing and Gong, with Lowe's memory of configurations already tried).
//!
//! It searches for an order of the operations that the model allows and that keeps every operation between its invocation
//! and its completion. An operation with an indefinite outcome may take effect at any time after its invocation, or never.
//! Objects are judged one by one (linearizability is local); splitting a history by object is the caller's.

use std::{
    collections::HashSet,
    hash::Hash,
    time::{Duration, Instant},
};

/// What an object may do.
pub trait Model {
    type State: Clone + Eq + Hash;
    type Op;

    /// The state after `op` with the result it had, if that is possible in `state`.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// One operation. Times only order; equal ones count as concurrent.
#[derive(Debug, Clone, PartialEq)]
pub struct Call<O> {
    pub invoked: f64,
    /// None when nobody knows whether it happened.
    pub completed: Option<f64>,
    pub op: O,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    Linearizable,
    /// The longest order found takes these many, and none of `stuck` (indices) can come next.
    Not {
        longest: usize,
        stuck: &'a [usize],
    },
    /// No answer within the time given.
    Unknown,
}

/// Configurations tried between two looks at the clock.
const CLOCK_EVERY: usize = 256;

/// One configuration: who has taken effect, and the state that led to.
struct Frame<S> {
    done: Vec<u64>,
    count: usize,
    state: S,
    /// The next operation to try.
    next: usize,
}

fn is_done(done: &[u64], n: usize) -> bool {
    done[n / 64] >> (n % 64) & 1 == 1
}

/// Judges the operations of one object from `initial` on. Calls `tell` with the answer.
pub fn check<M: Model, R>(model: &M, initial: M::State, calls: &[Call<M::Op>], within: Duration, tell: impl FnOnce(Answer<'_>) -> R) -> R {
    let until = Instant::now() + within;
    let definite = calls.iter().filter(|call| call.completed.is_some()).count();
    let mut tried: HashSet<(Vec<u64>, M::State)> = HashSet::new();
    let mut stack = vec![Frame { done: vec![0; calls.len() / 64 + 1], count: 0, state: initial, next: 0 }];
    let (mut longest, mut stuck, mut steps) = (0, Vec::new(), 0_usize);
    while let Some(frame) = stack.last_mut() {
        steps += 1;
        if steps.is_multiple_of(CLOCK_EVERY) && Instant::now() > until {
            return tell(Answer::Unknown);
        }
        let left = || (0..calls.len()).filter(|n| !is_done(&frame.done, *n));
        if left().all(|n| calls[n].completed.is_none()) {
            return tell(Answer::Linearizable);
        }
        // Whoever is invoked after another has completed cannot come before it.
        let bound = left().filter_map(|n| calls[n].completed).fold(f64::INFINITY, f64::min);
        let may = |n: &usize| calls[*n].invoked <= bound;
        if frame.next == 0 && (frame.count > longest || stuck.is_empty()) && frame.count < definite + calls.len() {
            (longest, stuck) = (frame.count, left().filter(may).filter(|n| calls[*n].completed.is_some()).collect());
        }
        let candidate = left().filter(|n| *n >= frame.next).find(may);
        let Some(n) = candidate else {
            stack.pop();
            continue;
        };
        let step = model.step(&frame.state, &calls[n].op);
        let (mut done, count) = (frame.done.clone(), frame.count + 1);
        frame.next = n + 1;
        if let Some(state) = step {
            done[n / 64] |= 1 << (n % 64);
            if tried.insert((done.clone(), state.clone())) {
                stack.push(Frame { done, count, state, next: 0 });
            }
        }
    }
    tell(Answer::Not { longest, stuck: &stuck })
}

/// A register that is written and read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RegisterOp<V> {
    Write(V),
    /// With what it read.
    Read(V),
}

/// The model of a register.
#[derive(Debug, Clone, Copy, Default)]
pub struct Register<V>(std::marker::PhantomData<V>);

impl<V> Register<V> {
    pub const fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<V: Clone + Eq + Hash> Model for Register<V> {
    type State = V;
    type Op = RegisterOp<V>;

    fn step(&self, state: &V, op: &RegisterOp<V>) -> Option<V> {
        match op {
            RegisterOp::Write(value) => Some(value.clone()),
            RegisterOp::Read(value) => (value == state).then(|| state.clone()),
        }
    }
}

#[cfg(test)]
#[path = "linear/tests.rs"]
mod tests;
