//! The order of a picture's numbers.
//!
//! Outside, pictures are `[B, C, H, W]`, as PyTorch and the file formats have them. Inside the networks
//! they are channels-last, `[B, H, W, C]`: a pixel is then a row, and convolutions, norms, linear maps
//! and attention read the same memory without a transpose between them.

use burn::tensor::Tensor;

/// `[B, C, H, W]` to `[B, H, W, C]`.
pub fn channels_last(x: Tensor<4>) -> Tensor<4> {
    calotype_kernels::channels_last(x)
}

/// `[B, H, W, C]` to `[B, C, H, W]`.
pub fn channels_first(x: Tensor<4>) -> Tensor<4> {
    calotype_kernels::channels_first(x)
}
