//! Transformed kernels, in the order in which the products read them.

use std::ops::Range;

use rayon::prelude::*;

use super::PLACES;
use super::transforms::transformed_kernels;
use crate::conv2d::{KERNELS, Taps};
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::panels::room;
use crate::product::Term;

/// Input channels whose transformed kernels lie together. Places that begin a power of two apart would meet in the same
/// lines of a cache.
const CHANNELS: usize = 136;

/// Where a place of the transformed kernels lies in a panel: a term for each stretch of input channels.
pub(super) fn terms(input: usize, place: usize) -> Vec<Term> {
    let stretches = (0..input).step_by(CHANNELS).map(|first| {
        let length = CHANNELS.min(input - first);
        Term { a: first, b: PLACES * first + place * length, length }
    });
    stretches.collect()
}

/// U = G g Gᵀ of every kernel: panels of output channels as in [`mod@crate::panels`], in each [`CHANNELS`] input channels
/// after the other, of which the 16 places one after the other.
pub(crate) fn packed(isa: Isa, input: usize, output: usize, taps: impl Taps) -> Buffer {
    let mut packed = room(isa, PLACES * input, output.div_ceil(isa.panel_width()));
    transform(isa, input, 0..output, &mut packed, &taps);
    packed
}

/// The panels of some output channels, beginning with a panel's first.
pub(super) fn transform(isa: Isa, input: usize, outputs: Range<usize>, packed: &mut [f32], taps: &impl Taps) {
    let width = isa.panel_width();
    packed.par_chunks_mut(PLACES * input * width).enumerate().for_each(|(i, panel)| {
        let first = outputs.start + i * width;
        let mine = first..outputs.end.min(first + width);
        panel.par_chunks_mut(PLACES * CHANNELS * width).enumerate().for_each(|(stretch, u)| {
            let inputs = u.len() / (PLACES * width);
            // Columns that are not there stay zero.
            let mut g = vec![0.0; KERNELS * 9 * width];
            for first in (0..inputs).step_by(KERNELS) {
                let count = KERNELS.min(inputs - first);
                let from = stretch * CHANNELS + first;
                taps(from..from + count, mine.clone(), &mut g);
                for (i, g) in g.chunks_exact(9 * width).take(count).enumerate() {
                    transformed_kernels(isa, g, width, &mut u[(first + i) * width..], inputs * width);
                }
            }
        });
    });
}
