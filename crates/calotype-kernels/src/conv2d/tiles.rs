//! Convolutions by tiles of AMX, of pairs of bf16 channels: forward and both gradients.

use std::ops::Range;

use rayon::prelude::*;

use super::input_gradient::Phase;
use super::{Conv2dShape, packing};
use crate::amx::columns::{self, Panel};
use crate::amx::operands::{self, OUTSIDE};
use crate::amx::tile::PANEL;
use crate::amx::windows::{Run, Windows};
use crate::bf16;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::panels::pack_panels;

/// y of an even number of channels. `bias` is as long as the channels up to a whole number of vectors.
pub fn forward(isa: Isa, s: &Conv2dShape, x: &[f32], packed: &[f32], bias: &[f32]) -> Buffer {
    let [down, right] = s.pad_begin.map(|pad| -(pad as isize));
    let pairs = bf16::pairs_of_columns(isa, x, s.input);
    let windows = Windows {
        pictures: &pairs,
        height: s.height,
        width: s.width,
        channels: s.input / 2,
        grid: [s.out_height, s.out_width],
        stride: s.stride,
        runs: runs(s, down, right),
    };
    let mut y = Buffer::aligned(s.output_len());
    windows.multiply(isa, packed, Some(bias), s.output, |window| window * s.output, &mut y);
    y
}

/// The rows of a kernel whose first place lies there.
fn runs(s: &Conv2dShape, down: isize, right: isize) -> Vec<Run> {
    (0..s.kernel[0]).map(|row| Run { down: down + row as isize, right, count: s.kernel[1] }).collect()
}

/// ∂L/∂x where the window moves by a pixel, of an even number of channels of ∂L/∂y.
pub fn backward_input(isa: Isa, s: &Conv2dShape, dy: &[f32], weight: &[f32]) -> Buffer {
    // Place i of the kernel, which is flipped, meets dy[n + pad_begin − (k − 1) + i].
    let [down, right] = [0, 1].map(|axis| s.pad_begin[axis] as isize - (s.kernel[axis] as isize - 1));
    let pairs = bf16::pairs_of_columns(isa, dy, s.output);
    let windows = Windows {
        pictures: &pairs,
        height: s.out_height,
        width: s.out_width,
        channels: s.output / 2,
        grid: [s.height, s.width],
        stride: 1,
        runs: runs(s, down, right),
    };
    let mut dx = Buffer::aligned(s.batch * s.picture());
    windows.multiply(isa, &flipped(isa, s, weight), None, s.input, |pixel| pixel * s.input, &mut dx);
    dx
}

/// Weights from output channels to input channels, places from the last to the first.
fn flipped(isa: Isa, s: &Conv2dShape, weight: &[f32]) -> Buffer {
    packing::windows(isa, [s.output, s.input], s.places(), true, packing::flipped_taps(isa, s, weight))
}

/// ∂L/∂x where it moves by more: a convolution for each phase of pixels, which meet the same places of the kernel.
pub fn backward_input_strided(
    isa: Isa,
    s: &Conv2dShape,
    dy: &[f32],
    weight: &[f32],
    phases: &[(&Phase, &Phase)],
) -> Buffer {
    let channels = s.output / 2;
    let pictures = bf16::pairs_of_columns(isa, dy, s.output);
    let packed = flipped(isa, s, weight);
    // A pixel that no window meets has no gradient.
    let mut dx = Buffer::zeros(s.batch * s.picture());
    for (y, x) in phases {
        let Some(&(_, right)) = x.taps.first().filter(|_| !y.taps.is_empty()) else { continue };
        let runs = y.taps.iter().map(|&(_, down)| Run { down, right, count: x.taps.len() });
        let windows = Windows {
            pictures: &pictures,
            height: s.out_height,
            width: s.out_width,
            channels,
            grid: [y.count, x.count],
            stride: 1,
            runs: runs.collect(),
        };
        let place = |y: usize, x: usize| s.places() - 1 - (y * s.kernel[1] + x);
        let places = y.taps.iter().flat_map(|y| x.taps.iter().map(move |x| place(y.0, x.0)));
        let some = some_places(isa, s, &packed, &places.collect::<Vec<_>>());
        let pixel = |window: usize| {
            let (picture, row, column) =
                (window / (y.count * x.count), window / x.count % y.count, window % x.count);
            let row = picture * s.height + y.phase + row * s.stride;
            (row * s.width + x.phase + column * s.stride) * s.input
        };
        windows.multiply(isa, &some, None, s.input, pixel, &mut dx);
    }
    dx
}

/// Packed weights of some places of the kernel, of `packed` ones of all.
fn some_places(isa: Isa, s: &Conv2dShape, packed: &[f32], places: &[usize]) -> Buffer {
    let (channels, width) = (s.output / 2, isa.panel_width());
    let of_panel = packed.len() / s.input.div_ceil(width);
    pack_panels(isa, places.len() * channels, s.input, |panel, mine| {
        let from = &packed[mine.start / width * of_panel..][..of_panel];
        for (to, place) in panel.chunks_exact_mut(channels * width).zip(places) {
            to.copy_from_slice(&from[place * channels * width..][..channels * width]);
        }
    })
}

/// ∂L/∂W: for each place of the window, Σ over pixels of ∂L/∂yᵀ times what the place sees.
pub fn backward_weight(isa: Isa, s: &Conv2dShape, x: &[f32], dy: &[f32]) -> Buffer {
    let (input, output, places) = (s.input, s.output, s.places());
    let seen: Vec<Vec<u32>> = (0..places).into_par_iter().map(|place| pixels(s, place)).collect();
    let blocks = input.div_ceil(PANEL);
    let channels = |panel: usize| {
        let first = panel % blocks * PANEL;
        first..input.min(first + PANEL)
    };
    // `[places, output, input]`.
    let panel = |panel: usize| {
        let mine = channels(panel);
        Panel { first: panel / blocks * output * input + mine.start, columns: mine.len() }
    };
    let panels: Vec<Panel> = (0..places * blocks).map(panel).collect();
    let fill = |panel: usize, mine: Range<usize>, to: &mut [f32]| {
        let seen = &seen[panel / blocks];
        operands::panel(isa, x, input, channels(panel), &seen[mine.start..seen.len().min(mine.end)], to);
    };
    let mut by_place = Buffer::aligned(places * output * input);
    columns::run(isa, (dy, output), &panels, fill, input, &mut by_place);
    let mut dw = Buffer::any(by_place.len());
    dw.par_chunks_mut(input * places).enumerate().for_each(|(o, dw)| {
        for (place, from) in by_place.chunks_exact(output * input).enumerate() {
            let from = &from[o * input..][..input];
            dw.chunks_exact_mut(places).zip(from).for_each(|(dw, x)| dw[place] = *x);
        }
    });
    dw
}

/// The pixel of all pictures that a place of each window sees.
fn pixels(s: &Conv2dShape, place: usize) -> Vec<u32> {
    let inside = |window: usize, place: usize, axis: usize, n: usize| {
        (window * s.stride + place).checked_sub(s.pad_begin[axis]).filter(|&at| at < n)
    };
    let columns: Vec<Option<usize>> =
        (0..s.out_width).map(|x| inside(x, place % s.kernel[1], 1, s.width)).collect();
    let mut all = Vec::with_capacity(s.batch * s.out_height * s.out_width);
    for (picture, y) in (0..s.batch).flat_map(|n| (0..s.out_height).map(move |y| (n, y))) {
        match inside(y, place / s.kernel[1], 0, s.height) {
            Some(row) => {
                let first = (picture * s.height + row) * s.width;
                all.extend(columns.iter().map(|x| x.map_or(OUTSIDE, |x| (first + x) as u32)));
            }
            None => all.extend(columns.iter().map(|_| OUTSIDE)),
        }
    }
    all
}
