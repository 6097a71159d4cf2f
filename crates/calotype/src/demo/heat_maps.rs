//! How much of a noun's heat map lies in the box that the checker found it in.

use super::measure::Measure;
use super::subject::Subject;
use crate::data::emoji_scenes::{EmojiScenes, Scene, Split};
use crate::error::Result;
use crate::evaluate::scene_checker::{SceneChecker, Verdict};
use crate::explain::Explanation;
use crate::explain::localisation::{Hit, Localisation};
use crate::explain::mask::Region;

/// Pictures with a found object that the heat maps are measured on, at least.
const LOCALISED_PICTURES: usize = 100;
/// Give up looking for them after this many times the recipe's scenes.
const MOST_ROUNDS: usize = 4;

/// The words that were found, so far.
#[derive(Default)]
struct Found {
    hits: Vec<Hit>,
    /// Pictures with one of them.
    pictures: usize,
    /// Pictures that were looked at.
    seen: usize,
}

impl Found {
    fn add(&mut self, scene: &Scene, explanation: &Explanation, verdict: &Verdict) -> Result<()> {
        let before = self.hits.len();
        for ((noun, _), rect) in scene.spec.objects.iter().zip(&verdict.boxes) {
            let map = explanation.maps.iter().find(|map| map.word == noun.name());
            if let (Some(map), Some(rect)) = (map, rect) {
                let region = Region { x: rect.x, y: rect.y, width: rect.width, height: rect.height };
                self.hits.push(Hit::of(map, region)?);
            }
        }
        self.pictures += usize::from(self.hits.len() > before);
        self.seen += 1;
        Ok(())
    }

    /// The score of the words that were found, if any was.
    fn localisation(&self) -> Result<Measure<Localisation>> {
        if self.hits.is_empty() {
            let seen = self.seen;
            return Ok(Err(format!("the checker found no object of a prompt in any of {seen} pictures")));
        }
        Localisation::of(&self.hits).map(Ok)
    }
}

/// Scores the heat maps of the pictures, and of more pictures of further scenes until [`LOCALISED_PICTURES`] have a
/// found object, if so many can be made. Returns also how many have one.
///
/// # Errors
/// Those of sampling and of the checker.
pub(super) fn localise(
    subject: &Subject,
    data: &EmojiScenes,
    checker: &SceneChecker,
    (scenes, explanations, verdicts): (&[Scene], &[Explanation], &[Verdict]),
) -> Result<(Measure<Localisation>, usize)> {
    let mut found = Found::default();
    for ((scene, explanation), verdict) in scenes.iter().zip(explanations).zip(verdicts) {
        found.add(scene, explanation, verdict)?;
    }
    for round in 1..MOST_ROUNDS {
        if found.pictures >= LOCALISED_PICTURES {
            break;
        }
        let first = (round * scenes.len()) as u64;
        let more: Vec<Scene> =
            (first..first + scenes.len() as u64).map(|i| data.scene(Split::HeldOut, i)).collect();
        let prompts: Vec<&str> = more.iter().map(|scene| scene.caption.as_str()).collect();
        let explained = subject.explain("more for heat maps", &prompts)?;
        for (scene, explanation) in more.iter().zip(&explained) {
            found.add(scene, explanation, &checker.check(&explanation.image, &scene.spec)?)?;
        }
    }
    Ok((found.localisation()?, found.pictures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_found_object_is_a_reason_and_no_error() {
        let found = Found { seen: 64, ..Found::default() };
        let reason = found.localisation().unwrap().unwrap_err();
        assert_eq!(reason, "the checker found no object of a prompt in any of 64 pictures");
        let hit = Hit { mass_inside: 0.5, area_share: 0.25, ratio: 2.0, pointing_game: true };
        let found = Found { hits: vec![hit], pictures: 1, seen: 64 };
        assert_eq!(found.localisation().unwrap().unwrap().n, 1);
    }
}
