//! A convolution's weights in the order in which a product reads them.

use std::ops::Range;

use super::{Conv2dShape, Form};
use crate::bf16;
use crate::isa::Isa;
use crate::linear;
use crate::memory::Buffer;
use crate::panels::{pack_panel_transposed, pack_panels};
use crate::stored::{Stored, Weights, by_storage};
use crate::winograd;

/// Channels whose kernels are read together, even: what lies side by side in memory is.
pub(crate) const KERNELS: usize = 16;

/// The weights as [`forward_packed`](super::forward_packed) reads them, for shapes of the same [`Conv2dShape::form`].
pub fn packed(isa: Isa, s: &Conv2dShape, weight: Weights) -> Buffer {
    let (sides, places) = ([s.input, s.output], s.places());
    let form = s.form(isa);
    // Not a product of pairs.
    let isa = if form == Form::Windows { isa.f32() } else { isa };
    match form {
        Form::Linear => linear::packed(isa, weight, s.input),
        Form::Winograd | Form::WinogradPairs => {
            by_storage!(weight, weight => winograd::packed(isa, s.input, s.output, taps(isa, s, weight)))
        }
        Form::Pairs => by_storage!(weight, weight => windows(isa, sides, places, true, taps(isa, s, weight))),
        Form::Windows => {
            by_storage!(weight, weight => windows(isa, sides, places, false, taps(isa, s, weight)))
        }
    }
}

/// Writes tap t of the kernels between channels `from` (of the inner dimension) and `to` (columns) to place
/// (places·c + t)·[`Isa::panel_width`] + j, where c and j are counted from the beginnings of the ranges.
pub(crate) trait Taps: Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync {}

impl<F: Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync> Taps for F {}

/// From input channels to output channels.
pub(super) fn taps<T: Stored>(isa: Isa, s: &Conv2dShape, weight: &[T]) -> impl Taps {
    let (places, width) = (s.places(), isa.panel_width());
    move |from: Range<usize>, to: Range<usize>, g: &mut [f32]| {
        let kernels = &weight[(to.start * s.input + from.start) * places..];
        pack_panel_transposed(
            isa,
            &mut g[..from.len() * places * width],
            to.len(),
            kernels,
            s.input * places,
        );
    }
}

/// From output channels to input channels, each kernel from its last place to its first.
pub(super) fn flipped_taps(isa: Isa, s: &Conv2dShape, weight: &[f32]) -> impl Taps {
    let (places, width) = (s.places(), isa.panel_width());
    move |from: Range<usize>, to: Range<usize>, g: &mut [f32]| {
        for (o, g) in from.zip(g.chunks_exact_mut(places * width)) {
            let kernels =
                weight[(o * s.input + to.start) * places..][..to.len() * places].chunks_exact(places);
            for (lane, kernel) in kernels.enumerate() {
                g.chunks_exact_mut(width).zip(kernel.iter().rev()).for_each(|(row, tap)| row[lane] = *tap);
            }
        }
    }
}

/// B row (place of the window, c) holds the weights between channel c of the inner dimension and every column; in pairs
/// of channels if `pairs`, of which there is an even number then.
pub(super) fn windows(
    isa: Isa,
    [depth, columns]: [usize; 2],
    places: usize,
    pairs: bool,
    taps: impl Taps,
) -> Buffer {
    let (width, in_row) = (isa.panel_width(), if pairs { 2 } else { 1 });
    let rows = depth / in_row;
    pack_panels(isa, places * rows, columns, |panel, mine| {
        let mut g = vec![0.0; KERNELS * places * width];
        for first in (0..depth).step_by(KERNELS) {
            let channels = first..depth.min(first + KERNELS);
            taps(channels.clone(), mine.clone(), &mut g);
            for (i, g) in g.chunks_exact(in_row * places * width).take(channels.len() / in_row).enumerate() {
                let (kernel, next) = g.split_at(places * width);
                for place in 0..places {
                    let from = place * width..(place + 1) * width;
                    let to = &mut panel[(place * rows + first / in_row + i) * width..][..width];
                    if pairs {
                        bf16::across(isa, &kernel[from.clone()], &next[from], to);
                    } else {
                        to.copy_from_slice(&kernel[from]);
                    }
                }
            }
        }
    })
}
