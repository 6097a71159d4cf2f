//! `calotype generate`

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Tensor;
use calotype::diffusion::SigmaSpacing;
use calotype::diffusion::guidance::Guidance;
use calotype::formats::{atomic, safetensors_io};
use calotype::nn::parameters::NamedTensor;
use calotype::parallel::in_parallel;
use calotype::pipeline::TextToImage;
use calotype::pipeline::text_to_image::{Request, Sampling};
use calotype::sampler::{Compat, SamplerKind, SamplerSettings};
use calotype::trainer::Progress;
use calotype::{Error, Result};
use image::RgbImage;

use crate::message;
use crate::options::{Context, Dtype};

/// Options that decide how a picture is sampled.
#[derive(clap::Args)]
pub struct SamplingArgs {
    /// Steps of the sampler
    #[arg(long, default_value_t = 30)]
    pub steps: usize,
    #[arg(long, help = sampler_help())]
    pub sampler: Option<SamplerKind>,
    /// DDIM's eta: 0 is deterministic, 1 is DDPM
    #[arg(long, default_value_t = 0.0)]
    pub eta: f64,
    #[arg(long, help = schedule_help())]
    pub schedule: Option<SigmaSpacing>,
    /// Repeat the results of another library where ours differ on purpose: diffusers
    #[arg(long, value_name = "LIBRARY")]
    pub compat: Option<Compat>,
    /// Guidance scale; 1 is off
    #[arg(long, default_value_t = 3.0)]
    pub guidance: f64,
    /// Keep the spread of the prediction for the prompt, against over-exposure: 0 (off) to 1
    #[arg(long, default_value_t = 0.0, value_name = "PHI")]
    pub guidance_rescale: f64,
    /// Guide only between two noise levels sigma, for instance 0.3,5
    #[arg(long, value_delimiter = ',', num_args = 1, value_name = "LOW,HIGH")]
    pub guidance_interval: Vec<f64>,
    /// Seed of the noise: the same seed, the same picture
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Width in pixels [default: the model's]
    #[arg(long)]
    pub width: Option<usize>,
    /// Height in pixels [default: the model's]
    #[arg(long)]
    pub height: Option<usize>,
    /// Start from the tensor `latents` of a safetensors file (unit noise)
    #[arg(long, value_name = "FILE")]
    pub init_latents: Option<PathBuf>,
}

fn sampler_help() -> String {
    format!("Sampler: {} [default: as the model's scheduler_config.json says]", SamplerKind::names())
}

fn schedule_help() -> String {
    format!("Noise levels, for samplers in sigma: {} [default: the model's]", SigmaSpacing::names())
}

impl SamplingArgs {
    /// With the model's own values where an option was not given.
    pub fn sampling(&self, model: &TextToImage) -> Result<Sampling> {
        Ok(Sampling {
            sampler: SamplerSettings {
                kind: match self.sampler {
                    Some(sampler) => sampler,
                    None => SamplerKind::from_config(&model.scheduler)?,
                },
                steps: self.steps,
                eta: self.eta,
                schedule: self.schedule,
                compat: self.compat,
            },
            seed: self.seed,
            width: self.width.unwrap_or(model.default_size()),
            height: self.height.unwrap_or(model.default_size()),
        })
    }

    /// How closely to follow the prompt.
    pub fn guidance(&self) -> Result<Guidance> {
        if !(0.0..=1.0).contains(&self.guidance_rescale) {
            return Err(Error::argument("--guidance-rescale", "0 to 1", self.guidance_rescale));
        }
        let interval = match self.guidance_interval[..] {
            [] => None,
            [lowest, highest] if 0.0 <= lowest && lowest < highest => Some((lowest, highest)),
            _ => {
                let got = format!("{:?}", self.guidance_interval);
                return Err(Error::argument("--guidance-interval", "two noise levels, the lower first", got));
            }
        };
        Ok(Guidance { scale: self.guidance, rescale: self.guidance_rescale, interval })
    }

    /// Unit noise from the file or from the seed.
    pub fn initial(
        &self,
        model: &TextToImage,
        requests: &[Request],
        sampling: &Sampling,
    ) -> Result<Tensor<4>> {
        let Some(path) = &self.init_latents else { return model.initial_latents(requests, sampling) };
        let mut tensors = safetensors_io::read(path)?;
        let latents = tensors
            .remove("latents")
            .ok_or_else(|| Error::format(path, "safetensors", "it has no tensor named `latents`"))?;
        let [c, h, w] = model.latent_shape(sampling.width, sampling.height)?;
        let expected = vec![requests.len(), c, h, w];
        if latents.shape != expected {
            return Err(Error::shape(
                format!("`latents` of {}", path.display()),
                format!("{expected:?}"),
                format!("{:?}", latents.shape),
            ));
        }
        let data = burn::tensor::TensorData::new(latents.values, expected);
        Ok(Tensor::from_data(data, model.device()))
    }
}

#[derive(clap::Args)]
pub struct Args {
    /// What the picture should show
    prompt: String,
    /// Model folder in diffusers' layout
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// What the picture should not show
    #[arg(long, default_value = "", value_name = "TEXT")]
    negative: String,
    /// Number of pictures
    #[arg(short, long = "count", default_value_t = 1, value_name = "N")]
    n: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Precision of the operands of products; bf16 is faster where the processor has it, and another picture
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
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
    args.dtype.choose()?;
    let model = TextToImage::load(&args.model, &context.device)?;
    if model.tokenizer.encode_padded(&args.prompt).truncated {
        let longest = model.tokenizer.max_length() - 2;
        context
            .bars
            .say(&format!("warning: the model reads {longest} tokens; the end of the prompt is cut off"));
    }
    let sampling = args.sampling.sampling(&model)?;
    let guidance = args.sampling.guidance()?;
    let requests: Vec<Request> = (0..args.n as u64)
        .map(|image_index| Request {
            prompt: args.prompt.clone(),
            negative_prompt: args.negative.clone(),
            guidance,
            image_index,
        })
        .collect();
    let initial = args.sampling.initial(&model, &requests, &sampling)?;

    context.bars.begin("sampling", 0, requests.len() * sampling.sampler.steps);
    let done = AtomicUsize::new(0);
    let batches: Vec<(usize, &[Request])> = requests.chunks(BATCH).enumerate().collect();
    let latents = in_parallel(batches, context.threads, |(batch, requests)| {
        let initial = initial.clone().narrow(0, batch * BATCH, requests.len());
        let mut on_step = |_: usize, _: usize| {
            let pictures = done.fetch_add(requests.len(), Ordering::Relaxed) + requests.len();
            context.bars.step(pictures, "");
        };
        model.sample(requests, &sampling, initial, None, &mut on_step)
    })?;
    context.bars.end("sampling");
    let latents = Tensor::cat(latents, 0);
    if let Some(path) = &args.save_latents {
        let shape = latents.dims().to_vec();
        let values = latents.to_data().iter::<f32>().collect();
        safetensors_io::write(path, &[NamedTensor { name: "latents".into(), shape, values }])?;
    }
    let images = model.decode(latents)?;
    let paths: Vec<PathBuf> = match images.len() {
        1 => vec![args.out.clone()],
        n => (0..n).map(|i| args.out.join(format!("{i:05}.png"))).collect(),
    };
    for (image, path) in images.iter().zip(&paths) {
        write_png(path, image)?;
    }
    if context.json {
        message::json(&serde_json::json!({
            "images": paths, "seed": sampling.seed, "steps": sampling.sampler.steps,
            "sampler": sampling.sampler.kind.name(), "dtype": args.dtype,
            "guidance": args.sampling.guidance, "width": sampling.width, "height": sampling.height,
        }));
    }
    Ok(())
}

/// Writes a PNG, whole or not at all.
pub fn write_png(path: &Path, image: &RgbImage) -> Result<()> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).map_err(|e| Error::format(path, "PNG", e))?;
    atomic::write(path, bytes.get_ref())
}
