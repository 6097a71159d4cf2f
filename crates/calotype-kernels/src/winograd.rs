//! 3×3 convolution with 16 multiplications for four outputs, where the definition has 36.
//!
//! F(2×2, 3×3) of Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks"
//! (arXiv:1509.09308): a 4×4 tile d of the padded input and the kernel g give a 2×2 tile of the output,
//! Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A. Summed over the input channels, ⊙ is a matrix product for each of the 16
//! places.

use rayon::prelude::*;

use crate::isa::{Isa, by_isa};
use crate::linear::CACHED;
use crate::product::{self, Columns, Product, Start, Term, pack_panels};

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
}

/// y = W ⋆ x + b over `[B, H, W, in]`; `tap(o, i)` are the nine weights from channel i to channel o, row
/// by row.
pub fn forward(
    isa: Isa,
    s: &WinogradShape,
    x: &[f32],
    tap: impl Fn(usize, usize) -> [f32; 9],
    bias: &[f32],
) -> Vec<f32> {
    let weights = transformed_weights(isa, s, tap);
    let [rows, columns] = s.tiles();
    // Rows of tiles: all pictures are one long picture of `batch · rows` of them.
    let batch = x.len() / (s.height * s.width * s.input);
    let total = batch * rows;
    let at_once = (PIECE / (PLACES * columns * s.input.max(s.output))).clamp(1, total.div_ceil(8));
    let row = 2 * s.width * s.output;
    let mut y = vec![0.0; total * row];
    y.par_chunks_mut(at_once * row).enumerate().for_each_init(
        || (Vec::new(), Vec::new(), Vec::new()),
        |(padded, v, m), (piece, y)| {
            let first = piece * at_once;
            let tile_rows = first..first + y.len() / row;
            let tiles = tile_rows.len() * columns;
            v.resize(PLACES * tiles * s.input, 0.0f32);
            m.resize(PLACES * tiles * s.output, 0.0f32);
            for (i, tile_row) in tile_rows.enumerate() {
                let picture = &x[tile_row / rows * s.height * s.width * s.input..];
                pad_rows(s, &picture[..s.height * s.width * s.input], 2 * (tile_row % rows), padded);
                input_tiles(isa, padded, s.input, columns, tiles, i * columns, v);
            }
            for place in 0..PLACES {
                let product = Product {
                    a_row: s.input,
                    a_step: 1,
                    terms: &[Term { a: 0, b: 0, length: s.input }],
                    b: Columns::Packed(&weights[place]),
                    rows: tiles,
                    columns: s.output,
                    c_row: s.output,
                    start: Start::Zero,
                };
                let (v, m) = (&v[place * tiles * s.input..], &mut m[place * tiles * s.output..]);
                product::run(isa, &product, v, m, &[(0, 0)]);
            }
            output_tiles(isa, m, s.output, columns, tiles, bias, y);
        },
    );
    y
}

/// U = G g Gᵀ for each place, packed for the product.
fn transformed_weights(isa: Isa, s: &WinogradShape, tap: impl Fn(usize, usize) -> [f32; 9]) -> Vec<Vec<f32>> {
    let mut u = vec![0.0; PLACES * s.input * s.output];
    for i in 0..s.input {
        for o in (0..s.output).step_by(LANES) {
            let kernels: [[f32; 9]; LANES] = std::array::from_fn(|lane| tap(o + lane, i));
            let g: [Lanes; 9] = std::array::from_fn(|t| std::array::from_fn(|lane| kernels[lane][t]));
            for (place, lanes) in transformed_kernels(g).into_iter().enumerate() {
                u[(place * s.input + i) * s.output + o..][..LANES].copy_from_slice(&lanes);
            }
        }
    }
    u.chunks_exact(s.input * s.output)
        .map(|u| {
            pack_panels(isa, s.input, s.output, |panel, width, outputs| {
                for (to, from) in panel.chunks_exact_mut(width).zip(u.chunks_exact(s.output)) {
                    to[..outputs.len()].copy_from_slice(&from[outputs.clone()]);
                }
            })
        })
        .collect()
}

/// G g Gᵀ, G = [1 0 0; ½ ½ ½; ½ −½ ½; 0 0 1], for the kernels of [`LANES`] output channels.
#[inline(always)]
fn transformed_kernels(g: [Lanes; 9]) -> [Lanes; PLACES] {
    let half = |a: Lanes| a.map(|a| 0.5 * a);
    let column = |a: Lanes, b: Lanes, c: Lanes| {
        let ends = add(a, c);
        [a, half(add(ends, b)), half(sub(ends, b)), c]
    };
    let columns: [[Lanes; 4]; 3] = std::array::from_fn(|j| column(g[j], g[3 + j], g[6 + j]));
    let mut u = [[0.0; LANES]; PLACES];
    for i in 0..4 {
        u[4 * i..][..4].copy_from_slice(&column(columns[0][i], columns[1][i], columns[2][i]));
    }
    u
}

/// Four rows of the padded picture, the first at row `y` − 1: `[4, W + 2, in]`.
fn pad_rows(s: &WinogradShape, picture: &[f32], y: usize, padded: &mut Vec<f32>) {
    let (row, wide) = (s.width * s.input, (s.width + 2) * s.input);
    padded.resize(4 * wide, 0.0);
    for (i, to) in padded.chunks_exact_mut(wide).enumerate() {
        to[..s.input].fill(0.0);
        to[wide - s.input..].fill(0.0);
        let to = &mut to[s.input..][..row];
        match (y + i).checked_sub(1).filter(|&y| y < s.height) {
            Some(y) => to.copy_from_slice(&picture[y * row..][..row]),
            None => to.fill(0.0),
        }
    }
}

/// Channels that are transformed together: one or two registers for each place of a tile.
const LANES: usize = 8;

type Lanes = [f32; LANES];

/// A row of channels in blocks of [`LANES`].
#[inline(always)]
fn blocks(x: &[f32], at: usize, c: usize) -> &[Lanes] {
    x[at..at + c].as_chunks().0
}

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|i| a[i] + b[i])
}

#[inline(always)]
fn sub(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|i| a[i] - b[i])
}

by_isa! {
    /// V = Bᵀ d B for a row of tiles, Bᵀ = [1 0 −1 0; 0 1 1 0; 0 −1 1 0; 0 1 0 −1]: place p of tile t goes
    /// to `[p, first + t]` of `[16, tiles, in]`.
    fn input_tiles(padded: &[f32], c: usize, columns: usize, tiles: usize, first: usize, v: &mut [f32]) {
        let wide = (2 * columns + 2) * c;
        let n = c / LANES;
        let mut places = v.chunks_exact_mut(tiles * c);
        let mut v: [&mut [f32]; PLACES] = std::array::from_fn(|_| places.next().expect("sixteen places"));
        for t in 0..columns {
            let d: [&[Lanes]; PLACES] =
                std::array::from_fn(|p| &blocks(padded, p / 4 * wide + (2 * t + p % 4) * c, c)[..n]);
            let to = v.each_mut().map(|v| &mut v[(first + t) * c..][..c].as_chunks_mut::<LANES>().0[..n]);
            for k in 0..n {
                let mut b = [[[0.0f32; LANES]; 4]; 4];
                for j in 0..4 {
                    let [d0, d1, d2, d3] = [d[j][k], d[4 + j][k], d[8 + j][k], d[12 + j][k]];
                    [b[0][j], b[1][j], b[2][j], b[3][j]] = [sub(d0, d2), add(d1, d2), sub(d2, d1), sub(d1, d3)];
                }
                for i in 0..4 {
                    let [b0, b1, b2, b3] = b[i];
                    to[4 * i][k] = sub(b0, b2);
                    to[4 * i + 1][k] = add(b1, b2);
                    to[4 * i + 2][k] = sub(b2, b1);
                    to[4 * i + 3][k] = sub(b1, b3);
                }
            }
        }
    }
}

by_isa! {
    /// Y = Aᵀ m A + b, Aᵀ = [1 1 1 0; 0 1 −1 −1], from `[16, tiles, out]` to rows of pixels.
    fn output_tiles(m: &[f32], c: usize, columns: usize, tiles: usize, bias: &[f32], y: &mut [f32]) {
        let row = 2 * columns * c;
        let n = c / LANES;
        let bias = &blocks(bias, 0, c)[..n];
        for t in 0..tiles {
            let m: [&[Lanes]; PLACES] = std::array::from_fn(|p| &blocks(m, (p * tiles + t) * c, c)[..n]);
            let at = t / columns * 2 * row + t % columns * 2 * c;
            let (upper, lower) = y[at..].split_at_mut(row);
            let (left, right) = upper[..2 * c].split_at_mut(c);
            let (below_left, below_right) = lower[..2 * c].split_at_mut(c);
            let to = [left, right, below_left, below_right].map(|y| &mut y.as_chunks_mut::<LANES>().0[..n]);
            for k in 0..n {
                let mut a = [[[0.0f32; LANES]; 4]; 2];
                for j in 0..4 {
                    let [m0, m1, m2, m3] = [m[j][k], m[4 + j][k], m[8 + j][k], m[12 + j][k]];
                    a[0][j] = add(add(m0, m1), m2);
                    a[1][j] = sub(sub(m1, m2), m3);
                }
                for i in 0..2 {
                    let [a0, a1, a2, a3] = a[i];
                    to[2 * i][k] = add(add(add(a0, a1), a2), bias[k]);
                    to[2 * i + 1][k] = add(sub(sub(a1, a2), a3), bias[k]);
                }
            }
        }
    }
}

/// ∂L/∂W `[out, in, 3, 3]`: Gᵀ [Σ_tiles (Bᵀ d B)ᵀ (A ∂Y Aᵀ)] G, the adjoint of [`forward`] in its weights.
///
/// Threads share the places and input channels, never the sum over tiles.
pub fn backward_weight(isa: Isa, s: &WinogradShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let [rows, columns] = s.tiles();
    let (c, output) = (s.input, s.output);
    let total = x.len() / (s.height * s.width * c) * rows;
    // At least 128 tiles: a short sum would be mostly loading and storing its result.
    let at_once = (PIECE / (PLACES * columns * c.max(output))).max(128usize.div_ceil(columns)).min(total);
    let mut products = vec![0.0; PLACES * c * output];
    let (mut padded, mut v, mut m) = (Vec::new(), Vec::new(), Vec::new());
    for first in (0..total).step_by(at_once) {
        let tile_rows = first..(first + at_once).min(total);
        let tiles = tile_rows.len() * columns;
        v.resize(PLACES * tiles * c, 0.0f32);
        m.resize(PLACES * tiles * output, 0.0f32);
        for (i, tile_row) in tile_rows.clone().enumerate() {
            let picture = &x[tile_row / rows * s.height * s.width * c..][..s.height * s.width * c];
            pad_rows(s, picture, 2 * (tile_row % rows), &mut padded);
            input_tiles(isa, &padded, c, columns, tiles, i * columns, &mut v);
        }
        let row = 2 * s.width * output;
        gradient_tiles(isa, &dy[first * row..tile_rows.end * row], output, columns, tiles, &mut m);
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
    let mut dw = vec![0.0; 9 * c * output];
    for i in 0..c {
        for o in (0..output).step_by(LANES) {
            let u: [Lanes; PLACES] =
                std::array::from_fn(|p| blocks(&products, (p * c + i) * output + o, LANES)[0]);
            for (t, lanes) in transposed_kernels(u).into_iter().enumerate() {
                for (lane, value) in lanes.into_iter().enumerate() {
                    dw[((o + lane) * c + i) * 9 + t] = value;
                }
            }
        }
    }
    dw
}

/// Gᵀ u G for the kernels of [`LANES`] output channels.
#[inline(always)]
fn transposed_kernels(u: [Lanes; PLACES]) -> [Lanes; 9] {
    let half = |a: Lanes| a.map(|a| 0.5 * a);
    let column = |u0: Lanes, u1: Lanes, u2: Lanes, u3: Lanes| {
        let sum = half(add(u1, u2));
        [add(u0, sum), half(sub(u1, u2)), add(sum, u3)]
    };
    let columns: [[Lanes; 3]; 4] = std::array::from_fn(|j| column(u[j], u[4 + j], u[8 + j], u[12 + j]));
    let mut g = [[0.0; LANES]; 9];
    for i in 0..3 {
        g[3 * i..][..3].copy_from_slice(&column(columns[0][i], columns[1][i], columns[2][i], columns[3][i]));
    }
    g
}

by_isa! {
    /// A ∂Y Aᵀ of rows of pixels, Aᵀ = [1 1 1 0; 0 1 −1 −1]: `[16, tiles, out]`.
    fn gradient_tiles(dy: &[f32], c: usize, columns: usize, tiles: usize, m: &mut [f32]) {
        let row = 2 * columns * c;
        let n = c / LANES;
        let mut places = m.chunks_exact_mut(tiles * c);
        let mut m: [&mut [f32]; PLACES] = std::array::from_fn(|_| places.next().expect("sixteen places"));
        for t in 0..tiles {
            let at = t / columns * 2 * row + t % columns * 2 * c;
            let dy: [&[Lanes]; 4] =
                std::array::from_fn(|p| &blocks(dy, at + p / 2 * row + p % 2 * c, c)[..n]);
            let to = m.each_mut().map(|m| &mut m[t * c..][..c].as_chunks_mut::<LANES>().0[..n]);
            for k in 0..n {
                let mut a = [[[0.0f32; LANES]; 2]; 4];
                for j in 0..2 {
                    let [y0, y1] = [dy[j][k], dy[2 + j][k]];
                    [a[0][j], a[1][j], a[2][j], a[3][j]] = [y0, add(y0, y1), sub(y0, y1), sub([0.0; LANES], y1)];
                }
                for i in 0..4 {
                    let [y0, y1] = a[i];
                    to[4 * i][k] = y0;
                    to[4 * i + 1][k] = add(y0, y1);
                    to[4 * i + 2][k] = sub(y0, y1);
                    to[4 * i + 3][k] = sub([0.0; LANES], y1);
                }
            }
        }
    }
}
