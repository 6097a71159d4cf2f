//! Fifty steps of fine-tuning a small Stable Diffusion, beside PyTorch's (`tools/oracle/fine_tuning.py`): the same
//! pictures, captions, timesteps and noise, so the same losses.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use calotype::Result;
use calotype::data::pictures::Pictures;
use calotype::data::source::TrainingSet;
use calotype::data::transform::Transform;
use calotype::files::{NamedTensor, safetensors};
use calotype::nn::parameters;
use calotype::runs::folder::{RunFolder, TrainedPart};
use calotype::trainer::denoiser::base_model::BaseModel;
use calotype::trainer::denoiser::draws::Draws;
use calotype::trainer::denoiser::lora::LoraInTraining;
use calotype::trainer::denoiser::objective::Denoising;
use calotype::trainer::metrics_log::read_series;
use calotype::trainer::objective::Blind;
use calotype::trainer::{Recipe, training_loop};
use image::RgbImage;
use serde_json::Value;

use crate::support::{TempDir, session};

/// Relative, of every loss.
const TOLERANCE: f64 = 1e-4;

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fine_tuning").join(file)
}

/// The recorded pictures, used in turn.
pub(super) struct Recorded {
    pub pictures: Vec<RgbImage>,
    pub captions: Vec<String>,
}

impl Pictures for Recorded {
    fn count(&self) -> Option<u64> {
        None
    }

    fn name(&self, i: u64) -> String {
        format!("picture {i}")
    }

    fn captions(&self, i: u64) -> Cow<'_, [String]> {
        let i = i as usize % self.captions.len();
        Cow::Borrowed(&self.captions[i..=i])
    }

    fn picture(&self, i: u64, _: [u8; 3]) -> Result<RgbImage> {
        Ok(self.pictures[i as usize % self.pictures.len()].clone())
    }

    fn dimensions(&self, _: u64) -> Result<(u32, u32)> {
        Ok(self.pictures[0].dimensions())
    }

    fn key(&self, i: u64) -> Result<[u8; 32]> {
        Ok([(i % 8) as u8; 32])
    }
}

/// The recorded random numbers: row n is that of position n.
struct Tape(HashMap<String, NamedTensor>);

impl Tape {
    fn row(&self, name: &str, position: u64, numbers: usize) -> Vec<f32> {
        self.0[name].values.chunks(numbers).nth(position as usize).unwrap().to_vec()
    }
}

impl Draws for Tape {
    fn posterior(&self, position: u64, numbers: usize) -> Vec<f32> {
        self.row("posterior_noise", position, numbers)
    }

    fn noise(&self, position: u64, _: usize, numbers: usize) -> (usize, Vec<f32>) {
        (self.row("timesteps", position, 1)[0] as usize, self.row("noise", position, numbers))
    }

    fn offset(&self, position: u64, channels: usize) -> Vec<f32> {
        self.row("offset_noise", position, channels)
    }

    fn flow_time(&self, position: u64) -> f64 {
        f64::from(self.row("flow_times", position, 1)[0])
    }

    fn sigma(&self, _: u64) -> f64 {
        unreachable!("diffusers has no script that trains an EDM's U-Net on captions")
    }
}

/// Everything that the script recorded.
pub(super) struct Case {
    pub inputs: HashMap<String, NamedTensor>,
    expected: Value,
}

impl Case {
    pub fn open() -> Self {
        let expected = std::fs::read_to_string(golden("expected.json")).unwrap();
        Self {
            inputs: safetensors::read(&golden("inputs.safetensors")).unwrap(),
            expected: serde_json::from_str(&expected).unwrap(),
        }
    }

    pub fn pictures(&self) -> Recorded {
        let pixels = &self.inputs["pixel_values"];
        let side = pixels.shape[3];
        let level = |x: f32| ((x + 1.0) * 127.5).round() as u8;
        let picture = |values: &[f32]| {
            RgbImage::from_fn(side as u32, side as u32, |x, y| {
                let at = y as usize * side + x as usize;
                image::Rgb(std::array::from_fn(|c| level(values[c * side * side + at])))
            })
        };
        let captions = self.expected["captions"].as_array().unwrap();
        Recorded {
            pictures: pixels.values.chunks(3 * side * side).map(picture).collect(),
            captions: captions.iter().map(|caption| caption.as_str().unwrap().to_owned()).collect(),
        }
    }
}

/// The recipe of a variant of training `model`: what the scripts' settings say.
pub(super) fn recipe(model: &Path, lines: &str) -> Recipe {
    let text = format!(
        r#"
        seed = 0
        model = "{}"
        [data]
        size = 32
        [diffusion]
        caption_dropout = 0.0
        cache_latents = false
        {lines}
        [diffusion.training]
        steps = 50
        batch_size = 4
        learning_rate = 1e-3
        warm_up = 0
        lr_schedule = "constant"
        checkpoint_every = 50
        log_every = 1
        [diffusion.training.optimizer]
        ema_decay = 0.0
        "#,
        model.display()
    );
    Recipe::parse(Path::new("fine_tuning.toml"), &text).unwrap()
}

/// The first A of the script's LoRA under our names.
fn recorded_start(network: LoraInTraining) -> LoraInTraining {
    let start = safetensors::read(&golden("lora_init.safetensors")).unwrap();
    let names: BTreeMap<String, String> = [("unet", &network.unet), ("text_encoder", &network.text_encoder)]
        .into_iter()
        .flat_map(|(part, lora)| {
            lora.layers().enumerate().map(move |(i, (weight, _))| {
                let layer = weight.strip_suffix(".weight").unwrap();
                (format!("{part}.layers.{i}.down"), format!("{part}.{layer}.lora_A.weight"))
            })
        })
        .collect();
    parameters::replace(network, |name, _| names.get(&name).map(|name| start[name].values.clone()))
}

/// The losses of a variant; its trained LoRA's tensors where it is one.
fn losses(case: &Case, lines: &str) -> (Vec<f64>, Vec<NamedTensor>) {
    let (dir, device) = (TempDir::new(), Device::flex());
    let run = RunFolder::new(dir.join("run"));
    let recipe = recipe(&golden("pipeline"), lines);
    let base = BaseModel::load(&recipe, &run, &device).unwrap();
    let data = TrainingSet::new(Arc::new(case.pictures()), None, 0, 32, Transform::default()).unwrap();
    let objective = Denoising::new(&recipe, &base, &data, &device).unwrap();
    let objective = objective.with_draws(Tape(case.inputs.clone()));
    let session = session(&run, false);
    let mut lora = Vec::new();
    match &recipe.diffusion().unwrap().lora {
        None => training_loop::train(session, objective, base.model.denoiser.network.clone(), &Blind),
        Some(settings) => {
            let network = LoraInTraining::new(&base, settings, &recipe, &device).unwrap();
            let trained = training_loop::train(session, objective, recorded_start(network), &Blind);
            lora = safetensors::read(&run.model().join("lora.safetensors")).unwrap().into_values().collect();
            trained
        }
    }
    .unwrap();
    (
        read_series(&run.log(TrainedPart::Diffusion), "loss")
            .unwrap()
            .into_iter()
            .map(|point| point.1)
            .collect(),
        lora,
    )
}

fn assert_follows(case: &Case, variant: &str, lines: &str) -> Vec<NamedTensor> {
    let (got, lora) = losses(case, lines);
    assert_same_losses(variant, &got, &case.expected["variants"][variant]["losses"]);
    lora
}

/// Of every step, within [`TOLERANCE`].
pub(super) fn assert_same_losses(variant: &str, got: &[f64], expected: &Value) {
    let expected = expected.as_array().unwrap();
    assert_eq!(got.len(), expected.len());
    let mut largest = 0.0f64;
    for (step, (got, expected)) in got.iter().zip(expected).enumerate() {
        let expected = expected.as_f64().unwrap();
        let error = ((got - expected) / expected).abs();
        assert!(error < TOLERANCE, "{variant}, step {step}: expected {expected}, got {got}");
        largest = largest.max(error);
    }
    println!("{variant}: largest relative difference of the losses {largest:.1e}");
}

#[test]
fn the_captions_have_the_recorded_tokens() {
    let case = Case::open();
    let recipe = recipe(&golden("pipeline"), "");
    let base = BaseModel::load(&recipe, &RunFolder::new("unused"), &Device::flex()).unwrap();
    let rows = case.inputs["input_ids"].values.chunks(77);
    for (caption, row) in case.pictures().captions.iter().zip(rows) {
        let ids: Vec<f32> =
            base.model.tokenizer().encode_padded(caption).ids.iter().map(|&id| id as f32).collect();
        assert_eq!(ids, row, "{caption}");
    }
}

#[test]
fn fine_tuning_follows_pytorch() {
    let case = Case::open();
    for (variant, lines) in [
        ("epsilon", ""),
        ("v_prediction", "prediction = \"v_prediction\""),
        ("min_snr", "min_snr_gamma = 5.0"),
        ("noise_offset", "noise_offset = 0.1"),
        ("flow", "prediction = \"flow_prediction\""),
        ("zero_terminal_snr", "prediction = \"v_prediction\"\nzero_terminal_snr = true"),
    ] {
        assert_follows(&case, variant, lines);
    }
}

#[test]
fn so_it_does_with_its_activations_computed_again() {
    let case = Case::open();
    assert_follows(&case, "epsilon", "gradient_checkpointing = true");
    let lora = format!("gradient_checkpointing = true\n{LORA}");
    assert_follows(&case, "lora", &lora);
}

/// The LoRA of the script.
const LORA: &str = "lora = { rank = 4, alpha = 8.0, unet = [\"to_q\", \"to_k\", \"to_v\", \"to_out.0\"], \
                    text_encoder = [\"q_proj\", \"k_proj\", \"v_proj\", \"out_proj\"] }";

#[test]
fn a_lora_follows_pytorch_to_the_last_weight() {
    let trained = assert_follows(&Case::open(), "lora", LORA);
    let theirs = safetensors::read(&golden("lora_final.safetensors")).unwrap();
    let squares = |values: &[f32]| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    let total = theirs.values().map(|tensor| squares(&tensor.values)).sum::<f64>();
    let ours = trained.iter().filter(|tensor| !tensor.name.ends_with(".alpha"));
    assert_eq!(ours.clone().count(), theirs.len());
    let own = ours.map(|tensor| squares(&tensor.values)).sum::<f64>();
    assert!((own / total - 1.0).abs() < 1e-4, "{own} {total}");
}
