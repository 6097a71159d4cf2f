//! `AutoencoderTiny`: the TAESD family, small networks that were distilled from the full autoencoders.
//!
//! madebyollin/taesd; diffusers' `AutoencoderTiny`. There is no posterior: a picture has one latent.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, tanh};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::config_keys::{Extra, require};
use crate::nn::layout::{channels_first, channels_last};
use crate::nn::{Conv2d, GroupNorm, Init};

const FILE: &str = "vae/config.json";
/// Latents are clamped to ±3 by 3·tanh(x/3) before they are decoded.
const MAGNITUDE: f64 = 3.0;
/// Channels: more is a damaged config, not a network.
const MOST: usize = 1 << 16;
/// Blocks of a level: as [`MOST`].
const MOST_BLOCKS: usize = 256;

/// diffusers' keys of `AutoencoderTiny`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoencoderTinyConfig {
    /// `AutoencoderTiny`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Image channels in.
    pub in_channels: usize,
    /// Image channels out.
    pub out_channels: usize,
    /// Channels of the encoder's levels, finest first.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of the decoder's levels, coarsest first.
    pub decoder_block_out_channels: Vec<usize>,
    /// Only `relu`.
    pub act_fn: String,
    /// Only `nearest`.
    pub upsample_fn: String,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Factor of each enlargement; only 2.
    pub upsampling_scaling_factor: usize,
    /// Residual blocks of the encoder's levels.
    pub num_encoder_blocks: Vec<usize>,
    /// Residual blocks of the decoder's levels.
    pub num_decoder_blocks: Vec<usize>,
    /// Latents times this have the spread that the denoiser expects.
    pub scaling_factor: f64,
    /// Subtracted before that.
    pub shift_factor: f64,
    /// Whether the blocks at the coarsest level have a group norm of their own (TAEF2).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub use_midblock_gn: bool,
    /// Keys that this version has no use for.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for AutoencoderTinyConfig {
    fn default() -> Self {
        Self {
            class_name: "AutoencoderTiny".into(),
            in_channels: 3,
            out_channels: 3,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            act_fn: "relu".into(),
            upsample_fn: "nearest".into(),
            latent_channels: 4,
            upsampling_scaling_factor: 2,
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            scaling_factor: 1.0,
            shift_factor: 0.0,
            use_midblock_gn: false,
            extra: Extra::default(),
        }
    }
}

impl AutoencoderTinyConfig {
    /// f: image side over latent side.
    pub fn downsampling(&self) -> usize {
        1 << self.encoder_block_out_channels.len().saturating_sub(1)
    }

    /// Refuses what no autoencoder can be made of.
    ///
    /// # Errors
    /// `Error::Config` naming the first key that this network cannot honour.
    pub fn validate(&self) -> Result<()> {
        let bad = |key: &str, expected: String, got: String| Err(Error::config(FILE, key, expected, got));
        require(FILE, "act_fn", &self.act_fn, &["relu"])?;
        require(FILE, "upsample_fn", &self.upsample_fn, &["nearest"])?;
        if self.upsampling_scaling_factor != 2 {
            return bad("upsampling_scaling_factor", "2".into(), self.upsampling_scaling_factor.to_string());
        }
        for (key, channels, blocks) in [
            ("num_encoder_blocks", &self.encoder_block_out_channels, &self.num_encoder_blocks),
            ("num_decoder_blocks", &self.decoder_block_out_channels, &self.num_decoder_blocks),
        ] {
            if channels.is_empty() || channels.len() > 16 || channels.len() != blocks.len() {
                let expected = format!("a number for each of 1 to 16 levels, not {}", channels.len());
                return bad(key, expected, format!("{blocks:?}"));
            }
            if channels.iter().any(|n| *n != channels[0]) {
                return bad(key, "one number of channels for all levels".into(), format!("{channels:?}"));
            }
            if blocks.iter().any(|&n| n > MOST_BLOCKS) || channels.iter().any(|n| !(1..=MOST).contains(n)) {
                return bad(
                    key,
                    format!("up to {MOST_BLOCKS} blocks and {MOST} channels"),
                    format!("{blocks:?}, {channels:?}"),
                );
            }
        }
        match [self.in_channels, self.out_channels, self.latent_channels]
            .iter()
            .find(|n| !(1..=MOST).contains(*n))
        {
            Some(n) => bad("latent_channels", format!("1 to {MOST} channels"), n.to_string()),
            None => Ok(()),
        }
    }
}

/// conv(relu(conv(relu(conv(x))))) + x, then relu; with a group norm of its own, x + pool(x) takes x's place.
#[derive(Module, Debug)]
pub struct TinyBlock {
    stack_0: Conv2d,
    stack_2: Conv2d,
    stack_4: Conv2d,
    pool: Option<Pool>,
}

/// 1×1 convolution to four times the channels, group norm of four groups, relu, and back.
#[derive(Module, Debug)]
pub struct Pool {
    place_0: Conv2d,
    place_1: GroupNorm,
    place_3: Conv2d,
}

impl TinyBlock {
    fn new(channels: usize, with_norm: bool, init: &mut Init) -> Self {
        let mut conv = || Conv2d::same(channels, channels, 3, init);
        let (stack_0, stack_2, stack_4) = (conv(), conv(), conv());
        let point = |from, to, init: &mut Init| Conv2d::new(from, to, 1, 1, [0, 0], false, init);
        let pool = with_norm.then(|| Pool {
            place_0: point(channels, 4 * channels, init),
            place_1: GroupNorm::new(4, 4 * channels, 1e-5, init),
            place_3: point(4 * channels, channels, init),
        });
        Self { stack_0, stack_2, stack_4, pool }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = match &self.pool {
            Some(Pool { place_0, place_1, place_3 }) => {
                x.clone() + place_3.forward(relu(place_1.forward(place_0.forward(x))))
            }
            None => x,
        };
        let h = relu(self.stack_0.forward(x.clone()));
        let h = relu(self.stack_2.forward(h));
        relu(self.stack_4.forward(h) + x)
    }
}

/// A layer without parameters, which has a place in the list of layers all the same.
#[derive(Module, Debug)]
pub struct Activation {
    #[module(skip)]
    enlarges: bool,
}

/// What stands at one place of encoder or decoder.
#[allow(clippy::large_enum_variant, reason = "a network has a few dozen of them")]
#[derive(Module, Debug)]
pub enum TinyLayer {
    /// A convolution.
    Conv(Conv2d),
    /// A residual block.
    Block(TinyBlock),
    /// relu, or nearest-neighbour enlargement.
    Activation(Activation),
}

/// One layer after the other.
#[derive(Module, Debug)]
pub struct TinyStack {
    layers: Vec<TinyLayer>,
}

impl TinyStack {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.layers.iter().fold(x, |x, layer| match layer {
            TinyLayer::Conv(conv) => conv.forward(x),
            TinyLayer::Block(block) => block.forward(x),
            TinyLayer::Activation(Activation { enlarges: false }) => relu(x),
            TinyLayer::Activation(Activation { enlarges: true }) => {
                let [_, h, w, _] = x.dims();
                calotype_kernels::upsample_nearest(x, [2 * h, 2 * w])
            }
        })
    }
}

/// Picture to latent and back, without a posterior.
#[derive(Module, Debug)]
pub struct AutoencoderTiny {
    encoder: TinyStack,
    decoder: TinyStack,
    #[module(skip)]
    downsampling: usize,
}

impl AutoencoderTiny {
    /// A network of the shape that `config` describes.
    ///
    /// # Errors
    /// `Error::Config` where the config asks for something that this network does not have.
    pub fn new(config: &AutoencoderTinyConfig, init: &mut Init) -> Result<Self> {
        config.validate()?;
        let (encoder, decoder) = (encoder(config, init), decoder(config, init));
        Ok(Self { encoder, decoder, downsampling: config.downsampling() })
    }

    /// Latents `[B, Z, H/f, W/f]` of images `[B, 3, H, W]` in [−1, 1]. The network itself sees [0, 1].
    ///
    /// # Errors
    /// `Error::Shape` unless H and W are multiples of f.
    pub fn encode(&self, images: Tensor<4>) -> Result<Tensor<4>> {
        let ([_, _, h, w], f) = (images.dims(), self.downsampling);
        if h == 0 || w == 0 || h % f != 0 || w % f != 0 {
            let expected = format!("height and width that are multiples of {f}");
            return Err(Error::shape("autoencoder input", expected, format!("{w}x{h}")));
        }
        Ok(channels_first(self.encoder.forward(channels_last((images + 1.0) / 2.0))))
    }

    /// Images `[B, 3, f·h, f·w]`, about [−1, 1], from latents `[B, Z, h, w]`.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let clamped = tanh(latents / MAGNITUDE) * MAGNITUDE;
        channels_first(self.decoder.forward(channels_last(clamped))) * 2.0 - 1.0
    }
}

fn encoder(config: &AutoencoderTinyConfig, init: &mut Init) -> TinyStack {
    let levels = &config.encoder_block_out_channels;
    let mut layers = Vec::new();
    for (i, (&channels, &blocks)) in levels.iter().zip(&config.num_encoder_blocks).enumerate() {
        layers.push(TinyLayer::Conv(match i {
            0 => Conv2d::same(config.in_channels, channels, 3, init),
            _ => Conv2d::new(channels, channels, 3, 2, [1, 1], false, init),
        }));
        let with_norm = config.use_midblock_gn && i + 1 == levels.len();
        layers.extend((0..blocks).map(|_| TinyLayer::Block(TinyBlock::new(channels, with_norm, init))));
    }
    let last = levels[levels.len() - 1];
    layers.push(TinyLayer::Conv(Conv2d::same(last, config.latent_channels, 3, init)));
    TinyStack { layers }
}

fn decoder(config: &AutoencoderTinyConfig, init: &mut Init) -> TinyStack {
    let levels = &config.decoder_block_out_channels;
    let mut layers = vec![
        TinyLayer::Conv(Conv2d::same(config.latent_channels, levels[0], 3, init)),
        TinyLayer::Activation(Activation { enlarges: false }),
    ];
    for (i, (&channels, &blocks)) in levels.iter().zip(&config.num_decoder_blocks).enumerate() {
        let with_norm = config.use_midblock_gn && i == 0;
        layers.extend((0..blocks).map(|_| TinyLayer::Block(TinyBlock::new(channels, with_norm, init))));
        if i + 1 == levels.len() {
            layers.push(TinyLayer::Conv(Conv2d::same(channels, config.out_channels, 3, init)));
        } else {
            layers.push(TinyLayer::Activation(Activation { enlarges: true }));
            layers.push(TinyLayer::Conv(Conv2d::new(channels, channels, 3, 1, [1, 1], false, init)));
        }
    }
    TinyStack { layers }
}
