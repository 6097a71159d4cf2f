//! EDM: what goes into the network and comes out of it has unit variance at every noise level.
//!
//! Karras et al. 2022, arXiv:2206.00364, Table 1 and Section 5.

use burn::tensor::Tensor;

use super::forward_process::scale;
use super::sigma_grid::{exponential, karras};
use super::{PredictionType, SchedulerConfig, SigmaSpacing, same_shape};
use crate::{Error, Result};

/// D(x; σ) = c_skip·x + c_out·F(c_in·x; c_noise), F being the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preconditioning {
    /// σ.
    pub sigma: f64,
    /// σ_d²/(σ² + σ_d²).
    pub c_skip: f64,
    /// σ·σ_d/√(σ² + σ_d²).
    pub c_out: f64,
    /// 1/√(σ² + σ_d²).
    pub c_in: f64,
    /// ln(σ)/4.
    pub c_noise: f64,
    /// λ = (σ² + σ_d²)/(σ·σ_d)², the weight of the squared error of D: 1/c_out².
    pub weight: f64,
}

impl Preconditioning {
    /// At noise level `sigma` for data of standard deviation `sigma_data`, σ_d.
    ///
    /// # Errors
    /// `Error::Argument` unless both are finite and above 0.
    pub fn new(sigma: f64, sigma_data: f64) -> Result<Self> {
        for (name, value) in [("sigma", sigma), ("sigma_data", sigma_data)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::argument(name, "a finite number above 0", value));
            }
        }
        let total = sigma * sigma + sigma_data * sigma_data;
        Ok(Self {
            sigma,
            c_skip: sigma_data * sigma_data / total,
            c_out: sigma * sigma_data / total.sqrt(),
            c_in: 1.0 / total.sqrt(),
            c_noise: sigma.ln() / 4.0,
            weight: total / (sigma * sigma_data).powi(2),
        })
    }

    /// What the network is given for `x` = x₀ + σ·ε `[B, C, H, W]`: c_in·x.
    pub fn input(&self, x: Tensor<4>) -> Tensor<4> {
        x * self.c_in
    }

    /// D(x; σ) from the network's output: c_skip·x + c_out·F.
    pub fn x_0(&self, output: Tensor<4>, x: Tensor<4>) -> Tensor<4> {
        x * self.c_skip + output * self.c_out
    }
}

/// What the networks of a batch are given and should say, each sample at a level of its own: c_in·(x₀ + σ·ε), and the
/// F whose D is x₀: (x₀ − c_skip·(x₀ + σ·ε))/c_out. Both `[B, C, H, W]`, as `x_0` and `eps` are.
///
/// λ times the squared error of D is the squared error of F: every level counts alike (Section 5).
///
/// # Errors
/// `Error::Shape` if the shapes differ, or there is not one level for each sample.
pub fn input_and_target(
    x_0: Tensor<4>,
    eps: Tensor<4>,
    levels: &[Preconditioning],
) -> Result<(Tensor<4>, Tensor<4>)> {
    same_shape("noise", &x_0, &eps)?;
    if x_0.dims()[0] != levels.len() {
        return Err(Error::shape(
            "noise levels",
            format!("one of {} samples each", x_0.dims()[0]),
            levels.len(),
        ));
    }
    let each = |of: &dyn Fn(&Preconditioning) -> f64| levels.iter().map(of).collect::<Vec<f64>>();
    let noise = scale(eps, &each(&|c| c.sigma));
    let input = scale(x_0.clone() + noise.clone(), &each(&|c| c.c_in));
    let of_x_0 = scale(x_0, &each(&|c| (1.0 - c.c_skip) / c.c_out));
    let of_noise = scale(noise, &each(&|c| c.c_skip / c.c_out));
    Ok((input, of_x_0 - of_noise))
}

/// What the `scheduler_config.json` of an EDM model says; keys and defaults are those of diffusers'
/// `EDMEulerScheduler` and `EDMDPMSolverMultistepScheduler`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edm {
    /// σ_d, above 0: the standard deviation of the data.
    pub sigma_data: f64,
    /// The lowest level of a sampling run before 0, above 0.
    pub sigma_min: f64,
    /// The level that a sampling run starts at, above `sigma_min`.
    pub sigma_max: f64,
    /// ρ of [`karras`], above 0.
    pub rho: f64,
    /// How a run spaces its levels: Karras or exponential.
    pub spacing: SigmaSpacing,
    /// Whether the network says −F, as a velocity points away from the data (`v_prediction`).
    pub negative: bool,
}

impl Edm {
    /// That of a model; `None` for a model of another family.
    ///
    /// # Errors
    /// `Error::Config` for a key out of range.
    pub fn of(config: &SchedulerConfig) -> Result<Option<Self>> {
        if !config.class_name.is_edm() {
            return Ok(None);
        }
        let number = |key: &str, default: f64| Ok::<f64, Error>(config.option(key)?.unwrap_or(default));
        let refuse = |key: &str, expected: &str, got: &dyn std::fmt::Display| {
            Err(Error::config("scheduler_config.json", key, expected, got))
        };
        let spacing = match config.option::<String>("sigma_schedule")?.as_deref() {
            None | Some("karras") => SigmaSpacing::Karras,
            Some("exponential") => SigmaSpacing::Exponential,
            Some(other) => return refuse("sigma_schedule", "karras or exponential", &other),
        };
        let negative = match config.prediction_type {
            PredictionType::Epsilon => false,
            PredictionType::VPrediction => true,
            other => return refuse("prediction_type", "epsilon or v_prediction", &format!("{other:?}")),
        };
        let (sigma_min, sigma_max) = (number("sigma_min", 0.002)?, number("sigma_max", 80.0)?);
        let (sigma_data, rho) = (number("sigma_data", 0.5)?, number("rho", 7.0)?);
        for (key, value) in [("sigma_data", sigma_data), ("sigma_min", sigma_min), ("rho", rho)] {
            if !(value > 0.0 && value.is_finite()) {
                return refuse(key, "a finite number above 0", &value);
            }
        }
        if !(sigma_max > sigma_min && sigma_max.is_finite()) {
            return refuse("sigma_max", "a finite number above sigma_min", &sigma_max);
        }
        Ok(Some(Self { sigma_data, sigma_min, sigma_max, rho, spacing, negative }))
    }

    /// The preconditioning of the model's network at a noise level.
    ///
    /// # Errors
    /// As [`Preconditioning::new`].
    pub fn at(&self, sigma: f64) -> Result<Preconditioning> {
        let c = Preconditioning::new(sigma, self.sigma_data)?;
        Ok(Preconditioning { c_out: if self.negative { -c.c_out } else { c.c_out }, ..c })
    }

    /// The `steps` noise levels of a sampling run, without the final 0; in another spacing than the model's own where
    /// one is given.
    ///
    /// # Errors
    /// `Error::Argument` for no steps, and for the levels of timesteps, which such a model does not have.
    pub fn sigmas(&self, steps: usize, spacing: Option<SigmaSpacing>) -> Result<Vec<f64>> {
        match spacing.unwrap_or(self.spacing) {
            SigmaSpacing::Karras => karras(steps, self.sigma_min, self.sigma_max, self.rho),
            SigmaSpacing::Exponential => exponential(steps, self.sigma_min, self.sigma_max),
            SigmaSpacing::Timesteps => {
                let expected = "karras or exponential: an EDM model has no timesteps";
                Err(Error::argument("schedule", expected, SigmaSpacing::Timesteps))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{samples, values};

    #[test]
    fn the_target_of_the_network_has_unit_variance() {
        let (sigma, sigma_data) = (1.7_f64, 0.4_f64);
        let c = Preconditioning::new(sigma, sigma_data).unwrap();
        // F's target is (y − c_skip (y + n))/c_out for y ~ N(0, σ_d²), n ~ N(0, σ²).
        let variance = ((1.0 - c.c_skip) * sigma_data).powi(2) + (c.c_skip * sigma).powi(2);
        assert!((variance / (c.c_out * c.c_out) - 1.0).abs() < 1e-12);
        assert!((c.weight * c.c_out * c.c_out - 1.0).abs() < 1e-12);
        assert!(matches!(Preconditioning::new(0.0, 0.5), Err(Error::Argument { .. })));
    }

    /// A network that says the target is right about x₀, and one that is d beside it is c_out·d beside x₀.
    #[test]
    fn the_target_is_the_network_whose_denoiser_is_right() {
        let (x_0, eps) = ([0.5, -2.0, 1.0], [1.5, 0.25, -1.0]);
        for prediction_type in [PredictionType::Epsilon, PredictionType::VPrediction] {
            let config = SchedulerConfig {
                prediction_type,
                ..crate::diffusion::SchedulerClass::EdmEuler.constructor_defaults()
            };
            let edm = Edm::of(&config).unwrap().unwrap();
            let levels = [0.02, 0.7, 55.0].map(|sigma| edm.at(sigma).unwrap());
            let (input, target) = input_and_target(samples(&x_0), samples(&eps), &levels).unwrap();
            for (i, c) in levels.iter().enumerate() {
                let x = samples(&[x_0[i] + c.sigma * eps[i]]);
                let one = |of: &Tensor<4>| of.clone().narrow(0, i, 1);
                assert!((values(c.input(x.clone()) - one(&input))[0]).abs() < 1e-12);
                assert!((values(c.x_0(one(&target), x.clone()))[0] - x_0[i]).abs() < 1e-12);
                let error = values(c.x_0(one(&target) + 0.1, x))[0] - x_0[i];
                assert!((c.weight * error * error - 0.01).abs() < 1e-12);
            }
        }
        let c = Preconditioning::new(1.0, 0.5).unwrap();
        let error = input_and_target(samples(&x_0), samples(&eps), &[c]).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }

    /// With σ_d = 1 the form is that of v-prediction at ᾱ = 1/(1 + σ²), with the other sign.
    #[test]
    fn unit_data_is_v_prediction() {
        let sigma = 0.8_f64;
        let alpha_bar = 1.0 / (1.0 + sigma * sigma);
        let rates = crate::diffusion::Rates::new(&[alpha_bar]).unwrap();
        let (x_0, eps) = (samples(&[0.5]), samples(&[-1.5]));
        let c = Preconditioning::new(sigma, 1.0).unwrap();
        let (_, target) = input_and_target(x_0.clone(), eps.clone(), &[c]).unwrap();
        let v = PredictionType::VPrediction.target(x_0, eps, &rates).unwrap();
        assert!((values(target)[0] + values(v)[0]).abs() < 1e-12);
    }

    #[test]
    fn a_file_decides_the_levels() {
        let of = |more: &str| {
            let text = format!(r#"{{"_class_name": "EDMEulerScheduler"{more}}}"#);
            let config = SchedulerConfig::parse(&text).unwrap();
            // What reads a folder refuses what cannot be sampled.
            assert_eq!(config.noise_schedule().is_ok(), Edm::of(&config).is_ok());
            Edm::of(&config)
        };
        let edm = of("").unwrap().unwrap();
        assert_eq!((edm.sigma_data, edm.sigma_min, edm.sigma_max, edm.rho), (0.5, 0.002, 80.0, 7.0));
        assert!(!edm.negative && of(r#", "prediction_type": "v_prediction""#).unwrap().unwrap().negative);
        let levels = of(r#", "sigma_schedule": "exponential", "sigma_max": 8, "sigma_min": 0.5"#);
        let levels = levels.unwrap().unwrap().sigmas(3, None).unwrap();
        for (got, expected) in levels.into_iter().zip([8.0, 2.0, 0.5]) {
            assert!((got - expected).abs() < 1e-12);
        }
        for (more, key) in [
            (r#", "sigma_data": 0"#, "sigma_data"),
            (r#", "sigma_min": 90"#, "sigma_max"),
            (r#", "sigma_schedule": "cosine""#, "sigma_schedule"),
            (r#", "prediction_type": "sample""#, "prediction_type"),
        ] {
            let error = of(more).unwrap_err();
            assert!(matches!(&error, Error::Config { key: found, .. } if found == key), "{more}: {error}");
        }
        let error = edm.sigmas(3, Some(SigmaSpacing::Timesteps)).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
        assert_eq!(Edm::of(&SchedulerConfig::default()).unwrap(), None);
    }
}
