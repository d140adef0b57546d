//! What parties of rtpengine's calls said of themselves and were told, and what is to be asked of the daemons for it.
//!
//! A session of the daemon is a pair of legs: the caller with one agent. Its name and its tags follow from the legs, so that
//! any node can go on with it. The book asks nobody: it says what is to be asked, and is told what came of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use sdp_types::Session as Description;

use crate::{
    core::id::{CallId, LegId},
    media::{
        Crossing, Error, Kind,
        book::session as session_id,
        limits::{ENGINE_SESSIONS_MAX, SDP_BYTES_MAX},
        sdp,
    },
};

/// Two legs of a call, the older one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    pub older: LegId,
    pub newer: LegId,
}

impl Pair {
    pub fn new(one: LegId, other: LegId) -> Self {
        if one.n <= other.n { Self { older: one, newer: other } } else { Self { older: other, newer: one } }
    }

    /// What daemons know the session as.
    pub fn name(&self) -> String {
        format!("tandem-{}-{}-{}", self.older.call, self.older.n, self.newer.n)
    }
}

/// What a daemon is to be asked: the offer of one party and, if there is one, the answer of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub pair: Pair,
    /// Who carries it, or is to be tried first.
    pub daemon: usize,
    pub offer: (LegId, Bytes),
    pub answer: Option<(LegId, Bytes)>,
    /// That daemon has the offer already.
    pub offered: bool,
    /// Who is told by those who wanted this; anybody else must be told by event.
    listener: Option<LegId>,
    /// What is refused for good if this fails.
    about: Option<(LegId, Bytes)>,
}

/// What came of a job.
#[derive(Debug)]
pub struct Done {
    pub daemon: usize,
    /// For whom a daemon wrote which description.
    pub told: Vec<(LegId, Bytes)>,
}

/// What is to be done before a description can cross.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// Something is being asked for this pair already.
    Wait,
    Ask(Box<Job>),
}

/// A party that must be told anew by those who did not ask.
#[derive(Debug, PartialEq, Eq)]
pub struct Moved {
    pub leg: LegId,
    pub told: Bytes,
}

#[derive(Debug, Default)]
struct Row {
    daemon: usize,
    /// Something is being asked.
    busy: bool,
    /// Whose offer has no answer, and whether the daemon has it.
    open: Option<(LegId, bool)>,
    /// What each party last said and was told: older, newer.
    said: [Option<Bytes>; 2],
    told: [Option<Bytes>; 2],
    /// A description that no daemon took, and why.
    refused: Option<(LegId, Bytes, String)>,
    /// Closed while something was asked: forgotten with the answer, and deleted then if so.
    gone: Option<bool>,
}

/// How a party is told: versions of its descriptions go on from one session to the next.
#[derive(Debug, Default)]
struct Title {
    version: u64,
    last: Option<Bytes>,
}

/// The sessions of this node's calls.
#[derive(Debug, Default)]
pub struct Book {
    rows: BTreeMap<Pair, Row>,
    titles: BTreeMap<LegId, Title>,
}

impl Book {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// What a crossing takes; `choose` says which daemon is to carry a session that nobody carries yet.
    pub fn prepare(&mut self, crossing: &Crossing<'_>, choose: impl FnOnce() -> usize) -> Step {
        let pair = Pair::new(crossing.from, crossing.to);
        if !self.rows.contains_key(&pair) {
            if self.rows.len() >= ENGINE_SESSIONS_MAX {
                return Step::Nothing;
            }
            self.rows.insert(pair, Row { daemon: choose(), ..Row::default() });
        }
        if let Kind::Both { version, .. } = crossing.kind {
            for leg in [crossing.from, crossing.to] {
                let title = self.titles.entry(leg).or_default();
                title.version = title.version.max(version);
            }
        }
        let row = self.rows.get_mut(&pair).expect("made above");
        if row.busy || row.gone.is_some() {
            return Step::Wait;
        }
        let said = Bytes::copy_from_slice(crossing.sdp);
        if row.refused.as_ref().is_some_and(|(leg, sdp, _)| (*leg, sdp) == (crossing.from, &said)) {
            return Step::Nothing;
        }
        let (from, to) = (place(&pair, crossing.from), place(&pair, crossing.to));
        let known = row.said[from].as_ref() == Some(&said) && row.told[to].is_some();
        let (daemon, about) = (row.daemon, Some((crossing.from, said.clone())));
        let job = |offer, answer, offered, listener| Job { pair, daemon, offer, answer, offered, listener, about };
        let offered_by_other = row.open.filter(|(leg, _)| *leg == crossing.to);
        let job = match (crossing.kind, row.said[to].clone()) {
            (Kind::Both { other, .. }, before) => {
                if known && row.told[from].is_some() && before.as_deref() == Some(other) {
                    return Step::Nothing;
                }
                let (mut offer, mut answer) = ((crossing.from, said), (crossing.to, Bytes::copy_from_slice(other)));
                if from > to {
                    std::mem::swap(&mut offer, &mut answer);
                }
                job(offer, Some(answer), false, None)
            }
            (Kind::Answer, Some(offer)) if offered_by_other.is_some() || !known => {
                if known && offered_by_other.is_some_and(|(_, asked)| !asked) {
                    row.open = None;
                    return Step::Nothing;
                }
                let offered = offered_by_other.is_some_and(|(_, asked)| asked);
                job((crossing.to, offer), Some((crossing.from, said)), offered, Some(crossing.to))
            }
            (Kind::Answer, Some(_)) => return Step::Nothing,
            (Kind::Offer | Kind::Answer, _) if known => {
                row.open.get_or_insert((crossing.from, false));
                return Step::Nothing;
            }
            (Kind::Offer | Kind::Answer, _) => job((crossing.from, said), None, false, Some(crossing.to)),
        };
        row.busy = true;
        Step::Ask(Box::new(job))
    }

    /// What it takes to have a session carried by another daemon; none if nobody has answered anybody, or something is asked.
    pub fn again(&mut self, pair: Pair) -> Option<Job> {
        let row = self.rows.get_mut(&pair).filter(|row| !row.busy && row.gone.is_none())?;
        let [Some(older), Some(newer)] = row.said.clone() else { return None };
        row.busy = true;
        let (offer, answer) = ((pair.older, older), Some((pair.newer, newer)));
        Some(Job { pair, daemon: row.daemon, offer, answer, offered: false, listener: None, about: None })
    }

    /// Takes in what came of a job: who else must be told anew, and whether the session is to be deleted at this daemon.
    pub fn done(&mut self, job: &Job, result: Result<Done, String>) -> (Vec<Moved>, Option<usize>) {
        let Some(row) = self.rows.get_mut(&job.pair) else { return (Vec::new(), None) };
        row.busy = false;
        if let Some(delete) = row.gone {
            let daemon = result.map_or(row.daemon, |done| done.daemon);
            self.rows.remove(&job.pair);
            return (Vec::new(), delete.then_some(daemon));
        }
        let done = match result {
            Ok(done) => done,
            Err(why) => {
                row.refused = job.about.clone().map(|(leg, sdp)| (leg, sdp, why));
                return (Vec::new(), None);
            }
        };
        (row.daemon, row.refused) = (done.daemon, None);
        row.open = if job.answer.is_none() { Some((job.offer.0, true)) } else { None };
        for (leg, sdp) in std::iter::once(&job.offer).chain(&job.answer) {
            row.said[place(&job.pair, *leg)] = Some(sdp.clone());
        }
        let mut moved = Vec::new();
        for (leg, raw) in done.told {
            let title = self.titles.entry(leg).or_default();
            let first = title.last.is_none();
            let (told, is_new) = title.word(leg, &raw);
            if is_new && !first && job.listener != Some(leg) {
                moved.push(Moved { leg, told: told.clone() });
            }
            row.told[place(&job.pair, leg)] = Some(told);
        }
        (moved, None)
    }

    /// What the party of `to` is told of what that of `from` said.
    pub fn pass(&mut self, from: LegId, to: LegId, sdp: &[u8]) -> Result<Bytes, Error> {
        let pair = Pair::new(from, to);
        let row = self.rows.get_mut(&pair).ok_or_else(|| Error::Engine("nobody asked for this".to_owned()))?;
        if let Some((_, _, why)) = row.refused.take_if(|(leg, said, _)| *leg == from && said == sdp) {
            return Err(Error::Engine(why));
        }
        let said = row.said[place(&pair, from)].as_ref().is_some_and(|said| said == sdp);
        let told = row.told[place(&pair, to)].clone().filter(|_| said);
        told.ok_or_else(|| Error::Engine("nobody asked for this".to_owned()))
    }

    /// Forgets a leg. Returns the sessions it was in that are to be deleted, and where; those being asked about follow later.
    pub fn close(&mut self, leg: LegId, delete: bool) -> Vec<(Pair, usize)> {
        self.titles.remove(&leg);
        let mut gone = Vec::new();
        for pair in self.of_call(leg.call).filter(|pair| [pair.older, pair.newer].contains(&leg)).collect::<Vec<_>>() {
            let row = self.rows.get_mut(&pair).expect("listed above");
            if row.busy {
                row.gone = Some(delete);
                continue;
            }
            if delete {
                gone.push((pair, row.daemon));
            }
            self.rows.remove(&pair);
        }
        gone
    }

    /// Who carries a session.
    pub fn daemon(&self, pair: Pair) -> Option<usize> {
        self.rows.get(&pair).map(|row| row.daemon)
    }

    /// Sessions that a daemon carries.
    pub fn carried_by(&self, daemon: usize) -> Vec<Pair> {
        self.rows.iter().filter(|(_, row)| row.daemon == daemon).map(|(pair, _)| *pair).collect()
    }

    fn of_call(&self, call: CallId) -> impl Iterator<Item = Pair> {
        let leg = |n| LegId { call, n };
        let (first, last) = (Pair { older: leg(0), newer: leg(0) }, Pair { older: leg(u16::MAX), newer: leg(u16::MAX) });
        self.rows.range(first..=last).map(|(pair, _)| *pair)
    }
}

const fn place(pair: &Pair, leg: LegId) -> usize {
    if pair.older.n == leg.n { 0 } else { 1 }
}

impl Title {
    /// A daemon's description under an origin of ours; its version rises if it says something else than the last.
    fn word(&mut self, leg: LegId, raw: &Bytes) -> (Bytes, bool) {
        // The parties' own descriptions were read before they went to the daemon. What it made of them is passed on as it is
        // if it can't be read, since the phone may be able to.
        let description = if raw.len() <= SDP_BYTES_MAX { Description::parse(raw).ok() } else { None };
        let Some(description) = description else { return (raw.clone(), self.last.replace(raw.clone()).as_ref() != Some(raw)) };
        let same = sdp::reissued(description.clone(), session_id(leg), self.version);
        if self.last.as_ref().is_some_and(|last| *last == same) {
            return (same.into(), false);
        }
        self.version += 1;
        let told = Bytes::from(sdp::reissued(description, session_id(leg), self.version));
        self.last = Some(told.clone());
        (told, true)
    }
}
