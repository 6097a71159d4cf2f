//! The network's output under guidance: both passes, and what goes into them.

use std::cell::RefCell;

use burn::tensor::{Int, Tensor, TensorData};

use super::origin::Companions;
use super::script::Script;
use super::text_to_image::{PictureRequest, Sampling, Sizes};
use crate::denoiser::{Condition, Denoiser};
use crate::diffusion::guidance::{Guidance, compose};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::{AttentionHook, Qkv, Reads, Weigh};
use crate::sampler::Timestep;
use crate::text_encoder::reading::PromptOptions;

/// The network's output under guidance, for the requests of a batch.
pub(super) struct Guided<'a> {
    denoiser: &'a Denoiser,
    prompts: Prompts<'a>,
    told: RefCell<Told>,
    /// The picture of each of the prompt's rows; `None` where each picture has one.
    picture_of_row: Option<Tensor<1, Int>>,
    guidance: Vec<Guidance>,
    /// What the network takes beside the latent, as further channels.
    channels: Option<Tensor<4>>,
    hook: Option<&'a dyn AttentionHook>,
}

/// All texts of a batch, of which each step tells some.
struct Prompts<'a> {
    model: &'a Model,
    /// A picture that the network is shown, `[1, C, h, w]`.
    reference: Option<Tensor<4>>,
    requests: &'a [PictureRequest],
    sampling: &'a Sampling,
    positive: Encoded,
    /// `None` where no request has guidance.
    negative: Option<Encoded>,
}

/// The texts of a batch, and what the encoders make of them, a sample for each.
struct Encoded {
    script: Script,
    features: Condition,
}

/// What the network is told at a step.
struct Told {
    /// Which texts these are.
    texts: [Vec<usize>; 2],
    /// A sample for each of the script's rows.
    positive: Condition,
    /// One for each picture; `None` where no request has guidance.
    negative: Option<Condition>,
    /// Both as one batch, for one pass in place of two; `None` where their texts have another number of tokens.
    both: Option<Condition>,
}

/// Shows somebody the first samples of a batch alone, and lets no others be changed: those with the prompts.
struct FirstSamples<'a> {
    hook: &'a dyn AttentionHook,
    samples: usize,
}

impl AttentionHook for FirstSamples<'_> {
    fn heads(&self, heads: usize) -> usize {
        self.hook.heads(heads)
    }

    fn cross_attention(&self, height: usize, width: usize, probabilities: &Tensor<4>) {
        let first = probabilities.clone().narrow(0, 0, self.samples);
        self.hook.cross_attention(height, width, &first);
    }

    fn rewired(&self, reads: Reads, size: [usize; 2], qkv: &Qkv, weigh: &Weigh) -> Option<Tensor<3>> {
        let first = self.hook.rewired(reads, size, &qkv.samples(0..self.samples), weigh)?;
        let rest = weigh(qkv.samples(self.samples..qkv.q.dims()[0]));
        Some(Tensor::cat(vec![first, rest], 0))
    }
}

impl<'a> Guided<'a> {
    /// Reads the texts of a batch.
    pub fn new(
        model: &'a Model,
        requests: &'a [PictureRequest],
        sampling: &'a Sampling,
        companions: Companions,
        hook: Option<&'a dyn AttentionHook>,
    ) -> Result<Self> {
        let denoiser = &model.denoiser.network;
        let Companions { channels, reference } = companions;
        let prompts = Prompts::new(model, requests, sampling, reference)?;
        let told = RefCell::new(prompts.told(prompts.texts(0)));
        let script = &prompts.positive.script;
        let picture_of_row = script.has_sums().then(|| {
            let pictures = script.rows.iter().map(|row| row.picture as i64).collect();
            Tensor::from_data(TensorData::new::<i64, _>(pictures, [script.rows.len()]), &model.device)
        });
        let guidance = requests.iter().map(|request| model.classifier_free_guidance(request)).collect();
        Ok(Self { denoiser, prompts, told, picture_of_row, guidance, channels, hook })
    }

    /// What is asked from now on belongs to this step, counted from 0.
    pub fn begin_step(&self, step: usize) {
        let texts = self.prompts.texts(step);
        let mut told = self.told.borrow_mut();
        if told.texts != texts {
            *told = self.prompts.told(texts);
        }
    }

    /// The guided prediction for x_t `[B, C, h, w]`.
    pub fn predict(&self, x_t: &Tensor<4>, Timestep { t, sigma }: Timestep) -> Result<Tensor<4>> {
        let input = match &self.channels {
            Some(channels) => Tensor::cat(vec![x_t.clone(), channels.clone()], 1),
            None => x_t.clone(),
        };
        let Told { positive, negative, both, .. } = &*self.told.borrow();
        let guided =
            self.picture_of_row.is_some() || self.guidance.iter().any(|guidance| guidance.is_on(sigma));
        let Some(negative) = negative.as_ref().filter(|_| guided) else {
            return self.ask(input, t, positive, self.hook);
        };
        let of_rows = self.of_rows(&input);
        let (cond, uncond) = match both {
            // Weights are read once for both; the results are the same.
            Some(both) => {
                let (rows, batch) = (of_rows.dims()[0], self.guidance.len());
                let hook = self.hook.map(|hook| FirstSamples { hook, samples: rows });
                let hook = hook.as_ref().map(|hook| hook as &dyn AttentionHook);
                let output = self.ask(Tensor::cat(vec![of_rows, input], 0), t, both, hook)?;
                (output.clone().narrow(0, 0, rows), output.narrow(0, rows, batch))
            }
            None => {
                let cond = self.ask(of_rows, t, positive, self.hook)?;
                (cond, self.ask(input, t, negative, None)?)
            }
        };
        guide(self.composed(cond, &uncond)?, uncond, &self.guidance, sigma)
    }

    /// What the network says to the prompts alone, of x_t `[B, C, h, w]` as the network takes it: the hook sees the pass.
    pub fn ask_for_prompts(&self, x_t: &Tensor<4>, t: f64) -> Result<Tensor<4>> {
        self.ask(self.of_rows(x_t), t, &self.told.borrow().positive, self.hook)
    }

    /// The sample of its picture for each of the prompt's rows.
    fn of_rows(&self, input: &Tensor<4>) -> Tensor<4> {
        match &self.picture_of_row {
            Some(pictures) => input.clone().select(0, pictures.clone()),
            None => input.clone(),
        }
    }

    /// One prediction for each picture, of those for its prompts.
    fn composed(&self, cond: Tensor<4>, uncond: &Tensor<4>) -> Result<Tensor<4>> {
        if self.picture_of_row.is_none() {
            return Ok(cond);
        }
        let all = &self.prompts.positive.script.rows;
        let of_picture = |picture: usize| {
            let rows = all.iter().enumerate().filter(|(_, row)| row.picture == picture);
            let parts: Vec<_> = rows.map(|(i, row)| (cond.clone().narrow(0, i, 1), row.weight)).collect();
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

impl<'a> Prompts<'a> {
    fn new(
        model: &'a Model,
        requests: &'a [PictureRequest],
        sampling: &'a Sampling,
        reference: Option<Tensor<4>>,
    ) -> Result<Self> {
        let positive = Encoded::prompts(model, requests, sampling)?;
        if positive.script.has_sums() && model.is_guidance_distilled() {
            let expected =
                "no AND: the model was distilled with guidance, and predicts nothing without a prompt";
            return Err(Error::argument("prompt", expected, "AND"));
        }
        let asks_both = positive.script.asks_without_prompt(requests, model);
        let negative = asks_both.then(|| Encoded::negative_prompts(model, requests, sampling)).transpose()?;
        Ok(Self { model, reference, requests, sampling, positive, negative })
    }

    /// Which texts a step tells, of the prompts and of the negative ones.
    fn texts(&self, step: usize) -> [Vec<usize>; 2] {
        let at = |encoded: &Encoded| encoded.script.at(step);
        [at(&self.positive), self.negative.as_ref().map(at).unwrap_or_default()]
    }

    fn told(&self, texts: [Vec<usize>; 2]) -> Told {
        let positive = self.condition(&self.positive, &texts[0]);
        let negative = self.negative.as_ref().map(|encoded| self.condition(encoded, &texts[1]));
        let both = negative.as_ref().and_then(|negative| positive.followed_by(negative));
        Told { texts, positive, negative, both }
    }

    /// These of the texts, one for each row, with what some networks are told beside them.
    fn condition(&self, encoded: &Encoded, texts: &[usize]) -> Condition {
        let pictures: Vec<usize> = encoded.script.rows.iter().map(|row| row.picture).collect();
        let guidance = pictures.iter().map(|&picture| self.requests[picture].guidance.scale);
        Condition {
            sizes: self.model.denoiser.config.takes_sizes().then(|| vec![self.sizes(); pictures.len()]),
            guidance: Some(guidance.collect()),
            reference: self.reference.clone(),
            ..encoded.features.samples(texts)
        }
    }

    /// What SDXL is told of sizes.
    fn sizes(&self) -> Vec<f64> {
        let own = (self.sampling.height, self.sampling.width);
        let Sizes { original, crop, target } = self.sampling.sizes;
        let sizes = [original.unwrap_or(own), crop, target.unwrap_or(own)];
        sizes.iter().flat_map(|&(a, b)| [a as f64, b as f64]).collect()
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
    Ok(model.text.encode([&first, &second], options)?.to_device(&model.device))
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
