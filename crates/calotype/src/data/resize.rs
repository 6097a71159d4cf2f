//! Resizing pictures exactly as the programs do whose numbers are compared: TensorFlow 1, PyTorch, Pillow.
//!
//! They disagree by enough to move a FID (Parmar et al. 2022, arXiv:2104.11222), so each has a name here
//! and none is the default.

use std::ops::{AddAssign, Mul};

use crate::error::{Error, Result};

/// How an output pixel is made from input pixels, along each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// TensorFlow 1's `resize_bilinear` without `align_corners`, in the graph of the original Inception:
    /// output o lies at o·s, s = input size / output size. Does not average when shrinking.
    Tf1Bilinear,
    /// PyTorch's `interpolate(mode="bilinear")`: at (o + ½)·s − ½. Does not average when shrinking.
    TorchBilinear,
    /// Pillow's `BILINEAR`: a triangle, as wide as the output pixel when shrinking.
    PilBilinear,
    /// Pillow's `BICUBIC`: Keys' cubic with a = −½, widened likewise.
    PilBicubic,
    /// Pillow's `LANCZOS`: sinc(u)·sinc(u/3), widened likewise.
    PilLanczos,
}

/// The input pixels of one output pixel, `first` and those after it, and their weights (sum 1, or 2²²).
#[derive(Debug, Clone, PartialEq)]
struct Taps<W> {
    first: usize,
    weights: Vec<W>,
}

/// What weights are written in and products summed in.
trait Number: Copy + AddAssign + Mul<Output = Self> {}
impl Number for f64 {}
impl Number for i32 {}

impl Filter {
    /// The taps of every output pixel of an axis.
    fn taps(self, n_in: usize, n_out: usize) -> Vec<Taps<f64>> {
        let scale = n_in as f64 / n_out as f64;
        (0..n_out)
            .map(|o| match self {
                Self::Tf1Bilinear => between(o as f64 * scale, n_in),
                Self::TorchBilinear => between(((o as f64 + 0.5) * scale - 0.5).max(0.0), n_in),
                Self::PilBilinear => averaged(o, scale, n_in, 1.0, |u| (1.0 - u).max(0.0)),
                Self::PilBicubic => averaged(o, scale, n_in, 2.0, keys_cubic),
                Self::PilLanczos => averaged(o, scale, n_in, 3.0, lanczos),
            })
            .collect()
    }
}

/// Linear interpolation at `position`; beyond the last pixel there is only the last.
fn between(position: f64, n_in: usize) -> Taps<f64> {
    let first = (position as usize).min(n_in - 1);
    let fraction = position - first as f64;
    if first + 1 < n_in {
        Taps { first, weights: vec![1.0 - fraction, fraction] }
    } else {
        Taps { first, weights: vec![1.0] }
    }
}

/// Pillow's weights: the kernel, `support` input pixels to either side, stretched when shrinking.
fn averaged(o: usize, scale: f64, n_in: usize, support: f64, kernel: fn(f64) -> f64) -> Taps<f64> {
    let stretch = scale.max(1.0);
    let (centre, support) = ((o as f64 + 0.5) * scale, support * stretch);
    // `as usize` truncates towards zero, and to zero from below, as Pillow does.
    let first = (centre - support + 0.5) as usize;
    let end = ((centre + support + 0.5) as usize).min(n_in);
    let mut weights: Vec<f64> =
        (first..end).map(|t| kernel(((t as f64 - centre + 0.5) / stretch).abs())).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    Taps { first, weights }
}

/// Keys 1981, Eq. 15 with a = −½, of |u|.
fn keys_cubic(u: f64) -> f64 {
    const A: f64 = -0.5;
    if u < 1.0 {
        ((A + 2.0) * u - (A + 3.0)) * u * u + 1.0
    } else if u < 2.0 {
        ((A * u - 5.0 * A) * u + 8.0 * A) * u - 4.0 * A
    } else {
        0.0
    }
}

/// Lanczos' windowed sinc with three lobes, of |u|.
fn lanczos(u: f64) -> f64 {
    let sinc =
        |x: f64| if x == 0.0 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
    if u < 3.0 { sinc(u) * sinc(u / 3.0) } else { 0.0 }
}

/// Resizes in floating point; nothing is clipped or rounded, so a cubic may overshoot.
///
/// - `picture`: `[height, width, channels]`; `from` and `to` are (height, width).
///
/// # Errors
/// `Error::Shape` unless `picture` has `from` × channels numbers, at least one; `Error::Argument` for an
/// output without pixels.
pub fn resize(
    picture: &[f64],
    channels: usize,
    from: (usize, usize),
    to: (usize, usize),
    filter: Filter,
) -> Result<Vec<f64>> {
    require_sizes(picture.len(), channels, from, to)?;
    // Summing starts at −0: 0 would turn a sum of −0 into 0.
    let wide = along(picture, from.1, channels, &filter.taps(from.1, to.1), -0.0, |sum| sum);
    Ok(along(&wide, from.0, channels * to.1, &filter.taps(from.0, to.0), -0.0, |sum| sum))
}

/// Resizes 8-bit pictures as Pillow does: weights are integers over 2²², and the result of the first
/// pass (along the width) is rounded to 8 bits before the second. A pass that changes nothing is left
/// out.
///
/// Pillow 13 takes the height first for some sizes, which changes some values; this is Pillow 11.
///
/// - `picture`: `[height, width, channels]`; `from` and `to` are (height, width).
///
/// # Errors
/// As [`resize`]; `Error::Argument` for a filter that is not Pillow's.
pub fn resize_u8(
    picture: &[u8],
    channels: usize,
    from: (usize, usize),
    to: (usize, usize),
    filter: Filter,
) -> Result<Vec<u8>> {
    require_sizes(picture.len(), channels, from, to)?;
    if !matches!(filter, Filter::PilBilinear | Filter::PilBicubic | Filter::PilLanczos) {
        return Err(Error::argument("filter", "one of Pillow's for 8 bits", format!("{filter:?}")));
    }
    // Half away from zero: Pillow adds ±½ and truncates.
    let weight = |w: &f64| (w * f64::from(1u32 << BITS) + 0.5f64.copysign(*w)) as i32;
    let whole = |t: Taps<f64>| Taps { first: t.first, weights: t.weights.iter().map(weight).collect() };
    let level = |sum: i32| (sum >> BITS).clamp(0, 255) as u8;
    let pass = |picture: &[u8], n_in, n_out, stride| {
        if n_in == n_out {
            picture.to_vec()
        } else {
            let taps: Vec<_> = filter.taps(n_in, n_out).into_iter().map(whole).collect();
            along(picture, n_in, stride, &taps, 1 << (BITS - 1), level)
        }
    };
    Ok(pass(&pass(picture, from.1, to.1, channels), from.0, to.0, channels * to.1))
}

/// Fraction bits of Pillow's integer weights: of an `i32` they leave 8 bits for the level, one for the sign
/// and one for overshoot.
///
/// No sum overflows while the magnitudes of the weights add up to at most 2, since 2·255 and ½ for rounding
/// are below 2⁹ = 2³¹/2²². They add up to 1 (triangle), 1.27 at most (cubic) or 1.59 (Lanczos; both where an
/// edge cuts the kernel). Rounding them adds ¼ at most if they are up to 2²¹; if they are more, the sum of
/// the rounded ones is 1.42 at most. The maxima were searched numerically, over positions and scales.
const BITS: u32 = 22;

/// Weighted sums, begun at `start` and ended by `finish`, along one axis: `n_in` pixels or rows, each of
/// `stride` numbers, which do not mix.
fn along<T: Copy + Into<W>, W: Number>(
    picture: &[T],
    n_in: usize,
    stride: usize,
    taps: &[Taps<W>],
    start: W,
    finish: impl Fn(W) -> T,
) -> Vec<T> {
    let mut out = Vec::with_capacity(picture.len() / n_in * taps.len());
    let mut sums = vec![start; stride];
    for line in picture.chunks_exact(n_in * stride) {
        for Taps { first, weights } in taps {
            let line = &line[first * stride..];
            match stride {
                // Few sums, if their number is known when this is compiled, stay in registers.
                1 => out.extend(short(line.as_chunks::<1>().0, weights, start).map(&finish)),
                3 => out.extend(short(line.as_chunks::<3>().0, weights, start).map(&finish)),
                _ => {
                    sums.fill(start);
                    line.chunks_exact(stride).zip(weights).for_each(|(v, &weight)| add(&mut sums, v, weight));
                    out.extend(sums.iter().map(|&sum| finish(sum)));
                }
            }
        }
    }
    out
}

/// The `N` weighted sums over the first pixels of a line, as many as there are weights.
fn short<T: Copy + Into<W>, W: Number, const N: usize>(line: &[[T; N]], weights: &[W], start: W) -> [W; N] {
    let mut sums = [start; N];
    line.iter().zip(weights).for_each(|(values, weight)| add(&mut sums, values, *weight));
    sums
}

#[inline]
fn add<T: Copy + Into<W>, W: Number>(sums: &mut [W], values: &[T], weight: W) {
    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += weight * value.into());
}

fn require_sizes(numbers: usize, channels: usize, from: (usize, usize), to: (usize, usize)) -> Result<()> {
    if numbers == 0 || from.0.checked_mul(from.1).and_then(|n| n.checked_mul(channels)) != Some(numbers) {
        let expected = format!("{} x {} pixels of {channels} numbers, at least one", from.0, from.1);
        return Err(Error::shape("picture to resize", expected, numbers));
    }
    if to.0 == 0 || to.1 == 0 {
        return Err(Error::argument("output size", "at least 1 x 1", format!("{} x {}", to.0, to.1)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};
    use crate::testing::assert_refuses;

    const ALL: [Filter; 4] =
        [Filter::Tf1Bilinear, Filter::TorchBilinear, Filter::PilBilinear, Filter::PilBicubic];

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for filter in ALL {
            for (n_in, n_out) in [(1, 7), (7, 1), (3, 8), (8, 3), (5, 5), (32, 299), (299, 32)] {
                let taps = filter.taps(n_in, n_out);
                assert_eq!(taps.len(), n_out);
                for taps in taps {
                    assert!(taps.first + taps.weights.len() <= n_in, "{filter:?} {n_in} {n_out}");
                    assert!((taps.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn the_same_size_changes_nothing_and_channels_do_not_mix() {
        let picture: Vec<f64> = (0..4 * 5 * 3).map(|i| f64::from(i * 37 % 101)).collect();
        for filter in ALL {
            assert_eq!(resize(&picture, 3, (4, 5), (4, 5), filter).unwrap(), picture);
            let all = resize(&picture, 3, (4, 5), (7, 2), filter).unwrap();
            for c in 0..3 {
                let channel = |x: &[f64]| x.iter().skip(c).step_by(3).copied().collect::<Vec<_>>();
                assert_eq!(resize(&channel(&picture), 1, (4, 5), (7, 2), filter).unwrap(), channel(&all));
            }
        }
    }

    #[test]
    fn eight_bits_are_pillows_only() {
        let other = resize_u8(&[1, 2], 1, (1, 2), (1, 4), Filter::TorchBilinear);
        assert_refuses(other, "filter: expected one of Pillow's");
        assert_eq!(resize_u8(&[10, 10], 1, (1, 2), (3, 4), Filter::PilBicubic).unwrap(), [10; 12]);
    }

    type Sum<T> = fn(&[(f64, T)]) -> T;

    /// What [`along`] computes, each number by itself.
    fn plain<T: Copy>(v: &[T], n_in: usize, stride: usize, taps: &[Taps<f64>], sum: Sum<T>) -> Vec<T> {
        let number = |j: usize| {
            let (line, taps) = (j / stride / taps.len(), &taps[j / stride % taps.len()]);
            let value = |i| v[(line * n_in + taps.first + i) * stride + j % stride];
            sum(&taps.weights.iter().enumerate().map(|(i, &w)| (w, value(i))).collect::<Vec<_>>())
        };
        (0..v.len() / n_in * taps.len()).map(number).collect()
    }

    #[test]
    fn every_bit_is_that_of_plain_sums() {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let sum = |terms: &[(f64, f64)]| terms.iter().map(|(w, v)| w * v).sum();
        let sum_u8 = |terms: &[(f64, u8)]| {
            let whole = |w: f64| (w * 4_194_304.0 + if w < 0.0 { -0.5 } else { 0.5 }) as i64;
            let sum: i64 = terms.iter().map(|&(w, level)| whole(w) * i64::from(level)).sum();
            ((sum + 2_097_152) >> 22).clamp(0, 255) as u8
        };
        let mut rng = Philox::new(1, Purpose::Evaluation, 0);
        let sides = [(1, 1), (1, 6), (2, 3), (3, 1), (4, 5), (7, 7), (13, 31), (37, 4)];
        for case in 0..8 * 8 * 4 * 4 {
            let ((h, to_h), (w, to_w), channels) = (sides[case % 8], sides[case / 8 % 8], 1 + case / 64 % 4);
            // Noise; 0 and 255, which make the largest sums; 0; 255.
            let level = |noise: u32| [noise as u8, (noise as i8 >> 7) as u8, 0, 255][case / 256];
            let picture: Vec<u8> = (0..h * w * channels).map(|_| level(rng.next_u32())).collect();
            let values: Vec<f64> = picture.iter().map(|&v| f64::from(v) * -0.1).collect();
            for filter in ALL.into_iter().chain([Filter::PilLanczos]) {
                let (across, down) = (filter.taps(w, to_w), filter.taps(h, to_h));
                let right = plain(&plain(&values, w, channels, &across, sum), h, channels * to_w, &down, sum);
                let found = resize(&values, channels, (h, w), (to_h, to_w), filter).unwrap();
                assert_eq!(bits(&found), bits(&right), "{filter:?} {case}");
                if !matches!(filter, Filter::Tf1Bilinear | Filter::TorchBilinear) {
                    let wide = plain(&picture, w, channels, &across, sum_u8);
                    let found = resize_u8(&picture, channels, (h, w), (to_h, to_w), filter).unwrap();
                    assert_eq!(found, plain(&wide, h, channels * to_w, &down, sum_u8), "{filter:?} {case}");
                }
            }
        }
    }
}
