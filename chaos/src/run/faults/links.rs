//! Links between nodes, by the relay: cut in one direction or both, slow, lossy, doubling, reordering, damaging.

use std::collections::BTreeMap;

use tandem_bench::error::Error;

use super::{Context, Injury, words};
use crate::{
    experiment::Shape,
    plan,
    relay::{Counts, Request, Row, Rule},
    state::Undo,
};

type Link = (u16, u16);

pub(super) struct Links {
    targets: String,
    links: Vec<Link>,
    rule: Rule,
    /// Counts when the rule was in force, and when it was taken back.
    before: BTreeMap<Link, Counts>,
    after: BTreeMap<Link, Counts>,
}

fn by_link(rows: &[Row]) -> BTreeMap<Link, Counts> {
    rows.iter().map(|row| ((row.from, row.to), row.counts)).collect()
}

impl Links {
    fn new(targets: String, links: Vec<Link>, rule: Rule) -> Self {
        Self { targets, links, rule, before: BTreeMap::new(), after: BTreeMap::new() }
    }

    pub(super) fn partition(context: &Context, targets: &[u16], shape: Shape) -> Self {
        let members = context.members();
        let others: Vec<u16> = members.iter().copied().filter(|k| !targets.contains(k)).collect();
        let pairs = |from: &[u16], to: &[u16]| -> Vec<Link> {
            from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b).collect()
        };
        let links = match shape {
            Shape::Isolate => [pairs(targets, &others), pairs(&others, targets)].concat(),
            Shape::Out => pairs(targets, &others),
            Shape::In => pairs(&others, targets),
            Shape::Bridge => pairs(&others, &others),
        };
        let shape = format!("{shape:?}").to_lowercase();
        Self::new(format!("{} ({shape})", words(targets)), links, Rule { cut: true, ..Rule::default() })
    }

    /// Every link from and to a target.
    pub(super) fn rule(context: &Context, targets: &[u16], rule: Rule) -> Self {
        let members = context.members();
        let all = members.iter().flat_map(|a| members.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b);
        let links = all.filter(|(a, b)| targets.contains(a) || targets.contains(b)).collect();
        Self::new(format!("{} ({})", words(targets), plan::rule(&rule)), links, rule)
    }

    /// What happened to each link since `before`.
    fn since<'a>(
        &'a self,
        now: &'a BTreeMap<Link, Counts>,
        before: &'a BTreeMap<Link, Counts>,
    ) -> impl Iterator<Item = (Counts, Counts)> + 'a {
        self.links.iter().map(|link| (before.get(link).copied().unwrap_or_default(), now.get(link).copied().unwrap_or_default()))
    }

    fn counts(&self, context: &Context) -> Result<BTreeMap<Link, Counts>, Error> {
        Ok(by_link(&context.relay.client.ask(&Request::Counts)?))
    }

    fn set(&self, context: &Context, rule: Rule) -> Result<BTreeMap<Link, Counts>, Error> {
        let mut rows = Vec::new();
        for (from, to) in &self.links {
            rows = context.relay.client.set(*from, *to, rule)?;
        }
        Ok(by_link(&rows))
    }
}

/// Evidence that each thing a rule asks for was done to packets of these links.
fn hurt(rule: &Rule, sums: &[(Counts, Counts)]) -> Option<String> {
    let sum = |of: fn(&Counts) -> u64| sums.iter().map(|(before, now)| of(now) - of(before)).sum::<u64>();
    if rule.cut {
        let silent = !sums.is_empty() && sums.iter().all(|(before, now)| now.cut > before.cut && now.passed == before.passed);
        return silent.then(|| format!("all {} links dropped every packet ({} of them)", sums.len(), sum(|counts| counts.cut)));
    }
    let done = [
        (rule.loss_pct > 0.0, "lost", sum(|counts| counts.lost)),
        (rule.delay_ms + rule.jitter_ms > 0, "delayed", sum(|counts| counts.delayed)),
        (rule.dup_pct > 0.0, "doubled", sum(|counts| counts.doubled)),
        (rule.reorder_pct > 0.0, "reordered", sum(|counts| counts.reordered)),
        (rule.corrupt_pct > 0.0, "corrupted", sum(|counts| counts.corrupted)),
    ];
    let wanted: Vec<_> = done.iter().filter(|(wanted, ..)| *wanted).collect();
    let all = !wanted.is_empty() && wanted.iter().all(|(.., count)| *count > 0);
    let words: Vec<String> = wanted.iter().map(|(_, what, count)| format!("{count} {what}")).collect();
    all.then(|| format!("of {} packets {}", sum(|counts| counts.seen), words.join(", ")))
}

impl Injury for Links {
    fn targets(&self) -> String {
        self.targets.clone()
    }

    fn undo(&self) -> Vec<Undo> {
        vec![Undo::ClearLinks]
    }

    fn inject(&mut self, context: &Context) -> Result<(), Error> {
        self.before = self.set(context, self.rule)?;
        Ok(())
    }

    fn observe(&mut self, context: &Context) -> Result<Option<String>, Error> {
        let now = self.counts(context)?;
        Ok(hurt(&self.rule, &self.since(&now, &self.before).collect::<Vec<_>>()))
    }

    fn heal(&mut self, context: &Context) -> Result<(), Error> {
        self.after = self.set(context, Rule::default())?;
        Ok(())
    }

    fn is_healed(&mut self, context: &Context) -> Result<bool, Error> {
        let now = self.counts(context)?;
        let mut rows = self.since(&now, &self.after);
        let passes = rows.all(|(before, now)| now.passed > before.passed && now.hurt() == before.hurt());
        Ok(passes && context.are_ready(&context.members()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_seen_only_when_every_link_dropped_and_none_passed() {
        let rule = Rule { cut: true, ..Rule::default() };
        let (old, cut) = (Counts { passed: 5, ..Counts::default() }, Counts { passed: 5, cut: 2, ..Counts::default() });
        assert!(hurt(&rule, &[(old, cut), (old, cut)]).is_some());
        assert_eq!(hurt(&rule, &[(old, cut), (old, old)]), None, "an idle link proves nothing");
        assert_eq!(hurt(&rule, &[]), None, "these nodes have no such link");
        assert_eq!(hurt(&rule, &[(old, Counts { passed: 6, ..cut })]), None, "one packet came through");
    }

    #[test]
    fn every_part_of_a_rule_must_show() {
        let rule = Rule { loss_pct: 1.0, dup_pct: 1.0, ..Rule::default() };
        let none = Counts::default();
        assert_eq!(hurt(&rule, &[(none, Counts { lost: 1, ..none })]), None);
        assert!(hurt(&rule, &[(none, Counts { lost: 1, doubled: 1, ..none })]).is_some());
    }
}
