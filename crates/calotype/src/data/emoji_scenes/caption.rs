//! Relations between two objects, and the plain English that says them.

use std::fmt;

use serde::{Serialize, Serializer};

use super::scene::{Rect, SceneSpec, Size};
use super::sprites::Noun;
use crate::rng::Philox;

/// How the first object of a caption lies to the second. The generator and the scene checker share
/// the predicate [`Relation::holds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Relation {
    /// Wholly to the left, and more beside it than above or below it.
    LeftOf,
    /// Mirror of `LeftOf`.
    RightOf,
    /// Wholly higher, and more above it than beside it.
    Above,
    /// Mirror of `Above`.
    Below,
    /// Side by side, level, with a small gap; either side.
    NextTo,
    /// Resting on it: `Above`, touching, and centred.
    OnTopOf,
    /// A gap of almost an object's size.
    FarFrom,
}

impl Relation {
    /// Every relation.
    pub const ALL: [Relation; 7] = [
        Relation::LeftOf,
        Relation::RightOf,
        Relation::Above,
        Relation::Below,
        Relation::NextTo,
        Relation::OnTopOf,
        Relation::FarFrom,
    ];

    /// Whether `a` lies to `b` as the relation says. Distances are measured in the objects' own
    /// size, so the same scene on a larger canvas gives the same answer.
    pub fn holds(self, a: &Rect, b: &Rect) -> bool {
        self.holds_shifted(a, b, 0.0, 0.0)
    }

    /// As [`Relation::holds`], with `b` moved by (`shift_x`, `shift_y`) pixels.
    pub(super) fn holds_shifted(self, a: &Rect, b: &Rect, shift_x: f32, shift_y: f32) -> bool {
        let gap = |a_start: f32, a_length: f32, b_start: f32, b_length: f32| {
            (b_start - (a_start + a_length)).max(a_start - (b_start + b_length))
        };
        let [ax, ay, aw, ah] = a.as_f32();
        let [bx, by, bw, bh] = b.as_f32();
        let (bx, by) = (bx + shift_x, by + shift_y);
        // From centre to centre: x to the right, y down.
        let dx = bx + bw / 2.0 - (ax + aw / 2.0);
        let dy = by + bh / 2.0 - (ay + ah / 2.0);
        let (gap_x, gap_y) = (gap(ax, aw, bx, bw), gap(ay, ah, by, bh));
        let size = (aw.max(ah) + bw.max(bh)) / 2.0;
        match self {
            Relation::LeftOf => dx > dy.abs() && gap_x >= 0.0,
            Relation::RightOf => -dx > dy.abs() && gap_x >= 0.0,
            Relation::Above => dy > dx.abs() && gap_y >= 0.0,
            Relation::Below => -dy > dx.abs() && gap_y >= 0.0,
            Relation::NextTo => (0.0..=0.4 * size).contains(&gap_x) && dy.abs() <= 0.4 * size,
            Relation::OnTopOf => dy > dx.abs() && gap_y.abs() <= 0.2 * size && dx.abs() <= 0.4 * size,
            Relation::FarFrom => gap_x.max(0.0).hypot(gap_y.max(0.0)) >= 0.75 * size,
        }
    }

    /// Whether it is another relation with its objects exchanged.
    pub fn is_directed(self) -> bool {
        !matches!(self, Relation::NextTo | Relation::FarFrom)
    }

    /// The ways a caption says it; the first is the name.
    pub fn phrasings(self) -> &'static [&'static str] {
        match self {
            Relation::LeftOf => &["left of", "to the left of", "on the left of"],
            Relation::RightOf => &["right of", "to the right of", "on the right of"],
            Relation::Above => &["above", "over", "up above"],
            Relation::Below => &["below", "under", "beneath"],
            Relation::NextTo => &["next to", "beside", "by", "sitting by", "right beside"],
            Relation::OnTopOf => &["on top of", "sitting on", "standing on"],
            Relation::FarFrom => &["far from", "far away from", "a long way from"],
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.phrasings()[0])
    }
}

impl Serialize for Relation {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.phrasings()[0])
    }
}

/// Part of the captions that name the background.
const NAMES_BACKGROUND: f64 = 0.85;
/// Part of the second objects that get `the` and not `a`.
const DEFINITE: f64 = 0.25;

/// One English caption of the scene: lower case, no punctuation, at most 16 words.
pub(super) fn caption(spec: &SceneSpec, rng: &mut Philox) -> String {
    let mut words = Vec::new();
    for (i, &(noun, size)) in spec.objects.iter().enumerate() {
        match (i, spec.relation) {
            (0, _) => {}
            (1, Some(relation)) => words.push(choose(relation.phrasings(), rng).to_owned()),
            _ => words.push("and".to_owned()),
        }
        let definite = i == 1 && rng.uniform() < DEFINITE;
        words.push(noun_phrase(noun.name(), size, definite));
    }
    if rng.uniform() < NAMES_BACKGROUND {
        let preposition = choose(&["on", "against", "with"], rng);
        let colour = spec.background.name();
        words.push(format!("{preposition} {} {colour} background", article(colour)));
    }
    words.join(" ")
}

fn choose<'a>(list: &[&'a str], rng: &mut Philox) -> &'a str {
    list[rng.below(list.len())]
}

fn noun_phrase(noun: &str, size: Option<Size>, definite: bool) -> String {
    let described = match size {
        Some(size) => format!("{size} {noun}"),
        None => noun.to_owned(),
    };
    let article = if definite { "the" } else { article(&described) };
    format!("{article} {described}")
}

/// `caption` with `a` in place of `b` and `b` in place of `a`.
pub(super) fn exchanged(caption: &str, a: Noun, b: Noun) -> String {
    let mut words: Vec<&str> = caption.split(' ').collect();
    for word in &mut words {
        *word = if *word == a.name() {
            b.name()
        } else if *word == b.name() {
            a.name()
        } else {
            word
        };
    }
    for i in 1..words.len() {
        if matches!(words[i - 1], "a" | "an") {
            words[i - 1] = article(words[i]);
        }
    }
    words.join(" ")
}

/// "a cat", "an egg": each noun with its article.
pub fn noun_phrases(nouns: &[Noun]) -> Vec<String> {
    nouns.iter().map(|noun| noun_phrase(noun.name(), None, false)).collect()
}

fn article(next: &str) -> &'static str {
    if next.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Relation::*;

    fn square(x: u32, y: u32) -> Rect {
        Rect { x, y, width: 10, height: 10 }
    }

    #[test]
    fn nouns_are_exchanged_with_their_articles() {
        let caption = "an apple on top of a big cat against a green background";
        let other = "a cat on top of a big apple against a green background";
        assert_eq!(exchanged(caption, Noun::Apple, Noun::Cat), other);
        assert_eq!(exchanged(other, Noun::Apple, Noun::Cat), caption);
    }

    #[test]
    fn relations_of_known_boxes() {
        let b = square(50, 50);
        let holding = |x, y| -> Vec<Relation> {
            Relation::ALL.into_iter().filter(|r| r.holds(&square(x, y), &b)).collect()
        };
        assert_eq!(holding(38, 50), [LeftOf, NextTo]); // gap 2
        assert_eq!(holding(62, 52), [RightOf, NextTo]);
        assert_eq!(holding(34, 50), [LeftOf]); // gap 6: neither close nor far
        assert_eq!(holding(20, 50), [LeftOf, FarFrom]);
        assert_eq!(holding(50, 39), [Above, OnTopOf]); // gap 1
        assert_eq!(holding(50, 35), [Above]); // gap 5
        assert_eq!(holding(50, 80), [Below, FarFrom]);
        assert_eq!(holding(55, 55), [] as [Relation; 0]); // they overlap
        assert_eq!(holding(38, 38), [] as [Relation; 0]); // exactly diagonal
    }

    #[test]
    fn relations_do_not_depend_on_the_canvas() {
        for x in 0..22 {
            for y in 0..22 {
                let (a, b) = (square(x, y), Rect { x: 11, y: 9, width: 13, height: 8 });
                let double =
                    |r: &Rect| Rect { x: 2 * r.x, y: 2 * r.y, width: 2 * r.width, height: 2 * r.height };
                for relation in Relation::ALL {
                    assert_eq!(relation.holds(&a, &b), relation.holds(&double(&a), &double(&b)));
                }
                assert_eq!(LeftOf.holds(&a, &b), RightOf.holds(&b, &a));
                assert_eq!(Above.holds(&a, &b), Below.holds(&b, &a));
                assert_eq!(NextTo.holds(&a, &b), NextTo.holds(&b, &a));
                assert_eq!(FarFrom.holds(&a, &b), FarFrom.holds(&b, &a));
                assert!(!OnTopOf.holds(&a, &b) || !OnTopOf.holds(&b, &a));
            }
        }
    }

    #[test]
    fn articles() {
        assert_eq!(noun_phrase("apple", None, false), "an apple");
        assert_eq!(noun_phrase("apple", Some(Size::Small), false), "a small apple");
        assert_eq!(noun_phrase("apple", None, true), "the apple");
    }
}
