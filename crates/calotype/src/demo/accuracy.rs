//! How many pictures show what their prompts say, beside what controls and calibrations would be credited with.

use image::RgbImage;
use rayon::prelude::*;

use super::measure::{Measure, measure};
use crate::data::emoji_scenes::{Scene, SceneSpec};
use crate::error::Result;
use crate::evaluate::prompt_accuracy::{Proportion, sign_test};
use crate::evaluate::scene_checker::{SceneChecker, Verdict};

/// One kind of accuracy of the model and of its controls.
#[derive(Debug, Clone, Copy)]
pub struct Accuracy {
    /// Pictures of the model, checked against their own prompts.
    pub model: Proportion,
    /// Pictures sampled with the empty prompt.
    pub unconditional: Proportion,
    /// Pictures of the model, checked against another prompt.
    pub chance: Proportion,
    /// Rendered scenes: what the checker can read at best.
    pub ground_truth: Proportion,
    /// Rendered scenes after the autoencoder's round trip.
    pub reconstruction: Proportion,
}

/// The pictures that are checked against the held-out scenes, one of each kind for every scene.
pub(super) struct Checked<'a> {
    pub(super) generated: &'a [RgbImage],
    pub(super) unconditional: &'a [RgbImage],
    pub(super) truth: &'a [RgbImage],
    pub(super) reconstructions: &'a [RgbImage],
}

/// What the checker says, scene by scene; the fields are those of [`Accuracy`].
pub(super) struct Verdicts {
    pub(super) model: Vec<Verdict>,
    unconditional: Vec<Verdict>,
    chance: Vec<Verdict>,
    ground_truth: Vec<Verdict>,
    reconstruction: Vec<Verdict>,
}

impl Verdicts {
    /// Checks every picture.
    ///
    /// # Errors
    /// Those of [`SceneChecker::check`].
    pub(super) fn of(checker: &SceneChecker, specs: &[SceneSpec], pictures: &Checked) -> Result<Self> {
        let check = |images: &[RgbImage], specs: &[SceneSpec]| -> Result<Vec<Verdict>> {
            images.par_iter().zip(specs).map(|(image, spec)| checker.check(image, spec)).collect()
        };
        let mut others = specs.to_vec();
        others.rotate_left(1);
        Ok(Self {
            model: check(pictures.generated, specs)?,
            unconditional: check(pictures.unconditional, specs)?,
            chance: check(pictures.generated, &others)?,
            ground_truth: check(pictures.truth, specs)?,
            reconstruction: check(pictures.reconstructions, specs)?,
        })
    }

    /// Share of pictures with every noun and the relation.
    ///
    /// # Errors
    /// `Error::Argument` for no scenes.
    pub(super) fn prompts(&self) -> Result<Accuracy> {
        self.accuracy(Verdict::prompt)
    }

    /// Share of nouns that are found.
    ///
    /// # Errors
    /// `Error::Argument` for no scenes.
    pub(super) fn nouns(&self) -> Result<Accuracy> {
        self.accuracy(Verdict::nouns)
    }

    /// Share of relations that hold in the pictures of the model in which both of their nouns are found.
    ///
    /// # Errors
    /// `Error::Argument` if there is no such picture.
    pub(super) fn relations(&self) -> Result<Proportion> {
        proportion(&self.model, Verdict::relation)
    }

    fn accuracy(&self, count: Count) -> Result<Accuracy> {
        Ok(Accuracy {
            model: proportion(&self.model, count)?,
            unconditional: proportion(&self.unconditional, count)?,
            chance: proportion(&self.chance, count)?,
            ground_truth: proportion(&self.ground_truth, count)?,
            reconstruction: proportion(&self.reconstruction, count)?,
        })
    }

    /// How likely pure chance puts the model as far above the check against another prompt.
    pub(super) fn p_value_above_chance(&self) -> f64 {
        p_value(&self.model, &self.chance)
    }

    /// How likely pure chance puts the model as far above the empty prompt.
    pub(super) fn p_value_above_unconditional(&self) -> f64 {
        p_value(&self.model, &self.unconditional)
    }
}

/// (hits, trials) of one picture.
type Count = fn(&Verdict) -> (usize, usize);

fn proportion(verdicts: &[Verdict], count: Count) -> Result<Proportion> {
    Proportion::over(verdicts.iter().map(count))
}

/// What new scenes of pairs of nouns that training has shown give, beside the unseen pairs of everything else.
#[derive(Debug, Clone)]
pub struct SeenPairs {
    /// The scenes whose captions are the prompts.
    pub scenes: Vec<Scene>,
    /// The model's pictures of them.
    pub pictures: Vec<RgbImage>,
    /// What the checker says of the pictures.
    pub verdicts: Vec<Verdict>,
    /// Share of pictures with every noun and the relation.
    pub prompts: Proportion,
    /// Share of nouns that are found.
    pub nouns: Proportion,
    /// Share of relations that hold where both nouns are found.
    pub relations: Measure<Proportion>,
}

impl SeenPairs {
    /// Checks `pictures`, one for each of `scenes`.
    ///
    /// # Errors
    /// Those of [`SceneChecker::check`]; `Error::Argument` for no pictures.
    pub(super) fn of(checker: &SceneChecker, scenes: Vec<Scene>, pictures: Vec<RgbImage>) -> Result<Self> {
        let check = |(image, scene): (&RgbImage, &Scene)| checker.check(image, &scene.spec);
        let verdicts = pictures.par_iter().zip(&scenes).map(check).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            prompts: proportion(&verdicts, Verdict::prompt)?,
            nouns: proportion(&verdicts, Verdict::nouns)?,
            relations: measure(proportion(&verdicts, Verdict::relation))?,
            scenes,
            pictures,
            verdicts,
        })
    }
}

/// A sign test, prompt by prompt.
fn p_value(model: &[Verdict], control: &[Verdict]) -> f64 {
    let pairs = || model.iter().zip(control).map(|(model, control)| (model.correct, control.correct));
    let wins = pairs().filter(|&(model, control)| model && !control).count();
    let losses = pairs().filter(|&(model, control)| control && !model).count();
    sign_test(wins, losses)
}
