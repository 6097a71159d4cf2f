//! The forward pass.

use std::ops::Range;

use rayon::prelude::*;

use super::kernels::{packed, terms, transform};
use super::transforms::{input_tiles, output_tiles};
use super::{PIECE, PLACES, WinogradShape, depth};
use crate::conv2d::Taps;
use crate::grouped::in_groups;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::product::{self, Columns, Product, Start};

/// Tiles in a piece at least, where there are as many for each thread: they read the weights together.
const TILES: usize = 64;
/// Numbers of transformed kernels that are in memory at a time, unless every thread has a panel of its own then: 4 MiB.
const GROUP: usize = 1 << 20;

/// y = W ⋆ x + b over `[B, H, W, in]`, with weights that [`packed`] made. `isa` is not one with tiles.
pub fn forward(isa: Isa, s: &WinogradShape, x: &[f32], packed: &[f32], bias: &[f32]) -> Buffer {
    let pictures = Pictures::new(isa, s, x);
    let mut y = Buffer::any(pictures.output());
    y.par_chunks_mut(pictures.piece_of_output()).enumerate().for_each(|(piece, y)| {
        let mut v = Buffer::any(y.len() / (4 * s.output) * PLACES * pictures.depth);
        pictures.transformed(piece, &mut v);
        Kernels { packed, columns: 0..s.output }.multiply(isa, s, &v, &bias[..s.output], y);
    });
    y
}

/// [`forward`] with weights of which a few panels are transformed at a time, for all pictures, so that each of them goes
/// from memory to a cache once. The same bits.
pub(crate) fn forward_grouped(
    isa: Isa,
    s: &WinogradShape,
    x: &[f32],
    bias: &[f32],
    taps: impl Taps,
) -> Buffer {
    let pictures = Pictures::new(isa, s, x);
    if pictures.input() > PLACES * pictures.depth * s.output {
        // Rather all of the weights in memory than all of the transformed pictures.
        return forward(isa, s, x, &packed(isa, s.input, s.output, taps), bias);
    }
    let mut v = Buffer::any(pictures.input());
    v.par_chunks_mut(pictures.piece_of_input()).enumerate().for_each(|(piece, v)| {
        pictures.transformed(piece, v);
    });
    let mut y = Buffer::any(pictures.output());
    in_groups(isa, PLACES * pictures.depth, s.output, GROUP, |columns, panels| {
        transform(isa, s.input, columns.clone(), panels, &taps);
        let kernels = Kernels { packed: panels, columns: columns.clone() };
        let pieces =
            y.par_chunks_mut(pictures.piece_of_output()).zip(v.par_chunks(pictures.piece_of_input()));
        pieces.for_each(|(y, v)| kernels.multiply(isa, s, v, &bias[columns.clone()], y));
    });
    y
}

/// The input of a convolution in pieces of rows of tiles. All pictures are one long picture.
struct Pictures<'a> {
    isa: Isa,
    shape: &'a WinogradShape,
    x: &'a [f32],
    /// A row of zeros, for what lies above and below a picture.
    outside: Buffer,
    /// Numbers of a transformed place: its channels, or pairs of them.
    depth: usize,
    /// Rows of tiles.
    rows: usize,
    /// Rows of tiles in a piece.
    at_once: usize,
}

impl<'a> Pictures<'a> {
    fn new(isa: Isa, shape: &'a WinogradShape, x: &'a [f32]) -> Self {
        let [rows, columns] = shape.tiles();
        let rows = x.len() / (shape.height * shape.width * shape.input) * rows;
        // Many weights should meet many tiles while they are in a cache; but every thread has its pieces.
        let fits = PIECE / (PLACES * columns * shape.input.max(shape.output));
        let shared = rows.div_ceil(2 * rayon::current_num_threads());
        let at_once = fits.max(TILES.div_ceil(columns).min(shared)).clamp(1, rows.div_ceil(8).max(shared));
        Self { isa, shape, x, outside: shape.outside(), depth: depth(isa, shape.input), rows, at_once }
    }

    /// Tiles in a row.
    fn columns(&self) -> usize {
        self.shape.width / 2
    }

    /// Numbers of the transformed input.
    fn input(&self) -> usize {
        PLACES * self.rows * self.columns() * self.depth
    }

    /// Those of a piece that is not the last.
    fn piece_of_input(&self) -> usize {
        PLACES * self.at_once * self.columns() * self.depth
    }

    /// Numbers of the output.
    fn output(&self) -> usize {
        self.rows * 2 * self.shape.width * self.shape.output
    }

    /// Those of a piece that is not the last.
    fn piece_of_output(&self) -> usize {
        self.at_once * 2 * self.shape.width * self.shape.output
    }

    /// V = Bᵀ d B of a piece's tiles, `[16, tiles, in]`; in pairs where the products are.
    fn transformed(&self, piece: usize, v: &mut [f32]) {
        let (row, stride) = (self.columns() * self.depth, v.len() / PLACES);
        for i in 0..stride / row {
            let rows = self.shape.picture_rows(self.x, piece * self.at_once + i, &self.outside);
            input_tiles(self.isa, rows, self.shape.input, &mut v[i * row..], stride);
        }
    }
}

/// The kernels to some of the output channels, transformed.
struct Kernels<'a> {
    /// Panels of the channels, as [`transform`] makes them.
    packed: &'a [f32],
    columns: Range<usize>,
}

impl Kernels<'_> {
    /// These channels of y of a piece whose transformed tiles are `v`; `bias` has these channels only.
    fn multiply(&self, isa: Isa, s: &WinogradShape, v: &[f32], bias: &[f32], y: &mut [f32]) {
        let (depth, output) = (depth(isa, s.input), self.columns.len());
        let tiles = v.len() / (PLACES * depth);
        let mut m = Buffer::any(PLACES * tiles * output);
        for place in 0..PLACES {
            let product = Product {
                a_row: depth,
                a_step: 1,
                terms: &terms(depth, place),
                b: Columns::packed(isa, self.packed, PLACES * depth),
                rows: tiles,
                columns: output,
                c_row: output,
                start: Start::Zero,
            };
            let (v, m) = (&v[place * tiles * depth..], &mut m[place * tiles * output..]);
            product::run(isa, &product, v, m, &[(0, 0)]);
        }
        output_tiles(isa, &m, s.width / 2, bias, &mut y[self.columns.start..], s.output);
    }
}
