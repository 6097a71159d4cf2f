//! Latent diffusion models: train every part, generate, explain and evaluate.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![recursion_limit = "256"]

pub mod autoencoder;
pub mod data;
pub mod denoiser;
pub mod diffusion;
pub mod error;
pub mod evaluate;
pub mod explain;
pub mod formats;
pub mod nn;
pub mod pipeline;
pub mod rng;
pub mod sampler;
pub mod text_encoder;
pub mod trainer;

pub use error::{Error, Result};
