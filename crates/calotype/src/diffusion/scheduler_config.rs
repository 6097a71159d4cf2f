//! diffusers' `scheduler/scheduler_config.json`: how a model was trained to see noise, and which
//! sampler its folder asks for.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BetaSchedule, Edm, NoiseSchedule, PredictionType, SchedulerClass};
use crate::{Error, Result};

/// Which of the T training timesteps a shorter sampling run visits (Lin et al. 2023,
/// arXiv:2305.08891, Table 2). Serde names are those of diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestepSpacing {
    /// Equal strides that end at the clean side; misses the noisiest timestep.
    Leading,
    /// Equal strides that start at T−1.
    Trailing,
    /// Both ends, rounded in between.
    Linspace,
}

/// The variance of a DDPM step (Ho et al. 2020, section 3.2). Serde names are those of diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// β̃, the variance of the true posterior of one data point.
    #[default]
    FixedSmall,
    /// β, right for data that are standard normal.
    FixedLarge,
}

/// The content of `scheduler_config.json`, keys as diffusers has them.
///
/// [`Default`] is Stable Diffusion's. A key that a *file* lacks takes the default of its class
/// instead ([`SchedulerClass::constructor_defaults`]), or of the class that samples
/// ([`SchedulerConfig::sampled_by`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchedulerConfig {
    /// diffusers' class.
    #[serde(rename = "_class_name")]
    pub class_name: SchedulerClass,
    /// T.
    pub num_train_timesteps: usize,
    /// β_0, in (0, 1).
    pub beta_start: f64,
    /// β_{T−1}, in (0, 1).
    pub beta_end: f64,
    /// How β gets from one to the other.
    pub beta_schedule: BetaSchedule,
    /// A table of β in place of the formula.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_betas: Option<Vec<f64>>,
    /// Rescaling to zero terminal SNR ([`NoiseSchedule::with_zero_terminal_snr`]).
    pub rescale_betas_zero_snr: bool,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Which timesteps are visited.
    pub timestep_spacing: TimestepSpacing,
    /// Added to every timestep of `leading`.
    pub steps_offset: usize,
    /// ᾱ past the last DDIM step: 1 if true, ᾱ_0 if false.
    pub set_alpha_to_one: bool,
    /// Clamp the predicted x₀; for pixel models, not for latents.
    pub clip_sample: bool,
    /// The clamp is to ± this; above 0.
    pub clip_sample_range: f64,
    /// Imagen's dynamic thresholding of x₀ ([`super::x_0_limit::X0Limit::Dynamic`]).
    pub thresholding: bool,
    /// Its quantile, in [0, 1].
    pub dynamic_thresholding_ratio: f64,
    /// Its largest threshold, at least 1.
    pub sample_max_value: f64,
    /// DDPM's variance; absent means [`VarianceType::FixedSmall`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance_type: Option<VarianceType>,
    /// The keys that a file gave; `None` where there was no file, and nothing is a default.
    #[serde(skip)]
    pub given: Option<BTreeSet<String>>,
    /// Keys that only some classes have; a sampler that cannot honour one refuses it by name.
    #[serde(flatten)]
    pub options: serde_json::Map<String, Value>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            beta_start: 0.00085,
            beta_end: 0.012,
            beta_schedule: BetaSchedule::ScaledLinear,
            steps_offset: 1,
            set_alpha_to_one: false,
            clip_sample: false,
            ..SchedulerClass::Ddim.constructor_defaults()
        }
    }
}

impl SchedulerConfig {
    /// Reads and checks a `scheduler_config.json`.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` if it is not JSON or has a value that is not supported (the
    /// text lists those that are); otherwise as [`SchedulerConfig::noise_schedule`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let config = Self::parse(&text).map_err(|e| Error::format(path, "scheduler configuration", e))?;
        config.check(path)?;
        Ok(config)
    }

    /// The text of a `scheduler_config.json` as JSON. Python writes an infinite float in a way that JSON does not
    /// have; it is null here.
    ///
    /// # Errors
    /// JSON's.
    pub fn json(text: &str) -> serde_json::Result<Value> {
        serde_json::from_str(&text.replace(": -Infinity", ": null").replace(": Infinity", ": null"))
    }

    /// From the text of a `scheduler_config.json`, with the defaults of its class.
    ///
    /// # Errors
    /// JSON's, and values that no field can hold.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        let file: serde_json::Map<String, Value> = serde_json::from_value(Self::json(text)?)?;
        let class = file.get("_class_name").cloned();
        let class: SchedulerClass = class.map_or(Ok(SchedulerClass::default()), serde_json::from_value)?;
        let given = file.keys().cloned().collect();
        let mut merged = serde_json::to_value(class.constructor_defaults())?;
        if let Value::Object(keys) = &mut merged {
            keys.extend(file);
        }
        Ok(Self { given: Some(given), ..serde_json::from_value(merged)? })
    }

    /// The same for a sampler of `class`: what the file does not say takes the defaults of that class, as
    /// diffusers' `from_config` has it. (Stable Diffusion 1's file has no spacing: Euler's is `linspace`, PNDM's
    /// own `leading`.)
    pub fn sampled_by(&self, class: SchedulerClass) -> Self {
        let Some(given) = &self.given else { return self.clone() };
        let defaults = class.constructor_defaults();
        let mut config = self.clone();
        macro_rules! take_defaults {
            ($($key:ident),*) => {
                $(if !given.contains(stringify!($key)) {
                    config.$key = defaults.$key;
                })*
            };
        }
        take_defaults!(
            num_train_timesteps,
            beta_start,
            beta_end,
            beta_schedule,
            trained_betas,
            rescale_betas_zero_snr,
            timestep_spacing,
            steps_offset,
            set_alpha_to_one,
            clip_sample,
            clip_sample_range,
            thresholding,
            dynamic_thresholding_ratio,
            sample_max_value,
            variance_type
        );
        config
    }

    /// A key that only some classes have, if the file has it and it is not null.
    ///
    /// # Errors
    /// `Error::Config` for a value of another type.
    pub fn option<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        match self.options.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(|e| Error::config("scheduler_config.json", key, e, value)),
        }
    }

    /// The file's text, ending in a newline. `DDIMScheduler.from_pretrained` reads it.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self)
            .expect("a struct of numbers and unit enums always has a JSON form");
        text + "\n"
    }

    /// The tables of β and ᾱ.
    ///
    /// # Errors
    /// `Error::Config` for an option that is not supported or a clip range that is not above 0;
    /// `Error::Argument` for an impossible β or T.
    pub fn noise_schedule(&self) -> Result<NoiseSchedule> {
        self.check(Path::new("scheduler_config.json"))
    }

    /// [`SchedulerConfig::noise_schedule`] of the file at `path`, for messages.
    ///
    /// # Errors
    /// As there.
    pub fn check(&self, path: &Path) -> Result<NoiseSchedule> {
        let refuse = |key: &str, expected: &str, got: &dyn std::fmt::Display| {
            Err(Error::config(path, key, expected, got))
        };
        let flow = self.prediction_type == PredictionType::Flow;
        if flow != self.class_name.is_flow() {
            let expected = if flow {
                "another prediction for this class: flow_prediction is that of the FlowMatch classes"
            } else {
                "flow_prediction (or no such key) for a FlowMatch class"
            };
            return refuse("prediction_type", expected, &format!("{:?}", self.prediction_type));
        }
        Edm::of(self)?;
        if self.rescale_betas_zero_snr && self.prediction_type == PredictionType::Epsilon {
            let expected = "false for epsilon prediction, which says nothing where no signal is left";
            return refuse("rescale_betas_zero_snr", expected, &true);
        }
        if !(0.0..=1.0).contains(&self.dynamic_thresholding_ratio) {
            return refuse("dynamic_thresholding_ratio", "0 to 1", &self.dynamic_thresholding_ratio);
        }
        if self.sample_max_value.is_nan() || self.sample_max_value < 1.0 {
            return refuse("sample_max_value", "at least 1", &self.sample_max_value);
        }
        if !(self.clip_sample_range > 0.0 && self.clip_sample_range.is_finite()) {
            return refuse("clip_sample_range", "a finite number above 0", &self.clip_sample_range);
        }
        let schedule = match &self.trained_betas {
            Some(table) if table.len() != self.num_train_timesteps => {
                let expected = format!("num_train_timesteps, {} values", self.num_train_timesteps);
                return refuse("trained_betas", &expected, &format!("{} values", table.len()));
            }
            Some(table) => NoiseSchedule::from_betas(table.clone())?,
            None => NoiseSchedule::new(
                self.beta_schedule,
                self.beta_start,
                self.beta_end,
                self.num_train_timesteps,
            )?,
        };
        if self.rescale_betas_zero_snr { schedule.with_zero_terminal_snr() } else { Ok(schedule) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<SchedulerConfig, String> {
        SchedulerConfig::parse(text).map_err(|e| e.to_string())
    }

    #[test]
    fn default_is_stable_diffusion() {
        let config = SchedulerConfig::default();
        let schedule = config.noise_schedule().unwrap();
        assert!((schedule.alpha_bar(999).unwrap() - 0.004660098513077238).abs() < 1e-15);
        assert_eq!((config.steps_offset, config.set_alpha_to_one, config.clip_sample), (1, false, false));
    }

    #[test]
    fn round_trips_under_the_names_of_diffusers() {
        let config = SchedulerConfig {
            class_name: SchedulerClass::Ddpm,
            prediction_type: PredictionType::VPrediction,
            timestep_spacing: TimestepSpacing::Trailing,
            variance_type: Some(VarianceType::FixedLarge),
            ..SchedulerConfig::default()
        };
        let again = parse(&config.to_json()).unwrap();
        assert_eq!(SchedulerConfig { given: None, ..again.clone() }, config);
        // A file that says everything leaves nothing to the sampler's class.
        assert_eq!(again.sampled_by(SchedulerClass::EulerDiscrete), again);
        let json: serde_json::Value = serde_json::from_str(&config.to_json()).unwrap();
        assert_eq!(json["_class_name"], "DDPMScheduler");
        assert_eq!(json["beta_schedule"], "scaled_linear");
        assert_eq!(json["prediction_type"], "v_prediction");
        assert_eq!(json["timestep_spacing"], "trailing");
        assert_eq!(json["variance_type"], "fixed_large");
        assert_eq!(json["beta_start"], 0.00085);
        let plain: serde_json::Value = serde_json::from_str(&SchedulerConfig::default().to_json()).unwrap();
        assert!(plain.get("variance_type").is_none(), "DDIMScheduler has no such argument");
    }

    /// Stable Diffusion 1.5's file: an old class, keys missing, keys that nothing here stands for.
    #[test]
    fn missing_keys_take_the_defaults_of_diffusers() {
        let config = parse(
            r#"{"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
                "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
                "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1,
                "trained_betas": null, "clip_sample": false}"#,
        )
        .unwrap();
        assert_eq!(config.option::<bool>("skip_prk_steps").unwrap(), Some(true));
        // diffusers 0.42.1: EulerDiscreteScheduler.from_config(PNDMScheduler.from_config(file).config).
        let euler = config.sampled_by(SchedulerClass::EulerDiscrete);
        assert_eq!((euler.timestep_spacing, euler.steps_offset), (TimestepSpacing::Linspace, 1));
        assert_eq!(config.sampled_by(SchedulerClass::Ddim).timestep_spacing, TimestepSpacing::Leading);
        let plain = SchedulerConfig { options: Default::default(), given: None, ..config };
        assert_eq!(
            plain,
            SchedulerConfig { class_name: SchedulerClass::Pndm, ..SchedulerConfig::default() },
            "what the file leaves out is epsilon, leading"
        );
        let bare = parse("{}").unwrap();
        assert!(bare.clip_sample && bare.set_alpha_to_one && bare.steps_offset == 0);
        assert_eq!(bare.beta_schedule, BetaSchedule::Linear);
    }

    /// Each class of diffusers has its own; and Python writes infinity as no JSON.
    #[test]
    fn defaults_are_those_of_the_class() {
        let of = |class: &str| parse(&format!(r#"{{"_class_name": "{class}"}}"#)).unwrap();
        assert_eq!(of("EulerDiscreteScheduler").timestep_spacing, TimestepSpacing::Linspace);
        assert_eq!(of("PNDMScheduler").timestep_spacing, TimestepSpacing::Leading);
        assert_eq!(of("HeunDiscreteScheduler").beta_start, 0.00085);
        assert!(of("DDPMScheduler").clip_sample && !of("LCMScheduler").clip_sample);
        let text = r#"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity}"#;
        assert!(parse(text).is_ok());
        assert!(of("FlowMatchEulerDiscreteScheduler").noise_schedule().is_ok());
    }

    #[test]
    fn refuses_what_is_not_supported() {
        let error = parse(r#"{"beta_schedule": "laplace"}"#).unwrap_err();
        assert!(error.contains("laplace") && error.contains("scaled_linear"), "{error}");
        for (text, named) in [
            (r#"{"prediction_type": "flow"}"#, "`flow`"),
            (r#"{"variance_type": "learned_range"}"#, "`learned_range`"),
            (r#"{"num_train_timesteps": -1}"#, "`-1`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
        for text in [
            r#"{"rescale_betas_zero_snr": true}"#,
            r#"{"sample_max_value": 0.5}"#,
            r#"{"dynamic_thresholding_ratio": 1.5}"#,
            r#"{"trained_betas": [0.1, 0.2]}"#,
            r#"{"prediction_type": "flow_prediction"}"#,
            r#"{"clip_sample_range": 0}"#,
            r#"{"beta_end": 1.5}"#,
            r#"{"num_train_timesteps": 9000000000000}"#,
        ] {
            let error = parse(text).unwrap().noise_schedule().unwrap_err().to_string();
            let key = text.split('"').nth(1).unwrap();
            assert!(error.contains(key), "{error}");
        }
    }
}
