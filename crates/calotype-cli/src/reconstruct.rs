//! `calotype reconstruct`: pictures through the autoencoder and back.

use std::path::PathBuf;

use calotype::checkpoint::{self, StoredComponent};
use calotype::data::picture;
use calotype::evaluate::pixel::psnr_in_json;
use calotype::evaluate::{RoundTrip, round_trip};
use calotype::files::{output, png};
use calotype::model::ComponentKind;
use calotype::{Error, Result};

use crate::message;
use crate::options::Context;

#[derive(clap::Args)]
pub struct Args {
    /// Pictures
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Model folder, the folder of its vae, TAESD's two files in a folder, or a single file
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,
    /// Folder for the reconstructions
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    output::require_folder("out", &args.out)?;
    let vae = checkpoint::vae(StoredComponent::find(&args.model, ComponentKind::Vae)?, &context.device)?;
    let mut results = Vec::new();
    for path in &args.images {
        let original = picture::load(path)?;
        let RoundTrip { reconstruction, psnr, ssim } = round_trip(&vae, &original, &context.device)?;
        let name = path.file_stem().ok_or_else(|| Error::argument("picture", "a file", path.display()))?;
        let out = args.out.join(name).with_extension("png");
        png::write(&out, &reconstruction)?;
        if !context.json {
            println!("{}  PSNR {psnr:.2} dB  SSIM {ssim:.4}", path.display());
        }
        results.push(serde_json::json!({
            "image": path, "reconstruction": out, "psnr": psnr_in_json(psnr), "ssim": ssim,
        }));
    }
    if context.json {
        message::json(&serde_json::json!({ "images": results }));
    }
    Ok(())
}
