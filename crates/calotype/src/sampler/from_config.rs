//! Which sampler a model's `scheduler_config.json` asks for.

use serde_json::{Value, json};

use super::SamplerKind;
use super::unipc::UniPcSettings;
use crate::diffusion::{SchedulerClass, SchedulerConfig, SigmaSpacing};
use crate::{Error, Result};

/// Keys of the sampler that change a result, with the one value that the samplers here stand for.
fn of_sampler() -> [(&'static str, Value); 11] {
    [
        ("use_beta_sigmas", json!(false)),
        ("use_lu_lambdas", json!(false)),
        ("use_flow_sigmas", json!(false)),
        ("final_sigmas_type", json!("zero")),
        ("interpolation_type", json!("linear")),
        ("sigma_min", Value::Null),
        ("sigma_max", Value::Null),
        ("predict_x0", json!(true)),
        ("disable_corrector", json!([])),
        ("stochastic_sampling", json!(false)),
        ("lambda_min_clipped", Value::Null),
    ]
}

/// Keys of the model, which hold whatever sampler is named: what its network is told about the noise, and
/// the times that it was trained at.
fn of_model() -> [(&'static str, Value); 5] {
    [
        ("timestep_type", json!("discrete")),
        ("use_dynamic_shifting", json!(false)),
        ("time_shift_type", json!("exponential")),
        ("shift_terminal", Value::Null),
        ("invert_sigmas", json!(false)),
    ]
}

/// The first of `keys` to which the file gives another value than the only one.
fn other_value(
    config: &SchedulerConfig,
    keys: &[(&'static str, Value)],
) -> Option<(&'static str, Value, Value)> {
    keys.iter().find_map(|(key, only)| {
        let value = config.options.get(*key).filter(|value| !value.is_null() && *value != only)?;
        Some((*key, only.clone(), value.clone()))
    })
}

/// Refuses a model that no sampler here is right for.
///
/// # Errors
/// `Error::Config` naming the key.
pub fn require_known_model(config: &SchedulerConfig) -> Result<()> {
    // Whether a flow's network counts in tokens is not in its file: `FlowSampler::new`.
    let elsewhere = |key: &str| config.class_name.is_flow() && key == "use_dynamic_shifting";
    let keys: Vec<_> = of_model().into_iter().filter(|(key, _)| !elsewhere(key)).collect();
    match other_value(config, &keys) {
        None => Ok(()),
        Some((key, only, got)) => {
            let expected = format!("{only}: no sampler here is right for another model");
            Err(Error::config("scheduler_config.json", key, expected, got))
        }
    }
}

impl SamplerKind {
    /// The sampler that a model's folder asks for.
    ///
    /// # Errors
    /// `Error::Config` for an option of the class that has no counterpart here; naming a sampler gets
    /// around it, but not around those of [`require_known_model`].
    pub fn from_config(config: &SchedulerConfig) -> Result<Self> {
        require_known_model(config)?;
        // Only in an EDM's file are the ends of its levels a part of the model.
        let own = |key: &str| config.class_name.is_edm() && ["sigma_min", "sigma_max"].contains(&key);
        let keys: Vec<_> = of_sampler().into_iter().filter(|(key, _)| !own(key)).collect();
        if let Some((key, only, got)) = other_value(config, &keys) {
            return Err(not_here(key, &only.to_string(), &got));
        }
        match config.class_name {
            SchedulerClass::DpmSolverMultistep | SchedulerClass::EdmDpmSolverMultistep => dpm_solver(config),
            SchedulerClass::EdmEuler => Ok(Self::Euler),
            // Its order 2 takes two calls of the network a step, where diffusers counts calls.
            SchedulerClass::DpmSolverSinglestep => match dpm_solver(config)? {
                Self::DpmPp2M => Ok(Self::DpmPp2S),
                other => Err(not_here("algorithm_type", "dpmsolver++ of order 2", &other.to_string())),
            },
            SchedulerClass::UniPcMultistep => UniPcSettings::of(config).map(|_| Self::UniPc),
            class => Self::ALL
                .into_iter()
                .find(|kind| kind.class() == class)
                .ok_or_else(|| not_here("_class_name", "a scheduler that is known here", &"another")),
        }
    }
}

fn dpm_solver(config: &SchedulerConfig) -> Result<SamplerKind> {
    let algorithm = config.option::<String>("algorithm_type")?.unwrap_or("dpmsolver++".into());
    let order = config.option::<usize>("solver_order")?.unwrap_or(2);
    let form = config.option::<String>("solver_type")?.unwrap_or("midpoint".into());
    match (algorithm.as_str(), order, form.as_str()) {
        ("dpmsolver++", 2, "midpoint") => Ok(SamplerKind::DpmPp2M),
        ("sde-dpmsolver++", 2, "midpoint") => Ok(SamplerKind::DpmPp2MSde),
        ("sde-dpmsolver++", 3, "midpoint") => Ok(SamplerKind::DpmPp3MSde),
        _ => Err(not_here(
            "algorithm_type, solver_order, solver_type",
            "dpmsolver++ or sde-dpmsolver++, 2 (or 3 for the latter), midpoint",
            &format!("{algorithm}, {order}, {form}"),
        )),
    }
}

/// The noise levels that a model's folder asks for.
///
/// # Errors
/// `Error::Config` for both or for a value that is no truth value.
pub fn sigma_spacing(config: &SchedulerConfig) -> Result<SigmaSpacing> {
    let on = |key: &str| Ok::<_, Error>(config.option::<bool>(key)?.unwrap_or(false));
    match (on("use_karras_sigmas")?, on("use_exponential_sigmas")?) {
        (false, false) => Ok(SigmaSpacing::Timesteps),
        (true, false) => Ok(SigmaSpacing::Karras),
        (false, true) => Ok(SigmaSpacing::Exponential),
        (true, true) => Err(not_here("use_exponential_sigmas", "false with use_karras_sigmas", &true)),
    }
}

pub(super) fn not_here(key: &str, expected: &str, got: &dyn std::fmt::Display) -> Error {
    let expected = format!("{expected} (or name a sampler: {})", SamplerKind::names());
    Error::config("scheduler_config.json", key, expected, got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{Sampler, SamplerSettings};
    use crate::testing::assert_refuses;

    fn kind(text: &str) -> Result<SamplerKind> {
        SamplerKind::from_config(&SchedulerConfig::parse(text).unwrap())
    }

    #[test]
    fn the_file_decides() {
        let dpm = |more: &str| kind(&format!(r#"{{"_class_name": "DPMSolverMultistepScheduler"{more}}}"#));
        assert_eq!(dpm("").unwrap(), SamplerKind::DpmPp2M);
        assert_eq!(dpm(r#", "algorithm_type": "sde-dpmsolver++""#).unwrap(), SamplerKind::DpmPp2MSde);
        let third = r#", "algorithm_type": "sde-dpmsolver++", "solver_order": 3"#;
        assert_eq!(dpm(third).unwrap(), SamplerKind::DpmPp3MSde);
        for (more, name) in [
            (r#", "algorithm_type": "dpmsolver""#, "algorithm_type"),
            (r#", "solver_order": 1"#, "solver_order"),
            (r#", "solver_type": "heun""#, "heun"),
            (r#", "use_lu_lambdas": true"#, "use_lu_lambdas"),
            (r#", "lambda_min_clipped": -5.1"#, "lambda_min_clipped"),
            (r#", "final_sigmas_type": "sigma_min""#, "final_sigmas_type"),
            (r#", "solver_order": "two""#, "solver_order"),
        ] {
            let error = dpm(more).unwrap_err().to_string();
            assert!(error.contains(name), "{more}: {error}");
        }
        assert_eq!(kind(r#"{"_class_name": "PNDMScheduler"}"#).unwrap(), SamplerKind::Pndm);
        assert_eq!(
            kind(r#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#).unwrap(),
            SamplerKind::FlowEuler
        );
    }

    #[test]
    fn a_named_sampler_does_not_get_around_the_model() {
        for (class, kind, key) in [
            ("EulerDiscreteScheduler", SamplerKind::Heun, r#""timestep_type": "continuous""#),
            ("FlowMatchEulerDiscreteScheduler", SamplerKind::FlowHeun, r#""use_dynamic_shifting": true"#),
            ("FlowMatchEulerDiscreteScheduler", SamplerKind::FlowEuler, r#""shift_terminal": 0.1"#),
            ("FlowMatchEulerDiscreteScheduler", SamplerKind::FlowEuler, r#""invert_sigmas": true"#),
        ] {
            let config = SchedulerConfig::parse(&format!(r#"{{"_class_name": "{class}", {key}}}"#)).unwrap();
            let error = Sampler::new(&config, &SamplerSettings::new(kind, 10)).unwrap_err().to_string();
            assert!(error.contains(key.split('"').nth(1).unwrap()), "{error}");
        }
    }

    #[test]
    fn noise_levels_of_the_file() {
        let spacing = |text: &str| sigma_spacing(&SchedulerConfig::parse(text).unwrap());
        assert_eq!(spacing("{}").unwrap(), SigmaSpacing::Timesteps);
        assert_eq!(spacing(r#"{"use_karras_sigmas": true}"#).unwrap(), SigmaSpacing::Karras);
        assert_eq!(spacing(r#"{"use_exponential_sigmas": true}"#).unwrap(), SigmaSpacing::Exponential);
        assert_refuses(
            spacing(r#"{"use_karras_sigmas": 1}"#),
            "`scheduler_config.json`: key `use_karras_sigmas`",
        );
        let both = r#"{"use_karras_sigmas": true, "use_exponential_sigmas": true}"#;
        assert_refuses(
            spacing(both),
            "`scheduler_config.json`: key `use_exponential_sigmas`: expected false",
        );
    }
}
