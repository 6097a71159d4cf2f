//! What a scene consists of: boxes, colours, sizes, the picture and its ground truth.

use image::{GrayImage, RgbImage};
use serde::Serialize;

use super::caption::{self, Relation};
use super::sprites::Noun;
use crate::named::named_enum;

/// A box in pixels; x to the right, y down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rect {
    /// The smallest box around the points; none around nothing.
    pub(crate) fn bounding(points: impl Iterator<Item = (u32, u32)>) -> Option<Self> {
        let corners = points.fold(None, |corners: Option<[u32; 4]>, (x, y)| {
            let [left, top, right, bottom] = corners.unwrap_or([x, y, x, y]);
            Some([left.min(x), top.min(y), right.max(x), bottom.max(y)])
        });
        corners.map(|[left, top, right, bottom]| Rect {
            x: left,
            y: top,
            width: right - left + 1,
            height: bottom - top + 1,
        })
    }

    /// x, y, width, height.
    pub(super) fn as_f32(&self) -> [f32; 4] {
        [self.x as f32, self.y as f32, self.width as f32, self.height as f32]
    }

    /// Whether fewer than `gap` empty pixels lie between the boxes (0: whether they share a pixel).
    pub(super) fn is_closer_than(&self, other: &Rect, gap: u32) -> bool {
        self.x < other.x + other.width + gap
            && other.x < self.x + self.width + gap
            && self.y < other.y + other.height + gap
            && other.y < self.y + self.height + gap
    }
}

named_enum! {
    /// Colour of the background.
    #[derive(Hash, PartialOrd, Ord, Serialize)]
    #[serde(rename_all = "lowercase")]
    #[repr(u8)]
    pub enum Colour {
        /// Nearly white.
        White = "white",
        /// Middle gray.
        Gray = "gray",
        /// Sky blue.
        Blue = "blue",
        /// Leaf green.
        Green = "green",
        /// Pale yellow.
        Yellow = "yellow",
        /// Orange.
        Orange = "orange",
        /// Pink.
        Pink = "pink",
        /// Lavender.
        Purple = "purple",
    }
}

impl Colour {
    /// sRGB.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Colour::White => [250, 250, 250],
            Colour::Gray => [150, 150, 150],
            Colour::Blue => [125, 180, 240],
            Colour::Green => [140, 210, 130],
            Colour::Yellow => [250, 235, 130],
            Colour::Orange => [250, 170, 95],
            Colour::Pink => [250, 180, 205],
            Colour::Purple => [170, 135, 215],
        }
    }

    /// The colour at the least Euclidean distance from `rgb`, sRGB in [0, 255].
    pub fn nearest(rgb: [f32; 3]) -> Self {
        let distance = |colour: &Self| {
            let parts = colour.rgb().into_iter().zip(rgb);
            parts.map(|(own, value)| (f32::from(own) - value).powi(2)).sum::<f32>()
        };
        Self::ALL.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(Self::White)
    }
}

named_enum! {
    /// How large an object is drawn. Captions say `small` and `big`, never `medium`.
    #[derive(Hash, PartialOrd, Ord, Serialize)]
    #[serde(rename_all = "lowercase")]
    #[repr(u8)]
    pub enum Size {
        /// 10/32 of the canvas.
        Small = "small",
        /// 13/32 of the canvas.
        Medium = "medium",
        /// Half of the canvas.
        Big = "big",
    }
}

impl Size {
    /// Longest side on a canvas of `canvas` pixels.
    pub fn pixels(self, canvas: u32) -> u32 {
        let in_32 = match self {
            Size::Small => 10,
            Size::Medium => 13,
            Size::Big => 16,
        };
        in_32 * canvas / 32
    }
}

/// What a caption promises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SceneSpec {
    /// Colour of the background (most captions name it, not all).
    pub background: Colour,
    /// One to three different nouns in caption order, with the size where the caption says it.
    pub objects: Vec<(Noun, Option<Size>)>,
    /// How object 0 lies to object 1; none where there is one object.
    pub relation: Option<Relation>,
}

/// An object as it was drawn.
#[derive(Debug, Clone)]
pub struct SceneObject {
    /// What it is.
    pub noun: Noun,
    /// How large it was drawn, whether or not the caption says so.
    pub size: Size,
    /// Tight box of the mask.
    pub rect: Rect,
    /// As large as the picture: 255 where the object is visible, else 0.
    pub mask: GrayImage,
}

impl Scene {
    /// The colour of the background, where the caption names it.
    pub fn named_background(&self) -> Option<Colour> {
        self.caption.ends_with(" background").then_some(self.spec.background)
    }

    /// The caption with its first two nouns exchanged; none where that is as true as the caption, or there is one noun.
    pub fn exchanged_caption(&self) -> Option<String> {
        let [(a, _), (b, _), ..] = self.spec.objects[..] else { return None };
        let directed = self.spec.relation.is_some_and(Relation::is_directed);
        directed.then(|| caption::exchanged(&self.caption, a, b))
    }
}

/// A picture, its caption and its ground truth.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The picture, square.
    pub image: RgbImage,
    /// The caption.
    pub caption: String,
    /// What the caption promises.
    pub spec: SceneSpec,
    /// The objects in caption order.
    pub objects: Vec<SceneObject>,
}
