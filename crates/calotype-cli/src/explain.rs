//! `calotype explain`: which word lit which pixel.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use calotype::data::picture::{self, PictureInfo};
use calotype::explain::files::require_words;
use calotype::explain::heat_map::Baseline;
use calotype::explain::selection::{Heads, Layers, Selection};
use calotype::explain::{Explanation, Options, explain_pictures, explain_selected};
use calotype::files::npz::{self, Array};
use calotype::files::{atomic, output};
use calotype::model::Model;
use calotype::pipeline::given_picture::LOOKS;
use calotype::pipeline::text_to_image::Sampling;
use calotype::pipeline::{Generation, Request};
use calotype::progress::Progress;
use calotype::{Error, Result};
use serde_json::json;

use crate::generate::{ModelArgs, SamplingArgs};
use crate::message;
use crate::options::{Context, Destination};

#[derive(clap::Args)]
pub struct Args {
    /// What the picture should show; of a given picture, what it shows
    prompt: String,
    #[command(flatten)]
    model: ModelArgs,
    /// Explain this picture: noise is added to it at --steps timesteps [default: 10], and nothing is sampled
    #[arg(long, value_name = "FILE", conflicts_with_all = SAMPLERS)]
    image: Option<PathBuf>,
    /// Words to show, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "WORDS")]
    words: Vec<String>,
    /// Show each word's attention as it is, not what it has more than the other words
    #[arg(long)]
    absolute: bool,
    /// Average these layers alone, by the size of their grid: 16x16, or several separated by commas
    #[arg(long, default_value_t = Layers::All, value_name = "all|WxH")]
    layers: Layers,
    /// Average these heads of each layer alone, counted from 0: 0, or several separated by commas
    #[arg(long, default_value_t = Heads::All, value_name = "all|N")]
    heads: Heads,
    /// Average from this step of the sampler on, counted from 0; of a given picture from this timestep on, the noisiest
    /// first
    #[arg(long, default_value_t = 0, value_name = "N")]
    steps_from: usize,
    /// Average the steps before this one [default: all to the last]
    #[arg(long, value_name = "N")]
    steps_to: Option<usize>,
    /// Write an animated PNG for each word too, with a frame for each step
    #[arg(long)]
    animate: bool,
    /// Write heat_maps.npz too: the maps, and the attention at each step
    #[arg(long)]
    npz: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Folder for picture.png, one overlay for each word, and heat_maps.json [default: a new one, explanation]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What has no part in explaining a given picture.
const SAMPLERS: [&str; 7] =
    ["sampler", "eta", "schedule", "compat", "guidance", "guidance_rescale", "guidance_interval"];

impl Args {
    fn request(&self) -> Request {
        let request = Request { prompt: self.prompt.clone(), ..Request::default() };
        let request = self.sampling.of(self.model.of(request));
        match &self.image {
            // All of the steps are looked at.
            Some(image) => Request {
                init_image: Some(image.clone()),
                strength: Some(1.0),
                steps: request.steps.or(Some(LOOKS)),
                ..request
            },
            None => request,
        }
    }

    fn options(&self) -> Options {
        let baseline = if self.absolute { Baseline::Zero } else { Baseline::WordMean };
        let selection = Selection {
            layers: self.layers.clone(),
            heads: self.heads.clone(),
            from: self.steps_from,
            to: self.steps_to,
        };
        Options { baseline, selection, keeps_steps: self.animate || self.npz }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let out = Destination::new(args.out.as_deref(), "explanation", "");
    output::require_folder("out", &out.path)?;
    let request = args.request();
    let mut model = request.load(context.machine())?;
    // Of a given picture, what the network is told.
    let mut timesteps = None;
    if let Some(image) = &args.image {
        require_size(image, &model)?;
        timesteps = Some(model.noise_timesteps(request.steps.unwrap_or(LOOKS))?);
    }
    let generation = request.prepare(&model, 1)?;
    for picture in &generation.pictures {
        require_words(&model, picture, &generation.sampling, &args.words)?;
    }
    message::warnings(&generation.warnings, context);
    if args.image.is_none() {
        generation.read_prompts_and_drop_t5(&mut model)?;
    }
    let options = args.options();
    let Some(explanation) = explained(args, &model, &generation, &options, context)? else { return Ok(()) };
    write(args, &out.path, &explanation, &options, (&generation.sampling, timesteps), context)?;
    out.say(context);
    Ok(())
}

/// Refuses a picture of which no latent can be made.
fn require_size(image: &Path, model: &Model) -> Result<()> {
    let (f, name) = (model.side_multiple() as u32, image.display().to_string());
    let PictureInfo { width, height, .. } = picture::describe(&atomic::read(image)?, &name)?;
    if width < f || height < f {
        let expected = format!("a picture of at least {f} x {f} pixels");
        return Err(Error::argument("image", expected, format!("{width} x {height}")));
    }
    Ok(())
}

fn explained(
    args: &Args,
    model: &Model,
    generation: &Generation,
    options: &Options,
    context: &Context,
) -> Result<Option<Explanation>> {
    let Generation { pictures, sampling, origin, initial, .. } = generation;
    let total = match &args.image {
        Some(_) => options.selection.steps(sampling.sampler.steps).len(),
        None => sampling.sampler.steps,
    };
    context.bars.begin("explaining", 0, total);
    let on_step = &mut |done, _| {
        context.bars.step(done, "");
        ControlFlow::Continue(())
    };
    let explanations = match &origin.picture {
        Some(picture) => {
            explain_pictures(model, picture, pictures, sampling, initial.clone(), options, on_step)?
        }
        None => explain_selected(model, pictures, sampling, initial.clone(), options, on_step)?,
    };
    context.bars.end("explaining");
    Ok(explanations.into_iter().next())
}

/// Everything into the folder. `timesteps`: of a given picture, all of them.
fn write(
    args: &Args,
    out: &Path,
    explanation: &Explanation,
    options: &Options,
    (sampling, timesteps): (&Sampling, Option<Vec<f64>>),
    context: &Context,
) -> Result<()> {
    let mut words = explanation.write(out, &args.words)?;
    if args.animate {
        let files = explanation.write_animations(out, &args.words, options.baseline)?;
        words.iter_mut().zip(files).for_each(|(word, file)| word["animation"] = json!(file));
    }
    let chosen = options.selection.steps(sampling.sampler.steps);
    let timesteps = timesteps.map(|all| all[chosen.clone()].to_vec());
    if args.npz {
        let mut arrays = explanation.arrays(&args.words);
        if let Some(timesteps) = &timesteps {
            arrays.arrays.insert("timesteps".into(), Array::new(&[timesteps.len()], timesteps.clone()));
        }
        npz::write(&out.join("heat_maps.npz"), &arrays)?;
    }
    let mut value = json!({ "prompt": args.prompt, "seed": sampling.seed, "words": words,
        "layers": args.layers.to_string(), "steps": [chosen.start, chosen.end],
    });
    if args.heads != Heads::All {
        value["heads"] = json!(args.heads.to_string());
    }
    if let Some(timesteps) = timesteps {
        value["image"] = json!(args.image);
        value["timesteps"] = json!(timesteps);
    }
    atomic::write_json(&out.join("heat_maps.json"), &value)?;
    if context.json {
        message::json(&value);
    }
    Ok(())
}
