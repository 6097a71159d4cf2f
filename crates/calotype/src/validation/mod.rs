//! What is looked at while a model trains: numbers and pictures of data that training does not see.
//!
//! Above the trainers, which know only that somebody looks ([`Watch`](crate::trainer::objective::Watch)), and above
//! the pipeline, the explanations and the metrics, which it uses.

mod autoencoder;
mod clip;
mod denoiser;
mod grid;
mod known_objects;
pub mod localisation;
pub mod localisation_score;
pub mod scene_words;
mod swap_choice;

pub use autoencoder::AutoencoderWatch;
pub use clip::ClipWatch;
pub use denoiser::DenoiserWatch;

use image::RgbImage;

use crate::data::source::TrainingSet;
use crate::error::Result;

/// Validation is the same for every run on the same pictures, so that runs compare.
pub const VALIDATION_SEED: u64 = 1841;

/// Pictures of a validation set, each once, with the first of their captions.
///
/// # Errors
/// `Error::Io` or `Error::Format` for a damaged one: a number over others would not compare.
fn first_pictures(data: &TrainingSet, most: usize) -> Result<(Vec<RgbImage>, Vec<String>)> {
    let caption = |picture: u64| data.pictures().captions(picture).first().cloned().unwrap_or_default();
    let places = data.all().into_iter().take(most);
    let pairs = places.map(|place| Ok((data.variant(place, false)?, caption(place.picture))));
    Ok(pairs.collect::<Result<Vec<_>>>()?.into_iter().unzip())
}
