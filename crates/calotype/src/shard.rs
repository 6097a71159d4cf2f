//! A share of many things, for a job of its own.

use std::fmt::{Display, Formatter};
use std::ops::Range;
use std::str::FromStr;

/// Which of `count` things are those of share `i` of `of`, counted from 0: neighbours, as even as can be. All shares together
/// have each once.
pub fn share(count: usize, i: usize, of: usize) -> Range<usize> {
    let until = |shares: usize| (count as u128 * shares as u128 / of as u128) as usize;
    until(i)..until(i + 1)
}

/// Share `number` of `of`, counted from 1; as text `3/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

impl Shard {
    /// Which of `count` things it has, as [`share`].
    pub fn own(self, count: usize) -> Range<usize> {
        share(count, self.number - 1, self.of)
    }
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair =
            text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match pair {
            Some((number, of)) if 1 <= number && number <= of => Ok(Self { number, of }),
            _ => Err("expected a share and how many there are, from 1/8 to 8/8"),
        }
    }
}

impl Display for Shard {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_have_each_once() {
        for (count, of) in [(64, 8), (7, 3), (2, 5), (0, 2)] {
            let shares = (1..=of).flat_map(|number| Shard { number, of }.own(count));
            assert!(shares.eq(0..count), "{count} in {of}");
        }
    }

    #[test]
    fn a_share_is_a_text_and_back() {
        assert_eq!("3/8".parse::<Shard>().unwrap().to_string(), "3/8");
        for wrong in ["0/8", "9/8", "3", "3/0", "-1/4", "a/b"] {
            assert!(wrong.parse::<Shard>().unwrap_err().contains("1/8"), "{wrong}");
        }
    }
}
