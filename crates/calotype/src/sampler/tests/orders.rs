//! The orders of convergence of deterministic samplers on Gaussian data: how the error falls when the steps are
//! halved, measured where the network is asked last, which no closing step to σ = 0 touches.

use super::*;
use crate::diffusion::sigma_grid::exponential;
use crate::sampler::dpmpp_3m::DpmPp3M;
use crate::sampler::solver::{Solver, solve};
use crate::sampler::unipc::{BType, UniPc};

const MODEL: Gaussian = Gaussian { m: 0.7, s: 0.5 };
const STARTS: [f64; 3] = [-1.5, 0.2, 1.1];
/// The ends of the noise levels. Far above the data's scale D hardly changes, and the lower order of a multistep
/// method's first steps would show only after thousands of them.
const SIGMAS: (f64, f64) = (0.1, 1.0);
/// Steps of a run, and twice as many.
const INTERVALS: [usize; 2] = [256, 512];
/// T: one more than a power of two, so that halved steps, and their middles, are timesteps.
const TIMESTEPS: usize = 1025;

/// A model of the class and options of `file`, with noise levels evenly spaced in ln σ.
fn model_of(file: &str) -> SchedulerConfig {
    let levels = exponential(TIMESTEPS, SIGMAS.0, SIGMAS.1).unwrap();
    let alpha_bars = levels.iter().rev().map(|sigma| 1.0 / (1.0 + sigma * sigma));
    let betas = alpha_bars.scan(1.0, |before, now| Some(1.0 - now / std::mem::replace(before, now)));
    SchedulerConfig {
        trained_betas: Some(betas.collect()),
        num_train_timesteps: TIMESTEPS,
        timestep_spacing: TimestepSpacing::Linspace,
        clip_sample: false,
        ..SchedulerConfig::parse(file).unwrap()
    }
}

fn order_of(errors: [f64; 2]) -> f64 {
    (errors[0] / errors[1]).log2()
}

/// How far the network's last input is from the exact solution, after that many equal steps.
fn error(config: &SchedulerConfig, settings: &SamplerSettings, intervals: usize) -> f64 {
    // Grids of the DPM family end a step above the clean end; the others visit it.
    let visited = match settings.kind {
        SamplerKind::DpmPp2S | SamplerKind::DpmPp2M | SamplerKind::UniPc => intervals,
        _ => intervals + 1,
    };
    let sampler = Sampler::new(config, &SamplerSettings { steps: visited, ..*settings }).unwrap();
    let (mut network, mut velocity) = (network(config, MODEL), velocity(MODEL, TIMESTEPS as f64));
    let mut asked = Vec::new();
    let mut denoise = |x: &Tensor<4>, at: Timestep| {
        asked.push((values(x.clone()), at.t));
        if settings.kind.is_flow() { velocity(x, at) } else { network(x, at) }
    };
    let mut no_noise = |_: &Tensor<4>| panic!("deterministic");
    sampler.sample(tensor(&STARTS), &mut no_noise, &mut denoise, &mut |_, _| ()).unwrap();
    let shares = |t: f64| {
        if settings.kind.is_flow() {
            (1.0 - t / TIMESTEPS as f64, t / TIMESTEPS as f64)
        } else {
            let alpha_bar = config.noise_schedule().unwrap().alpha_bar(t as usize).unwrap();
            (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt())
        }
    };
    let ((first, from), (last, to)) = (&asked[0], &asked[asked.len() - 1]);
    let exact = first.iter().map(|&x| MODEL.flow(x, shares(*from), shares(*to)));
    exact.zip(last).map(|(exact, x)| (x - exact).powi(2)).sum::<f64>().sqrt()
}

/// Every deterministic sampler as users get it: its name, the model's file, and the order that docs/samplers.md
/// gives it.
#[test]
fn every_deterministic_sampler_has_its_order() {
    let unipc = |more: &str| format!(r#"{{"_class_name": "UniPCMultistepScheduler"{more}}}"#);
    let class = |class: &str| format!(r#"{{"_class_name": "{class}"}}"#);
    let v = |class: &str| format!(r#"{{"_class_name": "{class}", "prediction_type": "v_prediction"}}"#);
    let plms = r#"{"_class_name": "PNDMScheduler", "skip_prk_steps": true}"#.to_owned();
    let (flow, any) = ("FlowMatchEulerDiscreteScheduler", "EulerDiscreteScheduler");
    let shifted = format!(r#"{{"_class_name": "{flow}", "shift": 3.0}}"#);
    let cases = [
        (SamplerKind::Ddim, class(any), 1.0),
        (SamplerKind::Euler, class(any), 1.0),
        (SamplerKind::Heun, class(any), 2.0),
        (SamplerKind::Dpm2, class(any), 2.0),
        (SamplerKind::DpmPp2S, class(any), 2.0),
        (SamplerKind::DpmPp2M, class(any), 2.0),
        (SamplerKind::UniPc, class(any), 3.0),
        (SamplerKind::UniPc, unipc(r#", "solver_type": "bh1""#), 3.0),
        (SamplerKind::UniPc, unipc(r#", "solver_order": 1"#), 2.0),
        (SamplerKind::UniPc, unipc(r#", "solver_order": 3"#), 3.0),
        (SamplerKind::UniPc, unipc(r#", "solver_order": 3, "solver_type": "bh1""#), 3.0),
        (SamplerKind::UniPc, unipc(r#", "solver_order": 3, "lower_order_final": false"#), 3.0),
        (SamplerKind::Lms, class(any), 2.0),
        (SamplerKind::Pndm, class("PNDMScheduler"), 2.0),
        (SamplerKind::Pndm, v("PNDMScheduler"), 2.0),
        (SamplerKind::Pndm, plms, 2.0),
        (SamplerKind::Pndm, v(any), 2.0),
        (SamplerKind::FlowEuler, class(flow), 1.0),
        (SamplerKind::FlowEuler, shifted.clone(), 1.0),
        (SamplerKind::FlowHeun, class(flow), 2.0),
        (SamplerKind::FlowHeun, shifted, 2.0),
    ];
    let mut wrong = Vec::new();
    for (kind, file, order) in &cases {
        let (config, settings) = (model_of(file), SamplerSettings::new(*kind, 0));
        let errors = INTERVALS.map(|intervals| error(&config, &settings, intervals));
        let measured = order_of(errors);
        println!("{kind:<12}{order:>3} {measured:.2} {file}");
        if (measured - order).abs() > 0.2 {
            wrong.push(format!("{kind} {file}: {measured} for {order}, errors {errors:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Without noise there are no others.
    let stochastic = [
        SamplerKind::Ddpm,
        SamplerKind::EulerAncestral,
        SamplerKind::DpmPp2MSde,
        SamplerKind::DpmPp3MSde,
        SamplerKind::Lcm,
    ];
    let measured = |kind: &SamplerKind| cases.iter().any(|(of, ..)| of == kind);
    assert!(SamplerKind::ALL.iter().all(|kind| measured(kind) != stochastic.contains(kind)));
}

/// diffusers combines velocities of several timesteps and reads them all at the newest one.
#[test]
fn pndm_of_diffusers_has_order_1_with_v_prediction() {
    let config = model_of(r#"{"_class_name": "PNDMScheduler", "prediction_type": "v_prediction"}"#);
    let compat = Some(Compat::Diffusers);
    let settings = SamplerSettings { compat, ..SamplerSettings::new(SamplerKind::Pndm, 0) };
    let order = order_of(INTERVALS.map(|intervals| error(&config, &settings, intervals)));
    assert!((order - 1.0).abs() < 0.2, "{order}");
}

/// The solvers that only the library has, over levels evenly spaced in ln σ.
#[test]
fn solvers_of_the_library_have_their_orders() {
    let unip = |order| UniPc::new(order, BType::Bh2, false);
    assert_order("DPM++ 3M", 2.0, DpmPp3M::default);
    assert_order("UniP-1", 1.0, || unip(1));
    assert_order("UniP-2", 2.0, || unip(2));
    assert_order("UniP-3", 2.0, || unip(3));
}

fn assert_order<S: Solver>(name: &str, order: f64, fresh: impl Fn() -> S) {
    let (last, first) = SIGMAS;
    let start = STARTS.map(|x| x * first);
    let error = |steps: usize| {
        let mut denoise = |x: &Tensor<4>, sigma: f64| Ok(MODEL.x_0(x, sigma));
        let levels = exponential(steps + 1, last, first).unwrap();
        let mut no_noise = |_: &Tensor<4>| panic!("deterministic");
        let (mut solver, x) = (fresh(), tensor(&start));
        let end = solve(&mut solver, x, &levels, &mut denoise, &mut no_noise, &mut |_, _| ()).unwrap();
        let exact = start.map(|x| MODEL.flow(x, (1.0, first), (1.0, last)));
        values(end).iter().zip(exact).map(|(x, exact)| (x - exact).powi(2)).sum::<f64>().sqrt()
    };
    let measured = order_of(INTERVALS.map(error));
    println!("{name:<12}{order:>3} {measured:.2}");
    assert!((measured - order).abs() <= 0.2, "{name}: {measured} for {order}");
}

/// Without its noise SDE-DPM-Solver++ follows dx/dλ = 2(D − x), λ = −ln σ; for D = cos λ that is
/// x = C·e^(−2λ) + 0.8·cos λ + 0.4·sin λ. The curvature as diffusers has it costs the order.
#[test]
fn the_third_order_sde_solver_converges() {
    let order = |as_diffusers| {
        let error = |steps: usize| {
            let mut denoise = |x: &Tensor<4>, sigma: f64| Ok(x.zeros_like() + sigma.ln().cos());
            let (last, first) = SIGMAS;
            let sigmas = exponential(steps + 1, last, first).unwrap();
            let mut zeros = |x: &Tensor<4>| Ok(x.zeros_like());
            let mut solver = DpmPp3M::new(1.0, as_diffusers);
            let forced = |sigma: f64| 0.8 * sigma.ln().cos() - 0.4 * sigma.ln().sin();
            let x = tensor(&[forced(first) + 1.0]);
            let end = solve(&mut solver, x, &sigmas, &mut denoise, &mut zeros, &mut |_, _| ()).unwrap();
            (values(end)[0] - (forced(last) + (last / first).powi(2))).abs()
        };
        order_of(INTERVALS.map(error))
    };
    let (ours, theirs) = (order(false), order(true));
    assert!((ours - 2.0).abs() < 0.2 && theirs < 1.1, "{ours} {theirs}");
}
