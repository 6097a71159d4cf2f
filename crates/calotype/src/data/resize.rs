//! Resizing pictures exactly as the programs do whose numbers are compared: TensorFlow 1, PyTorch, Pillow.
//!
//! They disagree by enough to move a FID (Parmar et al. 2022, arXiv:2104.11222), so each has a name here
//! and none is the default.

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

/// The input pixels of one output pixel, `first` and those after it, and their weights (sum 1).
#[derive(Debug, Clone, PartialEq)]
struct Taps {
    first: usize,
    weights: Vec<f64>,
}

impl Filter {
    /// The taps of every output pixel of an axis.
    fn taps(self, n_in: usize, n_out: usize) -> Vec<Taps> {
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
fn between(position: f64, n_in: usize) -> Taps {
    let first = (position as usize).min(n_in - 1);
    let fraction = position - first as f64;
    match first + 1 < n_in {
        true => Taps { first, weights: vec![1.0 - fraction, fraction] },
        false => Taps { first, weights: vec![1.0] },
    }
}

/// Pillow's weights: the kernel, `support` input pixels to either side, stretched when shrinking.
fn averaged(o: usize, scale: f64, n_in: usize, support: f64, kernel: fn(f64) -> f64) -> Taps {
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
    let sum = |taps: &Taps, at: &dyn Fn(usize) -> f64| {
        taps.weights.iter().enumerate().map(|(i, weight)| weight * at(taps.first + i)).sum()
    };
    let wide = along_width(picture, channels, from.1, &filter.taps(from.1, to.1), sum);
    Ok(along_height(&wide, channels * to.1, &filter.taps(from.0, to.0), sum))
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
    let wide = match from.1 == to.1 {
        true => picture.to_vec(),
        false => along_width(picture, channels, from.1, &filter.taps(from.1, to.1), fixed_point),
    };
    Ok(match from.0 == to.0 {
        true => wide,
        false => along_height(&wide, channels * to.1, &filter.taps(from.0, to.0), fixed_point),
    })
}

/// Fraction bits of Pillow's integer weights.
const BITS: u32 = 22;

fn fixed_point(taps: &Taps, at: &dyn Fn(usize) -> u8) -> u8 {
    let one = f64::from(1u32 << BITS);
    // Half away from zero: Pillow adds ±½ and truncates.
    let weight = |w: &f64| (w * one + 0.5f64.copysign(*w)) as i64;
    let products = taps.weights.iter().enumerate().map(|(i, w)| weight(w) * i64::from(at(taps.first + i)));
    let sum = (1i64 << (BITS - 1)) + products.sum::<i64>();
    (sum >> BITS).clamp(0, 255) as u8
}

fn along_width<T: Copy>(
    picture: &[T],
    channels: usize,
    width: usize,
    taps: &[Taps],
    sum: impl Fn(&Taps, &dyn Fn(usize) -> T) -> T,
) -> Vec<T> {
    let mut wide = Vec::with_capacity(picture.len() / width * taps.len());
    for row in picture.chunks_exact(width * channels) {
        for taps in taps {
            wide.extend((0..channels).map(|c| sum(taps, &|x| row[x * channels + c])));
        }
    }
    wide
}

/// `row`: numbers in a row of pixels.
fn along_height<T: Copy>(
    picture: &[T],
    row: usize,
    taps: &[Taps],
    sum: impl Fn(&Taps, &dyn Fn(usize) -> T) -> T,
) -> Vec<T> {
    taps.iter()
        .flat_map(|taps| (0..row).map(|x| sum(taps, &|y| picture[y * row + x])).collect::<Vec<_>>())
        .collect()
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
        assert!(resize_u8(&[1, 2], 1, (1, 2), (1, 4), Filter::TorchBilinear).is_err());
        assert_eq!(resize_u8(&[10, 10], 1, (1, 2), (3, 4), Filter::PilBicubic).unwrap(), [10; 12]);
    }
}
