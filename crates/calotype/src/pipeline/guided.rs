//! The network's output under guidance: both passes, and what goes into them.

use std::cell::Cell;

use burn::tensor::Tensor;

use super::script::Script;
use super::text_to_image::{PictureRequest, Sampling, Sizes};
use crate::denoiser::{Condition, Denoiser};
use crate::diffusion::guidance::{Guidance, compose};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::AttentionHook;
use crate::sampler::Timestep;
use crate::text_encoder::reading::PromptOptions;

/// The network's output under guidance, for the requests of a batch.
pub(super) struct Guided<'a> {
    denoiser: &'a Denoiser,
    /// What the network is told, each different one once.
    told: Vec<Told>,
    /// Which of them it is told at each step; the last step's holds from there on.
    of_step: Vec<usize>,
    step: Cell<usize>,
    /// Of each prediction for a prompt: its picture, and its weight among those of that picture.
    rows: Vec<(usize, f64)>,
    /// Whether a picture has several.
    has_sums: bool,
    guidance: Vec<Guidance>,
    /// What an inpainting U-Net takes beside the latent, `[B, C + 1, h, w]`.
    masked: Option<Tensor<4>>,
    hook: Option<&'a dyn AttentionHook>,
}

/// What the network is told at a step.
struct Told {
    /// A sample for each row.
    positive: Condition,
    /// One for each picture; `None` where no request has guidance.
    negative: Option<Condition>,
    /// Both as one batch, for one pass in place of two; `None` where somebody watches the positive one alone, or
    /// their texts have another number of tokens.
    both: Option<Condition>,
}

/// The texts of a batch, and what the encoders make of them, a sample for each.
struct Encoded {
    script: Script,
    features: Condition,
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
        let positive = Encoded::prompts(model, requests, sampling)?;
        let has_sums = positive.script.has_sums();
        if has_sums && denoiser.takes_guidance() {
            let expected =
                "no AND: the model was distilled with guidance, and predicts nothing without a prompt";
            return Err(Error::argument("prompt", expected, "AND"));
        }
        let unguided = guidance.iter().all(|guidance| guidance.scale <= 1.0) || denoiser.takes_guidance();
        let negative = if unguided && !has_sums {
            None
        } else {
            Some(Encoded::negative_prompts(model, requests, sampling)?)
        };
        let with_sizes = |text, pictures: &[usize]| with_sizes(text, pictures, requests, sampling);
        let (told, of_step) = told(&positive, negative.as_ref(), hook.is_some(), with_sizes);
        let rows = positive.script.rows.iter().map(|row| (row.picture, row.weight)).collect();
        Ok(Self { denoiser, told, of_step, step: Cell::new(0), rows, has_sums, guidance, masked, hook })
    }

    /// What is asked from now on belongs to this step, counted from 0.
    pub fn begin_step(&self, step: usize) {
        self.step.set(step.min(self.of_step.len() - 1));
    }

    /// The guided prediction for x_t `[B, C, h, w]`.
    pub fn predict(&self, x_t: &Tensor<4>, Timestep { t, sigma }: Timestep) -> Result<Tensor<4>> {
        let input = match &self.masked {
            Some(masked) => Tensor::cat(vec![x_t.clone(), masked.clone()], 1),
            None => x_t.clone(),
        };
        let Told { positive, negative, both } = &self.told[self.of_step[self.step.get()]];
        let guided = self.has_sums || self.guidance.iter().any(|guidance| guidance.is_on(sigma));
        let Some(negative) = negative.as_ref().filter(|_| guided) else {
            return self.ask(input, t, positive, self.hook);
        };
        let of_rows = self.for_rows(&input);
        let (cond, uncond) = match both {
            // Weights are read once for both; the results are the same.
            Some(both) => {
                let (rows, batch) = (self.rows.len(), self.guidance.len());
                let output = self.ask(Tensor::cat(vec![of_rows, input], 0), t, both, None)?;
                (output.clone().narrow(0, 0, rows), output.narrow(0, rows, batch))
            }
            None => {
                let cond = self.ask(of_rows, t, positive, self.hook)?;
                (cond, self.ask(input, t, negative, None)?)
            }
        };
        guide(self.composed(cond, &uncond)?, uncond, &self.guidance, sigma)
    }

    /// The sample of its picture for each row.
    fn for_rows(&self, input: &Tensor<4>) -> Tensor<4> {
        if !self.has_sums {
            return input.clone();
        }
        let samples = self.rows.iter().map(|(picture, _)| input.clone().narrow(0, *picture, 1));
        Tensor::cat(samples.collect(), 0)
    }

    /// One prediction for each picture, of those for its prompts.
    fn composed(&self, cond: Tensor<4>, uncond: &Tensor<4>) -> Result<Tensor<4>> {
        if !self.has_sums {
            return Ok(cond);
        }
        let of_picture = |picture: usize| {
            let rows = self.rows.iter().enumerate().filter(|(_, row)| row.0 == picture);
            let parts: Vec<_> = rows.map(|(i, row)| (cond.clone().narrow(0, i, 1), row.1)).collect();
            match &parts[..] {
                [(only, _)] => Ok(only.clone()),
                _ => compose(&parts, uncond.clone().narrow(0, picture, 1)),
            }
        };
        Ok(Tensor::cat((0..self.guidance.len()).map(of_picture).collect::<Result<Vec<_>>>()?, 0))
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

impl Encoded {
    fn prompts(model: &Model, requests: &[PictureRequest], sampling: &Sampling) -> Result<Self> {
        let script = Script::of_prompts(requests, sampling)?;
        Ok(Self { features: features(model, &script, sampling.prompts)?, script })
    }

    fn negative_prompts(model: &Model, requests: &[PictureRequest], sampling: &Sampling) -> Result<Self> {
        let script = Script::of_negative_prompts(requests, sampling)?;
        let options = PromptOptions { clip_skip: 0, ..sampling.prompts };
        let zeros = script.texts.iter().map(|texts| model.text.zeros_for_no_negative && texts.is_none);
        let features = features(model, &script, options)?.with_zeros(&zeros.collect::<Vec<bool>>());
        Ok(Self { features, script })
    }
}

fn features(model: &Model, script: &Script, options: PromptOptions) -> Result<Condition> {
    let first: Vec<&str> = script.texts.iter().map(|texts| texts.first.as_str()).collect();
    let second: Vec<&str> = script.texts.iter().map(|texts| texts.second.as_str()).collect();
    model.text.encode([&first, &second], options)
}

/// What the network is told, and which of it at each step.
///
/// - `watched`: somebody watches the positive pass alone.
/// - `with_sizes`: text features for these pictures with what is told beside them.
fn told(
    positive: &Encoded,
    negative: Option<&Encoded>,
    watched: bool,
    with_sizes: impl Fn(Condition, &[usize]) -> Condition,
) -> (Vec<Told>, Vec<usize>) {
    let (mut told, mut keys, mut of_step) = (Vec::new(), Vec::new(), Vec::new());
    let steps = [Some(positive), negative].into_iter().flatten().map(|encoded| encoded.script.steps()).max();
    for step in 0..steps.unwrap_or(1) {
        let of = |encoded: &Encoded| encoded.script.at(step);
        let key = (of(positive), negative.map(of));
        let found = keys.iter().position(|known| *known == key);
        of_step.push(found.unwrap_or(keys.len()));
        if found.is_some() {
            continue;
        }
        let condition = |encoded: &Encoded| {
            let pictures: Vec<usize> = encoded.script.rows.iter().map(|row| row.picture).collect();
            with_sizes(encoded.features.samples(&of(encoded)), &pictures)
        };
        let (positive, negative) = (condition(positive), negative.map(condition));
        let unwatched = negative.as_ref().filter(|_| !watched);
        let both = unwatched.and_then(|negative| positive.followed_by(negative));
        told.push(Told { positive, negative, both });
        keys.push(key);
    }
    (told, of_step)
}

/// The text features with what some networks are told beside them. `pictures`: which request each sample is for.
fn with_sizes(
    text: Condition,
    pictures: &[usize],
    requests: &[PictureRequest],
    sampling: &Sampling,
) -> Condition {
    let own = (sampling.height, sampling.width);
    let Sizes { original, crop, target } = sampling.sizes;
    let sizes = [original.unwrap_or(own), crop, target.unwrap_or(own)];
    let sizes: Vec<f64> = sizes.iter().flat_map(|&(a, b)| [a as f64, b as f64]).collect();
    let sizes = text.pooled.is_some().then(|| vec![sizes; pictures.len()]);
    let guidance = Some(pictures.iter().map(|&picture| requests[picture].guidance.scale).collect());
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
