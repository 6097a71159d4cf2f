//! `calotype data time`: how fast pictures become batches.

use std::sync::Arc;
use std::time::Instant;

use calotype::data::loader::prepared_ahead;
use calotype::data::open::{Captions, open};
use calotype::data::pictures::Encoded;
use calotype::data::source::TrainingSet;
use calotype::data::tensors::to_tensor;
use calotype::data::transform::Transform;
use calotype::{Error, Result};
use image::RgbImage;
use serde::Serialize;

use crate::message;
use crate::options::Context;

#[derive(clap::Args)]
pub struct Args {
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
    /// Folder for downloads and copies
    #[arg(long, value_name = "DIR", default_value = ".calotype-cache")]
    cache: std::path::PathBuf,
}

#[derive(Serialize)]
struct Throughput {
    pictures: usize,
    workers: usize,
    batch: usize,
    size: u32,
    /// Of each pass.
    pictures_per_second: Vec<f64>,
    median: f64,
}

/// Decodes, resizes, crops and flips every picture, and makes tensors of batches.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    for (name, value) in [("--batch", args.batch), ("--passes", args.passes)] {
        if value == 0 {
            return Err(Error::argument(name, "at least 1", 0));
        }
    }
    let pictures = Arc::new(Encoded(open(&args.data, Captions::Optional, &args.cache)?));
    let transform = Transform { flip: true, ..Transform::default() };
    let set = TrainingSet::new(pictures, None, 0, args.size, transform)?;
    let count = set.count().unwrap_or(0);
    let mut rates = Vec::new();
    for pass in 0..args.passes {
        let started = Instant::now();
        one_pass(args, context, &set, (pass * count) as u64, count)?;
        rates.push(count as f64 / started.elapsed().as_secs_f64());
    }
    let mut sorted = rates.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    let report = Throughput {
        pictures: count,
        workers: args.workers,
        batch: args.batch,
        size: args.size,
        pictures_per_second: rates,
        median,
    };
    match context.json {
        true => message::json(&report),
        false => println!("{median:.0} pictures a second with {} workers, {count} pictures", args.workers),
    }
    Ok(())
}

fn one_pass(args: &Args, context: &Context, set: &TrainingSet, first: u64, count: usize) -> Result<()> {
    let prepare = |step: usize| -> Result<Vec<RgbImage>> {
        let end = ((step + 1) * args.batch).min(count);
        (step * args.batch..end).map(|n| Ok(set.item(first + n as u64)?.image)).collect()
    };
    prepared_ahead(args.workers, 0..count.div_ceil(args.batch), prepare, |next| {
        for step in 0..count.div_ceil(args.batch) {
            to_tensor(&next(step)?, &context.device)?;
        }
        Ok(())
    })
}
