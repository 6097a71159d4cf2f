//! `[vae]`: the autoencoder and its loss.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Check, DataRecipe, TrainingRecipe};
use crate::autoencoder::AutoencoderConfig;
pub use crate::autoencoder::discriminator::DiscriminatorLoss;
pub use crate::autoencoder::loss::{AutoencoderObjective, Reconstruction};
use crate::error::Result;

/// `[vae]`. The shape of the network is that of the recipe's `model`, if it names one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeRecipe {
    /// Channels at each level, finest first.
    #[serde(default)]
    pub block_out_channels: Vec<usize>,
    /// Residual blocks at each level.
    #[serde(default = "super::one")]
    pub layers_per_block: usize,
    /// Channels of the latent.
    #[serde(default = "super::four")]
    pub latent_channels: usize,
    /// Groups of the group norms.
    #[serde(default = "super::eight")]
    pub norm_num_groups: usize,
    /// Self-attention in the middle.
    #[serde(default)]
    pub mid_block_add_attention: bool,
    /// The loss, see [`crate::autoencoder::loss`].
    #[serde(default)]
    pub objective: AutoencoderObjective,
    /// Error that the reconstruction is judged by.
    #[serde(default)]
    pub reconstruction: Reconstruction,
    /// Weight of the KL term, see [`crate::autoencoder::loss`].
    pub beta: f64,
    /// Steps over which β rises from 0.
    #[serde(default)]
    pub beta_warm_up: usize,
    /// Weight of the halved latent's reconstruction, see [`crate::autoencoder::loss::halved`]; 0 for none.
    #[serde(default)]
    pub scale_equivariance: f64,
    /// What latents are multiplied by; measured after the training if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling_factor: Option<f64>,
    /// LPIPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perceptual: Option<PerceptualRecipe>,
    /// A discriminator of patches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adversarial: Option<AdversarialRecipe>,
    /// Weights of FID's Inception: then every validation measures the reconstructions' FID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inception: Option<PathBuf>,
    /// Leaves the encoder, and so the latents, as they are.
    #[serde(default)]
    pub decoder_only: bool,
    /// The training.
    pub training: TrainingRecipe,
}

/// `[vae.perceptual]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerceptualRecipe {
    /// Weight of LPIPS beside the reconstruction's 1.
    pub weight: f64,
    /// Weights of VGG-16 or AlexNet (torchvision's file).
    pub backbone: PathBuf,
    /// LPIPS's own linear weights (`vgg.pth`, `alex.pth`).
    pub linear: PathBuf,
}

/// `[vae.adversarial]`. Esser et al. 2021, arXiv:2012.09841, section 3.1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdversarialRecipe {
    /// Weight before it is adapted to the gradients at the decoder's last layer.
    pub weight: f64,
    /// Step at which it begins to count.
    pub start: usize,
    /// What the discriminator minimises.
    #[serde(default)]
    pub loss: DiscriminatorLoss,
    /// Channels of the discriminator's first layer.
    #[serde(default = "sixty_four")]
    pub channels: usize,
    /// Its layers of stride 2; a patch is 70 pixels wide with 3, 34 with 2, 16 with 1.
    #[serde(default = "super::three")]
    pub layers: usize,
}

fn sixty_four() -> usize {
    64
}

impl VaeRecipe {
    pub(super) fn validate(&self, check: &Check, scratch: bool, data: &DataRecipe) -> Result<()> {
        check.that(self.beta >= 0.0 && self.beta.is_finite(), "beta", "at least 0", self.beta)?;
        let absolute =
            self.objective != AutoencoderObjective::Ldm || self.reconstruction == Reconstruction::L1;
        let expected = "l1 with `objective = \"ldm\"`: its likelihood is of |x - x'|";
        check.that(absolute, "reconstruction", expected, "mse")?;
        if let Some(factor) = self.scaling_factor {
            check.that(factor > 0.0 && factor.is_finite(), "scaling_factor", "above 0", factor)?;
            let own = "nothing with `decoder_only`, which leaves the latents as they are";
            check.that(!self.decoder_only, "scaling_factor", own, factor)?;
        }
        let weight = self.scale_equivariance;
        check.that(weight >= 0.0 && weight.is_finite(), "scale_equivariance", "at least 0", weight)?;
        if let Some(perceptual) = &self.perceptual {
            check.that(perceptual.weight > 0.0, "perceptual.weight", "above 0", perceptual.weight)?;
        }
        if let Some(adversarial) = &self.adversarial {
            check.that(adversarial.weight > 0.0, "adversarial.weight", "above 0", adversarial.weight)?;
            check.that(adversarial.channels > 0, "adversarial.channels", "at least 1", 0)?;
            let layers = adversarial.layers;
            check.that((1..=5).contains(&layers), "adversarial.layers", "1 to 5", layers)?;
            // Two layers of stride 1 take a pixel each from what is left after the others.
            let fits = data.size >> layers >= 3;
            check.that(fits, "adversarial.layers", format!("fewer for {} pixels", data.size), layers)?;
        }
        if !scratch {
            return Ok(());
        }
        check.that(!self.decoder_only, "decoder_only", "a `model` whose encoder stays", "no `model`")?;
        let config = self.config(data.size as usize);
        config.validate()?;
        let (size, f) = (data.size as usize, config.downsampling());
        check.that(
            size.is_multiple_of(f),
            "block_out_channels",
            format!("a downsampling that divides `data.size` {size}"),
            format!("{f}"),
        )
    }

    /// The same without what does not decide the weights.
    pub(crate) fn identity(&self) -> Self {
        Self { inception: None, training: self.training.identity(), ..self.clone() }
    }

    /// `vae/config.json` before training; `scaling_factor` is measured later.
    pub fn config(&self, size: usize) -> AutoencoderConfig {
        AutoencoderConfig {
            latent_channels: self.latent_channels,
            layers_per_block: self.layers_per_block,
            norm_num_groups: self.norm_num_groups,
            mid_block_add_attention: self.mid_block_add_attention,
            sample_size: Some(size),
            ..AutoencoderConfig::default()
        }
        .with_levels(self.block_out_channels.clone())
    }
}
