//! Files of tensors, numbers and texts.
//!
//! They know no network; whole models are in [`checkpoint`](crate::checkpoint).

pub mod atomic;
pub mod config_keys;
pub mod content;
pub mod npz;
mod numbers;
pub mod output;
pub mod pickle;
pub mod picture_format;
pub mod png;
pub mod png_text;
pub mod protobuf;
pub mod safetensors;
pub mod sha256;
mod stored_tensor;
pub mod tensorboard;
pub mod weights;

pub use stored_tensor::{NamedTensor, Storage, StoredTensor};
