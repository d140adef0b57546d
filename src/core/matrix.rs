//! Who hears whom in a call, and what is recorded of it: a pure function of the legs that are up.
//!
//! What comes out is a plan of the whole call. It says how things are to be and not what is to be changed, so that an edge that
//! knows nothing of the call yet carries out the same plan as one that carried out the plan before. How is the edge's.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    aid::Hearing,
    call::{Call, CallState, Leg},
};

/// What a leg that we called is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It was offered the call and, once it answered, owns it.
    Agent,
    /// The owner asks it something, or hands the call over to it when done.
    Consult,
    /// It listens to the call, as far as its mode goes.
    Supervisor(Mode),
}

/// How far a supervisor is heard. It hears everybody in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// By nobody.
    Monitor,
    /// By the agent only.
    Whisper,
    /// By all.
    Barge,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Whisper => "whisper",
            Self::Barge => "barge",
        }
    }
}

/// What a party hears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hears {
    /// These legs, together; none is silence.
    Legs(Vec<u16>),
    /// It is on hold: this prompt again and again; none is the built-in music.
    Music(Option<String>),
}

/// What is recorded of a call: a file per leg and part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Taping {
    #[default]
    Off,
    /// Part `part`, from 1. While it is masked, what is said leaves silence in its place.
    On { part: u32, masked: bool },
}

impl Taping {
    /// What is said is to be kept nowhere.
    pub const fn is_masked(self) -> bool {
        matches!(self, Self::On { masked: true, .. })
    }
}

/// How the media of a call is to be. Legs that are not named are not up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Rises with every plan of the call.
    pub version: u32,
    pub legs: BTreeMap<u16, Hears>,
    pub taping: Taping,
    /// Legs that are recorded while `taping` is on.
    pub taped: Vec<u16>,
    /// Whose words are written down for the agent who has the call.
    pub hearing: Option<Arc<Hearing>>,
}

/// A party that is up, as the matrix sees it.
struct Seat {
    n: u16,
    /// `None`: the caller.
    role: Option<Role>,
    held: bool,
    muted: bool,
}

impl Seat {
    /// Whether a listener hears this party.
    fn is_heard_by(&self, listener: &Self) -> bool {
        if self.n == listener.n || self.held || self.muted {
            return false;
        }
        match self.role {
            Some(Role::Supervisor(Mode::Monitor)) => false,
            Some(Role::Supervisor(Mode::Whisper)) => listener.role == Some(Role::Agent),
            Some(Role::Supervisor(Mode::Barge) | Role::Agent | Role::Consult) | None => true,
        }
    }
}

impl Call {
    /// Two parties that talk, and nothing was ever wanted of their media: there is nothing to plan.
    pub(super) fn just_talks(&self) -> bool {
        let is_plain = |leg: &Leg| leg.role == Role::Agent && !leg.held && !leg.muted;
        self.media.is_none()
            && !matches!(self.state, CallState::Dialling { .. })
            && (self.taping, self.tapes().len()) == (Taping::Off, 0)
            && !(self.caller.held || self.caller.muted)
            && self.legs.len() <= 1
            && self.legs.values().all(|leg| is_plain(leg))
    }

    /// What another edge records goes on in a file of its own.
    pub(super) fn next_part(&mut self) {
        if let Taping::On { part, .. } = &mut self.taping {
            *part += 1;
            self.parts = *part;
        }
    }

    /// Parties whose audio goes through the edge, by number.
    fn seats(&self) -> Vec<Seat> {
        let caller = Seat { n: self.caller_leg().unwrap_or_default(), role: None, held: self.is_parked(), muted: self.caller.muted };
        let up = self.legs.iter().filter(|(_, leg)| leg.answered.is_some() && !leg.assistant);
        let others = up.map(|(n, leg)| Seat { n: *n, role: Some(leg.role), held: leg.held, muted: leg.muted });
        self.caller.up.map(|_| caller).into_iter().chain(others).collect()
    }

    /// How its media is to be; `music` is what parties on hold hear. `None` while nobody talks: what a waiting caller hears is
    /// its treatment's.
    pub(super) fn plan(&self, music: Option<&String>) -> Option<Plan> {
        if !self.anchored || self.owner().is_none() {
            return None;
        }
        // While a customer is called there is nobody to hear yet.
        let dials = matches!(self.state, CallState::Dialling { .. });
        let seats = self.seats();
        let hears = |listener: &Seat| {
            if listener.held || dials {
                return Hears::Music(music.cloned());
            }
            Hears::Legs(seats.iter().filter(|seat| seat.is_heard_by(listener)).map(|seat| seat.n).collect())
        };
        let is_party = |seat: &&Seat| !matches!(seat.role, Some(Role::Supervisor(_)));
        Some(Plan {
            version: self.plans,
            // What the caller hears of an AI agent is no leg's.
            legs: seats.iter().filter(|_| self.assisted_on().is_none()).map(|seat| (seat.n, hears(seat))).collect(),
            taping: self.taping,
            taped: seats.iter().filter(is_party).map(|seat| seat.n).collect(),
            hearing: None,
        })
    }
}

impl Plan {
    /// Two parties that hear each other and nothing else: what an edge does without being told.
    pub fn is_plain(&self) -> bool {
        let mut legs = self.legs.iter();
        let (Some((one, first)), Some((other, second)), None) = (legs.next(), legs.next(), legs.next()) else { return false };
        let heard = |hears: &Hears, n: u16| *hears == Hears::Legs(vec![n]);
        (self.taping, &self.hearing) == (Taping::Off, &None) && heard(first, *other) && heard(second, *one)
    }

    /// True if both say the same, whatever their versions.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        (&self.legs, self.taping, &self.taped, &self.hearing) == (&other.legs, other.taping, &other.taped, &other.hearing)
    }

    /// Whether the party `by` hears the party `n`.
    pub(super) fn hears(&self, by: u16, n: u16) -> bool {
        matches!(self.legs.get(&by), Some(Hears::Legs(legs)) if legs.contains(&n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(n: u16, role: Option<Role>) -> Seat {
        Seat { n, role, held: false, muted: false }
    }

    fn heard(seats: &[Seat], listener: usize) -> Vec<u16> {
        seats.iter().filter(|seat| seat.is_heard_by(&seats[listener])).map(|seat| seat.n).collect()
    }

    #[test]
    fn each_mode_lets_a_supervisor_be_heard_by_whom_it_says_and_hear_everybody() {
        for (mode, caller, agent) in
            [(Mode::Monitor, vec![1], vec![0]), (Mode::Whisper, vec![1], vec![0, 2]), (Mode::Barge, vec![1, 2], vec![0, 2])]
        {
            let seats = [seat(0, None), seat(1, Some(Role::Agent)), seat(2, Some(Role::Supervisor(mode)))];
            assert_eq!((heard(&seats, 0), heard(&seats, 1), heard(&seats, 2)), (caller, agent, vec![0, 1]), "{mode:?}");
        }
    }

    #[test]
    fn who_is_held_or_muted_is_heard_by_nobody() {
        let mut seats = [seat(0, None), seat(1, Some(Role::Agent)), seat(2, Some(Role::Consult))];
        assert_eq!(heard(&seats, 1), [0, 2]);
        seats[0].held = true;
        assert_eq!((heard(&seats, 1), heard(&seats, 2)), (vec![2], vec![1]));
        seats[2].muted = true;
        assert_eq!(heard(&seats, 1), [] as [u16; 0]);
    }
}
