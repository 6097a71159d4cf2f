//! Model folders on disk, as diffusers and transformers write them.

pub mod atomic;
pub mod config_json;
pub mod diffusers_folder;
pub mod npz;
pub mod pytorch_pickle;
pub mod safetensors_io;
pub mod weights;

/// The version of diffusers whose folder layout we write.
pub const DIFFUSERS_VERSION: &str = "0.42.1";
