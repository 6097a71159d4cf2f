//! Group normalisation with SiLU over channels-last pictures, forward and backward.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::isa::{Isa, by_isa};
use crate::math::logistic;
use crate::memory::Buffer;
use crate::sums::add_pixels;

/// Sizes of a group normalisation of `[B, pixels, C]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormShape {
    /// Pixels of a picture.
    pub pixels: usize,
    /// C.
    pub channels: usize,
    /// Groups; divides C.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// SiLU afterwards.
    pub silu: bool,
    /// Pixels of a row of a picture. It only decides the order of the sums in ∂L/∂shift, which is burn's.
    pub width: usize,
}

/// What is normalised.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// `[B, pixels, C]`.
    pub x: &'a [f32],
    /// Added to every pixel of a picture before: `[B, C]`, or nothing.
    pub shift: &'a [f32],
}

impl<'a> Input<'a> {
    /// The shift of every picture, zeros where there is none: `[B, C]`.
    fn shifts(&self, s: &GroupNormShape) -> Cow<'a, [f32]> {
        let pictures = self.x.len() / (s.pixels * s.channels);
        if self.shift.is_empty() { vec![0.0; pictures * s.channels].into() } else { self.shift.into() }
    }
}

/// SiLU(x̂·γ + β) or x̂·γ + β, where x̂ = (x + shift − μ)/√(σ² + ε) for each group of each picture.
pub fn forward(isa: Isa, s: &GroupNormShape, input: Input, gamma: &[f32], beta: &[f32]) -> Buffer {
    let (x, shifts) = (input.x, input.shifts(s));
    let mut y = Buffer::any(x.len());
    let picture = s.pixels * s.channels;
    let inputs = x.par_chunks(picture).zip(shifts.par_chunks(s.channels));
    y.par_chunks_mut(picture).zip(inputs).for_each(|(y, (x, added))| {
        let moments = Moments::of(isa, s, x, added);
        let scale = moments.scale(gamma);
        let piece = (PIECE / s.channels).max(1) * s.channels;
        y.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(y, x)| {
            affine(isa, x, added, &moments.mean, &scale, beta, s.silu, y);
        });
    });
    y
}

/// Of the loss.
#[derive(Debug)]
pub struct Gradients {
    /// ∂L/∂x.
    pub x: Buffer,
    /// ∂L/∂γ.
    pub gamma: Vec<f32>,
    /// ∂L/∂β.
    pub beta: Vec<f32>,
    /// ∂L/∂shift, `[B, C]`; zeros where there is none.
    pub shift: Vec<f32>,
}

/// Sums over pictures are taken in their order, whatever the threads.
pub fn backward(
    isa: Isa,
    s: &GroupNormShape,
    input: Input,
    gamma: &[f32],
    beta: &[f32],
    dy: &[f32],
) -> Gradients {
    let (x, shifts) = (input.x, input.shifts(s));
    let c = s.channels;
    let picture = s.pixels * c;
    let pictures = x.len() / picture;
    let mut dx = Buffer::any(x.len());
    // For each picture Σ dz and Σ dz·x̂ over its pixels.
    let mut sums = vec![0.0; pictures * 2 * c];
    let mut dshift = vec![0.0; pictures * c];
    dx.par_chunks_mut(picture)
        .zip(x.par_chunks(picture).zip(shifts.par_chunks(c)).zip(dy.par_chunks(picture)))
        .zip(sums.par_chunks_mut(2 * c).zip(dshift.par_chunks_mut(c)))
        .for_each(|((dx, ((x, added), dy)), (sums, dshift))| {
            let moments = Moments::of(isa, s, x, added);
            let scale = moments.scale(gamma);
            let (sum_dz, sum_dz_x) = sums.split_at_mut(c);
            through_silu(isa, x, added, dy, &moments.mean, &scale, beta, s.silu, dx, sum_dz, sum_dz_x);
            sum_dz_x.iter_mut().zip(&moments.reciprocal_std).for_each(|(sum, r)| *sum *= r);
            // dx = (γ·dz − mean(γ·dz) − x̂·mean(γ·dz·x̂)) / σ
            let size = (s.pixels * c / s.groups) as f32;
            let (mut b, mut shift) = (vec![0.0; c], vec![0.0; c]);
            let per_group = c / s.groups;
            for group in 0..s.groups {
                let range = group * per_group..(group + 1) * per_group;
                let mean_of = |sums: &[f32]| -> f32 {
                    let weighted =
                        range.clone().map(|i| f64::from(sums[i]) * f64::from(gamma[i])).sum::<f64>();
                    weighted as f32 / size
                };
                let (mean_dz, mean_dz_x) = (mean_of(sum_dz), mean_of(sum_dz_x));
                for i in range {
                    let r = moments.reciprocal_std[i];
                    b[i] = r * r * mean_dz_x;
                    shift[i] = r * mean_dz;
                }
            }
            finish(isa, x, added, &moments.mean, &scale, &b, &shift, dx);
            if !input.shift.is_empty() {
                add_pixels(isa, dx, s.width, dshift);
            }
        });
    let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.0; c]);
    for sums in sums.chunks_exact(2 * c) {
        dbeta.iter_mut().zip(&sums[..c]).for_each(|(t, s)| *t += s);
        dgamma.iter_mut().zip(&sums[c..]).for_each(|(t, s)| *t += s);
    }
    Gradients { x: dx, gamma: dgamma, beta: dbeta, shift: dshift }
}

/// μ and 1/√(σ² + ε) of one picture, repeated for each channel of a group.
struct Moments {
    mean: Vec<f32>,
    reciprocal_std: Vec<f32>,
}

impl Moments {
    /// In two passes: the variance is a mean of squared differences, so that a large mean costs no
    /// digits.
    fn of(isa: Isa, s: &GroupNormShape, x: &[f32], added: &[f32]) -> Self {
        let mean = s.group_means(&s.sums(x, |x, sums| channel_sums(isa, x, added, sums)));
        let variance = s.group_means(&s.sums(x, |x, sums| channel_squares(isa, x, added, &mean, sums)));
        let reciprocal_std = variance.iter().map(|v| 1.0 / (v + s.epsilon).sqrt()).collect();
        Self { mean, reciprocal_std }
    }

    /// γ/√(σ² + ε).
    fn scale(&self, gamma: &[f32]) -> Vec<f32> {
        gamma.iter().zip(&self.reciprocal_std).map(|(g, r)| g * r).collect()
    }
}

impl GroupNormShape {
    /// Sums of channels over a picture: those that `add` takes of stretches of pixels, in their order.
    fn sums(&self, x: &[f32], add: impl Fn(&[f32], &mut [f64]) + Sync) -> Vec<f64> {
        let stretches = x.par_chunks(STRETCH * self.channels).map(|x| {
            let mut sums = vec![0.0; self.channels];
            add(x, &mut sums);
            sums
        });
        let mut total = vec![0.0; self.channels];
        for sums in stretches.collect::<Vec<_>>() {
            total.iter_mut().zip(&sums).for_each(|(total, sum)| *total += sum);
        }
        total
    }

    /// Sums of channels to means of groups, one for each channel.
    fn group_means(&self, sums: &[f64]) -> Vec<f32> {
        let per_group = self.channels / self.groups;
        let count = (per_group * self.pixels) as f64;
        sums.chunks_exact(per_group)
            .flat_map(|group| {
                let mean = (group.iter().sum::<f64>() / count) as f32;
                std::iter::repeat_n(mean, per_group)
            })
            .collect()
    }
}

/// Pixels summed in f32 before they are added to a sum in f64.
const RUN: usize = 32;
/// Pixels whose sums in f64 are one: threads share a large picture.
const STRETCH: usize = 4096;
/// Numbers of a piece of the result, which stays in a cache while SiLU passes over it again.
const PIECE: usize = 16 * 1024;

by_isa! {
    /// Σ over pixels of x + added of each channel.
    fn channel_sums(x: &[f32], added: &[f32], sums: &mut [f64]) {
        let c = sums.len();
        let mut part = vec![0.0f32; c];
        for pixels in x.chunks(RUN * c) {
            part.fill(0.0);
            for pixel in pixels.chunks_exact(c) {
                for (s, (x, a)) in part.iter_mut().zip(pixel.iter().zip(added)) {
                    *s += x + a;
                }
            }
            for (s, p) in sums.iter_mut().zip(&part) {
                *s += f64::from(*p);
            }
        }
    }
}

by_isa! {
    /// Σ over pixels of (x + added − mean)² of each channel.
    fn channel_squares(x: &[f32], added: &[f32], mean: &[f32], sums: &mut [f64]) {
        let c = sums.len();
        let (added, mean) = (&added[..c], &mean[..c]);
        let mut part = vec![0.0f32; c];
        for pixels in x.chunks(RUN * c) {
            part.fill(0.0);
            for pixel in pixels.chunks_exact(c) {
                for i in 0..c {
                    let d = pixel[i] + added[i] - mean[i];
                    part[i] += d * d;
                }
            }
            for (s, p) in sums.iter_mut().zip(&part) {
                *s += f64::from(*p);
            }
        }
    }
}

by_isa! {
    /// y = f((x + added − mean)·scale + shift), f SiLU or nothing.
    fn affine(
        x: &[f32],
        added: &[f32],
        mean: &[f32],
        scale: &[f32],
        shift: &[f32],
        silu: bool,
        y: &mut [f32],
    ) {
        let c = scale.len();
        let (added, mean, shift) = (&added[..c], &mean[..c], &shift[..c]);
        for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
            for i in 0..c {
                y[i] = (x[i] + added[i] - mean[i]) * scale[i] + shift[i];
            }
        }
        if silu {
            for z in y {
                *z *= logistic(*z);
            }
        }
    }
}

by_isa! {
    /// dz = dy·f'(z) with z = (x + added − mean)·scale + shift, and Σ dz, Σ dz·(x + added − mean) over pixels of
    /// each channel.
    fn through_silu(
        x: &[f32],
        added: &[f32],
        dy: &[f32],
        mean: &[f32],
        scale: &[f32],
        shift: &[f32],
        silu: bool,
        dz: &mut [f32],
        sum_dz: &mut [f32],
        sum_dz_x: &mut [f32],
    ) {
        let c = scale.len();
        let (added, mean, shift) = (&added[..c], &mean[..c], &shift[..c]);
        let (sum_dz, sum_dz_x) = (&mut sum_dz[..c], &mut sum_dz_x[..c]);
        let pixels = dz.chunks_exact_mut(c).zip(x.chunks_exact(c).zip(dy.chunks_exact(c)));
        for (dz, (x, dy)) in pixels {
            if silu {
                for i in 0..c {
                    let z = (x[i] + added[i] - mean[i]) * scale[i] + shift[i];
                    let s = logistic(z);
                    dz[i] = dy[i] * s * (1.0 + z * (1.0 - s));
                }
            } else {
                dz.copy_from_slice(dy);
            }
            for i in 0..c {
                sum_dz[i] += dz[i];
                sum_dz_x[i] += dz[i] * (x[i] + added[i] - mean[i]);
            }
        }
    }
}

by_isa! {
    /// dx = dz·a − (x + added − mean)·b − shift.
    fn finish(x: &[f32], added: &[f32], mean: &[f32], a: &[f32], b: &[f32], shift: &[f32], dx: &mut [f32]) {
        let c = a.len();
        let (added, mean, b, shift) = (&added[..c], &mean[..c], &b[..c], &shift[..c]);
        for (dx, x) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
            for i in 0..c {
                dx[i] = dx[i] * a[i] - (x[i] + added[i] - mean[i]) * b[i] - shift[i];
            }
        }
    }
}
