//! Activation functions of single numbers, forward and backward.

use rayon::prelude::*;

use crate::geglu::{DENSITY, normal_cdf};
use crate::isa::{Isa, by_isa};
use crate::math::{exp, logistic};
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
}

/// f(x).
pub fn forward(isa: Isa, f: Activation, x: &[f32]) -> Buffer {
    let piece: fn(Isa, &[f32], &mut [f32]) = match f {
        Activation::Gelu => gelu,
        Activation::QuickGelu => quick_gelu,
    };
    let mut y = Buffer::any(x.len());
    y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(y, x)| piece(isa, x, y));
    y
}

/// ∂L/∂x = ∂L/∂y·f'(x).
pub fn backward(isa: Isa, f: Activation, x: &[f32], dy: &[f32]) -> Buffer {
    let piece: fn(Isa, &[f32], &[f32], &mut [f32]) = match f {
        Activation::Gelu => gelu_backward,
        Activation::QuickGelu => quick_gelu_backward,
    };
    let mut dx = Buffer::any(x.len());
    let inputs = x.par_chunks(PIECE).zip(dy.par_chunks(PIECE));
    dx.par_chunks_mut(PIECE).zip(inputs).for_each(|(dx, (x, dy))| piece(isa, x, dy, dx));
    dx
}

by_isa! {
    fn gelu(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * normal_cdf(*x);
        }
    }
}

by_isa! {
    fn gelu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for (dx, (x, dy)) in dx.iter_mut().zip(x.iter().zip(dy)) {
            *dx = dy * (normal_cdf(*x) + x * DENSITY * exp(-0.5 * x * x));
        }
    }
}

/// The slope of the logistic function in CLIP's approximation.
const SLOPE: f32 = 1.702;

by_isa! {
    fn quick_gelu(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * logistic(SLOPE * x);
        }
    }
}

by_isa! {
    fn quick_gelu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for (dx, (x, dy)) in dx.iter_mut().zip(x.iter().zip(dy)) {
            let s = logistic(SLOPE * x);
            *dx = dy * s * (1.0 + SLOPE * x * (1.0 - s));
        }
    }
}
