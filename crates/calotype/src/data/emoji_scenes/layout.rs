//! Where the objects of a scene lie, and how they are drawn.

use image::{GrayImage, Luma, Rgb, RgbImage};

use super::caption::Relation;
use super::scene::{Colour, Rect, SceneObject, Size};
use super::split::Split;
use super::sprites::{Noun, Sprite, Sprites};
use super::{EmojiScenesConfig, SINGLE_OBJECTS};
use crate::rng::Philox;

/// An object before it is drawn: its sprite's upper left corner and the box of its mask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    pub noun: Noun,
    pub size: Size,
    corner: (u32, u32),
    rect: Rect,
}

/// Nouns, places, relation and background of a scene, drawn so that `split` is respected.
pub(super) struct SceneLayout {
    pub background: Colour,
    pub relation: Option<Relation>,
    pub placements: Vec<Placement>,
}

/// Of the scenes with more than one object, the share that has three.
const THREE_OBJECTS: f64 = 0.1 / 0.65;
/// Placements tried before other nouns are drawn.
const TRIES: usize = 500;

impl SceneLayout {
    /// Draws a layout of some of the config's nouns, with at most as many objects as it says; what is measured with has
    /// two at least.
    pub fn draw(sprites: &Sprites, config: &EmojiScenesConfig, split: Split, rng: &mut Philox) -> Self {
        let canvas = config.size;
        // Number and relation are drawn once: a relation that is hard to place is not rarer for it.
        let share = rng.uniform();
        let single_objects = match split {
            Split::Train => config.single_objects,
            // What is measured with does not depend on what training shows.
            Split::HeldOut | Split::Seen => SINGLE_OBJECTS,
        };
        let count = if share < single_objects {
            1
        } else if 1.0 - share > THREE_OBJECTS * (1.0 - single_objects) {
            2
        } else {
            3
        };
        let count = count.min(config.max_objects).max(split.least_objects());
        let relation = (count > 1).then(|| Relation::ALL[rng.below(Relation::ALL.len())]);
        loop {
            let nouns = draw_nouns(&config.nouns, count, rng);
            let colours = colours(sprites, &nouns);
            if !split.has(&nouns) || colours.is_empty() {
                continue;
            }
            let background = colours[rng.below(colours.len())];
            let found = (0..TRIES)
                .map(|_| place(sprites, canvas, &nouns, rng))
                .find(|placements| is_good(placements, relation, canvas));
            if let Some(placements) = found {
                return Self { background, relation, placements };
            }
        }
    }

    /// Paints the objects over the background.
    pub fn render(&self, sprites: &Sprites, canvas: u32) -> (RgbImage, Vec<SceneObject>) {
        let mut image = RgbImage::from_pixel(canvas, canvas, Rgb(self.background.rgb()));
        let mut objects = Vec::with_capacity(self.placements.len());
        for placement in &self.placements {
            let sprite = sprites.get(placement.noun, placement.size);
            let mut mask = GrayImage::new(canvas, canvas);
            for (row, y) in sprite.pixels.chunks_exact(sprite.width as usize).zip(placement.corner.1..) {
                for (pixel, x) in row.iter().zip(placement.corner.0..) {
                    paint(image.get_pixel_mut(x, y), pixel);
                    if Sprite::is_solid(pixel) {
                        mask.put_pixel(x, y, Luma([255]));
                    }
                }
            }
            let Placement { noun, size, rect, .. } = *placement;
            objects.push(SceneObject { noun, size, rect, mask });
        }
        (image, objects)
    }
}

/// "Over" of Porter and Duff 1984, with premultiplied colour; rounds half to even.
fn paint(under: &mut Rgb<u8>, &[r, g, b, alpha]: &[f32; 4]) {
    for (under, over) in under.0.iter_mut().zip([r, g, b]) {
        *under = (over + (1.0 - alpha) * f32::from(*under)).round_ties_even() as u8;
    }
}

/// Background colours on which all of `nouns` stand out.
fn colours(sprites: &Sprites, nouns: &[Noun]) -> Vec<Colour> {
    let all_stand_out = |&colour: &Colour| nouns.iter().all(|&noun| sprites.stands_out(noun, colour));
    Colour::ALL.into_iter().filter(all_stand_out).collect()
}

/// Whether scenes of `split` with `count` of these nouns can be drawn.
pub(super) fn can_draw(sprites: &Sprites, of: &[Noun], split: Split, count: usize) -> bool {
    fn some(sprites: &Sprites, of: &[Noun], split: Split, count: usize, chosen: &mut Vec<Noun>) -> bool {
        if chosen.len() == count {
            return split.has(chosen) && !colours(sprites, chosen).is_empty();
        }
        of.iter().any(|&noun| {
            if chosen.contains(&noun) {
                return false;
            }
            chosen.push(noun);
            let found = some(sprites, of, split, count, chosen);
            chosen.pop();
            found
        })
    }
    some(sprites, of, split, count, &mut Vec::new())
}

fn draw_nouns(of: &[Noun], count: usize, rng: &mut Philox) -> Vec<Noun> {
    let mut nouns = Vec::with_capacity(count);
    while nouns.len() < count {
        let noun = of[rng.below(of.len())];
        if !nouns.contains(&noun) {
            nouns.push(noun);
        }
    }
    nouns
}

/// Every noun at a random size, wholly on the canvas, wherever chance puts it on a grid of 16 × 16.
///
/// The grid is that of the latents of an autoencoder with f = 2 on a 32-pixel canvas: a sprite then has
/// one pattern of latents wherever it lies, and a small network learns it from a quarter of the pictures.
fn place(sprites: &Sprites, canvas: u32, nouns: &[Noun], rng: &mut Philox) -> Vec<Placement> {
    nouns
        .iter()
        .map(|&noun| {
            let size = Size::ALL[rng.below(Size::ALL.len())];
            let sprite = sprites.get(noun, size);
            let cell = canvas / 16;
            let x = cell * rng.below(((canvas - sprite.width) / cell + 1) as usize) as u32;
            let y = cell * rng.below(((canvas - sprite.height) / cell + 1) as usize) as u32;
            let rect = Rect { x: x + sprite.solid.x, y: y + sprite.solid.y, ..sprite.solid };
            Placement { noun, size, corner: (x, y), rect }
        })
        .collect()
}

/// Whether no two objects overlap, and the relation holds beyond doubt.
fn is_good(placements: &[Placement], relation: Option<Relation>, canvas: u32) -> bool {
    let pixel = canvas / 32;
    for (i, a) in placements.iter().enumerate() {
        for (j, b) in placements.iter().enumerate().skip(i + 1) {
            let touching = (i, j) == (0, 1) && relation == Some(Relation::OnTopOf);
            if a.rect.is_closer_than(&b.rect, if touching { 0 } else { pixel }) {
                return false;
            }
        }
    }
    if let (Some(relation), [a, b, ..]) = (relation, placements) {
        // Beyond doubt: also after a move by one pixel of a 32-pixel canvas, in each direction.
        let step = pixel as f32;
        let moves = [(step, step), (step, -step), (-step, step), (-step, -step)];
        if !moves.iter().all(|&(x, y)| relation.holds_shifted(&a.rect, &b.rect, x, y)) {
            return false;
        }
    }
    true
}
