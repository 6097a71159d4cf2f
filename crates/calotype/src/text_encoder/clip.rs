//! Both towers and the space they share.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::{ClipConfig, ClipText, ClipVision};
use crate::error::Result;
use crate::nn::{Init, Linear};

/// Upper bound of the learned logit scale: ln 100. Radford et al. 2021, section 2.5.
pub const MAX_LOGIT_SCALE: f32 = 4.605_170_2;

/// transformers' `CLIPModel`.
#[derive(Module, Debug)]
pub struct Clip {
    text_model: ClipText,
    vision_model: ClipVision,
    visual_projection: Linear,
    text_projection: Linear,
    logit_scale: Param<Tensor<1>>,
}

impl Clip {
    /// Both towers with the sizes of `config`.
    ///
    /// # Errors
    /// `Error::Config`.
    pub fn new(config: &ClipConfig, init: &mut Init) -> Result<Self> {
        let (text, vision, shared) = (&config.text_config, &config.vision_config, config.projection_dim);
        let std = |width: usize| (width as f64).powf(-0.5);
        Ok(Self {
            text_model: ClipText::new(text, init)?,
            vision_model: ClipVision::new(vision, init)?,
            visual_projection: Linear::normal(
                vision.hidden_size,
                shared,
                false,
                std(vision.hidden_size),
                init,
            ),
            text_projection: Linear::normal(text.hidden_size, shared, false, std(text.hidden_size), init),
            logit_scale: init.constant([1], config.logit_scale_init_value as f32),
        })
    }

    /// The text tower.
    pub fn text(&self) -> &ClipText {
        &self.text_model
    }

    /// Unit vectors of the texts in the shared space: `[B, projection_dim]`.
    ///
    /// # Errors
    /// As [`ClipText::forward_skipping`].
    pub fn embed_text(&self, input_ids: &[Vec<u32>]) -> Result<Tensor<2>> {
        Ok(normalise(self.text_projection.forward(self.text_model.forward(input_ids)?.pooled)))
    }

    /// Unit vectors of the images `[B, 3, S, S]` in the shared space: `[B, projection_dim]`.
    ///
    /// # Errors
    /// As [`ClipVision::forward`].
    pub fn embed_images(&self, pixel_values: Tensor<4>) -> Result<Tensor<2>> {
        Ok(normalise(self.visual_projection.forward(self.vision_model.forward(pixel_values)?)))
    }

    /// Inverse temperature e^`logit_scale`, at most 100: `[1]`.
    pub fn temperature_inverse(&self) -> Tensor<1> {
        self.logit_scale.val().exp()
    }

    /// Cosines times the inverse temperature: `[images, texts]`.
    pub fn logits_per_image(&self, image_embeds: Tensor<2>, text_embeds: Tensor<2>) -> Tensor<2> {
        image_embeds.matmul(text_embeds.transpose()) * self.temperature_inverse().reshape([1, 1])
    }
}

/// Rows divided by their Euclidean norm.
pub fn normalise(x: Tensor<2>) -> Tensor<2> {
    let norm = x.clone().square().sum_dim(1).sqrt();
    x / norm
}
