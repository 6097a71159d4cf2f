//! Our samplers against whole runs of diffusers' schedulers on recorded model outputs, made by
//! `tools/oracle/schedulers.py`.

use burn::tensor::{DType, Device, Tensor, TensorData};
use calotype::diffusion::{PredictionType, SchedulerConfig, TimestepSpacing};
use calotype::sampler::{Sampler, SamplerKind};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    sampler: SamplerKind,
    prediction_type: PredictionType,
    timestep_spacing: TimestepSpacing,
    steps_offset: usize,
    steps: usize,
    timesteps: Vec<f64>,
    start: Vec<f64>,
    outputs: Vec<Vec<f64>>,
    noises: Vec<Vec<f64>>,
    end: Vec<f64>,
}

impl Case {
    /// diffusers takes t − ⌊T/N⌋ for the timestep after t, which is the next one of the grid under
    /// `leading` only; ours goes to the next one always.
    fn is_wrong_in_diffusers(&self) -> bool {
        matches!(self.sampler, SamplerKind::Ddpm | SamplerKind::Ddim)
            && self.timestep_spacing != TimestepSpacing::Leading
    }

    fn name(&self) -> String {
        format!("{} {:?} {:?}", self.sampler, self.prediction_type, self.timestep_spacing)
    }

    /// Our result, and the timesteps that the network was asked at.
    fn run(&self) -> (Vec<f64>, Vec<f64>) {
        let config = SchedulerConfig {
            prediction_type: self.prediction_type,
            timestep_spacing: self.timestep_spacing,
            steps_offset: self.steps_offset,
            ..SchedulerConfig::default()
        };
        let sampler = Sampler::new(self.sampler, &config, self.steps, 0.0).unwrap();
        let (mut asked, mut drawn) = (Vec::new(), 0);
        let mut denoise = |_: &Tensor<4>, t: f64| {
            asked.push(t);
            Ok(tensor(&self.outputs[asked.len() - 1]))
        };
        let mut noise = |_: &Tensor<4>| {
            drawn += 1;
            Ok(tensor(&self.noises[drawn - 1]))
        };
        let end = sampler.sample(tensor(&self.start), &mut noise, &mut denoise, &mut |_, _| ()).unwrap();
        (end.into_data().iter::<f64>().collect(), asked)
    }
}

fn tensor(values: &[f64]) -> Tensor<4> {
    let data = TensorData::new(values.to_vec(), [1, 1, 1, values.len()]);
    Tensor::from_data(data, (&Device::flex(), DType::F64))
}

#[test]
fn every_sampler_takes_the_steps_of_diffusers() {
    let text = include_str!("../golden/diffusers_schedulers.json");
    let file: File = serde_json::from_str(text).unwrap();
    let (mut compared, mut failures) = (0, Vec::new());
    for case in file.cases.iter().filter(|case| !case.is_wrong_in_diffusers()) {
        compared += 1;
        let (end, asked) = case.run();
        let far = |got: &[f64], expected: &[f64], tolerance: f64| {
            got.len() != expected.len()
                || got.iter().zip(expected).any(|(g, e)| (g - e).abs() > tolerance * e.abs().max(1.0))
        };
        if far(&end, &case.end, 1e-5) {
            failures.push(format!("{}: {end:?}, diffusers {:?}", case.name(), case.end));
        }
        if far(&asked, &case.timesteps, 1e-5) {
            failures.push(format!("{}: asked at {asked:?}, diffusers {:?}", case.name(), case.timesteps));
        }
    }
    assert!(failures.is_empty(), "{} of {compared}\n{}", failures.len(), failures.join("\n"));
    assert_eq!(compared, 75 - 12);
}
