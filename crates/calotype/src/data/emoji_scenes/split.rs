//! Which nouns are never shown together in training: a model sees each of them, but not the pair.

use serde::Serialize;

use super::sprites::Noun;
use crate::rng::{Philox, Purpose};

/// Training scenes, and scenes to measure with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// One to three objects, no two of them a held-out pair.
    Train,
    /// Two or three objects; the first two are a held-out pair.
    HeldOut,
    /// New scenes of two or three objects, no two of them a held-out pair: what training has shown, otherwise arranged.
    Seen,
}

impl Split {
    /// The number of the random stream of scene `index`, below 2⁴⁶.
    pub(super) fn stream(self, index: u64) -> u64 {
        match self {
            Self::Train => 2 * index,
            Self::HeldOut => 2 * index + 1,
            Self::Seen => 2 * (index + (1 << 46)),
        }
    }

    /// Whether its scenes may show these nouns, at least [`Split::least_objects`], in this order.
    pub(super) fn has(self, nouns: &[Noun]) -> bool {
        match self {
            Self::Train | Self::Seen => !has_held_out_pair(nouns),
            Self::HeldOut => is_held_out(nouns[0], nouns[1]),
        }
    }

    /// Objects of a scene, at least.
    pub(super) fn least_objects(self) -> usize {
        if self == Self::Train { 1 } else { 2 }
    }
}

/// The held-out set is the same whatever the seed of the scenes, so that results compare.
const SPLIT_SEED: u64 = 1841;
/// One pair in this many is held out.
const ONE_IN: usize = 10;

/// Whether no training scene shows both: so it is for a fixed tenth of all pairs.
///
/// Pairs and not compositions such as `cat left of window`: scenes with cats and windows that are never to the left of
/// them say that a cat does not belong there, and a model that learns its data well obeys.
pub fn is_held_out(a: Noun, b: Noun) -> bool {
    let index = (a.min(b) as u64) << 8 | a.max(b) as u64;
    Philox::new(SPLIT_SEED, Purpose::Split, index).below(ONE_IN) == 0
}

/// Whether some pair of `nouns` is held out.
fn has_held_out_pair(nouns: &[Noun]) -> bool {
    nouns.iter().enumerate().any(|(i, &a)| nouns[i + 1..].iter().any(|&b| is_held_out(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_all_pairs_is_held_out_whichever_comes_first() {
        let (mut held_out, mut all) = (0, 0);
        for a in Noun::ALL {
            for b in Noun::ALL.into_iter().filter(|&b| b != a) {
                all += 1;
                held_out += usize::from(is_held_out(a, b));
                assert_eq!(is_held_out(a, b), is_held_out(b, a));
            }
        }
        let part = f64::from(held_out as u32) / f64::from(all);
        assert!((0.075..0.125).contains(&part), "{part}"); // 780 independent draws
    }
}
