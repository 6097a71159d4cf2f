//! Our samplers against whole runs of diffusers' schedulers on recorded model outputs, made by
//! `tools/oracle/schedulers.py`; and against the sums that diffusers' own tests expect.

use burn::tensor::{DType, Device, Tensor, TensorData};
use calotype::diffusion::{
    NoiseSchedule, PredictionType, SchedulerClass, SchedulerConfig, SigmaSpacing, TimestepSpacing,
};
use calotype::sampler::euler::Euler;
use calotype::sampler::heun::Heun;
use calotype::sampler::lms::Lms;
use calotype::sampler::solver::{Solver, Step};
use calotype::sampler::{Compat, Sampler, SamplerKind, SamplerSettings, Timestep, grid};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    config: String,
    steps: usize,
    timesteps: Vec<f64>,
    start: Vec<f64>,
    inputs: Vec<Vec<f64>>,
    outputs: Vec<Vec<f64>>,
    noises: Vec<Vec<f64>>,
    /// Empty where that of diffusers is not a number.
    end: Vec<f64>,
    /// In place of what the class stands for.
    #[serde(default)]
    sampler: Option<SamplerKind>,
    #[serde(default)]
    eta: f64,
}

impl Case {
    /// That of the file; a class without a counterpart here is read as its multistep sibling, whose keys it has.
    fn config(&self) -> SchedulerConfig {
        SchedulerConfig::parse(&self.config.replace("Singlestep", "Multistep")).unwrap()
    }

    /// What the network was given at every call, then our result; and the timesteps of the calls.
    fn run(&self, compat: Option<Compat>) -> (Vec<f64>, Vec<f64>) {
        let config = self.config();
        let kind = self.sampler.unwrap_or_else(|| SamplerKind::from_config(&config).unwrap());
        let settings = SamplerSettings { compat, eta: self.eta, ..SamplerSettings::new(kind, self.steps) };
        let sampler = Sampler::new(&config, &settings).unwrap();
        let (mut path, mut asked, mut drawn) = (Vec::new(), Vec::new(), 0);
        let mut denoise = |x: &Tensor<4>, Timestep { t, .. }: Timestep| {
            path.extend(x.clone().into_data().iter::<f64>());
            asked.push(t);
            Ok(tensor(&self.outputs[asked.len() - 1]))
        };
        let mut noise = |_: &Tensor<4>| {
            drawn += 1;
            Ok(tensor(&self.noises[drawn - 1]))
        };
        let end = sampler.sample(tensor(&self.start), &mut noise, &mut denoise, &mut |_, _| ()).unwrap();
        let end: Vec<f64> = end.into_data().iter().collect();
        assert!(end.iter().all(|x| x.is_finite()), "{}", self.config);
        path.extend(end.into_iter().take(self.end.len()));
        (path, asked)
    }

    /// The same of diffusers.
    fn path(&self) -> Vec<f64> {
        self.inputs.iter().flatten().chain(&self.end).copied().collect()
    }
}

/// Where docs/samplers.md says that ours is another result unless compatibility is asked for.
fn differs_on_purpose(config: &SchedulerConfig) -> bool {
    let third_order = config.option::<usize>("solver_order").unwrap() == Some(3);
    let shifted = config.option::<f64>("shift").unwrap().is_some_and(|shift| shift != 1.0);
    match config.class_name {
        SchedulerClass::Ddim => config.timestep_spacing == TimestepSpacing::Linspace,
        SchedulerClass::Pndm => config.prediction_type == PredictionType::VPrediction,
        SchedulerClass::FlowMatchEulerDiscrete | SchedulerClass::FlowMatchHeunDiscrete => shifted,
        class => third_order && class == SchedulerClass::DpmSolverMultistep,
    }
}

/// PNDM under `linspace` steps to where it does not ask next, in diffusers; that is not repeated.
fn is_never_repeated(config: &SchedulerConfig) -> bool {
    config.class_name == SchedulerClass::Pndm && config.timestep_spacing == TimestepSpacing::Linspace
}

/// How far the timesteps may be from those of diffusers, which has whole ones for the levels between two
/// timesteps in some classes: rounded for Karras', cut off for exponential ones.
fn timestep_tolerance(config: &SchedulerConfig) -> f64 {
    let on = |key| config.option::<bool>(key).unwrap() == Some(true);
    match (on("use_karras_sigmas"), on("use_exponential_sigmas")) {
        (true, _) if config.class_name == SchedulerClass::KDpm2Discrete => 0.51,
        (_, true) => 1.0,
        _ => 1e-4,
    }
}

fn tensor(values: &[f64]) -> Tensor<4> {
    let data = TensorData::new(values.to_vec(), [1, 1, 1, values.len()]);
    Tensor::from_data(data, (&Device::flex(), DType::F64))
}

fn far(got: &[f64], expected: &[f64], tolerance: f64) -> bool {
    got.len() != expected.len()
        || got.iter().zip(expected).any(|(g, e)| (g - e).abs() > tolerance * e.abs().max(1.0))
}

#[test]
fn every_sampler_takes_the_steps_of_diffusers() {
    let text = include_str!("../golden/diffusers_schedulers.json");
    let file: File = serde_json::from_str(text).unwrap();
    let (mut compared, mut failures) = (0, Vec::new());
    for (case, config) in file.cases.iter().map(|case| (case, case.config())) {
        if is_never_repeated(&config) {
            continue;
        }
        for compat in [Some(Compat::Diffusers), None] {
            let (path, asked) = case.run(compat);
            if compat.is_none() && differs_on_purpose(&config) {
                assert!(far(&path, &case.path(), 1e-4), "no difference after all: {}", case.config);
                continue;
            }
            compared += 1;
            if far(&path, &case.path(), 1e-5) {
                failures.push(format!("{compat:?} {}: {path:?}, diffusers {:?}", case.config, case.path()));
            }
            let tolerance = timestep_tolerance(&config);
            if asked.iter().zip(&case.timesteps).any(|(ours, theirs)| (ours - theirs).abs() > tolerance) {
                failures.push(format!("{}: asked at {asked:?}, diffusers {:?}", case.config, case.timesteps));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {compared}\n{}", failures.len(), failures.join("\n"));
    assert_eq!(compared, 428);
}

/// The start of the tests of diffusers: a ramp of 4 × 3 × 8 × 8 values in [0, 1).
fn ramp() -> Tensor<4> {
    tensor(&(0..4 * 192).map(|i| ((i % 192) * 4 + i / 192) as f64 / 768.0).collect::<Vec<_>>())
}

/// Their model.
fn dummy(x: &Tensor<4>, t: f64) -> Tensor<4> {
    x.clone() * (t / (t + 1.0))
}

/// What they publish: the sum of absolute values.
fn assert_sum(name: &str, end: Tensor<4>, published: f64) {
    let got: f64 = end.into_data().iter::<f64>().map(f64::abs).sum();
    assert!((got - published).abs() < 1e-2, "{name}: {got}, published {published}");
}

#[test]
fn the_published_sums_in_the_coordinates_of_the_schedule() {
    for (class, more, sum) in [
        ("DDIMScheduler", "", 172.0067),
        ("DDIMScheduler", r#", "prediction_type": "v_prediction""#, 52.5302),
        ("PNDMScheduler", "", 198.1318),
    ] {
        let config = SchedulerConfig::parse(&format!(r#"{{"_class_name": "{class}"{more}}}"#)).unwrap();
        let kind = SamplerKind::from_config(&config).unwrap();
        let settings = SamplerSettings { compat: Some(Compat::Diffusers), ..SamplerSettings::new(kind, 10) };
        let sampler = Sampler::new(&config, &settings).unwrap();
        let mut model = |x: &Tensor<4>, Timestep { t, .. }: Timestep| Ok(dummy(x, t));
        let mut no_noise = |_: &Tensor<4>| panic!("deterministic");
        let end = sampler.sample(ramp(), &mut no_noise, &mut model, &mut |_, _| ()).unwrap();
        assert_sum(&format!("{class}{more}"), end, sum);
    }
}

/// In σ the loops of those tests hand the model's scaled input on to the step as well, which no pipeline does;
/// so the steps are taken one by one here.
#[test]
fn the_published_sums_in_sigma() {
    let schedule = NoiseSchedule::linear(0.0001, 0.02, 1100).unwrap();
    let scaled = |x: &Tensor<4>, sigma: f64| x.clone() / (sigma * sigma + 1.0).sqrt();
    let cases: [(&str, Box<dyn Solver>, SigmaSpacing, f64); 4] = [
        ("Euler", Box::new(Euler), SigmaSpacing::Timesteps, 10.0807),
        ("Euler, Karras", Box::new(Euler), SigmaSpacing::Karras, 124.523),
        ("Heun", Box::new(Heun::default()), SigmaSpacing::Timesteps, 0.1233),
        ("LMS", Box::new(Lms::default()), SigmaSpacing::Timesteps, 1006.388),
    ];
    for (name, mut solver, levels, sum) in cases {
        let grid = grid::euler(&schedule, TimestepSpacing::Linspace, 10, 0, levels).unwrap();
        let mut x = ramp() * grid.init_noise_sigma;
        for (i, pair) in grid.sigmas.windows(2).enumerate() {
            let (from, to) = (pair[0], pair[1]);
            x = scaled(&x, from);
            let x_0 = x.clone() - dummy(&x, grid.timesteps[i]) * from;
            let mut at_end = |end: &Tensor<4>, sigma: f64| {
                Ok(end.clone() - dummy(&scaled(end, sigma), grid.timesteps[i + 1]) * sigma)
            };
            let mut no_noise = |_: &Tensor<4>| panic!("deterministic");
            x = match to {
                0.0 => solver.last(x, x_0, from),
                to => {
                    let (denoise, noise) = (&mut at_end, &mut no_noise);
                    solver.step(Step { x, x_0, from, to, left: 10 - i, denoise, noise }).unwrap()
                }
            };
        }
        assert_sum(name, x, sum);
    }
}
