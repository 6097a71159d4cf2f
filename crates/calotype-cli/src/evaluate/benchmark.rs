//! `calotype evaluate --benchmark NAME`: how much of frozen prompts the pictures of a model, or of any program, show.

use std::path::{Path, PathBuf};

use calotype::data::emoji_scenes::Noun;
use calotype::evaluate::benchmark::{Benchmark, PromptSet, SCENE_SEED};
use calotype::files::output;
use calotype::pipeline::Request;
use calotype::prompt_benchmark::{COLUMNS, Known, Outcome, of_model, of_pictures};
use calotype::sampler::SamplerKind;
use calotype::{Error, Result};
use clap::builder::TypedValueParser;

use super::OF_SETS;
use crate::message;
use crate::options::{Context, one_of};

/// What asks no model, and so samples nothing.
const OF_PICTURES: [&str; 2] = ["generated", "write_prompts"];

/// Options of a benchmark.
#[derive(clap::Args)]
#[command(next_help_heading = "Benchmark of prompts (docs/benchmark.md)")]
pub struct BenchmarkArgs {
    /// Measure how much of frozen prompts the pictures show, those of --model or of --generated
    #[arg(long, value_parser = benchmark(), group = "asked_of_model", conflicts_with_all = OF_SETS)]
    pub benchmark: Option<Benchmark>,
    /// Prompts about unseen pairs of nouns, and as many about seen pairs
    #[arg(long, value_name = "N", default_value_t = 500, requires = "benchmark")]
    prompts: usize,
    /// Objects in a prompt at most: 2 or 3 [default: as the recipe of the model's run; otherwise 2]
    #[arg(long, value_name = "N", requires = "benchmark")]
    max_objects: Option<usize>,
    /// Other scenes than the frozen ones, to tune on
    #[arg(long, value_name = "N", default_value_t = SCENE_SEED, requires = "benchmark")]
    scene_seed: u64,
    /// Steps of the sampler [default: 30]
    #[arg(long, value_name = "N", requires = "model", conflicts_with_all = OF_PICTURES)]
    steps: Option<usize>,
    #[arg(long, requires = "model", conflicts_with_all = OF_PICTURES, help = sampler_help())]
    sampler: Option<SamplerKind>,
    /// Guidance scale; 1 is off [default: 7.5 for models with OpenAI's vocabulary, 3 for others]
    #[arg(long, requires = "model", conflicts_with_all = OF_PICTURES)]
    guidance: Option<f64>,
    /// Write the prompts as JSON lines, and measure nothing: for another program, whose pictures --generated then takes
    #[arg(long, value_name = "FILE", requires = "benchmark", conflicts_with_all = ["model", "generated", "out"])]
    write_prompts: Option<PathBuf>,
    /// Folder for report.html, benchmark.json and, with --model, the pictures
    #[arg(long, value_name = "DIR", requires = "benchmark")]
    out: Option<PathBuf>,
}

/// The benchmarks, for the help.
fn benchmark() -> impl TypedValueParser<Value = Benchmark> {
    one_of(Benchmark::ALL.map(|benchmark| (benchmark.name(), benchmark.about())))
}

fn sampler_help() -> String {
    format!("Sampler: {} [default: as the model's scheduler_config.json says]", SamplerKind::names())
}

/// Of whom a benchmark is.
pub struct Asked<'a> {
    /// A model.
    pub model: Option<&'a Path>,
    /// Or a folder of pictures.
    pub generated: Option<&'a Path>,
    /// What the prompts are about; the usual nouns if there are none.
    pub nouns: &'a [Noun],
    /// Of the noise.
    pub seed: Option<u64>,
    /// Pictures at a time.
    pub batch: usize,
}

impl BenchmarkArgs {
    /// Measures, writes and prints.
    pub fn run(&self, asked: &Asked, context: &Context) -> Result<()> {
        let Asked { model, generated, seed, batch, .. } = *asked;
        if let Some(out) = &self.out {
            output::require_folder("out", out)?;
        }
        if let (Some(seed), None) = (seed, model) {
            return Err(Error::argument("seed", "`model` beside it: it is that of the noise", seed));
        }
        let prompts = self.prompts(asked, context)?;
        if let Some(file) = &self.write_prompts {
            return write_prompts(&prompts, file, context);
        }
        let (outcome, pictures) = match (model, generated) {
            (Some(model), _) => {
                let request = Request {
                    model: Some(model.to_owned()),
                    steps: self.steps,
                    sampler: self.sampler,
                    guidance: self.guidance,
                    seed,
                    ..Request::default()
                };
                let out = self.out.as_deref();
                (of_model(&prompts, &request, batch, out, context.machine())?, out)
            }
            (None, Some(folder)) => (of_pictures(&prompts, folder)?, Some(folder)),
            (None, None) => {
                let expected = "one of `model`, `generated` and `write-prompts` beside it";
                return Err(Error::argument("benchmark", expected, "none"));
            }
        };
        if let (Some(out), Some(pictures)) = (&self.out, pictures) {
            outcome.write(out, pictures, env!("CALOTYPE_COMMIT"))?;
            context.bars.say(&format!("report: {}", out.join("report.html").display()));
        }
        print(&outcome, context)
    }

    /// The prompts, about what the model's run says that it knows, where nothing else is asked for.
    fn prompts(&self, asked: &Asked, context: &Context) -> Result<PromptSet> {
        let open = asked.nouns.is_empty() || self.max_objects.is_none();
        let known = match asked.model {
            Some(model) if open => Known::of(model)?,
            _ => None,
        };
        if let Some(Known { nouns, max_objects, recipe }) = &known {
            let (recipe, n) = (recipe.display(), nouns.len());
            context.bars.say(&format!(
                "{recipe}: the model knows {n} nouns, up to {max_objects} objects; --nouns and --max-objects ask for others"
            ));
        }
        let usual = PromptSet::default();
        let (nouns, max_objects) = match known {
            Some(known) => (known.nouns, known.max_objects),
            None => (usual.nouns, usual.max_objects),
        };
        Ok(PromptSet {
            nouns: if asked.nouns.is_empty() { nouns } else { asked.nouns.to_vec() },
            max_objects: self.max_objects.unwrap_or(max_objects),
            scene_seed: self.scene_seed,
            count: self.prompts,
        })
    }
}

fn write_prompts(prompts: &PromptSet, file: &Path, context: &Context) -> Result<()> {
    output::require_file("write_prompts", file)?;
    prompts.write(file)?;
    let (n, sha256) = (2 * prompts.count, prompts.sha256()?);
    if context.json {
        message::json(&serde_json::json!({
            "benchmark": prompts.name(), "prompts": n, "sha256": sha256, "file": file,
        }));
    } else {
        println!("{n} prompts of {} in {}, sha256 {sha256}", prompts.name(), file.display());
    }
    Ok(())
}

fn print(outcome: &Outcome, context: &Context) -> Result<()> {
    if context.json {
        message::json(&outcome.to_json(env!("CALOTYPE_COMMIT"))?);
        return Ok(());
    }
    println!("{}\n", outcome.headline());
    let line = |[name, unseen, seen, other, rendered]: [String; 5]| {
        println!("{name:<33} {unseen:<31} {seen:<31} {other:<16} {rendered}");
    };
    line(COLUMNS.map(String::from));
    outcome.rows().into_iter().for_each(line);
    Ok(())
}
