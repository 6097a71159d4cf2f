//! The network's output under guidance: both passes, and what goes into them.

use burn::tensor::Tensor;

use super::text_to_image::{PictureRequest, Sampling, Sizes};
use crate::denoiser::{Condition, Denoiser};
use crate::diffusion::guidance::Guidance;
use crate::error::Result;
use crate::model::Model;
use crate::nn::AttentionHook;
use crate::sampler::Timestep;
use crate::text_encoder::reading::PromptOptions;

/// The network's output under guidance, for the requests of a batch.
pub(super) struct Guided<'a> {
    denoiser: &'a Denoiser,
    positive: Condition,
    /// `None` where no request has guidance.
    negative: Option<Condition>,
    /// Both as one batch, for one pass in place of two; `None` where somebody watches the positive one alone, or
    /// their texts have another number of tokens.
    both: Option<Condition>,
    guidance: Vec<Guidance>,
    /// What an inpainting U-Net takes beside the latent, `[B, C + 1, h, w]`.
    masked: Option<Tensor<4>>,
    hook: Option<&'a dyn AttentionHook>,
}

impl<'a> Guided<'a> {
    /// Reads the texts of a batch; `masked` is what an inpainting U-Net takes beside the latent.
    pub fn new(
        model: &'a Model,
        requests: &[PictureRequest],
        sampling: &Sampling,
        masked: Option<Tensor<4>>,
        hook: Option<&'a dyn AttentionHook>,
    ) -> Result<Self> {
        let denoiser = &model.denoiser.network;
        let guidance: Vec<Guidance> = requests.iter().map(|request| request.guidance).collect();
        let positive = positive(model, requests, sampling)?;
        let unguided = guidance.iter().all(|guidance| guidance.scale <= 1.0) || denoiser.takes_guidance();
        let negative = if unguided { None } else { Some(negative(model, requests, sampling)?) };
        let watched = hook.is_some();
        let both = negative.as_ref().filter(|_| !watched).and_then(|negative| positive.followed_by(negative));
        Ok(Self { denoiser, positive, negative, both, guidance, masked, hook })
    }

    /// The guided prediction for x_t `[B, C, h, w]`.
    pub fn predict(&self, x_t: &Tensor<4>, Timestep { t, sigma }: Timestep) -> Result<Tensor<4>> {
        let input = match &self.masked {
            Some(masked) => Tensor::cat(vec![x_t.clone(), masked.clone()], 1),
            None => x_t.clone(),
        };
        let guided = self.guidance.iter().any(|guidance| guidance.is_on(sigma));
        let Some(negative) = self.negative.as_ref().filter(|_| guided) else {
            return self.ask(input, t, &self.positive, self.hook);
        };
        let (cond, uncond) = match &self.both {
            // Weights are read once for both; the results are the same.
            Some(both) => {
                let batch = self.guidance.len();
                let output = self.ask(input.repeat_dim(0, 2), t, both, None)?;
                (output.clone().narrow(0, 0, batch), output.narrow(0, batch, batch))
            }
            None => {
                let cond = self.ask(input.clone(), t, &self.positive, self.hook)?;
                (cond, self.ask(input, t, negative, None)?)
            }
        };
        guide(cond, uncond, &self.guidance, sigma)
    }

    fn ask(
        &self,
        x: Tensor<4>,
        t: f64,
        condition: &Condition,
        hook: Option<&dyn AttentionHook>,
    ) -> Result<Tensor<4>> {
        let timesteps = vec![t; x.dims()[0]];
        self.denoiser.forward(x, &timesteps, condition, hook)
    }
}

/// What the network is told of the prompts.
fn positive(model: &Model, requests: &[PictureRequest], sampling: &Sampling) -> Result<Condition> {
    let first: Vec<&str> = requests.iter().map(|request| request.prompt.as_str()).collect();
    let second = requests.iter().map(|request| request.second_prompts[0].as_ref().unwrap_or(&request.prompt));
    let second: Vec<&str> = second.map(String::as_str).collect();
    let condition = model.text.encode([&first, &second], sampling.prompts)?;
    Ok(told(condition, requests, sampling))
}

/// What the network is told of what the pictures should not show.
fn negative(model: &Model, requests: &[PictureRequest], sampling: &Sampling) -> Result<Condition> {
    let text = |text: Option<&'_ String>| text.map_or("", String::as_str).to_owned();
    let first: Vec<String> = requests.iter().map(|request| text(request.negative_prompt.as_ref())).collect();
    let second = requests
        .iter()
        .map(|request| request.second_prompts[1].as_ref().or(request.negative_prompt.as_ref()));
    let second: Vec<String> = second.map(text).collect();
    let [first, second] = [&first, &second].map(|texts| texts.iter().map(String::as_str).collect::<Vec<_>>());
    let options = PromptOptions { clip_skip: 0, ..sampling.prompts };
    let zeros =
        requests.iter().map(|request| model.text.zeros_for_no_negative && request.negative_prompt.is_none());
    let condition = model.text.encode([&first, &second], options)?.with_zeros(&zeros.collect::<Vec<bool>>());
    Ok(told(condition, requests, sampling))
}

/// The text features with what some networks are told beside them.
fn told(text: Condition, requests: &[PictureRequest], sampling: &Sampling) -> Condition {
    let own = (sampling.height, sampling.width);
    let Sizes { original, crop, target } = sampling.sizes;
    let sizes = [original.unwrap_or(own), crop, target.unwrap_or(own)];
    let sizes: Vec<f64> = sizes.iter().flat_map(|&(a, b)| [a as f64, b as f64]).collect();
    let sizes = text.pooled.is_some().then(|| vec![sizes; requests.len()]);
    let guidance = Some(requests.iter().map(|request| request.guidance.scale).collect());
    Condition { sizes, guidance, ..text }
}

/// The guided predictions of a batch, each picture with its own guidance.
fn guide(cond: Tensor<4>, uncond: Tensor<4>, guidance: &[Guidance], sigma: f64) -> Result<Tensor<4>> {
    let first = guidance[0];
    if guidance.iter().all(|guidance| *guidance == first) {
        return first.apply(cond, uncond, sigma);
    }
    let each = (guidance.iter().enumerate())
        .map(|(i, guidance)| {
            guidance.apply(cond.clone().narrow(0, i, 1), uncond.clone().narrow(0, i, 1), sigma)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(each, 0))
}
