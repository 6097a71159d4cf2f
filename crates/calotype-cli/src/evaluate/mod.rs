//! `calotype evaluate`

use std::path::PathBuf;

use calotype::evaluate::inception_v3::Tap;
use calotype::evaluate::paired::{PairedMetric, measure_pairs};
use calotype::evaluate::picture_set::{PictureSet, Reading, SetFacts};
use calotype::evaluate::protocol::Protocol;
use calotype::evaluate::set_metrics::{SetMetric, Settings, measure};
use calotype::evaluate::side::Side;
use calotype::evaluate::{captioned, warnings};
use calotype::{Error, Result};
use serde_json::{Map, Value, json};

use self::extractors::ExtractorName;
use self::metric::Metric;
use self::sources::Sources;
use crate::message;
use crate::options::Context;

mod captions;
mod extractors;
mod metric;
mod sources;

#[derive(clap::Args)]
pub struct Args {
    /// Generated pictures: a folder, or an .npz of features or statistics
    #[arg(long, value_name = "DIR|NPZ", required_unless_present = "merge")]
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
    #[arg(long, value_enum, value_delimiter = ',')]
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
    /// Seed of shuffles and subsets
    #[arg(long, default_value_t = 2020)]
    seed: u32,
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
    /// Merge statistics of parts of a set into --stats-out, and measure nothing
    #[arg(long, value_name = "NPZ", num_args = 2.., requires = "stats_out", conflicts_with = "generated")]
    merge: Vec<PathBuf>,
}

/// What goes to the user.
#[derive(Default)]
struct Report {
    numbers: Map<String, Value>,
    warnings: Vec<String>,
}

impl Report {
    fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        for warning in warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// What a folder holds; the first reading of it counts.
    fn facts(&mut self, side: &str, facts: &SetFacts) {
        self.numbers.entry(format!("{side}_set")).or_insert(json!(facts));
    }
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    if !args.merge.is_empty() {
        return merge(args, context).map_err(Error::of_data);
    }
    // What cannot be measured is refused before the first picture is read.
    let of_sets = args.metrics.is_empty() || args.metrics.iter().any(|metric| metric.of_sets().is_some());
    let sources = match of_sets || args.stats_out.is_some() {
        true => Some(Sources::open(args, context)?),
        false => None,
    };
    let metrics = match &sources {
        Some(sources) => sources.plan(args)?,
        None => args.metrics.clone(),
    };
    let pairs = metrics.iter().map(|metric| metric.of_pairs(args, context)).collect::<Result<Vec<_>>>()?;
    let pairs: Vec<PairedMetric> = pairs.into_iter().flatten().collect();
    let folders = if pairs.is_empty() { None } else { Some(two_folders(args)?) };
    let captions = match metrics.contains(&Metric::ClipScore) {
        true => Some(captions::Captions::open(args, context)?),
        false => None,
    };

    let mut report = Report::default();
    if let Some(sources) = sources {
        let sets: Vec<SetMetric> = metrics.iter().filter_map(|metric| metric.of_sets()).collect();
        sets_of(sources, &sets, args, context, &mut report)?;
    }
    if let Some((generated, reference)) = folders {
        let found = measure_pairs(&pairs, &generated, &reference, args.batch, args.skip_broken);
        let found = found.map_err(Error::of_data)?;
        report.numbers.extend(found.reports);
        let (ours, theirs) = (&found.generated, &found.reference);
        report.warn(warnings::of_pictures(Some(ours), Some(theirs), Reading::Upright));
        report.facts("generated", ours);
        report.facts("reference", theirs);
    }
    if let Some(captions) = captions {
        let captioned::OfCaptions { report: score, facts } = captions.measure(args, context)?;
        report.numbers.insert("clip-score".into(), score);
        report.warn(warnings::of_pictures(Some(&facts), None, Reading::Upright));
        report.facts("generated", &facts);
    }
    print(report, context);
    Ok(())
}

/// Metrics of sets, and the statistics.
fn sets_of(
    sources: Sources,
    metrics: &[SetMetric],
    args: &Args,
    context: &Context,
    report: &mut Report,
) -> Result<()> {
    let suffix = sources.suffix();
    let settings = Settings {
        splits: args.splits.unwrap_or(if suffix == "-clip" { 1 } else { 10 }),
        kid_subsets: args.kid_subsets,
        kid_subset_size: args.kid_subset_size,
        k: args.k,
        seed: args.seed,
    };
    let (generated, reference) = sources.extract(metrics, args, context)?;
    report.warn(warnings::of_sides(&generated, reference.as_ref()));
    for &metric in metrics {
        let found = measure(metric, &generated, reference.as_ref(), &settings, &suffix);
        report.numbers.extend(found.map_err(Error::of_data)?);
    }
    if metrics.contains(&SetMetric::Kid) {
        report.warn(reference.as_ref().and_then(|reference| settings.subset_warning(&generated, reference)));
    }
    for (name, side) in [("generated", Some(&generated)), ("reference", reference.as_ref())] {
        if let Some(facts) = side.and_then(|side| side.facts.as_ref()) {
            report.facts(name, facts);
        }
    }
    if let Some(path) = &args.stats_out {
        generated.write_statistics(path).map_err(Error::of_data)?;
        let written = json!({
            "file": path, "n": generated.n(), "features": generated.dimension(),
            "protocol": generated.protocol.to_json(),
        });
        report.numbers.insert("statistics".into(), written);
    }
    Ok(())
}

fn is_npz(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "npz")
}

/// The sides of metrics of pairs.
fn two_folders(args: &Args) -> Result<(PictureSet, PictureSet)> {
    match (&args.generated, &args.reference) {
        (Some(generated), Some(reference)) if !is_npz(generated) && !is_npz(reference) => {
            Ok((PictureSet::open(generated)?, PictureSet::open(reference)?))
        }
        _ => {
            Err(Error::argument("--generated and --reference", "two folders of pictures", "other").of_data())
        }
    }
}

fn merge(args: &Args, context: &Context) -> Result<()> {
    let mut parts = args.merge.iter();
    let first = parts.next().ok_or_else(|| Error::argument("--merge", "two files", "none"))?;
    let mut merged = Side::read(first)?;
    for part in parts {
        merged = merged.merge(&Side::read(part)?)?;
    }
    if let Some(path) = &args.stats_out {
        merged.write_statistics(path)?;
    }
    let mut warnings = Vec::new();
    if !merged.protocol.is_known() {
        warnings.push(
            "the files do not say how their features were made (no protocol.json), nor will this".into(),
        );
    }
    say(&warnings);
    if context.json {
        message::json(&json!({ "n": merged.n(), "merged": args.merge.len(), "warnings": warnings }));
    } else {
        println!("merged {} files of {} pictures", args.merge.len(), merged.n().unwrap_or(0));
    }
    Ok(())
}

fn say(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

fn print(Report { mut numbers, warnings }: Report, context: &Context) {
    say(&warnings);
    if context.json {
        numbers.insert("warnings".into(), json!(warnings));
        let versions = json!({ "calotype": env!("CARGO_PKG_VERSION"), "commit": env!("CALOTYPE_COMMIT") });
        numbers.insert("versions".into(), versions);
        return message::json(&numbers);
    }
    for (name, report) in &numbers {
        let Some(value) = report["value"].as_f64() else { continue };
        let error = report["standard_error"].as_f64().map_or(String::new(), |error| format!(" ± {error:.4}"));
        let sides = [("generated", &report["n_generated"]), ("reference", &report["n_reference"])];
        let sides: Vec<String> =
            (sides.iter().filter(|(_, n)| !n.is_null())).map(|(side, n)| format!("{side} {n}")).collect();
        println!("{name}  {value:.4}{error}  ({})", sides.join(", "));
    }
    if let Some(written) = numbers.get("statistics") {
        println!(
            "statistics of {} pictures in {}",
            written["n"],
            written["file"].as_str().unwrap_or_default()
        );
    }
}
