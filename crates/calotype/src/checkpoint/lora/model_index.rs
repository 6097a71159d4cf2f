//! The model's weights by every name that LoRA files call them.

use std::collections::BTreeMap;

use super::stability::StabilityNames;
use super::target::Target;
use super::{ModelShapes, flux};
use crate::model::ComponentKind;

/// Old diffusers' names of CLIP's projections, and CLIP's own.
const CLIP_PROJECTIONS: [(&str, &str); 4] =
    [("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("out_proj", "to_out")];

/// Weights by component and underscored name.
pub(super) struct ModelIndex {
    /// `None` where two weights would share a name.
    weights: BTreeMap<(ComponentKind, String), Option<Target>>,
}

impl ModelIndex {
    /// The index of all components.
    pub(super) fn new(model: &ModelShapes) -> Self {
        let mut weights: BTreeMap<(ComponentKind, String), Option<Target>> = BTreeMap::new();
        let mut add = |component: ComponentKind, name: &str, target: Target| {
            weights
                .entry((component, underscored(name)))
                .and_modify(|known| *known = known.take().filter(|known| *known == target))
                .or_insert(Some(target));
        };
        for (&component, shapes) in model {
            let stability = (component == ComponentKind::Unet).then(|| StabilityNames::new(shapes));
            for target in shapes.keys() {
                let Some(layer) = target.strip_suffix(".weight") else { continue };
                let mut names = match component {
                    ComponentKind::Unet | ComponentKind::Transformer => denoiser_names(layer),
                    ComponentKind::TextEncoder | ComponentKind::TextEncoder2 => text_encoder_names(layer),
                    // No LoRA changes an autoencoder.
                    ComponentKind::Vae => vec![],
                };
                names.extend(stability.as_ref().and_then(|s| s.of(layer)));
                names.iter().for_each(|name| add(component, name, Target::one(target)));
            }
            if component == ComponentKind::Transformer {
                let stacks = |(_, target): &(String, Target)| target.shape(shapes).is_some();
                let names = flux::names(shapes).into_iter().filter(stacks);
                names.for_each(|(name, target)| add(component, &name, target));
            }
        }
        Self { weights }
    }

    /// What a layer's name means, of these components.
    pub(super) fn find(&self, components: &[ComponentKind], layer: &str) -> Vec<(ComponentKind, &Target)> {
        let name = underscored(layer);
        let of = |&component: &ComponentKind| {
            Some((component, self.weights.get(&(component, name.clone()))?.as_ref()?))
        };
        components.iter().filter_map(of).collect()
    }
}

/// Dots and underscores of kohya's names cannot be told apart, so all names are compared without dots.
fn underscored(name: &str) -> String {
    name.replace('.', "_")
}

fn denoiser_names(layer: &str) -> Vec<String> {
    let mut names = vec![layer.to_owned()];
    // `to_out` is a list of a linear layer and a dropout; old diffusers' processors left the 0 out.
    names.extend(layer.strip_suffix(".to_out.0").map(|attention| format!("{attention}.to_out")));
    names
}

fn text_encoder_names(layer: &str) -> Vec<String> {
    let mut names = vec![layer.to_owned()];
    names.extend(CLIP_PROJECTIONS.iter().find_map(|(own, old)| {
        let attention = layer.strip_suffix(own)?.strip_suffix('.')?;
        attention.ends_with("self_attn").then(|| format!("{attention}.{old}"))
    }));
    // transformers 5 left `text_model.` out of the names; files of both times are read for models of both.
    let other: Vec<String> = names
        .iter()
        .map(|name| {
            name.strip_prefix("text_model.").map_or_else(|| format!("text_model.{name}"), str::to_owned)
        })
        .collect();
    names.extend(other);
    names
}
