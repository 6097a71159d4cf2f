//! `calotype data render|inspect`

use std::path::PathBuf;

use calotype::Result;
use calotype::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Split, render_folder};
use calotype::data::image_folder::{Inspection, inspect};
use clap::{Subcommand, ValueEnum};

use crate::message;
use crate::options::Context;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write the embedded emoji-scenes as an image folder with captions and masks
    Render(Render),
    /// Count pictures and sizes; find unreadable files and missing captions
    Inspect {
        /// Image folder with metadata.jsonl
        dir: PathBuf,
    },
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
    /// Which compositions
    #[arg(long, value_enum, default_value_t = SplitName::Train)]
    split: SplitName,
}

#[derive(Clone, Copy, ValueEnum)]
enum SplitName {
    /// Those that training sees
    Train,
    /// Those that training never sees
    HeldOut,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    match &args.verb {
        Verb::Render(render) => {
            let config =
                EmojiScenesConfig { size: render.size, seed: render.seed, max_objects: render.max_objects };
            let split = match render.split {
                SplitName::Train => Split::Train,
                SplitName::HeldOut => Split::HeldOut,
            };
            render_folder(&EmojiScenes::new(config)?, split, render.n, &render.out)?;
            if context.json {
                message::json(&serde_json::json!({ "out": render.out, "scenes": render.n }));
            }
            Ok(())
        }
        Verb::Inspect { dir } => {
            let inspection = inspect(dir)?;
            match context.json {
                true => message::json(&inspection),
                false => print_inspection(&inspection),
            }
            Ok(())
        }
    }
}

fn print_inspection(inspection: &Inspection) {
    println!("{} lines, {} readable pictures", inspection.lines, inspection.images);
    for (size, count) in &inspection.sizes {
        println!("  {size}: {count}");
    }
    let words = inspection.caption_words;
    println!("captions: {} to {} words, {:.1} on average", words.min, words.max, words.mean);
    for (what, list) in [
        ("unreadable pictures", &inspection.unreadable_images),
        ("missing captions", &inspection.missing_captions),
        ("empty captions", &inspection.empty_captions),
        ("unusable lines", &inspection.bad_lines),
        ("pictures without a line", &inspection.images_without_line),
    ] {
        if !list.is_empty() {
            println!("{what}: {}", list.len());
        }
        for item in list {
            println!("  {item}");
        }
    }
    if inspection.problems() == 0 {
        println!("no problems");
    }
}
