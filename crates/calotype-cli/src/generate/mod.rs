//! `calotype generate`

mod model;
mod png;
mod sampling;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use burn::tensor::Tensor;
use calotype::data::picture;
use calotype::files::png::write_with_texts;
use calotype::files::{NamedTensor, safetensors};
use calotype::model::Model;
use calotype::parallel::in_parallel;
use calotype::pipeline::Origin;
use calotype::pipeline::text_to_image::{Request, Sampling};
use calotype::progress::Progress;
use calotype::text_encoder::reading::PromptOptions;
use calotype::{Error, Result};
use image::RgbImage;

pub use model::ModelArgs;
pub use png::arguments as recorded_arguments;
pub use sampling::SamplingArgs;

use crate::message;
use crate::options::Context;

#[derive(clap::Args)]
#[command(args_override_self = true)]
pub struct Args {
    /// What the picture should show
    #[arg(required_unless_present_any = ["from", "recorded_prompt"])]
    prompt: Option<String>,
    /// The prompt that a picture records
    #[arg(long, hide = true, allow_hyphen_values = true)]
    recorded_prompt: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// What the picture should not show
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    negative: Option<String>,
    /// Number of pictures
    #[arg(short, long = "count", default_value_t = 1, value_name = "N")]
    n: usize,
    /// Number of the first picture under the seed
    #[arg(long, default_value_t = 0, value_name = "N")]
    first: u64,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Begin with a picture
    #[arg(long, value_name = "FILE")]
    init_image: Option<PathBuf>,
    /// Share of the steps that change the initial picture: 0 to 1 [default: 0.8; 1 with a mask]
    #[arg(long, value_name = "F", requires = "init_image")]
    strength: Option<f64>,
    /// Paint only the white part of this picture, and keep the rest
    #[arg(long, value_name = "FILE", requires = "init_image")]
    mask: Option<PathBuf>,
    /// Repeat the run that a PNG of `generate` records; options given beside it count instead
    #[arg(long, value_name = "PNG")]
    from: Option<PathBuf>,
    /// Write the final scaled latents as tensor `latents`
    #[arg(long, value_name = "FILE")]
    save_latents: Option<PathBuf>,
    /// PNG file; with several pictures a folder
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

/// Pictures sampled at a time.
const BATCH: usize = 4;

pub fn run(args: &Args, context: &Context) -> Result<()> {
    if args.n == 0 {
        return Err(Error::argument("-n", "at least 1", 0));
    }
    let prompt = args.prompt();
    let mut clock = Clock::start();
    let model = args.model.load(context)?;
    clock.lap("load");
    let prompts = args.model.prompts();
    warn_of_cut(&model, prompt, prompts, context)?;
    let picture = args.init_image.as_deref().map(picture::load).transpose()?;
    let size = picture.as_ref().map(|picture| (picture.width() as usize, picture.height() as usize));
    let sampling = Sampling { prompts, ..args.sampling.sampling(&model, size)? };
    let origin = origin(args, picture.as_ref(), &sampling, &model)?;
    let guidance = args.sampling.guidance(&model)?;
    let requests: Vec<Request> = (args.first..args.first + args.n as u64)
        .map(|i| Request { negative_prompt: args.negative.clone(), ..Request::new(prompt, guidance, i) })
        .collect();
    let latents = sample(&model, &requests, &sampling, &origin, &args.sampling, context)?;
    clock.lap("sample");
    if let Some(path) = &args.save_latents {
        let shape = latents.dims().to_vec();
        let values = latents.to_data().iter::<f32>().collect();
        safetensors::write(path, &[NamedTensor { name: "latents".into(), shape, values }])?;
    }
    let images = model.decode(latents, args.model.vae_tiling)?;
    clock.lap("decode");
    let paths: Vec<PathBuf> = match images.len() {
        1 => vec![args.out.clone()],
        n => (0..n).map(|i| args.out.join(format!("{i:05}.png"))).collect(),
    };
    for ((image, path), request) in images.iter().zip(&paths).zip(&requests) {
        let record = png::record(args, request, &sampling);
        let texts: Vec<(&str, &str)> = record.iter().map(|(key, text)| (*key, text.as_str())).collect();
        write_with_texts(path, image, &texts)?;
    }
    if context.json {
        message::json(&serde_json::json!({
            "images": paths, "seed": sampling.seed, "steps": sampling.sampler.steps,
            "sampler": sampling.sampler.kind.name(), "dtype": args.model.dtype,
            "guidance": guidance.scale, "width": sampling.width, "height": sampling.height,
            "seconds": clock.laps,
        }));
    }
    Ok(())
}

/// How long the stages of a run took.
struct Clock {
    since: Instant,
    laps: BTreeMap<&'static str, f64>,
}

impl Clock {
    fn start() -> Self {
        Self { since: Instant::now(), laps: BTreeMap::new() }
    }

    fn lap(&mut self, stage: &'static str) {
        self.laps.insert(stage, self.since.elapsed().as_secs_f64());
        self.since = Instant::now();
    }
}

impl Args {
    fn prompt(&self) -> &str {
        self.prompt.as_ref().or(self.recorded_prompt.as_ref()).map_or("", String::as_str)
    }

    fn strength(&self) -> f64 {
        self.strength.unwrap_or(if self.mask.is_some() { 1.0 } else { 0.8 })
    }

    /// The picture whose run is to be repeated.
    pub fn repeats(&self) -> Option<&Path> {
        self.from.as_deref()
    }
}

fn sample(
    model: &Model,
    requests: &[Request],
    sampling: &Sampling,
    origin: &Origin,
    args: &SamplingArgs,
    context: &Context,
) -> Result<Tensor<4>> {
    let initial = args.initial(model, requests.len(), sampling)?;
    context.bars.begin("sampling", 0, requests.len() * sampling.sampler.steps);
    let done = AtomicUsize::new(0);
    let batches: Vec<(usize, &[Request])> = requests.chunks(BATCH).enumerate().collect();
    let latents = in_parallel(batches, context.threads, |(batch, requests)| {
        let initial =
            initial.as_ref().map(|initial| initial.clone().narrow(0, batch * BATCH, requests.len()));
        let mut on_step = |_: usize, _: usize| {
            let pictures = done.fetch_add(requests.len(), Ordering::Relaxed) + requests.len();
            context.bars.step(pictures, "");
            ControlFlow::Continue(())
        };
        let mut noise = model.noise(requests, sampling, initial);
        model.sample_from(requests, sampling, origin, &mut noise, None, &mut on_step)
    })?;
    context.bars.end("sampling");
    Ok(Tensor::cat(latents, 0))
}

fn origin(args: &Args, picture: Option<&RgbImage>, sampling: &Sampling, model: &Model) -> Result<Origin> {
    let Some(picture) = picture else { return Ok(Origin::default()) };
    let mask = args.mask.as_deref().map(picture::load).transpose()?;
    let mask = mask.map(|mask| image::DynamicImage::ImageRgb8(mask).to_luma8());
    Origin::new(picture, args.strength(), mask.as_ref(), (sampling.width, sampling.height), &model.device)
}

fn warn_of_cut(model: &Model, prompt: &str, options: PromptOptions, context: &Context) -> Result<()> {
    if model.text.read(prompt, options)?.cut_off {
        let longest = model.text.longest();
        context.bars.say(&format!(
            "warning: the model reads {longest} tokens; the end of the prompt is cut off (--long-prompt reads it in chunks)"
        ));
    }
    Ok(())
}
