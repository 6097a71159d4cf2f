//! A LoRA of the denoiser, and of the text encoder, in training.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::DenoiserInTraining;
use super::base_model::BaseModel;
use crate::checkpoint::lora::names::kohya_name;
use crate::denoiser::Denoiser;
use crate::error::{Error, Result};
use crate::files::{NamedTensor, safetensors};
use crate::model::ComponentKind;
use crate::nn::{Init, Lora};
use crate::text_encoder::ClipText;
use crate::trainer::recipe::{LoraRecipe, Recipe};

/// The file in the model folder.
pub const LORA_FILE: &str = "lora.safetensors";

/// The low-rank changes of both networks.
#[derive(Module, Debug)]
pub struct LoraInTraining {
    /// Of the denoiser.
    pub unet: Lora,
    /// Of the text encoder; empty if it stays as it is.
    pub text_encoder: Lora,
}

impl LoraInTraining {
    /// Changes of the layers that the recipe names; at first they change nothing.
    ///
    /// # Errors
    /// `Error::Config` if no layer has one of the names.
    pub fn new(base: &BaseModel, lora: &LoraRecipe, recipe: &Recipe, device: &Device) -> Result<Self> {
        let LoraRecipe { rank, alpha, unet, text_encoder } = lora;
        let mut init = Init::random(recipe.seed.wrapping_add(4), device);
        let network = Self {
            unet: Lora::new(&base.model.denoiser.network, unet, *rank, *alpha, &mut init),
            text_encoder: Lora::new(base.text(), text_encoder, *rank, *alpha, &mut init),
        };
        let sides = [("unet", &network.unet, unet), ("text_encoder", &network.text_encoder, text_encoder)];
        for (key, lora, targets) in sides {
            require_layers(lora, &format!("diffusion.lora.{key}"), targets, recipe.path())?;
        }
        Ok(network)
    }

    /// The tensors of a LoRA file: under kohya's names of a Stable Diffusion's layers, under PEFT's of a Flux transformer's,
    /// which every program reads.
    ///
    /// - `denoiser`: what they change.
    pub fn tensors(&self, denoiser: ComponentKind) -> Vec<NamedTensor> {
        if denoiser == ComponentKind::Transformer { self.of_peft() } else { self.of_kohya() }
    }

    /// `transformer.transformer_blocks.0.attn.to_q.lora_A.weight`; α/rank is in the other matrix, since diffusers takes α for
    /// the rank where a file of this kind does not say it.
    fn of_peft(&self) -> Vec<NamedTensor> {
        let networks = [("transformer", &self.unet), ("text_encoder.text_model", &self.text_encoder)];
        let mut tensors = Vec::new();
        for (part, lora) in networks {
            for (weight, layer) in lora.layers() {
                let name = format!("{part}.{}", weight.strip_suffix(".weight").unwrap_or(weight));
                let scale = lora.alpha() / layer.down.val().dims()[0] as f64;
                for (kind, matrix) in [("lora_A", layer.down.val()), ("lora_B", layer.up.val() * scale)] {
                    let (shape, values) = numbers(matrix);
                    tensors.push(NamedTensor { name: format!("{name}.{kind}.weight"), shape, values });
                }
            }
        }
        tensors
    }

    fn of_kohya(&self) -> Vec<NamedTensor> {
        let networks = [(ComponentKind::Unet, &self.unet), (ComponentKind::TextEncoder, &self.text_encoder)];
        let mut tensors = Vec::new();
        for (part, lora) in networks {
            for (weight, layer) in lora.layers() {
                let name = kohya_name(part, weight);
                for (kind, matrix) in [("lora_down.weight", &layer.down), ("lora_up.weight", &layer.up)] {
                    let (shape, values) = numbers(matrix.val());
                    tensors.push(NamedTensor { name: format!("{name}.{kind}"), shape, values });
                }
                let alpha = vec![lora.alpha() as f32];
                tensors.push(NamedTensor { name: format!("{name}.alpha"), shape: vec![], values: alpha });
            }
        }
        tensors
    }
}

impl DenoiserInTraining for LoraInTraining {
    fn denoiser(&self, base: &BaseModel) -> Denoiser {
        self.unet.applied(base.model.denoiser.network.clone())
    }

    fn text(&self, base: &BaseModel) -> Option<ClipText> {
        let changed = self.text_encoder.layers().next().is_some();
        changed.then(|| self.text_encoder.applied(base.text().clone()))
    }

    fn save(&self, base: &BaseModel, model: &Path) -> Result<()> {
        let denoiser = ComponentKind::of_denoiser(&base.model.denoiser.config);
        safetensors::write(&model.join(LORA_FILE), &self.tensors(denoiser))
    }
}

/// Shape and values.
fn numbers(x: Tensor<2>) -> (Vec<usize>, Vec<f32>) {
    let shape = x.dims().to_vec();
    (shape, x.into_data().iter::<f32>().collect())
}

/// Refuses a name that no layer ends with.
fn require_layers(lora: &Lora, key: &str, targets: &[String], path: &Path) -> Result<()> {
    let is_there = |target: &String| {
        let mut layers = lora.layers().filter_map(|(weight, _)| weight.strip_suffix(".weight"));
        layers.any(|layer| layer == target || layer.ends_with(&format!(".{target}")))
    };
    match targets.iter().find(|target| !is_there(target)) {
        None => Ok(()),
        Some(target) => {
            let expected = "names that linear layers of the model end with";
            Err(Error::config(path, key, expected, format!("`{target}`, which none does")))
        }
    }
}
