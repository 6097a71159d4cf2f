//! The vision tower: a vision transformer. Dosovitskiy et al. 2021, arXiv:2010.11929.

use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor};
use calotype_kernels::add_rows;

use super::ClipVisionConfig;
use super::encoder::Encoder;
use crate::error::{Error, Result};
use crate::nn::layout::channels_last;
use crate::nn::{Conv2d, Init, LayerNorm};

#[derive(Module, Debug)]
struct PositionEmbedding {
    weight: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
struct VisionEmbeddings {
    class_embedding: Param<Tensor<1>>,
    patch_embedding: Conv2d,
    position_embedding: PositionEmbedding,
}

/// transformers' `CLIPVisionTransformer`: images to features. `pre_layrnorm` is spelled as there.
#[derive(Module, Debug)]
pub struct ClipVision {
    embeddings: VisionEmbeddings,
    pre_layrnorm: LayerNorm,
    encoder: Encoder,
    post_layernorm: LayerNorm,
    #[module(skip)]
    image_size: usize,
}

impl ClipVision {
    /// Embeddings start at N(0, 1/width), as in Radford et al. 2021's code.
    ///
    /// # Errors
    /// `Error::Config`.
    pub fn new(config: &ClipVisionConfig, init: &mut Init) -> Result<Self> {
        config.validate()?;
        let width = config.hidden_size;
        let (patch, std) = (config.patch_size, (width as f64).powf(-0.5));
        let patches = (config.image_size / patch).pow(2);
        Ok(Self {
            embeddings: VisionEmbeddings {
                class_embedding: init.normal([width], std),
                patch_embedding: Conv2d::new(config.num_channels, width, patch, patch, [0, 0], false, init),
                position_embedding: PositionEmbedding { weight: init.normal([patches + 1, width], std) },
            },
            pre_layrnorm: LayerNorm::new(width, config.layer_norm_eps, init),
            encoder: Encoder::new(config.into(), init),
            post_layernorm: LayerNorm::new(width, config.layer_norm_eps, init),
            image_size: config.image_size,
        })
    }

    /// Images `[B, 3, S, S]` to the pooled feature of the class token `[B, width]`.
    ///
    /// # Errors
    /// `Error::Shape` unless S is the config's `image_size`.
    pub fn forward(&self, pixel_values: Tensor<4>) -> Result<Tensor<2>> {
        let [b, _, h, w] = pixel_values.dims();
        if h != self.image_size || w != self.image_size {
            return Err(Error::shape(
                "vision tower input",
                format!("{0}x{0}", self.image_size),
                format!("{w}x{h}"),
            ));
        }
        let patches = self.embeddings.patch_embedding.forward(channels_last(pixel_values)); // [B, S/p, S/p, D]
        let [_, rows, columns, width] = patches.dims();
        let patches = patches.reshape([b, rows * columns, width]);
        let class = self.embeddings.class_embedding.val().reshape([1, 1, width]).repeat_dim(0, b);
        let positions = self.embeddings.position_embedding.weight.val().cast(DType::F32);
        let h = add_rows(Tensor::cat(vec![class, patches], 1), positions); // [B, 1 + patches, D]
        let h = self.encoder.forward(self.pre_layrnorm.forward(h), false);
        let class = h.narrow(1, 0, 1).reshape([b, width]);
        Ok(self.post_layernorm.forward(class))
    }
}
