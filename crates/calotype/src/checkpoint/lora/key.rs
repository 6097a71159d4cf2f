//! A tensor's name in a LoRA file: which layer it belongs to, and as what.

use std::collections::BTreeMap;

use super::LoraFile;
use crate::error::Result;
use crate::model::ComponentKind;

/// What a tensor is in its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The first matrix, from the input to the rank.
    Down,
    /// The last matrix, from the rank to the output.
    Up,
    /// The convolution between the two.
    Mid,
    /// The scalar of the scale.
    Alpha,
}

/// Endings of names; a longer one stands before those that it ends with.
const ENDINGS: [(&str, Role); 16] = [
    (".lora_down.weight", Role::Down),
    (".lora_up.weight", Role::Up),
    (".lora_mid.weight", Role::Mid),
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_linear_layer.up.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    ("_lora.down.weight", Role::Down),
    ("_lora.up.weight", Role::Up),
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (":down", Role::Down),
    (":up", Role::Up),
    (".lora.alpha", Role::Alpha),
    ("_lora.alpha", Role::Alpha),
    (".alpha", Role::Alpha),
];

/// The layer's name as the file has it, and the role; `None` for a name that is no LoRA's.
pub(super) fn split(name: &str) -> Option<(&str, Role)> {
    let by_ending = ENDINGS.iter().find_map(|(ending, role)| Some((name.strip_suffix(ending)?, *role)));
    by_ending.or_else(|| {
        // PEFT's names in memory have the adapter's name between: `to_q.lora_A.default.weight`.
        let name = name.strip_suffix(".weight")?;
        let (layer, adapter, role) = [(".lora_A.", Role::Down), (".lora_B.", Role::Up)]
            .into_iter()
            .find_map(|(mark, role)| name.rsplit_once(mark).map(|(layer, adapter)| (layer, adapter, role)))?;
        (!adapter.contains('.')).then_some((layer, role))
    })
}

/// Names of the tensors of one layer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Layer {
    /// The first matrix.
    pub(super) down: Option<String>,
    /// The last matrix.
    pub(super) up: Option<String>,
    /// The convolution between.
    pub(super) mid: Option<String>,
    /// The scalar.
    pub(super) alpha: Option<String>,
}

impl Layer {
    /// All names of the layer.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        [&self.down, &self.up, &self.mid, &self.alpha].into_iter().flatten()
    }

    fn slot(&mut self, role: Role) -> &mut Option<String> {
        match role {
            Role::Down => &mut self.down,
            Role::Up => &mut self.up,
            Role::Mid => &mut self.mid,
            Role::Alpha => &mut self.alpha,
        }
    }
}

/// The layers by the name that the file gives them, and the tensors that are of none.
///
/// # Errors
/// `Error::Format` for a layer with only one of `down` and `up`, or two tensors in one role.
pub(super) fn layers(file: LoraFile) -> Result<(BTreeMap<String, Layer>, Vec<String>)> {
    let mut layers: BTreeMap<String, Layer> = BTreeMap::new();
    let mut other = Vec::new();
    for name in file.tensors.keys() {
        let Some((stem, role)) = split(name) else {
            other.push(name.clone());
            continue;
        };
        let before = layers.entry(stem.to_owned()).or_default().slot(role).replace(name.clone());
        if let Some(before) = before {
            let reason = format!(
                "`{before}` and `{name}` are the same tensor of one layer; two adapters in one file?"
            );
            return Err(file.fault(reason));
        }
    }
    for layer in layers.values() {
        let lonely = match (&layer.down, &layer.up, &layer.mid) {
            (Some(down), None, _) => Some((down, "up")),
            (None, Some(up), _) => Some((up, "down")),
            (None, None, Some(mid)) => Some((mid, "down and up")),
            _ => None,
        };
        if let Some((name, missing)) = lonely {
            let reason = format!("`{name}` has no `{missing}` beside it; is the file complete?");
            return Err(file.fault(reason));
        }
    }
    Ok((layers, other))
}

/// Beginnings of layer names that say the component.
const PARTS: [(&str, ComponentKind); 9] = [
    ("lora_unet_", ComponentKind::Unet),
    ("lora_te1_", ComponentKind::TextEncoder),
    ("lora_te2_", ComponentKind::TextEncoder2),
    ("lora_te_", ComponentKind::TextEncoder),
    ("unet.", ComponentKind::Unet),
    ("text_encoder.", ComponentKind::TextEncoder),
    ("text_encoder_2.", ComponentKind::TextEncoder2),
    ("model.diffusion_model.", ComponentKind::Unet),
    ("diffusion_model.", ComponentKind::Unet),
];

/// A layer's name without what only says where the file comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stem {
    /// The component, if the name says it.
    pub(super) component: Option<ComponentKind>,
    /// The path in that component, with the dots or underscores of the file.
    pub(super) dotted: String,
}

impl Stem {
    /// Takes the layer's name apart.
    pub(super) fn parse(stem: &str) -> Self {
        let mut component = None;
        let mut rest = stem.strip_prefix("base_model.model.").unwrap_or(stem);
        if let Some((inner, named)) =
            PARTS.iter().find_map(|(p, component)| Some((rest.strip_prefix(p)?, *component)))
        {
            component = Some(named);
            rest = inner.strip_prefix("base_model.model.").unwrap_or(inner);
        }
        Self { component, dotted: rest.replace(".processor.", ".") }
    }
}
