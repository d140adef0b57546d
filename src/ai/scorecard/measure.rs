//! Counting: what of a set was routed, rightly or not, and whether that keeps a bound with what is known.

use std::{fmt, path::Path};

use super::{
    sets::{Row, Set, SetError},
    wilson::interval,
};
use crate::{
    ai::{
        text::Text,
        triage::{Models, triage},
        verdict::{Next, Triage, Urgency},
    },
    core::models::{Scored, Verdict},
};

/// What a share must keep, and a [`Verdict`] says whether it does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// One share of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What is counted, of what.
    pub metric: String,
    pub hits: u64,
    pub n: u64,
    pub bound: Option<Bound>,
}

impl Figure {
    fn of(metric: impl Into<String>, hits: usize, n: usize, bound: Option<Bound>) -> Self {
        // A set is bounded far below 2^64.
        Self { metric: metric.into(), hits: hits as u64, n: n as u64, bound }
    }

    /// As a release keeps it.
    #[must_use]
    pub fn scored(&self) -> Scored {
        Scored { metric: self.metric.clone(), hits: self.hits, n: self.n, verdict: self.verdict() }
    }

    /// The verdict on a bounded share; none on one that is told only.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        let (low, high) = interval(self.hits, self.n);
        let share = self.hits as f64 / self.n as f64;
        let (kept, proven) = match self.bound? {
            Bound::AtMost(most) => (share <= most, high <= most),
            Bound::AtLeast(least) => (share >= least, low >= least),
        };
        Some(match (self.n, kept, proven) {
            (0, ..) | (_, true, false) => Verdict::Insufficient,
            (_, true, true) => Verdict::Pass,
            (_, false, _) => Verdict::Fail,
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = interval(self.hits, self.n);
        let percent = |share: f64| 100.0 * share;
        let share = if self.n == 0 { 0.0 } else { self.hits as f64 / self.n as f64 };
        write!(
            f,
            "{:<52} {:>5}/{:<5} {:>6.2} %  [{:>5.2}, {:>6.2}]",
            self.metric,
            self.hits,
            self.n,
            percent(share),
            percent(low),
            percent(high)
        )?;
        let Some(verdict) = self.verdict().map(Verdict::name) else { return Ok(()) };
        match self.bound {
            Some(Bound::AtMost(most)) => write!(f, "  ≤ {:.1} %: {verdict}", percent(most)),
            Some(Bound::AtLeast(least)) => write!(f, "  ≥ {:.1} %: {verdict}", percent(least)),
            None => Ok(()),
        }
    }
}

/// Least share of all contacts that heads on words route, and that heads on an embedding do.
const ROUTED_MIN: f64 = 0.55;
const EMBEDDED_ROUTED_MIN: f64 = 0.65;

/// Measures models on a set: published data is read from `data`, the seeds from `seeds`.
///
/// # Errors
/// When the set cannot be read.
pub fn run(models: Option<&Models>, set: Set, data: &Path, seeds: &Path) -> Result<Vec<Figure>, SetError> {
    let judged: Vec<_> = set
        .read(data, seeds)?
        .into_iter()
        .map(|row| {
            let said = triage(models, set.pack(), &Text::read(row.text.as_bytes()));
            (row, said)
        })
        .collect();
    let embedded = models.is_some_and(|models| models.embedding(set.pack()).is_some());
    let mut figures = routing(&judged, set, if embedded { EMBEDDED_ROUTED_MIN } else { ROUTED_MIN });
    if set == Set::Seeds {
        for language in ["zh", "en", "es"] {
            let of_language: Vec<_> = judged.iter().filter(|(row, _)| row.language == language).cloned().collect();
            figures.extend(seeds_of(language, &of_language));
        }
    }
    Ok(figures)
}

/// Routing with abstention. Its denominators: contacts routed automatically, contacts in scope, contacts out of scope, all.
fn routing(judged: &[(Row, Triage)], set: Set, routed_min: f64) -> Vec<Figure> {
    let route = |said: &Triage| matches!(said.next, Next::Route(_));
    let right = |row: &Row, said: &Triage| matches!(&said.next, Next::Route(to) if row.intent.as_ref() == Some(to));
    let likeliest = |row: &Row, said: &Triage| said.intent.as_ref().map(|intent| &intent.value) == row.intent.as_ref();
    let within: Vec<_> = judged.iter().filter(|(row, _)| row.intent.is_some()).collect();
    let outside: Vec<_> = judged.iter().filter(|(row, _)| row.intent.is_none()).collect();
    let routed: Vec<_> = judged.iter().filter(|(_, said)| route(said)).collect();
    let wrong = routed.iter().filter(|(row, said)| !right(row, said)).count();
    let rejected = outside.iter().filter(|(_, said)| !route(said)).count();
    let within_routed = within.iter().filter(|(_, said)| route(said)).count();
    let known = within.iter().filter(|(row, said)| likeliest(row, said)).count();
    // The seeds are too few to gate by; they show that both languages work.
    let gate = |bound| (set != Set::Seeds).then_some(bound);
    vec![
        Figure::of("mis-routed, of contacts routed", wrong, routed.len(), gate(Bound::AtMost(0.023))),
        Figure::of("routed, of all contacts", routed.len(), judged.len(), gate(Bound::AtLeast(routed_min))),
        Figure::of("routed, of contacts in scope", within_routed, within.len(), None),
        Figure::of("rejected, of contacts out of scope", rejected, outside.len(), gate(Bound::AtLeast(0.90))),
        Figure::of("likeliest intent right, in scope, no abstention", known, within.len(), None),
        Figure::of("mis-routed in scope, of those routed in scope", wrong - (outside.len() - rejected), within_routed, None),
    ]
}

/// What else is told of a text, by language.
fn seeds_of(language: &str, judged: &[(Row, Triage)]) -> Vec<Figure> {
    let count = |metric: &str, of: &dyn Fn(&Row) -> bool, right: &dyn Fn(&Row, &Triage) -> bool| {
        let asked: Vec<_> = judged.iter().filter(|(row, _)| of(row)).collect();
        Figure::of(format!("{language}: {metric}"), asked.iter().filter(|(row, said)| right(row, said)).count(), asked.len(), None)
    };
    vec![
        count("language right", &|_| true, &|row, said| said.language.value.code() == row.language),
        count("likeliest intent right, in scope", &|row| row.intent.is_some(), &|row, said| {
            said.intent.as_ref().map(|intent| &intent.value) == row.intent.as_ref()
        }),
        count("high urgency found", &|row| row.urgency == "high", &|_, said| said.urgency.value == Urgency::High),
        count("normal urgency left alone", &|row| row.urgency == "normal", &|_, said| said.urgency.value == Urgency::Normal),
        count("sentiment right", &|_| true, &|row, said| said.sentiment.value.name() == row.sentiment),
        count("wish for a person found", &|row| row.person, &|_, said| said.next == Next::Person),
        count("no person where none was asked for", &|row| !row.person, &|_, said| said.next != Next::Person),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_passes_only_when_n_proves_it() {
        let verdict = |hits, n, bound| Figure::of("", hits, n, Some(bound)).verdict();
        assert_eq!(verdict(1, 1_000, Bound::AtMost(0.023)), Some(Verdict::Pass));
        assert_eq!(verdict(0, 10, Bound::AtMost(0.023)), Some(Verdict::Insufficient), "ten contacts prove nothing");
        assert_eq!(verdict(0, 0, Bound::AtMost(0.023)), Some(Verdict::Insufficient));
        assert_eq!(verdict(24, 1_000, Bound::AtMost(0.023)), Some(Verdict::Fail));
        assert_eq!(verdict(47, 50, Bound::AtLeast(0.9)), Some(Verdict::Insufficient));
        assert_eq!(verdict(44, 50, Bound::AtLeast(0.9)), Some(Verdict::Fail));
        assert_eq!(verdict(700, 1_000, Bound::AtLeast(0.55)), Some(Verdict::Pass));
    }
}
