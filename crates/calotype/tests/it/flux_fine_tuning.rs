//! Fifty steps of fine-tuning a small Flux, beside PyTorch's (`tools/oracle/flux_fine_tuning.py`): the same pictures,
//! captions, times and noise, so the same losses.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use calotype::checkpoint::Checkpoint;
use calotype::data::source::TrainingSet;
use calotype::data::transform::Transform;
use calotype::files::{atomic, safetensors};
use calotype::model::ComponentKind;
use calotype::nn::parameters;
use calotype::runs::folder::{RunFolder, TrainedPart};
use calotype::trainer::denoiser::base_model::BaseModel;
use calotype::trainer::denoiser::draws::Draws;
use calotype::trainer::denoiser::lora::LoraInTraining;
use calotype::trainer::denoiser::objective::Denoising;
use calotype::trainer::metrics_log::read_series;
use calotype::trainer::objective::Blind;
use calotype::trainer::training_loop;
use serde_json::Value;

use crate::fine_tuning::{Case, assert_same_losses, recipe};
use crate::flux::golden_flux;
use crate::support::{TempDir, session};

const RANK: f64 = 4.0;

/// The script's waves.
fn waves(first: u64, count: usize, step: f64) -> Vec<f32> {
    (first..first + count as u64).map(|i| ((i as f64 * step).sin() * 1.4) as f32).collect()
}

struct ByFormula;

impl Draws for ByFormula {
    fn posterior(&self, position: u64, numbers: usize) -> Vec<f32> {
        waves(1013 * position, numbers, 0.9)
    }

    fn noise(&self, position: u64, _: usize, numbers: usize) -> (usize, Vec<f32>) {
        (0, waves(1009 * position, numbers, 1.7))
    }

    fn offset(&self, _: u64, channels: usize) -> Vec<f32> {
        vec![0.0; channels]
    }

    fn flow_time(&self, position: u64) -> f64 {
        let z = 1.2 * (2.3 * position as f64).sin();
        f64::from((1.0 / (1.0 + (-z).exp())) as f32)
    }

    fn sigma(&self, _: u64) -> f64 {
        unreachable!("Flux is a flow")
    }
}

/// The script's first A under our names; B is zero.
fn start(network: LoraInTraining) -> LoraInTraining {
    let layers: Vec<usize> =
        network.unet.layers().map(|(weight, _)| weight.strip_suffix(".weight").map_or(0, str::len)).collect();
    parameters::replace(network, |name, shape| {
        let layer = name.strip_prefix("unet.layers.")?.strip_suffix(".down")?;
        let length = layers[layer.parse::<usize>().unwrap()] as u64;
        let wave = (0..shape.iter().product::<usize>() as u64)
            .map(|i| (((37 * length + i) as f64 * 0.37).sin() * 1.4 / RANK) as f32);
        Some(wave.collect())
    })
}

/// Trains in a run and compares every loss.
fn assert_follows(variant: &str, lines: &str, run: &RunFolder) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/flux_fine_tuning.json");
    let expected: Value = atomic::read_json(&golden).unwrap();
    let (recipe, device) = (recipe(&golden_flux().join("dev"), lines), Device::flex());
    let base = BaseModel::load(&recipe, run, &device).unwrap();
    let pictures = Arc::new(Case::open().pictures());
    let data = TrainingSet::new(pictures, None, 0, 32, Transform::default()).unwrap();
    let objective = Denoising::new(&recipe, &base, &data, &device).unwrap().with_draws(ByFormula);
    let session = session(run, false);
    match &recipe.diffusion().unwrap().lora {
        None => {
            training_loop::train(session, objective, base.model.denoiser.network.clone(), &Blind).map(|_| ())
        }
        Some(settings) => {
            let network = LoraInTraining::new(&base, settings, &recipe, &device).unwrap();
            training_loop::train(session, objective, start(network), &Blind).map(|_| ())
        }
    }
    .unwrap();
    let got = read_series(&run.log(TrainedPart::Diffusion), "loss").unwrap();
    let got: Vec<f64> = got.into_iter().map(|point| point.1).collect();
    assert_same_losses(variant, &got, &expected[variant]["losses"]);
}

/// All weights; the run's model is a whole Flux again.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn fine_tuning_flux_follows_pytorch() {
    let dir = TempDir::new();
    let run = RunFolder::new(dir.join("run"));
    assert_follows("full", "", &run);
    let written = Checkpoint::open(&run.model()).unwrap();
    assert!(written.has_t5() && written.components.contains_key(&ComponentKind::Transformer));
    written.into_model(&Device::flex()).unwrap();
}

/// Under PEFT's names, with text features that are computed once.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn a_lora_of_flux_follows_pytorch() {
    let lora = "lora = { rank = 4, alpha = 8.0, unet = [\"to_q\", \"to_k\", \"to_v\", \"to_out.0\"] }";
    for lines in [lora.to_owned(), format!("cache_text = true\n{lora}")] {
        let dir = TempDir::new();
        let run = RunFolder::new(dir.join("run"));
        assert_follows("lora", &lines, &run);
        let tensors = safetensors::read(&run.model().join("lora.safetensors")).unwrap();
        let name = "transformer.single_transformer_blocks.1.attn.to_v.lora_B.weight";
        assert!(tensors[name].values.iter().any(|&x| x != 0.0));
        assert_eq!(tensors.len(), 2 * (4 + 2 * 3));
    }
}
