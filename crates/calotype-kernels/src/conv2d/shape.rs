//! Sizes of a convolution, and the way it is computed.

use crate::isa::Isa;
use crate::winograd::WinogradShape;

/// Tiles of a picture from which on bf16 pairs take Winograd's form.
const TILES_FOR_PAIRS: usize = 64;

/// Sizes of a convolution: `[B, H, W, in]` to `[B, H', W', out]`, weights `[out, in, k_h, k_w]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dShape {
    /// B.
    pub batch: usize,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
    /// Channels of the input.
    pub input: usize,
    /// Channels of the output.
    pub output: usize,
    /// k_h, k_w.
    pub kernel: [usize; 2],
    /// Step of the window.
    pub stride: usize,
    /// Zeros before the first row and column. What the last window lacks after the last row is zero,
    /// too.
    pub pad_begin: [usize; 2],
    /// H'.
    pub out_height: usize,
    /// W'.
    pub out_width: usize,
}

impl Conv2dShape {
    /// A 3×3 convolution of square pictures with one zero on every side.
    pub fn three_by_three(batch: usize, side: usize, [input, output]: [usize; 2], stride: usize) -> Self {
        let out = side.div_ceil(stride);
        Self {
            batch,
            height: side,
            width: side,
            input,
            output,
            kernel: [3, 3],
            stride,
            pad_begin: [1, 1],
            out_height: out,
            out_width: out,
        }
    }

    /// Places of the kernel.
    pub(super) fn places(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    pub(super) fn picture(&self) -> usize {
        self.height * self.width * self.input
    }

    pub(super) fn out_picture(&self) -> usize {
        self.out_height * self.out_width * self.output
    }

    /// A 1×1 convolution is a linear map of every pixel.
    pub(super) fn is_linear(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == 1
            && self.pad_begin == [0, 0]
            && self.out_picture() / self.output == self.picture() / self.input
    }

    /// The shape for fewer multiplications, where that is faster: enough channels and tiles that the
    /// transforms are cheap beside the products.
    ///
    /// Products of pairs are twice as fast in the direct form and have half as many weights there: many tiles must meet a
    /// transformed kernel. Those of one picture count, so that no result depends on a batch.
    pub(super) fn winograd(&self, isa: Isa) -> Option<WinogradShape> {
        let same = self.out_height == self.height && self.out_width == self.width;
        let fits = self.kernel == [3, 3]
            && self.stride == 1
            && self.pad_begin == [1, 1]
            && same
            && self.height.is_multiple_of(2)
            && self.width.is_multiple_of(2)
            && self.input.is_multiple_of(8)
            && self.output.is_multiple_of(8);
        let tiles = self.height * self.width / 4;
        let pays = !isa.takes_pairs() || (!isa.has_tiles() && tiles >= TILES_FOR_PAIRS);
        let Self { height, width, input, output, .. } = *self;
        (fits && pays).then_some(WinogradShape { height, width, input, output })
    }

    /// How it is computed.
    pub fn form(&self, isa: Isa) -> Form {
        match (self.winograd(isa), isa.takes_pairs()) {
            _ if self.is_linear() => Form::Linear,
            (Some(_), true) => Form::WinogradPairs,
            (Some(_), false) => Form::Winograd,
            (None, true) if self.input.is_multiple_of(2) => Form::Pairs,
            (None, _) => Form::Windows,
        }
    }

    /// The same with channels of the input in pairs.
    pub(super) fn in_pairs(&self) -> Self {
        Self { input: self.input / 2, ..*self }
    }

    /// Numbers in the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_picture()
    }
}

/// The way a convolution is computed, which decides how its weights are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A linear map of every pixel.
    Linear,
    /// The product over windows.
    Windows,
    /// The same, of pairs of bf16 channels.
    Pairs,
    /// F(2×2, 3×3).
    Winograd,
    /// The same, of pairs of bf16 channels.
    WinogradPairs,
}

impl Form {
    /// About how many packed numbers are made of so many weights.
    pub(crate) fn packed(self, weights: usize) -> usize {
        match self {
            Self::Linear | Self::Windows => weights,
            Self::Pairs => weights / 2,
            // 16 places of 9.
            Self::Winograd => weights * 16 / 9,
            Self::WinogradPairs => weights * 8 / 9,
        }
    }
}
