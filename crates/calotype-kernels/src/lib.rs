//! CPU kernels for latent diffusion networks, behind burn's backend extension.
//!
//! Each function takes and returns burn tensors, with gradients. On the CPU backend it runs one kernel
//! of this crate, forward and hand-written backward; on every other backend it is composed of burn's own
//! operations ([`composed`]). Pictures are channels-last, `[B, H, W, C]`: a pixel is a row of a matrix,
//! so that convolutions, linear maps and attention all read the same memory without transposes.
//!
//! | function | kernel |
//! |---|---|
//! | [`conv2d`] | implicit matrix product over windows, [`mod@conv2d`] |
//! | [`linear`] | matrix product with bias, [`mod@linear`] |
//! | [`embedding`] | rows of a table |
//! | [`group_norm`] | group norm fused with SiLU, [`mod@group_norm`] |
//! | [`layer_norm`] | [`mod@layer_norm`] |
//! | [`rms_norm`] | [`mod@rms_norm`] |
//! | [`rotate_pairs`] | positions of tokens, [`rotary`] |
//! | [`attention`], [`attention_shown`] | softmax(Q Kᵀ/√d) V in blocks of queries, [`mod@attention`] |
//! | [`region_cross_entropy`] | what attention should look at, [`mod@region_cross_entropy`] |
//! | [`geglu`] | gate of a feed-forward layer, [`mod@geglu`] |
//! | [`upsample_nearest`] | [`mod@upsample`] |
//! | [`activation`] | GELU and its approximation, [`mod@activation`] |
//! | [`add`], [`add_rows`] | [`elementwise`] |
//! | [`concat`] | channels side by side, [`mod@concat`] |
//! | [`mean_square_error`] | [`mean_square`] |
//! | [`channels_last`], [`channels_first`] | transposes, [`layout`] |
//! | [`fork`] | sums the gradients of several readers, [`elementwise`] |
//!
//! For optimisers there is [`newton_schulz`], on plain numbers.
//!
//! Weights may be stored in f32, bf16 or f16 ([`stored`]), matrices in fewer bits too ([`quantised`]), in memory or in a
//! [`mapped`] file; pictures are f32.
//!
//! Call them from a thread of a rayon pool (inside `rayon::scope`, say): from outside, each call wakes the pool and
//! waits until it is done, which costs more than a small kernel.
//!
//! The instruction set (AVX-512, AVX2 with FMA, or what the target always has; for products of bf16 numbers [`amx`] or
//! AVX512-BF16) is chosen when the program runs, by what there is and what is known to be fast ([`Isa::of`]); the precision
//! of products ([`Products`]) is an argument of each call. Results do not depend on
//! the number of threads: threads share outputs, never a sum.

#![deny(clippy::undocumented_unsafe_blocks)]
#![warn(clippy::match_bool, clippy::todo, clippy::unimplemented)]

pub mod activation;
pub mod amx;
pub mod attention;
pub mod bandwidth;
pub mod bf16;
pub mod composed;
pub mod concat;
pub mod conv2d;
pub mod elementwise;
mod functions;
pub mod geglu;
pub mod group_norm;
mod grouped;
mod isa;
mod kept;
pub mod layer_norm;
pub mod layout;
pub mod linear;
pub mod mapped;
mod math;
pub mod mean_square;
pub mod memory;
pub mod newton_schulz;
mod ops;
pub mod panels;
pub mod peak;
mod pool;
mod processor;
pub mod product;
pub mod quantised;
pub mod region_cross_entropy;
pub mod rms_norm;
pub mod rotary;
mod simd;
mod softmax;
pub mod stored;
pub mod sums;
mod symmetric;
#[cfg(test)]
mod testing;
pub mod upsample;
pub mod winograd;
pub mod work;

pub use activation::Activation;
pub use functions::{
    activation, add, add_rows, attention, attention_shown, channels_first, channels_last, concat, conv2d,
    embedding, fork, geglu, group_norm, has_kernels, has_products, layer_norm, linear, mean_square_error,
    region_cross_entropy, rms_norm, rotate_pairs, upsample_nearest,
};
pub use isa::{Isa, Products};
pub use math::flushed;
pub use ops::Padding;
pub use processor::Processor;
