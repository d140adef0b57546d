//! Random commands, many of them: every invariant after every step, the same log to the same bytes, snapshot and tail to
//! the same as a full replay. What was accepted is printed, so that the coverage can be judged.

mod aid;
mod assist;
mod chat;
mod control;
mod generator;
mod policy;

use std::collections::BTreeMap;

use self::generator::{Generator, main_domain};
use crate::core::{
    Command, Effects, Outcome, State,
    assist::Assisted,
    cdr::chain,
    chat::ChatStep,
    codec,
    command::{ConsultStep, Envelope, Intent, LegEvent, Record, TransferTo, Wish},
    invariant::{step::Step, violations},
    time::{At, LogTime, WallTime},
};

const SEEDS: u64 = 12;
const COMMANDS_PER_SEED: u64 = 15_000;
/// Least acceptances of each command over all seeds.
const ACCEPTED_MIN: u64 = 100;

/// The variants of `Command`; `name` does not compile without each.
const COMMANDS: [&str; 31] = [
    "PublishPolicy",
    "RemoveDomain",
    "Arrive",
    "Leg",
    "AgentIntent",
    "Bind",
    "Unbind",
    "FireTimers",
    "Lead",
    "EdgeLost",
    "HandOver",
    "EffectsDone",
    "HangUp",
    "Requeue",
    "Control",
    "Recorded",
    "RaiseLevel",
    "Erase",
    "DropOld",
    "Transfer",
    "Refer",
    "Consult",
    "ConsultStep",
    "Callback",
    "Schedule",
    "KeepCallbacks",
    "TakeOver",
    "SwitchAi",
    "Note",
    "OpenChat",
    "Chat",
];

const fn name(command: &Command) -> &'static str {
    match command {
        Command::PublishPolicy { .. } => "PublishPolicy",
        Command::RemoveDomain { .. } => "RemoveDomain",
        Command::Arrive(_) => "Arrive",
        Command::Leg(_) => "Leg",
        Command::AgentIntent { .. } => "AgentIntent",
        Command::Bind { .. } => "Bind",
        Command::Unbind { .. } => "Unbind",
        Command::FireTimers { .. } => "FireTimers",
        Command::Lead { .. } => "Lead",
        Command::EdgeLost { .. } => "EdgeLost",
        Command::HandOver { .. } => "HandOver",
        Command::EffectsDone { .. } => "EffectsDone",
        Command::HangUp { .. } => "HangUp",
        Command::Requeue { .. } => "Requeue",
        Command::Control { .. } => "Control",
        Command::Recorded { .. } => "Recorded",
        Command::RaiseLevel { .. } => "RaiseLevel",
        Command::Erase { .. } => "Erase",
        Command::DropOld => "DropOld",
        Command::Transfer { .. } => "Transfer",
        Command::Refer { .. } => "Refer",
        Command::Consult { .. } => "Consult",
        Command::ConsultStep { .. } => "ConsultStep",
        Command::Callback { .. } => "Callback",
        Command::Schedule(_) => "Schedule",
        Command::KeepCallbacks { .. } => "KeepCallbacks",
        Command::TakeOver { .. } => "TakeOver",
        Command::SwitchAi { .. } => "SwitchAi",
        Command::Note(_) => "Note",
        Command::OpenChat(_) => "OpenChat",
        Command::Chat { .. } => "Chat",
    }
}

/// The kind within a command that has kinds.
const fn kind(command: &Command) -> &'static str {
    match command {
        Command::Leg(report) => match report.event {
            LegEvent::Ringing { .. } => "  Ringing",
            LegEvent::Answered { .. } => "  Answered",
            LegEvent::Confirmed { .. } => "  Confirmed",
            LegEvent::Refused { .. } => "  Refused",
            LegEvent::Unreachable { .. } => "  Unreachable",
            LegEvent::HungUp { .. } => "  HungUp",
            LegEvent::Media { .. } => "  Media",
            LegEvent::Adopted { .. } => "  Adopted",
            LegEvent::Ended => "  Ended",
            LegEvent::Assisted(Assisted::Engaged) => "  Engaged",
            LegEvent::Assisted(Assisted::Disclosed) => "  Disclosed",
            LegEvent::Assisted(Assisted::Turn(_)) => "  Turn",
            LegEvent::Assisted(Assisted::Resolved(_)) => "  Resolved",
            LegEvent::Assisted(Assisted::Opened(_)) => "  Opened",
            LegEvent::Assisted(Assisted::Wrote(..)) => "  Wrote",
        },
        Command::Chat { step, .. } => match step {
            ChatStep::Say { .. } => "  Say",
            ChatStep::Reply { accept: true, .. } => "  Accept",
            ChatStep::Reply { accept: false, .. } => "  Decline",
            ChatStep::End { .. } => "  EndChat",
            ChatStep::Phone { .. } => "  Phone",
        },
        Command::Transfer { to, .. } => match to {
            TransferTo::Queue(_) => "  ToQueue",
            TransferTo::Agent(_) => "  ToAgent",
            TransferTo::Number(_) => "  ToNumber",
        },
        Command::ConsultStep { step, .. } => match step {
            ConsultStep::Complete => "  Complete",
            ConsultStep::Cancel => "  Cancel",
            ConsultStep::Join => "  Join",
        },
        Command::AgentIntent { intent, .. } => match intent {
            Intent::Available => "  Available",
            Intent::Break { .. } => "  Break",
            Intent::Offline => "  Offline",
            Intent::FinishWrapUp => "  FinishWrapUp",
            Intent::ExtendWrapUp { .. } => "  ExtendWrapUp",
            Intent::ForceRelease => "  ForceRelease",
        },
        Command::Control { wish, .. } => match wish {
            Wish::Hold(true) => "  Hold",
            Wish::Hold(false) => "  Unhold",
            Wish::Mute { muted: true, .. } => "  Mute",
            Wish::Mute { muted: false, .. } => "  Unmute",
            Wish::Record(Record::Start) => "  Record",
            Wish::Record(Record::Pause) => "  Pause",
            Wish::Record(Record::Resume) => "  Unpause",
            Wish::Record(Record::Stop) => "  Stop",
            Wish::Supervise { .. } => "  Supervise",
        },
        _ => "",
    }
}

/// Accepted and proposed commands.
#[derive(Default)]
struct Coverage(BTreeMap<(&'static str, &'static str), (u64, u64)>);

impl Coverage {
    fn count(&mut self, command: &Command, outcome: &Outcome) {
        let accepted = matches!(
            outcome,
            Outcome::Accepted | Outcome::Published { .. } | Outcome::Offer { .. } | Outcome::Scheduled { .. } | Outcome::Said { .. }
        );
        for kind in [Some(""), Some(kind(command)).filter(|kind| !kind.is_empty())].into_iter().flatten() {
            let row = self.0.entry((name(command), kind)).or_default();
            row.0 += u64::from(accepted);
            row.1 += 1;
        }
    }

    fn with(mut self, other: Self) -> Self {
        for (key, (accepted, proposed)) in other.0 {
            let row = self.0.entry(key).or_default();
            *row = (row.0 + accepted, row.1 + proposed);
        }
        self
    }

    /// Prints the table and holds it to what the test promises.
    fn judge(&self) {
        println!("{:<16} accepted of proposed", "command");
        for ((name, kind), (accepted, proposed)) in &self.0 {
            println!("{:<16} {accepted:>7} {proposed:>7}", if kind.is_empty() { name } else { kind });
        }
        let rows = || self.0.iter().filter(|((_, kind), _)| kind.is_empty()).map(|(_, row)| row);
        let (accepted, proposed) = rows().fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
        println!("{:<16} {accepted:>7} {proposed:>7}", "all");
        for name in COMMANDS {
            assert!(self.0.contains_key(&(name, "")), "{name} is never proposed");
        }
        let rare: Vec<_> = self.0.iter().filter(|(_, (accepted, _))| *accepted < ACCEPTED_MIN).map(|(key, _)| key).collect();
        assert!(rare.is_empty(), "hardly ever accepted: {rare:?}");
        assert!(proposed >= 100_000 && accepted * 10 >= proposed * 3);
    }
}

/// Applies an entry and extends the chain of everything that came out of it.
fn apply(state: &mut State, at: At, envelope: &Envelope, trace: &mut [u8; 32]) -> (Outcome, Effects) {
    let mut out = Effects::default();
    let outcome = state.apply(at, envelope, &mut out);
    *trace = chain(trace, &codec::encode(&(&outcome, &out.orders, &out.events, &out.records, &out.kept, &out.timers)));
    (outcome, out)
}

/// A point of a run from which a replay may start.
struct Point {
    entry: usize,
    bytes: Vec<u8>,
    trace: [u8; 32],
}

fn run(seed: u64) -> Coverage {
    let mut coverage = Coverage::default();
    let mut generator = Generator::new(seed);
    let (mut state, mut trace, mut now_ms, mut days) = (State::default(), [0; 32], 0, 0);
    let mut log: Vec<(At, Envelope)> = Vec::new();
    let mut points = Vec::new();
    for entry in 0..COMMANDS_PER_SEED {
        if entry == 0 || entry == COMMANDS_PER_SEED / 2 {
            points.push(Point { entry: log.len(), bytes: codec::encode(&state), trace });
        }
        // Log time and wall time part ways: a step of the wall clock must disturb nothing but opening hours and retention.
        now_ms += generator.rng.below(800);
        days += i64::from(generator.rng.one_in(300));
        let step_ms = days * 86_400_000 + if generator.rng.one_in(200) { 3_600_000 } else { 0 };
        let wall = WallTime(1_795_000_000_000 + now_ms as i64 + step_ms);
        let at = At { group: 1, index: entry + 1, time: LogTime(now_ms * 1_000_000), wall };
        let envelope = if entry == 0 { generator.first() } else { generator.next(&state) };
        let before = state.clone();
        let (outcome, effects) = apply(&mut state, at, &envelope, &mut trace);
        let step = Step { before: &before, at, command: &envelope.command, outcome: &outcome, effects: &effects, after: &state };
        // The first outcome is given again to a known idempotency key; the step itself is then empty.
        let mut broken = violations(&state);
        broken.extend(step.violations().into_iter().filter(|_| envelope.request.is_none()));
        assert!(broken.is_empty(), "seed {seed} entry {entry} {:?} -> {outcome:?}: {}", envelope.command, broken[0]);
        coverage.count(&envelope.command, &outcome);
        log.push((at, envelope));
    }
    assert!(state.domains()[&main_domain()].version() > 1);
    for point in points {
        let mut replica: State = codec::decode_snapshot(&point.bytes).expect("a snapshot reads back");
        assert!(codec::encode(&replica) == point.bytes, "seed {seed}: a snapshot of a snapshot differs");
        let mut again = point.trace;
        for (at, envelope) in &log[point.entry..] {
            apply(&mut replica, *at, envelope, &mut again);
        }
        assert_eq!(again, trace, "seed {seed}: outcomes or effects differ in a replay from entry {}", point.entry);
        assert!(codec::encode(&replica) == codec::encode(&state), "seed {seed}: a replay from entry {} differs", point.entry);
    }
    coverage
}

#[test]
fn random_commands_keep_every_invariant_and_replay_to_the_same_bytes() {
    // Seeds share nothing, so that they may run side by side.
    let coverage = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..SEEDS).map(|seed| scope.spawn(move || run(seed))).collect();
        runs.into_iter().map(|run| run.join().expect("a seed failed")).fold(Coverage::default(), Coverage::with)
    });
    coverage.judge();
}
