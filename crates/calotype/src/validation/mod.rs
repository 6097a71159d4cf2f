//! What is looked at while a model trains: numbers and pictures of data that training does not see.
//!
//! Above the trainers, which know only that somebody looks ([`Watch`](crate::trainer::objective::Watch)), and above
//! the pipeline, the explanations and the metrics, which it uses.

mod autoencoder;
mod clip;
mod denoiser;
mod grid;

pub use autoencoder::AutoencoderWatch;
pub use clip::ClipWatch;
pub use denoiser::DenoiserWatch;

use image::RgbImage;

use crate::data::source::TrainingSet;
use crate::error::Result;

/// The first pictures of a validation set, each once, with their captions; damaged ones give their place to the
/// next.
fn first_pictures(data: &TrainingSet, most: usize) -> Result<(Vec<RgbImage>, Vec<String>)> {
    let count = data.count().map_or(most, |count| count.min(most));
    let items = (0..count as u64).map(|n| data.item(n)).collect::<Result<Vec<_>>>()?;
    Ok(items.into_iter().map(|item| (item.image, item.caption)).unzip())
}
