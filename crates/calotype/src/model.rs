//! A model: the networks that together make pictures of texts, and what each of them is called.

/// A network of a model, with a folder and a weight file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ComponentKind {
    /// `UNet2DConditionModel`.
    Unet,
    /// `AutoencoderKL` or `AutoencoderTiny`.
    Vae,
    /// `CLIPTextModel`; of the two in Stable Diffusion XL, the first.
    TextEncoder,
    /// `CLIPTextModelWithProjection`, only in Stable Diffusion XL.
    TextEncoder2,
}

impl ComponentKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Unet, Self::Vae, Self::TextEncoder, Self::TextEncoder2];

    /// Its folder in a model folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::Vae => "vae",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        }
    }

    /// What its weight file is called, without the ending.
    pub fn weights_stem(self) -> &'static str {
        match self {
            Self::Unet | Self::Vae => "diffusion_pytorch_model",
            Self::TextEncoder | Self::TextEncoder2 => "model",
        }
    }
}
