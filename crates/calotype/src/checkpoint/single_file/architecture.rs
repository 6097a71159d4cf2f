//! Which model a single file holds.

use crate::model::ComponentKind;
use std::collections::BTreeMap;

use serde_json::Value;

use super::layout::KeyLayout;
use super::names::Shapes;
use super::scheduler::{self, Prediction, V_SPREAD};
use super::unet_config::UnetShapes;
use super::{text_config, vae_config};

const UNET: &str = "model.diffusion_model.";

/// The families whose single files can be opened and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// SD 1.x: OpenAI's CLIP ViT-L, 8 heads everywhere.
    StableDiffusion1,
    /// SD 2.x: OpenCLIP ViT-H without its last layer, heads of 64.
    StableDiffusion2,
    /// SDXL: both CLIP ViT-L and OpenCLIP ViT-bigG, heads of 64.
    StableDiffusionXl,
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Architecture::StableDiffusion1 => "Stable Diffusion 1",
            Architecture::StableDiffusion2 => "Stable Diffusion 2",
            Architecture::StableDiffusionXl => "Stable Diffusion XL",
        })
    }
}

impl Architecture {
    /// Of a model folder: two towers are SDXL's; of one tower, OpenCLIP's activation is exact GELU.
    pub fn of_folder(text_encoder: &Value, has_text_encoder_2: bool) -> Self {
        match (has_text_encoder_2, text_encoder["hidden_act"].as_str()) {
            (true, _) => Architecture::StableDiffusionXl,
            (false, Some("gelu")) => Architecture::StableDiffusion2,
            (false, _) => Architecture::StableDiffusion1,
        }
    }

    /// Side of the training pictures.
    fn image_size(self, prediction: &Prediction) -> usize {
        match self {
            Architecture::StableDiffusionXl => 1024,
            Architecture::StableDiffusion2 if prediction.is_v => 768,
            _ => 512,
        }
    }

    /// 1 / standard deviation of the autoencoder's latents.
    fn scaling_factor(self) -> f64 {
        match self {
            Architecture::StableDiffusionXl => 0.13025,
            _ => 0.18215,
        }
    }
}

/// The `config.json` of every component, keys as diffusers and transformers write them.
#[derive(Debug, Clone, PartialEq)]
pub struct Configs {
    /// `unet/config.json`.
    pub unet: Value,
    /// `vae/config.json`.
    pub vae: Value,
    /// `text_encoder/config.json`.
    pub text_encoder: Value,
    /// `text_encoder_2/config.json`, of SDXL.
    pub text_encoder_2: Option<Value>,
    /// `scheduler/scheduler_config.json`.
    pub scheduler: Value,
}

/// What is known of a single file from its keys and shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognised {
    /// The family.
    pub architecture: Architecture,
    /// Whether the U-Net also takes a mask and the latent of the masked picture (9 channels).
    pub inpainting: bool,
    /// What the network predicts.
    pub prediction: Prediction,
    /// The configs. Shapes do not tell how many heads and norm groups there are: the families' rules do.
    pub configs: Configs,
    /// What names depend on.
    pub layout: KeyLayout,
}

impl Recognised {
    /// Decides between v and ε by the values of the tensor that [`Prediction::evidence`] names, as ComfyUI
    /// does. The threshold was found on Stability's weights; it says nothing about weights that are not
    /// descended from these. Without evidence, nothing changes.
    pub fn settle_prediction(&mut self, values: &[f32]) {
        if self.prediction.evidence.take().is_none() || values.is_empty() {
            return;
        }
        let count = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
        self.prediction.is_v = variance.sqrt() > V_SPREAD;
        self.configs.scheduler = scheduler::config(self.architecture, &self.prediction);
        let image_size = self.architecture.image_size(&self.prediction);
        self.configs.vae["sample_size"] = image_size.into();
        self.configs.unet["sample_size"] = latent_side(image_size, self.layout.vae_levels).into();
    }
}

/// What a single file with tensors of these `shapes` is.
///
/// # Errors
/// Text: the name of a model that is not one of [`Architecture`] (SD 3, Flux, SDXL's refiner, …), the
/// component that is missing, or the tensor that does not fit the others.
pub fn recognise(shapes: &BTreeMap<String, Vec<usize>>) -> Result<Recognised, String> {
    refuse_others(shapes)?;
    let architecture = architecture(shapes)?;
    let under = |component: ComponentKind| {
        let prefixes = component.prefixes(architecture).iter();
        prefixes.map(|prefix| Shapes::new(shapes, prefix)).find(Shapes::any)
    };
    let missing =
        |component: ComponentKind| format!("the file has no {} for {architecture}", component.folder());
    let unet_shapes =
        UnetShapes::read(under(ComponentKind::Unet).ok_or_else(|| missing(ComponentKind::Unet))?)?;
    let inpainting = check_channels(&unet_shapes)?;
    let last_norm = format!("{UNET}{}", unet_shapes.last_norm());
    let prediction = Prediction::guess(shapes, architecture, inpainting, last_norm);
    let image_size = architecture.image_size(&prediction);
    let vae_shapes = under(ComponentKind::Vae).ok_or_else(|| missing(ComponentKind::Vae))?;
    let vae = vae_config::config(vae_shapes, image_size, architecture.scaling_factor())?;
    let tower = |component: ComponentKind| {
        let shapes = under(component).ok_or_else(|| missing(component))?;
        text_config::config(shapes, component, architecture)
    };
    let text_encoder = tower(ComponentKind::TextEncoder)?;
    let second = architecture == Architecture::StableDiffusionXl;
    let text_encoder_2 = second.then(|| tower(ComponentKind::TextEncoder2)).transpose()?;
    let pooled = text_encoder_2.as_ref().and_then(|config| config["projection_dim"].as_u64());
    let pooled = pooled.and_then(|width| usize::try_from(width).ok());
    let vae_levels = vae["block_out_channels"].as_array().map_or(0, Vec::len);
    let mut unet = unet_shapes.config(architecture, latent_side(image_size, vae_levels), pooled)?;
    if architecture == Architecture::StableDiffusion2 && !inpainting {
        // Its attention logits overflow in half precision; diffusers' folder of SD 2.1 says so too.
        unet["upcast_attention"] = true.into();
    }
    let layout = KeyLayout::from_configs(&unet, &vae, &text_encoder, text_encoder_2.as_ref())?;
    let scheduler = scheduler::config(architecture, &prediction);
    let configs = Configs { unet, vae, text_encoder, text_encoder_2, scheduler };
    Ok(Recognised { architecture, inpainting, prediction, configs, layout })
}

/// Side of the latent of a picture: every level of the autoencoder but the last halves it.
fn latent_side(image_size: usize, vae_levels: usize) -> usize {
    (1..vae_levels).fold(image_size, |side, _| side / 2).max(1)
}

/// By the text encoder: its names differ in every family.
fn architecture(shapes: &BTreeMap<String, Vec<usize>>) -> Result<Architecture, String> {
    let any = |prefix: &str| Shapes::new(shapes, prefix).any();
    let labelled = any(&format!("{UNET}label_emb."));
    if any("conditioner.embedders.1.model.") {
        return Ok(Architecture::StableDiffusionXl);
    }
    if any("conditioner.embedders.0.model.") && labelled {
        return Err(
            "this is the SDXL refiner, which only finishes what SDXL's base model began; expected a model \
            that begins with noise"
                .into(),
        );
    }
    let families = [Architecture::StableDiffusion1, Architecture::StableDiffusion2];
    let has =
        |family: &Architecture| ComponentKind::TextEncoder.prefixes(*family).iter().any(|prefix| any(prefix));
    families.into_iter().find(has).ok_or_else(|| {
        "the file has a U-Net and no text encoder (`cond_stage_model.…` or `conditioner.…`): expected a \
            whole model"
            .into()
    })
}

/// (what keys begin with, in `model.diffusion_model.` or at the top; what that is), most special first.
const OTHERS: [(&str, &str); 18] = [
    ("joint_blocks.", "Stable Diffusion 3"),
    ("distilled_guidance_layer.", "Chroma"),
    ("double_stream_modulation_img.", "Flux 2"),
    ("single_stream_modulation.", "Flux 2"),
    ("txt_in.individual_token_refiner.", "HunyuanVideo"),
    ("double_blocks.", "a relative of Flux.1 that is not known here"),
    ("control_model.", "a ControlNet"),
    ("controlnet_cond_embedding.", "a ControlNet"),
    ("lora_unet_", "a LoRA, which changes a model and is given beside one"),
    ("lora_te", "a LoRA, which changes a model and is given beside one"),
    ("edm_mean", "Playground v2.5, which has another noise schedule"),
    ("depth_model.", "Stable Diffusion 2 with depth"),
    ("embedder.model.", "Stable unCLIP"),
    ("cond_stage_model.roberta.", "AltDiffusion"),
    ("down_blocks.", "one component in diffusers' names: give the folder of the whole model"),
    ("unet.", "diffusers' names in one file: give a model folder"),
    ("encoder.down.", "an autoencoder alone"),
    ("text_model.", "a text encoder alone"),
];

/// Other models that are met in single files, by name.
fn refuse_others(shapes: &BTreeMap<String, Vec<usize>>) -> Result<(), String> {
    for (start, what) in OTHERS {
        let inside = format!("{UNET}{start}");
        if Shapes::new(shapes, start).any() || Shapes::new(shapes, &inside).any() {
            return Err(format!("this is {what}; expected Stable Diffusion 1, 2 or XL, or Flux.1"));
        }
    }
    if Shapes::new(shapes, UNET).has("input_blocks.0.0.weight") {
        Ok(())
    } else {
        Err(format!("`{UNET}input_blocks.0.0.weight`: expected a Stable Diffusion U-Net, got nothing"))
    }
}

/// Whether the U-Net inpaints: it takes the noisy latent, or that with a mask and another latent.
fn check_channels(unet: &UnetShapes) -> Result<bool, String> {
    let (input, latent) = (unet.in_channels, unet.out_channels);
    let what = match input {
        _ if input == latent => return Ok(false),
        _ if input == 2 * latent + 1 => return Ok(true),
        _ if input == 2 * latent => "InstructPix2Pix",
        _ if input == latent + 1 => "a model with depth",
        _ if input == latent + 3 => "an upscaler",
        _ => "no model that is known here",
    };
    let inpainting = 2 * latent + 1;
    Err(format!("the U-Net takes {input} channels, as {what}: expected {latent}, or {inpainting} to inpaint"))
}
