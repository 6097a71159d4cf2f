//! Flux.1 against the small random models of `golden-flux` and what diffusers computes with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use calotype::checkpoint::Checkpoint;
use calotype::checkpoint::probe::Probe;
use calotype::diffusion::SchedulerConfig;
use calotype::files::{NamedTensor, Storage, atomic, safetensors};
use calotype::model::ComponentKind;
use calotype::sampler::{Sampler, SamplerKind, SamplerSettings, Timestep};
use serde::Deserialize;

use crate::support::TempDir;

#[derive(Deserialize)]
struct Cases {
    probe: Vec<ProbeCase>,
    files: Vec<FileCase>,
}

#[derive(Deserialize)]
struct FileCase {
    file: String,
    tolerance: f32,
}

#[derive(Deserialize)]
struct ProbeCase {
    model: String,
    component: String,
    case: String,
    tolerance: BTreeMap<String, f32>,
}

/// The reference models and tensors of Flux.
pub(super) fn golden_flux() -> PathBuf {
    PathBuf::from(std::env::var_os("CALOTYPE_TEST_DATA").expect("see CONTRIBUTING.md")).join("golden-flux")
}

fn cases() -> Cases {
    atomic::read_json(&golden_flux().join("cases.json")).unwrap()
}

/// The largest difference of `output`.
fn difference(model: &Path, inputs: &Path, expected: &NamedTensor) -> f32 {
    let dir = TempDir::new();
    let output = dir.join("output.safetensors");
    Probe::Transformer.run(model, inputs, &output, &Device::flex()).unwrap();
    let got = safetensors::read(&output).unwrap().remove("output").expect("`output`");
    assert_eq!(got.shape, expected.shape);
    assert!(got.values.iter().all(|x| x.is_finite()));
    got.values.iter().zip(&expected.values).fold(0.0f32, |m, (g, e)| m.max((g - e).abs()))
}

#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn the_transformer_of_a_folder_gives_what_diffusers_gives() {
    let (golden, cases) = (golden_flux(), cases().probe);
    let transformers = cases.iter().filter(|case| case.component == "transformer");
    let mut compared = 0;
    for case in transformers {
        let tensors = |what: &str| golden.join(format!("tensors/{}.{what}.safetensors", case.case));
        let expected = &safetensors::read(&tensors("expected")).unwrap()["output"];
        let tolerance = case.tolerance["output"];
        let model = golden.join(&case.model);
        // A model's folder, and the component's alone.
        for model in [model.clone(), model.join("transformer")] {
            let difference = difference(&model, &tensors("inputs"), expected);
            assert!(difference <= tolerance, "{}: {difference} of at most {tolerance}", case.case);
            println!("{}: {difference:.1e} of at most {tolerance:.1e}", case.case);
        }
        compared += 1;
    }
    assert_eq!(compared, 3);
}

/// Black Forest Labs' names; written again, as a file and as a folder, it is the same network.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn a_single_file_gives_what_diffusers_gives() {
    let own = golden_flux().join("files/flux-bfl.safetensors");
    let dir = TempDir::new();
    let (copy, as_folder) = (dir.join("copy.safetensors"), dir.join("folder"));
    Checkpoint::open(&own).unwrap().write(&as_folder).unwrap();
    Checkpoint::open(&as_folder).unwrap().write(&copy).unwrap();
    assert_eq!(safetensors::read(&copy).unwrap(), safetensors::read(&own).unwrap());
    assert_all_are("flux-bfl.safetensors", [own, copy, as_folder]);
}

/// Ten kinds of blocks and plain numbers in one file.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn a_gguf_gives_what_its_exact_numbers_give() {
    let own = golden_flux().join("files/flux-mixed.gguf");
    let dir = TempDir::new();
    let (copy, as_folder) = (dir.join("copy.safetensors"), dir.join("folder"));
    Checkpoint::open(&own).unwrap().write(&as_folder).unwrap();
    Checkpoint::open(&own).unwrap().write(&copy).unwrap();
    assert_all_are("flux-mixed.gguf", [own, copy, as_folder]);
}

/// `--dtype bf16` rounds what is a float; the rest is smaller as it is.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn packed_weights_stay_packed_whatever_the_dtype() {
    let mut checkpoint = Checkpoint::open(&golden_flux().join("files/flux-mixed.gguf")).unwrap();
    let transformer = |checkpoint: &Checkpoint| {
        checkpoint.components[&ComponentKind::Transformer]
            .weights
            .clone()
            .into_iter()
            .collect::<BTreeMap<_, _>>()
    };
    let before = transformer(&checkpoint);
    checkpoint.store_unpacked_as(Storage::Bf16);
    let mut packed = 0;
    for (name, after) in transformer(&checkpoint) {
        assert_eq!(after.is_packed(), before[&name].is_packed(), "{name}");
        if after.is_packed() {
            packed += 1;
            assert_eq!(after.to_f32(), before[&name].to_f32(), "{name}");
        } else {
            assert_eq!(after.storage(), Storage::Bf16, "{name}");
        }
    }
    assert!(packed > 10 && packed < before.len(), "{packed} of {}", before.len());
    checkpoint.store_as(Storage::Bf16);
    assert!(transformer(&checkpoint).values().all(|tensor| tensor.storage() == Storage::Bf16));
}

/// Each of the models gives what diffusers gives for the golden file `name`.
fn assert_all_are(name: &str, models: [PathBuf; 3]) {
    let folder = golden_flux().join("files");
    let case = cases().files.into_iter().find(|case| case.file == name).unwrap();
    let expected = &safetensors::read(&folder.join("expected.safetensors")).unwrap()[name];
    for model in models {
        let difference = difference(&model, &folder.join("inputs.safetensors"), expected);
        println!("{}: {difference:.1e} of at most {:.1e}", model.display(), case.tolerance);
        assert!(
            difference <= case.tolerance,
            "{}: {difference} of at most {}",
            model.display(),
            case.tolerance
        );
    }
}

#[derive(Deserialize)]
struct Schedule {
    sigmas: Vec<f64>,
}

/// `schedules.json`: the noise levels of dev and schnell for several numbers of steps and of tokens.
#[test]
fn noise_levels_are_those_of_diffusers() {
    let schedules: BTreeMap<String, Schedule> =
        serde_json::from_str(include_str!("../golden/flux_schedules.json")).unwrap();
    let scheduler = |model: &str| {
        let (shift, dynamic) = if model == "dev" { (3.0, true) } else { (1.0, false) };
        let class = "FlowMatchEulerDiscreteScheduler";
        let text =
            format!(r#"{{"_class_name": "{class}", "shift": {shift}, "use_dynamic_shifting": {dynamic}}}"#);
        SchedulerConfig::parse(&text).unwrap()
    };
    for (name, schedule) in &schedules {
        let [model, steps, tokens] = name.split(", ").collect::<Vec<_>>().try_into().unwrap();
        let number = |text: &str| text.split(' ').next().unwrap().parse::<usize>().unwrap();
        let settings = SamplerSettings {
            picture_tokens: Some(number(tokens)),
            ..SamplerSettings::new(SamplerKind::FlowEuler, number(steps))
        };
        let sampler = Sampler::new(&scheduler(model), &settings).unwrap();
        let mut asked = Vec::new();
        let mut velocity = |x: &Tensor<4>, Timestep { t, .. }: Timestep| {
            asked.push(t / 1000.0);
            Ok(x.ones_like())
        };
        let mut no_noise = |_: &Tensor<4>| panic!("deterministic");
        let start = Tensor::<4>::zeros([1, 1, 1, 1], &Device::flex());
        let end = sampler.sample(start, &mut no_noise, &mut velocity, &mut |_, _| ()).unwrap();
        // All the way from 1 to 0 against a velocity of 1.
        let end: f32 = end.into_scalar();
        assert!((end + 1.0).abs() < 1e-5, "{name}");
        assert_eq!(asked.len() + 1, schedule.sigmas.len(), "{name}");
        for (got, expected) in asked.iter().zip(&schedule.sigmas) {
            assert!((got - expected).abs() < 1e-6, "{name}: {got}, diffusers {expected}");
        }
    }
    assert!(schedules.len() >= 24);
}
