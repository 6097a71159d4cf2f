//! From a decoded picture of any size to a training picture of one size.

use image::imageops::{crop_imm, flip_horizontal_in_place, replace};
use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use super::resize::{Filter, resize_u8};
use crate::error::{Error, Result};
use crate::rng::Philox;

/// Three lobes of Lanczos, widened when shrinking, exactly as Pillow: what diffusers' training scripts use.
const FILTER: Filter = Filter::PilLanczos;

/// The most pixels of an intermediate picture. A line of 100 000 × 1 pixels, scaled until it covers
/// 512 × 512, would have 26 billion.
const MAX_PIXELS: u64 = 1 << 28;

/// How a picture gets to the target's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizePolicy {
    /// Not at all: a picture of another size is refused.
    None,
    /// Scaled, keeping its shape, until it just covers the target; what stands out is cut off.
    #[default]
    ShorterSide,
    /// Scaled, keeping its shape, until it just fits into the target; the rest is background, the same on
    /// both sides.
    LongerSide,
    /// Scaled to the target, whatever becomes of its shape.
    Stretch,
}

/// Which part of a picture that is too large is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crop {
    /// The middle; of an odd pixel's halves, the left or upper one is cut less.
    #[default]
    Center,
    /// Each position with the same probability.
    Random,
}

/// What is done to every training picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transform {
    /// How it gets to the target's size.
    pub resize: ResizePolicy,
    /// Which part of it is kept, with [`ResizePolicy::ShorterSide`].
    pub crop: Crop,
    /// Whether it is mirrored, left to right, with probability ½.
    pub flip: bool,
    /// The colour beside it with [`ResizePolicy::LongerSide`], and behind transparent parts
    /// (`picture::decode`). In files: `"#rrggbb"`.
    #[serde(with = "hex")]
    pub background: [u8; 3],
}

/// Cover the target, keep the middle, no flip, white.
impl Default for Transform {
    fn default() -> Self {
        Self { resize: ResizePolicy::default(), crop: Crop::default(), flip: false, background: [255; 3] }
    }
}

/// The random numbers that one training picture is made with, each uniform in [0, 1).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TransformDraws {
    /// Where a random crop begins, from left to right.
    pub x: f64,
    /// The same from top to bottom.
    pub y: f64,
    /// Below ½ mirrors.
    pub flip: f64,
}

impl Transform {
    /// The numbers of a picture. All three are drawn, whether they are needed or not, so that a change of one
    /// setting does not change what the others draw.
    pub fn draws(rng: &mut Philox) -> TransformDraws {
        let [x, y, flip] = std::array::from_fn(|_| rng.uniform());
        TransformDraws { x, y, flip }
    }

    /// Whether a picture with these numbers is mirrored.
    pub fn mirrors(&self, draws: TransformDraws) -> bool {
        self.flip && draws.flip < 0.5
    }

    /// The training picture, `target` pixels large. Mirrored first, then cut, as diffusers does.
    ///
    /// - `target`: (width, height).
    /// - `name`: what messages call the picture.
    ///
    /// # Errors
    /// `Error::Shape`, naming the picture, if it has no pixels, if it has not the target's size under
    /// [`ResizePolicy::None`], or if it is so long and thin that the scaled picture would have more than 2²⁸
    /// pixels; `Error::Argument` for a target without pixels.
    pub fn apply(
        &self,
        picture: RgbImage,
        target: (u32, u32),
        draws: TransformDraws,
        name: &str,
    ) -> Result<RgbImage> {
        let size = self.scaled_size(picture.dimensions(), target, name)?;
        let mut picture = scaled(picture, size)?;
        if self.mirrors(draws) {
            flip_horizontal_in_place(&mut picture);
        }
        if self.resize == ResizePolicy::LongerSide {
            return Ok(self.padded(picture, target));
        }
        if picture.dimensions() != target {
            let (left, top) = self.corner(picture.dimensions(), target, draws);
            picture = crop_imm(&picture, left, top, target.0, target.1).to_image();
        }
        Ok(picture)
    }

    /// (left, top) of what is kept of a scaled picture that covers the target.
    fn corner(&self, (width, height): (u32, u32), target: (u32, u32), draws: TransformDraws) -> (u32, u32) {
        let start = |side: u32, target: u32, draw: f64| match self.crop {
            Crop::Center => (side - target) / 2,
            // `draw` < 1, and so is the product below the number of positions.
            Crop::Random => (draw * (f64::from(side - target) + 1.0)) as u32,
        };
        (start(width, target.0, draws.x), start(height, target.1, draws.y))
    }

    /// (width, height) before cutting or padding. The side that the target does not fix is rounded, so the
    /// shape changes by half a pixel at most.
    fn scaled_size(&self, (w, h): (u32, u32), target: (u32, u32), name: &str) -> Result<(u32, u32)> {
        let (tw, th) = target;
        if tw == 0 || th == 0 {
            return Err(Error::argument("target size", "at least 1 x 1", format!("{tw} x {th}")));
        }
        let refuse =
            |expected: String| Err(Error::shape(format!("picture `{name}`"), expected, format!("{w} x {h}")));
        if w == 0 || h == 0 {
            return refuse("at least 1 x 1 pixels".into());
        }
        // The product of the target's side and the other side of the picture.
        let (across, down) = (u64::from(tw) * u64::from(h), u64::from(th) * u64::from(w));
        let by_width = (u64::from(tw), rounded(across, w));
        let by_height = (rounded(down, h), u64::from(th));
        let size = match self.resize {
            ResizePolicy::None if (w, h) != target => {
                return refuse(format!("{tw} x {th} pixels, because the resize policy is `none`"));
            }
            ResizePolicy::None | ResizePolicy::Stretch => (u64::from(tw), u64::from(th)),
            ResizePolicy::ShorterSide if across >= down => by_width,
            ResizePolicy::ShorterSide => by_height,
            ResizePolicy::LongerSide if across <= down => by_width,
            ResizePolicy::LongerSide => by_height,
        };
        match size {
            (w, h) if w.saturating_mul(h) <= MAX_PIXELS => Ok((w as u32, h as u32)),
            (w, h) => refuse(format!("a shape that is nearer to {tw} x {th} (scaled, it is {w} x {h})")),
        }
    }

    fn padded(&self, picture: RgbImage, target: (u32, u32)) -> RgbImage {
        if picture.dimensions() == target {
            return picture;
        }
        let mut whole = RgbImage::from_pixel(target.0, target.1, Rgb(self.background));
        let left = (target.0 - picture.width()) / 2;
        let top = (target.1 - picture.height()) / 2;
        replace(&mut whole, &picture, left.into(), top.into());
        whole
    }
}

/// product / side to the nearest whole number, halves up, at least 1.
fn rounded(product: u64, side: u32) -> u64 {
    let side = u64::from(side);
    ((product + side / 2) / side).max(1)
}

fn scaled(picture: RgbImage, (width, height): (u32, u32)) -> Result<RgbImage> {
    if picture.dimensions() == (width, height) {
        return Ok(picture);
    }
    let rows_first = |width: u32, height: u32| (height as usize, width as usize);
    let from = rows_first(picture.width(), picture.height());
    let pixels = resize_u8(picture.as_raw(), 3, from, rows_first(width, height), FILTER)?;
    let got = pixels.len();
    RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| Error::shape("resized picture", format!("{width} x {height} x 3"), got))
}

/// Colours as `"#rrggbb"`.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>([r, g, b]: &[u8; 3], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("#{r:02x}{g:02x}{b:02x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 3], D::Error> {
        let text = String::deserialize(from)?;
        let digits = text
            .strip_prefix('#')
            .filter(|digits| digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let number = number.ok_or_else(|| D::Error::custom(format!("expected \"#rrggbb\", got {text:?}")))?;
        let [_, r, g, b] = number.to_be_bytes();
        Ok([r, g, b])
    }
}

#[cfg(test)]
mod tests;
