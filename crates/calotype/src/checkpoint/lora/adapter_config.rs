//! PEFT's configuration of an adapter: `alpha` for files that have no tensor of it.

use serde_json::{Map, Value};

use super::{Entry, LoraFile};
use crate::error::Result;
use crate::model::ComponentKind;

/// Key under which the text of PEFT's `adapter_config.json` is handed to [`super::assign`].
pub const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Key under which diffusers (0.34 and later) keeps the same in the file, each key after its component's name.
const OF_DIFFUSERS: &str = "lora_adapter_metadata";

/// The configuration; empty where the file has none.
#[derive(Debug, Default)]
pub(super) struct AdapterConfig {
    /// Where it stands.
    key: String,
    values: Map<String, Value>,
}

impl AdapterConfig {
    /// Takes it from the texts of the file.
    ///
    /// # Errors
    /// `Error::Format` if it is not JSON, asks for another method than LoRA and DoRA, or has a pattern or an alpha
    /// that cannot be used.
    pub(super) fn new(file: LoraFile) -> Result<Self> {
        let Some((key, text)) =
            [OF_DIFFUSERS, ADAPTER_CONFIG].iter().find_map(|k| file.metadata.get_key_value(*k))
        else {
            return Ok(Self::default());
        };
        let refuse = |reason: String| file.fault(format!("metadata `{key}`: {reason}"));
        let values: Map<String, Value> = serde_json::from_str(text).map_err(|e| refuse(e.to_string()))?;
        for (key, value) in &values {
            match key.rsplit('.').next().unwrap_or(key) {
                "peft_type" if value.as_str() != Some("LORA") => {
                    return Err(refuse(format!("expected `peft_type` LORA, got {value}")));
                }
                "lora_alpha" if !value.is_null() && !value.as_f64().is_some_and(f64::is_finite) => {
                    return Err(refuse(format!("`{key}`: expected a number, got {value}")));
                }
                "alpha_pattern" => {
                    refuse_bad_pattern(value).map_err(|reason| refuse(format!("`{key}`: {reason}")))?
                }
                _ => {}
            }
        }
        Ok(Self { key: key.clone(), values })
    }

    /// Refuses a file that should have DoRA's lengths and has none.
    ///
    /// # Errors
    /// `Error::Format`.
    pub(super) fn check_magnitudes(&self, file: LoraFile, entries: &[Entry]) -> Result<()> {
        let has_dora = |entry: &&Entry| self.get(entry.component, "use_dora") == Some(&Value::Bool(true));
        match entries.iter().find(has_dora) {
            Some(entry) if entries.iter().all(|entry| entry.magnitude.is_none()) => {
                let target = &entry.target;
                let reason = format!("`use_dora` is true, and `{target}` has no magnitude");
                Err(file.fault(format!("metadata `{}`: {reason}", self.key)))
            }
            _ => Ok(()),
        }
    }

    /// Alpha of a layer (its path in the component); with `use_rslora` the scale is alpha / √rank.
    pub(super) fn alpha(&self, component: ComponentKind, layer: &str, rank: usize) -> Option<f64> {
        let pattern = self.get(component, "alpha_pattern").and_then(Value::as_object);
        let special =
            pattern.into_iter().flatten().find(|(pattern, _)| applies(pattern, layer)).map(|(_, v)| v);
        let alpha = special.or_else(|| self.get(component, "lora_alpha")).and_then(Value::as_f64)?;
        let by_root = self.get(component, "use_rslora").and_then(Value::as_bool).unwrap_or(false);
        Some(if by_root { alpha * (rank as f64).sqrt() } else { alpha })
    }

    fn get(&self, component: ComponentKind, key: &str) -> Option<&Value> {
        self.values.get(&format!("{}.{key}", component.folder())).or_else(|| self.values.get(key))
    }
}

/// PEFT's patterns are regular expressions; in files they are names of layers, or of their last pieces.
fn refuse_bad_pattern(patterns: &Value) -> std::result::Result<(), String> {
    for (pattern, alpha) in patterns.as_object().into_iter().flatten() {
        if pattern.contains(['*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\', '$']) {
            return Err(format!("expected a layer's name, got the regular expression `{pattern}`"));
        }
        if !alpha.as_f64().is_some_and(f64::is_finite) {
            return Err(format!("expected a number for `{pattern}`, got {alpha}"));
        }
    }
    Ok(())
}

fn applies(pattern: &str, layer: &str) -> bool {
    match pattern.strip_prefix('^') {
        Some(whole) => whole == layer,
        None => layer.strip_suffix(pattern).is_some_and(|before| before.is_empty() || before.ends_with('.')),
    }
}
