//! `AutoencoderKL`: image to latent and back.
//!
//! Kingma & Welling 2014, arXiv:1312.6114; Rombach et al. 2022, arXiv:2112.10752, section 3.1.

pub mod blocks;
pub mod config;
pub mod decoder;
pub mod diagonal_gaussian;
pub mod discriminator;
pub mod encoder;
pub mod loss;
pub mod lpips;
pub mod patch_discriminator;
pub mod scaling;
pub mod tiny;
pub mod vae;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::error::{Error, Result};
use crate::nn::layout::{channels_first, channels_last};
use crate::nn::{Conv2d, Init, Products, parameters};

pub use config::AutoencoderConfig;
pub use decoder::Decoder;
pub use diagonal_gaussian::DiagonalGaussian;
pub use encoder::Encoder;
pub use patch_discriminator::PatchDiscriminator;
pub use scaling::LatentScaling;
pub use tiny::{AutoencoderTiny, AutoencoderTinyConfig};
pub use vae::Vae;

/// The variational autoencoder of latent diffusion.
#[derive(Module, Debug)]
pub struct AutoencoderKl {
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    #[module(skip)]
    downsampling: usize,
}

impl AutoencoderKl {
    /// A network of the shape that `config` describes.
    ///
    /// # Errors
    /// `Error::Config` where the config asks for something that this network does not have.
    pub fn new(config: &AutoencoderConfig, init: &mut Init) -> Result<Self> {
        config.validate()?;
        let z = config.latent_channels;
        Ok(Self {
            encoder: Encoder::new(config, init),
            decoder: Decoder::new(config, init),
            quant_conv: config.use_quant_conv.then(|| Conv2d::same(2 * z, 2 * z, 1, init)),
            post_quant_conv: config.use_post_quant_conv.then(|| Conv2d::same(z, z, 1, init)),
            downsampling: config.downsampling(),
        })
    }

    /// The same network with every ln σ² of the posterior starting near `logvar`.
    ///
    /// From random weights σ starts near 1, and the decoder first learns from noise; with a small σ it
    /// learns as a plain autoencoder, and β·KL then widens the posterior as far as it is worth.
    pub fn with_initial_logvar(self, logvar: f32) -> Self {
        let last = if self.quant_conv.is_some() { "quant_conv.bias" } else { "encoder.conv_out.bias" };
        parameters::replace(self, |name, shape| {
            let moments = shape[0];
            (name == last).then(|| (0..moments).map(|i| if i < moments / 2 { 0.0 } else { logvar }).collect())
        })
    }

    /// The same network with products in f32, on `device`; its weights are copied if it has others.
    ///
    /// # Errors
    /// As [`AutoencoderKl::new`].
    pub fn in_f32(&self, config: &AutoencoderConfig, device: &Device) -> Result<Self> {
        if self.last_layer().products() == Products::F32 {
            return Ok(self.clone());
        }
        Ok(parameters::copied(self, Self::new(config, &mut Init::zeros(device))?))
    }

    /// q(z | x) of images `[B, 3, H, W]` in [−1, 1]: mean and log variance `[B, Z, H/f, W/f]`, not
    /// scaled.
    ///
    /// # Errors
    /// `Error::Shape` unless H and W are multiples of the downsampling f.
    pub fn encode(&self, images: Tensor<4>) -> Result<DiagonalGaussian> {
        let [_, _, h, w] = images.dims();
        let f = self.downsampling;
        if h == 0 || w == 0 || h % f != 0 || w % f != 0 {
            let expected = format!("height and width that are multiples of {f}");
            return Err(Error::shape("autoencoder input", expected, format!("{w}x{h}")));
        }
        let h = self.encoder.forward(channels_last(images));
        let moments = match &self.quant_conv {
            Some(conv) => conv.forward(h),
            None => h,
        };
        DiagonalGaussian::from_moments(channels_first(moments))
    }

    /// Images `[B, 3, f·h, f·w]`, about [−1, 1], from unscaled latents `[B, Z, h, w]`.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        channels_first(self.last_layer().forward(self.decode_features(latents)))
    }

    /// What the decoder's last layer sees, `[B, f·h, f·w, C]`.
    pub fn decode_features(&self, latents: Tensor<4>) -> Tensor<4> {
        let z = channels_last(latents);
        let z = match &self.post_quant_conv {
            Some(conv) => conv.forward(z),
            None => z,
        };
        self.decoder.features(z)
    }

    /// The decoder's last layer, from features to pixels (channels last).
    pub fn last_layer(&self) -> &Conv2d {
        self.decoder.last_layer()
    }

    /// f: image side over latent side.
    pub fn downsampling(&self) -> usize {
        self.downsampling
    }
}
