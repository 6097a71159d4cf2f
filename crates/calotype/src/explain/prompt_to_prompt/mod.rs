//! Prompt-to-prompt: a picture edited by its prompt. A word is exchanged, added, left out or weighed, and the rest of the
//! picture stays.
//!
//! Hertz et al. 2022, "Prompt-to-Prompt Image Editing with Cross-Attention Control", arXiv:2208.01626. Two pictures of the
//! same noise are sampled as one batch, the source and the edited one. In the first steps the edited one attends to its words
//! where the source attends to theirs ([`injection`]); outside of the words that differ it is kept to the source
//! ([`blending`]).

pub mod alignment;
pub mod blending;
mod files;
pub mod injection;
mod plan;
pub mod token_map;

use std::ops::ControlFlow;

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::explain::mask::Mask;
use crate::model::Model;
use crate::nn::{AttentionHook, Qkv, Reads, Weigh};
use crate::pipeline::Origin;
use crate::pipeline::text_to_image::{OnStep, PictureRequest, Sampling};
use crate::sampler::Level;
use crate::text_encoder::reading::PromptWord;
use blending::Blending;
use injection::Injection;
pub use plan::{Blend, Edit, EditedWord, WordWeight};

use plan::Plan;

/// A picture and what an edit made of it.
#[derive(Debug, Clone)]
pub struct Edited {
    /// Final scaled latents of the source and of the edited picture, `[2, C, h, w]`.
    pub latents: Tensor<4>,
    /// Cells of the latent where they may differ: of the last step. Nothing where everything may.
    pub mask: Option<Mask>,
    /// Words of the edited prompt, and which of the source's each takes the place of.
    pub words: Vec<EditedWord>,
    /// Words of the source that have no part in it.
    pub left_out: Vec<String>,
    /// Words outside of which nothing changes, of either prompt.
    pub blended: Vec<String>,
}

/// Samples `source`, and with the same noise `edited` so that it looks like it.
///
/// The source is the picture that it is without the edit, to the bit; so is the edited one where `edit` injects nothing,
/// weighs nothing and blends nothing. (With long prompts in chunks, both are told as many chunks as the longer has.)
///
/// - `edited`: its number under the seed is taken for the source's.
/// - `initial`: unit noise `[1, C, h, w]`; the seed's where there is none.
///
/// # Errors
/// `Error::Argument` for prompts that are the same, change between the steps or are sums; for shares that are none, words that
/// the prompts have not, or a model without cross-attention; as [`Model::sample_from`].
pub fn edit(
    model: &Model,
    [source, edited]: [&PictureRequest; 2],
    sampling: &Sampling,
    initial: Option<Tensor<4>>,
    edit: &Edit,
    on_step: &mut OnStep,
) -> Result<Edited> {
    let edited = PictureRequest { image_index: source.image_index, ..edited.clone() };
    let requests = [source.clone(), edited];
    let [_, height, width] = model.latent_shape(sampling.width, sampling.height)?;
    let sizes = model.denoiser.config.cross_attention_sizes(height, width);
    if !model.denoiser.config.can_be_rewired() {
        let expected = "one with a U-Net: in Flux text and picture read each other, and nothing is injected";
        return Err(Error::argument("model", expected, "a Flux transformer"));
    }
    if sizes.is_empty() {
        let expected = "one whose network has cross-attention to the text";
        return Err(Error::argument("model", expected, "one that has none"));
    }
    let plan = Plan::new(model, &requests, sampling, edit)?;
    let controller = Controller::new(&plan, &sizes, [height, width], sampling.sampler.steps, model);
    let mut after = |x: Tensor<4>, _: Level, done: usize, steps: usize| {
        if on_step(done, steps) == ControlFlow::Break(()) {
            return Err(Error::Stopped { step: done, steps });
        }
        controller.after_step(x, done)
    };
    let initial = initial.map(|noise| noise.repeat_dim(0, 2));
    let (origin, mut noise) = (Origin::default(), model.noise(&requests, sampling, initial));
    let hook = Some(&controller as &dyn AttentionHook);
    let latents = model.sample_changed(&requests, sampling, &origin, &mut noise, hook, &mut after)?;
    let mask = controller.blending.and_then(Blending::into_mask);
    let mut blended: Vec<String> = Vec::new();
    for PromptWord { word, .. } in plan.blended.into_iter().flatten() {
        if !blended.contains(&word) {
            blended.push(word);
        }
    }
    Ok(Edited { latents, mask, words: plan.words, left_out: plan.left_out, blended })
}

/// What happens to the two pictures while they are sampled.
struct Controller {
    injection: Injection,
    blending: Option<Blending>,
}

impl Controller {
    fn new(plan: &Plan, sizes: &[(usize, usize)], grid: [usize; 2], steps: usize, model: &Model) -> Self {
        let blends = plan.blended.iter().any(|words| !words.is_empty());
        let blending = || Blending::new(plan.blended.clone(), sizes, grid, plan.map.tokens, steps);
        Self {
            injection: Injection::new(&plan.map, &plan.factors, plan.steps, &model.device),
            blending: blends.then(blending),
        }
    }

    fn after_step(&self, x: Tensor<4>, done: usize) -> Result<Tensor<4>> {
        self.injection.begin_step(done);
        match &self.blending {
            Some(blending) => blending.blended(x, done),
            None => Ok(x),
        }
    }
}

impl AttentionHook for Controller {
    fn heads(&self, heads: usize) -> usize {
        if self.blending.is_some() { heads } else { 0 }
    }

    fn cross_attention(&self, height: usize, width: usize, probabilities: &Tensor<4>) {
        if let Some(blending) = &self.blending {
            blending.see(height, width, probabilities);
        }
    }

    fn rewired(&self, reads: Reads, size: [usize; 2], qkv: &Qkv, weigh: &Weigh) -> Option<Tensor<3>> {
        self.injection.rewired(reads, size, qkv, weigh)
    }
}
