//! Where training takes its captioned pictures from.

use std::sync::{Mutex, PoisonError};

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

    /// The caption alone.
    ///
    /// # Errors
    /// As [`CaptionedPictures::get`].
    fn caption(&self, n: u64) -> Result<String> {
        Ok(self.get(n)?.1)
    }
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
    folder: ImageFolder,
    seed: u64,
    size: u32,
    /// The epoch asked for last, and its order.
    order: Mutex<(u64, Vec<usize>)>,
}

impl ShuffledFolder {
    /// `seed` decides the order; every picture must have a side of `size` pixels.
    pub fn new(folder: ImageFolder, seed: u64, size: u32) -> Self {
        let order = Mutex::new((0, epoch_order(seed, 0, folder.len())));
        Self { folder, seed, size, order }
    }

    /// Place of number `n` of the run in the folder's list.
    fn place(&self, n: u64) -> usize {
        let count = self.folder.len() as u64;
        let (epoch, i) = (n / count, (n % count) as usize);
        // The order is whole at any time, whatever happened to the thread that held the lock.
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.0 != epoch {
            *order = (epoch, epoch_order(self.seed, epoch, self.folder.len()));
        }
        order.1[i]
    }
}

fn epoch_order(seed: u64, epoch: u64, count: usize) -> Vec<usize> {
    Philox::new(seed, Purpose::Epoch, epoch).permutation(count)
}

impl CaptionedPictures for ShuffledFolder {
    fn get(&self, n: u64) -> Result<(RgbImage, String)> {
        let place = self.place(n);
        let (image, caption) = self.folder.load(place)?;
        match image.dimensions() == (self.size, self.size) {
            true => Ok((image, caption)),
            false => Err(Error::shape(
                format!("picture `{}`", self.folder.entries()[place].path.display()),
                format!("{0}x{0}, `data.size` of the recipe", self.size),
                format!("{}x{}", image.width(), image.height()),
            )),
        }
    }

    fn caption(&self, n: u64) -> Result<String> {
        Ok(self.folder.entries()[self.place(n)].caption.clone())
    }
}
