//! Reading histograms and sums out of Prometheus text.

use std::collections::BTreeMap;

/// Cumulative counts by upper bound; the bounds as the exporter prints them, in nano-units so that they order.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    buckets: BTreeMap<u128, f64>,
}

const NANO: f64 = 1e9;
const INFINITE: u128 = u128::MAX;

impl Histogram {
    pub fn add(&mut self, other: &Self) {
        for (bound, count) in &other.buckets {
            *self.buckets.entry(*bound).or_default() += count;
        }
    }

    pub fn since(&self, before: &Self) -> Self {
        let less = |bound: &u128| before.buckets.get(bound).copied().unwrap_or(0.0);
        Self { buckets: self.buckets.iter().map(|(bound, count)| (*bound, count - less(bound))).collect() }
    }

    pub fn count(&self) -> f64 {
        self.buckets.get(&INFINITE).copied().unwrap_or(0.0)
    }

    /// The quantile, by straight lines within a bucket; the last finite bound for what lies beyond it.
    pub fn quantile(&self, q: f64) -> f64 {
        let rank = q * self.count();
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.buckets {
            if *bound == INFINITE {
                break;
            }
            let high = *bound as f64 / NANO;
            if *count >= rank && *count > below {
                return low + (high - low) * ((rank - below) / (count - below)).max(0.0);
            }
            (low, below) = (high, *count);
        }
        low
    }
}

/// The histogram `name`, all label sets together.
pub fn histogram(text: &str, name: &str) -> Histogram {
    let mut found = Histogram::default();
    for (labels, value) in samples(text, &format!("{name}_bucket")) {
        let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let bound = if bound == "+Inf" { Some(INFINITE) } else { bound.parse::<f64>().ok().map(|s| (s * NANO).round() as u128) };
        if let Some(bound) = bound {
            *found.buckets.entry(bound).or_default() += value;
        }
    }
    found
}

fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then_some(())?;
        Some((labels, value.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_on_the_line_within_their_bucket() {
        let text = "x_bucket{le=\"0.001\"} 0\nx_bucket{le=\"0.002\"} 10\nx_bucket{le=\"+Inf\"} 10\nx_sum 0.1\n";
        let histogram = histogram(text, "x");
        assert!((histogram.count() - 10.0).abs() < 1e-9);
        assert!((histogram.quantile(0.5) - 0.0015).abs() < 1e-9);
    }
}
