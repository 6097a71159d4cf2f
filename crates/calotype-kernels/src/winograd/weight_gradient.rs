//! The gradient of the weights.

use rayon::prelude::*;

use super::transforms::{gradient_tiles, input_tiles, transposed_kernels};
use super::{PIECE, PLACES, WinogradShape};
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::product::{self, Columns, Product, Start, Term};

/// Input channels whose kernels are written together.
const KERNELS: usize = 4;

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
    let mut products = Buffer::any(PLACES * c * output);
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
        let chunk = Product::cached_depth(share, output);
        products.par_chunks_mut(c * output).enumerate().for_each(|(place, products)| {
            products.par_chunks_mut(share * output).enumerate().for_each(|(i, products)| {
                for from in (0..tiles).step_by(chunk) {
                    let product = Product {
                        a_row: 1,
                        a_step: c,
                        terms: &[Term { a: from * c, b: from, length: chunk.min(tiles - from) }],
                        b: Columns::Rows { values: &m[place * tiles * output..], stride: output },
                        rows: products.len() / output,
                        columns: output,
                        c_row: output,
                        start: Start::first_or_more(tile_rows.start == 0 && from == 0),
                    };
                    product::in_bands(isa, &product, &v[place * tiles * c + i * share..], products);
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
