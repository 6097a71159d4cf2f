//! Samplers, predictions and batches that must give the same, and the data that all of them end in.

use super::*;

/// The same network, seed and timesteps: DDIM with η = 1 is DDPM, in `f32` and with real noise.
#[test]
fn ddim_with_eta_1_is_ddpm() {
    let model = Gaussian { m: 0.4, s: 0.6 };
    for (spacing, steps) in
        [(TimestepSpacing::Leading, 25), (TimestepSpacing::Trailing, 7), (TimestepSpacing::Linspace, 1000)]
    {
        let config = SchedulerConfig { set_alpha_to_one: true, ..config(spacing) };
        let start = starts(3, &[0, 1], [4, 2, 3], &Device::flex());
        let result = |sampler: VpSampler| {
            run(&sampler, model, start.clone(), &mut NoiseSource::new(Generator::Philox, 3, &[0, 1])).unwrap()
        };
        let ddpm = result(vp(SamplerKind::Ddpm, &config, steps));
        let ddim = vp(SamplerKind::Ddim, &config, steps);
        let stochastic = result(VpSampler { method: VpMethod::Ddim { eta: 1.0 }, ..ddim.clone() });
        let distance =
            |a: &Tensor<4>| values((a.clone() - ddpm.clone()).abs()).into_iter().fold(0.0, f64::max);
        assert!(distance(&stochastic) < 2e-5, "{spacing:?}: {}", distance(&stochastic));
        assert!(distance(&result(ddim)) > 0.1, "eta 0 is another sampler");
    }
}

/// A picture of a batch is the picture made alone, noise included.
#[test]
fn results_do_not_depend_on_the_batch() {
    let model = Gaussian { m: -0.2, s: 0.9 };
    let sampler = vp(SamplerKind::Ddpm, &SchedulerConfig::default(), 12);
    let picture = |indices: &[u64]| {
        let start = starts(5, indices, [4, 4, 4], &Device::flex());
        run(&sampler, model, start, &mut NoiseSource::new(Generator::Philox, 5, indices)).unwrap()
    };
    assert_eq!(values(picture(&[8, 2, 5]).narrow(0, 2, 1)), values(picture(&[5])));
}

/// ε, v and x₀ networks that know the same thing make the same picture.
#[test]
fn prediction_types_agree() {
    let model = Gaussian { m: 0.4, s: 0.6 };
    let result = |kind, prediction_type| {
        let config = SchedulerConfig { prediction_type, ..SchedulerConfig::default() };
        let sampler = vp(kind, &config, 10);
        let schedule = config.noise_schedule().unwrap();
        let mut denoise = |x: &Tensor<4>, Timestep { t, .. }: Timestep| {
            let t = t as usize;
            let rates = Rates::at(&schedule, &[t])?;
            let eps = model.eps(x, schedule.alpha_bar(t)?);
            let x_0 = PredictionType::Epsilon.x_0(eps.clone(), x.clone(), &rates)?;
            prediction_type.target(x_0, eps, &rates)
        };
        let mut half = |x: &Tensor<4>| Ok(x.zeros_like() + 0.5);
        values(sampler.sample(tensor(&[-1.0, 0.7]), &mut half, &mut denoise, &mut |_, _| ()).unwrap())
    };
    for kind in [SamplerKind::Ddpm, SamplerKind::Ddim] {
        let by_eps = result(kind, PredictionType::Epsilon);
        for other in [PredictionType::VPrediction, PredictionType::Sample] {
            for (a, b) in by_eps.iter().zip(result(kind, other)) {
                assert!((a - b).abs() < 1e-10, "{kind:?} {other:?}: {a} {b}");
            }
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
        let sampler = Sampler::new(&config, &SamplerSettings::new(kind, 12)).unwrap();
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

/// Every sampler turns unit noise into the data's distribution, with networks of every prediction type.
#[test]
fn every_sampler_ends_in_the_data() {
    let model = Gaussian { m: 0.4, s: 0.6 };
    let n = 4000;
    // LCM is for networks that lead to a sample, not to a mean; flows have their own test.
    for kind in SamplerKind::ALL.into_iter().filter(|kind| !kind.is_flow() && *kind != SamplerKind::Lcm) {
        let run = |prediction_type| {
            let config = SchedulerConfig {
                prediction_type,
                set_alpha_to_one: true,
                ..config(TimestepSpacing::Trailing)
            };
            let sampler = Sampler::new(&config, &SamplerSettings::new(kind, 60)).unwrap();
            let start = starts(9, &[0], [1, n, 1], &Device::flex());
            let mut noise = NoiseSource::new(Generator::Philox, 9, &[0]);
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

#[test]
fn flows_end_in_the_data() {
    let model = Gaussian { m: 0.4, s: 0.6 };
    let config = SchedulerClass::FlowMatchEulerDiscrete.constructor_defaults();
    for kind in [SamplerKind::FlowEuler, SamplerKind::FlowHeun] {
        let sampler = Sampler::new(&config, &SamplerSettings::new(kind, 200)).unwrap();
        let mut no_noise = |_: &Tensor<4>| panic!("deterministic");
        let start = [-1.5, 0.0, 2.0];
        let mut denoise = velocity(model, 1000.0);
        let end = sampler.sample(tensor(&start), &mut no_noise, &mut denoise, &mut |_, _| ()).unwrap();
        for (end, start) in values(end).into_iter().zip(start) {
            assert!((end - (0.4 + 0.6 * start)).abs() < 0.02, "{kind}: {start} to {end}");
        }
    }
}
