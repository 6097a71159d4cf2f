//! Finds the objects of emoji-scenes in a picture, to measure prompt accuracy.
//!
//! That is how often a generated picture shows what its caption says.
//!
//! The detector never sees the prompt. Everywhere the noun that fits best wins, as in a classifier;
//! only then is the prompt compared with what was found.

mod matching;
mod template;
mod verdict;

use image::RgbImage;
use serde::Serialize;

use crate::data::emoji_scenes::{Colour, Noun, Rect, SceneSpec, Size};
use crate::{Error, Result};
use matching::{Match, Planes};
use template::{CANVAS, Template};

pub use verdict::Verdict;

/// The least correlation of a detection.
const THRESHOLD: f32 = 0.6;
/// Of two detections that share more than this part of the smaller one's box, the weaker is dropped.
const MOST_SHARED: f32 = 0.25;

/// Finds sprites by template matching: zero-mean normalised cross-correlation of the colours, the
/// picture against each noun at each size on the picture's own background (Lewis 1995, "Fast
/// Normalized Cross-Correlation"). Contrast and brightness cancel, so a soft or pale picture is read
/// as well as a sharp one.
#[derive(Debug, Clone)]
pub struct SceneChecker {
    size: u32,
    templates: Vec<Template>,
}

/// An object that was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Detection {
    /// What it looks like most.
    pub noun: Noun,
    /// The size that fits best.
    pub size: Size,
    /// Its box in pixels of the picture.
    pub rect: Rect,
    /// Correlation with the noun's sprite, in [0.6, 1].
    pub score: f32,
}

/// What the checker sees in a picture, before it is told a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The objects, best first.
    pub detections: Vec<Detection>,
    /// The colour of scenes that is nearest to the background's.
    pub background: Colour,
}

impl SceneChecker {
    /// A checker of square pictures of `size` pixels.
    ///
    /// # Errors
    /// `Error::Argument` unless `size` is a multiple of 32 from 32 to 4096.
    pub fn new(size: u32) -> Result<Self> {
        if !(CANVAS..=4096).contains(&size) || !size.is_multiple_of(CANVAS) {
            return Err(Error::argument(
                "size of the checked pictures",
                "a multiple of 32, 32 to 4096",
                size,
            ));
        }
        Ok(Self { size, templates: Template::all()? })
    }

    /// Objects and background of a picture.
    ///
    /// # Errors
    /// `Error::Shape` if the picture has not the checker's size.
    pub fn read(&self, image: &RgbImage) -> Result<Reading> {
        self.require_size(image)?;
        let planes = Planes::new(image);
        let background = Colour::nearest(planes.background());
        Ok(Reading { detections: self.detect_in(&planes, image.dimensions()), background })
    }

    /// The objects in the picture, best first. A picture larger than 32×32 is scaled down to that
    /// before the search, so boxes are exact to one pixel in 32.
    pub fn detect(&self, image: &RgbImage) -> Vec<Detection> {
        if image.width() == 0 || image.height() == 0 {
            return Vec::new();
        }
        self.detect_in(&Planes::new(image), image.dimensions())
    }

    /// What is found in a picture of these `dimensions`.
    fn detect_in(&self, planes: &Planes, dimensions: (u32, u32)) -> Vec<Detection> {
        let mut matches = planes.matches(&self.templates, THRESHOLD);
        matches.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut kept: Vec<(Match, Rect)> = Vec::new();
        for found in matches {
            let rect = self.templates[found.template].solid_at(found.x, found.y);
            if kept.iter().all(|(_, other)| shared(&rect, other) <= MOST_SHARED) {
                kept.push((found, rect));
            }
        }
        kept.into_iter()
            .map(|(found, rect)| {
                let Template { noun, size, .. } = self.templates[found.template];
                Detection { noun, size, rect: scale(&rect, dimensions), score: found.score }
            })
            .collect()
    }

    /// [`Verdict::of`] what [`SceneChecker::detect`] finds.
    ///
    /// # Errors
    /// `Error::Shape` if the picture has not the checker's size; as [`Verdict::of`].
    pub fn check(&self, image: &RgbImage, spec: &SceneSpec) -> Result<Verdict> {
        self.require_size(image)?;
        Verdict::of(&self.detect(image), spec)
    }

    fn require_size(&self, image: &RgbImage) -> Result<()> {
        if image.dimensions() != (self.size, self.size) {
            let expected = format!("{0}x{0}", self.size);
            let got = format!("{}x{}", image.width(), image.height());
            return Err(Error::shape("picture for the scene checker", expected, got));
        }
        Ok(())
    }
}

/// Intersection over the smaller area.
fn shared(a: &Rect, b: &Rect) -> f32 {
    let overlap = |a0: u32, a1: u32, b0: u32, b1: u32| a1.min(b1).saturating_sub(a0.max(b0));
    let x = overlap(a.x, a.x + a.width, b.x, b.x + b.width);
    let y = overlap(a.y, a.y + a.height, b.y, b.y + b.height);
    (x * y) as f32 / (a.width * a.height).min(b.width * b.height) as f32
}

/// A box on the 32-pixel canvas in pixels of the picture.
fn scale(rect: &Rect, (width, height): (u32, u32)) -> Rect {
    let scaled = |value: u32, side: u32| (u64::from(value) * u64::from(side) / u64::from(CANVAS)) as u32;
    Rect {
        x: scaled(rect.x, width),
        y: scaled(rect.y, height),
        width: scaled(rect.width, width),
        height: scaled(rect.height, height),
    }
}

#[cfg(test)]
mod tests;
