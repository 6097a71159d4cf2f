//! A tensor's name in a LoRA file: which layer it belongs to, and as what.

use std::collections::BTreeMap;

use super::{LoraFile, flux};
use crate::error::Result;
use crate::model::ComponentKind;

/// What a tensor is in its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// LoRA's first matrix, from the input to the rank.
    Down,
    /// Its last matrix, from the rank to the output.
    Up,
    /// The convolution between the two.
    Mid,
    /// The scalar of the scale.
    Alpha,
    /// A factor of ΔW.
    Scalar,
    /// LoHa's matrices, and their cores.
    HadaA1,
    HadaB1,
    HadaA2,
    HadaB2,
    HadaT1,
    HadaT2,
    /// LoKr's matrices, whole or in two, and the core of the second.
    LokrW1,
    LokrA1,
    LokrB1,
    LokrW2,
    LokrA2,
    LokrB2,
    LokrT2,
    /// (IA)³'s factors of channels.
    Channels,
    /// Whether these are the input's.
    OnInput,
    /// The difference of a weight.
    Difference,
    /// The difference of a bias.
    BiasDifference,
    /// What LoRA's last matrix adds to a bias.
    UpBias,
    /// DoRA's lengths, of rows or columns by their shape.
    Magnitude,
    /// DoRA's lengths of rows.
    RowMagnitude,
    /// A weight that takes the place of the model's.
    Replacement,
    /// The shape that ComfyUI is to give the weight.
    NewShape,
}

/// Endings of names; a longer one stands before those that it ends with.
const ENDINGS: [(&str, Role); 44] = [
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
    (".scalar", Role::Scalar),
    (".hada_w1_a", Role::HadaA1),
    (".hada_w1_b", Role::HadaB1),
    (".hada_w2_a", Role::HadaA2),
    (".hada_w2_b", Role::HadaB2),
    (".hada_t1", Role::HadaT1),
    (".hada_t2", Role::HadaT2),
    (".lokr_w1", Role::LokrW1),
    (".lokr_w1_a", Role::LokrA1),
    (".lokr_w1_b", Role::LokrB1),
    (".lokr_w2", Role::LokrW2),
    (".lokr_w2_a", Role::LokrA2),
    (".lokr_w2_b", Role::LokrB2),
    (".lokr_t2", Role::LokrT2),
    (ON_INPUT, Role::OnInput),
    (".diff", Role::Difference),
    (".w_norm", Role::Difference),
    (".diff_b", Role::BiasDifference),
    (".b_norm", Role::BiasDifference),
    (".lora_up.bias", Role::UpBias),
    (".lora_linear_layer.up.bias", Role::UpBias),
    (".lora.up.bias", Role::UpBias),
    (".lora_B.bias", Role::UpBias),
    (".dora_scale", Role::Magnitude),
    (".lora_magnitude_vector.weight", Role::RowMagnitude),
    (".lora_magnitude_vector", Role::RowMagnitude),
    (".set_weight", Role::Replacement),
    (".reshape_weight", Role::NewShape),
];

/// The ending that tells an (IA)³ layer, whose other tensor is a `weight` like many.
const ON_INPUT: &str = ".on_input";

/// Parts of PEFT's names in memory, which have the adapter's name after them: `to_q.lora_A.default.weight`.
const BEFORE_ADAPTER: [(&str, &str, Role); 4] = [
    (".lora_A.", ".weight", Role::Down),
    (".lora_B.", ".weight", Role::Up),
    (".lora_B.", ".bias", Role::UpBias),
    (".lora_magnitude_vector.", ".weight", Role::RowMagnitude),
];

/// The layer's name as the file has it, and the role; `None` for a name that is no LoRA's.
pub(super) fn split(name: &str) -> Option<(&str, Role)> {
    let by_ending = ENDINGS.iter().find_map(|(ending, role)| Some((name.strip_suffix(ending)?, *role)));
    by_ending.or_else(|| flux::split(name)).or_else(|| {
        BEFORE_ADAPTER.iter().find_map(|(mark, ending, role)| {
            let (layer, adapter) = name.strip_suffix(ending)?.rsplit_once(mark)?;
            (!adapter.contains('.')).then_some((layer, *role))
        })
    })
}

/// Names of the tensors of one layer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Layer {
    tensors: BTreeMap<Role, String>,
}

impl Layer {
    /// The tensor in a role.
    pub(super) fn get(&self, role: Role) -> Option<&String> {
        self.tensors.get(&role)
    }

    /// The tensor in a role that another one of the layer needs.
    ///
    /// # Errors
    /// `Error::Format` with that other one.
    pub(super) fn expect(&self, role: Role, file: LoraFile) -> Result<String> {
        self.get(role).cloned().ok_or_else(|| {
            let beside = self.names().next().map_or("", String::as_str);
            file.fault(format!("`{beside}` has no `{}` beside it; is the file complete?", role.word()))
        })
    }

    /// All names of the layer.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.tensors.values()
    }

    /// Whether it changes no more than a bias or a norm: what may belong to a layer with one axis.
    pub(super) fn is_difference(&self) -> bool {
        let differences = [Role::Difference, Role::BiasDifference, Role::Replacement];
        self.tensors.keys().all(|role| differences.contains(role) || *role == Role::Alpha)
    }

    /// Whether anything in it changes a weight or a bias: a scale alone does not.
    pub(super) fn changes_something(&self) -> bool {
        let scales = [Role::Alpha, Role::Scalar, Role::Magnitude, Role::RowMagnitude, Role::NewShape];
        self.tensors.keys().any(|role| !scales.contains(role))
    }
}

impl Role {
    /// What the tensor is called in messages.
    fn word(self) -> &'static str {
        match self {
            Role::Down => "down",
            Role::Up => "up",
            Role::Channels => "weight",
            _ => {
                let ending = ENDINGS.iter().find(|(_, role)| *role == self).map_or("", |(ending, _)| ending);
                ending.trim_start_matches('.')
            }
        }
    }
}

/// The layers by the name that the file gives them, and the tensors that are of none.
///
/// # Errors
/// `Error::Format` for two tensors in one role.
pub(super) fn layers(file: LoraFile) -> Result<(BTreeMap<String, Layer>, Vec<String>)> {
    let mut layers: BTreeMap<String, Layer> = BTreeMap::new();
    let mut other = Vec::new();
    for name in file.tensors.keys() {
        let channels = || {
            let stem = name.strip_suffix(".weight")?;
            file.tensors.contains_key(&format!("{stem}{ON_INPUT}")).then_some((stem, Role::Channels))
        };
        let Some((stem, role)) = split(name).or_else(channels) else {
            other.push(name.clone());
            continue;
        };
        let before = layers.entry(stem.to_owned()).or_default().tensors.insert(role, name.clone());
        if let Some(before) = before {
            let reason = format!(
                "`{before}` and `{name}` are the same tensor of one layer; two adapters in one file?"
            );
            return Err(file.fault(reason));
        }
    }
    Ok((layers, other))
}

const CLIP: &[ComponentKind] = &[ComponentKind::TextEncoder];
const SECOND: &[ComponentKind] = &[ComponentKind::TextEncoder2];
const ANY: &[ComponentKind] = &[
    ComponentKind::Unet,
    ComponentKind::Transformer,
    ComponentKind::TextEncoder,
    ComponentKind::TextEncoder2,
];

/// Beginnings of layer names, and the components that they may mean; a longer one stands before those that it begins
/// with.
const PARTS: [(&str, &[ComponentKind]); 20] = [
    ("lycoris_unet_", &ComponentKind::DENOISERS),
    ("lycoris_te1_", CLIP),
    ("lycoris_te2_", SECOND),
    ("lycoris_te_", CLIP),
    ("lora_unet_", &ComponentKind::DENOISERS),
    ("lora_transformer_", &[ComponentKind::Transformer]),
    ("lora_te1_", CLIP),
    ("lora_te2_", SECOND),
    // Counted with Stable Diffusion 3's two of CLIP, T5 is the third.
    ("lora_te3_", SECOND),
    ("lora_te_", CLIP),
    ("unet.", &ComponentKind::DENOISERS),
    ("transformer.", &[ComponentKind::Transformer]),
    ("text_encoder.", CLIP),
    ("text_encoder_2.", SECOND),
    ("model.diffusion_model.", &ComponentKind::DENOISERS),
    ("diffusion_model.", &ComponentKind::DENOISERS),
    ("text_encoders.clip_l.transformer.", CLIP),
    ("text_encoders.t5xxl.transformer.", SECOND),
    ("clip_l.", CLIP),
    ("t5.", SECOND),
];

/// A layer's name without what only says where the file comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stem {
    /// The components that it may belong to.
    pub(super) components: &'static [ComponentKind],
    /// The path in that component, with the dots or underscores of the file.
    pub(super) dotted: String,
}

impl Stem {
    /// Takes the layer's name apart.
    pub(super) fn parse(stem: &str) -> Self {
        let mut components = ANY;
        // PEFT's wrapper, and LyCORIS' own prefix for layers of a network that it is not told.
        let mut rest = stem.strip_prefix("base_model.model.").unwrap_or(stem);
        if let Some((inner, named)) =
            PARTS.iter().find_map(|(p, components)| Some((rest.strip_prefix(p)?, *components)))
        {
            components = named;
            rest = inner.strip_prefix("base_model.model.").unwrap_or(inner);
        } else if let Some(inner) = rest.strip_prefix("lycoris_") {
            rest = inner;
        }
        Self { components, dotted: rest.replace(".processor.", ".") }
    }
}
