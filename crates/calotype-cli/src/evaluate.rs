//! `calotype evaluate`: generated pictures beside reference pictures, or a model that is asked.

mod benchmark;
mod localisation;

use std::path::PathBuf;

use calotype::data::emoji_scenes::Noun;
use calotype::evaluate::inception_v3::Tap;
use calotype::evaluate::protocol::Protocol;
use calotype::evaluate::set_metrics::MetricSettings;
use calotype::evaluate::{Comparison, ExtractorName, Measured, Metric, merge};
use calotype::files::output;
use calotype::shard::Shard;
use calotype::{Error, Result};
use clap::builder::TypedValueParser;
use serde_json::Value;

use self::benchmark::{Asked, BenchmarkArgs};
use self::localisation::LocalisationArgs;
use crate::message;
use crate::options::{Context, one_of};

/// Seed of shuffles, subsets and the localisation score's noise, where none is given.
const SEED: u32 = 2020;
/// Options that compare sets of pictures, and have no part in what a model is asked.
const OF_SETS: [&str; 17] = [
    "reference",
    "extractor",
    "weights",
    "lpips_weights",
    "protocol",
    "features",
    "metrics",
    "classes",
    "splits",
    "kid_subsets",
    "kid_subset_size",
    "k",
    "skip_broken",
    "stream",
    "stats_out",
    "shard",
    "merge",
];

#[derive(clap::Args)]
pub struct Args {
    /// Generated pictures: a folder, or an .npz of features or statistics
    #[arg(long, value_name = "DIR|NPZ", required_unless_present_any = ["merge", "model", "benchmark"])]
    generated: Option<PathBuf>,
    /// Reference pictures, likewise
    #[arg(long, value_name = "DIR|NPZ")]
    reference: Option<PathBuf>,
    /// What turns a picture into features: inception, clip, or FILE.onnx with its preprocessing in FILE.toml
    /// [default: clip if --weights is a folder, inception otherwise]
    #[arg(long, value_name = "NAME|ONNX")]
    extractor: Option<ExtractorName>,
    /// Inception's weights (.pth or .safetensors), or a model folder with clip/ and tokenizer/
    #[arg(long, value_name = "FILE|DIR")]
    weights: Option<PathBuf>,
    /// Weights of LPIPS: AlexNet's or VGG-16's of torchvision, and its linear layers, separated by a comma
    #[arg(long, value_delimiter = ',', value_name = "FILES")]
    lpips_weights: Vec<PathBuf>,
    /// How pictures become Inception's input: tf-fid (torch-fidelity), pytorch-fid or clean
    #[arg(long, default_value_t = Protocol::TfFid)]
    protocol: Protocol,
    /// Which of Inception's features: 64, 192, 768, 2048, logits_unbiased or logits
    #[arg(long, default_value_t = Tap::Pool3, value_name = "NAME")]
    features: Tap,
    /// Metrics, separated by commas [default: those of fid,is,kid,prdc that the sides allow; with clip
    /// fd-clip,is-clip; none if --stats-out is all that can be done]
    #[arg(long, value_delimiter = ',', value_parser = metric())]
    metrics: Vec<Metric>,
    /// Classes of CLIP's score, separated by commas [default: the 40 nouns of emoji-scenes]
    #[arg(long, value_delimiter = ',', value_name = "TEXTS")]
    classes: Vec<String>,
    /// Splits of the Inception Score [default: 10; with clip 1]
    #[arg(long, value_name = "N")]
    splits: Option<usize>,
    /// Subsets of KID
    #[arg(long, default_value_t = 100, value_name = "N")]
    kid_subsets: usize,
    /// Pictures in a subset of KID, at most those of the smaller side
    #[arg(long, default_value_t = 1000, value_name = "N")]
    kid_subset_size: usize,
    /// Neighbours of precision, recall, density and coverage
    #[arg(long, default_value_t = 3)]
    k: usize,
    /// Seed of shuffles and subsets; with --localisation and --benchmark, of the noise [default: 2020; with --benchmark 0]
    #[arg(long)]
    seed: Option<u32>,
    /// Pictures in memory at a time; changes no number
    #[arg(long, default_value_t = 16, value_name = "N")]
    batch: usize,
    /// Leave out pictures that cannot be read, and count them
    #[arg(long)]
    skip_broken: bool,
    /// Keep mean and covariance of the features only: memory does not grow with the number of pictures. Gives
    /// fid without its standard error, and --stats-out
    #[arg(long)]
    stream: bool,
    /// Write the statistics of the generated side as .npz; without --reference and --metrics, do only that
    #[arg(long, value_name = "FILE")]
    stats_out: Option<PathBuf>,
    /// Of the generated pictures in the order of their names, this job's share, from 1/N to N/N: --stats-out has their
    /// features, and --merge of all shares those of one process
    #[arg(long, value_name = "I/N", requires = "stats_out", conflicts_with_all = ["reference", "metrics", "stream", "merge"])]
    shard: Option<Shard>,
    /// Merge statistics of parts of a set into --stats-out, and measure nothing
    #[arg(long, value_name = "NPZ", num_args = 2.., requires = "stats_out", conflicts_with = "generated")]
    merge: Vec<PathBuf>,
    /// Ask this model, in place of comparing pictures: folder in diffusers' layout, single file, or name on the hub
    #[arg(long, value_name = "DIR|FILE|NAME", requires = "asked_of_model", conflicts_with_all = OF_SETS, conflicts_with = "generated")]
    model: Option<PathBuf>,
    /// What the scenes are of that the model is asked about, separated by commas [default: those of the model's run, if its
    /// recipe.toml lies beside it; otherwise the 40 of emoji-scenes]
    #[arg(long, value_delimiter = ',', value_name = "NOUNS", requires = "asked_of_model")]
    nouns: Vec<Noun>,
    #[command(flatten)]
    localisation: LocalisationArgs,
    #[command(flatten)]
    benchmark: BenchmarkArgs,
}

/// The metrics, for the help.
fn metric() -> impl TypedValueParser<Value = Metric> {
    one_of(Metric::ALL.map(|metric| (metric.name(), metric.about())))
}

impl Args {
    /// What the library is asked for.
    fn comparison(&self) -> Result<Comparison> {
        let generated = self.generated.clone();
        Ok(Comparison {
            generated: generated.ok_or_else(|| Error::argument("--generated", "a side", "none"))?,
            reference: self.reference.clone(),
            extractor: self.extractor.clone(),
            weights: self.weights.clone(),
            lpips_weights: self.lpips_weights.clone(),
            protocol: self.protocol,
            features: self.features,
            metrics: self.metrics.clone(),
            classes: self.classes.clone(),
            splits: self.splits,
            settings: MetricSettings {
                kid_subsets: self.kid_subsets,
                kid_subset_size: self.kid_subset_size,
                k: self.k,
                seed: self.seed.unwrap_or(SEED),
                ..MetricSettings::default()
            },
            batch: self.batch,
            skip_broken: self.skip_broken,
            stream: self.stream,
            stats_out: self.stats_out.clone(),
            shard: self.shard,
        })
    }
}

impl Args {
    /// Of whom the benchmark is.
    fn asked(&self) -> Asked<'_> {
        Asked {
            model: self.model.as_deref(),
            generated: self.generated.as_deref(),
            nouns: &self.nouns,
            seed: self.seed.map(u64::from),
            batch: self.batch,
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    if let Some(model) = args.model.as_ref().filter(|_| args.localisation.localisation) {
        return args.localisation.run(model, &args.nouns, args.seed.unwrap_or(SEED).into(), context);
    }
    if args.benchmark.benchmark.is_some() {
        return args.benchmark.run(&args.asked(), context);
    }
    if let Some(out) = &args.stats_out {
        output::require_file("stats_out", out)?;
    }
    if let Some(out) = args.stats_out.as_ref().filter(|_| !args.merge.is_empty()) {
        let merged = merge(&args.merge, out)?;
        warn(&merged.warnings);
        if context.json {
            message::json(&merged);
        } else {
            println!("merged {} files of {} pictures", merged.merged, merged.n.unwrap_or(0));
        }
        return Ok(());
    }
    let measured = args.comparison()?.run(&context.device, &context.bars)?;
    warn(&measured.warnings);
    if context.json {
        message::json(&measured.to_json(env!("CALOTYPE_COMMIT")));
    } else {
        print(&measured);
    }
    Ok(())
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// How many pairs are equal, and the value of the others; nothing where none is.
fn equal_pairs(report: &Value) -> String {
    let (Some(equal), Some(all)) = (report["equal_pairs"].as_u64(), report["n_generated"].as_u64()) else {
        return String::new();
    };
    match report["value_of_different_pairs"].as_f64() {
        Some(value) => format!("  {equal} of {all} pairs are equal; {value:.4} for the others"),
        None => format!("  all {all} pairs are equal"),
    }
}

fn print(Measured { numbers, .. }: &Measured) {
    for (name, report) in numbers {
        if let Some(reason) = report["reason"].as_str() {
            println!("{name}  not measured: {reason}");
        }
        // The PSNR of equal pictures is infinite, which no number of JSON is.
        let infinite = report["equal_pairs"].is_u64().then_some(f64::INFINITY);
        let Some(value) = report["value"].as_f64().or(infinite) else { continue };
        let error = report["standard_error"].as_f64().map_or(String::new(), |error| format!(" ± {error:.4}"));
        let sides = [("generated", &report["n_generated"]), ("reference", &report["n_reference"])];
        let sides: Vec<String> =
            (sides.iter().filter(|(_, n)| !n.is_null())).map(|(side, n)| format!("{side} {n}")).collect();
        // Statistics may come from a file that does not say of how many pictures.
        let sides = if sides.is_empty() { String::new() } else { format!("  ({})", sides.join(", ")) };
        println!("{name}  {value:.4}{error}{sides}{}", equal_pairs(report));
    }
    if let Some(written) = numbers.get("statistics") {
        let file = written["file"].as_str().unwrap_or_default();
        println!("statistics of {} pictures in {file}", written["n"]);
    }
}
