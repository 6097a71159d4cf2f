//! How much of a noun's heat map lies in the box that the checker found it in.

use super::subject::Subject;
use crate::data::emoji_scenes::{EmojiScenes, Scene, Split};
use crate::error::Result;
use crate::evaluate::scene_checker::{SceneChecker, Verdict};
use crate::explain::Explanation;
use crate::explain::localisation::{Hit, Localisation, Region};

/// Pictures with a found object that the heat maps are measured on, at least.
const LOCALISED_PICTURES: usize = 100;
/// Give up looking for them after this many times the recipe's scenes.
const MOST_ROUNDS: usize = 4;

/// The words that were found, so far.
#[derive(Default)]
struct Found {
    hits: Vec<Hit>,
    pictures: usize,
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
        Ok(())
    }
}

/// Scores the heat maps of the pictures, and of more pictures of further scenes until [`LOCALISED_PICTURES`] have a
/// found object, if so many can be made. Returns also how many have one.
///
/// # Errors
/// Those of sampling, of the checker and of [`Localisation::of`].
pub(super) fn localise(
    subject: &Subject,
    data: &EmojiScenes,
    checker: &SceneChecker,
    (scenes, explanations, verdicts): (&[Scene], &[Explanation], &[Verdict]),
) -> Result<(Localisation, usize)> {
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
        let explained = subject.sample("more for heat maps", &prompts, subject.guidance)?;
        for (scene, explanation) in more.iter().zip(&explained) {
            found.add(scene, explanation, &checker.check(&explanation.image, &scene.spec)?)?;
        }
    }
    Ok((Localisation::of(&found.hits)?, found.pictures))
}
