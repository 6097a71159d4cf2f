//! Flux.1 from a prompt to latents, against the small random pipelines of `golden-flux` and what diffusers makes with them.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use calotype::Result;
use calotype::checkpoint::{Checkpoint, WeightedLora};
use calotype::diffusion::guidance::Guidance;
use calotype::files::{NamedTensor, StoredTensor, atomic, safetensors};
use calotype::machine::Machine;
use calotype::model::{Beside, ComponentKind, Model};
use calotype::pipeline::{Generation, Origin, PictureRequest, Request, Sampling};
use calotype::progress::Silent;
use calotype::runs::folder::RunFolder;
use calotype::sampler::{SamplerKind, SamplerSettings};
use calotype::trainer::Recipe;
use calotype::trainer::denoiser::base_model::BaseModel;
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde::Deserialize;

use crate::flux::golden_flux;
use crate::support::TempDir;

#[derive(Deserialize)]
struct Cases {
    pipelines: Vec<Case>,
    lora: WithLora,
}

#[derive(Deserialize)]
struct WithLora {
    model: String,
    prompt: String,
    steps: usize,
    guidance: f64,
    width: usize,
    height: usize,
    tolerance: f32,
    cases: Vec<LoraCase>,
}

#[derive(Deserialize)]
struct LoraCase {
    file: String,
    weight: f64,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    model: String,
    prompt: String,
    negative: Option<String>,
    true_cfg: f64,
    strength: Option<f64>,
    steps: usize,
    guidance: f64,
    width: usize,
    height: usize,
    tolerance: f32,
}

impl Case {
    fn request(&self, golden: &Path) -> Request {
        Request {
            prompt: self.prompt.clone(),
            negative: self.negative.clone(),
            model: Some(golden.join(&self.model)),
            steps: Some(self.steps),
            guidance: Some(self.guidance),
            true_cfg: (self.true_cfg > 1.0).then_some(self.true_cfg),
            strength: self.strength,
            init_image: self.strength.map(|_| golden.join(format!("pipelines/{}.png", self.case))),
            width: Some(self.width),
            height: Some(self.height),
            ..Request::default()
        }
    }
}

fn machine(device: &Device) -> Machine<'_> {
    Machine { device, threads: 2, progress: &Silent }
}

fn tensor(stored: &NamedTensor, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(stored.values.clone(), stored.shape.clone()), device)
}

/// The request for as many pictures as there is noise for.
fn prepared(request: &Request, model: &Model, noise: &NamedTensor) -> Result<Generation> {
    let generation = request.prepare(model, noise.shape[0])?;
    Ok(Generation { initial: Some(tensor(noise, &model.device)), ..generation })
}

#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn pictures_are_those_of_diffusers() {
    let golden = golden_flux();
    let device = Device::flex();
    let cases: Cases = atomic::read_json(&golden.join("cases.json")).unwrap();
    for case in &cases.pipelines {
        let expected =
            safetensors::read(&golden.join(format!("pipelines/{}.safetensors", case.case))).unwrap();
        let request = case.request(&golden);
        let mut model = request.load(machine(&device)).unwrap();
        let generation = prepared(&request, &model, &expected["init"]).unwrap();
        // T5 is asked first and then gone, as in the command line.
        generation.read_prompts_and_drop_t5(&mut model).unwrap();
        let latents = generation.sample(&model, machine(&device)).unwrap();
        let difference = (latents - tensor(&expected["latents"], &device)).abs().max().into_scalar::<f32>();
        println!("{}: {difference:.1e} of at most {:.1e}", case.case, case.tolerance);
        assert!(difference <= case.tolerance, "{}: {difference} of at most {}", case.case, case.tolerance);
    }
    assert_eq!(cases.pipelines.len(), 7);
}

/// One under diffusers' names, one under kohya's.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn pictures_with_a_lora_are_those_of_diffusers() {
    let (golden, device) = (golden_flux(), Device::flex());
    let WithLora { model, prompt, steps, guidance, width, height, tolerance, cases } =
        atomic::read_json::<Cases>(&golden.join("cases.json")).unwrap().lora;
    let expected = safetensors::read(&golden.join("lora/latents.safetensors")).unwrap();
    let request = Request {
        prompt,
        model: Some(golden.join(model)),
        steps: Some(steps),
        guidance: Some(guidance),
        width: Some(width),
        height: Some(height),
        ..Request::default()
    };
    let latents = |lora: Vec<WeightedLora>| {
        let request = Request { lora, ..request.clone() };
        let model = request.load(machine(&device)).unwrap();
        prepared(&request, &model, &expected["init"]).unwrap().sample(&model, machine(&device)).unwrap()
    };
    let plain = latents(vec![]);
    for LoraCase { file, weight } in &cases {
        let got = latents(vec![WeightedLora { file: golden.join("lora").join(file), weight: *weight }]);
        let expected = tensor(&expected[file.trim_end_matches(".safetensors")], &device);
        let moved = (plain.clone() - expected.clone()).abs().max().into_scalar::<f32>();
        let difference = (got - expected).abs().max().into_scalar::<f32>();
        println!("{file}: {difference:.1e} of at most {tolerance:.1e}; it moves the latents by {moved:.2}");
        assert!(
            difference <= tolerance && moved > 1.0,
            "{file}: {difference} of at most {tolerance}, {moved}"
        );
    }
    assert_eq!(cases.len(), 2);
}

/// Settings of `tools/oracle/flux_pipelines.py`.
#[derive(Deserialize)]
struct Others {
    prompt: String,
    width: u32,
    height: u32,
    reference: [u32; 2],
    cases: Vec<Other>,
}

#[derive(Deserialize)]
struct Other {
    case: String,
    pipeline: String,
    columns: usize,
    steps: usize,
    strength: Option<f64>,
    guidance: f64,
}

fn picture([width, height]: [u32; 2], shift: u32) -> RgbImage {
    let channel = |x: u32, y: u32, c: u32| ((x * 5 + y * 3 + c * 60 + shift) % 256) as u8;
    RgbImage::from_fn(width, height, |x, y| Rgb([0, 1, 2].map(|c| channel(x, y, c))))
}

/// White in a part that is not on the grid of tokens.
fn mask([width, height]: [u32; 2]) -> GrayImage {
    let inside = |x, y| (27..56).contains(&x) && (16..43).contains(&y);
    GrayImage::from_fn(width, height, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]))
}

fn formula(count: usize, step: f64, size: f64) -> Vec<f32> {
    (0..count).map(|i| ((i as f64 * step).sin() * size) as f32).collect()
}

/// The golden model, whose transformer takes so many further numbers of a token.
fn dev(columns: usize, device: &Device) -> Model {
    let mut checkpoint = Checkpoint::open(&golden_flux().join("dev")).unwrap();
    if columns > 0 {
        let stored = checkpoint.components.get_mut(&ComponentKind::Transformer).unwrap();
        stored.config["in_channels"] = (64 + columns).into();
        stored.config["out_channels"] = 64.into();
        let old = stored.weights["x_embedder.weight"].to_f32();
        let rows = old.len() / 64;
        let more = formula(rows * columns, 0.9, 0.1);
        let rows_of = |row: usize| [&old[row * 64..][..64], &more[row * columns..][..columns]].concat();
        let wide = (0..rows).flat_map(rows_of).collect();
        let wide = StoredTensor::from_f32(vec![rows, 64 + columns], wide).unwrap();
        stored.weights.insert("x_embedder.weight".into(), wide);
    }
    checkpoint.into_model(device).unwrap()
}

/// What the case begins with.
fn origin(case: &Other, settings: &Others, device: &Device) -> Origin {
    let size = [settings.width, settings.height];
    let pair = |[width, height]: [u32; 2]| (width as usize, height as usize);
    let beside =
        |picture: &RgbImage, size| Origin::default().with_reference(picture, pair(size), device).unwrap();
    match case.pipeline.as_str() {
        "control" => beside(&picture(size, 40), size),
        "kontext" => beside(&picture(settings.reference, 90), settings.reference),
        _ => {
            let (picture, mask) = (picture(size, 0), mask(size));
            Origin::new(&picture, case.strength.unwrap(), Some(&mask), pair(size), device).unwrap()
        }
    }
}

#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn masks_and_further_pictures_are_taken_as_in_diffusers() {
    let device = Device::flex();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let settings: Others = atomic::read_json(&golden.join("flux_pipelines.json")).unwrap();
    let expected = safetensors::read(&golden.join("flux_pipelines.safetensors")).unwrap();
    for case in &settings.cases {
        let model = dev(case.columns, &device);
        let (width, height) = (settings.width as usize, settings.height as usize);
        let shape @ [c, h, w] = model.latent_shape(width, height).unwrap();
        let sampler = SamplerSettings::new(SamplerKind::FlowEuler, case.steps);
        let sampling = Sampling { width, height, ..Sampling::new(sampler, 0, 0) };
        let requests = [PictureRequest::new(&settings.prompt, Guidance::new(case.guidance), 0)];
        let unit = TensorData::new(formula(c * h * w, 1.7, 1.4), [1, c, h, w]);
        let mut noise = model.noise(&requests, &sampling, Some(Tensor::from_data(unit, &device)));
        let origin = origin(case, &settings, &device);
        let on_step = &mut |_, _| ControlFlow::Continue(());
        let latents = model.sample_from(&requests, &sampling, &origin, &mut noise, None, on_step).unwrap();
        assert_eq!(latents.dims()[1..], shape);
        let difference = (latents - tensor(&expected[&case.case], &device)).abs().max().into_scalar::<f32>();
        println!("{}: {difference:.1e}", case.case);
        assert!(difference <= 3e-4, "{}: {difference}", case.case);
    }
    assert_eq!(settings.cases.len(), 5);
}

/// What is missing, or has no use, is refused by name.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn a_picture_that_the_network_needs_or_cannot_read_is_named() {
    let device = Device::flex();
    let refused = |columns: usize, request: Request| {
        let model = dev(columns, &device);
        let generation =
            Request { width: Some(32), height: Some(32), steps: Some(1), ..request }.prepare(&model, 1);
        let made = generation.and_then(|generation| generation.sample(&model, machine(&device)));
        made.expect_err("something does not fit").to_string()
    };
    let prompt = || Request { prompt: "a pier".into(), ..Request::default() };
    assert_eq!(dev(320, &device).input_beside(), Beside::MaskedWithPixels);
    assert!(
        refused(320, prompt())
            .starts_with("mask: expected a mask: this model's Flux transformer only inpaints")
    );
    assert!(
        refused(64, prompt()).starts_with("reference: expected a picture that this model's Flux transformer")
    );
    let cfg = Request { true_cfg: Some(2.0), ..prompt() };
    assert!(refused(0, cfg).starts_with("true-cfg: expected a negative prompt beside it"));
    let odd = Request { width: Some(40), height: Some(40), ..prompt() };
    let refused =
        odd.prepare(&dev(0, &device), 1).and_then(|odd| odd.sample(&dev(0, &device), machine(&device)));
    let message = refused.expect_err("40 is no multiple of 16").to_string();
    assert!(message.starts_with("width: expected a multiple of 16"), "{message}");
}

/// A transformer's file, and folders and files of the rest.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn a_model_is_put_together_from_files() {
    let (device, dir, dev) = (Device::flex(), TempDir::new(), golden_flux().join("dev"));
    let bare = dir.join("transformer.safetensors");
    Checkpoint::open(&dev.join("transformer")).unwrap().write(&bare).unwrap();
    let weights = |part: &str, stem: &str| dev.join(part).join(stem).with_extension("safetensors");
    let pictures = |request: Request| {
        let mut model = request.load(machine(&device)).unwrap();
        let generation = request.prepare(&model, 2).unwrap();
        generation.read_prompts_and_drop_t5(&mut model).unwrap();
        let latents = generation.sample(&model, machine(&device)).unwrap();
        generation.decode(&model, latents, &Silent).unwrap()
    };
    let request = |model: &Path| Request {
        prompt: "a ketch under full sail".into(),
        model: Some(model.to_owned()),
        steps: Some(2),
        width: Some(64),
        height: Some(32),
        ..Request::default()
    };
    let whole = pictures(request(&dev));
    let parts = Request {
        vae: Some(weights("vae", "diffusion_pytorch_model")),
        text_encoder: Some(dev.join("text_encoder")),
        text_encoder_2: Some(weights("text_encoder_2", "model")),
        tokenizer: Some(dev.join("tokenizer")),
        tokenizer_2: Some(dev.clone()),
        ..request(&bare)
    };
    assert_eq!(pictures(parts), whole);
    // In the place of another model's.
    let transformer = Request { transformer: Some(bare.clone()), ..request(&dev) };
    assert_eq!(pictures(transformer), whole);
    // Without a tokenizer there is no T5.
    let untold = Request {
        vae: Some(dev.join("vae")),
        text_encoder: Some(dev.join("text_encoder")),
        text_encoder_2: Some(weights("text_encoder_2", "model")),
        tokenizer: Some(dev.join("tokenizer")),
        ..request(&bare)
    };
    let message = untold.load(machine(&device)).map(|_| ()).expect_err("no tokenizer").to_string();
    assert!(message.starts_with("tokenizer-2: expected a folder with T5's `spiece.model`"), "{message}");
}

/// Where the size of a picture decides in sampling, times of a training are not shifted unless the recipe says so.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn times_of_a_training_are_those_of_the_recipe() {
    let text = |model: &str, lines: &str| {
        format!(
            "seed = 0\nmodel = \"{}\"\n[data]\nsize = 32\n[diffusion]\ncaption_dropout = 0.1\n{lines}\n\
             [diffusion.training]\nsteps = 1\nbatch_size = 1\nlearning_rate = 1e-3\nwarm_up = 0\n\
             lr_schedule = \"constant\"\ncheckpoint_every = 1\n",
            golden_flux().join(model).display()
        )
    };
    let load = |model: &str, lines: &str| {
        let recipe = Recipe::parse(Path::new("recipe.toml"), &text(model, lines))?;
        BaseModel::load(&recipe, &RunFolder::new("unused"), &Device::flex())
    };
    assert_eq!(load("dev", "").unwrap().shift().unwrap(), 1.0);
    assert_eq!(load("schnell", "").unwrap().shift().unwrap(), 1.0);
    for (lines, named) in [
        ("denoiser = \"flux\"", "diffusion.denoiser"),
        ("prediction = \"epsilon\"", "diffusion.prediction"),
        ("zero_terminal_snr = true\nprediction = \"flow_prediction\"", "diffusion.zero_terminal_snr"),
        ("edm = {}", "diffusion.edm"),
    ] {
        let message = load("dev", lines).map(|_| ()).expect_err(lines).to_string();
        assert!(message.contains(named), "{lines}: {message}");
    }
}

/// A whole model written as a folder is the same model.
#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn a_pipeline_is_written_as_it_was_read() {
    let (device, dir) = (Device::flex(), TempDir::new());
    for name in ["dev", "schnell"] {
        let (from, to) = (golden_flux().join(name), dir.join(name));
        Checkpoint::open(&from).unwrap().write(&to).unwrap();
        let index: serde_json::Value = atomic::read_json(&to.join("model_index.json")).unwrap();
        assert_eq!(index["_class_name"], "FluxPipeline");
        let pictures = |model: &Path| {
            let request = Request {
                prompt: "crème brûlée — 寿司".into(),
                model: Some(model.to_owned()),
                steps: Some(2),
                width: Some(32),
                height: Some(32),
                ..Request::default()
            };
            let model = request.load(machine(&device)).unwrap();
            let generation = request.prepare(&model, 1).unwrap();
            let latents = generation.sample(&model, machine(&device)).unwrap();
            generation.decode(&model, latents, &Silent).unwrap()
        };
        assert_eq!(pictures(&from), pictures(&to), "{name}");
    }
}
