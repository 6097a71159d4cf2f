//! Losses and their weights.

pub mod autoencoder;
pub mod contrastive;
pub mod diffusion;
