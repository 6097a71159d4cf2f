//! 3×3 convolution with 16 multiplications for four outputs, where the definition has 36.
//!
//! F(2×2, 3×3) of Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks"
//! (arXiv:1509.09308): a 4×4 tile d of the padded input and the kernel g give a 2×2 tile of the output,
//! Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A. Summed over the input channels, ⊙ is a matrix product for each of the 16
//! places.

mod transforms;

use rayon::prelude::*;

use crate::conv2d::{KERNELS, Taps};
use crate::isa::Isa;
use crate::linear::CACHED;
use crate::memory::Buffer;
use crate::panels::pack_panels;
use crate::product::{self, Columns, Product, Start, Term};
use transforms::{gradient_tiles, input_tiles, output_tiles, transformed_kernels, transposed_kernels};

/// Places of a transformed tile.
const PLACES: usize = 16;
/// Numbers of transformed input in one piece of work: half of a second level cache of 512 KiB, the
/// transformed output in the other half.
const PIECE: usize = 32 * 1024;

/// Sizes of a 3×3 convolution with stride 1 and one zero on every side of a picture with even sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WinogradShape {
    /// Height of input and output; even.
    pub height: usize,
    /// Width of input and output; even.
    pub width: usize,
    /// Channels of the input.
    pub input: usize,
    /// Channels of the output.
    pub output: usize,
}

impl WinogradShape {
    fn tiles(&self) -> [usize; 2] {
        [self.height / 2, self.width / 2]
    }

    /// A row of zeros, for [`WinogradShape::picture_rows`].
    fn outside(&self) -> Buffer {
        Buffer::zeros(self.width * self.input)
    }

    /// The four rows that a row of tiles reads, the first of them above it; those of all pictures are counted together.
    fn picture_rows<'a>(&self, x: &'a [f32], tile_row: usize, outside: &'a [f32]) -> [&'a [f32]; 4] {
        let (rows, row) = (self.height / 2, self.width * self.input);
        let picture = &x[tile_row / rows * self.height * row..][..self.height * row];
        let first = 2 * (tile_row % rows);
        [0, 1, 2, 3].map(|i| match (first + i).checked_sub(1).filter(|&y| y < self.height) {
            Some(y) => &picture[y * row..][..row],
            None => outside,
        })
    }
}

/// y = W ⋆ x + b over `[B, H, W, in]`, with weights that [`packed`] made.
pub fn forward(isa: Isa, s: &WinogradShape, x: &[f32], packed: &[f32], bias: &[f32]) -> Buffer {
    let isa = isa.f32();
    let [rows, columns] = s.tiles();
    // Rows of tiles: all pictures are one long picture of `batch · rows` of them.
    let batch = x.len() / (s.height * s.width * s.input);
    let total = batch * rows;
    let at_once = (PIECE / (PLACES * columns * s.input.max(s.output))).clamp(1, total.div_ceil(8));
    let row = 2 * s.width * s.output;
    let outside = s.outside();
    let mut y = Buffer::any(total * row);
    y.par_chunks_mut(at_once * row).enumerate().for_each(|(piece, y)| {
        let first = piece * at_once;
        let tile_rows = first..first + y.len() / row;
        let tiles = tile_rows.len() * columns;
        let mut v = Buffer::any(PLACES * tiles * s.input);
        let mut m = Buffer::any(PLACES * tiles * s.output);
        for (i, tile_row) in tile_rows.enumerate() {
            let to = &mut v[i * columns * s.input..];
            input_tiles(isa, s.picture_rows(x, tile_row, &outside), s.input, to, tiles * s.input);
        }
        for place in 0..PLACES {
            let product = Product {
                a_row: s.input,
                a_step: 1,
                terms: &[Term { a: 0, b: 0, length: s.input }],
                b: Columns::Packed {
                    values: &packed[place * s.input * isa.panel_width()..],
                    panel: PLACES * s.input * isa.panel_width(),
                },
                rows: tiles,
                columns: s.output,
                c_row: s.output,
                start: Start::Zero,
            };
            let (v, m) = (&v[place * tiles * s.input..], &mut m[place * tiles * s.output..]);
            product::run(isa, &product, v, m, &[(0, 0)]);
        }
        output_tiles(isa, &m, columns, bias, y);
    });
    y
}

/// U = G g Gᵀ of every kernel.
/// Panels of output channels as in [`pack_panels`], each with the 16 places one after the other.
pub(crate) fn packed(isa: Isa, input: usize, output: usize, taps: impl Taps) -> Buffer {
    let width = isa.panel_width();
    pack_panels(isa, PLACES * input, output, |panel, outputs| {
        let mut g = vec![0.0; KERNELS * 9 * width];
        for first in (0..input).step_by(KERNELS) {
            let inputs = first..input.min(first + KERNELS);
            taps(inputs.clone(), outputs.clone(), &mut g);
            for (i, g) in inputs.zip(g.chunks_exact(9 * width)) {
                transformed_kernels(isa, g, width, &mut panel[i * width..], input * width);
            }
        }
    })
}

/// ∂L/∂W `[out, in, 3, 3]`: Gᵀ [Σ_tiles (Bᵀ d B)ᵀ (A ∂Y Aᵀ)] G, the adjoint of [`forward`] in its weights.
///
/// Threads share the places and input channels, never the sum over tiles.
pub fn backward_weight(isa: Isa, s: &WinogradShape, x: &[f32], dy: &[f32]) -> Buffer {
    let isa = isa.f32();
    let [rows, columns] = s.tiles();
    let (c, output) = (s.input, s.output);
    let total = x.len() / (s.height * s.width * c) * rows;
    // At least 128 tiles: a short sum would be mostly loading and storing its result.
    let at_once = (PIECE / (PLACES * columns * c.max(output))).max(128usize.div_ceil(columns)).min(total);
    let mut products = Buffer::zeros(PLACES * c * output);
    let outside = s.outside();
    let (mut v, mut m) =
        (Buffer::any(PLACES * at_once * columns * c), Buffer::any(PLACES * at_once * columns * output));
    for first in (0..total).step_by(at_once) {
        let tile_rows = first..(first + at_once).min(total);
        let tiles = tile_rows.len() * columns;
        for (i, tile_row) in tile_rows.clone().enumerate() {
            let to = &mut v[i * columns * c..];
            input_tiles(isa, s.picture_rows(x, tile_row, &outside), c, to, tiles * c);
        }
        let row = 2 * s.width * output;
        let of_tiles = &mut m[..PLACES * tiles * output];
        gradient_tiles(isa, &dy[first * row..tile_rows.end * row], output, columns, of_tiles);
        let share = c.div_ceil(c.div_ceil(48));
        let chunk = (CACHED / (share + output)).max(16);
        products.par_chunks_mut(c * output).enumerate().for_each(|(place, products)| {
            products.par_chunks_mut(share * output).enumerate().for_each(|(i, products)| {
                for first in (0..tiles).step_by(chunk) {
                    let product = Product {
                        a_row: 1,
                        a_step: c,
                        terms: &[Term { a: first * c, b: first, length: chunk.min(tiles - first) }],
                        b: Columns::Rows { values: &m[place * tiles * output..], stride: output },
                        rows: products.len() / output,
                        columns: output,
                        c_row: output,
                        start: Start::Accumulate,
                    };
                    product::run(isa, &product, &v[place * tiles * c + i * share..], products, &[(0, 0)]);
                }
            });
        });
    }
    let mut dw = Buffer::any(9 * c * output);
    let mut g = vec![0.0; KERNELS * 9 * output];
    for first in (0..c).step_by(KERNELS) {
        let inputs = first..c.min(first + KERNELS);
        for (i, g) in inputs.clone().zip(g.chunks_exact_mut(9 * output)) {
            transposed_kernels(isa, &products[i * output..], c * output, g);
        }
        for (o, kernels) in dw.chunks_exact_mut(9 * c).enumerate() {
            let kernels = kernels[9 * first..][..9 * inputs.len()].as_chunks_mut::<9>().0;
            for (kernel, g) in kernels.iter_mut().zip(g.chunks_exact(9 * output)) {
                kernel.iter_mut().zip(g.chunks_exact(output)).for_each(|(to, taps)| *to = taps[o]);
            }
        }
    }
    dw
}
