//! 3×3 convolution with 16 multiplications for four outputs, where the definition has 36.
//!
//! F(2×2, 3×3) of Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks"
//! (arXiv:1509.09308): a 4×4 tile d of the padded input and the kernel g give a 2×2 tile of the output,
//! Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A. Summed over the input channels, ⊙ is a matrix product for each of the 16
//! places.

mod forward;
mod kernels;
mod transforms;
mod weight_gradient;

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

    use crate::Isa;
    use crate::conv2d::{self, Conv2dShape, Form};
    use crate::stored::Weights;
    use crate::testing::numbers;

    #[test]
    fn groups_change_no_bit_whatever_the_weights_are_stored_in() {
        // The weights of the first two are made in one piece, those of the others in several groups.
        for (batch, side, input, output) in [(5, 12, 8, 24), (1, 2, 8, 8), (1, 8, 640, 200), (2, 4, 1288, 72)]
        {
            let s = Conv2dShape::three_by_three(batch, side, [input, output], 1);
            let (x, w) = (numbers(batch * side * side * input, 1), numbers(9 * input * output, 2));
            let bias = numbers(output, 3);
            let half: Vec<f16> = w.iter().map(|&x| f16::from_f32(x)).collect();
            let brain: Vec<bf16> = w.iter().map(|&x| bf16::from_f32(x)).collect();
            for weight in [Weights::F32(&w), Weights::F16(&half), Weights::Bf16(&brain)] {
                for isa in Isa::available() {
                    assert_eq!(s.form(isa), Form::Winograd);
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
