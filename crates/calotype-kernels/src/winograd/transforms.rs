//! The four transforms of F(2×2, 3×3) and their adjoints: additions only, but for the halves of G.

use super::PLACES;
use crate::isa::by_isa;

/// Channels that are transformed together: one or two registers for each place of a tile.
pub const LANES: usize = 8;

pub type Lanes = [f32; LANES];

/// A row of channels in blocks of [`LANES`].
#[inline(always)]
pub fn blocks(x: &[f32], at: usize, c: usize) -> &[Lanes] {
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
    pub fn input_tiles(padded: &[f32], c: usize, columns: usize, tiles: usize, first: usize, v: &mut [f32]) {
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
    pub fn output_tiles(m: &[f32], c: usize, columns: usize, tiles: usize, bias: &[f32], y: &mut [f32]) {
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

/// G g Gᵀ, G = [1 0 0; ½ ½ ½; ½ −½ ½; 0 0 1], for the kernels of [`LANES`] output channels.
#[inline(always)]
pub fn transformed_kernels(g: [Lanes; 9]) -> [Lanes; PLACES] {
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

/// Gᵀ u G for the kernels of [`LANES`] output channels.
#[inline(always)]
pub fn transposed_kernels(u: [Lanes; PLACES]) -> [Lanes; 9] {
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
    pub fn gradient_tiles(dy: &[f32], c: usize, columns: usize, tiles: usize, m: &mut [f32]) {
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
