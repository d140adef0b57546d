//! Wilson's interval of a share: honest at small n and at shares near 0 or 1, where the usual ± is not.

/// 97.5 % point of the normal distribution: both sides together leave 5 % out.
const Z: f64 = 1.959_963_984_540_054;

/// 95 % interval of `hits` among `n`; everything is possible of nothing.
#[must_use]
pub fn interval(hits: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    // Sets are far smaller than 2^52, so nothing is lost.
    let (n, share) = (n as f64, hits as f64 / n as f64);
    let squared = Z * Z / n;
    let middle = (share + squared / 2.0) / (1.0 + squared);
    let half = Z / (1.0 + squared) * (share * (1.0 - share) / n + squared / (4.0 * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_the_published_one() {
        // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (hits, n, low, high) in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)] {
            let (found_low, found_high) = interval(hits, n);
            assert!((found_low - low).abs() < 5e-5 && (found_high - high).abs() < 5e-5, "{hits}/{n}: {found_low} {found_high}");
        }
    }

    #[test]
    fn nothing_is_known_of_an_empty_set() {
        assert_eq!(interval(0, 0), (0.0, 1.0));
    }
}
