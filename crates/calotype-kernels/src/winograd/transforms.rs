//! The four transforms of F(2×2, 3×3) and their adjoints: additions only, but for the halves of G.

use super::PLACES;
use crate::bf16;
use crate::isa::{Isa, by_isa};

/// What the channels on both sides are a multiple of.
pub const LANES: usize = 8;

/// Channels that are transformed together: a vector, or two.
type Lanes<const N: usize> = [f32; N];

#[inline(always)]
fn add<const N: usize>(a: Lanes<N>, b: Lanes<N>) -> Lanes<N> {
    let mut sum = [0.0; N];
    for i in 0..N {
        sum[i] = a[i] + b[i];
    }
    sum
}

#[inline(always)]
fn sub<const N: usize>(a: Lanes<N>, b: Lanes<N>) -> Lanes<N> {
    let mut difference = [0.0; N];
    for i in 0..N {
        difference[i] = a[i] - b[i];
    }
    difference
}

#[inline(always)]
fn half<const N: usize>(a: Lanes<N>) -> Lanes<N> {
    let mut half = [0.0; N];
    for i in 0..N {
        half[i] = 0.5 * a[i];
    }
    half
}

/// Whether channels are transformed in sixteens, and not in eights.
fn wide(isa: Isa, channels: usize) -> bool {
    isa.lanes() == 16 && channels.is_multiple_of(16)
}

/// V = Bᵀ d B for a row of tiles, Bᵀ = [1 0 −1 0; 0 1 1 0; 0 −1 1 0; 0 1 0 −1]. `rows`: the four rows of the picture,
/// `[W, in]`, of which the first and last pixels have a zero beside them. Place p of tile t goes to
/// `v[p·stride + t·in..]`; rounded to pairs of channels where `isa` takes these, which are half as many: `[p·stride +
/// t·in/2..]`.
pub fn input_tiles(isa: Isa, rows: [&[f32]; 4], c: usize, v: &mut [f32], stride: usize) {
    input_row(isa, wide(isa, c), isa.takes_pairs(), rows, c, v, stride);
}

by_isa! {
    fn input_row(wide: bool, pairs: bool, rows: [&[f32]; 4], c: usize, v: &mut [f32], stride: usize) {
        match (wide, pairs) {
            (true, false) => input_row_of::<16, 16>(rows, c, v, stride, |lanes| lanes),
            (false, false) => input_row_of::<LANES, LANES>(rows, c, v, stride, |lanes| lanes),
            (true, true) => input_row_of::<16, 8>(rows, c, v, stride, paired),
            (false, true) => input_row_of::<LANES, 4>(rows, c, v, stride, paired),
        }
    }
}

/// Pairs of neighbours.
#[inline(always)]
fn paired<const N: usize, const M: usize>(lanes: Lanes<N>) -> [f32; M] {
    let mut pairs = [0.0; M];
    for i in 0..M {
        pairs[i] = bf16::pair(lanes[2 * i], lanes[2 * i + 1]);
    }
    pairs
}

/// `N` channels become `M` numbers of v.
#[inline(always)]
fn input_row_of<const N: usize, const M: usize>(
    rows: [&[f32]; 4],
    c: usize,
    v: &mut [f32],
    stride: usize,
    stored: impl Fn(Lanes<N>) -> [f32; M],
) {
    let (n, stride, v) = (c / N, stride / M, v.as_chunks_mut::<M>().0);
    let [r0, r1, r2, r3] = rows.map(|row| row.as_chunks::<N>().0);
    let columns = r0.len() / n / 2;
    for t in 0..columns {
        for k in 0..n {
            let mut b = [[[0.0f32; N]; 4]; 4];
            for (j, column) in b.iter_mut().enumerate() {
                if (t == 0 && j == 0) || (t + 1 == columns && j == 3) {
                    continue;
                }
                let at = (2 * t + j - 1) * n + k;
                let (d0, d1, d2, d3) = (r0[at], r1[at], r2[at], r3[at]);
                *column = [sub(d0, d2), add(d1, d2), sub(d2, d1), sub(d1, d3)];
            }
            let at = t * n + k;
            for i in 0..4 {
                let [b0, b1, b2, b3] = [b[0][i], b[1][i], b[2][i], b[3][i]];
                v[4 * i * stride + at] = stored(sub(b0, b2));
                v[(4 * i + 1) * stride + at] = stored(add(b1, b2));
                v[(4 * i + 2) * stride + at] = stored(sub(b2, b1));
                v[(4 * i + 3) * stride + at] = stored(sub(b1, b3));
            }
        }
    }
}

/// Y = Aᵀ m A + b, Aᵀ = [1 1 1 0; 0 1 −1 −1], from `[16, tiles, out]` to rows of pixels, `columns` tiles each. A pixel of
/// `y` has `channels` numbers, of which the first `out` are written.
pub fn output_tiles(isa: Isa, m: &[f32], columns: usize, bias: &[f32], y: &mut [f32], channels: usize) {
    output_rows(isa, wide(isa, bias.len()) && wide(isa, channels), m, columns, bias, y, channels);
}

by_isa! {
    fn output_rows(wide: bool, m: &[f32], columns: usize, bias: &[f32], y: &mut [f32], channels: usize) {
        if wide {
            output_rows_of::<16>(m, columns, bias, y, channels);
        } else {
            output_rows_of::<LANES>(m, columns, bias, y, channels);
        }
    }
}

#[inline(always)]
fn output_rows_of<const N: usize>(m: &[f32], columns: usize, bias: &[f32], y: &mut [f32], channels: usize) {
    let (m, bias, y) = (m.as_chunks::<N>().0, bias.as_chunks::<N>().0, y.as_chunks_mut::<N>().0);
    let (n, pixel) = (bias.len(), channels / N);
    let (row, stride) = (2 * columns * pixel, m.len() / PLACES);
    for t in 0..stride / n {
        let to = t / columns * 2 * row + t % columns * 2 * pixel;
        for k in 0..n {
            let at = t * n + k;
            let mut a = [[[0.0f32; N]; 4]; 2];
            for j in 0..4 {
                let (m0, m1) = (m[j * stride + at], m[(4 + j) * stride + at]);
                let (m2, m3) = (m[(8 + j) * stride + at], m[(12 + j) * stride + at]);
                a[0][j] = add(add(m0, m1), m2);
                a[1][j] = sub(sub(m1, m2), m3);
            }
            for i in 0..2 {
                let [a0, a1, a2, a3] = a[i];
                y[to + i * row + k] = add(add(add(a0, a1), a2), bias[k]);
                y[to + i * row + pixel + k] = add(sub(sub(a1, a2), a3), bias[k]);
            }
        }
    }
}

/// A ∂Y Aᵀ of rows of pixels, `columns` tiles each, Aᵀ = [1 1 1 0; 0 1 −1 −1]: `[16, tiles, out]`.
pub fn gradient_tiles(isa: Isa, dy: &[f32], c: usize, columns: usize, m: &mut [f32]) {
    gradient_rows(isa, wide(isa, c), dy, c, columns, m);
}

by_isa! {
    fn gradient_rows(wide: bool, dy: &[f32], c: usize, columns: usize, m: &mut [f32]) {
        if wide {
            gradient_rows_of::<16>(dy, c, columns, m);
        } else {
            gradient_rows_of::<LANES>(dy, c, columns, m);
        }
    }
}

#[inline(always)]
fn gradient_rows_of<const N: usize>(dy: &[f32], c: usize, columns: usize, m: &mut [f32]) {
    let (n, dy, m) = (c / N, dy.as_chunks::<N>().0, m.as_chunks_mut::<N>().0);
    let (row, stride, zero) = (2 * columns * n, m.len() / PLACES, [0.0f32; N]);
    for t in 0..stride / n {
        let from = t / columns * 2 * row + t % columns * 2 * n;
        for k in 0..n {
            let mut a = [[zero; 2]; 4];
            for j in 0..2 {
                let (y0, y1) = (dy[from + j * n + k], dy[from + row + j * n + k]);
                [a[0][j], a[1][j], a[2][j], a[3][j]] = [y0, add(y0, y1), sub(y0, y1), sub(zero, y1)];
            }
            let at = t * n + k;
            for i in 0..4 {
                let [y0, y1] = a[i];
                m[4 * i * stride + at] = y0;
                m[(4 * i + 1) * stride + at] = add(y0, y1);
                m[(4 * i + 2) * stride + at] = sub(y0, y1);
                m[(4 * i + 3) * stride + at] = sub(zero, y1);
            }
        }
    }
}

by_isa! {
    /// G g Gᵀ, G = [1 0 0; ½ ½ ½; ½ −½ ½; 0 0 1], for the kernels from one input channel to as many output channels as
    /// `width`, a multiple of [`LANES`]. `g`: `[9, width]`; place p goes to `u[p·stride..]`.
    pub fn transformed_kernels(g: &[f32], width: usize, u: &mut [f32], stride: usize) {
        let (n, stride) = (width / LANES, stride / LANES);
        let (g, u) = (g.as_chunks::<LANES>().0, u.as_chunks_mut::<LANES>().0);
        for k in 0..n {
            let mut columns = [[[0.0f32; LANES]; 4]; 3];
            for j in 0..3 {
                columns[j] = kernel_column(g[j * n + k], g[(3 + j) * n + k], g[(6 + j) * n + k]);
            }
            for i in 0..4 {
                let row = kernel_column(columns[0][i], columns[1][i], columns[2][i]);
                for j in 0..4 {
                    u[(4 * i + j) * stride + k] = row[j];
                }
            }
        }
    }
}

#[inline(always)]
fn kernel_column<const N: usize>(a: Lanes<N>, b: Lanes<N>, c: Lanes<N>) -> [Lanes<N>; 4] {
    let ends = add(a, c);
    [a, half(add(ends, b)), half(sub(ends, b)), c]
}

by_isa! {
    /// Gᵀ u G for the kernels from one input channel to all output channels. `u`: place p at `u[p·stride..]`;
    /// `g`: `[9, out]`.
    pub fn transposed_kernels(u: &[f32], stride: usize, g: &mut [f32]) {
        let (n, stride) = (g.len() / 9 / LANES, stride / LANES);
        let (u, g) = (u.as_chunks::<LANES>().0, g.as_chunks_mut::<LANES>().0);
        for k in 0..n {
            let mut columns = [[[0.0f32; LANES]; 3]; 4];
            for j in 0..4 {
                let [u0, u1] = [u[j * stride + k], u[(4 + j) * stride + k]];
                columns[j] = gradient_column(u0, u1, u[(8 + j) * stride + k], u[(12 + j) * stride + k]);
            }
            for i in 0..3 {
                let row = gradient_column(columns[0][i], columns[1][i], columns[2][i], columns[3][i]);
                for j in 0..3 {
                    g[(3 * i + j) * n + k] = row[j];
                }
            }
        }
    }
}

#[inline(always)]
fn gradient_column<const N: usize>(a: Lanes<N>, b: Lanes<N>, c: Lanes<N>, d: Lanes<N>) -> [Lanes<N>; 3] {
    let sum = half(add(b, c));
    [add(a, sum), half(sub(b, c)), add(sum, d)]
}
