//! The nouns and their pictures: 40 Twemoji graphics (CC-BY 4.0), resized for a canvas.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, ImageFormat, Rgba};
use serde::{Deserialize, Serialize};
use twemoji_assets::png::codes;

use super::scene::{Colour, Rect, Size};
use crate::named::named_enum;
use crate::{Error, Result};

macro_rules! nouns {
    ($($variant:ident $name:literal $code:ident),+ $(,)?) => {
        named_enum! {
            /// A thing that a scene can show, by the word that captions use. The 40 differ in shape and colour
            /// even at 10 pixels.
            #[derive(Hash, PartialOrd, Ord, Serialize, Deserialize)]
            #[serde(rename_all = "lowercase")]
            #[repr(u8)]
            pub enum Noun: "nouns" {
                $(#[doc = $name] $variant = $name),+
            }
        }

        impl Noun {
            /// PNG file of 72×72 RGBA pixels. Constants, not a look-up by name, so that the binary
            /// holds these 40 graphics and not all of Twemoji.
            fn png(self) -> &'static [u8] {
                match self { $(Noun::$variant => codes::$code.data.0),+ }
            }
        }
    };
}

nouns! {
    Cat "cat" U_1F431,
    Dog "dog" U_1F436,
    Pig "pig" U_1F437,
    Frog "frog" U_1F438,
    Panda "panda" U_1F43C,
    Penguin "penguin" U_1F427,
    Snail "snail" U_1F40C,
    Octopus "octopus" U_1F419,
    Butterfly "butterfly" U_1F98B,
    Ladybug "ladybug" U_1F41E,
    Whale "whale" U_1F433,
    Tree "tree" U_1F333,
    Cactus "cactus" U_1F335,
    Sunflower "sunflower" U_1F33B,
    Mushroom "mushroom" U_1F344,
    Pumpkin "pumpkin" U_1F383,
    Apple "apple" U_1F34E,
    Banana "banana" U_1F34C,
    Pineapple "pineapple" U_1F34D,
    Pizza "pizza" U_1F355,
    Donut "donut" U_1F369,
    Cake "cake" U_1F382,
    Clock "clock" U_23F0,
    House "house" U_1F3E0,
    Window "window" U_1FA9F,
    Car "car" U_1F697,
    Boat "boat" U_26F5,
    Rocket "rocket" U_1F680,
    Balloon "balloon" U_1F388,
    Umbrella "umbrella" U_2602,
    Book "book" U_1F4D8,
    Ball "ball" U_26BD,
    Crown "crown" U_1F451,
    Hat "hat" U_1F3A9,
    Robot "robot" U_1F916,
    Ghost "ghost" U_1F47B,
    Moon "moon" U_1F319,
    Star "star" U_2B50,
    Heart "heart" U_2764,
    Diamond "diamond" U_1F48E,
}

type RgbaF32 = ImageBuffer<Rgba<f32>, Vec<f32>>;

/// A noun's picture at one size: cropped to its visible part, longest side as [`Size::pixels`] says.
#[derive(Debug, Clone)]
pub(crate) struct Sprite {
    pub width: u32,
    pub height: u32,
    /// Row by row: red, green, blue in [0, 255], multiplied by alpha; alpha in [0, 1].
    pub pixels: Vec<[f32; 4]>,
    /// Tight box of the mask (alpha ≥ ½), relative to the sprite.
    pub solid: Rect,
}

impl Sprite {
    /// Whether the pixel belongs to the object's mask.
    pub fn is_solid(pixel: &[f32; 4]) -> bool {
        pixel[3] >= 0.5
    }

    /// The part of the sprite, in [0, 1], whose colour differs clearly from `background`.
    fn contrast(&self, background: Colour) -> f32 {
        const CLEARLY: f32 = 70.0;
        let (mut visible, mut all) = (0.0, 0.0);
        for [r, g, b, alpha] in &self.pixels {
            let squared: f32 = [r, g, b]
                .iter()
                .zip(background.rgb())
                .map(|(&&c, back)| (c - alpha * f32::from(back)).powi(2))
                .sum();
            all += alpha;
            if squared > (alpha * CLEARLY).powi(2) {
                visible += alpha;
            }
        }
        visible / all
    }
}

/// All sprites for one canvas.
#[derive(Debug, Clone)]
pub(crate) struct Sprites {
    sheet: Vec<Sprite>,
    contrast: Vec<f32>,
}

impl Sprites {
    /// Decodes and resizes every noun for a square canvas of `canvas` pixels.
    ///
    /// # Errors
    /// `Error::Format` if an embedded graphic cannot be decoded.
    pub fn new(canvas: u32) -> Result<Self> {
        let mut sheet = Vec::with_capacity(Noun::ALL.len() * Size::ALL.len());
        let mut contrast = Vec::with_capacity(Noun::ALL.len() * Colour::ALL.len());
        for noun in Noun::ALL {
            let picture = decode(noun)?;
            for size in Size::ALL {
                sheet.push(resize(&picture, size.pixels(canvas)));
            }
            let biggest = &sheet[sheet.len() - 1];
            contrast.extend(Colour::ALL.iter().map(|&colour| biggest.contrast(colour)));
        }
        Ok(Self { sheet, contrast })
    }

    pub fn get(&self, noun: Noun, size: Size) -> &Sprite {
        &self.sheet[noun as usize * Size::ALL.len() + size as usize]
    }

    /// Whether a person sees the noun at once on this background (no white ghost on white).
    pub fn stands_out(&self, noun: Noun, background: Colour) -> bool {
        const MOST: f32 = 0.75;
        self.contrast[noun as usize * Colour::ALL.len() + background as usize] >= MOST
    }
}

/// The graphic, cropped to its visible part. All values in [0, 1] (`image` clamps floats to it when
/// it resizes), colours multiplied by alpha.
fn decode(noun: Noun) -> Result<RgbaF32> {
    let decoded = image::load_from_memory_with_format(noun.png(), ImageFormat::Png)
        .map_err(|e| Error::format(format!("twemoji-assets: {noun}"), "PNG", e))?
        .to_rgba8();
    let premultiplied = RgbaF32::from_fn(decoded.width(), decoded.height(), |x, y| {
        let [r, g, b, alpha] = decoded[(x, y)].0.map(|value| f32::from(value) / 255.0);
        Rgba([r * alpha, g * alpha, b * alpha, alpha])
    });
    let visible = Rect::bounding(
        decoded.enumerate_pixels().filter(|(_, _, pixel)| pixel[3] >= 128).map(|(x, y, _)| (x, y)),
    )
    .ok_or_else(|| Error::format(format!("twemoji-assets: {noun}"), "PNG", "it is transparent"))?;
    Ok(imageops::crop_imm(&premultiplied, visible.x, visible.y, visible.width, visible.height).to_image())
}

/// Scales the longest side to `longest`. Catmull–Rom, widened when it shrinks, is sharp without
/// visible ringing, and a polynomial: the same bits on every machine.
fn resize(picture: &RgbaF32, longest: u32) -> Sprite {
    let scale = longest as f32 / picture.width().max(picture.height()) as f32;
    let scaled = |side: u32| ((side as f32 * scale).round() as u32).max(1);
    let resized =
        imageops::resize(picture, scaled(picture.width()), scaled(picture.height()), FilterType::CatmullRom);
    let (width, height) = resized.dimensions();
    let pixels: Vec<[f32; 4]> = resized
        .pixels()
        .map(|&Rgba([r, g, b, alpha])| {
            // The filter's negative lobes may lift a colour above its alpha.
            let [r, g, b] = [r, g, b].map(|c| 255.0 * c.min(alpha));
            [r, g, b, alpha]
        })
        .collect();
    let solid_pixels = (0..)
        .zip(&pixels)
        .filter(|(_, p)| Sprite::is_solid(p))
        .map(|(i, _): (u32, _)| (i % width, i / width));
    let solid = Rect::bounding(solid_pixels).unwrap_or(Rect { x: 0, y: 0, width, height });
    Sprite { width, height, pixels, solid }
}
