//! A model: the networks that together make pictures of texts, and what each of them is called.

use burn::tensor::Device;

use crate::autoencoder::Vae;
use crate::denoiser::{Denoiser, DenoiserConfig};
use crate::diffusion::SchedulerConfig;
use crate::error::{Error, Result};
use crate::nn::Component;
use crate::text_encoder::stack::TextStack;
use crate::text_encoder::tokenizer::ClipTokenizer;

/// Longest side in pixels. Self-attention over a larger picture would not fit any memory.
const MAX_SIDE: usize = 8192;

/// Tokens of OpenAI's CLIP.
const OPENAI_VOCABULARY: usize = 49_408;

/// What sampling, training, explaining and files mean by a model. It says nothing of a single picture: settings of
/// that kind are a request's.
#[derive(Clone)]
pub struct Model {
    /// Picture to latent and back.
    pub vae: Vae,
    /// ε_θ(z_t, t, c).
    pub denoiser: Component<Denoiser, DenoiserConfig>,
    /// Text to c.
    pub text: TextStack,
    /// Noise schedule, prediction and step grid.
    pub scheduler: SchedulerConfig,
    /// Where the networks run.
    pub device: Device,
}

impl Model {
    /// A model of networks that are in memory.
    ///
    /// # Errors
    /// `Error::Shape` if they do not fit each other.
    pub fn new(
        vae: Vae,
        denoiser: Component<Denoiser, DenoiserConfig>,
        text: TextStack,
        scheduler: SchedulerConfig,
        device: &Device,
    ) -> Result<Self> {
        let model = Self { vae, denoiser, text, scheduler, device: device.clone() };
        model.check()?;
        Ok(model)
    }

    /// Whether the components fit each other.
    fn check(&self) -> Result<()> {
        let config = &self.denoiser.config;
        let name = config.name();
        let (text, context) = (self.text.width(), config.context_width());
        if text != context {
            let expected = format!("{context}, the {name}'s cross_attention_dim");
            return Err(Error::shape("text encoder's hidden_size", expected, text));
        }
        if config.takes_sizes() != (self.text.towers.len() == 2) {
            let got = format!("{} text encoders", self.text.towers.len());
            let expected = "text_time with two text encoders, none with one";
            return Err(Error::shape(format!("{name}'s addition_embed_type"), expected, got));
        }
        let latent = self.vae.latent_channels();
        let (inputs, outputs) = (config.in_channels(), config.out_channels());
        if inputs != latent && inputs != 2 * latent + 1 {
            let expected = format!("{latent}, the VAE's latent_channels, or {} to inpaint", 2 * latent + 1);
            return Err(Error::shape(format!("{name}'s in_channels"), expected, inputs));
        }
        if outputs != latent {
            let expected = format!("{latent}, the VAE's latent_channels");
            return Err(Error::shape(format!("{name}'s out_channels"), expected, outputs));
        }
        Ok(())
    }

    /// The (first) tokenizer.
    pub fn tokenizer(&self) -> &ClipTokenizer {
        &self.text.first().tokenizer
    }

    /// Whether the denoiser takes a mask and the masked picture beside the latent.
    pub fn is_inpainting(&self) -> bool {
        self.denoiser.config.in_channels() != self.vae.latent_channels()
    }

    /// Guidance where nobody says: 7.5 for models with OpenAI's vocabulary, as Stable Diffusion's pipelines have it;
    /// 3 for models trained here.
    pub fn default_guidance(&self) -> f64 {
        if self.tokenizer().vocab_size() == OPENAI_VOCABULARY { 7.5 } else { 3.0 }
    }

    /// Side in pixels of the pictures that the model was trained on.
    pub fn default_size(&self) -> usize {
        self.denoiser.config.sample_size() * self.vae.downsampling()
    }

    /// `[C, h, w]` of the latents of a picture of `width` × `height` pixels.
    ///
    /// # Errors
    /// `Error::Argument` unless both are multiples of the VAE's downsampling, at least once it.
    pub fn latent_shape(&self, width: usize, height: usize) -> Result<[usize; 3]> {
        let f = self.vae.downsampling();
        for (name, value) in [("width", width), ("height", height)] {
            if value == 0 || value % f != 0 || value > MAX_SIDE {
                return Err(Error::argument(name, format!("a multiple of {f}, at most {MAX_SIDE}"), value));
            }
        }
        Ok([self.vae.latent_channels(), height / f, width / f])
    }
}

/// A network of a model, with a folder and a weight file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ComponentKind {
    /// `UNet2DConditionModel`.
    Unet,
    /// `FluxTransformer2DModel`.
    Transformer,
    /// `AutoencoderKL` or `AutoencoderTiny`.
    Vae,
    /// `CLIPTextModel`; of the two in Stable Diffusion XL, the first.
    TextEncoder,
    /// `CLIPTextModelWithProjection` in Stable Diffusion XL, `T5EncoderModel` in Flux.
    TextEncoder2,
}

impl ComponentKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Unet, Self::Transformer, Self::Vae, Self::TextEncoder, Self::TextEncoder2];

    /// The denoisers; a model has one of them.
    pub const DENOISERS: [Self; 2] = [Self::Unet, Self::Transformer];

    /// The denoiser that a config describes.
    pub fn of_denoiser(config: &DenoiserConfig) -> Self {
        match config {
            DenoiserConfig::Unet(_) => Self::Unet,
            DenoiserConfig::Flux(_) => Self::Transformer,
        }
    }

    /// Its folder in a model folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::Transformer => "transformer",
            Self::Vae => "vae",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        }
    }

    /// What its weight file is called, without the ending.
    pub fn weights_stem(self) -> &'static str {
        match self {
            Self::Unet | Self::Transformer | Self::Vae => "diffusion_pytorch_model",
            Self::TextEncoder | Self::TextEncoder2 => "model",
        }
    }
}
