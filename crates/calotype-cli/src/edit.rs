//! `calotype edit`: a picture changed by its prompt.

use std::ops::ControlFlow;
use std::path::PathBuf;

use calotype::explain::prompt_to_prompt::{Blend, Edit, Edited, WordWeight, edit};
use calotype::files::{atomic, output};
use calotype::model::Model;
use calotype::pipeline::{Generation, Request};
use calotype::progress::Progress;
use calotype::{Error, Result};
use serde_json::{Map, Value, json};

use crate::generate::{ModelArgs, SamplingArgs};
use crate::message;
use crate::options::{Context, Destination};

#[derive(clap::Args)]
pub struct Args {
    /// What the picture shows before the edit
    prompt: String,
    /// What it should show: the prompt with words exchanged, added or left out [default: the same, with --weight]
    #[arg(long, value_name = "PROMPT")]
    to: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// Share of the steps in which words are placed as in the first picture, from the first step: 0 to 1
    #[arg(long, default_value_t = Edit::default().cross, value_name = "SHARE")]
    cross: f64,
    /// Share of the steps in which shapes are those of the first picture: 0 to 1
    #[arg(long = "self", default_value_t = Edit::default().self_attention, value_name = "SHARE")]
    self_attention: f64,
    /// Multiply the attention to a word of the edited prompt: snow=2, mist=0; may be given several times
    #[arg(long, value_name = "WORD=FACTOR")]
    weight: Vec<WordWeight>,
    /// Change nothing outside of these words' places, separated by commas [default: the words that differ]
    #[arg(long, value_delimiter = ',', value_name = "WORDS", conflicts_with = "no_blend")]
    blend: Vec<String>,
    /// Let everything change
    #[arg(long)]
    no_blend: bool,
    /// What neither picture should show
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    negative: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Folder for source.png, edited.png, side-by-side.png, mask.png and edit.json [default: a new one, edit]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Args {
    /// Of the first picture, and of the edited one.
    fn requests(&self) -> [Request; 2] {
        let to = self.to.as_ref().unwrap_or(&self.prompt);
        [&self.prompt, to].map(|prompt| {
            let request = Request { prompt: prompt.clone(), ..Request::default() };
            let request = Request { negative: self.negative.clone(), ..request };
            self.sampling.of(self.model.of(request))
        })
    }

    fn edit(&self) -> Edit {
        let blend = if self.no_blend {
            Blend::Off
        } else if self.blend.is_empty() {
            Blend::Differing
        } else {
            Blend::Words(self.blend.clone())
        };
        Edit { cross: self.cross, self_attention: self.self_attention, weights: self.weight.clone(), blend }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let out = Destination::new(args.out.as_deref(), "edit", "");
    output::require_folder("out", &out.path)?;
    let requests = args.requests();
    let model = requests[0].load(context.machine())?;
    let generations = [requests[0].prepare(&model, 1)?, requests[1].prepare(&model, 1)?];
    let mut warnings = generations[0].warnings.clone();
    warnings
        .extend(generations[1].warnings.iter().filter(|new| !generations[0].warnings.contains(new)).cloned());
    message::warnings(&warnings, context);
    let edited = edited(args, &model, &generations, context)?;
    let pictures = generations[0].decode(&model, edited.latents.clone(), &context.bars)?;
    let [source, new] = &pictures[..] else {
        return Err(Error::shape("pictures of an edit", 2, pictures.len()));
    };
    let record = generations[0].record(0);
    let texts: Vec<(&str, &str)> = record.iter().map(|(key, text)| (*key, text.as_str())).collect();
    let mut value = edited.write(&out.path, [source, new], &texts)?;
    value["prompt"] = json!(args.prompt);
    value["to"] = json!(generations[1].request.prompt);
    value["cross"] = json!(args.cross);
    value["self"] = json!(args.self_attention);
    let weights = args.weight.iter().map(|weight| (weight.word.clone(), json!(weight.factor)));
    value["weights"] = Value::Object(weights.collect::<Map<String, Value>>());
    value["options"] = Value::Object(generations[0].request.settings());
    atomic::write_json(&out.path.join("edit.json"), &value)?;
    out.say(context);
    if context.json {
        message::json(&value);
    }
    Ok(())
}

fn edited(args: &Args, model: &Model, [source, new]: &[Generation; 2], context: &Context) -> Result<Edited> {
    let sampling = &source.sampling;
    context.bars.begin("editing", 0, sampling.sampler.steps);
    let on_step = &mut |done, _| {
        context.bars.step(done, "");
        ControlFlow::Continue(())
    };
    let requests = [&source.pictures[0], &new.pictures[0]];
    let edited = edit(model, requests, sampling, source.initial.clone(), &args.edit(), on_step)?;
    context.bars.end("editing");
    Ok(edited)
}
