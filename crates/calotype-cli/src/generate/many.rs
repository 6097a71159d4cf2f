//! `calotype generate --prompts FILE`: a picture for each of many prompts, or a job's share of them.

use std::path::{Path, PathBuf};

use calotype::files::output;
use calotype::files::picture_format::PictureFormat;
use calotype::pipeline::{Request, prompt_list};
use calotype::shard::Shard;
use calotype::{Error, Result};
use serde_json::json;

use crate::message;
use crate::options::Context;

/// Where many prompts come from, and which of them are this job's.
#[derive(clap::Args)]
pub struct PromptsArgs {
    /// A picture for each of many prompts: .txt (a line each), .jsonl (as metadata.jsonl), or pictures with captions as
    /// training reads them; picture k of the folder --out has prompt k and number k of the seed, and what is there stays
    #[arg(long, value_name = "PATH", conflicts_with_all = ["prompt", "count", "first", "from", "init_latents", "save_latents"], requires = "out")]
    pub prompts: Option<PathBuf>,
    /// Of pictures with captions, those alone that a training with this `data.validation` does not see
    #[arg(long, value_name = "SHARE", requires = "prompts")]
    held_out: Option<f64>,
    /// This job's share of the prompts, from 1/N to N/N; pictures do not depend on it
    #[arg(long, value_name = "I/N", requires = "prompts")]
    shard: Option<Shard>,
}

/// Makes what is not there yet.
pub fn run(args: &PromptsArgs, path: &Path, request: &Request, out: &Path, context: &Context) -> Result<()> {
    output::require_folder("out", out)?;
    if let Some(share) = args.held_out.filter(|share| !(0.0..1.0).contains(share) || *share == 0.0) {
        return Err(Error::argument("held_out", "a share above 0 and below 1", share));
    }
    let prompts = prompt_list::read(path, args.held_out, &out.join("downloads"))?;
    let own = args.shard.map_or(0..prompts.len(), |shard| shard.own(prompts.len()));
    let file = |number: usize| out.join(format!("{number:05}.png"));
    let all = own.len();
    let missing: Vec<(u64, &str)> = own
        .filter(|&number| !file(number).is_file())
        .map(|number| (number as u64, prompts[number].as_str()))
        .collect();
    if missing.len() < all {
        context.bars.say(&format!("{} of {all} pictures are there already", all - missing.len()));
    }
    if !missing.is_empty() {
        context.bars.catch_ctrl_c();
        let mut model = request.load(context.machine())?;
        request.generate_list(&mut model, &missing, context.machine(), |number, picture, generation| {
            let record = generation.record(0);
            let texts: Vec<(&str, &str)> = record.iter().map(|(key, text)| (*key, text.as_str())).collect();
            PictureFormat::Png.write(&file(number as usize), picture, &texts)
        })?;
    }
    if context.json {
        message::json(&json!({
            "out": out, "prompts": prompts.len(), "pictures": all, "made": missing.len(),
        }));
    }
    Ok(())
}
