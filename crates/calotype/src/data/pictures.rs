//! Pictures by number, whatever they come from: what a training set is made of.

use std::borrow::Cow;

use image::RgbImage;
use sha2::{Digest, Sha256};

use super::collection::Collection;
use super::emoji_scenes::{EmojiScenes, Split};
use super::item::DepictedObject;
use super::picture;
use crate::error::Result;

/// Pictures with their captions; number i is always the same.
pub trait Pictures: Send + Sync {
    /// How many there are, at least 1; `None` if they have no end.
    fn count(&self) -> Option<u64>;

    /// Where picture `i` lies, for messages.
    fn name(&self, i: u64) -> String;

    /// Its captions: any number of them.
    fn captions(&self, i: u64) -> Cow<'_, [String]>;

    /// Its pixels, upright, transparent parts laid over `background`.
    ///
    /// # Errors
    /// `Error::Io` or `Error::Format`, with the name, for a picture that cannot be read.
    fn picture(&self, i: u64, background: [u8; 3]) -> Result<RgbImage>;

    /// Picture and captions together, for what makes both at once.
    ///
    /// # Errors
    /// As [`Pictures::picture`].
    fn captioned(&self, i: u64, background: [u8; 3]) -> Result<(RgbImage, Cow<'_, [String]>)> {
        Ok((self.picture(i, background)?, self.captions(i)))
    }

    /// What is known to be where in picture `i`: by default nothing.
    ///
    /// # Errors
    /// As [`Pictures::picture`].
    fn objects(&self, _i: u64) -> Result<Vec<DepictedObject>> {
        Ok(Vec::new())
    }

    /// A caption of picture `i` that exchanges two of its nouns, and is wrong for it; by default none is known.
    fn exchanged(&self, _i: u64) -> Option<String> {
        None
    }

    /// What of the source is not used, and why, each in a sentence.
    fn left_out(&self) -> Vec<String> {
        Vec::new()
    }

    /// Width and height of the upright picture.
    ///
    /// # Errors
    /// As [`Pictures::picture`].
    fn dimensions(&self, i: u64) -> Result<(u32, u32)>;

    /// What tells picture `i` from every other: a hash of its file.
    ///
    /// # Errors
    /// `Error::Io`.
    fn key(&self, i: u64) -> Result<[u8; 32]>;
}

/// The pictures of a collection of files.
pub struct CollectionPictures(pub Box<dyn Collection>);

impl Pictures for CollectionPictures {
    fn count(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    fn name(&self, i: u64) -> String {
        self.0.name(i as usize)
    }

    fn captions(&self, i: u64) -> Cow<'_, [String]> {
        Cow::Borrowed(self.0.captions(i as usize))
    }

    fn picture(&self, i: u64, background: [u8; 3]) -> Result<RgbImage> {
        picture::decode(&self.0.bytes(i as usize)?, &self.name(i), background)
    }

    /// Faults first: somebody may read the first lines alone.
    fn left_out(&self) -> Vec<String> {
        let faults = self.0.faults().into_iter().map(|fault| fault.to_string());
        faults.chain(self.0.left_out()).collect()
    }

    fn dimensions(&self, i: u64) -> Result<(u32, u32)> {
        let info = picture::describe(&self.0.bytes(i as usize)?, &self.name(i))?;
        Ok((info.width, info.height))
    }

    fn key(&self, i: u64) -> Result<[u8; 32]> {
        Ok(Sha256::digest(self.0.bytes(i as usize)?).into())
    }
}

/// One split of the embedded data, which has no end.
#[derive(Debug)]
pub struct Scenes {
    /// The scenes.
    pub scenes: EmojiScenes,
    /// Which of them.
    pub split: Split,
}

impl Pictures for Scenes {
    fn count(&self) -> Option<u64> {
        None
    }

    fn name(&self, i: u64) -> String {
        let config = self.scenes.config();
        format!("scene {i} of seed {} at {} pixels ({:?})", config.seed, config.size, self.split)
    }

    fn captions(&self, i: u64) -> Cow<'_, [String]> {
        Cow::Owned(vec![self.scenes.scene(self.split, i).caption])
    }

    fn picture(&self, i: u64, _: [u8; 3]) -> Result<RgbImage> {
        Ok(self.scenes.scene(self.split, i).image)
    }

    fn captioned(&self, i: u64, _: [u8; 3]) -> Result<(RgbImage, Cow<'_, [String]>)> {
        let scene = self.scenes.scene(self.split, i);
        Ok((scene.image, Cow::Owned(vec![scene.caption])))
    }

    fn exchanged(&self, i: u64) -> Option<String> {
        self.scenes.scene(self.split, i).exchanged_caption()
    }

    fn objects(&self, i: u64) -> Result<Vec<DepictedObject>> {
        let objects = self.scenes.scene(self.split, i).objects.into_iter();
        Ok(objects.map(|own| DepictedObject { noun: own.noun.name().to_owned(), mask: own.mask }).collect())
    }

    fn dimensions(&self, _: u64) -> Result<(u32, u32)> {
        let size = self.scenes.config().size;
        Ok((size, size))
    }

    /// A scene is a function of these numbers, and of the version of this program that draws it.
    fn key(&self, i: u64) -> Result<[u8; 32]> {
        let identity =
            format!("{:?} {:?} {i} {}", self.scenes.config(), self.split, env!("CARGO_PKG_VERSION"));
        Ok(Sha256::digest(identity.as_bytes()).into())
    }
}
