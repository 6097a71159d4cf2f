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
    /// Where pictures are made. The networks' weights are there too, or in the host's memory
    /// ([`offload`](crate::pipeline::Request::offload)): text is read where they are, all else computed here.
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
        if config.takes_sizes() != (self.text.clip.len() == 2) {
            let got = format!("{} text encoders", self.text.clip.len());
            let expected = "text_time with two text encoders, none with one";
            return Err(Error::shape(format!("{name}'s addition_embed_type"), expected, got));
        }
        if let (Some(width), Some(expected)) = (self.text.pooled_width(), config.pooled_width())
            && width != expected
        {
            let expected = format!("{expected}, the {name}'s pooled_projection_dim");
            return Err(Error::shape("width of CLIP's pooled feature", expected, width));
        }
        self.beside()?;
        let (latent, outputs) = (self.vae.latent_channels(), config.out_channels());
        if outputs != latent {
            let expected = format!("{latent}, the VAE's latent_channels");
            return Err(Error::shape(format!("{name}'s out_channels"), expected, outputs));
        }
        Ok(())
    }

    /// What the denoiser takes beside the noisy latent.
    fn beside(&self) -> Result<Beside> {
        let (latent, pixels) = (self.vae.latent_channels(), self.vae.downsampling().pow(2));
        let inputs = self.denoiser.config.in_channels();
        let known: &[(usize, Beside, &str)] = match &self.denoiser.config {
            DenoiserConfig::Unet(_) => &[(2 * latent + 1, Beside::Masked, "to inpaint")],
            DenoiserConfig::Flux(_) => &[
                (2 * latent + pixels, Beside::MaskedWithPixels, "to fill"),
                (2 * latent, Beside::Reference, "to be told another picture"),
            ],
        };
        if inputs == latent {
            return Ok(Beside::Nothing);
        }
        if let Some((_, beside, _)) = known.iter().find(|(channels, ..)| *channels == inputs) {
            return Ok(*beside);
        }
        let others = known.iter().map(|(channels, _, why)| format!(", or {channels} {why}"));
        let expected = format!("{latent}, the VAE's latent_channels{}", others.collect::<String>());
        Err(Error::shape(format!("{}'s in_channels", self.denoiser.config.name()), expected, inputs))
    }

    /// The (first) tokenizer.
    pub fn tokenizer(&self) -> &ClipTokenizer {
        &self.text.first().tokenizer
    }

    /// What the denoiser takes beside the noisy latent, in channels of its own.
    pub fn input_beside(&self) -> Beside {
        // A model of which nothing is known is none.
        self.beside().unwrap_or(Beside::Nothing)
    }

    /// Whether the denoiser takes a mask and the masked picture beside the latent.
    pub fn is_inpainting(&self) -> bool {
        matches!(self.input_beside(), Beside::Masked | Beside::MaskedWithPixels)
    }

    /// Whether guidance was distilled into the denoiser: its prediction is the guided one, of a scale that it is told
    /// (Flux's dev, latent consistency models) or of none (schnell).
    pub fn is_guidance_distilled(&self) -> bool {
        self.denoiser.network.takes_guidance() || self.text.t5.is_some()
    }

    /// Whether the denoiser is guided and told no scale.
    pub fn has_its_own_guidance(&self) -> bool {
        self.is_guidance_distilled() && !self.denoiser.network.takes_guidance()
    }

    /// Guidance where nobody says: of Flux's families as diffusers' pipelines have it; 7.5 for models with OpenAI's vocabulary, as
    /// Stable Diffusion's pipelines have it; 3 for models trained here.
    pub fn default_guidance(&self) -> f64 {
        match (&self.text.t5, self.input_beside()) {
            _ if self.has_its_own_guidance() => 1.0,
            (Some(_), Beside::MaskedWithPixels) => 30.0,
            (Some(_), _) => 3.5,
            (None, _) if self.tokenizer().vocab_size() == OPENAI_VOCABULARY => 7.5,
            (None, _) => 3.0,
        }
    }

    /// Steps where nobody says: of Flux's families as diffusers' pipelines, of schnell as its card has them; 30 for others.
    pub fn default_steps(&self) -> usize {
        match (&self.text.t5, self.input_beside()) {
            _ if self.has_its_own_guidance() => 4,
            (Some(_), Beside::MaskedWithPixels) => 50,
            (Some(_), _) => 28,
            (None, _) => 30,
        }
    }

    /// Share of the steps that change an initial picture, where nobody says: as diffusers' pipelines.
    pub fn default_strength(&self) -> f64 {
        match self.denoiser.config {
            DenoiserConfig::Unet(_) => 0.8,
            DenoiserConfig::Flux(_) => 0.6,
        }
    }

    /// Side in pixels of the pictures that the model was trained on.
    pub fn default_size(&self) -> usize {
        self.denoiser.config.sample_size() * self.vae.downsampling()
    }

    /// What width and height in pixels are multiples of: the VAE's downsampling, and of networks that read tokens of
    /// several pixels of the latent, these.
    pub fn side_multiple(&self) -> usize {
        self.vae.downsampling() * self.denoiser.config.token_side()
    }

    /// `[C, h, w]` of the latents of a picture of `width` × `height` pixels.
    ///
    /// # Errors
    /// `Error::Argument` unless both are multiples of [`Model::side_multiple`], at least once it.
    pub fn latent_shape(&self, width: usize, height: usize) -> Result<[usize; 3]> {
        let (f, multiple) = (self.vae.downsampling(), self.side_multiple());
        for (name, value) in [("width", width), ("height", height)] {
            if value == 0 || value % multiple != 0 || value > MAX_SIDE {
                let expected = format!("a multiple of {multiple}, at most {MAX_SIDE}");
                return Err(Error::argument(name, expected, value));
            }
        }
        Ok([self.vae.latent_channels(), height / f, width / f])
    }
}

/// What a denoiser takes beside the noisy latent, as channels behind those of the latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// The mask at the latent's size, then the latent of the picture without what is painted: Stable Diffusion's inpainting.
    Masked,
    /// The latent of the picture without what is painted, then the mask's pixels, those of each pixel of the latent as
    /// channels: Flux's Fill.
    MaskedWithPixels,
    /// The latent of another picture: Flux's Depth and Canny.
    Reference,
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
