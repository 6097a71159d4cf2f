//! 3×3 convolution with 16 multiplications for four outputs, where the definition has 36.
//!
//! F(2×2, 3×3) of Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks"
//! (arXiv:1509.09308): a 4×4 tile d of the padded input and the kernel g give a 2×2 tile of the output,
//! Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A. Summed over the input channels, ⊙ is a matrix product for each of the 16
//! places.
//!
//! Where products are those of bf16 pairs it is the transformed tiles and kernels that are rounded. That costs 1.2 to 1.7
//! times the error of rounding d and g, as much as rounding d, g and the result, which is what others do.

mod forward;
mod kernels;
mod transforms;
mod weight_gradient;

use crate::isa::Isa;
use crate::memory::Buffer;

pub use forward::forward;
pub(crate) use forward::forward_grouped;
pub(crate) use kernels::packed;
pub use weight_gradient::backward_weight;

/// Places of a transformed tile.
const PLACES: usize = 16;
/// Numbers of transformed input in one piece of work: half of a second level cache of 512 KiB, the
/// transformed output in the other half.
const PIECE: usize = 32 * 1024;

/// Rows of the inner dimension of so many input channels: half as many where they are in pairs.
fn depth(isa: Isa, input: usize) -> usize {
    if isa.takes_pairs() { input / 2 } else { input }
}

/// Sizes of a 3×3 convolution with stride 1 and one zero on every side of a picture with even sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WinogradShape {
    /// Height of input and output; even.
    pub height: usize,
    /// Width of input and output; even.
    pub width: usize,
    /// Channels of the input.
    pub input: usize,
    /// Channels of the output.
    pub output: usize,
}

impl WinogradShape {
    fn tiles(&self) -> [usize; 2] {
        [self.height / 2, self.width / 2]
    }

    /// A row of zeros, for [`WinogradShape::picture_rows`].
    fn outside(&self) -> Buffer {
        Buffer::zeros(self.width * self.input)
    }

    /// The four rows that a row of tiles reads, the first of them above it; those of all pictures are counted together.
    fn picture_rows<'a>(&self, x: &'a [f32], tile_row: usize, outside: &'a [f32]) -> [&'a [f32]; 4] {
        let (rows, row) = (self.height / 2, self.width * self.input);
        let picture = &x[tile_row / rows * self.height * row..][..self.height * row];
        let first = 2 * (tile_row % rows);
        [0, 1, 2, 3].map(|i| match (first + i).checked_sub(1).filter(|&y| y < self.height) {
            Some(y) => &picture[y * row..][..row],
            None => outside,
        })
    }
}

#[cfg(test)]
mod tests {
    use burn_std::{bf16, f16};

    use super::transforms::{input_tiles, output_tiles, transformed_kernels};
    use super::{PLACES, WinogradShape};
    use crate::Isa;
    use crate::conv2d::{self, Conv2dShape, Form};
    use crate::stored::Weights;
    use crate::testing::numbers;

    /// The same in plain loops, with transformed tiles and kernels rounded to bf16.
    fn of_rounded(s: &WinogradShape, x: &[f32], w: &[f32], bias: &[f32]) -> Vec<f32> {
        let rounded = |x: f32| bf16::from_f32(x).to_f32();
        let (isa, outside, columns) = (Isa::Portable, s.outside(), s.width / 2);
        let mut kernels = vec![0.0; s.input * PLACES * s.output];
        for (c, u) in kernels.chunks_exact_mut(PLACES * s.output).enumerate() {
            let taps = (0..9).flat_map(|tap| (0..s.output).map(move |o| w[(o * s.input + c) * 9 + tap]));
            transformed_kernels(isa, &taps.collect::<Vec<f32>>(), s.output, u, s.output);
        }
        let mut y = vec![0.0; x.len() / s.input * s.output];
        for (tile_row, y) in y.chunks_exact_mut(2 * s.width * s.output).enumerate() {
            let stride = columns * s.input;
            let mut v = vec![0.0; PLACES * stride];
            input_tiles(isa, s.picture_rows(x, tile_row, &outside), s.input, &mut v, stride);
            let mut m = vec![0.0; PLACES * columns * s.output];
            for (i, m) in m.iter_mut().enumerate() {
                let (at, o) = (i / s.output, i % s.output);
                let product = |c: usize| {
                    let u = kernels[(c * PLACES + at / columns) * s.output + o];
                    f64::from(rounded(v[at * s.input + c])) * f64::from(rounded(u))
                };
                *m = (0..s.input).map(product).sum::<f64>() as f32;
            }
            output_tiles(isa, &m, columns, bias, y, s.output);
        }
        y
    }

    #[test]
    fn pairs_are_products_of_rounded_tiles_and_kernels() {
        for (batch, height, width, input, output) in
            [(2, 16, 16, 16, 40), (1, 24, 22, 8, 32), (3, 18, 16, 288, 48)]
        {
            let s = Conv2dShape {
                height,
                width,
                out_height: height,
                out_width: width,
                ..Conv2dShape::three_by_three(batch, height, [input, output], 1)
            };
            let w = WinogradShape { height, width, input, output };
            let (x, weight) = (numbers(batch * height * width * input, 1), numbers(9 * input * output, 2));
            let (bias, dy) = (numbers(output, 3), numbers(s.output_len(), 4));
            // From output channels to input channels, with the kernels turned round.
            let back = WinogradShape { input: output, output: input, ..w };
            let mut turned = vec![0.0; weight.len()];
            for (i, tap) in weight.iter().enumerate() {
                let (o, c) = (i / 9 / input, i / 9 % input);
                turned[(c * output + o) * 9 + 8 - i % 9] = *tap;
            }
            let expected = of_rounded(&w, &x, &weight, &bias);
            let expected_back = of_rounded(&back, &dy, &turned, &vec![0.0; input]);
            for isa in Isa::available_bf16().into_iter().filter(|isa| !isa.has_tiles()) {
                assert_eq!(s.form(isa), Form::WinogradPairs);
                let got = conv2d::forward(isa, &s, &x, &weight, &bias);
                let got_back = conv2d::backward_input(isa, &s, &dy, &weight);
                for (got, expected) in [(&got, &expected), (&got_back, &expected_back)] {
                    let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                    assert_eq!(got.len(), expected.len());
                    for (got, expected) in got.iter().zip(expected) {
                        assert!((got - expected).abs() <= 1e-5 * largest, "{got}, expected {expected}");
                    }
                }
            }
        }
    }

    /// How far rounding moves a result: beside the direct form, and beside rounding the result too, in shares of the root
    /// mean square.
    #[test]
    fn pairs_are_about_as_exact_as_the_direct_form_with_a_rounded_result() {
        // The second has a few tiles less than it takes.
        let (s, few) =
            (Conv2dShape::three_by_three(2, 16, [64; 2], 1), Conv2dShape::three_by_three(2, 14, [64; 2], 1));
        let w = numbers(9 * 64 * 64, 2);
        let squares = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
        let off = |isa: Isa, s: &Conv2dShape, stored: fn(f32) -> f32| {
            let x = numbers(2 * s.height * s.width * 64, 1);
            let [got, exact] = [isa, isa.f32()].map(|isa| conv2d::forward(isa, s, &x, &w, &[0.0; 64]));
            let beside: Vec<f32> = got.iter().zip(exact.iter()).map(|(a, b)| stored(*a) - b).collect();
            (squares(&beside) / squares(&exact)).sqrt()
        };
        for isa in Isa::available_bf16().into_iter().filter(|isa| !isa.has_tiles()) {
            assert_eq!((s.form(isa), few.form(isa)), (Form::WinogradPairs, Form::Pairs));
            let (got, direct) = (off(isa, &s, |x| x), off(isa, &few, |x| x));
            let rounded = off(isa, &few, |x| bf16::from_f32(x).to_f32());
            assert!(got < 1.8 * direct && got < 1.5 * rounded, "{got:.1e}, {direct:.1e}, {rounded:.1e}");
            assert!(got > direct, "{got:.1e}, {direct:.1e}");
        }
    }

    #[test]
    fn groups_change_no_bit_whatever_the_weights_are_stored_in() {
        // The weights of the first two are made in one piece, those of the others in several groups; the last has tiles
        // enough for pairs.
        for (batch, side, input, output) in
            [(5, 12, 8, 24), (1, 2, 8, 8), (1, 8, 640, 200), (2, 4, 1288, 72), (2, 16, 1288, 200)]
        {
            let s = Conv2dShape::three_by_three(batch, side, [input, output], 1);
            let (x, w) = (numbers(batch * side * side * input, 1), numbers(9 * input * output, 2));
            let bias = numbers(output, 3);
            let half: Vec<f16> = w.iter().map(|&x| f16::from_f32(x)).collect();
            let brain: Vec<bf16> = w.iter().map(|&x| bf16::from_f32(x)).collect();
            for weight in [Weights::F32(&w), Weights::F16(&half), Weights::Bf16(&brain)] {
                for isa in Isa::available().into_iter().chain(Isa::available_bf16()) {
                    assert!(isa.takes_pairs() || s.form(isa) == Form::Winograd);
                    let whole = conv2d::packed(isa, &s, weight);
                    let whole = conv2d::forward_packed(isa, &s, &x, &whole, &bias);
                    let got = conv2d::forward_grouped(isa, &s, &x, weight, &bias);
                    let same = whole.iter().zip(got.iter()).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same && got.len() == whole.len(), "{isa:?}: {batch}×{side}², {input} → {output}");
                }
            }
        }
    }
}
