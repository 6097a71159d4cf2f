//! Flux.1's transformer: a rectified flow over latents, told by T5's features, CLIP's pooled one and a guidance scale.
//!
//! Black Forest Labs 2024; Batifol et al. 2025 (FLUX.1 Kontext), arXiv:2506.15742, section 2.

pub mod attention;
pub mod blocks;
pub mod config;
pub mod embedding;
pub mod modulation;
pub mod packing;
pub mod rotary;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::silu;

use crate::denoiser::Condition;
use crate::error::{Error, Result};
use crate::nn::attention::Watch;
use crate::nn::{AttentionHook, Init, Linear};
use attention::Sequence;
use blocks::{DoubleBlock, SingleBlock};
use config::PATCH;
use embedding::ConditionEmbedding;
use modulation::{Modulation, modulated};

pub use config::FluxConfig;
pub use rotary::{Position, Positions};

/// v_θ(z_t, t, c), the velocity from data to noise.
#[derive(Module, Debug)]
pub struct Flux {
    time_text_embed: ConditionEmbedding,
    context_embedder: Linear,
    x_embedder: Linear,
    transformer_blocks: Vec<DoubleBlock>,
    single_transformer_blocks: Vec<SingleBlock>,
    norm_out: Modulation,
    proj_out: Linear,
    #[module(skip)]
    in_channels: usize,
    #[module(skip)]
    context_width: usize,
    #[module(skip)]
    pooled_width: usize,
    #[module(skip)]
    axes: [usize; 3],
}

impl Flux {
    /// A network of the shape that `config` describes.
    ///
    /// # Errors
    /// `Error::Config` where the config asks for something that this network does not have.
    pub fn new(config: &FluxConfig, init: &mut Init) -> Result<Self> {
        config.validate()?;
        let width = config.width();
        Ok(Self {
            time_text_embed: ConditionEmbedding::new(config, init),
            context_embedder: Linear::new(config.joint_attention_dim, width, true, init),
            x_embedder: Linear::new(config.in_channels, width, true, init),
            transformer_blocks: (0..config.num_layers).map(|_| DoubleBlock::new(config, init)).collect(),
            single_transformer_blocks: (0..config.num_single_layers)
                .map(|_| SingleBlock::new(config, init))
                .collect(),
            norm_out: Modulation::new(width, 2, init),
            proj_out: Linear::new(width, config.out_channels(), true, init),
            in_channels: config.in_channels,
            context_width: config.joint_attention_dim,
            pooled_width: config.pooled_projection_dim,
            axes: config.axes_dims_rope,
        })
    }

    /// Whether the network is told a guidance scale.
    pub fn takes_guidance(&self) -> bool {
        self.time_text_embed.takes_guidance()
    }

    /// The velocity at latents `[B, in/4, H, W]`: `[B, out/4, H, W]`.
    ///
    /// - `timesteps`: `B` numbers, 1000·t with t in [0, 1].
    /// - `condition`: `context` of T5, `[B, L, joint_attention_dim]`; `pooled` of CLIP; `guidance` where the network takes
    ///   it; `reference`, whose tokens are read and not predicted.
    /// - `hook`: sees with which probabilities the picture's tokens read the text's, in every block; there is nothing to
    ///   rewire.
    ///
    /// # Errors
    /// `Error::Shape` if sizes, channels, batch sizes or the condition do not fit.
    pub fn forward(
        &self,
        x_t: Tensor<4>,
        timesteps: &[f64],
        condition: &Condition,
        hook: Option<&dyn AttentionHook>,
    ) -> Result<Tensor<4>> {
        let [b, c, h, w] = x_t.dims();
        if c * PATCH != self.in_channels {
            let expected = format!("[B, {}, H, W]", self.in_channels / PATCH);
            return Err(Error::shape("Flux sample", expected, format!("{:?}", [b, c, h, w])));
        }
        let mut tokens = packing::pack(x_t)?;
        let count = tokens.dims()[1];
        let mut positions = Positions::new(condition.context.dims()[1], h / 2, w / 2);
        if let Some(reference) = &condition.reference {
            let [_, _, h, w] = reference.dims();
            let reference = packing::pack(reference.clone())?.repeat_dim(0, b);
            tokens = Tensor::cat(vec![tokens, reference], 1);
            positions = positions.with_reference(h / 2, w / 2);
        }
        let watch = hook.map(|hook| Watch { hook, height: h / 2, width: w / 2 });
        let velocities = self.predict(tokens, timesteps, condition, &positions, watch)?;
        packing::unpack(velocities.narrow(1, 0, count), h, w)
    }

    /// The velocity at tokens `[B, S, in]` that stand at `positions`: `[B, S, out]`. Otherwise as [`Flux::forward`].
    ///
    /// # Errors
    /// As there.
    pub fn predict(
        &self,
        tokens: Tensor<3>,
        timesteps: &[f64],
        condition: &Condition,
        positions: &Positions,
        watch: Option<Watch>,
    ) -> Result<Tensor<3>> {
        let pooled = self.check(&tokens, timesteps, condition, positions)?;
        let guidance = condition.guidance.as_deref();
        let told = silu(self.time_text_embed.forward(timesteps, guidance, pooled.clone())); // [B, D]
        let rotations = positions.rotations(self.axes, &tokens.device());
        let (text, count) = (positions.text.len(), positions.picture.len());
        let sequence = Sequence { rotations: &rotations, text, watch };

        let start = [
            self.context_embedder.forward(condition.context.clone()), // [B, L, D]
            self.x_embedder.forward(tokens),                          // [B, S, D]
        ];
        let blocks = self.transformer_blocks.iter();
        let both = blocks.fold(start, |both, block| block.forward(both, &told, sequence));
        let blocks = self.single_transformer_blocks.iter();
        let joined = blocks.fold(Tensor::cat(both.into(), 1), |x, block| block.forward(x, &told, sequence));
        let [scale, shift] = self.norm_out.forward::<2>(&told);
        Ok(self.proj_out.forward(modulated(joined.narrow(1, text, count), shift, scale)))
    }

    /// The pooled text of inputs that fit.
    fn check<'a>(
        &self,
        tokens: &Tensor<3>,
        timesteps: &[f64],
        condition: &'a Condition,
        positions: &Positions,
    ) -> Result<&'a Tensor<2>> {
        let wrong = |what: &str, expected: String, got: String| Err(Error::shape(what, expected, got));
        let [b, s, c] = tokens.dims();
        if c != self.in_channels || s == 0 || s != positions.picture.len() {
            let expected = format!("[B, S ≥ 1, {}] and {s} positions", self.in_channels);
            let got = format!("{:?} and {} positions", [b, s, c], positions.picture.len());
            return wrong("Flux tokens", expected, got);
        }
        let [context_batch, l, width] = condition.context.dims();
        if timesteps.len() != b || context_batch != b || l == 0 || width != self.context_width {
            let expected = format!("{b} timesteps and context [{b}, L ≥ 1, {}]", self.context_width);
            let got = format!("{} timesteps and context {:?}", timesteps.len(), [context_batch, l, width]);
            return wrong("Flux condition", expected, got);
        }
        if l != positions.text.len() {
            let got = format!("{}", positions.text.len());
            return wrong("positions of the text", format!("{l}, one for each token"), got);
        }
        if self.takes_guidance() {
            let scales = condition.guidance.as_ref().map(Vec::len);
            if scales != Some(b) {
                let got = scales.map_or("none".into(), |n| format!("{n}"));
                return wrong("Flux guidance", format!("{b} guidance scales, which dev is told"), got);
            }
        }
        let expected = format!("pooled text [{b}, {}]", self.pooled_width);
        match &condition.pooled {
            Some(pooled) if pooled.dims() == [b, self.pooled_width] => Ok(pooled),
            Some(pooled) => wrong("Flux condition", expected, format!("{:?}", pooled.dims())),
            None => wrong("Flux condition", expected, "none".into()),
        }
    }
}

#[cfg(test)]
mod tests;
