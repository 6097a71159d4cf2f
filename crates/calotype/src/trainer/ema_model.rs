//! A model with an average of any length, after its training.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::optimizer::EmaConfig;
use super::optimizer::post_hoc_ema::{PowerProfile, coefficients, reconstruct, unexplained};
use crate::error::{Error, Result};
use crate::files::{NamedTensor, safetensors};
use crate::runs::folder::{RunFolder, TrainedPart, files_by_steps};

/// An average that was put together from stored ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReconstructedAverage {
    /// Stored averages that were combined.
    pub snapshots: usize,
    /// Steps at which the average ends.
    pub steps: usize,
    /// How much of the wanted profile the combination misses, relative; small is good.
    pub unexplained: f64,
}

/// Weight files of a part in a model folder, and what the names of their tensors are preceded by in a snapshot.
fn weight_files(part: TrainedPart) -> &'static [(&'static str, &'static str)] {
    match part {
        TrainedPart::Vae => &[("vae/diffusion_pytorch_model.safetensors", "autoencoder.")],
        TrainedPart::Clip => {
            &[("clip/model.safetensors", "clip."), ("text_encoder/model.safetensors", "clip.")]
        }
        TrainedPart::Diffusion => &[("unet/diffusion_pytorch_model.safetensors", "")],
    }
}

/// Writes a copy of the run's model to `out` in which `part` has the power function average of width `sigma_rel` at
/// the last snapshot, or at `steps`. Karras et al. 2024, arXiv:2312.02696, section 3.2.
///
/// # Errors
/// `Error::Argument` if `out` exists, σ_rel is out of range, or there is no snapshot at or after `steps`;
/// `Error::Io`, `Error::Format`; `Error::Weights` for a model of other tensors.
pub fn write_average(
    run: &RunFolder,
    part: TrainedPart,
    sigma_rel: f64,
    steps: Option<usize>,
    out: &Path,
) -> Result<ReconstructedAverage> {
    if out.exists() {
        return Err(Error::argument("out", "a new folder", out.display()));
    }
    let missing = |(file, _): &&(&str, &str)| !run.model().join(file).is_file();
    if let Some((file, _)) = weight_files(part).iter().find(missing) {
        let expected = format!("a run whose model has `{file}`");
        return Err(Error::argument("run", expected, run.path().display()));
    }
    let stored = stored(run, part)?;
    let last = stored.iter().map(|(steps, ..)| *steps).max().unwrap_or(0);
    let steps = steps.unwrap_or(last);
    let wanted = PowerProfile::new(steps, EmaConfig::Power { sigma_rel })?;
    let profiles = stored
        .iter()
        .map(|(steps, sigma_rel, _)| PowerProfile::new(*steps, EmaConfig::Power { sigma_rel: *sigma_rel }))
        .collect::<Result<Vec<_>>>()?;
    let coefficients = coefficients(&profiles, wanted)?;
    let tensors = reconstruct(&coefficients, |i| {
        let (_, sigma_rel, path) = &stored[i];
        let start = format!("{sigma_rel}.");
        let all = safetensors::read(path)?.into_values();
        let own = all.filter_map(|tensor| {
            let name = tensor.name.strip_prefix(&start)?.to_owned();
            Some(NamedTensor { name, ..tensor })
        });
        Ok(own.collect::<Vec<_>>())
    })?;
    copy_folder(&run.model(), out)?;
    for (file, start) in weight_files(part) {
        replace_tensors(&out.join(file), &tensors, start)?;
    }
    let unexplained = unexplained(&profiles, &coefficients, wanted);
    Ok(ReconstructedAverage { snapshots: stored.len(), steps, unexplained })
}

/// Steps, σ_rel and file of every stored average.
fn stored(run: &RunFolder, part: TrainedPart) -> Result<Vec<(usize, f64, PathBuf)>> {
    let mut stored = Vec::new();
    for (steps, path) in files_by_steps(&run.ema(part))? {
        let names = safetensors::open(&path)?.into_keys();
        // `0.05.conv_in.weight`: a number, then the name.
        let width = |name: String| -> Option<String> {
            let (whole, rest) = name.split_once('.')?;
            Some(format!("{whole}.{}", rest.split_once('.')?.0))
        };
        let mut widths: Vec<String> = names.filter_map(width).collect();
        widths.sort();
        widths.dedup();
        let number = |text: String| text.parse().map_err(|e| Error::format(&path, "stored average", e));
        for width in widths {
            stored.push((steps, number(width)?, path.clone()));
        }
    }
    if stored.is_empty() {
        let expected = format!("one whose recipe has `{part}.training.ema_snapshots`");
        let got = format!("`{}`, which has stored none", run.path().display());
        return Err(Error::argument("run", expected, got));
    }
    Ok(stored)
}

/// Puts `tensors` in the place of those of the same names, but for what stands before them.
fn replace_tensors(path: &Path, tensors: &[NamedTensor], start: &str) -> Result<()> {
    let mut file: Vec<NamedTensor> = safetensors::read(path)?.into_values().collect();
    file.sort_by(|a, b| a.name.cmp(&b.name));
    for tensor in &mut file {
        let found = tensors.iter().find(|own| own.name.strip_prefix(start) == Some(&tensor.name));
        let found = found.filter(|own| own.values.len() == tensor.values.len());
        let found = found.ok_or_else(|| {
            let expected = format!("{:?}", tensor.shape);
            Error::weights("stored average", path, &tensor.name, expected, "no such tensor")
        })?;
        tensor.values.clone_from(&found.values);
    }
    safetensors::write(path, &file)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(Error::io("create", to))?;
    for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
        let path = entry.map_err(Error::io("read", from))?.path();
        let new = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &new)?;
        } else {
            fs::copy(&path, &new).map_err(Error::io("write", &new))?;
        }
    }
    Ok(())
}
