//! Whether a picture shows what its caption says: what was found, compared with what was promised.

use serde::Serialize;

use super::Detection;
use crate::data::emoji_scenes::{Noun, Rect, SceneSpec};
use crate::{Error, Result};

/// Whether a picture shows what its caption says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// For each object of the caption, whether its noun was found.
    pub nouns_found: Vec<bool>,
    /// Whether the relation holds; none where the caption has none; false where an object is missing.
    pub relation_holds: Option<bool>,
    /// The box of each object that was found.
    pub boxes: Vec<Option<Rect>>,
    /// All nouns were found, and the relation, if there is one, holds.
    pub correct: bool,
}

impl Verdict {
    /// Compares `detections`, the best first, with what the caption promises. Where a noun was found twice, one pair of
    /// boxes in the relation is enough.
    ///
    /// # Errors
    /// `Error::Argument` if `spec` names no object, or a relation without two objects.
    pub fn of(detections: &[Detection], spec: &SceneSpec) -> Result<Self> {
        if spec.objects.len() < if spec.relation.is_some() { 2 } else { 1 } {
            let got = format!("{} objects, relation {:?}", spec.objects.len(), spec.relation);
            return Err(Error::argument("scene", "an object, or a relation and its two objects", got));
        }
        let boxes_of = |noun: Noun| detections.iter().filter(move |d| d.noun == noun).map(|d| d.rect);
        let mut boxes: Vec<Option<Rect>> =
            spec.objects.iter().map(|&(noun, _)| boxes_of(noun).next()).collect();
        let relation_holds = spec.relation.map(|relation| {
            let (first, second) = (spec.objects[0].0, spec.objects[1].0);
            let pair = boxes_of(first)
                .flat_map(|a| boxes_of(second).map(move |b| (a, b)))
                .find(|(a, b)| relation.holds(a, b));
            if let Some((a, b)) = pair {
                boxes[..2].copy_from_slice(&[Some(a), Some(b)]);
            }
            pair.is_some()
        });
        let nouns_found: Vec<bool> = boxes.iter().map(Option::is_some).collect();
        let correct = nouns_found.iter().all(|&found| found) && relation_holds != Some(false);
        Ok(Self { nouns_found, relation_holds, boxes, correct })
    }

    /// (hits, trials) of the whole prompt: every noun and the relation, one trial.
    pub fn prompt(&self) -> (usize, usize) {
        (usize::from(self.correct), 1)
    }

    /// (hits, trials) of the nouns: found, of those that the caption names.
    pub fn nouns(&self) -> (usize, usize) {
        (self.nouns_found.iter().filter(|&&found| found).count(), self.nouns_found.len())
    }

    /// (hits, trials) of the relation, one trial where both of its nouns are found and none elsewhere.
    pub fn relation(&self) -> (usize, usize) {
        let both = self.nouns_found.iter().take(2).all(|&found| found);
        self.relation_holds.filter(|_| both).map_or((0, 0), |holds| (usize::from(holds), 1))
    }
}
