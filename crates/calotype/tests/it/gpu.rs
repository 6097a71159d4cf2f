//! What a GPU trains, draws and explains, beside the CPU. Networks and their gradients have golden numbers of their own:
//! the tests called `gpu` of other modules.
//!
//! Both compute in f32 and sum in another order, so that numbers differ in the last of their 24 bits, and what depends on
//! them by more. Tolerances are shares of the size of the numbers. The largest differences seen, on Mesa 22.3's lavapipe:
//! 6e-6 of the numbers that a training logs, 6e-7 of latents and of heat maps.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::tensor::{DType, Device, Tensor};
use calotype::Error;
use calotype::autoencoder::Vae;
use calotype::checkpoint::Checkpoint;
use calotype::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Split};
use calotype::data::tensors::to_tensor;
use calotype::diffusion::guidance::Guidance;
use calotype::explain::heat_map::Baseline;
use calotype::explain::{Options, explain, explain_pictures};
use calotype::files::Storage;
use calotype::machine::device_memory::{left_bytes, require_room, taken_bytes};
use calotype::model::Model;
use calotype::nn::Compute;
use calotype::pipeline::text_to_image::{PictureRequest, Sampling};
use calotype::sampler::{SamplerKind, SamplerSettings};
use calotype::trainer::Session;
use serde_json::Value;

use crate::devices::on_gpu;
use crate::support::{
    CLIP, DIFFUSION, Part, TempDir, VAE, assert_holds, files, recipe, session, write_model,
};
use crate::training::{Event, Witness, run_for};
use crate::{pipeline, training};

/// A training of 20 steps on a device: the lines of its log, and what it wrote.
struct Trained {
    lines: Vec<BTreeMap<String, f64>>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

fn train(part: &Part, device: &Device, lines: &[(&str, &str)]) -> Trained {
    let dir = TempDir::new();
    let run = run_for(&dir, "run", part);
    part.train(&recipe(lines), Session { device, ..session(&run, false) }).unwrap();
    let numbers = |line: &str| -> Option<BTreeMap<String, f64>> {
        let Value::Object(line) = serde_json::from_str(line).unwrap() else { return None };
        let numbers = line.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
        Some(numbers.collect()).filter(|line: &BTreeMap<_, _>| line.contains_key("loss"))
    };
    let log = fs::read_to_string(run.log(part.trained)).unwrap();
    Trained { lines: log.lines().filter_map(numbers).collect(), files: files(&run.model()) }
}

/// Every number of every logged step: within `tolerance` of its size.
fn assert_same_log(got: &Trained, expected: &Trained, tolerance: f64) {
    assert!(expected.lines.len() >= 2, "{} lines", expected.lines.len());
    assert_eq!(got.lines.len(), expected.lines.len());
    for (got, expected) in got.lines.iter().zip(&expected.lines) {
        for (name, expected) in expected {
            let (got, size) = (got[name], expected.abs().max(1e-3));
            let difference = (got - expected).abs() / size;
            println!("{name}: {difference:.1e}");
            assert!(
                difference <= tolerance,
                "{name}: expected {expected}, got {got}: {difference:.1e} of it"
            );
        }
    }
}

/// As the CPU does; and with a stop between it has the same bits, which a device that computes the same otherwise the
/// second time has not.
fn trains_as_the_cpu(part: &Part) {
    on_gpu(|gpu| {
        let (got, expected) = (train(part, gpu, &[]), train(part, &Device::flex(), &[]));
        assert_same_log(&got, &expected, 1e-4);

        let dir = TempDir::new();
        let run = run_for(&dir, "run", part);
        let stop = Witness::of(Event::Stop(13));
        let begin = Session { device: gpu, ..training::session(&run, false, &stop) };
        let error = part.train(&recipe(&[]), begin).unwrap_err();
        assert!(matches!(error, Error::Interrupted { step: 13 }), "{error}");
        part.train(&recipe(&[]), Session { device: gpu, ..session(&run, true) }).unwrap();
        assert_holds(&run.model(), &got.files, "stopped after 13 steps");
    });
}

#[test]
fn the_autoencoder_trains_as_on_the_cpu() {
    trains_as_the_cpu(&VAE);
}

#[test]
fn clip_trains_as_on_the_cpu() {
    trains_as_the_cpu(&CLIP);
}

#[test]
fn the_denoiser_trains_as_on_the_cpu() {
    trains_as_the_cpu(&DIFFUSION);
}

/// Lion takes signs, which turn where a momentum is nearly zero.
#[test]
fn every_rule_on_the_device_trains_as_on_the_cpu() {
    on_gpu(|gpu| {
        for (rule, tolerance) in [("lion", 1e-3), ("muon", 1e-3), ("adafactor", 1e-4)] {
            let table = format!("checkpoint_every = 5\n[vae.training.optimizer]\nrule = '{rule}'\n[clip]");
            let lines = [("checkpoint_every = 5\n[clip]", table.as_str()), ("steps = 20", "steps = 6")];
            println!("{rule}");
            let (got, expected) = (train(&VAE, gpu, &lines), train(&VAE, &Device::flex(), &lines));
            assert_same_log(&got, &expected, tolerance);
        }
    });
}

#[test]
fn a_training_that_explodes_is_refused() {
    on_gpu(|gpu| {
        let dir = TempDir::new();
        let run = run_for(&dir, "run", &VAE);
        let recipe = recipe(&[("learning_rate = 2e-3", "learning_rate = 1e30")]);
        let error = VAE.train(&recipe, Session { device: gpu, ..session(&run, false) }).unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. } | Error::Diverged { .. }), "{error}");
        assert!(!run.model().exists());
    });
}

/// The model of all these tests on a device.
fn model(device: &Device) -> Model {
    let dir = TempDir::new();
    write_model(&dir.join("model"));
    Model::load(&dir.join("model"), device).unwrap()
}

/// The same with weights in f16, as most checkpoints have them.
fn model_in_f16(device: &Device) -> Model {
    let dir = TempDir::new();
    write_model(&dir.join("model"));
    let mut checkpoint = Checkpoint::open(&dir.join("model")).unwrap();
    checkpoint.store_as(Storage::F16);
    checkpoint.into_model(Compute::from(device)).unwrap()
}

#[test]
fn weights_in_half_precision_are_computed_with_as_on_the_cpu() {
    on_gpu(|gpu| {
        let [on_gpu, on_cpu] = [gpu, &Device::flex()].map(model_in_f16);
        let Vae::Kl { network, .. } = &on_gpu.vae else { unreachable!("the model has one with a posterior") };
        let kept = if gpu.supports_dtype(DType::F16) { DType::F16 } else { DType::F32 };
        assert_eq!(network.last_layer().weight.val().dtype(), kept);
        assert_same_latents(SamplerKind::Ddim, &on_gpu, &on_cpu);
    });
}

/// Text is read on the CPU then, all else computed on the device.
#[test]
fn a_model_that_stays_in_the_hosts_memory_draws_as_one_on_the_device() {
    on_gpu(|gpu| {
        for read in [model, model_in_f16] {
            let (mut apart, beside) = (read(&Device::flex()), read(gpu));
            apart.device = gpu.clone();
            let latents = assert_same_latents(SamplerKind::Ddim, &apart, &beside);
            let [got, expected] =
                [&apart, &beside].map(|model| model.decode(latents.clone(), false).unwrap());
            assert!(got == expected, "the same weights decode to other pictures");
        }
    });
}

#[test]
fn a_device_tells_what_is_taken_of_it_and_refuses_what_no_device_holds() {
    on_gpu(|gpu| {
        let _model = model(gpu);
        assert!(taken_bytes(gpu).expect("burn counts what it has taken") > 0);
        if left_bytes(gpu).is_none() {
            return;
        }
        assert!(require_room(gpu, 1, "the model's weights", "`--offload`").is_ok());
        let error = require_room(gpu, 1 << 60, "the model's weights", "`--offload`").unwrap_err();
        assert!(error.to_string().starts_with("device: expected 1099511627776 MiB"), "{error}");
    });
}

fn requests() -> [PictureRequest; 2] {
    ["a red apple above a cat", "a dog"].map(|prompt| PictureRequest::new(prompt, Guidance::new(2.0), 3))
}

/// The largest difference, as a share of the largest number.
fn difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().all(|x| x.is_finite()));
    let largest = expected.iter().fold(1e-12f32, |m, x| m.max(x.abs()));
    got.iter().zip(expected).fold(0.0f32, |m, (g, e)| m.max((g - e).abs())) / largest
}

/// What a sampler ends with on two models, nearly the same: that of the first.
fn assert_same_latents(kind: SamplerKind, got: &Model, expected: &Model) -> Tensor<4> {
    let sampling = Sampling { sampler: SamplerSettings::new(kind, 6), ..pipeline::sampling() };
    let [got, expected] = [got, expected].map(|model| {
        let watch = &mut |_, _| ControlFlow::Continue(());
        model.sample(&requests(), &sampling, None, None, watch).unwrap()
    });
    let numbers = |latents: &Tensor<4>| latents.clone().into_data().iter().collect::<Vec<f32>>();
    let difference = difference(&numbers(&got), &numbers(&expected));
    println!("{kind}: {difference:.1e}");
    assert!(difference < 1e-5, "{kind}: differs by {difference:.1e} of the largest number");
    got
}

#[test]
fn every_sampler_ends_where_it_ends_on_the_cpu() {
    on_gpu(|gpu| {
        let [on_gpu, on_cpu] = [gpu, &Device::flex()].map(model);
        for kind in SamplerKind::ALL {
            if kind.is_flow() != on_cpu.scheduler.class_name.is_flow() {
                continue;
            }
            assert_same_latents(kind, &on_gpu, &on_cpu);
        }
    });
}

#[test]
fn heat_maps_are_those_of_the_cpu() {
    on_gpu(|gpu| {
        let picture = EmojiScenes::new(EmojiScenesConfig::default()).unwrap().scene(Split::HeldOut, 0).image;
        let maps = |device: &Device| -> Vec<f32> {
            let (model, requests, sampling) = (model(device), requests(), pipeline::sampling());
            let drawn = explain(&model, &requests, &sampling, None, Baseline::WordMean).unwrap();
            let given = to_tensor(std::slice::from_ref(&picture), device).unwrap();
            let (options, watch) = (Options::default(), &mut |_, _| ControlFlow::Continue(()));
            let seen = explain_pictures(&model, &given, &requests[..1], &sampling, None, &options, watch);
            let all = drawn.into_iter().chain(seen.unwrap());
            all.flat_map(|explanation| explanation.maps).flat_map(|map| map.values).collect()
        };
        let difference = difference(&maps(gpu), &maps(&Device::flex()));
        println!("{difference:.1e}");
        assert!(difference < 1e-5, "differs by {difference:.1e} of the largest number");
    });
}
