//! The two kinds of prompts, and what the pictures of one kind are worth.

use crate::data::emoji_scenes::{Scene, Split};
use crate::error::{Error, Result};
use crate::evaluate::scene_checker::{Reading, SceneChecker};
use crate::named::named_enum;
use rayon::prelude::*;

use super::prompts::CANVAS;
use super::{Accuracy, Judgement};

named_enum! {
    /// Whether training shows the first two nouns of a prompt together.
    pub enum Pairs {
        /// Never: the model has to combine.
        Unseen = "unseen",
        /// It does; the scenes are new.
        Seen = "seen",
    }
}

impl Pairs {
    /// The split of the embedded data.
    pub fn split(self) -> Split {
        match self {
            Self::Unseen => Split::HeldOut,
            Self::Seen => Split::Seen,
        }
    }

    /// Where picture `index` lies in a folder: `unseen/00000.png`.
    pub fn file(self, index: usize) -> String {
        format!("{self}/{index:05}.png")
    }
}

/// The pictures of one kind of prompts, judged.
#[derive(Debug, Clone)]
pub struct JudgedPairs {
    /// Which.
    pub pairs: Pairs,
    /// The scenes whose captions are the prompts.
    pub scenes: Vec<Scene>,
    /// What the checker sees in each picture.
    pub readings: Vec<Reading>,
    /// What is right in each.
    pub judgements: Vec<Judgement>,
    /// The model.
    pub accuracy: Accuracy,
    /// Control: the same pictures, each held against the next scene's prompt.
    pub other_prompt: Accuracy,
    /// Calibration: the rendered scenes themselves, which is what the checker reads at best.
    pub rendered: Accuracy,
}

impl JudgedPairs {
    /// Judges what was read in the pictures, one for each of `scenes`.
    ///
    /// # Errors
    /// `Error::Shape` for another number of pictures than scenes; `Error::Argument` for none; those of [`Judgement::of`].
    pub fn of(pairs: Pairs, scenes: Vec<Scene>, readings: Vec<Reading>) -> Result<Self> {
        if readings.len() != scenes.len() {
            return Err(Error::shape("pictures of the benchmark", scenes.len(), readings.len()));
        }
        let own: Vec<&Scene> = scenes.iter().collect();
        let mut others = own.clone();
        others.rotate_left(1);
        let judgements = judge(&readings, &own)?;
        let accuracy = Accuracy::of(&own, &judgements)?;
        let other_prompt = Accuracy::of(&others, &judge(&readings, &others)?)?;
        let checker = SceneChecker::new(CANVAS)?;
        let truth = scenes.par_iter().map(|scene| checker.read(&scene.image)).collect::<Result<Vec<_>>>()?;
        let rendered = Accuracy::of(&own, &judge(&truth, &own)?)?;
        Ok(Self { pairs, readings, judgements, accuracy, other_prompt, rendered, scenes })
    }
}

fn judge(readings: &[Reading], scenes: &[&Scene]) -> Result<Vec<Judgement>> {
    readings.iter().zip(scenes).map(|(reading, scene)| Judgement::of(reading, scene)).collect()
}
