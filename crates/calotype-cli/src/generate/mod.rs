//! `calotype generate`: pictures from a prompt.

mod many;
mod settings;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use calotype::files::output;
use calotype::files::picture_format::PictureFormat;
use calotype::pipeline::{Request, latents, record};
use calotype::{Error, Result};
use serde_json::{Value, json};

use many::PromptsArgs;
pub use settings::{ModelArgs, SamplingArgs};

use crate::message;
use crate::options::{Context, Destination};

#[derive(clap::Args)]
#[command(args_override_self = true)]
pub struct Args {
    /// What the picture should show
    #[arg(required_unless_present_any = ["from", "recorded_prompt", "prompts"])]
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
    /// Share of the steps that change the initial picture: 0 to 1 [default: 0.8, with Flux 0.6; 1 with a mask]
    #[arg(long, value_name = "F", requires = "init_image")]
    strength: Option<f64>,
    /// Paint only the white part of this picture, and keep the rest
    #[arg(long, value_name = "FILE", requires = "init_image")]
    mask: Option<PathBuf>,
    /// Show the network this picture: what Kontext changes as the prompt says, what Depth and Canny follow
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Guide Flux away from --negative too, by a second pass: scale, 1 is off
    #[arg(long, value_name = "S")]
    true_cfg: Option<f64>,
    /// Repeat the run that a PNG of `generate` records; options given beside it count instead
    #[arg(long, value_name = "PNG")]
    from: Option<PathBuf>,
    #[command(flatten)]
    many: PromptsArgs,
    /// Write the final scaled latents as tensor `latents`
    #[arg(long, value_name = "FILE")]
    save_latents: Option<PathBuf>,
    /// Picture: .png (which records the run), .jpg or .webp; with several pictures a folder [default: a new
    /// picture.png, or folder pictures]
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
}

impl Args {
    fn request(&self) -> Request {
        let prompt = self.prompt.as_ref().or(self.recorded_prompt.as_ref()).cloned();
        let request = Request {
            prompt: prompt.unwrap_or_default(),
            negative: self.negative.clone(),
            first: self.first,
            init_image: self.init_image.clone(),
            strength: self.strength,
            mask: self.mask.clone(),
            reference: self.reference.clone(),
            true_cfg: self.true_cfg,
            ..Request::default()
        };
        self.sampling.of(self.model.of(request))
    }

    /// The picture or folder that is written.
    fn destination(&self) -> Destination {
        let (name, extension) = if self.n == 1 { ("picture", ".png") } else { ("pictures", "") };
        Destination::new(self.out.as_deref(), name, extension)
    }

    /// Where each picture goes.
    fn paths(&self, out: &Path) -> Vec<PathBuf> {
        match self.n {
            1 => vec![out.to_owned()],
            n => (0..n).map(|i| out.join(format!("{i:05}.png"))).collect(),
        }
    }

    /// Refuses paths that nothing can be written to; the kind of the pictures.
    fn format(&self, out: &Path) -> Result<PictureFormat> {
        if let Some(latents) = &self.save_latents {
            output::require_file("save_latents", latents)?;
            if latents == out {
                return Err(Error::argument("save_latents", "another file than `out`", latents.display()));
            }
        }
        if self.n == 1 {
            output::require_file("out", out)?;
            return PictureFormat::of("out", out);
        }
        if PictureFormat::is_named_by(out) && !out.is_dir() {
            let (n, got) = (self.n, format!("`{}`, the name of a picture", out.display()));
            return Err(Error::argument("out", format!("a folder for {n} pictures"), got));
        }
        output::require_folder("out", out)?;
        Ok(PictureFormat::Png)
    }

    /// The picture whose run is to be repeated.
    pub fn repeats(&self) -> Option<&Path> {
        self.from.as_deref()
    }
}

/// The settings that a picture records, as arguments.
pub fn recorded_arguments(path: &Path) -> Result<Vec<OsString>> {
    let mut arguments = Vec::new();
    for (name, value) in record::read(path)?.settings() {
        let values = match value {
            Value::Array(values) => values,
            Value::Bool(false) => continue,
            other => vec![other],
        };
        arguments.extend(values.into_iter().map(|value| match value {
            Value::Bool(true) => format!("--{name}").into(),
            Value::String(text) => format!("--{name}={text}").into(),
            number => format!("--{name}={number}").into(),
        }));
    }
    Ok(arguments)
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    if args.n == 0 {
        return Err(Error::argument("-n", "at least 1", 0));
    }
    let out = args.destination();
    if let Some(prompts) = &args.many.prompts {
        return many::run(&args.many, prompts, &args.request(), &out.path, context);
    }
    let format = args.format(&out.path)?;
    if !format.holds_texts() {
        context.bars.say(&format!(
            "{}: a {} does not record its run; --from repeats PNGs alone",
            out.path.display(),
            format.name()
        ));
    }
    let mut clock = Clock::start();
    let request = args.request();
    let mut model = request.load(context.machine())?;
    clock.lap("load");
    let generation = request.prepare(&model, args.n)?;
    message::warnings(&generation.warnings, context);
    generation.read_prompts_and_drop_t5(&mut model)?;
    clock.lap("text");
    let latents = generation.sample(&model, context.machine())?;
    clock.lap("sample");
    if let Some(path) = &args.save_latents {
        latents::write(path, &latents)?;
    }
    let images = generation.decode(&model, latents, &context.bars)?;
    clock.lap("decode");
    let paths = args.paths(&out.path);
    for (i, (image, path)) in images.iter().zip(&paths).enumerate() {
        let record = generation.record(i);
        let texts: Vec<(&str, &str)> = record.iter().map(|(key, text)| (*key, text.as_str())).collect();
        format.write(path, image, &texts)?;
    }
    out.say(context);
    if context.json {
        let filled = &generation.request;
        message::json(&json!({
            "images": paths, "seed": filled.seed, "steps": filled.steps, "sampler": filled.sampler,
            "dtype": filled.dtype, "guidance": filled.guidance, "width": filled.width, "height": filled.height,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_a_request_is_an_option() {
        let command = <Args as clap::Args>::augment_args(clap::Command::new("generate"));
        let options: Vec<&str> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
        for name in Request::names() {
            assert!(options.contains(&name.as_str()), "--{name}");
        }
    }
}
