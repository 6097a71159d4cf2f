//! `scheduler_config.json`, which a single file does not have, and what the network predicts.
//!
//! The values are those of the model folders that diffusers' `from_single_file` takes for each architecture:
//! stable-diffusion-v1-5, stable-diffusion-2-1 (the 768 pixel model) and stable-diffusion-xl-base-1.0.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::architecture::Architecture;
use crate::diffusion::SchedulerClass;

/// What the network predicts, as far as a file without a config tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// v (Salimans & Ho 2022) if true, the noise ε if false.
    pub is_v: bool,
    /// Whether the noise schedule ends at zero signal-to-noise ratio.
    pub zero_terminal_snr: bool,
    /// For SD 2, where names do not tell v from ε: the key of a bias of norm whose spread does, for real
    /// weights ([`super::Recognised::settle_prediction`]). None where `is_v` is certain.
    pub evidence: Option<String>,
}

/// Standard deviation of the evidence above which ComfyUI takes an SD 2 for one that predicts v.
pub(super) const V_SPREAD: f64 = 0.09;

impl Prediction {
    /// The keys `v_pred` and `ztsnr` mark files of any architecture. Without them SD 2 is taken to predict v,
    /// as diffusers and A1111 do, and all else the noise. Inpainting models of SD 2 predict the noise.
    pub(super) fn guess(
        shapes: &BTreeMap<String, Vec<usize>>,
        architecture: Architecture,
        inpainting: bool,
        last_norm: String,
    ) -> Self {
        let marked = shapes.contains_key("v_pred");
        let open = architecture == Architecture::StableDiffusion2 && !inpainting && !marked;
        Self {
            is_v: marked || open,
            zero_terminal_snr: shapes.contains_key("ztsnr"),
            evidence: Some(last_norm).filter(|key| open && shapes.contains_key(key)),
        }
    }
}

/// The scheduler's config of each family.
pub(super) fn config(architecture: Architecture, prediction: &Prediction) -> Value {
    let class = match (architecture, prediction.is_v) {
        (Architecture::StableDiffusionXl, _) => SchedulerClass::EulerDiscrete,
        // PNDM knows no zero terminal SNR; DDIM is what diffusers has for v.
        (_, true) => SchedulerClass::Ddim,
        _ if prediction.zero_terminal_snr => SchedulerClass::Ddim,
        (_, false) => SchedulerClass::Pndm,
    };
    let mut config = json!({
        "_class_name": class,
        "_diffusers_version": crate::files::config_keys::DIFFUSERS_VERSION,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": false,
        "num_train_timesteps": 1000,
        "prediction_type": if prediction.is_v { "v_prediction" } else { "epsilon" },
        "set_alpha_to_one": false,
        "skip_prk_steps": true,
        "steps_offset": 1,
        "trained_betas": null,
    });
    // The folders of SD 1 and 2 do not have the key: each sampler takes the spacing of its class.
    if architecture == Architecture::StableDiffusionXl {
        config["timestep_spacing"] = json!("leading");
        config["interpolation_type"] = json!("linear");
        config["sample_max_value"] = json!(1.0);
        config["use_karras_sigmas"] = json!(false);
    }
    if prediction.zero_terminal_snr {
        config["rescale_betas_zero_snr"] = json!(true);
        config["timestep_spacing"] = json!("trailing");
    }
    config
}

/// Names of the empty tensors to put into a single file so that readers take the prediction and noise
/// schedule of `scheduler`, the content of `scheduler_config.json`, and not the family's usual ones. An SD 2
/// that predicts the noise cannot be marked: readers guess that it predicts v.
pub fn markers(architecture: Architecture, scheduler: &Value) -> Vec<&'static str> {
    let v = scheduler["prediction_type"] == "v_prediction";
    let v = (v && architecture != Architecture::StableDiffusion2).then_some("v_pred");
    let zero = (scheduler["rescale_betas_zero_snr"] == true).then_some("ztsnr");
    v.into_iter().chain(zero).collect()
}
