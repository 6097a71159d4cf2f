//! The order of a picture's numbers.
//!
//! Outside, pictures are `[B, C, H, W]`, as PyTorch and the file formats have them. Inside the networks
//! they are channels-last, `[B, H, W, C]`: a pixel is then a row, and convolutions, norms, linear maps
//! and attention read the same memory without a transpose between them.

pub use calotype_kernels::{channels_first, channels_last};
