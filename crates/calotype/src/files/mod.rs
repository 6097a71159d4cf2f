//! Files of tensors, numbers and texts.
//!
//! They know no network; whole models are in [`checkpoint`](crate::checkpoint).

pub mod atomic;
pub mod config_keys;
pub mod content;
mod fault;
pub mod fp8;
pub mod gguf;
mod low_rank;
pub mod npz;
mod numbers;
pub mod output;
mod packing;
pub mod pickle;
pub mod picture_format;
pub mod png;
pub mod png_text;
pub mod protobuf;
mod quantised;
pub mod safetensors;
pub mod sha256;
mod stack;
mod stored_tensor;
pub mod tensorboard;
pub mod weights;

pub use low_rank::LowRank;
pub use packing::Packing;
pub use stack::Stack;
pub use stored_tensor::{Encoding, NamedTensor, Storage, StoredTensor};
