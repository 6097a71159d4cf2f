//! The network's output under guidance: both passes, and what goes into them.

use burn::tensor::Tensor;

use super::text_to_image::{Request, Sampling, Sizes, TextToImage};
use crate::denoiser::{AddedCondition, Beside};
use crate::diffusion::guidance::Guidance;
use crate::error::Result;
use crate::nn::AttentionHook;
use crate::sampler::Timestep;
use crate::text_encoder::stack::TextCondition;

/// The network's output under guidance, for the requests of a batch.
pub(super) struct Guided<'a> {
    model: &'a TextToImage,
    positive: TextCondition,
    /// `None` where no request has guidance.
    negative: Option<TextCondition>,
    /// Both as one batch, for one pass in place of two; `None` where somebody watches the positive one alone, or
    /// their texts have another number of tokens.
    both: Option<TextCondition>,
    guidance: Vec<Guidance>,
    /// For each request: original size, crop, target size, in pixels.
    time_ids: Vec<Vec<f64>>,
    /// What an inpainting U-Net takes beside the latent, `[B, C + 1, h, w]`.
    beside: Option<Tensor<4>>,
    hook: Option<&'a dyn AttentionHook>,
}

impl<'a> Guided<'a> {
    /// Reads the texts of a batch; `beside` is what an inpainting U-Net takes beside the latent.
    pub fn new(
        model: &'a TextToImage,
        requests: &'a [Request],
        sampling: &Sampling,
        beside: Option<Tensor<4>>,
        hook: Option<&'a dyn AttentionHook>,
    ) -> Result<Self> {
        let texts = |of: &dyn Fn(&'a Request) -> &'a str| requests.iter().map(of).collect::<Vec<&str>>();
        let positives = [
            texts(&|request| &request.prompt),
            texts(&|request| request.second_prompts[0].as_ref().unwrap_or(&request.prompt)),
        ];
        let negatives = [
            texts(&|request| request.negative_prompt.as_deref().unwrap_or_default()),
            texts(&|request| {
                let second = request.second_prompts[1].as_ref().or(request.negative_prompt.as_ref());
                second.map_or("", String::as_str)
            }),
        ];
        let guidance: Vec<Guidance> = requests.iter().map(|request| request.guidance).collect();
        let encode =
            |[first, second]: &[Vec<&str>; 2], clip_skip| model.text.encode([first, second], clip_skip);
        let positive = encode(&positives, model.text.options.clip_skip)?;
        let unguided =
            guidance.iter().all(|guidance| guidance.scale <= 1.0) || model.unet.network.takes_guidance();
        let zeros: Vec<bool> = requests
            .iter()
            .map(|request| model.zeros_for_no_negative() && request.negative_prompt.is_none())
            .collect();
        let negative = match unguided {
            true => None,
            false => Some(encode(&negatives, 0)?.with_zeros(&zeros)),
        };
        let own = (sampling.height, sampling.width);
        let Sizes { original, crop, target } = sampling.sizes;
        let sizes = [original.unwrap_or(own), crop, target.unwrap_or(own)];
        let sizes = sizes.iter().flat_map(|&(a, b)| [a as f64, b as f64]).collect();
        let time_ids = vec![sizes; requests.len()];
        let watched = hook.is_some();
        let both = negative.as_ref().filter(|_| !watched).and_then(|negative| positive.followed_by(negative));
        Ok(Self { model, positive, negative, both, guidance, time_ids, beside, hook })
    }

    /// The guided prediction for x_t `[B, C, h, w]`.
    pub fn predict(&self, x_t: &Tensor<4>, Timestep { t, sigma }: Timestep) -> Result<Tensor<4>> {
        let input = match &self.beside {
            Some(beside) => Tensor::cat(vec![x_t.clone(), beside.clone()], 1),
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
        text: &TextCondition,
        hook: Option<&dyn AttentionHook>,
    ) -> Result<Tensor<4>> {
        let [batch, ..] = x.dims();
        let added = text.pooled.as_ref().map(|pooled| AddedCondition {
            text_embeds: pooled.clone(),
            time_ids: (0..batch).map(|i| self.time_ids[i % self.time_ids.len()].clone()).collect(),
        });
        let scales: Vec<f64> = self.guidance.iter().map(|guidance| guidance.scale).collect();
        let beside = Beside { added: added.as_ref(), guidance: Some(&scales) };
        self.model.unet.network.forward_with(x, &vec![t; batch], &text.context, beside, hook)
    }
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
