//! What the matcher looks for: every noun at every size, slightly blurred, with a rim around it.

use crate::data::emoji_scenes::{Noun, Rect, Size, Sprite, Sprites};
use crate::{Error, Result};

/// Side of the square on which pictures are searched; larger pictures are scaled down to it.
pub(super) const CANVAS: u32 = 32;
/// Pixels around the sprite: the blur reaches one, and one more must look like the background.
pub(super) const RIM: usize = 2;

/// A sprite of the 32-pixel canvas, blurred, with a rim.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub noun: Noun,
    pub size: Size,
    /// Sides with the rim.
    pub width: usize,
    pub height: usize,
    /// Box of the object's mask, relative to the sprite without rim.
    solid: Rect,
    /// Red, green, blue in [0, 255], multiplied by alpha; alpha in [0, 1]. Each [height · width].
    channels: [Vec<f32>; 4],
    /// For every row the columns that are compared: first, and one past the last.
    pub spans: Vec<(usize, usize)>,
}

impl Template {
    /// One template for each noun and size.
    ///
    /// # Errors
    /// As [`Sprites::new`]; `Error::Format` if a sprite is larger than the canvas.
    pub fn all() -> Result<Vec<Self>> {
        let sprites = Sprites::new(CANVAS)?;
        let mut templates = Vec::with_capacity(Noun::ALL.len() * Size::ALL.len());
        for noun in Noun::ALL {
            for size in Size::ALL {
                let sprite = sprites.get(noun, size);
                if sprite.width.max(sprite.height) > CANVAS {
                    return Err(Error::format(format!("twemoji-assets: {noun}"), "sprite", "too large"));
                }
                templates.push(Self::new(noun, size, sprite));
            }
        }
        Ok(templates)
    }

    fn new(noun: Noun, size: Size, sprite: &Sprite) -> Self {
        let (inner_width, inner_height) = (sprite.width as usize, sprite.height as usize);
        let (width, height) = (inner_width + 2 * RIM, inner_height + 2 * RIM);
        let channels = std::array::from_fn(|c| {
            let mut plane = vec![0.0; width * height];
            for (i, pixel) in sprite.pixels.iter().enumerate() {
                plane[(i / inner_width + RIM) * width + i % inner_width + RIM] = pixel[c];
            }
            blur(&plane, width)
        });
        let spans = spans(&channels[3], width);
        Self { noun, size, width, height, solid: sprite.solid, channels, spans }
    }

    /// Box of the object where the sprite's upper left corner lies at (`x`, `y`).
    pub fn solid_at(&self, x: u32, y: u32) -> Rect {
        Rect { x: x + self.solid.x, y: y + self.solid.y, ..self.solid }
    }

    /// Number of pixels compared.
    pub fn area(&self) -> f32 {
        self.spans.iter().map(|(start, end)| end - start).sum::<usize>() as f32
    }

    /// The template on `background`, less its mean over the compared pixels: three planes
    /// [height · width], and the sum of their squares. Zero where nothing is compared.
    pub fn centred(&self, background: [f32; 3]) -> ([Vec<f32>; 3], f32) {
        let mut energy = 0.0;
        let planes = std::array::from_fn(|c| {
            let mut plane = vec![0.0; self.width * self.height];
            let compared = |(y, &(start, end)): (usize, &(usize, usize))| {
                (y * self.width + start)..(y * self.width + end)
            };
            for i in self.spans.iter().enumerate().flat_map(compared) {
                plane[i] = self.channels[c][i] - self.channels[3][i] * background[c];
            }
            let mean = plane.iter().sum::<f32>() / self.area();
            for i in self.spans.iter().enumerate().flat_map(compared) {
                plane[i] -= mean;
                energy += plane[i] * plane[i];
            }
            plane
        });
        (planes, energy)
    }
}

/// Binomial blur (1, 2, 1)/4 in both directions, σ = 0.7 pixels; zero outside.
pub(super) fn blur(plane: &[f32], width: usize) -> Vec<f32> {
    let height = plane.len() / width;
    let at = |p: &[f32], x: isize, y: isize| {
        let inside = (0..width as isize).contains(&x) && (0..height as isize).contains(&y);
        if inside { p[y as usize * width + x as usize] } else { 0.0 }
    };
    let pass = |p: &[f32], dx: isize, dy: isize| -> Vec<f32> {
        (0..plane.len() as isize)
            .map(|i| (i % width as isize, i / width as isize))
            .map(|(x, y)| 0.25 * at(p, x - dx, y - dy) + 0.5 * at(p, x, y) + 0.25 * at(p, x + dx, y + dy))
            .collect()
    };
    pass(&pass(plane, 1, 0), 0, 1)
}

/// For each row the range from one pixel left of the visible part to one right of it, where the rows
/// above and below count as well.
fn spans(alpha: &[f32], width: usize) -> Vec<(usize, usize)> {
    const VISIBLE: f32 = 0.03;
    let rows: Vec<Option<(usize, usize)>> = alpha
        .chunks_exact(width)
        .map(|row| {
            let first = row.iter().position(|&a| a > VISIBLE)?;
            let last = row.iter().rposition(|&a| a > VISIBLE)?;
            Some((first.saturating_sub(1), (last + 2).min(width)))
        })
        .collect();
    (0..rows.len())
        .map(|y| {
            let near = rows[y.saturating_sub(1)..(y + 2).min(rows.len())].iter().flatten();
            near.copied().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((0, 0))
        })
        .collect()
}
