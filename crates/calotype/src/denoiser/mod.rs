//! ε_θ(z_t, t, c): predicts the noise in a latent, given the timestep and the text.
//!
//! Ho et al. 2020, arXiv:2006.11239; Rombach et al. 2022, arXiv:2112.10752, section 3.3.
//!
//! Every network that can do that is a variant of [`Denoiser`], and a folder of its own.

pub mod condition;
pub mod flux;
pub mod grounding;
pub mod recompute;
pub mod unet;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::nn::{AttentionHook, Init};

pub use condition::Condition;
pub use flux::{Flux, FluxConfig};
pub use unet::{Unet, UnetConfig};

/// A denoiser of any kind.
#[allow(clippy::large_enum_variant, reason = "a model has one")]
#[derive(Module, Debug)]
pub enum Denoiser {
    /// diffusers' `UNet2DConditionModel`.
    Unet(Unet),
    /// diffusers' `FluxTransformer2DModel`.
    Flux(Flux),
}

/// The `config.json` of a denoiser.
#[allow(clippy::large_enum_variant, reason = "a model has one")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Value")]
pub enum DenoiserConfig {
    /// Of a [`Denoiser::Unet`].
    Unet(UnetConfig),
    /// Of a [`Denoiser::Flux`].
    Flux(FluxConfig),
}

impl Denoiser {
    /// A network of the kind and the shape that `config` describes.
    ///
    /// # Errors
    /// `Error::Config` where the config asks for something that the network does not have.
    pub fn new(config: &DenoiserConfig, init: &mut Init) -> Result<Self> {
        match config {
            DenoiserConfig::Unet(config) => Ok(Self::Unet(Unet::new(config, init)?)),
            DenoiserConfig::Flux(config) => Ok(Self::Flux(Flux::new(config, init)?)),
        }
    }

    /// - `x_t`: `[B, in, H, W]`, noisy scaled latents.
    /// - `timesteps`: `B` numbers in [0, T).
    /// - `condition`: of the same batch.
    /// - `hook`: sees the probabilities of every layer in which the picture reads the text.
    ///
    /// Returns `[B, out, H, W]`: what the network was trained to predict.
    ///
    /// # Errors
    /// `Error::Shape` if channels, batch sizes or the condition do not fit.
    pub fn forward(
        &self,
        x_t: Tensor<4>,
        timesteps: &[f64],
        condition: &Condition,
        hook: Option<&dyn AttentionHook>,
    ) -> Result<Tensor<4>> {
        match self {
            Self::Unet(unet) => unet.forward(x_t, timesteps, condition, hook),
            Self::Flux(flux) => flux.forward(x_t, timesteps, condition, hook),
        }
    }

    /// Whether guidance is in the network: a scale, and no second pass.
    pub fn takes_guidance(&self) -> bool {
        match self {
            Self::Unet(unet) => unet.takes_guidance(),
            Self::Flux(flux) => flux.takes_guidance(),
        }
    }
}

impl DenoiserConfig {
    /// `_class_name` of each kind; a config without one is of the first.
    pub const CLASSES: [&str; 2] = ["UNet2DConditionModel", "FluxTransformer2DModel"];

    /// Reads a `config.json` of the class `_class_name`; `None` for a class that is not known.
    pub fn of_class(class: &str, config: Value) -> Option<serde_json::Result<Self>> {
        match class {
            "UNet2DConditionModel" => Some(serde_json::from_value(config).map(Self::Unet)),
            "FluxTransformer2DModel" => Some(serde_json::from_value(config).map(Self::Flux)),
            _ => None,
        }
    }

    /// `_class_name`.
    pub fn class_name(&self) -> &'static str {
        match self {
            Self::Unet(_) => Self::CLASSES[0],
            Self::Flux(_) => Self::CLASSES[1],
        }
    }

    /// What messages call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unet(_) => "U-Net",
            Self::Flux(_) => "Flux transformer",
        }
    }

    /// Whether the network exists.
    ///
    /// # Errors
    /// `Error::Config` where the config asks for something that the network does not have.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Unet(config) => config.validate(),
            Self::Flux(config) => config.validate(),
        }
    }

    /// Channels of what goes in: those of the latent, and of what an inpainting network takes beside it.
    pub fn in_channels(&self) -> usize {
        match self {
            Self::Unet(config) => config.in_channels,
            Self::Flux(config) => config.in_channels / flux::config::PATCH,
        }
    }

    /// Channels of what comes out.
    pub fn out_channels(&self) -> usize {
        match self {
            Self::Unet(config) => config.out_channels,
            Self::Flux(config) => config.out_channels() / flux::config::PATCH,
        }
    }

    /// Width of the text features, [`Condition::context`].
    pub fn context_width(&self) -> usize {
        match self {
            Self::Unet(config) => config.cross_attention_dim,
            Self::Flux(config) => config.joint_attention_dim,
        }
    }

    /// Width of [`Condition::pooled`] where it alone is taken, without sizes.
    pub fn pooled_width(&self) -> Option<usize> {
        match self {
            Self::Unet(_) => None,
            Self::Flux(config) => Some(config.pooled_projection_dim),
        }
    }

    /// Pixels of the latent in a row of a token; 1 for networks that read the latent itself.
    pub fn token_side(&self) -> usize {
        match self {
            Self::Unet(_) => 1,
            Self::Flux(_) => flux::config::PATCH.isqrt(),
        }
    }

    /// Whether the network takes [`Condition::pooled`] and [`Condition::sizes`].
    pub fn takes_sizes(&self) -> bool {
        match self {
            Self::Unet(config) => config.added_widths().is_some(),
            Self::Flux(_) => false,
        }
    }

    /// Sizes (height, width) at which latents of `height` × `width` read the text, finest first.
    pub fn cross_attention_sizes(&self, height: usize, width: usize) -> Vec<(usize, usize)> {
        match self {
            Self::Unet(config) => config.cross_attention_sizes(height, width),
            Self::Flux(_) => vec![(height / self.token_side(), width / self.token_side())],
        }
    }

    /// Numbers of heads of the layers with these sizes, in the same order.
    pub fn cross_attention_heads(&self) -> Vec<usize> {
        match self {
            Self::Unet(config) => config.cross_attention_heads(),
            Self::Flux(config) => vec![config.num_attention_heads],
        }
    }

    /// Tokens of a picture whose latents are `height` × `width`, of networks that read pictures in tokens.
    pub fn picture_tokens(&self, height: usize, width: usize) -> Option<usize> {
        match self {
            Self::Unet(_) => None,
            Self::Flux(_) => Some((height / self.token_side()) * (width / self.token_side())),
        }
    }

    /// Whether a hook may compute the network's attention otherwise ([`AttentionHook::rewired`]).
    pub fn can_be_rewired(&self) -> bool {
        match self {
            Self::Unet(_) => true,
            Self::Flux(_) => false,
        }
    }

    /// Side of the latents that the network was trained on.
    pub fn sample_size(&self) -> usize {
        match self {
            Self::Unet(config) => config.sample_size.unwrap_or(64),
            Self::Flux(config) => config.sample_size.unwrap_or(flux::config::USUAL_SAMPLE_SIZE),
        }
    }
}

/// By the class that it names; a config without one is of the first.
impl TryFrom<Value> for DenoiserConfig {
    type Error = String;

    fn try_from(config: Value) -> std::result::Result<Self, String> {
        let class = config["_class_name"].as_str().unwrap_or(Self::CLASSES[0]).to_owned();
        match Self::of_class(&class, config) {
            Some(config) => config.map_err(|e| e.to_string()),
            None => Err(format!("`_class_name`: expected {}, got `{class}`", Self::CLASSES.join(" or "))),
        }
    }
}
