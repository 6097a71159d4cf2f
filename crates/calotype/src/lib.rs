//! Latent diffusion models: train every part, generate, explain and evaluate.
//!
//! An autoencoder compresses a picture to a latent, noise is added to the latent step by step, a U-Net
//! learns to predict that noise, and text steers it through cross-attention.
//!
//! | question | module |
//! |---|---|
//! | Where is the KL loss? | [`autoencoder::diagonal_gaussian`], [`autoencoder::loss`] |
//! | Where is noise added? | [`diffusion::forward_process`] |
//! | Where is it predicted, and removed? | [`denoiser::unet`], [`sampler`] |
//! | Where does text come in? | [`text_encoder`], [`nn::attention`] |
//! | How is a part trained? | [`trainer::autoencoder`], [`trainer::clip`], [`trainer::denoiser`] |
//! | How does a prompt become a picture? | [`pipeline::text_to_image`] |
//! | Which word lit which pixel? | [`explain`] |
//! | What if a word were another? | [`explain::prompt_to_prompt`] |
//! | Is it any good? | [`evaluate`] |
//! | How much of a prompt does a picture show? | [`prompt_benchmark`] |
//! | Are the numbers right? | [`self_test`] |
//! | What is on disk? | [`files`], [`checkpoint`] |
//!
//! One training picture, through an untrained autoencoder and back:
//!
//! ```
//! use burn::tensor::Device;
//! use calotype::autoencoder::{AutoencoderConfig, AutoencoderKl};
//! use calotype::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Split};
//! use calotype::data::tensors::{to_images, to_tensor};
//! use calotype::nn::Init;
//!
//! # fn main() -> calotype::Result<()> {
//! let scenes = EmojiScenes::new(EmojiScenesConfig { max_objects: 2, ..EmojiScenesConfig::default() })?;
//! let scene = scenes.scene(Split::Train, 0);
//! let device = Device::flex();
//! let config = AutoencoderConfig { norm_num_groups: 4, ..Default::default() }.with_levels(vec![8, 16]);
//! let vae = AutoencoderKl::new(&config, &mut Init::random(0, &device))?;
//! let posterior = vae.encode(to_tensor(&[scene.image], &device)?)?; // q(z | x): [1, 4, 16, 16]
//! let reconstruction = to_images(vae.decode(posterior.mean))?;
//! assert_eq!(reconstruction[0].dimensions(), (32, 32));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::match_bool, clippy::todo, clippy::unimplemented)]
#![recursion_limit = "256"]

pub mod autoencoder;
pub mod bench;
pub mod checkpoint;
pub mod data;
pub mod demo;
pub mod denoiser;
mod difference;
pub mod diffusion;
mod download;
pub mod error;
pub mod evaluate;
pub mod explain;
pub mod files;
pub mod machine;
pub mod model;
mod named;
pub mod nn;
pub mod parallel;
pub mod pipeline;
pub mod progress;
pub mod prompt_benchmark;
pub mod ranks;
pub mod report;
pub mod rng;
pub mod runs;
pub mod sampler;
pub mod self_test;
pub mod shard;
pub mod sweep;
#[cfg(test)]
mod testing;
pub mod text_encoder;
pub mod trainer;
pub mod training;
pub mod validation;

pub use error::{Error, ErrorKind, Result};
