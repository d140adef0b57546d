//! Leaves an endpoint alone after failures in a row, and lets one attempt through after a rest.
//!
//! It owns the count and no clock: whoever asks says what time it is.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Whether attempts are let through.
#[derive(Debug, Clone, Copy)]
enum State {
    /// All; so many failed in a row.
    Closed(u32),
    /// None until then.
    Open(Instant),
    /// One is on its way, and decides.
    HalfOpen,
}

pub(in crate::ai) struct Breaker {
    state: Mutex<State>,
    failures: u32,
    rest: Duration,
}

/// An attempt that was let through. One that is dropped without an end, because its caller hung up, says nothing of the endpoint; if all
/// waited for it, the next one is tried in its place.
pub(in crate::ai) struct Attempt<'a> {
    breaker: &'a Breaker,
    trial: bool,
    admitted: Instant,
    ended: bool,
}

impl Breaker {
    pub(in crate::ai) fn new(failures: u32, rest: Duration) -> Self {
        Self { state: Mutex::new(State::Closed(0)), failures: failures.max(1), rest }
    }

    pub(in crate::ai) fn admit(&self, now: Instant) -> Option<Attempt<'_>> {
        let mut state = self.state.lock();
        let trial = match *state {
            State::Closed(_) => false,
            State::Open(until) if now >= until => true,
            State::Open(_) | State::HalfOpen => return None,
        };
        if trial {
            *state = State::HalfOpen;
        }
        Some(Attempt { breaker: self, trial, admitted: now, ended: false })
    }
}

impl Attempt<'_> {
    pub(in crate::ai) fn end(mut self, well: bool, now: Instant) {
        self.ended = true;
        let mut state = self.breaker.state.lock();
        *state = match *state {
            _ if well => State::Closed(0),
            State::Closed(before) if before + 1 < self.breaker.failures => State::Closed(before + 1),
            State::Closed(_) | State::HalfOpen => State::Open(now + self.breaker.rest),
            // It was on its way when others opened it.
            State::Open(until) => State::Open(until),
        };
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.trial && !self.ended {
            *self.breaker.state.lock() = State::Open(self.admitted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_tries_once_after_a_rest() {
        let (breaker, start) = (Breaker::new(2, Duration::from_secs(30)), Instant::now());
        let fail = |now| breaker.admit(now).unwrap().end(false, now);
        fail(start);
        breaker.admit(start).unwrap().end(true, start);
        fail(start);
        assert!(breaker.admit(start).is_some(), "a success between starts the count again");
        fail(start);
        assert!(breaker.admit(start + Duration::from_secs(29)).is_none());
        let later = start + Duration::from_secs(30);
        let trial = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_none(), "one at a time");
        trial.end(false, later);
        assert!(breaker.admit(later + Duration::from_secs(29)).is_none(), "it rests again");
        breaker.admit(later + Duration::from_secs(30)).unwrap().end(true, later);
        assert!(breaker.admit(later).is_some() && breaker.admit(later).is_some());
    }

    #[test]
    fn a_trial_whose_caller_hung_up_lets_the_next_one_try() {
        let (breaker, start) = (Breaker::new(1, Duration::from_secs(30)), Instant::now());
        breaker.admit(start).unwrap().end(false, start);
        let later = start + Duration::from_secs(30);
        drop(breaker.admit(later).unwrap());
        assert!(breaker.admit(later).is_some());
    }
}
