//! Numbers into blocks of 256 with a factor, and in two kinds an offset, for each group: Q4_K, Q5_K, Q6_K.
//!
//! A group's factor is searched for: rounded codes for each of some twenty candidates, the factor that fits these codes
//! best by least squares, and of all the one with the smallest error. The candidates, weights and the order of sums are
//! those of ggml's reference (`ggml-quants.c` of <https://github.com/ggml-org/ggml>), so that the blocks are too. The
//! groups of a block are searched side by side.

use std::array::from_fn;

use super::block::put_f16;

/// Below it a group counts as zeros.
const ZERO: f32 = 1e-15;
/// Between two candidates.
const STEP: f32 = 0.1;

/// A number of each group of a block.
type Lanes<const GROUPS: usize> = [f32; GROUPS];

/// Number by number, those of all groups beside each other.
fn side_by_side<const GROUPS: usize, const LENGTH: usize>(values: &[f32; 256]) -> [Lanes<GROUPS>; LENGTH] {
    from_fn(|i| from_fn(|group| values[group * LENGTH + i]))
}

/// The nearest whole number, halves to even, for |x| below 2²²: beyond 2²³ an f32 has no fraction.
fn nearest(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

/// [`nearest`] within a range.
fn code(x: f32, low: f32, high: f32) -> f32 {
    let code = nearest(x);
    let code = if code > low { code } else { low };
    if code < high { code } else { high }
}

/// 8 groups of 32 numbers, and what every candidate asks of them.
struct Groups {
    x: [Lanes<8>; 32],
    /// What each number counts for.
    weights: [Lanes<8>; 32],
    /// Sums of the weights, and of weight · x.
    sum_w: Lanes<8>,
    sum_x: Lanes<8>,
    /// The smallest number, or 0 if that is less; the largest.
    low: Lanes<8>,
    high: Lanes<8>,
}

impl Groups {
    fn of(values: &[f32; 256]) -> Self {
        let x: [Lanes<8>; 32] = side_by_side(values);
        let weights = weights(&x);
        let (mut low, mut high, mut sum_w) = (x[0], x[0], weights[0]);
        let mut sum_x: Lanes<8> = from_fn(|k| weights[0][k] * x[0][k]);
        for (x, w) in x.iter().zip(&weights).skip(1) {
            for k in 0..8 {
                low[k] = if x[k] < low[k] { x[k] } else { low[k] };
                high[k] = if x[k] > high[k] { x[k] } else { high[k] };
                sum_w[k] += w[k];
                sum_x[k] += w[k] * x[k];
            }
        }
        let low = low.map(|low| if low > 0.0 { 0.0 } else { low });
        Self { x, weights, sum_w, sum_x, low, high }
    }

    /// Weighted squares of scale · code + low − x.
    fn error(&self, codes: &[Lanes<8>; 32], scale: &Lanes<8>, low: &Lanes<8>) -> Lanes<8> {
        let mut error = [0.0; 8];
        for ((x, w), codes) in self.x.iter().zip(&self.weights).zip(codes) {
            for k in 0..8 {
                let difference = scale[k] * codes[k] + low[k] - x[k];
                error[k] += w[k] * (difference * difference);
            }
        }
        error
    }

    /// The codes from 0 to `most` of factor · (x − low).
    fn codes(&self, factor: &Lanes<8>, low: &Lanes<8>, most: f32) -> [Lanes<8>; 32] {
        self.x.map(|x| from_fn(|k| code(factor[k] * (x[k] - low[k]), 0.0, most)))
    }

    /// The approximation with the smallest error.
    ///
    /// - `most`: the largest code.
    /// - `start`, `steps`: candidates for codes per range are `most + start + STEP · i`, i from 0 to `steps`.
    fn search(&self, most: f32, start: f32, steps: u8) -> Affine {
        let (low, high) = (self.low, self.high);
        let factor = from_fn(|k| most / (high[k] - low[k]));
        let mut best = Affine { scale: factor.map(|factor| 1.0 / factor), lowest: low, factor, low };
        let mut least = self.error(&self.codes(&factor, &low, most), &best.scale, &low);
        for step in 0..=steps {
            self.try_candidate(start + STEP * f32::from(step) + most, most, &mut best, &mut least);
        }
        for k in (0..8).filter(|k| high[*k] == low[*k]) {
            (best.scale[k], best.lowest[k], best.factor[k]) = (0.0, low[k], 0.0);
        }
        best
    }

    /// Takes a candidate, so many codes per range, for the groups whose error it makes smaller.
    fn try_candidate(&self, range: f32, most: f32, best: &mut Affine, least: &mut Lanes<8>) {
        // The lower end is the one that fits best so far.
        let low = best.lowest;
        let factor: Lanes<8> = from_fn(|k| range / (self.high[k] - low[k]));
        let codes = self.codes(&factor, &low, most);
        let (mut sum_q, mut sum_qq, mut sum_xq) = ([0.0; 8], [0.0; 8], [0.0; 8]);
        for ((x, w), q) in self.x.iter().zip(&self.weights).zip(&codes) {
            for k in 0..8 {
                sum_q[k] += w[k] * q[k];
                sum_qq[k] += w[k] * q[k] * q[k];
                sum_xq[k] += w[k] * q[k] * x[k];
            }
        }
        // Weighted least squares of x ≈ scale · q + lowest, where lowest is not above 0.
        let (sum_w, sum_x) = (&self.sum_w, &self.sum_x);
        let determinant: Lanes<8> = from_fn(|k| sum_w[k] * sum_qq[k] - sum_q[k] * sum_q[k]);
        let fitted: Lanes<8> = from_fn(|k| (sum_w[k] * sum_xq[k] - sum_x[k] * sum_q[k]) / determinant[k]);
        let lowest: Lanes<8> = from_fn(|k| (sum_qq[k] * sum_x[k] - sum_q[k] * sum_xq[k]) / determinant[k]);
        let scale: Lanes<8> = from_fn(|k| if lowest[k] > 0.0 { sum_xq[k] / sum_qq[k] } else { fitted[k] });
        let lowest = lowest.map(|low| if low > 0.0 { 0.0 } else { low });
        let error = self.error(&codes, &scale, &lowest);
        for k in 0..8 {
            if determinant[k] > 0.0 && error[k] < least[k] {
                least[k] = error[k];
                (best.scale[k], best.lowest[k]) = (scale[k], lowest[k]);
                (best.factor[k], best.low[k]) = (factor[k], low[k]);
            }
        }
    }
}

/// Numbers count for as much as they are large, and as their group is on average.
fn weights(x: &[Lanes<8>; 32]) -> [Lanes<8>; 32] {
    let mut squares = [0.0; 8];
    for x in x {
        for k in 0..8 {
            squares[k] += x[k] * x[k];
        }
    }
    let mean = squares.map(|sum: f32| (sum / 32.0).sqrt());
    x.map(|x| from_fn(|k| mean[k] + x[k].abs()))
}

/// What 8 groups of 32 numbers are approximated by: scale · code + lowest.
struct Affine {
    scale: Lanes<8>,
    lowest: Lanes<8>,
    /// The codes of the search are those of factor · (x − low).
    factor: Lanes<8>,
    low: Lanes<8>,
}

impl Affine {
    /// Writes d, m and the factors and offsets in 6 bits each into the first 16 bytes of a block, and returns the codes
    /// that go with what is written.
    fn pack(&self, values: &[f32; 256], most: f32, head: &mut [u8]) -> [u8; 256] {
        let largest = |all: &Lanes<8>| all.iter().fold(0.0_f32, |most, &x| if x > most { x } else { most });
        let offset = self.lowest.map(|low| -low);
        let (scale, largest_offset) = (largest(&self.scale), largest(&offset));
        let of_six_bits = |all: &Lanes<8>, largest: f32| -> [u8; 8] {
            let inverse = if largest > 0.0 { 63.0 / largest } else { 0.0 };
            // A negative one wraps around and becomes the largest, as in ggml.
            all.map(|x| (nearest(inverse * x) as i32 as u8).min(63))
        };
        let (scales, offsets) = (of_six_bits(&self.scale, scale), of_six_bits(&offset, largest_offset));
        let (d, m) = (put_f16(head, 0, scale / 63.0), put_f16(head, 2, largest_offset / 63.0));
        for i in 0..4 {
            head[4 + i] = scales[i] | scales[i + 4] >> 4 << 6;
            head[8 + i] = offsets[i] | offsets[i + 4] >> 4 << 6;
            head[12 + i] = scales[i + 4] & 0xF | offsets[i + 4] << 4;
        }
        let mut codes = [0; 256];
        let groups = values.as_chunks::<32>().0.iter().zip(codes.as_chunks_mut::<32>().0);
        for (k, (values, codes)) in groups.enumerate() {
            let (scale, offset) = (d * f32::from(scales[k]), m * f32::from(offsets[k]));
            for (x, code_of) in values.iter().zip(codes) {
                // Where the factor has become 0 the codes do not matter, and are those of the search.
                let code = if scale == 0.0 {
                    code(self.factor[k] * (x - self.low[k]), 0.0, most)
                } else {
                    code((x + offset) / scale, 0.0, most)
                };
                *code_of = code as u8;
            }
        }
        codes
    }
}

/// Of each 64 numbers 32 bytes: the lower halves are the first 32 numbers.
fn put_nibbles(codes: &[u8; 256], bytes: &mut [u8]) {
    for (i, byte) in bytes.iter_mut().enumerate() {
        let first = i / 32 * 64 + i % 32;
        *byte = codes[first] & 0xF | codes[first + 32] << 4;
    }
}

/// Groups of 32 numbers of 4 bits with factor and offset.
pub(super) fn q4_k(values: &[f32; 256], block: &mut [u8; 144]) {
    let fit = Groups::of(values).search(15.0, -1.0, 20);
    let codes = fit.pack(values, 15.0, &mut block[..16]);
    put_nibbles(&codes, &mut block[16..]);
}

/// The same of 5 bits.
pub(super) fn q5_k(values: &[f32; 256], block: &mut [u8; 176]) {
    let fit = Groups::of(values).search(31.0, -0.5, 15);
    let codes = fit.pack(values, 31.0, &mut block[..16]);
    for (i, byte) in block[16..48].iter_mut().enumerate() {
        *byte = (0..8).fold(0, |bits, group| bits | codes[group * 32 + i] >> 4 << group);
    }
    put_nibbles(&codes, &mut block[48..]);
}

/// The factors of 16 groups of 16 numbers, x ≈ scale · code, and the factors that the codes of the search have: code(x ·
/// inverse). Zeros have 0 for both.
fn search_linear(x: &[Lanes<16>; 16]) -> (Lanes<16>, Lanes<16>) {
    let mut farthest: Lanes<16> = [0.0; 16];
    for x in x {
        for k in 0..16 {
            farthest[k] = if x[k].abs() > farthest[k].abs() { x[k] } else { farthest[k] };
        }
    }
    // Sums over x² · (x · code) and x² · code², by which the best factor and how much it explains are known.
    let sums = |inverse: &Lanes<16>| {
        let (mut sum_xq, mut sum_qq) = ([0.0; 16], [0.0; 16]);
        for x in x {
            for k in 0..16 {
                let (q, w) = (code(inverse[k] * x[k], -32.0, 31.0), x[k] * x[k]);
                sum_xq[k] += w * x[k] * q;
                sum_qq[k] += w * q * q;
            }
        }
        (sum_xq, sum_qq)
    };
    let mut inverse: Lanes<16> = farthest.map(|far| -32.0 / far);
    let (sum_xq, sum_qq) = sums(&inverse);
    let mut scale: Lanes<16> = from_fn(|k| if sum_qq[k] == 0.0 { 0.0 } else { sum_xq[k] / sum_qq[k] });
    let mut most: Lanes<16> = from_fn(|k| scale[k] * sum_xq[k]);
    for step in (-9_i8..=9).filter(|step| *step != 0) {
        let candidate = farthest.map(|far| -(32.0 + STEP * f32::from(step)) / far);
        let (sum_xq, sum_qq) = sums(&candidate);
        for k in 0..16 {
            if sum_qq[k] > 0.0 && sum_xq[k] * sum_xq[k] > most[k] * sum_qq[k] {
                scale[k] = sum_xq[k] / sum_qq[k];
                most[k] = scale[k] * sum_xq[k];
                inverse[k] = candidate[k];
            }
        }
    }
    for k in (0..16).filter(|k| farthest[*k].abs() < ZERO) {
        (scale[k], inverse[k]) = (0.0, 0.0);
    }
    (scale, inverse)
}

/// Groups of 16 numbers of 6 bits with a factor.
pub(super) fn q6_k(values: &[f32; 256], block: &mut [u8; 210]) {
    block.fill(0);
    let (scale, inverse) = search_linear(&side_by_side(values));
    let farthest = scale.iter().fold(0.0_f32, |far, &x| if x.abs() > far.abs() { x } else { far });
    if farthest.abs() < ZERO {
        return;
    }
    let per_scale = -128.0 / farthest;
    let d = put_f16(block, 208, 1.0 / per_scale);
    let scales = scale.map(|scale| nearest(per_scale * scale).min(127.0));
    let mut codes = [0_u8; 256];
    let groups = values.as_chunks::<16>().0.iter().zip(codes.as_chunks_mut::<16>().0);
    for (k, (values, codes)) in groups.enumerate() {
        block[192 + k] = scales[k] as i8 as u8;
        let scale = d * scales[k];
        for (x, code_of) in values.iter().zip(codes) {
            *code_of = match (scale == 0.0, inverse[k] == 0.0) {
                (true, true) => 0,
                // As in `Affine::pack`.
                (true, false) => (code(inverse[k] * x, -32.0, 31.0) + 32.0) as u8,
                (false, _) => (code(x / scale, -32.0, 31.0) + 32.0) as u8,
            };
        }
    }
    for i in 0..64 {
        let (half, i) = (i / 32, i % 32);
        let four: [u8; 4] = from_fn(|quarter| codes[half * 128 + quarter * 32 + i]);
        block[half * 64 + i] = four[0] & 0xF | four[2] << 4;
        block[half * 64 + 32 + i] = four[1] & 0xF | four[3] << 4;
        block[128 + half * 32 + i] = four[0] >> 4 | four[1] >> 4 << 2 | four[2] >> 4 << 4 | four[3] >> 4 << 6;
    }
}
