//! Models on disk: diffusers' folders, single files, LoRAs, the Hugging Face hub; and the files they are made of.

pub mod atomic;
pub mod checkpoint;
pub mod config_json;
mod crc;
pub mod diffusers_folder;
pub mod hub;
pub mod lora;
pub mod npz;
pub mod png_text;
pub mod pytorch_pickle;
pub mod safetensors_io;
pub mod single_file;
pub mod tensorboard;
pub mod weights;

/// The version of diffusers whose folder layout we write.
pub const DIFFUSERS_VERSION: &str = "0.42.1";
