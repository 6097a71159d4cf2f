//! Which compositions are held out: the model never sees them in training, only their parts.

use serde::Serialize;

use super::caption::Relation;
use super::sprites::Noun;
use crate::rng::{Philox, Purpose};

/// Training scenes, or scenes of compositions that training never shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// One to three objects, in compositions that are not held out.
    Train,
    /// Two or three objects; the first two in a held-out composition.
    HeldOut,
}

/// The held-out set is the same whatever the seed of the scenes, so that results compare.
const SPLIT_SEED: u64 = 1841;
/// One composition in this many is held out.
const ONE_IN: usize = 10;

/// Whether the composition is held out: a fixed tenth of all (noun, relation, noun) triples.
///
/// Triples that say the same are held out together: `a left of b` with `b right of a`, `a next to b`
/// with `b next to a`, and `on top of` with `above`, which it implies.
pub fn is_held_out(a: Noun, relation: Relation, b: Noun) -> bool {
    let (first, canonical, second) = match relation {
        Relation::LeftOf => (a, Relation::LeftOf, b),
        Relation::RightOf => (b, Relation::LeftOf, a),
        Relation::Above | Relation::OnTopOf => (a, Relation::Above, b),
        Relation::Below => (b, Relation::Above, a),
        Relation::NextTo | Relation::FarFrom => (a.min(b), relation, a.max(b)),
    };
    let index =
        [first as u64, canonical as u64, second as u64].iter().fold(0, |index, part| index << 8 | part);
    Philox::new(SPLIT_SEED, Purpose::Split, index).below(ONE_IN) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_every_relation_is_held_out() {
        for relation in Relation::ALL {
            let (mut held_out, mut all) = (0, 0);
            for a in Noun::ALL {
                for b in Noun::ALL.into_iter().filter(|&b| b != a) {
                    all += 1;
                    held_out += usize::from(is_held_out(a, relation, b));
                }
            }
            let part = held_out as f64 / f64::from(all);
            assert!((0.075..0.125).contains(&part), "{relation}: {part}"); // 780 independent draws at least
        }
    }

    #[test]
    fn the_same_meaning_is_held_out_together() {
        use Relation::*;
        for a in Noun::ALL {
            for b in Noun::ALL {
                assert_eq!(is_held_out(a, LeftOf, b), is_held_out(b, RightOf, a));
                assert_eq!(is_held_out(a, Above, b), is_held_out(b, Below, a));
                assert_eq!(is_held_out(a, Above, b), is_held_out(a, OnTopOf, b));
                assert_eq!(is_held_out(a, NextTo, b), is_held_out(b, NextTo, a));
                assert_eq!(is_held_out(a, FarFrom, b), is_held_out(b, FarFrom, a));
            }
        }
    }
}
