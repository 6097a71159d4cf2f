//! Where training takes its captioned pictures from.

use image::RgbImage;

use super::emoji_scenes::{EmojiScenes, Split};
use super::image_folder::ImageFolder;
use crate::error::{Error, Result};
use crate::rng::{Philox, Purpose};

/// Captioned pictures, numbered from 0 without end; number n is always the same.
pub trait CaptionedPictures: Sync {
    /// Picture and caption `n` of the run.
    ///
    /// # Errors
    /// `Error::Io` or `Error::Format` for a file that does not decode, `Error::Shape` for a size
    /// that the recipe does not have.
    fn get(&self, n: u64) -> Result<(RgbImage, String)>;
}

/// The endless training split of the embedded data.
#[derive(Debug)]
pub struct TrainingScenes(pub EmojiScenes);

impl CaptionedPictures for TrainingScenes {
    fn get(&self, n: u64) -> Result<(RgbImage, String)> {
        let scene = self.0.scene(Split::Train, n);
        Ok((scene.image, scene.caption))
    }
}

/// An image folder, in a new order each epoch.
#[derive(Debug)]
pub struct ShuffledFolder {
    /// The pictures.
    pub folder: ImageFolder,
    /// Seed of the order.
    pub seed: u64,
    /// Side that every picture must have, in pixels.
    pub size: u32,
}

impl CaptionedPictures for ShuffledFolder {
    fn get(&self, n: u64) -> Result<(RgbImage, String)> {
        let count = self.folder.len() as u64;
        let (epoch, place) = (n / count, n % count);
        let order = Philox::new(self.seed, Purpose::Batch, epoch).permutation(count as usize);
        let i = order[place as usize];
        let (image, caption) = self.folder.load(i)?;
        match image.dimensions() == (self.size, self.size) {
            true => Ok((image, caption)),
            false => Err(Error::shape(
                format!("picture {} of the folder", i + 1),
                format!("{0}x{0}, `data.size` of the recipe", self.size),
                format!("{}x{}", image.width(), image.height()),
            )),
        }
    }
}
