//! The parties of the simulated world: callers with patience, agents' phones with habits. They know nothing of nodes but
//! who they last talked to, and outlive them all.

use std::{collections::BTreeMap, sync::Weak, time::Duration};

use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tandem::core::id::{AgentId, CallId, LegId};

use super::edge::SimEdge;

/// A party's idea of who carries its leg.
pub(super) type Carrier = (Weak<SimEdge>, u64);

#[derive(Default)]
struct Caller {
    gone: bool,
    connected: Option<LegId>,
    carrier: Option<Carrier>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phone {
    Idle,
    Rings(LegId),
    Talks(LegId),
}

/// What a phone does when it is rung.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    After(Duration),
    Refuse {
        status: u16,
        after: Duration,
    },
    Unreachable {
        after: Duration,
    },
    Never,
    /// It has the leg already: the INVITE came again.
    Known,
}

struct Inner {
    rng: StdRng,
    callers: BTreeMap<CallId, Caller>,
    phones: BTreeMap<AgentId, Phone>,
    /// Who was rung on a leg, and who carries it.
    legs: BTreeMap<LegId, (AgentId, Carrier)>,
}

/// All parties.
pub(super) struct Town(Mutex<Inner>);

impl Town {
    pub(super) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0x746F_776E);
        Self(Mutex::new(Inner { rng, callers: BTreeMap::new(), phones: BTreeMap::new(), legs: BTreeMap::new() }))
    }

    /// A number of milliseconds by chance.
    pub(super) fn ms(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.0.lock().rng.random_range(from..to))
    }

    /// True with so many chances of a hundred.
    pub(super) fn chance(&self, of_100: u32) -> bool {
        self.0.lock().rng.random_range(0..100) < of_100
    }

    pub(super) fn number(&self) -> u64 {
        self.0.lock().rng.random()
    }

    pub(super) fn dials(&self, call: CallId, carrier: Carrier) {
        self.0.lock().callers.insert(call, Caller { carrier: Some(carrier), ..Caller::default() });
    }

    /// Another edge has told a party that it carries its leg now. False if the party is gone.
    pub(super) fn follows(&self, leg: LegId, carrier: Carrier) -> bool {
        let inner = &mut *self.0.lock();
        if leg.n == 0 {
            let Some(caller) = inner.callers.get_mut(&leg.call).filter(|caller| !caller.gone) else { return false };
            caller.carrier = Some(carrier);
            return true;
        }
        let Some((agent, of)) = inner.legs.get_mut(&leg) else { return false };
        *of = carrier;
        matches!(inner.phones.get(agent), Some(Phone::Talks(on) | Phone::Rings(on)) if *on == leg)
    }

    /// The caller has been joined with an agent's leg. True the first time.
    pub(super) fn joined(&self, call: CallId, peer: LegId) -> bool {
        let inner = &mut *self.0.lock();
        inner.callers.get_mut(&call).is_some_and(|caller| caller.connected.replace(peer).is_none())
    }

    pub(super) fn is_joined(&self, call: CallId) -> bool {
        self.0.lock().callers.get(&call).is_some_and(|caller| caller.connected.is_some())
    }

    /// True if the caller was joined with this very leg of an agent.
    pub(super) fn is_joined_with(&self, leg: LegId) -> bool {
        self.0.lock().callers.get(&leg.call).is_some_and(|caller| caller.connected == Some(leg))
    }

    /// A party leaves. Returns who carries its leg, unless it was gone already.
    pub(super) fn leaves(&self, leg: LegId) -> Option<Carrier> {
        let inner = &mut *self.0.lock();
        if leg.n == 0 {
            let caller = inner.callers.get_mut(&leg.call).filter(|caller| !caller.gone)?;
            caller.gone = true;
            return caller.carrier.clone();
        }
        let (agent, carrier) = inner.legs.get(&leg)?;
        let phone = inner.phones.get_mut(agent)?;
        if !matches!(phone, Phone::Talks(on) | Phone::Rings(on) if *on == leg) {
            return None;
        }
        *phone = Phone::Idle;
        Some(carrier.clone())
    }

    /// An INVITE reaches an agent's phone. Also the leg it talks on, if it is busy.
    pub(super) fn rings(&self, agent: &AgentId, leg: LegId, carrier: Carrier) -> (Answer, Option<LegId>) {
        let inner = &mut *self.0.lock();
        if inner.legs.contains_key(&leg) {
            return (Answer::Known, None);
        }
        inner.legs.insert(leg, (agent.clone(), carrier));
        let phone = inner.phones.entry(agent.clone()).or_insert(Phone::Idle);
        let after = Duration::from_millis(inner.rng.random_range(5..60));
        if *phone != Phone::Idle {
            let talks = if let Phone::Talks(on) = *phone { Some(on) } else { None };
            return (Answer::Refuse { status: 486, after }, talks);
        }
        let answer = match inner.rng.random_range(0..100) {
            0..80 => Answer::After(Duration::from_millis(inner.rng.random_range(150..2_500))),
            80..88 => Answer::Refuse { status: if inner.rng.random() { 486 } else { 603 }, after },
            88..92 => Answer::Unreachable { after },
            _ => Answer::Never,
        };
        if matches!(answer, Answer::After(_) | Answer::Never) {
            *phone = Phone::Rings(leg);
        }
        (answer, None)
    }

    /// The agent lifts the receiver. False if it rings no longer.
    pub(super) fn lifts(&self, leg: LegId) -> bool {
        let inner = &mut *self.0.lock();
        let Some((agent, _)) = inner.legs.get(&leg) else { return false };
        match inner.phones.get_mut(agent) {
            Some(phone) if *phone == Phone::Rings(leg) => {
                *phone = Phone::Talks(leg);
                true
            }
            _ => false,
        }
    }

    /// Callers who are still there, and phones that are not idle.
    pub(super) fn busy(&self) -> (usize, usize) {
        let inner = self.0.lock();
        let callers = inner.callers.values().filter(|caller| !caller.gone).count();
        (callers, inner.phones.values().filter(|phone| **phone != Phone::Idle).count())
    }
}
