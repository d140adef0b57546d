//! Every path of one contact between an AI agent, a person and the customer, up to a depth: whatever the order of what happens, no AI
//! agent speaks before it has said what it is, and nobody who asked for a person is given to one again.
//!
//! States are told apart by what the two sentences depend on; within that, every state is visited once and left by every action.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use super::world::{EDGE, World, agent, queue};
use crate::core::{
    Effects, Outcome, State,
    assist::{Assisted, Cause, Line, Resolution, Resolved, Speaker, Turn},
    call::{Call, CallState},
    command::{Actor, Arrive, Command, Envelope, HangUpCause, Intent, LegEvent, LegReport, Scope, TransferTo},
    effect::Action,
    id::{CallId, DomainId, Edge, LegId, NodeId},
    invariant::violations,
    party::{Dialog, Sdp},
    policy::{Agent, AgentKind, Assistant, Policy, Route, Strategy, Unanswered},
    time::{At, LogTime, WallTime},
};

const DEPTH: usize = 60;
/// Fewer would mean that the model has come apart from what it models.
const STATES_MIN: usize = 500;

#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive,
    Engaged,
    Disclosed,
    AssistantSays,
    CustomerSays(Option<Cause>),
    NoHelp,
    Resolved,
    AssistantGone,
    TakeOver(Cause),
    PersonAnswers,
    PersonRefuses,
    PersonHangsUp,
    PersonGoes,
    PersonComes,
    CallerLeaves,
    BackToAi,
    ToQueue,
    Off(bool),
    Time,
    EdgeLost,
}

const STEPS: [Step; 23] = [
    Step::Arrive,
    Step::Engaged,
    Step::Disclosed,
    Step::AssistantSays,
    Step::CustomerSays(None),
    Step::CustomerSays(Some(Cause::Asked)),
    Step::CustomerSays(Some(Cause::Anger)),
    Step::NoHelp,
    Step::Resolved,
    Step::AssistantGone,
    Step::TakeOver(Cause::Supervisor),
    Step::TakeOver(Cause::Asked),
    Step::PersonAnswers,
    Step::PersonRefuses,
    Step::PersonHangsUp,
    Step::PersonGoes,
    Step::PersonComes,
    Step::CallerLeaves,
    Step::BackToAi,
    Step::ToQueue,
    Step::Off(true),
    Step::Off(false),
    Step::Time,
];

/// What was seen from outside, beside the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Ghost {
    /// The customer asked for a person, and that was taken.
    asked: bool,
    /// The disclosure of the leg that has the call was taken.
    disclosed: Option<u16>,
    edges_lost: u8,
}

#[derive(Clone)]
struct Node {
    state: State,
    index: u64,
    now: LogTime,
    seq: u32,
    ghost: Ghost,
    path: Vec<Step>,
}

fn domain() -> DomainId {
    World::domain()
}

fn id() -> CallId {
    World::call(1)
}

impl Node {
    fn new() -> Self {
        let mut policy = Policy::default();
        let mut support = queue(Strategy::LongestIdle);
        (support.sharing.unanswered, support.sharing.within_ms, support.sharing.failures_max) = (Unanswered::Rollback, 5_000, 2);
        policy.queues.insert("support".into(), support);
        policy.routes.insert("support".into(), Route { queue: "support".into(), priority: None, emergency: false });
        policy.agents.insert("a".into(), agent(&[("support", 5)]));
        let robot =
            Agent { kind: AgentKind::Ai, contact: None, assistant: Some(Arc::new(Assistant::default())), ..agent(&[("support", 5)]) };
        policy.agents.insert("ai".into(), robot);
        let mut node = Self { state: State::default(), index: 0, now: LogTime(0), seq: 0, ghost: Ghost::default(), path: Vec::new() };
        let publish = Command::PublishPolicy { domain: domain(), expect: None, policy: Box::new(policy), entropy: [7; 32] };
        node.apply(publish);
        node
    }

    fn call(&self) -> Option<&Call> {
        self.state.domains()[&domain()].calls().get(&id()).map(|call| &**call)
    }

    /// What tells two states apart.
    fn sight(&self) -> String {
        let rows = &self.state.domains()[&domain()];
        let call = self.call().map(|call| {
            let legs: Vec<_> = call.legs.values().map(|leg| (leg.agent.as_str(), leg.answered.is_some())).collect();
            let assist = call.assist.as_ref().map(|assist| {
                let had = (assist.asked, assist.person_only, assist.takeover.is_some(), assist.failures, assist.losses.min(2));
                (assist.leg.is_some(), assist.disclosed.is_some(), had, assist.resolution.is_some())
            });
            let kind = match call.state {
                CallState::Connected { held, .. } => format!("connected {held}"),
                other => other.name().to_owned(),
            };
            format!("{kind} {legs:?} {assist:?} {}", call.priority)
        });
        let people = &rows.agents()["a"];
        let was_here = self.path.iter().any(|step| matches!(step, Step::Arrive));
        let disclosed = self.ghost.disclosed.is_some();
        format!(
            "{call:?} {:?} {:?} {} {} {was_here} {disclosed} {} {}",
            people.presence,
            people.pending,
            people.rest_until.is_some(),
            rows.switches().all.is_some(),
            self.ghost.asked,
            self.ghost.edges_lost
        )
    }

    fn apply(&mut self, command: Command) -> (Outcome, Effects) {
        self.index += 1;
        let at = At { group: 1, index: self.index, time: self.now, wall: WallTime(1_795_000_000_000) };
        let mut out = Effects::default();
        let outcome = self.state.apply(at, &Envelope { request: None, command }, &mut out);
        (outcome, out)
    }

    fn report(&mut self, n: u16, event: LegEvent) -> (Outcome, Effects) {
        self.seq += 1;
        let edge = self.call().map_or(EDGE, |call| call.edge);
        let report = LegReport { domain: domain(), leg: LegId { call: id(), n }, edge, seq: self.seq, event };
        self.apply(Command::Leg(Box::new(report)))
    }

    /// The first leg of an agent, by kind.
    fn leg(&self, assistant: bool) -> Option<u16> {
        self.call()?.legs.iter().find(|(_, leg)| leg.assistant == assistant).map(|(n, _)| *n)
    }

    /// Takes a step; `None` where it makes no sense.
    fn after(&self, step: Step) -> Option<Self> {
        let mut next = self.clone();
        next.path.push(step);
        let (ai, person, by) = (next.leg(true), next.leg(false), Actor::User("ops".into()));
        let turn = |who, wants, helped| {
            let line = Line { at: WallTime(0), who, text: String::new(), judged: None, sources: Vec::new() };
            LegEvent::Assisted(Assisted::Turn(Box::new(Turn { line, wants, helped })))
        };
        let (outcome, effects) = match step {
            Step::Arrive if next.path.iter().filter(|step| matches!(step, Step::Arrive)).count() > 1 => return None,
            Step::Arrive => next.apply(arrival()),
            Step::Engaged => next.report(ai?, LegEvent::Assisted(Assisted::Engaged)),
            Step::Disclosed => next.report(ai?, LegEvent::Assisted(Assisted::Disclosed)),
            Step::AssistantSays => next.report(ai?, turn(Speaker::Assistant, None, Some(true))),
            Step::CustomerSays(wants) => next.report(ai?, turn(Speaker::Customer, wants, None)),
            Step::NoHelp => next.report(ai?, turn(Speaker::Customer, None, Some(false))),
            Step::Resolved => {
                let resolution = Resolution { resolved: Resolved::Yes, confidence: 900, reason: String::new() };
                next.report(ai?, LegEvent::Assisted(Assisted::Resolved(resolution)))
            }
            Step::AssistantGone => next.report(ai?, LegEvent::HungUp { cause: HangUpCause::EdgeFault }),
            Step::TakeOver(cause) => {
                next.call()?;
                next.apply(Command::TakeOver { domain: domain(), call: id(), to: None, cause, by })
            }
            Step::PersonAnswers => next.report(person?, LegEvent::Answered { dialog: Dialog::default(), sdp: Sdp::default() }),
            Step::PersonRefuses => next.report(person?, LegEvent::Refused { status: 486, reason: String::new(), contacts: Vec::new() }),
            Step::PersonHangsUp => next.report(person?, LegEvent::HungUp { cause: HangUpCause::Bye }),
            Step::PersonGoes => next.intent(Intent::Offline),
            Step::PersonComes => next.intent(Intent::Available),
            Step::CallerLeaves => {
                next.call()?;
                next.report(0, LegEvent::HungUp { cause: HangUpCause::Bye })
            }
            Step::BackToAi => next.transfer(TransferTo::Agent("ai".into()))?,
            Step::ToQueue => next.transfer(TransferTo::Queue("support".into()))?,
            Step::Off(off) => next.apply(Command::SwitchAi { scope: Scope::Domain(domain()), off, reason: String::new(), by }),
            Step::Time => {
                let due = next.state.next_deadline()?;
                next.now = next.now.max(due);
                let timers = next.state.due(next.now, 16);
                next.apply(Command::FireTimers { timers })
            }
            Step::EdgeLost if next.ghost.edges_lost > 0 => return None,
            Step::EdgeLost => {
                next.ghost.edges_lost += 1;
                next.seq = 0;
                let edge = next.call().map_or(EDGE, |call| call.edge);
                let heir = Edge { node: NodeId(2), incarnation: 1 };
                next.apply(Command::EdgeLost { edge, heirs: vec![heir] })
            }
        };
        let asks = matches!(step, Step::CustomerSays(Some(Cause::Asked)) | Step::TakeOver(Cause::Asked));
        next.ghost.asked |= asks && matches!(outcome, Outcome::Accepted | Outcome::Duplicate);
        match step {
            Step::Disclosed if outcome.is_accepted() => next.ghost.disclosed = ai,
            _ if next.leg(true) != next.ghost.disclosed => next.ghost.disclosed = None,
            _ => {}
        }
        next.judge(step, &outcome, &effects, ai);
        Some(next)
    }

    fn intent(&mut self, intent: Intent) -> (Outcome, Effects) {
        self.apply(Command::AgentIntent { domain: domain(), agent: "a".into(), intent, by: Actor::System })
    }

    fn transfer(&mut self, to: TransferTo) -> Option<(Outcome, Effects)> {
        self.call()?;
        Some(self.apply(Command::Transfer { domain: domain(), call: id(), to, by: Actor::User("ops".into()) }))
    }

    /// The two sentences, and what must hold anyway.
    fn judge(&self, step: Step, outcome: &Outcome, effects: &Effects, ai: Option<u16>) {
        let found = violations(&self.state);
        assert!(found.is_empty(), "{:?}: {found:?}", self.path);
        let may_speak = effects.orders.iter().any(|order| order.action == Action::Speak);
        assert!(!may_speak || matches!(step, Step::Disclosed), "{:?}: it may speak without a disclosure", self.path);
        let spoke = matches!(step, Step::AssistantSays) && *outcome == Outcome::Accepted;
        assert!(!spoke || ai.is_some_and(|ai| self.ghost.disclosed == Some(ai)), "{:?}: it spoke before it was disclosed", self.path);
        let active = self.call().and_then(|call| call.assist.as_ref()).is_some_and(|assist| assist.is_active());
        assert!(!active || self.ghost.disclosed.is_some(), "{:?}: active without a disclosure", self.path);
        assert!(!self.ghost.asked || self.leg(true).is_none(), "{:?}: who asked for a person is with an AI agent", self.path);
    }
}

fn arrival() -> Command {
    Command::Arrive(Box::new(Arrive { anchored: true, ..World::arrival(1) }))
}

#[test]
fn no_path_leads_to_words_without_disclosure_nor_past_somebody_who_asked_for_a_person() {
    let first = Node::new();
    let (mut seen, mut open) = (BTreeSet::from([first.sight()]), VecDeque::from([first]));
    let (mut steps, mut deepest) = (0_u64, 0);
    while let Some(node) = open.pop_front() {
        deepest = deepest.max(node.path.len());
        if node.path.len() >= DEPTH {
            continue;
        }
        for step in STEPS.into_iter().chain([Step::EdgeLost]) {
            let Some(next) = node.after(step) else { continue };
            steps += 1;
            if seen.insert(next.sight()) {
                open.push_back(next);
            }
        }
    }
    println!("{} states, {steps} steps, {deepest} deep", seen.len());
    assert!(seen.len() >= STATES_MIN, "only {} states", seen.len());
}
