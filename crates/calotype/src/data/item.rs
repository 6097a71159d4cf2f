//! What training sees at a position of its run.

use image::{GrayImage, RgbImage};
use serde::Serialize;

/// One training picture, as pixels or encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Item<I = RgbImage> {
    /// The picture as the network will see it.
    pub image: I,
    /// One of its captions; empty if it has none.
    pub caption: String,
    /// Where it lies.
    pub name: String,
    /// Which picture it is.
    pub place: Place,
    /// Pictures that were to come before it and could not be read.
    pub damaged: Vec<Damaged>,
}

/// A thing in a picture, and what captions call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepictedObject {
    /// A word or several, as captions have them.
    pub noun: String,
    /// As large as the picture: 255 where it is visible, 0 where it is not.
    pub mask: GrayImage,
}

/// A picture that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damaged {
    /// Where it lies.
    pub name: String,
    /// Why: what the decoder says.
    pub reason: String,
}

/// Which picture stands at a position of the run, and the size that it is brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its number.
    pub picture: u64,
    /// Width and height.
    pub size: (u32, u32),
}
