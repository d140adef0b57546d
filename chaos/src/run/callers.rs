//! Callers: they come at a rate of their own, try another node when one does not answer, and remember what became of each try.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use tandem_bench::phone::{By, Phone, State, Transport};

use super::Context;
use crate::history::{Op, Outcome, Phase};

/// Without any message from a node, a caller goes to the next after this: what a carrier's proxy does.
const SILENT: Duration = Duration::from_millis(1_500);
/// With 100 and nothing beyond it.
const UNHEARD: Duration = Duration::from_secs(8);
/// Longest wait in the queue before a caller hangs up.
const PATIENCE: Duration = Duration::from_secs(25);
/// After that, how long a call may take to end.
const END_WITHIN: Duration = Duration::from_secs(15);
/// Nodes one caller tries.
const TRIES: usize = 3;
/// Calls at once; more arrivals wait for nobody and are not made, which lowers the rate and shows in the report.
const LIVE_MAX: usize = 600;
const TICK: Duration = Duration::from_millis(10);

/// Who calls: one tenant's callers.
pub(super) struct Crowd {
    pub(super) queue: &'static str,
    /// Callers come from here: by it the cluster knows whose they are.
    pub(super) ip: IpAddr,
    pub(super) arrival_per_s: f64,
    pub(super) hold: Duration,
    /// The number of the `n`th caller.
    pub(super) number: fn(usize) -> String,
    /// An overload is of this crowd.
    pub(super) is_tagged: bool,
}

impl Crowd {
    /// Time to the next arrival.
    fn pause(&self, context: &Context) -> Duration {
        let factor = if self.is_tagged { context.rate_milli.load(Ordering::Relaxed) as f64 / 1_000.0 } else { 1.0 };
        Duration::from_secs_f64(1.0 / (self.arrival_per_s * factor))
    }
}

/// One try of one caller.
struct Try {
    phone: Phone,
    number: String,
    tries_left: usize,
    node: usize,
    dialled: Instant,
    responded: bool,
    up_at: Option<Instant>,
    gave_up: bool,
}

/// Calls until the run is done, then waits for the last call to end.
pub(super) fn call(context: &Context, crowd: &Crowd) {
    let mut live: VecDeque<Try> = VecDeque::new();
    let (mut made, mut next_at, mut turn) = (0_usize, Instant::now(), 0_usize);
    let mut closing: Option<Instant> = None;
    loop {
        let now = Instant::now();
        if context.is_done() && closing.is_none() {
            closing = Some(now + PATIENCE + END_WITHIN);
        }
        if closing.is_none() && now >= next_at {
            if live.len() < LIVE_MAX {
                live.extend(dial(context, crowd, &mut made, turn, TRIES));
                turn += 1;
            }
            next_at += crowd.pause(context);
        }
        let mut again = Vec::new();
        live.retain_mut(|one| {
            let Some(outcome) = step(context, crowd, one, closing.is_some()) else { return true };
            context.recorder.add(&one.number, &one.number, phase(outcome), Op::CallEnd { outcome });
            if matches!(outcome, Outcome::Unreached | Outcome::Refused(503)) && one.tries_left > 1 {
                again.push((one.node + 1, one.tries_left - 1));
            }
            false
        });
        for (turn, tries) in again {
            live.extend(dial(context, crowd, &mut made, turn, tries));
        }
        match closing {
            Some(_) if live.is_empty() => return,
            Some(until) if now > until => return unfinished(context, &live),
            _ => thread::sleep(TICK),
        }
    }
}

const fn phase(outcome: Outcome) -> Phase {
    match outcome {
        Outcome::Completed | Outcome::Abandoned => Phase::Ok,
        Outcome::Refused(_) => Phase::Fail,
        Outcome::Unreached | Outcome::Dropped | Outcome::Unfinished => Phase::Info,
    }
}

/// A call from a number that no other call has.
fn dial(context: &Context, crowd: &Crowd, made: &mut usize, turn: usize, tries_left: usize) -> Option<Try> {
    let load = &context.experiment.workload;
    let nodes = if load.call_nodes.is_empty() { context.members() } else { load.call_nodes.clone() };
    let node = *nodes.get(turn % nodes.len().max(1))?;
    let number = (crowd.number)(*made);
    *made += 1;
    // Without a socket there is no call, and nothing to be said of it.
    let phone = context.stage.exchange.phone(&number, Transport::Udp, crowd.ip, |_| {}).ok()?;
    context.recorder.add(&number, &number, Phase::Invoke, Op::Dial { node, again: tries_left < TRIES });
    phone.call(context.stage.sip(node), crowd.queue);
    let dialled = Instant::now();
    Some(Try { phone, number, tries_left, node: turn, dialled, responded: false, up_at: None, gave_up: false })
}

/// Looks at a call and does what its caller would. `Some` once it is over.
fn step(context: &Context, crowd: &Crowd, one: &mut Try, closing: bool) -> Option<Outcome> {
    let state = one.phone.state()?;
    let now = Instant::now();
    let note = |op: Op| context.recorder.add(&one.number, &one.number, Phase::Info, op);
    let since = now - one.dialled;
    let after_ms = since.as_secs_f64() * 1000.0;
    let status = match state {
        State::Proceeding(status) => Some(status),
        State::Up => Some(200),
        State::Over(By::Refused(status)) => Some(status),
        _ => None,
    };
    if let Some(status) = status.filter(|status| *status > 100 && !one.responded) {
        one.responded = true;
        note(Op::Responded { status, after_ms });
    }
    match state {
        State::Over(by) => Some(over(by, one)),
        State::Up => {
            let up_at = *one.up_at.get_or_insert_with(|| {
                note(Op::Answered { after_ms });
                now
            });
            if now - up_at < crowd.hold {
                return None;
            }
            one.phone.hang_up();
            Some(Outcome::Completed)
        }
        _ if one.gave_up => (since > PATIENCE + END_WITHIN).then_some(Outcome::Unfinished),
        _ => {
            let silent = !one.responded && one.phone.look(|ua| ua.journal.entries().all(|entry| entry.is_request()));
            let limit = if one.responded {
                PATIENCE
            } else if silent {
                SILENT
            } else {
                UNHEARD
            };
            if since > limit || (closing && one.responded && since > PATIENCE / 2) {
                one.phone.hang_up();
                one.gave_up = true;
                // Nobody will end what nobody began.
                return (!one.responded).then_some(Outcome::Unreached);
            }
            None
        }
    }
}

fn over(by: By, one: &Try) -> Outcome {
    match by {
        By::Us if one.up_at.is_some() => Outcome::Completed,
        By::Us => Outcome::Abandoned,
        _ if one.up_at.is_some() => Outcome::Dropped,
        // A CANCEL of ours is confirmed by 487.
        By::Refused(487) if one.gave_up => Outcome::Abandoned,
        By::Refused(status) => Outcome::Refused(status),
        By::Nobody | By::Lost | By::Them if !one.responded => Outcome::Unreached,
        By::Nobody | By::Lost | By::Them => Outcome::Unfinished,
    }
}

fn unfinished(context: &Context, live: &VecDeque<Try>) {
    for one in live {
        let outcome = if one.responded { Outcome::Unfinished } else { Outcome::Unreached };
        context.recorder.add(&one.number, &one.number, Phase::Info, Op::CallEnd { outcome });
        one.phone.hang_up();
    }
}
