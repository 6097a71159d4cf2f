//! Components and whole pipelines of Stable Diffusion against diffusers, on small models with random weights.
//!
//! The golden files come from `tools/oracle/stable_diffusion.py`; `tests/golden/README.md` tells the versions.
//! Tolerance: 1e-4 of the largest number for a component, 1e-3 for the latents of a pipeline.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use calotype::Result;
use calotype::autoencoder::Vae;
use calotype::checkpoint::{self, StoredComponent};
use calotype::data::picture;
use calotype::data::tensors::{to_images, to_tensor};
use calotype::denoiser::Condition;
use calotype::diffusion::SchedulerConfig;
use calotype::diffusion::guidance::Guidance;
use calotype::evaluate::pixel::psnr_rgb;
use calotype::files::{NamedTensor, safetensors};
use calotype::model::{ComponentKind, Model};
use calotype::pipeline::Origin;
use calotype::pipeline::text_to_image::{PictureRequest, Sampling, Sizes};
use calotype::sampler::{Compat, Generator, Noise, PictureNoise, SamplerKind, SamplerSettings};
use calotype::text_encoder::reading::PromptOptions;
use calotype::text_encoder::tokenizer::ClipTokenizer;
use serde::Deserialize;

use crate::devices::on_each_device;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Case {
    name: String,
    model: String,
    kind: String,
    component: String,
    inputs: String,
    outputs: String,
    prompts: Vec<String>,
    sampler: String,
    scheduler: serde_json::Value,
    steps: usize,
    width: usize,
    height: usize,
    prompt: String,
    negative_prompt: Option<String>,
    prompt_2: Option<String>,
    negative_prompt_2: Option<String>,
    guidance_scale: f64,
    guidance_rescale: f64,
    strength: f64,
    clip_skip: usize,
    original_size: Option<(usize, usize)>,
    crops_coords_top_left: (usize, usize),
    target_size: Option<(usize, usize)>,
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/stable_diffusion").join(name)
}

fn cases(kind: &str) -> Vec<Case> {
    // As Python writes a scheduler's settings.
    let text = std::fs::read_to_string(golden("cases.json")).unwrap().replace("-Infinity", "null");
    let all: Cases = serde_json::from_str(&text).unwrap();
    let cases: Vec<Case> = all.cases.into_iter().filter(|case| case.kind == kind).collect();
    assert!(cases.len() >= 20, "{} cases of kind {kind}", cases.len());
    cases
}

struct Tensors(HashMap<String, NamedTensor>, Device);

impl Tensors {
    fn read(name: &str, device: &Device) -> Self {
        Self(safetensors::read(&golden(name)).unwrap(), device.clone())
    }

    fn get<const D: usize>(&self, name: &str) -> Tensor<D> {
        self.find(name).unwrap_or_else(|| panic!("no `{name}` among the inputs"))
    }

    fn find<const D: usize>(&self, name: &str) -> Option<Tensor<D>> {
        let NamedTensor { shape, values, .. } = self.0.get(name)?;
        Some(Tensor::from_data(TensorData::new(values.clone(), shape.clone()), &self.1))
    }

    fn rows(&self, name: &str) -> Vec<Vec<f64>> {
        let NamedTensor { shape, values, .. } = &self.0[name];
        let width = shape.last().copied().unwrap_or(1);
        values.chunks(width).map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect()
    }

    fn ids(&self) -> Vec<Vec<u32>> {
        let rows = self.rows("input_ids").into_iter();
        rows.map(|row| row.into_iter().map(|id| id as u32).collect()).collect()
    }
}

/// The largest difference, as a share of the largest expected number.
fn difference<const D: usize>(got: Tensor<D>, expected: &NamedTensor) -> f32 {
    assert_eq!(got.dims().to_vec(), expected.shape);
    let largest = expected.values.iter().fold(1e-12f32, |m, x| m.max(x.abs()));
    let got: Vec<f32> = got.into_data().iter::<f32>().collect();
    // A NaN must not disappear in the maximum.
    assert!(got.iter().all(|x| x.is_finite()));
    got.iter().zip(&expected.values).fold(0.0f32, |m, (g, e)| m.max((g - e).abs())) / largest
}

fn check<const D: usize>(
    case: &Case,
    outputs: &Tensors,
    name: &str,
    got: Tensor<D>,
    worst: &mut Vec<String>,
) {
    let tolerance = if case.kind == "pipeline" { 1e-3 } else { 1e-4 };
    let difference = difference(got, &outputs.0[name]);
    if difference > tolerance {
        worst.push(format!("{} `{name}`: {difference:.1e} of the largest number", case.name));
    }
}

on_each_device!(
    every_component_gives_what_pytorch_gives,
    every_pipeline_gives_the_latents_that_diffusers_gives
);

fn every_component_gives_what_pytorch_gives(device: &Device) {
    let mut worst = Vec::new();
    for case in cases("probe") {
        let (inputs, outputs) = (Tensors::read(&case.inputs, device), Tensors::read(&case.outputs, device));
        let stored = |part: ComponentKind| StoredComponent::find(&golden(&case.model), part).unwrap();
        match case.component.as_str() {
            "unet" => {
                let network = checkpoint::denoiser(stored(ComponentKind::Unet), device).unwrap().network;
                let sample = inputs.get::<4>("sample");
                let timesteps = inputs.rows("timestep").concat();
                let timesteps =
                    if timesteps.len() == 1 { vec![timesteps[0]; sample.dims()[0]] } else { timesteps };
                let has = |name: &str| inputs.0.contains_key(name);
                let condition = Condition {
                    context: inputs.get("encoder_hidden_states"),
                    pooled: inputs.find("text_embeds"),
                    sizes: has("text_embeds").then(|| inputs.rows("time_ids")),
                    guidance: has("guidance_scale").then(|| inputs.rows("guidance_scale").concat()),
                    reference: None,
                };
                let got = network.forward(sample, &timesteps, &condition, None).unwrap();
                check(&case, &outputs, "output", got, &mut worst);
            }
            "vae-encode" => match checkpoint::vae(stored(ComponentKind::Vae), device).unwrap() {
                Vae::Kl { network, .. } => {
                    let posterior = network.encode(inputs.get("sample")).unwrap();
                    check(&case, &outputs, "mean", posterior.mean, &mut worst);
                    check(&case, &outputs, "logvar", posterior.logvar, &mut worst);
                }
                Vae::Tiny { network, .. } => {
                    let latents = network.encode(inputs.get("sample")).unwrap();
                    check(&case, &outputs, "output", latents, &mut worst);
                }
            },
            "vae-decode" => {
                let vae = checkpoint::vae(stored(ComponentKind::Vae), device).unwrap();
                check(&case, &outputs, "output", vae.decode(inputs.get("sample")), &mut worst);
            }
            "text-encoder" | "text-encoder-2" => {
                let tower = if case.component.ends_with('2') {
                    ComponentKind::TextEncoder2
                } else {
                    ComponentKind::TextEncoder
                };
                let network = checkpoint::text_encoder(stored(tower), device).unwrap().network;
                let features = network.forward_skipping(&inputs.ids(), 1).unwrap();
                let normed = network.normalise(features.hidden_state.clone());
                check(&case, &outputs, "output", features.last_hidden_state, &mut worst);
                check(&case, &outputs, "pooled_output", features.pooled, &mut worst);
                check(&case, &outputs, "penultimate", features.hidden_state, &mut worst);
                check(&case, &outputs, "clip_skip_1", normed, &mut worst);
            }
            "tokenizer" | "tokenizer-2" => {
                let folder = case.component.replace('-', "_");
                let tokenizer = ClipTokenizer::load(&golden(&case.model).join(folder)).unwrap();
                for (prompt, expected) in case.prompts.iter().zip(outputs.ids()) {
                    assert_eq!(tokenizer.encode_padded(prompt).ids, expected, "{}: {prompt}", case.name);
                }
            }
            other => panic!("{}: no component `{other}`", case.name),
        }
    }
    assert!(worst.is_empty(), "{}", worst.join("\n"));
}

/// Random numbers from a case's file, in the order in which diffusers draws them.
struct Recorded {
    initial: Tensor<4>,
    posterior: VecDeque<Tensor<4>>,
    steps: VecDeque<Tensor<4>>,
}

impl Recorded {
    fn new(inputs: &Tensors) -> Self {
        let steps = inputs.find::<5>("noises").map(|noises| {
            let [n, b, c, h, w] = noises.dims();
            (0..n).map(|i| noises.clone().narrow(0, i, 1).reshape([b, c, h, w])).collect()
        });
        let posterior = ["posterior_noise", "masked_posterior_noise"];
        Self {
            initial: inputs.find("latents").unwrap_or_else(|| inputs.get("noise")),
            posterior: posterior.into_iter().filter_map(|name| inputs.find(name)).collect(),
            steps: steps.unwrap_or_default(),
        }
    }
}

impl Noise for Recorded {
    fn draw(&mut self, _: &Tensor<4>) -> Result<Tensor<4>> {
        Ok(self.steps.pop_front().expect("diffusers drew no more noise"))
    }
}

impl PictureNoise for Recorded {
    fn initial(&mut self, _: [usize; 3], _: &Device) -> Result<Tensor<4>> {
        Ok(self.initial.clone())
    }

    fn posterior(&mut self, _: [usize; 3], _: &Device) -> Result<Option<Tensor<4>>> {
        Ok(Some(self.posterior.pop_front().expect("diffusers drew no more posterior noise")))
    }
}

/// Cases where diffusers does something on purpose not done here; docs/stable-diffusion.md says why.
const KNOWN_SLIPS: [&str; 3] = ["sd1-img2img-pndm", "sd1-img2img-lms", "inpaint-4-channels-heun-0.6"];

fn latents(case: &Case, model: &mut Model, inputs: &Tensors) -> Tensor<4> {
    model.scheduler = SchedulerConfig::parse(&case.scheduler.to_string()).unwrap();
    let kind: SamplerKind = case.sampler.parse().unwrap();
    let compat = (kind == SamplerKind::DpmPp3MSde || kind == SamplerKind::Ddim).then_some(Compat::Diffusers);
    let sampling = Sampling {
        sampler: SamplerSettings { compat, ..SamplerSettings::new(kind, case.steps) },
        seed: 0,
        generator: Generator::Philox,
        width: case.width,
        height: case.height,
        sizes: Sizes {
            original: case.original_size,
            crop: case.crops_coords_top_left,
            target: case.target_size,
        },
        prompts: PromptOptions { clip_skip: case.clip_skip, ..Default::default() },
    };
    let guidance = Guidance { rescale: case.guidance_rescale, ..Guidance::new(case.guidance_scale) };
    let request = PictureRequest {
        negative_prompt: case.negative_prompt.clone(),
        second_prompts: [case.prompt_2.clone(), case.negative_prompt_2.clone()],
        ..PictureRequest::new(&case.prompt, guidance, 0)
    };
    let (picture, mask) = (inputs.find("image"), inputs.find("mask"));
    let origin = Origin { picture, strength: case.strength, mask, reference: None };
    let mut noise = Recorded::new(inputs);
    let latents = model
        .sample_from(&[request], &sampling, &origin, &mut noise, None, &mut |_, _| ControlFlow::Continue(()))
        .unwrap();
    // Some of its schedulers draw once more at the clean end, where they multiply by 0.
    assert!(noise.posterior.is_empty() && noise.steps.len() <= 1, "{}: diffusers drew more", case.name);
    latents
}

fn every_pipeline_gives_the_latents_that_diffusers_gives(device: &Device) {
    let mut models: HashMap<String, Model> = HashMap::new();
    let mut worst = Vec::new();
    for case in cases("pipeline") {
        if KNOWN_SLIPS.contains(&case.name.as_str()) {
            continue;
        }
        let model = models
            .entry(case.model.clone())
            .or_insert_with(|| Model::load(&golden(&case.model), device).unwrap());
        let (inputs, outputs) = (Tensors::read(&case.inputs, device), Tensors::read(&case.outputs, device));
        let latents = latents(&case, model, &inputs);
        if outputs.0.contains_key("image") {
            check(&case, &outputs, "image", model.vae.decode_scaled(latents.clone(), false), &mut worst);
        }
        check(&case, &outputs, "output", latents, &mut worst);
    }
    assert!(worst.is_empty(), "{}", worst.join("\n"));
}

/// The round trip of published weights: PSNR by `tools/oracle/taesd.py` with torch 2.15.0.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn taef2_reconstructs_photographs_as_pytorch_does() {
    let data = PathBuf::from(std::env::var_os("CALOTYPE_TEST_DATA").expect("see CONTRIBUTING.md"));
    let device = Device::flex();
    let stored = StoredComponent::find(&data.join("weights/taef2"), ComponentKind::Vae).unwrap();
    let vae = checkpoint::vae(stored, &device).unwrap();
    for (name, expected) in [("butterfly", 23.973_085), ("lotus", 24.533_236)] {
        let picture = picture::load(&data.join(format!("data/pictures/{name}-192.png"))).unwrap();
        let images = to_tensor(std::slice::from_ref(&picture), &device).unwrap();
        let again = to_images(vae.decode(vae.encode(images, None).unwrap())).unwrap();
        let psnr = psnr_rgb(&picture, &again[0]).unwrap();
        assert!((psnr - expected).abs() < 0.01, "{name}: {psnr} dB, expected {expected}");
    }
}
