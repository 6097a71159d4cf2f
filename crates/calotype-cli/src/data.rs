//! `calotype data render|inspect|time`: pictures for training, made, looked at, and how fast they come.

use std::path::PathBuf;

use calotype::Result;
use calotype::data::collection::CaptionNeed;
use calotype::data::collection::Collection;
use calotype::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Split, render_folder};
use calotype::data::inspection::{Inspection, inspect};
use calotype::data::open::{Faulty, open};
use calotype::data::timing::{Loading, LoadingRate};
use calotype::files::output;
use calotype::progress::Progress;
use clap::{Subcommand, ValueEnum};

use crate::message;
use crate::options::{ColumnOptions, Context};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write the embedded emoji-scenes as an image folder with captions and masks
    Render(Render),
    /// Sizes, shapes and captions of pictures; unreadable files and duplicates
    Inspect(Inspect),
    /// How many pictures a second become batches
    Time(Time),
}

#[derive(clap::Args)]
struct Render {
    /// Folder to write; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of scenes
    #[arg(short, long = "count", default_value_t = 100, value_name = "N")]
    n: u64,
    /// Side in pixels: 32, 64 or 128
    #[arg(long, default_value_t = 64)]
    size: u32,
    /// Another seed, other scenes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Most objects in a scene: 1 to 3
    #[arg(long, default_value_t = 3)]
    max_objects: usize,
    /// Which scenes
    #[arg(long, value_enum, default_value_t = SplitName::Train)]
    split: SplitName,
}

#[derive(clap::Args)]
struct Inspect {
    /// Image folder, folder of tar shards or parquet files, such files, or addresses of shards
    #[arg(required = true, num_args = 1.., value_name = "PATH")]
    data: Vec<String>,
    /// Name pictures whose shorter side has fewer pixels
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,
    #[command(flatten)]
    columns: ColumnOptions,
    /// Folder for downloads and copies
    #[arg(long, value_name = "DIR", default_value = ".calotype-cache")]
    cache: PathBuf,
}

#[derive(clap::Args)]
struct Time {
    /// Image folder, folder of tar shards or parquet files, such files, or addresses of shards
    #[arg(required = true, num_args = 1.., value_name = "PATH")]
    data: Vec<String>,
    /// Side of the training pictures in pixels
    #[arg(long, default_value_t = 64)]
    size: u32,
    /// Pictures in a batch
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Threads that prepare batches; 0 prepares each when it is asked for
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Passes over all pictures; the median is reported
    #[arg(long, default_value_t = 3)]
    passes: usize,
    #[command(flatten)]
    columns: ColumnOptions,
    /// Folder for downloads and copies
    #[arg(long, value_name = "DIR", default_value = ".calotype-cache")]
    cache: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum SplitName {
    /// Those that training sees
    Train,
    /// Pairs of nouns that training never sees together
    HeldOut,
    /// New scenes of pairs that training does see
    Seen,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    match &args.verb {
        Verb::Render(render) => {
            let config = EmojiScenesConfig {
                size: render.size,
                seed: render.seed,
                max_objects: render.max_objects,
                ..EmojiScenesConfig::default()
            };
            let split = match render.split {
                SplitName::Train => Split::Train,
                SplitName::HeldOut => Split::HeldOut,
                SplitName::Seen => Split::Seen,
            };
            output::require_folder("out", &render.out)?;
            render_folder(&EmojiScenes::new(config)?, split, render.n, &render.out)?;
            if context.json {
                message::json(&serde_json::json!({ "out": render.out, "scenes": render.n }));
            }
            Ok(())
        }
        Verb::Time(args) => time(args, context),
        Verb::Inspect(args) => {
            // Missing captions are what an inspection is for: they are counted, not refused.
            let collection = open(
                &args.data,
                CaptionNeed::Optional,
                Faulty::LeftOut,
                &args.columns.columns(),
                &args.cache,
            )?;
            let inspection = watched(collection.as_ref(), context);
            let left_out = collection.left_out();
            let small = args.size.map(|size| inspection.smaller_than(size)).unwrap_or_default();
            if context.json {
                message::json(&serde_json::json!({
                    "inspection": inspection, "problems": inspection.problems(), "smaller": small, "left_out": left_out,
                    "faults": inspection.faults,
                }));
            } else {
                print_inspection(&inspection, &small, left_out);
            }
            Ok(())
        }
    }
}

fn time(args: &Time, context: &Context) -> Result<()> {
    let loading = Loading {
        data: args.data.clone(),
        columns: args.columns.columns(),
        size: args.size,
        batch: args.batch,
        workers: args.workers,
        passes: args.passes,
        cache: args.cache.clone(),
    };
    let rate = loading.time(&context.device)?;
    if context.json {
        message::json(&rate);
    } else {
        let LoadingRate { median, workers, pictures, left_out, .. } = rate;
        println!("{median:.0} pictures a second with {workers} workers, {pictures} pictures");
        if left_out > 0 {
            println!("left out: {left_out}, listed by `calotype data inspect`");
        }
    }
    Ok(())
}

fn watched(collection: &dyn Collection, context: &Context) -> Inspection {
    context.bars.begin("pictures", 0, collection.len());
    let inspection = inspect(collection, context.threads, &|done| context.bars.step(done, ""));
    context.bars.end("pictures");
    inspection
}

/// Names in a list at most; --json has all.
const SHOWN: usize = 20;

fn print_inspection(inspection: &Inspection, small: &[&str], left_out: Vec<String>) {
    let Inspection { sizes, kinds, captions, .. } = inspection;
    println!("{} pictures, {} unreadable", inspection.count, inspection.unreadable.len());
    println!(
        "shorter side  {} to {} pixels, median {}",
        sizes.shorter_side.min, sizes.shorter_side.max, sizes.shorter_side.median
    );
    println!(
        "longer side   {} to {} pixels, median {}",
        sizes.longer_side.min, sizes.longer_side.max, sizes.longer_side.median
    );
    for counted in sizes.most_frequent.iter().take(5) {
        println!("  {:>11}  {}", counted.value, counted.count);
    }
    println!("shapes (width : height)");
    for shape in inspection.aspect_ratios.iter().filter(|shape| shape.count > 0) {
        println!("  {:>11}  {}", shape.ratio, shape.count);
    }
    println!(
        "files  {} JPEG, {} PNG, {} WebP, {} others; {} grey, {} with alpha, {} of 16 bits, {} turned by EXIF",
        kinds.jpeg,
        kinds.png,
        kinds.webp,
        kinds.gif + kinds.bmp + kinds.tiff,
        kinds.grey,
        kinds.alpha,
        kinds.sixteen_bit,
        kinds.rotated
    );
    println!(
        "captions  {} of {} pictures have one; {} different; {} to {} words, {:.1} on average",
        captions.pictures_with,
        inspection.count,
        captions.distinct,
        captions.words.min,
        captions.words.max,
        captions.words.mean
    );
    for counted in captions.most_frequent.iter().take(5) {
        println!("  {:>5}  {}", counted.count, counted.value);
    }
    list("left out", left_out.into_iter());
    let listed = inspection.faults.len() - inspection.unreadable.len();
    list("faults", inspection.faults[..listed].iter().map(ToString::to_string));
    list("unreadable", inspection.unreadable.iter().map(|one| one.reason.clone()));
    list("equal files", inspection.duplicates.iter().map(|group| joined(group, " = ")));
    list("look the same", inspection.near_duplicates.iter().map(|group| joined(group, " ~ ")));
    list("smaller than asked", small.iter().map(|&name| name.to_owned()));
    let problems = inspection.problems();
    if problems.is_empty() {
        println!("no problems");
    } else {
        list("problems", problems.into_iter());
    }
}

/// The first names of a group: thousands of pictures may look the same.
fn joined(group: &[String], between: &str) -> String {
    const SHOWN: usize = 5;
    let shown = group[..group.len().min(SHOWN)].join(between);
    if group.len() > SHOWN { format!("{shown} and {} more", group.len() - SHOWN) } else { shown }
}

fn list(what: &str, lines: impl ExactSizeIterator<Item = String>) {
    let count = lines.len();
    if count == 0 {
        return;
    }
    println!("{what}: {count}");
    lines.take(SHOWN).for_each(|line| println!("  {line}"));
    if count > SHOWN {
        println!("  … {} more: --json has all", count - SHOWN);
    }
}
