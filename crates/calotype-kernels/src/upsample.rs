//! Nearest-neighbour enlargement of channels-last pictures, forward and backward.

use rayon::prelude::*;

use crate::memory::Buffer;

/// From `[B, from, C]` to `[B, to, C]`; sizes are height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpsampleShape {
    /// Height and width before.
    pub from: [usize; 2],
    /// Height and width after.
    pub to: [usize; 2],
    /// C.
    pub channels: usize,
}

impl UpsampleShape {
    fn pixel(&self, y: usize, x: usize) -> usize {
        let (y, x) = (y * self.from[0] / self.to[0], x * self.from[1] / self.to[1]);
        (y * self.from[1] + x) * self.channels
    }
}

/// Pixel (y, x) of the output is pixel (⌊y·h/H⌋, ⌊x·w/W⌋) of the input.
pub fn forward(s: &UpsampleShape, x: &[f32]) -> Buffer {
    let c = s.channels;
    let (small, large) = (s.from[0] * s.from[1] * c, s.to[0] * s.to[1] * c);
    let mut y = Buffer::any(x.len() / small * large);
    let [rows, columns] = s.to;
    y.par_chunks_mut(columns * c).enumerate().for_each(|(row, y)| {
        let x = &x[row / rows * small..][..small];
        for (column, pixel) in y.chunks_exact_mut(c).enumerate() {
            pixel.copy_from_slice(&x[s.pixel(row % rows, column)..][..c]);
        }
    });
    y
}

/// ∂L/∂x: the sum over the copies of each pixel.
pub fn backward(s: &UpsampleShape, dy: &[f32]) -> Buffer {
    let c = s.channels;
    let (small, large) = (s.from[0] * s.from[1] * c, s.to[0] * s.to[1] * c);
    let mut dx = Buffer::zeros(dy.len() / large * small);
    dx.par_chunks_mut(small).zip(dy.par_chunks(large)).for_each(|(dx, dy)| {
        for (i, pixel) in dy.chunks_exact(c).enumerate() {
            let sum = &mut dx[s.pixel(i / s.to[1], i % s.to[1])..][..c];
            sum.iter_mut().zip(pixel).for_each(|(s, d)| *s += d);
        }
    });
    dx
}
