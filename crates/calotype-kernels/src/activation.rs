//! Activation functions of single numbers, forward and backward.

use rayon::prelude::*;

use crate::isa::{Isa, by_isa};
use crate::math::{gelu_slope, logistic, normal_cdf};
use crate::memory::Buffer;

/// Numbers in one piece of work.
const PIECE: usize = 4 * 1024;

/// A function of single numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x·Φ(x). Hendrycks & Gimpel 2016, arXiv:1606.08415.
    Gelu,
    /// x·σ(1.702·x), the same paper's approximation, which CLIP has.
    QuickGelu,
    /// ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), its closer one, which Flux and T5 have.
    GeluTanh,
}

/// f(x).
pub fn forward(isa: Isa, f: Activation, x: &[f32]) -> Buffer {
    let mut y = Buffer::any(x.len());
    y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(y, x)| forward_piece(isa, f, x, y));
    y
}

/// ∂L/∂x = ∂L/∂y·f'(x).
pub fn backward(isa: Isa, f: Activation, x: &[f32], dy: &[f32]) -> Buffer {
    let mut dx = Buffer::any(x.len());
    let inputs = x.par_chunks(PIECE).zip(dy.par_chunks(PIECE));
    dx.par_chunks_mut(PIECE).zip(inputs).for_each(|(dx, (x, dy))| backward_piece(isa, f, x, dy, dx));
    dx
}

/// The slope of the logistic function in CLIP's approximation.
const SLOPE: f32 = 1.702;
/// 2·√(2/π): ½·(1 + tanh(u)) is the logistic function of 2·u.
const TANH_SLOPE: f32 = 1.595_769;
/// How much of x³ there is beside x in the closer approximation.
const CUBE: f32 = 0.044_715;

by_isa! {
    fn forward_piece(f: Activation, x: &[f32], y: &mut [f32]) {
        match f {
            Activation::Gelu => map(x, y, |x| x * normal_cdf(x)),
            Activation::QuickGelu => map(x, y, |x| x * logistic(SLOPE * x)),
            Activation::GeluTanh => map(x, y, |x| x * logistic(TANH_SLOPE * (x + CUBE * x * x * x))),
        }
    }
}

by_isa! {
    fn backward_piece(f: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        match f {
            Activation::Gelu => map_both(x, dy, dx, |x, dy| dy * gelu_slope(x)),
            Activation::QuickGelu => map_both(x, dy, dx, |x, dy| {
                let s = logistic(SLOPE * x);
                dy * s * (1.0 + SLOPE * x * (1.0 - s))
            }),
            Activation::GeluTanh => map_both(x, dy, dx, |x, dy| {
                let s = logistic(TANH_SLOPE * (x + CUBE * x * x * x));
                dy * s * (1.0 + TANH_SLOPE * (x + 3.0 * CUBE * x * x * x) * (1.0 - s))
            }),
        }
    }
}

/// y = f(x), in the instructions of the function that calls it.
#[inline(always)]
fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = f(*x);
    }
}

/// dx = f(x, dy), as [`map`].
#[inline(always)]
fn map_both(x: &[f32], dy: &[f32], dx: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    for (dx, (x, dy)) in dx.iter_mut().zip(x.iter().zip(dy)) {
        *dx = f(*x, *dy);
    }
}
