//! BM25 over passages. It owns weights; what is asked of it, and from where on it counts, is `knowledge.rs`.

use std::collections::BTreeMap;

use super::{article::Passage, terms};
use crate::ai::text::Text;

/// How soon a repeated term stops counting, and how much a long passage is held against it: the values everybody starts from.
const K1: f32 = 1.2;
const B: f32 = 0.75;
/// What a term of a heading or an `ask` line is worth beside one of the text.
const ABOVE: f32 = 2.0;
/// What a pair of Chinese characters that no article holds weighs beside a known one: half of such pairs straddle two words.
const STRANGE_PAIR: f32 = 0.5;

/// Fewer passages than this weigh terms as this many would: among three, every term is common, and the first strange one would count for
/// more than all that are known.
const PASSAGES_FROM: usize = 30;

/// Terms to the passages that hold them.
pub(super) struct Index {
    /// Of each term: passage and weight there, in the order of passages.
    postings: BTreeMap<String, Vec<(usize, f32)>>,
    lengths: Vec<f32>,
    average: f32,
}

impl Index {
    pub(super) fn of(passages: &[Passage]) -> Self {
        let mut index = Self { postings: BTreeMap::new(), lengths: Vec::with_capacity(passages.len()), average: 1.0 };
        for (at, passage) in passages.iter().enumerate() {
            let mut weights: BTreeMap<String, f32> = BTreeMap::new();
            // A question as wide as the title is for the passage where the article begins, whose heading the title is.
            let title = if passage.heading.is_empty() { 2.0 * ABOVE } else { 1.0 };
            for (part, weight) in [(&passage.text, 1.0), (&passage.title, title), (&passage.heading, ABOVE), (&passage.asks, ABOVE)] {
                for term in terms::of(&Text::read(part.as_bytes())) {
                    *weights.entry(term).or_default() += weight;
                }
            }
            index.lengths.push(weights.values().sum());
            for (term, weight) in weights {
                index.postings.entry(term).or_default().push((at, weight));
            }
        }
        let total: f32 = index.lengths.iter().sum();
        index.average = (total / passages.len().max(1) as f32).max(1.0);
        index
    }

    /// Passages with any term of a question: how much of the question's weight each holds, from 0 to 1, and its score.
    pub(super) fn search(&self, question: &Text, may: impl Fn(usize) -> bool) -> Vec<(usize, f32, f32)> {
        let mut asked = terms::of(question);
        asked.sort();
        asked.dedup();
        let mut whole = 0.0;
        let mut found: BTreeMap<usize, (f32, f32)> = BTreeMap::new();
        for term in &asked {
            let Some(postings) = self.postings.get(term) else {
                let pair = term.starts_with(crate::ai::text::is_han);
                whole += self.rarity(0) * if pair { STRANGE_PAIR } else { 1.0 };
                continue;
            };
            let rarity = self.rarity(postings.len());
            whole += rarity;
            for (at, weight) in postings.iter().filter(|(at, _)| may(*at)) {
                let (held, score) = found.entry(*at).or_default();
                *held += rarity;
                *score += rarity * weight * (K1 + 1.0) / (weight + K1 * (1.0 - B + B * self.lengths[*at] / self.average));
            }
        }
        found.into_iter().map(|(at, (held, score))| (at, held / whole, score)).collect()
    }

    /// How much a term tells that so many passages hold.
    fn rarity(&self, passages: usize) -> f32 {
        let (all, holding) = (self.lengths.len().max(PASSAGES_FROM) as f32, passages as f32);
        (1.0 + (all - holding + 0.5) / (holding + 0.5)).ln()
    }
}
