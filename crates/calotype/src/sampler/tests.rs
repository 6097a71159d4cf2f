//! Whole runs against the denoiser of Gaussian data, which is known in closed form.

use burn::tensor::Device;

use super::*;
use crate::diffusion::{NoiseSchedule, PredictionType, Rates, SchedulerClass, TimestepSpacing};
use crate::self_test::tensors::{samples as tensor, values};

/// x₀ ~ N(m, s²), independent pixels.
#[derive(Clone, Copy)]
struct Gaussian {
    m: f64,
    s: f64,
}

impl Gaussian {
    /// E[ε | x_t] = √(1−ᾱ)·(x_t − √ᾱ·m)/(ᾱ·s² + 1−ᾱ).
    fn eps(self, x: &Tensor<4>, alpha_bar: f64) -> Tensor<4> {
        let variance = alpha_bar * self.s * self.s + 1.0 - alpha_bar;
        (x.clone() - alpha_bar.sqrt() * self.m) * ((1.0 - alpha_bar).sqrt() / variance)
    }
}

/// The sampler's own steps for a Gaussian, with prescribed noise.
fn run(sampler: &VpSampler, model: Gaussian, start: Tensor<4>, noise: &mut dyn Noise) -> Result<Tensor<4>> {
    let alpha_bar = |t: usize| sampler.transitions.iter().find(|tr| tr.t == t).unwrap().alpha_bar_t;
    let mut denoise = |x: &Tensor<4>, t: f64| Ok(model.eps(x, alpha_bar(t as usize)));
    sampler.sample(start, noise, &mut denoise, &mut |_, _| ())
}

fn config(spacing: TimestepSpacing) -> SchedulerConfig {
    SchedulerConfig { timestep_spacing: spacing, steps_offset: 0, ..SchedulerConfig::default() }
}

/// DDIM over noise levels σ, in the coordinates of the schedule: ᾱ = 1/(1+σ²).
fn ddim_over(sigmas: &[f64]) -> VpSampler {
    let alpha_bar = |sigma: f64| 1.0 / (1.0 + sigma * sigma);
    let last = sigmas.len() - 1;
    let transitions = (0..last)
        .map(|i| {
            let s = Some(last - i - 1);
            Transition::new(last - i, s, alpha_bar(sigmas[i]), alpha_bar(sigmas[i + 1])).unwrap()
        })
        .collect();
    VpSampler { transitions, ..VpSampler::new(VpMethod::Ddim, &SchedulerConfig::default(), 1).unwrap() }
}

/// The result in sigma space, x = √(1+σ²)·x_vp.
fn ddim_endpoint(model: Gaussian, sigmas: &[f64], start: &[f64]) -> Vec<f64> {
    let stretch = |sigma: f64| (1.0 + sigma * sigma).sqrt();
    let mut no_noise = |_: &Tensor<4>| panic!("eta 0 draws no noise");
    let start = tensor(start) / stretch(sigmas[0]);
    let end = run(&ddim_over(sigmas), model, start, &mut no_noise).unwrap();
    values(end * stretch(sigmas[sigmas.len() - 1]))
}

/// The same network, seed and timesteps: DDIM with η = 1 is DDPM, in `f32` and with real noise.
#[test]
fn ddim_with_eta_1_is_ddpm() {
    let model = Gaussian { m: 0.4, s: 0.6 };
    for (spacing, steps) in
        [(TimestepSpacing::Leading, 25), (TimestepSpacing::Trailing, 7), (TimestepSpacing::Linspace, 1000)]
    {
        let config = SchedulerConfig { set_alpha_to_one: true, ..config(spacing) };
        let start = initial_latents(3, &[0, 1], [4, 2, 3], &Device::flex());
        let result = |sampler: VpSampler| {
            run(&sampler, model, start.clone(), &mut NoiseSource::new(3, &[0, 1])).unwrap()
        };
        let ddpm = result(VpSampler::new(VpMethod::Ddpm, &config, steps).unwrap());
        let ddim = VpSampler::new(VpMethod::Ddim, &config, steps).unwrap();
        let stochastic = result(ddim.clone().with_eta(1.0).unwrap());
        let distance =
            |a: &Tensor<4>| values((a.clone() - ddpm.clone()).abs()).into_iter().fold(0.0, f64::max);
        assert!(distance(&stochastic) < 2e-5, "{spacing:?}: {}", distance(&stochastic));
        assert!(distance(&result(ddim)) > 0.1, "eta 0 is another sampler");
    }
}

/// DDIM with η = 0 is a first-order solver of the probability-flow ODE dx/dσ = (x − D(x, σ))/σ,
/// which keeps (x − m)/√(s²+σ²) for Gaussian data.
#[test]
fn ddim_converges_to_the_exact_solution_with_order_1() {
    let model = Gaussian { m: 0.4, s: 0.6 };
    let (first, last) = (10.0_f64, 0.05_f64);
    let start = [-15.0, 3.0, 10.0, 20.0];
    let std = |sigma: f64| (model.s * model.s + sigma * sigma).sqrt();
    let error = |steps: usize| {
        let sigma = |i: usize| first * (last / first).powf(i as f64 / steps as f64);
        let sigmas: Vec<f64> = (0..=steps).map(sigma).collect();
        let end = ddim_endpoint(model, &sigmas, &start);
        let exact = start.map(|x| model.m + (x - model.m) * std(last) / std(first));
        end.iter().zip(exact).map(|(x, exact)| (x - exact).powi(2)).sum::<f64>().sqrt()
    };
    let errors = [20, 40, 80, 160].map(error);
    for pair in errors.windows(2) {
        let order = (pair[0] / pair[1]).log2();
        assert!((0.95..1.1).contains(&order), "order {order} of errors {errors:?}");
    }
}

/// A picture of a batch is the picture made alone, noise included.
#[test]
fn results_do_not_depend_on_the_batch() {
    let model = Gaussian { m: -0.2, s: 0.9 };
    let sampler = VpSampler::new(VpMethod::Ddpm, &SchedulerConfig::default(), 12).unwrap();
    let picture = |indices: &[u64]| {
        let start = initial_latents(5, indices, [4, 4, 4], &Device::flex());
        run(&sampler, model, start, &mut NoiseSource::new(5, indices)).unwrap()
    };
    assert_eq!(values(picture(&[8, 2, 5]).narrow(0, 2, 1)), values(picture(&[5])));
}

/// ε, v and x₀ networks that know the same thing make the same picture.
#[test]
fn prediction_types_agree() {
    let model = Gaussian { m: 0.4, s: 0.6 };
    let result = |kind, prediction_type| {
        let config = SchedulerConfig { prediction_type, ..SchedulerConfig::default() };
        let sampler = VpSampler::new(kind, &config, 10).unwrap();
        let schedule = config.noise_schedule().unwrap();
        let mut denoise = |x: &Tensor<4>, t: f64| {
            let t = t as usize;
            let rates = Rates::at(&schedule, &[t])?;
            let eps = model.eps(x, schedule.alpha_bar(t)?);
            let x_0 = PredictionType::Epsilon.x_0(eps.clone(), x.clone(), &rates)?;
            prediction_type.target(x_0, eps, &rates)
        };
        let mut half = |x: &Tensor<4>| Ok(x.zeros_like() + 0.5);
        values(sampler.sample(tensor(&[-1.0, 0.7]), &mut half, &mut denoise, &mut |_, _| ()).unwrap())
    };
    for kind in [VpMethod::Ddpm, VpMethod::Ddim] {
        let by_eps = result(kind, PredictionType::Epsilon);
        for other in [PredictionType::VPrediction, PredictionType::Sample] {
            for (a, b) in by_eps.iter().zip(result(kind, other)) {
                assert!((a - b).abs() < 1e-10, "{kind:?} {other:?}: {a} {b}");
            }
        }
    }
}

#[test]
fn clipping_bounds_the_last_prediction() {
    let model = Gaussian { m: 5.0, s: 0.1 };
    let config = SchedulerConfig { clip_sample: true, clip_sample_range: 2.0, ..SchedulerConfig::default() };
    let end = |clip_sample| {
        let config = SchedulerConfig { clip_sample, ..config.clone() };
        let sampler = VpSampler::new(VpMethod::Ddpm, &config, 10).unwrap();
        values(run(&sampler, model, tensor(&[0.0]), &mut |x: &Tensor<4>| Ok(x.zeros_like())).unwrap())[0]
    };
    assert!((end(false) - 5.0).abs() < 0.1 && end(true) == 2.0, "{} {}", end(false), end(true));
}

#[test]
fn the_grid_and_its_end_follow_the_configuration() {
    let trailing = config(TimestepSpacing::Trailing);
    let schedule: NoiseSchedule = trailing.noise_schedule().unwrap();
    for kind in [VpMethod::Ddpm, VpMethod::Ddim] {
        let sampler = VpSampler::new(kind, &trailing, 1000).unwrap();
        assert_eq!((sampler.transitions[0].t, sampler.transitions[999].t), (999, 0));
    }
    let end = |kind, config: &SchedulerConfig| {
        let last = *VpSampler::new(kind, config, 20).unwrap().transitions.last().unwrap();
        assert_eq!(last.s, None);
        last.alpha_bar_s
    };
    let to_one = SchedulerConfig { set_alpha_to_one: true, ..SchedulerConfig::default() };
    assert_eq!(end(VpMethod::Ddim, &SchedulerConfig::default()), schedule.alpha_bar(0).unwrap());
    assert_eq!(end(VpMethod::Ddim, &to_one), 1.0);
    assert_eq!(end(VpMethod::Ddpm, &SchedulerConfig::default()), 1.0);

    // Visiting t = 0 and then ending at ᾱ_0 is allowed and changes nothing.
    let mut sampler = VpSampler::new(VpMethod::Ddim, &config(TimestepSpacing::Linspace), 20).unwrap();
    sampler.transitions.drain(..19);
    let start = [0.3, -2.0];
    let end =
        run(&sampler, Gaussian { m: 0.0, s: 1.0 }, tensor(&start), &mut NoiseSource::new(0, &[])).unwrap();
    assert!(values(end).iter().zip(start).all(|(x, start)| (x - start).abs() < 1e-14));
}

#[test]
fn reports_every_step_in_order() {
    let sampler = VpSampler::new(VpMethod::Ddim, &SchedulerConfig::default(), 4).unwrap();
    let (mut asked, mut reported) = (Vec::new(), Vec::new());
    let mut denoise = |x: &Tensor<4>, t: f64| {
        asked.push(t);
        Ok(x.zeros_like())
    };
    let mut source = NoiseSource::new(0, &[0]);
    sampler.sample(tensor(&[1.0]), &mut source, &mut denoise, &mut |i, n| reported.push((i, n))).unwrap();
    assert_eq!(asked, [751.0, 501.0, 251.0, 1.0]);
    assert_eq!(reported, [(1, 4), (2, 4), (3, 4), (4, 4)]);
}

#[test]
fn refuses_what_cannot_be_sampled() {
    let config = SchedulerConfig::default();
    for kind in [VpMethod::Ddpm, VpMethod::Ddim] {
        for steps in [0, 1001, usize::MAX] {
            assert!(VpSampler::new(kind, &config, steps).is_err());
        }
        // leading with steps_offset 1: the first of 1000 timesteps would be 1000
        let error = VpSampler::new(kind, &config, 1000).unwrap_err().to_string();
        assert!(error.contains("steps_offset 1"), "{error}");
    }
    let sampler = |kind| VpSampler::new(kind, &config, 2).unwrap();
    assert!(sampler(VpMethod::Ddim).with_eta(1.1).is_err());
    assert!(sampler(VpMethod::Ddim).with_eta(f64::NAN).is_err());
    assert!(sampler(VpMethod::Ddpm).with_eta(0.5).is_err());
    let mut wrong_shape = |_: &Tensor<4>, _: f64| Ok(tensor(&[0.0, 0.0]));
    let mut source = NoiseSource::new(0, &[0]);
    let result =
        sampler(VpMethod::Ddim).sample(tensor(&[1.0]), &mut source, &mut wrong_shape, &mut |_, _| ());
    assert!(matches!(result, Err(Error::Shape { .. })));
}

#[test]
fn names_come_from_one_list() {
    for kind in SamplerKind::ALL {
        assert_eq!(kind.to_string().parse::<SamplerKind>().unwrap(), kind);
    }
    let error = "euler_b".parse::<SamplerKind>().unwrap_err().to_string();
    assert!(error.contains("ddpm, ddim") && error.contains("euler_b"), "{error}");
    let pndm = SchedulerConfig { class_name: SchedulerClass::Pndm, ..SchedulerConfig::default() };
    assert_eq!(SamplerKind::from_config(&SchedulerConfig::default()).unwrap(), SamplerKind::Ddim);
    assert!(SamplerKind::from_config(&pndm).is_err());
}

/// The network of Gaussian data in the coordinates of the schedule, between its timesteps too.
fn network(config: &SchedulerConfig, model: Gaussian) -> impl FnMut(&Tensor<4>, f64) -> Result<Tensor<4>> {
    let schedule = config.noise_schedule().unwrap();
    let prediction_type = config.prediction_type;
    move |x: &Tensor<4>, t: f64| {
        let log_sigma = |t: usize| schedule.sigma(t).unwrap().ln();
        let below = t.floor() as usize;
        let sigma = match t.fract() {
            0.0 => log_sigma(below),
            fraction => log_sigma(below) + fraction * (log_sigma(below + 1) - log_sigma(below)),
        }
        .exp();
        let alpha_bar = 1.0 / (1.0 + sigma * sigma);
        let rates = Rates::new(&[alpha_bar])?;
        let eps = model.eps(x, alpha_bar);
        let x_0 = PredictionType::Epsilon.x_0(eps.clone(), x.clone(), &rates)?;
        prediction_type.target(x_0, eps, &rates)
    }
}

/// Every sampler turns unit noise into the data's distribution, with networks of every prediction type.
#[test]
fn every_sampler_ends_in_the_data() {
    let model = Gaussian { m: 0.4, s: 0.6 };
    let n = 4000;
    for kind in SamplerKind::ALL {
        let run = |prediction_type| {
            let config = SchedulerConfig {
                prediction_type,
                set_alpha_to_one: true,
                ..config(TimestepSpacing::Trailing)
            };
            let sampler = Sampler::new(kind, &config, 60, 0.0).unwrap();
            let start = initial_latents(9, &[0], [1, n, 1], &Device::flex());
            let mut noise = NoiseSource::new(9, &[0]);
            values(sampler.sample(start, &mut noise, &mut network(&config, model), &mut |_, _| ()).unwrap())
        };
        let x = run(PredictionType::Epsilon);
        let mean = x.iter().sum::<f64>() / n as f64;
        let std = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        assert!((mean - 0.4).abs() < 0.05 && (std - 0.6).abs() < 0.04, "{kind}: {mean} {std}");
        for other in [PredictionType::VPrediction, PredictionType::Sample] {
            let worst = x.iter().zip(run(other)).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-3, "{kind} {other:?}: {worst}");
        }
    }
}

/// σ and the schedule's coordinates are two views of one process: DDIM is Euler.
#[test]
fn euler_is_ddim() {
    let model = Gaussian { m: -0.3, s: 0.8 };
    let config = SchedulerConfig { set_alpha_to_one: true, ..config(TimestepSpacing::Trailing) };
    let start = [-1.5, 0.2, 1.1];
    let end = |kind, stretch: f64| {
        let sampler = Sampler::new(kind, &config, 12, 0.0).unwrap();
        let mut no_noise = |_: &Tensor<4>| panic!("deterministic");
        let start = tensor(&start) * stretch;
        values(sampler.sample(start, &mut no_noise, &mut network(&config, model), &mut |_, _| ()).unwrap())
    };
    // Unit noise is σ·ε for Euler and √(1−ᾱ)·ε + signal for DDIM: the same point once it is stretched.
    let sigma = config.noise_schedule().unwrap().sigma(999).unwrap();
    let ddim = end(SamplerKind::Ddim, 1.0);
    let euler = end(SamplerKind::Euler, (1.0 + sigma * sigma).sqrt() / sigma);
    assert!(ddim.iter().zip(euler).all(|(x, y)| (x - y).abs() < 1e-12), "{ddim:?}");
}

#[test]
fn samplers_in_sigma_ask_where_the_grid_is() {
    let config =
        SchedulerConfig { timestep_spacing: TimestepSpacing::Linspace, ..SchedulerConfig::default() };
    let asked = |kind| {
        let mut asked = Vec::new();
        let mut denoise = |x: &Tensor<4>, t: f64| {
            asked.push(t);
            Ok(x.zeros_like())
        };
        let sampler = Sampler::new(kind, &config, 4, 0.0).unwrap();
        let mut zeros = |x: &Tensor<4>| Ok(x.zeros_like());
        sampler.sample(tensor(&[1.0]), &mut zeros, &mut denoise, &mut |_, _| ()).unwrap();
        asked
    };
    assert_eq!(asked(SamplerKind::Euler), [999.0, 666.0, 333.0, 0.0]);
    assert_eq!(asked(SamplerKind::DpmPp2M), [999.0, 749.0, 500.0, 250.0]);
    assert_eq!(asked(SamplerKind::Heun), [999.0, 666.0, 666.0, 333.0, 333.0, 0.0, 0.0]);
    // Two calls a step, the second in the middle of ln σ.
    let dpm2 = asked(SamplerKind::Dpm2);
    assert!(dpm2.len() == 7 && 666.0 < dpm2[1] && dpm2[1] < 999.0 && dpm2[1].fract() != 0.0, "{dpm2:?}");
    assert!(Sampler::new(SamplerKind::Euler, &config, 4, 0.5).is_err(), "Euler has no eta");
}

/// Without any signal at T−1, σ is infinite.
#[test]
fn zero_terminal_snr_is_for_the_schedules_coordinates() {
    let config = SchedulerConfig {
        rescale_betas_zero_snr: true,
        prediction_type: PredictionType::VPrediction,
        ..config(TimestepSpacing::Trailing)
    };
    let error = Sampler::new(SamplerKind::Euler, &config, 5, 0.0).unwrap_err().to_string();
    assert!(error.contains("ddim"), "{error}");
    assert!(Sampler::new(SamplerKind::Ddim, &config, 5, 0.0).is_ok());
}
