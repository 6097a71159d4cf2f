//! Stable Diffusion in one file: the original code's names of tensors, and diffusers' names of the same.
//!
//! The original code is CompVis' latent-diffusion and Stability's generative-models. Maps over names and
//! shapes only: nothing here reads a file or knows a network.
//!
//! ```text
//! model.diffusion_model.input_blocks.1.0.in_layers.2.bias ↔ unet/ down_blocks.0.resnets.0.conv1.bias
//! first_stage_model.decoder.up.3.block.0.norm1.bias       ↔ vae/ decoder.up_blocks.0.resnets.0.norm1.bias
//! cond_stage_model.transformer.text_model.…               ↔ text_encoder/ text_model.…
//! ```
//!
//! [`recognise`] tells the architecture and derives every `config.json` from the shapes; [`from_single_file`]
//! maps one key, [`to_single_file`] goes back, and [`what_is_lost`] says what a reader could not derive.

pub(super) mod alone;
mod architecture;
mod averaged;
mod change;
mod layout;
mod lost;
mod names;
pub(super) mod open;
mod scheduler;
mod text_config;
mod text_keys;
mod unet_config;
mod unet_keys;
pub(super) mod unneeded;
mod vae_config;
mod vae_keys;

#[cfg(test)]
mod tests;

use crate::model::ComponentKind;
use std::collections::BTreeMap;

pub use architecture::{Architecture, Configs, Recognised, recognise};
pub use change::{Change, join_thirds};
pub use layout::KeyLayout;
pub use lost::what_is_lost;
pub use scheduler::{Prediction, markers};
pub use unneeded::{is_of_another, is_unneeded};
pub use vae_keys::modern_vae_name;

impl ComponentKind {
    /// What its keys begin with in a single file; the first is the one that we write. Files made by other
    /// tools have the second.
    fn prefixes(self, architecture: Architecture) -> &'static [&'static str] {
        match (self, architecture) {
            (ComponentKind::Unet, _) => &["model.diffusion_model."],
            (ComponentKind::Vae, _) => &["first_stage_model.", "vae."],
            (ComponentKind::TextEncoder, Architecture::StableDiffusion1) => {
                &["cond_stage_model.transformer."]
            }
            // SD-Turbo was written by the code of SDXL.
            (ComponentKind::TextEncoder, Architecture::StableDiffusion2) => {
                &["cond_stage_model.model.", "conditioner.embedders.0.model."]
            }
            (ComponentKind::TextEncoder, Architecture::StableDiffusionXl) => {
                &["conditioner.embedders.0.transformer."]
            }
            (ComponentKind::TextEncoder2, Architecture::StableDiffusionXl) => {
                &["conditioner.embedders.1.model."]
            }
            // Flux's own names: `crate::checkpoint::flux_file`.
            (ComponentKind::Transformer, _) => &[],
            (ComponentKind::TextEncoder2, _) => &[],
        }
    }

    /// Whether the tower is named and packed as OpenCLIP's.
    fn is_open_clip(self, architecture: Architecture) -> bool {
        match self {
            ComponentKind::TextEncoder => architecture == Architecture::StableDiffusion2,
            ComponentKind::TextEncoder2 => true,
            ComponentKind::Unet | ComponentKind::Transformer | ComponentKind::Vae => false,
        }
    }
}

/// Where a tensor of a single file goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The component.
    pub component: ComponentKind,
    /// Its key there, as diffusers and transformers 4 write it (text towers under `text_model.`).
    pub name: String,
    /// What happens to the tensor on the way; [`Change::apply`] does it.
    pub change: Change,
}

/// Where a component's tensor lies in a single file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The key.
    pub key: String,
    /// What made the component's tensor of the file's; on the way back [`Change::undo`] reverts it, and the
    /// three tensors of one key with [`Change::Third`] are joined by [`join_thirds`].
    pub change: Change,
}

/// Where `key` of a single file goes: three targets for OpenCLIP's packed projections, one for other tensors
/// of the model, and none for what pipelines do without ([`is_unneeded`]) or what is unknown.
pub fn from_single_file(key: &str, recognised: &Recognised) -> Vec<Target> {
    targets(key, &recognised.layout)
}

fn targets(key: &str, layout: &KeyLayout) -> Vec<Target> {
    for component in ComponentKind::ALL {
        let rest = component.prefixes(layout.architecture).iter().find_map(|prefix| key.strip_prefix(prefix));
        let Some(rest) = rest else { continue };
        let names = match component {
            ComponentKind::Unet => {
                unet_keys::to_diffusers(rest, layout).map(|name| vec![(name, Change::None)])
            }
            ComponentKind::Vae => vae_keys::to_diffusers(rest, layout).map(|target| vec![target]),
            _ if component.is_open_clip(layout.architecture) => {
                text_keys::open_clip_to_transformers(rest, component, layout)
            }
            _ => text_keys::clip_to_transformers(rest, layout).map(|name| vec![(name, Change::None)]),
        };
        let names = names.unwrap_or_default().into_iter();
        return names.map(|(name, change)| Target { component, name, change }).collect();
    }
    Vec::new()
}

/// Where the tensor `name` of a component lies in a single file; `None` if such files have no place for it.
///
/// Names of text towers may stand with and without `text_model.`, and those of the autoencoder's attention
/// as diffusers before 0.17 wrote them ([`modern_vae_name`]).
pub fn to_single_file(component: ComponentKind, name: &str, layout: &KeyLayout) -> Option<Source> {
    let prefix = component.prefixes(layout.architecture).first()?;
    let (key, change) = match component {
        ComponentKind::Unet => (unet_keys::to_original(name, layout)?, Change::None),
        ComponentKind::Vae => vae_keys::to_original(name, layout)?,
        _ if component.is_open_clip(layout.architecture) => {
            text_keys::transformers_to_open_clip(name, component, layout)?
        }
        _ => (text_keys::transformers_to_clip(name, layout)?, Change::None),
    };
    Some(Source { key: format!("{prefix}{key}"), change })
}

/// The keys of a file that are neither part of the model nor known to be superfluous, in order.
pub fn unexpected<'a>(shapes: &'a BTreeMap<String, Vec<usize>>, recognised: &Recognised) -> Vec<&'a str> {
    let layout = &recognised.layout;
    let known = |key: &str| is_unneeded(key, layout) || !targets(key, layout).is_empty();
    shapes.keys().map(String::as_str).filter(|key| !known(key) && !is_of_another(key)).collect()
}

/// The keys that belong to something else than the model ([`is_of_another`]), in order.
pub fn left_out(shapes: &BTreeMap<String, Vec<usize>>, recognised: &Recognised) -> Vec<String> {
    let layout = &recognised.layout;
    let left_out =
        |key: &&String| is_of_another(key) && !is_unneeded(key, layout) && targets(key, layout).is_empty();
    shapes.keys().filter(left_out).cloned().collect()
}
