//! How a picture becomes the input of an ONNX model: the `.toml` file beside it.

use std::path::Path;

use image::RgbImage;
use serde::Deserialize;

use crate::data::resize::{Filter, resize, resize_u8};
use crate::error::{Error, Result};

const FORMAT: &str = "preprocessing (TOML)";

/// Largest side of an input that is accepted: a wrong digit must not ask for gigabytes.
const LARGEST: usize = 4096;

/// Resize, crop, normalise; and which output holds the features.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Side of the model's input in pixels.
    pub size: usize,
    /// If given, the shorter side gets this length, the longer one in proportion (rounded down), and the
    /// centre `size` × `size` is taken. Otherwise pictures are stretched to `size` × `size`.
    pub shortest_edge: Option<usize>,
    /// How pictures are resized.
    pub resize: Resize,
    /// Subtracted from each channel of the values in [0, 1].
    pub mean: [f64; 3],
    /// What they are then divided by.
    pub std: [f64; 3],
    /// Which output of the model, counted from 0.
    #[serde(default)]
    pub output: usize,
    /// Which token of an output `[1, tokens, d]`.
    #[serde(default)]
    pub token: Token,
}

/// Names of [`Filter`] in the file. Pillow's round to 8 bits, as Pillow does; the others do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is the filter of the same name")]
pub enum Resize {
    Tf1Bilinear,
    TorchBilinear,
    PilBilinear,
    PilBicubic,
}

impl Resize {
    fn filter(self) -> Filter {
        match self {
            Self::Tf1Bilinear => Filter::Tf1Bilinear,
            Self::TorchBilinear => Filter::TorchBilinear,
            Self::PilBilinear => Filter::PilBilinear,
            Self::PilBicubic => Filter::PilBicubic,
        }
    }
}

/// Which token of a transformer's output is the feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Token {
    /// The first, the class token.
    #[default]
    First,
    /// The mean of all.
    Mean,
}

impl Token {
    /// `[d]` of `[tokens, d]`.
    pub(crate) fn of(self, tokens: &[f32], d: usize) -> Vec<f32> {
        let sum = |i: usize| tokens.iter().skip(i).step_by(d).map(|&value| f64::from(value)).sum::<f64>();
        match self {
            Self::First => tokens[..d].to_vec(),
            Self::Mean => (0..d).map(|i| (sum(i) / (tokens.len() / d) as f64) as f32).collect(),
        }
    }
}

impl Preprocessing {
    /// Reads the file.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` for a missing or unknown key, a size of 0 or above 4096, a crop larger
    /// than the resized picture, a `std` that is not above 0.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let found: Self = toml::from_str(&text).map_err(|error| Error::format(path, FORMAT, error))?;
        let edge = found.shortest_edge.unwrap_or(found.size);
        let reason = match &found {
            _ if found.size == 0 || edge > LARGEST || edge < found.size => {
                format!(
                    "size {} and shortest_edge {edge}: expected 1 ≤ size ≤ shortest_edge ≤ {LARGEST}",
                    found.size
                )
            }
            _ if !found.std.iter().all(|&std| std > 0.0 && std.is_finite()) => {
                format!("std {:?}: expected numbers above 0", found.std)
            }
            _ if !found.mean.iter().all(|mean| mean.is_finite()) => format!("mean {:?}", found.mean),
            _ => return Ok(found),
        };
        Err(Error::format(path, FORMAT, reason))
    }

    /// `[3, size, size]` of a picture of any size.
    ///
    /// # Errors
    /// Those of the resizing; `Error::Data` for a picture so long that its resized form is above 2²⁶
    /// pixels.
    pub fn prepare(&self, picture: &RgbImage) -> Result<Vec<f32>> {
        let from = (picture.height() as usize, picture.width() as usize);
        let to = self.resized(from);
        if to.0.saturating_mul(to.1) > 1 << 26 {
            let found = format!("{} x {}", from.1, from.0);
            return Err(Error::data("picture", "one that is not so much longer than wide", found));
        }
        let levels = self.levels(picture, from, to)?;
        let (top, left) = ((to.0 - self.size) / 2, (to.1 - self.size) / 2);
        let size = self.size;
        let value = |at: usize| {
            let (c, y, x) = (at / (size * size), at / size % size, at % size);
            let level = levels[((top + y) * to.1 + left + x) * 3 + c];
            ((level / 255.0 - self.mean[c]) / self.std[c]) as f32
        };
        Ok((0..3 * size * size).map(value).collect())
    }

    /// (height, width) before the crop.
    fn resized(&self, (height, width): (usize, usize)) -> (usize, usize) {
        match self.shortest_edge {
            None => (self.size, self.size),
            Some(edge) => (edge * height / height.min(width), edge * width / height.min(width)),
        }
    }

    /// `[height, width, 3]` in 0..255.
    fn levels(&self, picture: &RgbImage, from: (usize, usize), to: (usize, usize)) -> Result<Vec<f64>> {
        let filter = self.resize.filter();
        Ok(match self.resize {
            Resize::PilBilinear | Resize::PilBicubic => {
                resize_u8(picture.as_raw(), 3, from, to, filter)?.into_iter().map(f64::from).collect()
            }
            Resize::Tf1Bilinear | Resize::TorchBilinear => {
                let levels: Vec<f64> = picture.as_raw().iter().map(|&level| f64::from(level)).collect();
                resize(&levels, 3, from, to, filter)?
            }
        })
    }

    /// For reports.
    pub(crate) fn describe(&self) -> String {
        let name = self.resize.filter();
        match self.shortest_edge {
            None => format!("{name:?} to {0} x {0}", self.size),
            Some(edge) => format!("{name:?} to a shorter side of {edge}, centre {0} x {0}", self.size),
        }
    }
}
