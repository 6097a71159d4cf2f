//! Where a run asks its network, what it reports, and where it ends.

use super::*;

#[test]
fn the_grid_and_its_end_follow_the_configuration() {
    let trailing = config(TimestepSpacing::Trailing);
    let schedule: NoiseSchedule = trailing.noise_schedule().unwrap();
    for kind in [SamplerKind::Ddpm, SamplerKind::Ddim] {
        let sampler = vp(kind, &trailing, 1000);
        assert_eq!((sampler.transitions[0].t, sampler.transitions[999].t), (999, 0));
    }
    let end = |kind, config: &SchedulerConfig| {
        let last = *vp(kind, config, 20).transitions.last().unwrap();
        assert_eq!(last.s, None);
        last.alpha_bar_s
    };
    let to_one = SchedulerConfig { set_alpha_to_one: true, ..SchedulerConfig::default() };
    assert_eq!(end(SamplerKind::Ddim, &SchedulerConfig::default()), schedule.alpha_bar(0).unwrap());
    assert_eq!(end(SamplerKind::Ddim, &to_one), 1.0);
    assert_eq!(end(SamplerKind::Ddpm, &SchedulerConfig::default()), 1.0);

    // Visiting t = 0 and then ending at ᾱ_0 is allowed and changes nothing.
    let mut sampler = vp(SamplerKind::Ddim, &config(TimestepSpacing::Linspace), 20);
    sampler.transitions.drain(..19);
    let start = [0.3, -2.0];
    let end = run(
        &sampler,
        Gaussian { m: 0.0, s: 1.0 },
        tensor(&start),
        &mut NoiseSource::new(Generator::Philox, 0, &[]),
    )
    .unwrap();
    assert!(values(end).iter().zip(start).all(|(x, start)| (x - start).abs() < 1e-14));
}

#[test]
fn samplers_in_sigma_ask_where_the_grid_is() {
    let config =
        SchedulerConfig { timestep_spacing: TimestepSpacing::Linspace, ..SchedulerConfig::default() };
    let asked = |kind| {
        let mut asked = Vec::new();
        let mut denoise = |x: &Tensor<4>, Timestep { t, .. }: Timestep| {
            asked.push(t);
            Ok(x.zeros_like())
        };
        let sampler = Sampler::new(&config, &SamplerSettings::new(kind, 4)).unwrap();
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
}

/// Times evenly from 1 to 1/T, shifted once; diffusers shifts the 1/T before.
#[test]
fn flows_are_shifted_once() {
    let config =
        SchedulerConfig::parse(r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#);
    let config = config.unwrap();
    let shifted = |t: f64| 3.0 * t / (1.0 + 2.0 * t);
    for (compat, smallest) in [(None, 0.001), (Some(Compat::Diffusers), shifted(0.001))] {
        let settings = SamplerSettings { compat, ..SamplerSettings::new(SamplerKind::FlowEuler, 3) };
        let mut asked = Vec::new();
        let mut denoise = |x: &Tensor<4>, Timestep { t, .. }: Timestep| {
            asked.push(t);
            Ok(x.zeros_like())
        };
        let mut no_noise = |_: &Tensor<4>| panic!("deterministic");
        let sampler = Sampler::new(&config, &settings).unwrap();
        sampler.sample(tensor(&[1.0]), &mut no_noise, &mut denoise, &mut |_, _| ()).unwrap();
        let expected = [1.0, (1.0 + smallest) / 2.0, smallest].map(|t| 1000.0 * shifted(t));
        assert!(asked.iter().zip(expected).all(|(t, e)| (t - e).abs() < 1e-9), "{compat:?}: {asked:?}");
    }
}

/// Without any signal at T−1, σ would be infinite: it is 2¹², as in diffusers.
#[test]
fn samplers_in_sigma_start_at_a_finite_level() {
    let config = SchedulerConfig {
        rescale_betas_zero_snr: true,
        prediction_type: PredictionType::VPrediction,
        set_alpha_to_one: true,
        ..config(TimestepSpacing::Trailing)
    };
    let end = |kind| {
        let sampler = Sampler::new(&config, &SamplerSettings::new(kind, 5)).unwrap();
        let mut denoise = |x: &Tensor<4>, Timestep { t, .. }: Timestep| Ok(x.clone() * (t / 1000.0));
        let mut no_noise = |_: &Tensor<4>| panic!("deterministic");
        values(sampler.sample(tensor(&[0.8]), &mut no_noise, &mut denoise, &mut |_, _| ()).unwrap())[0]
    };
    let (ddim, euler) = (end(SamplerKind::Ddim), end(SamplerKind::Euler));
    assert!((ddim - euler).abs() < 1e-3 * ddim.abs(), "{ddim} {euler}");
}

#[test]
fn reports_every_step_in_order() {
    let sampler = vp(SamplerKind::Ddim, &SchedulerConfig::default(), 4);
    let (mut asked, mut reported) = (Vec::new(), Vec::new());
    let mut denoise = |x: &Tensor<4>, Timestep { t, .. }: Timestep| {
        asked.push(t);
        Ok(x.zeros_like())
    };
    let mut source = NoiseSource::new(Generator::Philox, 0, &[0]);
    sampler.sample(tensor(&[1.0]), &mut source, &mut denoise, &mut |i, n| reported.push((i, n))).unwrap();
    assert_eq!(asked, [751.0, 501.0, 251.0, 1.0]);
    assert_eq!(reported, [(1, 4), (2, 4), (3, 4), (4, 4)]);
}

#[test]
fn clipping_bounds_the_last_prediction() {
    let model = Gaussian { m: 5.0, s: 0.1 };
    let config = SchedulerConfig { clip_sample: true, clip_sample_range: 2.0, ..SchedulerConfig::default() };
    let end = |clip_sample| {
        let config = SchedulerConfig { clip_sample, ..config.clone() };
        let sampler = vp(SamplerKind::Ddpm, &config, 10);
        values(run(&sampler, model, tensor(&[0.0]), &mut |x: &Tensor<4>| Ok(x.zeros_like())).unwrap())[0]
    };
    assert!((end(false) - 5.0).abs() < 0.1 && end(true) == 2.0, "{} {}", end(false), end(true));
}

/// Guidance intervals decide by it: σ is, bit for bit, what the model's schedule has at the timestep that the network
/// is told, wherever the sampler itself is.
#[test]
fn networks_are_told_the_noise_level_of_their_timestep() {
    let zero_snr = SchedulerConfig {
        rescale_betas_zero_snr: true,
        prediction_type: PredictionType::VPrediction,
        ..config(TimestepSpacing::Trailing)
    };
    let flow = SchedulerClass::FlowMatchEulerDiscrete.constructor_defaults();
    let models = [config(TimestepSpacing::Leading), config(TimestepSpacing::Linspace), zero_snr, flow];
    let levels = [None, Some(SigmaSpacing::Karras), Some(SigmaSpacing::Exponential)];
    let mut runs = 0;
    for (config, kind, schedule) in models.iter().flat_map(|config| {
        SamplerKind::ALL.into_iter().flat_map(move |kind| levels.map(|schedule| (config, kind, schedule)))
    }) {
        let settings = SamplerSettings { schedule, ..SamplerSettings::new(kind, 7) };
        let Ok(sampler) = Sampler::new(config, &settings) else { continue };
        let of_schedule = config.noise_schedule().unwrap();
        let mut denoise = |x: &Tensor<4>, Timestep { t, sigma }: Timestep| {
            let expected = if kind.is_flow() { t / (1000.0 - t) } else { of_schedule.sigma_at(t)? };
            assert_eq!(sigma, expected, "{kind} {schedule:?} at {t}");
            Ok(x.zeros_like())
        };
        let mut zeros = |x: &Tensor<4>| Ok(x.zeros_like());
        sampler.sample(tensor(&[1.0]), &mut zeros, &mut denoise, &mut |_, _| ()).unwrap();
        runs += 1;
    }
    // 16 samplers on their models, ten of them in σ with three spacings; pndm and zero SNR exclude each other.
    assert_eq!(runs, 3 * (4 + 10 * 3) - 1 + 2);
}
