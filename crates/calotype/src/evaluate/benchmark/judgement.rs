//! What of a prompt a picture shows, each part by itself.

use crate::data::emoji_scenes::{Noun, Rect, Relation, Scene, Size};
use crate::error::Result;
use crate::evaluate::scene_checker::{Reading, Verdict};

/// What is right in a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Nouns and relation.
    pub verdict: Verdict,
    /// For each object whose size the caption says and whose noun was found: whether it is that large.
    pub sizes: Vec<bool>,
    /// Whether the background has the colour that the caption names; none where it names none.
    pub colour: Option<bool>,
    /// Whether as many objects were found as the caption names, whatever they are.
    pub count: bool,
}

impl Judgement {
    /// Holds what was read in a picture against the prompt of `scene`.
    ///
    /// # Errors
    /// As [`Verdict::of`].
    pub fn of(reading: &Reading, scene: &Scene) -> Result<Self> {
        let verdict = Verdict::of(&reading.detections, &scene.spec)?;
        let sizes: Vec<bool> =
            said_sizes(reading, scene, &verdict).map(|(_, said, drawn)| said == drawn).collect();
        let colour = scene.named_background().map(|named| named == reading.background);
        let count = reading.detections.len() == scene.spec.objects.len();
        Ok(Self { verdict, sizes, colour, count })
    }

    /// Whether nouns, relation, sizes, colour and count are right.
    pub fn everything(&self) -> bool {
        self.verdict.correct && !self.sizes.contains(&false) && self.colour != Some(false) && self.count
    }

    /// What is wrong, each in a few words; nothing where everything is right.
    pub fn faults(&self, reading: &Reading, scene: &Scene) -> Vec<String> {
        let mut faults = Vec::new();
        for (&(noun, _), &found) in scene.spec.objects.iter().zip(&self.verdict.nouns_found) {
            if !found {
                faults.push(format!("no {noun}"));
            }
        }
        if let (Some(relation), (0, 1)) = (scene.spec.relation, self.verdict.relation()) {
            faults.push(format!("not {relation}"));
        }
        for (noun, said, drawn) in said_sizes(reading, scene, &self.verdict) {
            if said != drawn {
                faults.push(format!("{noun} is {drawn}"));
            }
        }
        if self.colour == Some(false) {
            faults.push(format!("background is {}", reading.background));
        }
        if !self.count {
            let (n, plural) =
                (reading.detections.len(), if reading.detections.len() == 1 { "" } else { "s" });
            faults.push(format!("{n} object{plural}"));
        }
        faults
    }

    /// (hits, trials) of the relation if it is `relation`: one trial where both of its nouns are found.
    pub(super) fn relation(&self, scene: &Scene, relation: Relation) -> (usize, usize) {
        if scene.spec.relation == Some(relation) { self.verdict.relation() } else { (0, 0) }
    }

    /// (hits, trials) of `noun`: one trial where the caption names it.
    pub(super) fn noun(&self, scene: &Scene, noun: Noun) -> (usize, usize) {
        let own = scene.spec.objects.iter().zip(&self.verdict.nouns_found);
        own.filter(|((named, _), _)| *named == noun)
            .fold((0, 0), |(hits, n), (_, found)| (hits + usize::from(*found), n + 1))
    }

    /// (hits, trials) of the sizes that the caption says, of nouns that were found.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.sizes.iter().filter(|&&right| right).count(), self.sizes.len())
    }

    /// (hits, trials) of the background's colour.
    pub(super) fn colour(&self) -> (usize, usize) {
        self.colour.map_or((0, 0), |right| (usize::from(right), 1))
    }
}

/// Noun, size that the caption says, and size that was found, where both are known. Of a noun that was found twice, the
/// object counts that the verdict has taken.
fn said_sizes<'a>(
    reading: &'a Reading,
    scene: &'a Scene,
    verdict: &'a Verdict,
) -> impl Iterator<Item = (Noun, Size, Size)> + 'a {
    let drawn = |noun: Noun, place: Rect| {
        let mut found = reading.detections.iter().filter(move |own| own.noun == noun && own.rect == place);
        found.next().map(|own| own.size)
    };
    let objects = scene.spec.objects.iter().zip(&verdict.boxes);
    objects.filter_map(move |(&(noun, said), place)| Some((noun, said?, drawn(noun, (*place)?)?)))
}
