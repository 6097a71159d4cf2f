//! Transformed kernels, in the order in which the products read them.

use std::ops::Range;

use rayon::prelude::*;

use super::transforms::transformed_kernels;
use super::{PLACES, depth};
use crate::bf16;
use crate::conv2d::{KERNELS, Taps};
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::panels::room;
use crate::product::Term;

/// Rows of transformed kernels, each of an input channel or a pair of them, that lie together. Places that begin a power
/// of two apart would meet in the same lines of a cache.
const ROWS: usize = 136;
/// Columns of a panel at most: [`Isa::panel_width`].
const WIDEST: usize = 32;

/// Where a place of the transformed kernels of so many rows lies in a panel: a term for each stretch of them.
pub(super) fn terms(depth: usize, place: usize) -> Vec<Term> {
    let stretches = (0..depth).step_by(ROWS).map(|first| {
        let length = ROWS.min(depth - first);
        Term { a: first, b: PLACES * first + place * length, length }
    });
    stretches.collect()
}

/// U = G g Gᵀ of every kernel: panels of output channels as in [`mod@crate::panels`], in each [`ROWS`] rows after
/// the other, of which the 16 places one after the other. A row is of an input channel, or of two where `isa` takes pairs.
pub(crate) fn packed(isa: Isa, input: usize, output: usize, taps: impl Taps) -> Buffer {
    let mut packed = room(isa, PLACES * depth(isa, input), output.div_ceil(isa.panel_width()));
    transform(isa, input, 0..output, &mut packed, &taps);
    packed
}

/// The panels of some output channels, beginning with a panel's first.
pub(super) fn transform(isa: Isa, input: usize, outputs: Range<usize>, packed: &mut [f32], taps: &impl Taps) {
    let (width, depth) = (isa.panel_width(), depth(isa, input));
    let in_row = input / depth;
    packed.par_chunks_mut(PLACES * depth * width).enumerate().for_each(|(i, panel)| {
        let first = outputs.start + i * width;
        let mine = first..outputs.end.min(first + width);
        panel.par_chunks_mut(PLACES * ROWS * width).enumerate().for_each(|(stretch, u)| {
            let rows = u.len() / (PLACES * width);
            // Columns that are not there stay zero.
            let mut g = vec![0.0; KERNELS * 9 * width];
            for first in (0..rows * in_row).step_by(KERNELS) {
                let count = KERNELS.min(rows * in_row - first);
                let from = stretch * ROWS * in_row + first;
                taps(from..from + count, mine.clone(), &mut g);
                for (i, g) in g.chunks_exact(in_row * 9 * width).take(count / in_row).enumerate() {
                    let u = &mut u[(first / in_row + i) * width..];
                    match g.split_at(9 * width) {
                        (kernels, []) => transformed_kernels(isa, kernels, width, u, rows * width),
                        (first, second) => transformed_pair(isa, [first, second], width, u, rows * width),
                    }
                }
            }
        });
    });
}

/// [`transformed_kernels`] of two input channels, in pairs.
fn transformed_pair(isa: Isa, g: [&[f32]; 2], width: usize, u: &mut [f32], stride: usize) {
    let mut both = [[0.0; PLACES * WIDEST]; 2];
    for (g, u) in g.into_iter().zip(&mut both) {
        transformed_kernels(isa, g, width, u, width);
    }
    let [first, second] = both.each_ref().map(|u| u.chunks_exact(width));
    for ((first, second), u) in first.zip(second).zip(u.chunks_mut(stride)).take(PLACES) {
        bf16::across(isa, first, second, &mut u[..width]);
    }
}
