//! CLIP score of a folder of pictures and their captions.

use image::RgbImage;
use serde_json::{Value, json};

use super::clip_features;
use super::clip_score::{ClipScoreRule, clip_score};
use super::extractor::{ClipExtractor, Extractor};
use super::picture_set::{Decoding, SetFacts, decode};
use crate::data::collection::Collection;
use crate::data::image_folder::ImageFolder;
use crate::error::{Error, Result};

/// What [`measure_clip_score`] finds.
#[derive(Debug)]
pub struct OfCaptions {
    /// The score's report.
    pub report: Value,
    /// What was read.
    pub facts: SetFacts,
}

/// 100 · mean max(cos, 0) of pictures and their own captions, `batch` pictures at a time, which are read
/// as [`Decoding::Upright`] and must have the size of the vision tower. Captions longer than the text tower's
/// context are cut. `on_pictures` is told how many more are done.
///
/// Hessel et al. 2021, arXiv:2104.08718, Section 3, with torchmetrics' scale of 100 in the place of their 2.5.
///
/// # Errors
/// `Error::Data` for a picture without a caption, or if fewer than 2 are left; `Error::Io` and `Error::Format`
/// naming a picture that cannot be read, unless `skip_broken`; `Error::Shape` for pictures of another size than the tower's.
pub fn measure_clip_score(
    folder: &ImageFolder,
    extractor: &ClipExtractor,
    batch: usize,
    skip_broken: bool,
    on_pictures: &mut dyn FnMut(usize),
) -> Result<OfCaptions> {
    require_captions(folder)?;
    let (mut facts, mut cosines) = (SetFacts::default(), Vec::with_capacity(folder.len()));
    for entries in folder.entries().chunks(batch.max(1)) {
        let (mut pictures, mut captions) = (Vec::new(), Vec::new());
        for entry in entries {
            match decode(&entry.path, Decoding::Upright) {
                Ok(decoded) => {
                    pictures.push(facts.count(decoded));
                    // The first of several: one score for each picture.
                    captions.extend(entry.captions.first().cloned());
                }
                Err(_) if skip_broken => facts.broken.push(entry.path.display().to_string()),
                Err(error) => return Err(error),
            }
        }
        cosines.extend(cosines_of(extractor, &pictures, &captions)?);
        on_pictures(entries.len());
    }
    if cosines.len() < 2 {
        return Err(Error::data("captioned pictures", "at least 2 that can be read", cosines.len()));
    }
    Ok(OfCaptions { report: report(&cosines, extractor)?, facts })
}

/// Refuses pictures without captions.
///
/// # Errors
/// `Error::Data` for a picture without one.
pub(super) fn require_captions(folder: &ImageFolder) -> Result<()> {
    match folder.entries().iter().find(|entry| entry.captions.is_empty()) {
        Some(bare) => Err(Error::data(
            "captions",
            "one for each picture (metadata.jsonl, metadata.csv, or a .txt beside it)",
            format!("none for `{}`", bare.path.display()),
        )),
        None => Ok(()),
    }
}

/// Cosine of each picture with its caption: features are unit vectors.
fn cosines_of(extractor: &ClipExtractor, pictures: &[RgbImage], captions: &[String]) -> Result<Vec<f64>> {
    if pictures.is_empty() {
        return Ok(vec![]);
    }
    let of_images = clip_features::of_images(&extractor.clip, pictures, &extractor.device)?;
    let of_texts = clip_features::of_texts(&extractor.clip, &extractor.tokenizer, captions)?;
    let dot = |(x, y): (&[f32], &[f32])| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    let d = of_images.dimension;
    Ok(of_images.rows.chunks_exact(d).zip(of_texts.rows.chunks_exact(d)).map(dot).collect())
}

fn report(cosines: &[f64], extractor: &ClipExtractor) -> Result<Value> {
    let n = cosines.len() as f64;
    let value = clip_score(cosines, ClipScoreRule::ClampEach)?;
    let squares: f64 = cosines.iter().map(|cosine| (100.0 * cosine.max(0.0) - value).powi(2)).sum();
    let mut protocol = extractor.protocol();
    protocol["definition"] = json!("scale * mean over pictures of max(cos(picture, caption), 0)");
    protocol["rectified"] = json!(true);
    protocol["scale"] = json!(100);
    protocol["calotype"] = json!(env!("CARGO_PKG_VERSION"));
    protocol["note"] = json!("depends on the CLIP model: not comparable with the score of another");
    Ok(json!({
        "value": value, "standard_error": (squares / (n - 1.0) / n).sqrt(), "n_generated": cosines.len(),
        "mean_cosine": cosines.iter().sum::<f64>() / n, "protocol": protocol,
    }))
}
