//! The model that is measured: its pictures, its reconstructions, its CLIP.

use image::RgbImage;

use crate::checkpoint;
use crate::data::emoji_scenes::Scene;
use crate::data::tensors::{to_images, to_tensor};
use crate::diffusion::guidance::Guidance;
use crate::error::{Error, Result};
use crate::evaluate::clip_features;
use crate::evaluate::retrieval::retrieval_at_1;
use crate::explain::heat_map::Baseline;
use crate::explain::{Explanation, explain};
use crate::machine::Machine;
use crate::model::Model;
use crate::pipeline::batches::in_batches;
use crate::pipeline::text_to_image::{PictureRequest, Sampling};
use crate::sampler::SamplerSettings;
use crate::trainer::Recipe;
use crate::trainer::Session;

/// Pictures sampled at a time; they do not depend on it.
const BATCH: usize = 16;
/// Candidates of a retrieval.
const CANDIDATES: usize = 64;

/// A run's model, and how the recipe samples it.
pub(super) struct Subject<'a> {
    pub(super) model: Model,
    pub(super) session: Session<'a>,
    pub(super) sampling: Sampling,
    /// Guidance scale.
    pub(super) guidance: f64,
    /// Whether the denoiser has seen captions; if none, it is asked for none.
    knows_captions: bool,
}

/// Mean retrieval at 1 of both directions, and its chance.
#[derive(Debug, Clone, Copy)]
pub struct MeanRetrieval {
    /// Share of pictures and captions whose counterpart is the most similar one.
    pub found: f64,
    /// What a blind guess would find.
    pub chance: f64,
    /// Candidates of each query.
    pub candidates: usize,
}

impl<'a> Subject<'a> {
    /// Reads the model of the session's run.
    ///
    /// # Errors
    /// Those of [`Model::load`]; `Error::Config` for a recipe without `[evaluation]`.
    pub(super) fn load(recipe: &Recipe, session: Session<'a>) -> Result<Self> {
        let model = Model::load(&session.run.model(), session.device)?;
        let asked = recipe.evaluation()?;
        let settings = SamplerSettings::new(asked.sampler, asked.steps);
        let sampling = Sampling::new(settings, asked.seed, model.default_size());
        let knows_captions = recipe.diffusion()?.caption_dropout < 1.0;
        Ok(Self { model, session, sampling, guidance: asked.guidance, knows_captions })
    }

    /// Pictures and heat maps of the prompts; picture i is picture i of the seed.
    ///
    /// # Errors
    /// Those of [`explain`]; `Error::Interrupted`.
    pub(super) fn explain(&self, name: &str, prompts: &[&str]) -> Result<Vec<Explanation>> {
        let explain =
            |batch: &[PictureRequest]| explain(&self.model, batch, &self.sampling, None, Baseline::WordMean);
        self.in_batches(name, prompts, self.guidance, explain)
    }

    /// The pictures alone.
    ///
    /// # Errors
    /// Those of [`Model::generate`]; `Error::Interrupted`.
    pub(super) fn sample(&self, name: &str, prompts: &[&str], guidance: f64) -> Result<Vec<RgbImage>> {
        self.in_batches(name, prompts, guidance, |batch| self.model.generate(batch, &self.sampling))
    }

    fn in_batches<T: Send>(
        &self,
        name: &str,
        prompts: &[&str],
        guidance: f64,
        make: impl Fn(&[PictureRequest]) -> Result<Vec<T>> + Sync,
    ) -> Result<Vec<T>> {
        let request = |(i, prompt): (usize, &&str)| {
            let prompt = if self.knows_captions { prompt } else { "" };
            PictureRequest::new(prompt, Guidance::new(guidance), i as u64)
        };
        let requests: Vec<PictureRequest> = prompts.iter().enumerate().map(request).collect();
        let Session { device, threads, progress, .. } = self.session;
        let made = in_batches(name, &requests, BATCH, Machine { device, threads, progress }, make);
        // The run's trainings are saved: the demo goes on from them.
        made.map_err(|error| match error {
            Error::Stopped { .. } => Error::Interrupted { step: 0 },
            other => other,
        })
    }

    /// Decoded means of the posteriors.
    ///
    /// # Errors
    /// Those of the autoencoder.
    pub(super) fn reconstruct(&self, images: &[RgbImage]) -> Result<Vec<RgbImage>> {
        let batches = images.chunks(BATCH).map(|batch| {
            let latents = self.model.vae.encode(to_tensor(batch, &self.model.device)?, None)?;
            to_images(self.model.vae.decode(latents))
        });
        Ok(batches.collect::<Result<Vec<_>>>()?.concat())
    }

    /// Of the run's CLIP, over groups of [`CANDIDATES`] scenes (fewer if there are fewer scenes).
    ///
    /// # Errors
    /// Those of reading `clip/`, and of [`retrieval_at_1`].
    pub(super) fn retrieval(&self, scenes: &[Scene]) -> Result<MeanRetrieval> {
        let device = self.session.device;
        let clip = checkpoint::clip(&self.session.run.model().join("clip"), device)?.network;
        let candidates = CANDIDATES.min(scenes.len());
        let groups: Vec<&[Scene]> = scenes.chunks_exact(candidates).collect();
        let (mut found, mut chance) = (0.0, 0.0);
        for group in &groups {
            let images: Vec<RgbImage> = group.iter().map(|scene| scene.image.clone()).collect();
            let captions: Vec<String> = group.iter().map(|scene| scene.caption.clone()).collect();
            let image = clip_features::of_images(&clip, &images, device)?;
            let text = clip_features::of_texts(&clip, self.model.tokenizer(), &captions)?;
            let same = |i: usize, j: usize| captions[i] == captions[j];
            let result = retrieval_at_1(&image.rows, &text.rows, image.dimension, same)?;
            found += (result.image_to_text + result.text_to_image) / 2.0;
            chance += result.chance;
        }
        let groups = groups.len() as f64;
        Ok(MeanRetrieval { found: found / groups, chance: chance / groups, candidates })
    }
}
