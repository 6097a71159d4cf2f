//! Share of pictures that show what their prompt says, with what chance alone can do to it.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::error::{Error, Result};

/// z of a two-sided 95 % interval.
const Z_95: f64 = 1.959_963_984_540_054;

/// `hits` successes in `n` independent trials, for instance pictures that follow their prompt.
///
/// Serialises as `hits`, `n`, `rate`, `low`, `high`, the last two being the 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proportion {
    hits: usize,
    n: usize,
}

impl Proportion {
    /// `hits` of `n`.
    ///
    /// # Errors
    /// `Error::Argument` unless n ≥ 1 and hits ≤ n.
    pub fn new(hits: usize, n: usize) -> Result<Self> {
        if n == 0 || hits > n {
            return Err(Error::argument("hits", "at most n, with n at least 1", format!("{hits} of {n}")));
        }
        Ok(Self { hits, n })
    }

    /// All of these (hits, trials) together.
    ///
    /// # Errors
    /// `Error::Argument` where there is no trial.
    pub fn over(counts: impl IntoIterator<Item = (usize, usize)>) -> Result<Self> {
        let (hits, n) = counts.into_iter().fold((0, 0), |(h, n), (hits, of)| (h + hits, n + of));
        Self::new(hits, n)
    }

    /// Successes.
    pub fn hits(&self) -> usize {
        self.hits
    }

    /// Trials.
    pub fn n(&self) -> usize {
        self.n
    }

    /// p̂ = hits / n, in [0, 1].
    pub fn rate(&self) -> f64 {
        self.hits as f64 / self.n as f64
    }

    /// 95 % interval (low, high) of the true rate, in [0, 1].
    ///
    /// (p̂ + z²/2n ± z √(p̂(1 − p̂)/n + z²/4n²)) / (1 + z²/n), Wilson 1927, "Probable Inference, the Law
    /// of Succession, and Statistical Inference". Unlike p̂ ± z·se it is right near 0 and 1 and for few
    /// trials.
    pub fn interval(&self) -> (f64, f64) {
        let (p, n) = (self.rate(), self.n as f64);
        let z2 = Z_95 * Z_95;
        let centre = p + z2 / (2.0 * n);
        let half = Z_95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z2 / n;
        // At the ends the bound is exactly 0 or 1, which rounding would miss.
        let low = if self.hits == 0 { 0.0 } else { (centre - half) / scale };
        let high = if self.hits == self.n { 1.0 } else { (centre + half) / scale };
        (low, high)
    }
}

/// One-sided p-value of "the first side is right more often", over pairs of answers to the same
/// questions: `wins` pairs in which only the first is right, `losses` in which only the second is.
///
/// P(X ≥ wins) for X binomial of wins + losses throws of a fair coin: the exact form of McNemar 1947,
/// "Note on the Sampling Error of the Difference Between Correlated Proportions or Percentages". 1
/// where no pair differs.
pub fn sign_test(wins: usize, losses: usize) -> f64 {
    let n = (wins + losses) as f64;
    let ln_half = 0.5f64.ln();
    // ln of the binomial coefficient through the gamma function: 2ⁿ would overflow for large n.
    let tail: f64 = (wins..=wins + losses)
        .map(|k| {
            let k = k as f64;
            let ln_choose = libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
            (ln_choose + n * ln_half).exp()
        })
        .sum();
    tail.min(1.0)
}

impl fmt::Display for Proportion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.interval();
        let (rate, low, high) = (100.0 * self.rate(), 100.0 * low, 100.0 * high);
        write!(f, "{rate:.1} % (95 % interval {low:.1}-{high:.1}, n {})", self.n)
    }
}

impl Serialize for Proportion {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let (low, high) = self.interval();
        let mut fields = serializer.serialize_struct("Proportion", 5)?;
        fields.serialize_field("hits", &self.hits)?;
        fields.serialize_field("n", &self.n)?;
        fields.serialize_field("rate", &self.rate())?;
        fields.serialize_field("low", &low)?;
        fields.serialize_field("high", &high)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    fn of(hits: usize, n: usize) -> Proportion {
        Proportion::new(hits, n).unwrap()
    }

    #[test]
    fn the_interval_solves_wilsons_equation() {
        // Its ends are the rates p whose distance from p̂ is exactly z √(p(1 − p)/n).
        for proportion in [of(50, 160), of(1, 7), of(99, 100)] {
            let (low, high) = proportion.interval();
            for end in [low, high] {
                let distance = (proportion.rate() - end).abs();
                let expected = Z_95 * (end * (1.0 - end) / proportion.n as f64).sqrt();
                assert!((distance - expected).abs() < 1e-12, "{proportion}");
            }
            assert!(low < proportion.rate() && proportion.rate() < high);
        }
    }

    #[test]
    fn none_and_all_keep_an_honest_interval() {
        let z2 = Z_95 * Z_95;
        let (low, high) = of(0, 20).interval();
        assert!(low == 0.0 && (high - z2 / (20.0 + z2)).abs() < 1e-12);
        let (low, high) = of(20, 20).interval();
        assert!(high == 1.0 && (low - 20.0 / (20.0 + z2)).abs() < 1e-12);
    }

    #[test]
    fn reads_as_a_sentence_and_as_json() {
        assert_eq!(of(50, 160).to_string(), "31.2 % (95 % interval 24.6-38.8, n 160)");
        let json = serde_json::to_value(of(1, 4)).unwrap();
        assert_eq!((&json["hits"], &json["n"], &json["rate"]), (&1.into(), &4.into(), &0.25.into()));
        assert!(json["low"].as_f64() < Some(0.25) && json["high"].as_f64() > Some(0.25));
    }

    #[test]
    fn the_sign_test_counts_coins() {
        assert_eq!(sign_test(0, 0), 1.0);
        for (wins, losses, expected) in
            [(3, 0, 1.0 / 8.0), (4, 1, 6.0 / 32.0), (0, 5, 1.0), (10, 2, 79.0 / 4096.0)]
        {
            let p = sign_test(wins, losses);
            assert!((p - expected).abs() < 1e-12, "{wins} {losses}: {p}");
        }
        // Half of the coins and a half of the middle term.
        let p = sign_test(1000, 1000);
        assert!(p > 0.5 && p < 0.51, "{p}");
    }

    #[test]
    fn impossible_counts_are_refused() {
        assert_refuses(Proportion::new(0, 0), "hits: expected at most n, with n at least 1, got 0 of 0");
        assert_refuses(Proportion::new(5, 4), "hits: expected at most n");
        assert_refuses(Proportion::over([(0, 0), (0, 0)]), "hits: expected at most n, with n at least 1");
        assert_eq!(Proportion::over([(1, 2), (0, 0), (2, 3)]).unwrap(), of(3, 5));
    }
}
